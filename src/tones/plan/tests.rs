//! The plan against the golden table of all combinations, and the rules one by one.

use super::*;

const GOLDEN: &str = include_str!("golden.txt");

/// The situations of the table: parameters, the state of the call, whose consent is asked for.
fn situation(name: &str) -> (Parameters, Situation, Consent) {
    let mut parameters = Parameters { audiosrc: Some("file:///tone.wav".into()), tonesilenceduration: Some("15000".into()) };
    let mut situation = Situation::Recording;
    let mut consent = Consent::AllParty;
    match name {
        "all-party" | "resumed" => {}
        "one-party" => consent = Consent::OneParty,
        "paused" => situation = Situation::Paused,
        "conference" => situation = Situation::Conference,
        "conference-one-party" => (situation, consent) = (Situation::Conference, Consent::OneParty),
        "no-audiosrc" => parameters.audiosrc = None,
        "empty-audiosrc" => parameters.audiosrc = Some(" ".into()),
        "bad-audiosrc" => parameters.audiosrc = Some("http://127.0.0.1/404".into()),
        "no-tonesilenceduration" => parameters.tonesilenceduration = None,
        "empty-tonesilenceduration" => parameters.tonesilenceduration = Some(" ".into()),
        "bad-tonesilenceduration" => parameters.tonesilenceduration = Some("15 s".into()),
        other => panic!("the table has an unknown situation {other}"),
    }
    (parameters, situation, consent)
}

fn plan(fields: &[&str], parameters: &Parameters) -> Plan {
    let chan1 = if fields[2] == "otherdnhears" { Chan1Source::OtherDnHears } else { Chan1Source::RecordDnSays };
    let chan2 = if fields[3] == "recorddnhears" { Chan2Source::RecordDnHears } else { Chan2Source::OtherDnSays };
    let options = Options { recorddn_hears: fields[0] == "yes", otherdn_hears: fields[1] == "yes", chan1, chan2 };
    let audio = |uri: &str| if uri.contains("404") { Err("404 Not Found".to_owned()) } else { Ok(4_000) };
    Plan { rhythm: parameters.rhythm(audio), options }
}

fn shown(content: Content) -> String {
    let speaker = if content.speaker == Party::RecordDn { "recorddn" } else { "otherdn" };
    format!("{speaker}{}", if content.tone { "+tone" } else { "" })
}

fn reason(plan: &Plan, situation: Situation) -> String {
    match plan.sounds(situation) {
        Ok(_) => "-".into(),
        Err(NoTone::BadAudiosrc { .. }) => "bad-audiosrc".into(),
        Err(NoTone::BadTonesilenceduration(_)) => "bad-tonesilenceduration".into(),
        Err(why) => serde_json::to_value(&why).unwrap().as_str().unwrap().to_owned(),
    }
}

#[test]
fn every_row_of_the_golden_table() {
    let rows: Vec<Vec<&str>> =
        GOLDEN.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 16 * 12);
    for row in rows {
        let (parameters, situation, consent) = situation(row[4]);
        let plan = plan(&row, &parameters);
        let found = [
            shown(plan.hears(Party::RecordDn, situation)),
            shown(plan.hears(Party::OtherDn, situation)),
            plan.channel(Channel::Recorded, situation).map_or("silence".into(), shown),
            plan.channel(Channel::Other, situation).map_or("silence".into(), shown),
            if plan.satisfies(consent, situation) { "consent".into() } else { "no-consent".into() },
            reason(&plan, situation),
        ];
        assert_eq!(found.as_slice(), &row[5..], "{row:?}");
    }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn each_extension_goes_over_the_profile() {
    let profile = map(&[("audiosrc", "http://a/1.wav"), ("ToneSilenceDuration", "15000")]);
    let both = Parameters::effective(&profile, &map(&[("AudioSrc", "http://b/2.wav")]));
    assert_eq!(both.audiosrc.as_deref(), Some("http://b/2.wav"));
    assert_eq!(both.tonesilenceduration.as_deref(), Some("15000"), "the other one stays");
    let empty = Parameters::effective(&profile, &map(&[("audiosrc", "")]));
    assert_eq!(empty.rhythm(|_| Ok(1)), Err(NoTone::EmptyAudiosrc), "an empty one counts, too");
    assert_eq!(Parameters::effective(&map(&[]), &map(&[])), Parameters::default());
}

#[test]
fn a_silence_is_milliseconds() {
    let with = |text: &str| Parameters { audiosrc: Some("file:///x".into()), tonesilenceduration: Some(text.into()) };
    assert_eq!(with(" 10000 ").rhythm(|_| Ok(3_200)), Ok(Rhythm { on_samples: 3_200, off_samples: 80_000 }));
    assert_eq!(with("").rhythm(|_| Ok(1)), Err(NoTone::NoTonesilenceduration));
    for bad in ["15s", "-1", "0", "99999999999", "1.5"] {
        assert_eq!(with(bad).rhythm(|_| Ok(1)), Err(NoTone::BadTonesilenceduration(bad.into())));
    }
    assert!(matches!(with("1").rhythm(|_| Ok(0)), Err(NoTone::BadAudiosrc { .. })), "an empty file is no tone");
}

#[test]
fn a_pause_cuts_the_tone_and_the_resumption_begins_with_one() {
    let rhythm = Rhythm { on_samples: 10, off_samples: 90 };
    assert_eq!(rhythm.tones(250, &[]), [0..10, 100..110, 200..210]);
    assert_eq!(rhythm.tones(250, &[105..130, 240..300]), [0..10, 100..105, 130..140, 230..240]);
    assert_eq!(rhythm.tones(205, &[]), [0..10, 100..110, 200..205], "the end cuts it, too");
    assert_eq!(rhythm.tones(0, &[]), []);
    let paused = |until: u64| rhythm.tones(50, std::slice::from_ref(&(0..until)));
    assert!(paused(50).is_empty());
    assert_eq!(paused(20).first(), Some(&(20..30)), "paused from the start");
}

#[test]
fn every_reason_says_what_to_do_or_why() {
    let reasons = [
        NoTone::NoAudiosrc,
        NoTone::EmptyAudiosrc,
        NoTone::BadAudiosrc { uri: "http://x".into(), reason: "404 Not Found".into() },
        NoTone::NoTonesilenceduration,
        NoTone::BadTonesilenceduration("x".into()),
        NoTone::Paused,
        NoTone::NobodyHears,
    ];
    let mut texts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    assert!(texts[2].contains("http://x") && texts[2].contains("404"));
    texts.dedup();
    assert_eq!(texts.len(), reasons.len());
}
