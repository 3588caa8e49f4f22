//! A switch's own call records as CSV (RFC 4180): a header line with the columns `call_uuid`, `dn`, `start`, `end` in any order;
//! others are ignored. Times are ISO 8601 with an offset.

use super::check::Call;
use crate::model::{CallUuid, WallTime};

/// A row longer than this is no call record.
const MOST_LINE_BYTES: usize = 64 << 10;

/// One row: its line, counted from 1, and its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Line of the file.
    pub line: usize,
    /// The call.
    pub call: Call,
}

/// Where the columns stand.
struct Columns {
    call_uuid: Option<usize>,
    dn: Option<usize>,
    start: usize,
    end: usize,
}

/// Reads the file.
///
/// # Errors
/// The first line that cannot be read, and why.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text); // as spreadsheets write it
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) =
        lines.next().ok_or("line 1: the file is empty; expected a header line with call_uuid or dn, start and end")?;
    let columns = columns(header).map_err(|why| format!("line 1: {why}"))?;
    lines.map(|(n, line)| row(n + 1, line, &columns).map_err(|why| format!("line {}: {why}", n + 1))).collect()
}

fn columns(header: &str) -> Result<Columns, String> {
    let names: Vec<String> = cells(header)?.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    let place = |name: &str| names.iter().position(|known| known == name);
    let (call_uuid, dn) = (place("call_uuid"), place("dn"));
    match (place("start"), place("end")) {
        (Some(start), Some(end)) if call_uuid.is_some() || dn.is_some() => Ok(Columns { call_uuid, dn, start, end }),
        _ => Err(format!("columns {}; expected start, end, and call_uuid or dn", names.join(", "))),
    }
}

fn row(line: usize, text: &str, columns: &Columns) -> Result<Row, String> {
    let cells = cells(text)?;
    let cell = |n: usize| cells.get(n).map_or("", |cell| cell.trim());
    let given = |n: Option<usize>| n.map(cell).filter(|text| !text.is_empty()).map(str::to_owned);
    let (call_uuid, dn) = (given(columns.call_uuid), given(columns.dn));
    if call_uuid.is_none() && dn.is_none() {
        return Err("neither call_uuid nor dn; expected one of them".into());
    }
    let (started, ended) = (time(cell(columns.start))?, time(cell(columns.end))?);
    if ended < started {
        return Err(format!("ends before it starts; expected start {started} not after end {ended}"));
    }
    Ok(Row { line, call: Call { call_uuid: call_uuid.map(|uuid| CallUuid(uuid.into())), dn, started, ended } })
}

fn time(text: &str) -> Result<WallTime, String> {
    let time = text.parse::<jiff::Timestamp>();
    let expected = "expected one with its offset, such as 2026-03-02T14:05:59Z or 2026-03-02T08:05:59-06:00";
    time.map(|time| WallTime(time.as_microsecond())).map_err(|_| format!("{text:?} is no time; {expected}"))
}

/// The cells of a line; those in quotes may hold commas and doubled quotes, but no line break.
fn cells(line: &str) -> Result<Vec<String>, String> {
    if line.len() > MOST_LINE_BYTES {
        return Err("longer than 64 KiB; expected a call record".into());
    }
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let cell = cells.last_mut().ok_or("no cell")?; // there is always one
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    if quoted { Err("a quote is not closed; expected a closing one on the same line".into()) } else { Ok(cells) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_come_in_any_order_and_others_are_ignored() {
        let text = "\u{feff}agent,End,start,DN,call_uuid\r\n\"Smith, \"\"Jo\"\"\",2026-03-02T14:06:00Z,2026-03-02T08:05:00-06:00,7001,\r\n\r\n,2026-03-02T14:06:00Z,2026-03-02T14:05:00Z,,U2\n";
        let rows = parse(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].line, rows[0].call.dn.as_deref(), &rows[0].call.call_uuid), (2, Some("7001"), &None));
        assert_eq!(rows[0].call.ended - rows[0].call.started, 60_000_000);
        assert_eq!((rows[1].line, rows[1].call.call_uuid.clone()), (4, Some(CallUuid("U2".into()))));
    }

    #[test]
    fn what_cannot_be_read_has_its_line() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(error("").starts_with("line 1: the file is empty"));
        assert!(error("dn,start\n").contains("expected start, end, and call_uuid or dn"));
        let row = |row: &str| error(&format!("dn,start,end\n{row}\n"));
        assert!(row("7001,2026-03-02 14:05,2026-03-02T14:06:00Z").starts_with("line 2: \"2026-03-02 14:05\" is no time"));
        assert!(row(",2026-03-02T14:05:00Z,2026-03-02T14:06:00Z").contains("neither call_uuid nor dn"));
        assert!(row("7001,2026-03-02T14:06:00Z,2026-03-02T14:05:00Z").contains("ends before it starts"));
        assert!(row("\"7001,").contains("quote is not closed"));
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "\\PC{0,80}\n[,\"a-z0-9:TZ\\-\n]{0,200}") {
            let _ = parse(&text);
            let _ = parse(&format!("dn,start,end\n{text}"));
        }
    }
}
