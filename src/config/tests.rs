//! Whole files: what is accepted, what is said about what is not, and that no text whatever does harm.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::AudioFormat;

use super::{Config, Diagnostic, Loaded, PageTls, Place, Source, load, parse};

const SMALL: &str = include_str!("../../docs/examples/small.toml");
const FULL: &str = include_str!("../../docs/examples/full.toml");

fn config(text: &str) -> Config {
    loaded(text).config
}

fn loaded(text: &str) -> Loaded {
    parse("nearend.toml", text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn errors(text: &str) -> Vec<String> {
    parse("nearend.toml", text).expect_err("has errors").iter().map(Diagnostic::to_string).collect()
}

/// The only error of the text.
fn error(text: &str) -> String {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap()
}

// ---- what is accepted

#[test]
fn an_empty_file_records_every_call_to_the_own_disk() {
    let Loaded { config, warnings } = loaded("");
    assert_eq!(warnings, []);
    assert_eq!(config.site.data_dir.to_str(), Some("/var/lib/nearend"));
    assert_eq!(config.spool.path.to_str(), Some("/var/lib/nearend/spool"));
    assert_eq!((config.web.listen.to_string().as_str(), config.web.tls), ("127.0.0.1:8080", PageTls::None));
    let listen: Vec<String> = config.sip.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060", "udp:[::]:5060", "tcp:[::]:5060"]);
    assert_eq!(config.tenants.iter().map(|t| t.id.to_string()).collect::<Vec<_>>(), ["default"]);
    assert!(config.targets.is_empty());
    assert_eq!(config.rtp.source, Source::Negotiated);
    assert!(config.sip.trusts("192.168.7.1".parse().unwrap()) && !config.sip.trusts("203.0.113.9".parse().unwrap()));
}

#[test]
fn the_small_example_says_what_it_says() {
    let config = config(SMALL);
    assert_eq!((config.site.name.as_str(), config.site.geo_location.as_deref()), ("branch-17", Some("dallas")));
    assert_eq!(config.rtp.address, Some("10.1.2.3".parse().unwrap()));
    assert_eq!(config.tenants.len(), 2, "the default tenant is always there");
    assert_eq!(config.targets[0].place, Place::Dir { path: "/mnt/dc".into() });
    assert!(!config.sip.trusts("192.168.7.1".parse().unwrap()));
}

#[test]
fn the_full_example_names_every_key() {
    let Loaded { config, warnings } = loaded(FULL);
    assert_eq!(config.tenants[0].retention, Duration::from_secs(36 * 3_600));
    assert_eq!(config.tenants[0].recipients.len(), 1);
    assert_eq!(config.spool.max_bytes, Some(64 << 30));
    assert_eq!(config.sip.max_recordings, 800);
    assert_eq!(config.tenants[0].format, AudioFormat::Opus);
    assert_eq!(warnings, []);
}

#[test]
fn what_check_prints_reads_back_as_the_same() {
    for text in ["", SMALL, FULL] {
        let config = config(text);
        assert_eq!(self::config(&toml::to_string(&config).unwrap()), config);
    }
}

#[test]
fn the_documentation_has_a_row_for_every_key_and_its_examples_are_valid() {
    let documentation = include_str!("../../docs/configuration.md");
    for line in FULL.lines().filter(|line| line.contains(" = ")) {
        let key = line.split([' ', '.']).next().unwrap_or_default();
        assert!(documentation.contains(&format!("| `{key}` | ")), "docs/configuration.md has no row for {key}");
    }
    let printed = toml::to_string(&config(FULL)).unwrap();
    assert_eq!(printed.matches(" = ").count(), FULL.matches(" = ").count(), "full.toml has every key");

    let readme = include_str!("../../README.md");
    let small =
        readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("README.md shows a configuration");
    assert_eq!(config(small).site.name, "branch-17");
}

#[test]
fn recordings_at_one_time_follow_the_ports_unless_said_otherwise() {
    assert_eq!(config("").sip.max_recordings, 500);
    assert_eq!(config("[rtp]\nports = \"20000-20039\"").sip.max_recordings, 10);
}

#[test]
fn a_longer_min_se_lengthens_the_default_interval() {
    assert_eq!(config("[sip]\nmin_se = \"2h\"").sip.session_expires, Duration::from_secs(7_200));
}

// ---- what is not, and how it is said

#[test]
fn a_reversed_port_range_has_its_place_and_its_remedy() {
    let text = "# ports\n\n[rtp]\naddress = \"10.1.2.3\"\nports = \"30000-20000\"\n";
    assert_eq!(
        error(text),
        "nearend.toml:5:9: [rtp] ports: \"30000-20000\" runs backwards; expected \"LOW-HIGH\" with LOW < HIGH; did you mean \
         \"20000-30000\"?"
    );
}

#[test]
fn a_misspelt_key_and_a_misspelt_table_name_the_nearest() {
    assert_eq!(
        error("[rtp]\n  prots = \"20000-29999\"\n"),
        "nearend.toml:2:3: [rtp] prots: this version knows no such key; expected one of address, ports, source, silence_timeout; did you mean ports?"
    );
    let table = error("[sipp]\nlisten = []\n");
    assert!(
        table.starts_with("nearend.toml:1:2: [sipp]: this version knows no such table; expected one of [site], [sip]"),
        "{table}"
    );
    assert!(
        table.ends_with(
            "[[tenant]], [[switch]], [[tserver]], [[peer]], [[calendar]], [[rule]], [[target]], [tone], [control], [forward], [events], [web]; did you mean [sip]?"
        ),
        "{table}"
    );
}

#[test]
fn a_number_without_unit_is_told_which_units_there_are() {
    assert_eq!(
        error("[[tenant]]\nid = \"1\"\nretention = 30\n"),
        "nearend.toml:3:13: [[tenant]] retention: \"30\" has no unit; expected a duration with its unit (ms, s, m, h, d), such as \
         \"30s\"; did you mean \"30s\"?"
    );
    assert!(error("[spool]\nfloor_bytes = 1000\n").contains("[spool] floor_bytes: \"1000\" has no unit; expected a size"));
}

#[test]
fn all_errors_come_at_once_in_their_order() {
    let text = r#"
        stray = 1
        [site]
        nmae = "x"
        data_dir = "data"
        [sip]
        listen = ["udp:0.0.0.0:5060", "0.0.0.0:5061", 7]
        min_se = "1s"
        [rtp]
        ports = "9-8"
        source = true
        [tenant]
        id = "1"
        [[target]]
        name = "dc"
        [[web]]
        listen = "x"
    "#;
    let all = errors(text);
    let lines: Vec<&str> = all.iter().map(|e| e.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "4", "5", "7", "7", "8", "10", "11", "12", "14", "16"], "{all:#?}");
    assert!(all[4].contains(":7:55: [sip] listen: \"7\" names no transport"), "{}", all[4]);
    assert!(all[8].contains("double brackets: [[tenant]]"), "{}", all[8]);
    assert!(all[9].contains("[[target]]: has no kind;"), "{}", all[9]);
    assert!(all[10].contains("single brackets: [web]"), "{}", all[10]);
}

#[test]
fn syntax_errors_are_reported_alone() {
    let all = errors("[site]\nname = \"x\nnmae = 1\n[rtp\n");
    assert!(all.len() >= 2 && all.iter().all(|e| e.contains("not TOML: ")), "{all:#?}");
    assert!(error("[site]\nname = \"x\"\nname = \"y\"\n").contains(":3:1: not TOML: duplicate key"));
}

#[test]
fn nothing_may_be_there_twice() {
    assert!(error("[[tenant]]\nid = \"1\"\n[[tenant]]\nid = \"1\"\n").contains(":4:6: [[tenant]] id: \"1\" is there twice"));
    let target = "[[target]]\nname = \"dc\"\nkind = \"dir\"\npath = \"/mnt/dc\"\n";
    let both = errors(&target.repeat(2));
    assert!(both[0].contains(":6:8: [[target]] name: \"dc\" is there twice"), "{both:#?}");
    assert!(both[1].contains(":8:8: [[target]]: /mnt/dc is target \"dc\" already"), "{both:#?}");
}

#[test]
fn sockets_must_not_meet() {
    let sip = error("[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"udp:10.1.2.3:5060\", \"tcp:10.1.2.3:5060\", \"udp:[::]:5060\"]");
    assert!(sip.contains(":2:31: [sip] listen: udp:10.1.2.3:5060 overlaps udp:0.0.0.0:5060 of [sip] listen"), "{sip}");
    assert!(error("[web]\nlisten = \"127.0.0.1:5060\"").contains("overlaps tcp:0.0.0.0:5060 of [sip] listen"));
    assert!(error("[sip]\nlisten = [\"tcp:127.0.0.1:8080\"]").contains("overlaps tcp:127.0.0.1:8080 of [web] listen"));
    assert!(error("[rtp]\nports = \"5000-6000\"").contains("includes port 5060 of [sip] listen"));
    config("[sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n[web]\nlisten = \"127.0.0.1:0\"");
}

#[test]
fn tls_needs_a_certificate_and_a_listener() {
    let tls = "listen = [\"tls:0.0.0.0:5061\"]\n";
    assert!(error(&format!("[sip]\n{tls}")).contains(":2:11: [sip] listen: TLS needs cert_file and key_file"));
    let files = "cert_file = \"/etc/nearend/sip.crt\"\nkey_file = \"credential:sip.key\"\n";
    assert!(error(&format!("[sip]\n{files}")).contains(":2:13: [sip]: nothing listens for TLS"));
    assert!(config(&format!("[sip]\n{tls}{files}")).sip.tls.is_some());
    let twice = error(&format!("[sip]\nlisten = [\"tcp:0.0.0.0:5060\", \"tls:0.0.0.0:5060\"]\n{files}"));
    assert!(twice.contains("tls:0.0.0.0:5060 overlaps tcp:0.0.0.0:5060"), "{twice}");
}

#[test]
fn ports_must_suffice_for_the_recordings() {
    let message = error("[sip]\nmax_recordings = 11\n[rtp]\nports = \"20000-20039\"");
    assert!(
        message.contains(":2:18: [sip] max_recordings: 11 do not fit into [rtp] ports \"20000-20039\"; expected at most 10"),
        "{message}"
    );
    assert!(error("[rtp]\nports = \"20000-20002\"").contains("too small for one recording"));
    assert!(error("[sip]\nmax_recordings = 0").contains("expected at least 1"));
    assert!(error("[sip]\nmax_recordings = -1").contains("[sip] max_recordings: invalid value"));
}

#[test]
fn lists_and_limits_have_sense() {
    assert!(error("[sip]\nlisten = []").contains("no call could arrive"));
    assert!(error("[sip]\nlisten = [\"x\"]").contains("names no transport"));
    assert!(error("[sip]\ntrusted = []").contains("nobody could have a call recorded"));
    assert!(error("[sip]\nlisten = \"udp:0.0.0.0:5060\"").contains("expected a list in [brackets]"));
    assert!(error("[sip]\nsession_expires = \"60s\"").contains("shorter than [sip] min_se (90 s)"));
    assert!(error("[sip]\nmin_se = \"90500ms\"").contains("whole seconds"));
    assert!(error("[spool]\nfloor_bytes = \"1MiB\"").contains("at least \"16MiB\""));
    assert!(error("[rtp]\naddress = \"0.0.0.0\"").contains("no address that a sender can reach"));
    assert!(error("[site]\nname = \"\"").contains("is empty"));
    assert!(error("[[tenant]]\nname = \"acme\"").contains(":1:1: [[tenant]]: has no id"));
}

#[test]
fn a_page_for_everybody_and_a_target_on_the_same_disk_are_warned_of() {
    let text = "[web]\nlisten = \"0.0.0.0:8080\"\ntls = \"none\"\n[[target]]\nname = \"dc\"\nkind = \"dir\"\npath = \"/var/lib/nearend/out\"";
    let warnings: Vec<String> = loaded(text).warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings[0].starts_with("nearend.toml:3:7: warning: [web] tls: leaves passwords and calls readable"),
        "{warnings:#?}"
    );
    assert!(warnings[1].starts_with("nearend.toml:7:8: warning: [[target]] path: is within [site] data_dir"), "{warnings:#?}");
}

#[test]
fn a_hopeless_file_is_given_up_after_a_hundred_errors() {
    let text: String = "[rtp]\n".to_owned() + &(0..20_000).map(|i| format!("key{i} = 1\n")).collect::<String>();
    assert_eq!(errors(&text).len(), 100);
}

// ---- the disk

#[test]
fn directories_must_be_there_and_be_directories() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nearend.toml");
    let here = dir.path().display().to_string();
    fs::write(&file, format!("[site]\ndata_dir = \"{here}\"\n[[target]]\nname = \"dc\"\nkind = \"dir\"\npath = \"{here}/dc\"\n"))
        .unwrap();

    let missing = load(&file).unwrap_err();
    assert_eq!(missing.len(), 1);
    let expected =
        format!("{here}/nearend.toml:6:8: [[target]] path: {here}/dc is not there; expected a directory: mount its file system");
    assert!(missing[0].to_string().starts_with(&expected), "{}", missing[0]);
    assert!(missing[0].message.contains(&format!("mkdir -p {here}/dc")));

    fs::write(dir.path().join("dc"), "").unwrap();
    assert!(load(&file).unwrap_err()[0].message.contains("is not a directory"));

    fs::remove_file(dir.path().join("dc")).unwrap();
    fs::create_dir(dir.path().join("dc")).unwrap();
    assert_eq!(load(&file).unwrap().config.site.data_dir, dir.path());
}

#[test]
fn a_directory_that_is_not_writable_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nearend.toml");
    let closed = if nix::unistd::Uid::effective().is_root() {
        "/proc/self".to_owned() // nothing but a file system without files is closed to root
    } else {
        let closed = dir.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
        closed.display().to_string()
    };
    fs::write(&file, format!("[site]\ndata_dir = \"{closed}\"\n")).unwrap();
    let errors = load(&file).unwrap_err();
    assert!(errors[0].message.contains("is not writable"), "{}", errors[0]);
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nearend.toml");
    let name = file.display().to_string();
    let message = || load(&file).unwrap_err()[0].to_string();
    assert!(message().starts_with(&format!("{name}: is not there; an empty file is a valid one")), "{}", message());
    fs::write(&file, b"[site]\nname = \"K\xF6ln\"\n").unwrap();
    assert!(message().contains("is not UTF-8 in line 2"), "{}", message());
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(message().contains("larger than 1 MiB"), "{}", message());
    assert!(load(dir.path()).unwrap_err()[0].message.contains("cannot be read"));
}

// ---- any text at all

/// One change to a text: bytes from `at` on replaced by something else.
fn mutate(text: &str, changes: &[(usize, usize, String)]) -> String {
    let mut text = text.to_owned();
    for (at, length, new) in changes {
        let bound = |wanted: usize| (0..=wanted.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let start = bound(*at % (text.len() + 1));
        let end = bound(start + length).max(start);
        text.replace_range(start..end, new);
    }
    text
}

fn fragment() -> impl Strategy<Value = String> {
    let typical = [
        "\"",
        "[",
        "]",
        "[[",
        "=",
        "\n",
        "\n[rtp]\n",
        "1",
        "-",
        "{ a = 1 }",
        "tenant",
        ".",
        "'''",
        "ports",
        "\"\"",
        "ü",
        "\0",
        "🕿",
    ];
    prop_oneof![prop::sample::select(typical.to_vec()).prop_map(str::to_owned), "\\PC{0,12}"]
}

proptest! {
    #[test]
    fn no_text_panics_and_every_finding_lies_within_it(changes in prop::collection::vec((any::<usize>(), 0_usize..30, fragment()), 1..8)) {
        let text = mutate(FULL, &changes);
        let findings = match parse("n.toml", &text) {
            Ok(loaded) => {
                let printed = toml::to_string(&loaded.config).unwrap();
                prop_assert_eq!(&parse("n.toml", &printed).expect("what is printed is valid").config, &loaded.config);
                loaded.warnings
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                errors
            }
        };
        for finding in findings {
            let line = text.lines().nth(finding.line - 1).unwrap_or_default();
            prop_assert!(finding.line <= text.lines().count().max(1), "{finding}");
            prop_assert!(finding.column <= line.chars().count() + 1, "{finding}");
        }
    }

    #[test]
    fn arbitrary_text_is_survived(text in "\\PC{0,400}") {
        let _ = parse("n.toml", &text);
    }
}

#[test]
fn each_kind_of_target_has_its_own_keys() {
    let s3 = "[[target]]\nname = \"s3\"\nkind = \"s3\"\nendpoint = \"https://s3.example.com\"\nbucket = \"calls\"\n\
              access_key_file = \"credential:id\"\nsecret_key_file = \"/etc/nearend/key\"\n";
    let config = parse("n.toml", s3).unwrap().config;
    let Place::S3(resolved) = &config.targets[0].place else { panic!("{config:?}") };
    assert_eq!((resolved.region.as_str(), resolved.part_bytes), ("us-east-1", 5 << 20));
    let all = errors(&format!("{s3}path = \"/mnt\"\npart_bytes = \"1KiB\"\ntimeout = \"1ms\"\nprefix = \"a/../b\"\n"));
    assert!(all[0].contains(":8:8: [[target]] path: is no key of this kind of target"), "{all:#?}");
    assert!(all[1].contains("9:14: [[target]] part_bytes: is no length of a part"), "{all:#?}");
    assert!(all[2].contains("10:11: [[target]] timeout: is too short"), "{all:#?}");
    assert!(all[3].contains("11:10: [[target]] prefix"), "{all:#?}");
    let all = errors("[[target]]\nname = \"s3\"\nkind = \"s3\"\nbucket = \"calls\"");
    assert!(all[0].contains("1:1: [[target]]: has no endpoint, no access_key_file, no secret_key_file; expected"), "{all:#?}");
    let open = parse("n.toml", &s3.replace("https", "http")).unwrap().warnings;
    assert!(open[0].to_string().contains("4:12: warning: [[target]] endpoint: is not encrypted"), "{open:#?}");
}

#[test]
fn a_webdav_folder_has_a_user_with_a_password_or_neither() {
    let dav = "[[target]]\nname = \"d\"\nkind = \"webdav\"\nurl = \"https://dav.example.com/calls/\"\n";
    let config = parse("n.toml", dav).unwrap().config;
    let Place::WebDav(resolved) = &config.targets[0].place else { panic!("{config:?}") };
    assert_eq!((resolved.url.to_string().as_str(), &resolved.user), ("https://dav.example.com/calls", &None));
    let all = errors(&format!("{dav}user = \"a:b\"\nbucket = \"b\"\n"));
    assert!(all[0].contains("has only one of user and password_file"), "{all:#?}");
    assert!(all.iter().any(|error| error.contains(":5:8: [[target]] user: holds a \":\"")), "{all:#?}");
    assert!(all.iter().any(|error| error.contains("[[target]] bucket: is no key of this kind")), "{all:#?}");
    let all = errors(&format!("{dav}{}", dav.replace("\"d\"", "\"e\"")));
    assert!(all[0].contains("is target \"d\" already"), "{all:#?}");
}

#[test]
fn events_need_a_broker() {
    assert_eq!(parse("n.toml", "").unwrap().config.events.broker, None);
    let config = parse("n.toml", "[events]\nbroker = \"mqtts://b.example.com\"\n").unwrap().config.events;
    assert_eq!((config.broker.unwrap().port, config.topic.as_str(), config.status_every.as_secs()), (8_883, "nearend", 60));
    assert!(errors("[events]\nca_file = \"/ca.pem\"\n")[0].contains(":2:11: [events]: has no broker"));
    let all = errors("[events]\nbroker = \"mqtt://127.0.0.1\"\ntopic = \"a/+/b\"\nuser = \"x\"\nstatus_every = \"0s\"\n");
    assert!(all[0].contains(":3:9: [events] topic: \"a/+/b\" is no beginning of a topic"), "{all:#?}");
    assert!(all[1].contains(":4:8: [events]: has only one of user and password_file"), "{all:#?}");
    assert!(all[2].contains(":5:16: [events] status_every: is too short"), "{all:#?}");
    let open = parse("n.toml", "[events]\nbroker = \"mqtt://10.0.0.1\"\n").unwrap().warnings;
    assert!(open[0].to_string().contains("is not encrypted"), "{open:#?}");
}

#[test]
fn rates_and_windows_are_told_with_their_place() {
    let text = "[forward]\nrate = \"2Mbit\"\nwindows = [\"mon-fri 08:00-18:00 512kbit\", \"daily 8-9 closed\"]\ndeliver = \"frist\"\n\
                [[tenant]]\nid = \"1\"\npriority = \"urgent\"\nshare = 0\n";
    let all = errors(text);
    assert!(all[0].contains(":3:43: [forward] windows: \"daily 8-9 closed\" has no hours"), "{all:#?}");
    assert!(
        all[1].contains(":4:11: [forward] deliver: \"frist\" is not known; expected \"all\" or \"first\"; did you mean"),
        "{all:#?}"
    );
    assert!(all[2].contains(":7:12: [[tenant]] priority"), "{all:#?}");
    assert!(all[3].contains(":8:9: [[tenant]] share: is no share"), "{all:#?}");
}

#[test]
fn the_page_is_encrypted_wherever_others_can_reach_it() {
    assert_eq!(config("[web]\nlisten = \"0.0.0.0:8443\"").web.tls, PageTls::Generated);
    let own = config("[web]\nlisten = \"0.0.0.0:8443\"\ncert_file = \"/etc/c.pem\"\nkey_file = \"credential:k\"").web;
    assert_eq!((own.tls, own.key_file.map(|key| key.to_string())), (PageTls::Own, Some("credential:k".into())));
    assert_eq!(config("[web]\ntls = \"generated\"").web.tls, PageTls::Generated);
    for (text, fault) in [
        ("[web]\ntls = \"own\"", "2:7: [web]: has no certificate"),
        ("[web]\ncert_file = \"/etc/c.pem\"", "2:13: [web]: has no certificate"),
        ("[web]\ntls = \"none\"\ncert_file = \"/c\"\nkey_file = \"/k\"", "2:7: [web] tls: does not go with"),
        ("[web]\ntls = \"yes\"", "expected \"generated\", \"own\" or \"none\""),
    ] {
        assert!(error(text).contains(fault), "{text}: {}", error(text));
    }
}
