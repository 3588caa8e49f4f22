//! Cutting a TCP stream into messages by Content-Length (RFC 3261 §7.5, §18.3), and the keep-alives between them
//! (RFC 5626 §3.5.1).
//!
//! A stream cannot be trusted any further once a message's end is unknown: then one [`Frame::Broken`] comes, and nothing after it.

use rsip::StatusCode;

use super::headers::{Headers, head_length};
use super::message::content_length;

/// The longest start line and headers.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The longest message.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// Collects what a connection reads and gives it out message by message.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: Vec<u8>,
    /// Length of the message at the front of the buffer, once its head is complete.
    message_bytes: Option<usize>,
    /// So much of an incomplete head has been searched for its end.
    searched: usize,
    broken: bool,
}

/// What comes off a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message for [`super::Message::parse`].
    Message(Vec<u8>),
    /// A keep-alive, to be answered with [`PONG`].
    Ping,
    /// The end of a message cannot be found: answer `status`, then close.
    Broken {
        /// What there is of its head, whole lines only.
        head: Vec<u8>,
        /// The answer it deserves.
        status: StatusCode,
        /// What is wrong, as reason phrase.
        reason: String,
    },
}

/// The answer to a keep-alive.
pub const PONG: &[u8] = b"\r\n";

impl StreamFramer {
    /// Adds what was read. Take all frames before adding more: that bounds the buffer to [`MAX_MESSAGE_BYTES`] and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, if one is complete.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        if self.message_bytes.is_none() {
            if self.skip_empty_lines() {
                return Some(Frame::Ping);
            }
            if matches!(self.buffer.first(), None | Some(b'\r' | b'\n')) {
                return None;
            }
            match self.find_end() {
                Ok(length) => self.message_bytes = length,
                Err((status, reason)) => return Some(self.give_up(status, reason)),
            }
        }
        let length = self.message_bytes.filter(|length| self.buffer.len() >= *length)?;
        let rest = self.buffer.split_off(length);
        self.message_bytes = None;
        self.searched = 0;
        Some(Frame::Message(std::mem::replace(&mut self.buffer, rest)))
    }

    /// Takes the line ends in front of a message away, up to a keep-alive; says whether it was one. Half a keep-alive stays.
    fn skip_empty_lines(&mut self) -> bool {
        let is_ping = self.buffer.starts_with(b"\r\n\r\n");
        let empty = self.buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let skip = match empty {
            _ if is_ping => 4,
            _ if empty == self.buffer.len() && empty < 4 => 0,
            _ => empty,
        };
        self.buffer.drain(..skip);
        is_ping
    }

    /// Length of the message at the front; none while its head is incomplete.
    fn find_end(&mut self) -> Result<Option<usize>, (StatusCode, String)> {
        let from = self.searched.saturating_sub(2); // an empty line may lie across two reads
        let head = head_length(&self.buffer[from..]).map(|length| from + length);
        self.searched = self.buffer.len();
        if head.unwrap_or(self.buffer.len()) > MAX_HEAD_BYTES {
            return Err((StatusCode::RequestEntityTooLarge, format!("Headers longer than {MAX_HEAD_BYTES} bytes")));
        }
        let Some(head) = head else { return Ok(None) };
        let headers = Headers::parse(self.buffer[..head].split(|&b| b == b'\n').skip(1));
        match content_length(&headers) {
            Ok(Some(body)) if body > MAX_MESSAGE_BYTES - head => {
                Err((StatusCode::RequestEntityTooLarge, format!("Message longer than {MAX_MESSAGE_BYTES} bytes")))
            }
            Ok(Some(body)) => Ok(Some(head + body)),
            Ok(None) => Err((StatusCode::LengthRequired, "Content-Length is required on a stream".to_owned())),
            Err(reason) => Err((StatusCode::BadRequest, reason)),
        }
    }

    fn give_up(&mut self, status: StatusCode, reason: String) -> Frame {
        self.broken = true;
        let mut head = std::mem::take(&mut self.buffer);
        head.truncate(MAX_HEAD_BYTES);
        let whole_lines = head.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        head.truncate(head_length(&head).unwrap_or(whole_lines));
        Frame::Broken { head, status, reason }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut framer = StreamFramer::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            frames.extend(std::iter::from_fn(|| framer.next_frame()));
        }
        frames
    }

    fn message(text: &str) -> Frame {
        Frame::Message(text.as_bytes().to_vec())
    }

    fn broken(text: &[u8]) -> (u16, String) {
        match frames(&[text]).as_slice() {
            [Frame::Broken { status, reason, .. }] => (status.code(), reason.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_and_keep_alives() {
        let wire = b"\r\nA\r\nl: 2\r\n\r\nxy\r\n\r\n\r\n\r\nB\nContent-Length : 0\n\n\r\n";
        let expected = [message("A\r\nl: 2\r\n\r\nxy"), Frame::Ping, Frame::Ping, message("B\nContent-Length : 0\n\n")];
        assert_eq!(frames(&[wire]), expected);
        assert_eq!(frames(&[b"\r\n", b"\r", b"\n"]), [Frame::Ping]);
    }

    #[test]
    fn a_stream_whose_end_is_lost_is_given_up() {
        assert_eq!(broken(b"A\r\n\r\nB"), (411, "Content-Length is required on a stream".into()));
        assert_eq!(broken(b"A\r\nl: x\r\n\r\n"), (400, "Content-Length \"x\" is no number".into()));
        assert_eq!(broken(b"A\r\nl: 262144\r\n\r\n").0, 413);
        assert_eq!(broken(&[b'x'; MAX_HEAD_BYTES + 1]).0, 413);
        let mut long = b"A\r\nB: c\r\n".to_vec();
        long.extend([b'x'; MAX_HEAD_BYTES]);
        let [Frame::Broken { head, .. }] = &frames(&[&long])[..] else { panic!() };
        assert_eq!(head, b"A\r\nB: c\r\n");
    }

    #[test]
    fn nothing_comes_after_the_break() {
        assert_eq!(frames(&[b"A\r\n\r\n", b"B\r\nl: 0\r\n\r\n"]).len(), 1);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_does_not_matter(cuts in prop::collection::vec(1..9usize, 0..40)) {
            let wire = b"A: b\r\nl: 3\r\n\r\nx\r\n\r\n\r\n\r\nC\r\nl: 0\r\n\r\nD\nl: 5\n\n12345\r\n\r\n";
            let mut rest = &wire[..];
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(frames(&chunks), frames(&[wire]));
        }
    }
}
