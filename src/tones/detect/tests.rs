//! The detector on tones, on what only sounds like one, and on what breaks the rhythm.

use super::super::plan::spans;
use super::super::synth::tone;
use super::super::verdict::{Channel, Target, Verdict, overall};
use super::*;

const US: Rhythm = Rhythm { on_samples: 4_000, off_samples: 120_000 };

/// A silent call with this tone at these places.
fn call(seconds: usize, frequency_hz: f64, on: usize, level_dbm0: f64, places: &[usize]) -> Vec<f32> {
    let mut samples = vec![0.0; seconds * 8_000];
    let tone = tone(frequency_hz, on, level_dbm0);
    for place in places {
        samples[*place..].iter_mut().zip(&tone).for_each(|(sample, tone)| *sample += f32::from(*tone));
    }
    samples
}

fn found_in(samples: &[f32], frequency_hz: f64, rhythm: Rhythm, pauses: &[Range<u64>]) -> Found {
    let mut detector = Detector::new(frequency_hz, rhythm.on_samples);
    samples.chunks(777).for_each(|part| detector.push(part));
    detector.finish(rhythm, &spans(samples.len() as u64, pauses))
}

fn judged(samples: &[f32]) -> Channel {
    let target = Target { frequency_hz: 1_400.0, rhythm: US };
    let found = found_in(samples, 1_400.0, US, &[]);
    Channel::judge(1, &found, &target, &spans(samples.len() as u64, &[]), true)
}

#[test]
fn a_clean_tone_is_measured_to_the_millisecond() {
    let found = found_in(&call(60, 1_403.0, 4_000, -25.0, &[1_234, 125_234, 249_234, 373_234]), 1_400.0, US, &[]);
    assert_eq!((found.tones.len(), found.misses.as_slice()), (4, [].as_slice()));
    for (tone, place) in found.tones.iter().zip([1_234, 125_234, 249_234, 373_234]) {
        assert!(tone.start.abs_diff(place) < 16 && (tone.end - tone.start).abs_diff(4_000) < 24, "{tone:?}");
        assert!((tone.frequency_hz - 1_403.0).abs() < 0.2, "{tone:?}");
        let level = 20.0 * (f64::from(tone.peak) / 32_768.0).log10() + 3.17;
        assert!((level + 25.0).abs() < 0.3, "{level}");
    }
}

#[test]
fn a_missing_tone_has_its_place_at_the_start_in_between_and_at_the_end() {
    let places = [0, 124_000, 248_000, 372_000, 496_000, 620_000];
    for gone in 0..places.len() {
        let left: Vec<usize> = places.iter().copied().filter(|place| *place != places[gone]).collect();
        let found = found_in(&call(80, 1_400.0, 4_000, -20.0, &left), 1_400.0, US, &[]);
        assert_eq!(found.tones.len(), 5, "{gone}");
        assert_eq!(found.misses.len(), 1, "{gone}: {:?}", found.misses);
        assert!(found.misses[0].abs_diff(places[gone] as u64) < 80, "{gone}: {:?}", found.misses);
    }
}

#[test]
fn a_call_without_tones_misses_those_that_it_would_hold_in_any_case() {
    assert_eq!(found_in(&vec![0.0; 480_000], 1_400.0, US, &[]).misses, [0, 124_000, 248_000]);
    assert_eq!(found_in(&[0.0; 8_000], 1_400.0, US, &[]), Found::default(), "too short to blame");
    assert_eq!(found_in(&[], 1_400.0, US, &[]), Found::default());
}

#[test]
fn the_rhythm_begins_anew_after_a_pause() {
    let samples = call(60, 1_400.0, 4_000, -20.0, &[0, 124_000, 300_000, 424_000]);
    let found = found_in(&samples, 1_400.0, US, std::slice::from_ref(&(200_000..300_000)));
    assert_eq!((found.tones.len(), found.misses.len()), (4, 0), "{:?}", found.misses);
}

#[test]
fn noise_and_digits_are_no_tones() {
    let mut rng = fastrand::Rng::with_seed(7);
    let noise: Vec<f32> = (0..1_920_000).map(|_| (rng.f32() - 0.5) * 8_000.0).collect();
    assert!(found_in(&noise, 1_400.0, US, &[]).tones.is_empty());
    let mut digits = call(120, 1_336.0, 4_000, -10.0, &[0, 124_000, 248_000, 372_000]);
    call(120, 852.0, 4_000, -10.0, &[0, 124_000, 248_000, 372_000]).iter().zip(&mut digits).for_each(|(a, b)| *b += a);
    assert!(found_in(&digits, 1_400.0, US, &[]).tones.is_empty());
}

#[test]
fn a_channel_of_hours_is_measured_in_bounded_memory() {
    let (minutes, tone) = (100, tone(1_400.0, 4_000, -24.0));
    let (pause, length) = (20_000_000..24_123_456_u64, minutes * 480_000_u64);
    let recorded = spans(length, std::slice::from_ref(&pause));
    let planned: Vec<u64> = recorded.iter().flat_map(|span| (span.start..span.end - 4_000).step_by(124_000)).collect();
    let gone = [7, 100, 101, 250];
    let places: Vec<u64> = planned.iter().enumerate().filter(|(n, _)| !gone.contains(n)).map(|(_, place)| *place).collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut detector = Detector::new(1_400.0, 4_000);
    let mut most = 0;
    for start in (0..length).step_by(8_000) {
        let at = |n: u64| {
            places[..places.partition_point(|place| *place <= n)].last().and_then(|place| tone.get((n - place) as usize))
        };
        let samples: Vec<f32> =
            (start..start + 8_000).map(|n| at(n).map_or(0.0, |s| f32::from(*s)) + 600.0 * (rng.f32() - 0.5)).collect();
        detector.push(&samples);
        most = most.max(detector.lines.kept().len());
        if detector.is_full() {
            detector.settle(US, &spans(start + 8_000, std::slice::from_ref(&pause)));
        }
    }
    assert!(most <= MOST_LINES + 125, "{most} lines");
    let found = detector.finish(US, &recorded);
    assert_eq!((found.tones.len(), found.misses.len()), (places.len(), gone.len()), "{:?}", found.misses);
    let off = found.tones.iter().zip(&places).filter(|(tone, place)| tone.start.abs_diff(**place) >= 64);
    assert_eq!(off.collect::<Vec<_>>(), []);
    assert!(found.misses.iter().zip(gone).all(|(miss, n)| miss.abs_diff(planned[n]) < 200), "{:?}", found.misses);
}

#[test]
fn every_fault_is_named() {
    let places = [0, 124_000, 248_000, 372_000];
    assert_eq!(judged(&call(60, 1_400.0, 4_000, -20.0, &places)).verdict, Verdict::Pass);
    let fault = |samples: &[f32]| {
        let channel = judged(samples);
        assert_eq!((channel.verdict, overall(std::slice::from_ref(&channel))), (Verdict::Fail, Verdict::Fail));
        channel.faults.join("; ")
    };
    assert!(fault(&call(60, 1_425.0, 4_000, -20.0, &places)).contains("1425.0 Hz; expected 1400 Hz"));
    assert!(fault(&call(60, 1_400.0, 3_200, -20.0, &places)).contains("4 tones have a wrong length"));
    assert!(
        fault(&call(60, 1_400.0, 4_000, -20.0, &[0, 104_000, 208_000, 312_000, 416_000]))
            .contains("ms between two tones; expected 15000 ms")
    );
    assert!(fault(&call(60, 1_400.0, 4_000, -20.0, &[0, 124_000, 372_000])).contains("1 of 4 tones are missing"));
    assert_eq!(fault(&vec![0.0; 480_000]), "no tone was found");
}

#[test]
fn what_nobody_named_is_found_out() {
    use super::super::presets::Preset;
    use super::super::survey::Survey;
    let found = |samples: &[f32]| {
        let mut survey = Survey::default();
        survey.push(samples);
        survey.finish(&spans(samples.len() as u64, &[]))
    };
    for country in ["us", "cn", "au", "de"] {
        let preset = Preset::of(country).unwrap();
        let period = usize::try_from(preset.rhythm().period()).unwrap();
        let places: Vec<usize> = (0..470_000).step_by(period).collect();
        let samples = call(60, f64::from(preset.frequency_hz), preset.on_ms as usize * 8, -20.0, &places);
        let (target, tones) = found(&samples).unwrap();
        assert_eq!(target, Target::from(preset), "{country}");
        assert_eq!((tones.tones.len(), tones.misses.len()), (places.len(), 0), "{country}");
    }
    let (target, tones) = found(&call(60, 1_007.0, 2_400, -20.0, &[0, 64_000, 128_000, 192_000, 256_000, 320_000])).unwrap();
    assert!((target.frequency_hz - 1_007.0).abs() < 0.5 && tones.tones.len() == 6, "{target:?}");
    assert!(found(&[0.0; 80_000]).is_none());
}
