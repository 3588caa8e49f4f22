//! A small part of the corpus of synthetic calls; `scripts/tone-corpus` runs all of it.

mod corpus;

use corpus::{Call, Codec, Recipe, Score};

fn score(calls: u64, with_tone: bool) -> Score {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let codecs = &[Codec::Ulaw, Codec::Alaw, Codec::Ffmpeg("libopus"), Codec::G729];
    let recipe = Recipe { seconds: 60, with_tone, codecs, speech: Vec::new(), g729: corpus::build_g729(folder.path()) };
    let mut score = Score::default();
    for n in 0..calls {
        let call = Call::new(n, &recipe);
        let of_the_call = call.score(&call.examine());
        if of_the_call.found < of_the_call.tones || of_the_call.wrong > 0 {
            let Call { content, codec, preset, level_dbm0, .. } = call;
            println!("call {n}: {content:?}, {codec:?}, {level_dbm0:.0} dBm0, {preset}: {of_the_call:?}");
        }
        score.add(of_the_call);
    }
    score
}

#[test]
fn tones_are_found_under_speech_digits_and_music() {
    let score = score(16, true);
    assert!(score.tones >= 50, "{score:?}");
    assert!(score.percent_found() >= 98.0 && score.wrong == 0, "{score:?}");
}

#[test]
fn nothing_else_is_taken_for_a_tone() {
    let score = score(8, false);
    assert_eq!((score.tones, score.wrong), (0, 0), "{score:?}");
    assert!(score.hours() > 0.13);
}
