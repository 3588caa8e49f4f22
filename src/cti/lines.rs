//! Bytes -> lines. A line that is too long is skipped up to its end without being kept, so that no peer fills the memory.

/// Longer lines are skipped. T-Lib's attached data has at most 64 kB.
pub const MAX_LINE_BYTES: usize = 256 * 1_024;

/// What a peer sent, line by line.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line that is not complete yet.
    partial: Vec<u8>,
    /// Bytes of it, also when it is too long to be kept.
    length: usize,
}

/// A line is over.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// This one, without its end.
    Whole(&'a [u8]),
    /// It was too long.
    TooLong {
        /// So many bytes.
        bytes: usize,
    },
}

impl Lines {
    /// Takes in what has arrived; `line` gets each line that is complete by it, except empty ones.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Line<'_>)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, rest) = bytes.split_at(end);
            self.keep(head);
            if self.length > MAX_LINE_BYTES {
                line(Line::TooLong { bytes: self.length });
            } else {
                let whole = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
                if !whole.iter().all(u8::is_ascii_whitespace) {
                    line(Line::Whole(whole));
                }
            }
            self.clear();
            bytes = &rest[1..];
        }
        self.keep(bytes);
    }

    /// Bytes of a line that has begun and not ended.
    pub fn unfinished_bytes(&self) -> usize {
        self.length
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len());
        if self.length <= MAX_LINE_BYTES {
            self.partial.extend_from_slice(bytes);
        } else {
            self.partial = Vec::new();
        }
    }

    fn clear(&mut self) {
        self.length = 0;
        self.partial.clear();
        self.partial.shrink_to(4_096);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.push(chunk, |line| {
                seen.push(match line {
                    Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                    Line::TooLong { bytes } => format!("too long: {bytes}"),
                });
            });
        }
        seen
    }

    #[test]
    fn lines_come_in_any_pieces() {
        assert_eq!(lines(&[b"ab", b"c\r\n\n  \nd\ne", b"f"]), ["abc", "d"]);
    }

    #[test]
    fn a_line_of_ten_megabytes_is_skipped_and_never_kept() {
        let mut reader = Lines::default();
        let chunk = vec![b'x'; 64 * 1_024];
        for _ in 0..160 {
            reader.push(&chunk, |line| panic!("{line:?}"));
            assert!(reader.partial.capacity() <= 2 * MAX_LINE_BYTES);
        }
        let mut seen = Vec::new();
        reader.push(b"\nnext\n", |line| seen.push(format!("{line:?}")));
        assert_eq!(seen, ["TooLong { bytes: 10485760 }", "Whole([110, 101, 120, 116])"]);
    }

    proptest! {
        #[test]
        fn how_it_is_cut_makes_no_difference(text in "[a-c\n]{0,60}", cut in 0_usize..60) {
            let cut = cut.min(text.len());
            let (head, tail) = text.as_bytes().split_at(cut);
            prop_assert_eq!(lines(&[head, tail]), lines(&[text.as_bytes()]));
        }
    }
}
