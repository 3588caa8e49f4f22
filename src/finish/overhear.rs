//! Lets somebody listen to the frames on their way to the file, and says when each channel was recorded at all. Pure.

use std::io::{self, Write};
use std::ops::Range;

use super::gaps::{Gap, GapReason};
use super::overlay::lane_of;
use crate::model::MediaTime;
use crate::model::tone::ToneListener;

/// Where frames go.
pub trait Frames: Write {
    /// Whether it has to be told now when each channel was recorded.
    fn asks_when(&self) -> bool {
        false
    }

    /// When each channel was recorded up to now, as [`recorded_spans`].
    fn tell_when(&mut self, _spans: [Vec<Range<u64>>; 2]) {}
}

/// Passes frames on to `out` and to whoever listens.
pub struct Overheard<'l, W> {
    /// Where they go.
    pub out: W,
    /// Who listens.
    pub listener: Option<&'l mut (dyn ToneListener + 'static)>,
}

impl<W: Write> Write for Overheard<'_, W> {
    /// Takes all or nothing, so that no frame is torn apart.
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        self.out.write_all(frames)?;
        if let Some(listener) = &mut self.listener {
            listener.frames(frames);
        }
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Frames for Overheard<'_, W> {
    fn asks_when(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| listener.is_full())
    }

    fn tell_when(&mut self, spans: [Vec<Range<u64>>; 2]) {
        if let Some(listener) = &mut self.listener {
            listener.settle(spans);
        }
    }
}

/// When each channel was recorded, in samples from the start of the file: always but for pauses, its time before the first audio,
/// restarts of the box and damage. A tone that a network lost, or that was not sent, is not in the recording all the same.
pub fn recorded_spans<'g>(gaps: impl Iterator<Item = &'g Gap>, span: &Range<MediaTime>) -> [Vec<Range<u64>>; 2] {
    let from_start = |at: MediaTime| u64::try_from(at.0.saturating_sub(span.start.0)).unwrap_or(0);
    let mut spans = [Vec::new(), Vec::new()];
    let mut since = [0; 2];
    for gap in gaps {
        if matches!(gap.reason, GapReason::NoStream | GapReason::Loss) {
            continue;
        }
        let lane = lane_of(gap.channel);
        spans[lane].push(since[lane]..from_start(gap.place.start));
        since[lane] = from_start(gap.place.end);
    }
    for (spans, since) in spans.iter_mut().zip(since) {
        spans.push(since..from_start(span.end));
        spans.retain(|span| span.start < span.end);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Channel;
    use crate::model::tone::ToneFindings;

    #[derive(Default)]
    struct Heard(Vec<u8>);

    impl ToneListener for Heard {
        fn frames(&mut self, frames: &[u8]) {
            self.0.extend_from_slice(frames);
        }

        fn is_full(&self) -> bool {
            self.0.len() >= 4
        }

        fn settle(&mut self, spans: [Vec<Range<u64>>; 2]) {
            self.0 = vec![spans[0].len() as u8, spans[1].len() as u8];
        }

        fn finish(self: Box<Self>, _: [Vec<Range<u64>>; 2]) -> ToneFindings {
            unreachable!("nobody asks")
        }
    }

    #[test]
    fn frames_reach_both_and_only_what_was_written_is_heard() {
        let mut heard = Heard::default();
        let mut file = Vec::new();
        Overheard { out: &mut file, listener: Some(&mut heard) }.write_all(&[1, 2, 3, 4]).unwrap();
        assert_eq!((file.as_slice(), heard.0.as_slice()), (&[1, 2, 3, 4][..], &[1, 2, 3, 4][..]));
        let mut full = [0_u8; 2];
        Overheard { out: &mut full[..], listener: Some(&mut heard) }.write_all(&[5, 6, 7, 8]).unwrap_err();
        assert_eq!(heard.0.len(), 4, "what is not in the file was not heard");
        let mut overheard = Overheard { out: &mut file, listener: Some(&mut heard) };
        assert!(overheard.asks_when());
        overheard.tell_when([vec![0..1, 2..3], vec![0..1, 1..2, 2..3]]);
        assert!(!overheard.asks_when());
        assert_eq!(heard.0, [2, 3]);
    }

    #[test]
    fn only_what_was_not_recorded_on_purpose_or_by_the_box_is_left_out() {
        let gap =
            |channel, place: Range<i64>, reason| Gap { channel, place: MediaTime(place.start)..MediaTime(place.end), reason };
        let gaps = [
            gap(Channel::Other, 80..180, GapReason::NotStarted),
            gap(Channel::Recorded, 200..300, GapReason::Loss),
            gap(Channel::Recorded, 400..500, GapReason::Pause),
            gap(Channel::Other, 400..500, GapReason::NoStream),
            gap(Channel::Recorded, 900..1_080, GapReason::Restart),
        ];
        let [recorded, other] = recorded_spans(gaps.iter(), &(MediaTime(80)..MediaTime(1_080)));
        assert_eq!(recorded, [0..320, 420..820]);
        assert_eq!(other, std::slice::from_ref(&(100..1_000)));
    }
}
