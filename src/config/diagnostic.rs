//! What is wrong with a file, where, and what was probably meant.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// At most so many are kept of one file: what comes after the first hundred helps nobody.
const MOST: usize = 100;

/// One finding, shown as `file:line:column: [table] key: what is wrong; what was expected; what to do`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// Name of the file as the caller gave it.
    pub file: String,
    /// Counted from 1; 0 when the file itself could not be read.
    pub line: usize,
    /// In characters, counted from 1; 0 when the file itself could not be read.
    pub column: usize,
    /// `[table] key`; empty where it is the text itself that cannot be read.
    pub key: String,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file is used, but somebody should know.
    Warning,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(if self.severity == Severity::Warning { ": warning: " } else { ": " })?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Gathers the findings of one text and turns byte offsets into lines and columns.
pub(super) struct Findings<'a> {
    name: &'a str,
    text: &'a str,
    list: Vec<(Range<usize>, Diagnostic)>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Findings<'a> {
        Findings { name, text, list: Vec::new() }
    }

    /// The file cannot be used: `key` is wrong at the bytes of `span`. Of a value that holds an error already nothing more is
    /// said: a list whose only entry was wrong is not "empty" as well.
    pub(super) fn error(&mut self, span: Range<usize>, key: impl Into<String>, message: impl Into<String>) {
        let within = |s: &Range<usize>| !s.is_empty() && span.start <= s.start && s.end <= span.end;
        if self.list.iter().any(|(s, known)| known.severity == Severity::Error && within(s)) {
            return;
        }
        self.add(Severity::Error, span, key.into(), message.into());
    }

    /// The file can be used, but somebody should know this.
    pub(super) fn warning(&mut self, span: Range<usize>, key: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, span, key.into(), message.into());
    }

    /// Whether the file is known to be unusable.
    pub(super) fn has_errors(&self) -> bool {
        self.list.iter().any(|(_, found)| found.severity == Severity::Error)
    }

    /// Whether nothing more is taken down.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// (errors, warnings), each in the order of the text.
    pub(super) fn finish(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.list.sort_by_key(|(span, _)| span.start);
        self.list.into_iter().map(|(_, found)| found).partition(|d| d.severity == Severity::Error)
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, key: String, message: String) {
        if !self.is_full() {
            let (line, column) = place(self.text, span.start);
            let file = self.name.to_owned();
            self.list.push((span, Diagnostic { severity, file, line, column, key, message }));
        }
    }
}

/// Line and column of a byte, both counted from 1. A place behind the end is the end; the empty line behind the last line
/// feed is no line that an editor shows, so the end of such a text is the end of its last line.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// The word that was probably meant: the one with the fewest slips of the keyboard, when they are few for its length.
pub(super) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    let (slips, best) = known.iter().map(|k| (slips(word, k), *k)).min_by_key(|(slips, _)| *slips)?;
    (slips <= most).then_some(best)
}

/// Edit distance with swapped neighbours as one slip (optimal string alignment), letters of either case being the same.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().take(64).collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "[site]\nname = \"Köln\" # x\n";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, 7), (2, 1));
        assert_eq!(place(text, text.find('#').unwrap()), (2, 15), "ö is one column, though two bytes");
        assert_eq!(place(text, 9_999), (2, 18), "behind the end is the end of the last line");
        assert_eq!(place("", 0), (1, 1));
        assert_eq!(place("ö", 1), (1, 2), "within a character is as good as behind it");
    }

    #[test]
    fn the_nearest_word_is_found_and_nonsense_is_not() {
        let known = ["listen", "advertise", "trusted", "max_recordings"];
        assert_eq!(nearest("lisetn", &known), Some("listen"));
        assert_eq!(nearest("Trusted", &known), Some("trusted"));
        assert_eq!(nearest("max_recording", &known), Some("max_recordings"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn slips_count_swaps_once() {
        assert_eq!(slips("ports", "ports"), 0);
        assert_eq!(slips("prots", "ports"), 1);
        assert_eq!(slips("", "ports"), 5);
        assert_eq!(slips("ports", ""), 5);
    }

    #[test]
    fn findings_stand_in_the_order_of_the_text_and_are_bounded() {
        let mut findings = Findings::new("n.toml", "a = 1\nb = 2\n");
        findings.error(6..7, "b", "second");
        findings.warning(0..1, "a", "aside");
        findings.error(0..1, "a", "first");
        let (errors, warnings) = findings.finish();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), ["n.toml:1:1: a: first", "n.toml:2:1: b: second"]);
        assert_eq!(warnings[0].to_string(), "n.toml:1:1: warning: a: aside");

        let mut findings = Findings::new("n.toml", "");
        (0..1_000).for_each(|_| findings.error(0..0, "", "again"));
        assert_eq!(findings.finish().0.len(), MOST);

        let mut findings = Findings::new("n.toml", "a = [1]");
        findings.error(5..6, "a", "wrong entry");
        findings.error(4..7, "a", "empty list");
        assert_eq!(findings.finish().0.len(), 1);
    }
}
