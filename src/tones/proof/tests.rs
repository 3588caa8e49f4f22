//! Recordings with and without the tone, in either law, and what is demanded of them.

use super::super::synth::tone;
use super::*;
use crate::finish::testing::recording;
use crate::model::ToneVerdict;
use crate::model::g711::{linear_to_alaw, linear_to_ulaw};
use crate::model::recording::Ruling;

const SECONDS: usize = 40;

/// The starts of the tones of a call of 40 s, in milliseconds.
const ALL: [usize; 3] = [200, 15_700, 31_200];

/// A channel with the tone of the United States at these places.
fn channel(starts_ms: &[usize]) -> Vec<i16> {
    let mut samples = vec![0; SECONDS * 8_000];
    let tone = tone(1_400.0, 4_000, -20.0);
    for start in starts_ms {
        samples[start * 8..start * 8 + 4_000].copy_from_slice(&tone);
    }
    samples
}

fn policy(demand: ToneDemand) -> Policy {
    Policy { preset: Preset::default(), demand }
}

fn findings_of(
    policy: Policy,
    recording: &Recording,
    law: Law,
    channels: [&[usize]; 2],
    spans: [Vec<Range<u64>>; 2],
) -> ToneFindings {
    let coded = if law == Law::Pcmu { linear_to_ulaw } else { linear_to_alaw };
    let [recorded, other] = channels.map(channel);
    let frames: Vec<u8> = recorded.iter().zip(&other).flat_map(|(a, b)| [coded(*a), coded(*b)]).collect();
    let mut listener = policy.listen(recording, law);
    frames.chunks(8_000).for_each(|frames| listener.frames(frames));
    listener.finish(spans)
}

fn whole() -> [Vec<Range<u64>>; 2] {
    let whole = 0..SECONDS as u64 * 8_000;
    [vec![whole.clone()], vec![whole]]
}

fn found(demand: ToneDemand, channels: [&[usize]; 2]) -> ToneFindings {
    findings_of(policy(demand), &recording(1, "a", 40_000), Law::Pcmu, channels, whole())
}

#[test]
fn what_is_there_is_counted_placed_and_measured_in_both_laws() {
    for law in [Law::Pcmu, Law::Pcma] {
        let findings = findings_of(policy(ToneDemand::None), &recording(1, "a", 40_000), law, [&[], &ALL], whole());
        let other = &findings.channels[1];
        assert_eq!((other.expected, other.found, other.missing, other.verdict), (3, 3, 0, ToneVerdict::Pass), "{law:?}");
        let near = |value: Option<f64>, right: f64, by: f64| value.is_some_and(|value| (value - right).abs() < by);
        assert!(near(other.first_ms, 200.0, 4.0) && near(other.last_ms, 31_200.0, 4.0), "{other:?}");
        assert!(near(other.frequency_hz, 1_400.0, 1.0) && near(other.length_ms, 500.0, 4.0), "{other:?}");
        assert!(near(other.level_dbm0, -20.0, 0.3) && near(other.level_dbfs, -23.17, 0.3), "{other:?}");
        let recorded = &findings.channels[0];
        assert_eq!((recorded.found, recorded.expected, recorded.verdict), (0, 0, ToneVerdict::NoTone));
        assert_eq!((findings.verdict, findings.complaint()), (ToneVerdict::Pass, None));
    }
}

#[test]
fn every_demand_is_met_where_it_says_and_only_there() {
    let verdict = |demand, channels: [&[usize]; 2]| found(demand, channels).verdict;
    let (none, one, two, both): ([&[usize]; 2], _, _, _) = ([&[], &[]], [&ALL[..], &[]], [&[], &ALL[..]], [&ALL[..], &ALL[..]]);
    let (pass, fail) = (ToneVerdict::Pass, ToneVerdict::Fail);
    for (demand, verdicts) in [
        (ToneDemand::None, [ToneVerdict::NoTone, pass, pass, pass]),
        (ToneDemand::Any, [fail, pass, pass, pass]),
        (ToneDemand::Channel1, [fail, pass, fail, pass]),
        (ToneDemand::Channel2, [fail, fail, pass, pass]),
        (ToneDemand::Both, [fail, fail, fail, pass]),
    ] {
        assert_eq!([none, one, two, both].map(|channels| verdict(demand, channels)), verdicts, "{demand:?}");
    }
}

#[test]
fn a_missing_tone_has_its_place_and_its_complaint() {
    let findings = found(ToneDemand::Channel1, [&[ALL[0], ALL[2]], &[]]);
    let recorded = &findings.channels[0];
    assert_eq!((recorded.expected, recorded.found, recorded.missing), (3, 2, 1));
    assert!(recorded.missing_at_ms[0].abs_diff(15_700) < 10, "{recorded:?}");
    assert_eq!(
        findings.complaint().as_deref(),
        Some("tone us demanded in channel-1; channel 1: 1 of 3 tones are missing"),
        "{findings:?}"
    );
    assert_eq!(found(ToneDemand::None, [&[ALL[0], ALL[2]], &[]]).complaint(), None, "nobody demands it");
}

#[test]
fn a_rule_demands_its_own_tone() {
    let mut call = recording(1, "a", 40_000);
    let ruling = |tone: &str| Ruling {
        rule: "r".into(),
        retention_class: None,
        partitions: Vec::new(),
        format: None,
        tone: Some(tone.into()),
    };
    call.ruling = Some(Box::new(ruling("cn")));
    let findings = findings_of(policy(ToneDemand::None), &call, Law::Pcmu, [&ALL, &ALL], whole());
    assert_eq!((findings.preset.as_str(), findings.demand, findings.verdict), ("cn", ToneDemand::Any, ToneVerdict::Fail));
    call.ruling = Some(Box::new(ruling("us")));
    let findings = findings_of(policy(ToneDemand::Channel2), &call, Law::Pcmu, [&ALL, &[]], whole());
    assert_eq!((findings.demand, findings.verdict), (ToneDemand::Channel2, ToneVerdict::Fail), "where [tone] says");
}

#[test]
fn what_was_not_recorded_is_not_missed() {
    let spans = [std::iter::once(0..80_000).collect(), vec![0..120_000, 240_000..320_000]];
    let findings = findings_of(policy(ToneDemand::Both), &recording(1, "a", 40_000), Law::Pcmu, [&[], &[200, 31_200]], spans);
    assert_eq!(findings.channels[0].verdict, ToneVerdict::NoTone, "ten seconds may hold none");
    assert_eq!((findings.channels[1].found, findings.channels[1].missing), (2, 0), "{findings:?}");
    assert_eq!((findings.verdict, findings.complaint()), (ToneVerdict::NoTone, None));
}
