//! Whole tables: what is accepted, and what is said about what is not.

use super::super::{Config, Diagnostic, parse};
use crate::model::AudioFormat;
use crate::model::DnType;
use crate::rules::Record;

const BRANCH: &str = r#"
[[switch]]
id = "hq"

[[tserver]]
switch = "hq"
primary = "tcp:10.1.0.5:7002"

[[tserver.dns]]
dn = "7001-7049"

[[tserver.dns]]
dn = "8000"
type = "acd-position"
geo_location = "dallas"

[[calendar]]
name = "office"
time_zone = "America/Chicago"
days = ["mon-fri"]
hours = ["08:00-18:00"]

[[rule]]
name = "service line"
dn = ["7001-7049"]
dnis = ["1800"]
during = "office"
attached.skill = ["service"]
retention_class = "five-years"

[[rule]]
name = "nobody else"
record = "none"
"#;

fn config(text: &str) -> Config {
    parse("n.toml", text).unwrap_or_else(|errors| panic!("{errors:#?}")).config
}

fn error(text: &str) -> String {
    let errors = parse("n.toml", text).expect_err("has errors");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].to_string()
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = parse("n.toml", text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    loaded.warnings.iter().map(Diagnostic::to_string).collect()
}

#[test]
fn a_branch_says_what_it_says() {
    let config = config(BRANCH);
    let tserver = &config.tservers[0];
    assert_eq!((tserver.name.as_str(), tserver.primary.to_string().as_str()), ("hq", "tcp:10.1.0.5:7002"));
    assert_eq!((tserver.dns[0].dn_type, tserver.dns[1].dn_type), (DnType::Extension, DnType::AcdPosition));
    assert_eq!(config.rules[0].when.attached["skill"], ["service"]);
    assert_eq!((config.rules[0].then.record, config.rules[1].then.record), (Record::Audio, Record::None));
    assert_eq!(self::config(&toml::to_string(&config).unwrap()), config);
    assert_eq!(warnings(BRANCH), [""; 0]);
}

#[test]
fn every_error_has_its_place() {
    let replaced = |from: &str, to: &str| {
        assert!(BRANCH.contains(from), "{from:?} is not there");
        error(&BRANCH.replace(from, to))
    };
    let tserver = replaced("switch = \"hq\"", "switch = \"hg\"");
    assert!(tserver.starts_with("n.toml:6:10: [[tserver]] switch: \"hg\" is no switch of this file"), "{tserver}");
    assert!(tserver.ends_with("did you mean \"hq\"?"), "{tserver}");
    assert!(replaced("dn = \"8000\"", "dn = \"7049\"").contains(":13:6: [[tserver]] dns dn: \"7049\" meets \"7001-7049\""));
    assert!(replaced("acd-position", "queue").contains(":14:8: [[tserver]] dns type: \"queue\" is not known"));
    assert!(replaced("dn = \"7001-7049\"", "dn = \"10000-99999\"").contains(":5:1: [[tserver]] dns: 90001 DNs are more"));
    assert!(
        replaced("America/Chicago", "America/Dallas")
            .contains(":19:13: [[calendar]] time_zone: \"America/Dallas\" is no time zone")
    );
    assert!(replaced("08:00-18:00", "18:00-08:00").contains(":21:10: [[calendar]] hours: \"18:00-08:00\" runs over midnight"));
    assert!(replaced("dn = [\"7001-7049\"]", "dn = [\"7049-7001\"]").contains(":25:7: [[rule]] dn: \"7049-7001\" is empty"));
    assert!(replaced("dnis = [\"1800\"]", "dnis = []").contains(":26:8: [[rule]] dnis: is empty; expected at least one entry"));
    assert!(replaced("during = \"office\"", "during = \"offcie\"").ends_with("did you mean \"office\"?"));
    assert!(replaced("[\"service\"]", "[]").contains(":28:18: [[rule]] attached: is empty"));
    assert!(replaced("\"nobody else\"", "\"service line\"").contains(":32:8: [[rule]] name: \"service line\" is there twice"));
    assert!(replaced("record = \"none\"", "record = \"no\"").contains(":33:10: [[rule]] record: \"no\" is not known"));
    assert!(replaced("record = \"none\"", "share_percent = 0").contains(":33:17: [[rule]] share_percent: 0 is no share"));
    assert!(replaced("record = \"none\"", "recrod = \"none\"").ends_with("did you mean record?"));
    assert!(replaced("name = \"nobody else\"", "").contains("[[rule]]: has no name"));
}

#[test]
fn a_switch_has_one_tenant() {
    let text = "[[switch]]\nid = \"hq\"\n[[tserver]]\nswitch = \"hq\"\nprimary = \"tcp:sip:7002\"\n\
                [[tenant]]\nid = \"1\"\nswitches = [\"hq\"]\n[[tenant]]\nid = \"2\"\nswitches = [\"hq\"]\n";
    assert!(error(text).starts_with("n.toml:11:13: [[tenant]] switches: \"hq\" is there twice"));
    assert!(error("[[tenant]]\nid = \"1\"\nswitches = [\"hq\"]\n").contains(":3:13: [[tenant]] switches: \"hq\" is no switch"));
}

#[test]
fn what_a_rule_cannot_have_done_is_refused() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"x\"\n{rest}\n");
    assert!(error(&rule("record = \"both\"")).contains(":3:10: [[rule]] record: \"both\": this version captures no screens"));
    assert!(error(&rule("tone = \"uk2\"")).starts_with("n.toml:3:8: [[rule]] tone: \"uk2\" is no preset; expected one of "));
    assert!(error(&rule("format = \"mp3\"")).contains(":3:10: [[rule]] format: \"mp3\" is not known"));
    assert_eq!(config(&rule("format = \"opus\"\ntone = \"us\"")).rules[0].then.format, Some(AudioFormat::Opus));
}

#[test]
fn tls_needs_somebody_to_trust() {
    let tserver = |rest: &str| format!("[[switch]]\nid = \"hq\"\n[[tserver]]\nswitch = \"hq\"\n{rest}");
    let tls = config(&tserver("primary = \"tls:sip:7002\"\nca_file = \"/etc/nearend/ca.pem\"\ntls_name = \"tserver\"\n"));
    assert_eq!(tls.tservers[0].tls_name.as_deref(), Some("tserver"));
    assert_eq!(config(&toml::to_string(&tls).unwrap()), tls);
    assert!(error(&tserver("primary = \"tls:sip:7002\"\n")).starts_with("n.toml:5:11: [[tserver]] ca_file: a link over TLS"));
    let plain = |key: &str| error(&tserver(&format!("primary = \"tcp:sip:7002\"\n{key} = \"/x\"\n")));
    assert!(plain("ca_file").starts_with("n.toml:6:11: [[tserver]] ca_file: does nothing without TLS"));
    assert!(plain("tls_name").starts_with("n.toml:6:12: [[tserver]] tls_name: does nothing without TLS"));
}

#[test]
fn a_switch_without_t_server_is_warned_of() {
    let warning = &warnings("[[switch]]\nid = \"old-pbx\"\n")[0];
    assert!(warning.starts_with("n.toml:1:1: warning: [[switch]]: switch \"old-pbx\" cannot be monitored"), "{warning}");
}

#[test]
fn what_a_rule_names_in_vain_is_warned_of() {
    let warnings = warnings("[[rule]]\nname = \"x\"\ntenant = [\"77\"]\nrecord = \"none\"\ntone = \"us\"\n");
    assert!(warnings[0].contains(":3:11: warning: [[rule]] tenant: \"77\" has no table in this file"), "{warnings:#?}");
    assert!(warnings[1].contains(":4:10: warning: [[rule]] record: records nothing"), "{warnings:#?}");
}

#[test]
fn a_rule_that_can_never_match_is_warned_of_where_it_stands() {
    let text = "[[rule]]\nname = \"all\"\n[[rule]]\nname = \"cards\"\ndn = [\"7001\"]\n";
    let warning = &warnings(text)[0];
    let expected = "n.toml:3:1: warning: [[rule]]: rule \"cards\" can never match: every call that it is for is taken by rule \"all\" before";
    assert!(warning.starts_with(expected), "{warning}");
}

#[test]
fn there_may_be_many_rules_but_not_any_number() {
    let rules = |n: usize| (0..n).map(|n| format!("[[rule]]\nname = \"{n}\"\ndn = [\"{n}\"]\n")).collect::<String>();
    assert_eq!(config(&rules(1_000)).rules.len(), 1_000);
    assert!(error(&rules(1_001)).starts_with("n.toml:3001:1: [[rule]]: 1001 rules are too many"));
}

#[test]
fn parents_are_tenants_and_stand_above() {
    let tenants = |a: &str, b: &str| format!("[[tenant]]\nid = \"1\"\n{a}\n[[tenant]]\nid = \"2\"\n{b}\n");
    assert_eq!(config(&tenants("", "parent = \"1\"")).tenants[1].parent.as_ref().map(ToString::to_string).as_deref(), Some("1"));
    assert!(error(&tenants("", "parent = \"11\"")).contains(":6:10: [[tenant]] parent: \"11\" is no tenant of this file"));
    assert!(error(&tenants("parent = \"1\"", "")).contains(":3:10: [[tenant]] parent: \"1\" would stand above itself"));
    let circle = parse("n.toml", &tenants("parent = \"2\"", "parent = \"1\"")).unwrap_err();
    assert_eq!(circle.len(), 2, "{circle:#?}");
}

#[test]
fn peers_are_sip_uris() {
    let errors: Vec<String> =
        parse("n.toml", "[[peer]]\nuri = \"10.1.2.3\"\n").unwrap_err().iter().map(Diagnostic::to_string).collect();
    let expected = "n.toml:2:7: [[peer]] uri: \"10.1.2.3\" is no SIP URI";
    assert!(errors.iter().any(|error| error.starts_with(expected)), "{errors:#?}");
    assert!(error(&"[[peer]]\nuri = \"sip:b\"\n".repeat(2)).contains(":4:7: [[peer]] uri: \"sip:b\" is there twice"));
    assert!(error("[[peer]]\n").contains("[[peer]]: has no uri"));
}
