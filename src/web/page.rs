//! The status page: one HTML document without script, made anew for each request. Answers the questions of a person at
//! the rack: is everything recorded, is there room, what waits.

use std::fmt::Write;

use crate::model::{Flag, Recording, WallTime};

use super::Status;
use super::status::Aside;

/// The style sheet, served beside the page so that the content security policy can forbid inline styles.
pub const STYLE: &str = include_str!("style.css");

/// The page.
pub fn html(status: &Status) -> String {
    let mut page = String::with_capacity(8 << 10);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=5><title>{site} · Nearend</title><link rel=stylesheet href=/style.css></head><body>\
         <header><h1>{site}</h1><p>Nearend {version} · up {uptime} · {time}</p></header><main>",
        site = Text(&status.site),
        version = status.version,
        uptime = duration(status.uptime_s),
        time = status.time
    );
    let _ = verdict(&mut page, status);
    let _ = facts(&mut page, status);
    let _ = aside(&mut page, status);
    let _ = recordings(&mut page, "Calls now", "No call is being recorded.", &status.calls);
    let _ = recordings(&mut page, "Latest recordings", "Nothing has been recorded since the start.", &status.recent);
    page.push_str(
        "</main><footer><a href=/metrics>metrics</a> · <a href=/api/v1/status>status as JSON</a></footer></body></html>\n",
    );
    page
}

fn verdict(page: &mut String, status: &Status) -> std::fmt::Result {
    let troubles = status.targets.iter().filter_map(|(name, t)| t.trouble.as_ref().map(|trouble| (name, t.refused, trouble)));
    match &status.refusing {
        None => write!(page, "<p class=good role=status>Every call that arrives is recorded.</p>")?,
        Some(why) => write!(page, "<p class=bad role=alert>New calls are refused: {}</p>", Text(why))?,
    }
    if let Some(warning) = status.disk.medium.warning {
        let device = status.disk.medium.device.as_deref().unwrap_or_default();
        write!(page, "<p class=warn role=alert>Medium {}: {warning}</p>", Text(device))?;
    }
    if let Some(count) = status.assurance.findings.get("tone").filter(|count| **count > 0) {
        write!(
            page,
            "<p class=warn role=alert>Recording tone: {count} recordings of today do not hold it as they must; the log and the day's \
             report name them</p>"
        )?;
    }
    if let Some(trouble) = status.tone_sidecar.as_ref().and_then(|sidecar| sidecar.trouble.as_ref()) {
        write!(page, "<p class=warn role=alert>Tones: {}</p>", Text(trouble))?;
    }
    if let Some(source) = status.tone_source.as_ref().filter(|source| !source.usable) {
        let (uri, detail) = (Text(&source.uri), Text(&source.detail));
        write!(page, "<p class=warn role=alert>Recording tone {uri} ({state}): {detail}</p>", state = source.state)?;
    }
    for (name, refused, trouble) in troubles {
        let class = if refused { "bad" } else { "warn" };
        write!(page, "<p class={class} role=alert>Target {}: {}</p>", Text(name), Text(trouble))?;
    }
    for switch in &status.unmonitorable {
        write!(page, "<p class=warn>Switch {} cannot be monitored: it has no SIP T-Server</p>", Text(switch))?;
    }
    for (name, tserver) in status.tservers.iter().filter(|(_, tserver)| !tserver.up) {
        let (name, trouble) = (Text(name), Text(tserver.trouble.as_deref().unwrap_or("not yet")));
        write!(page, "<p class=warn role=alert>T-Server {name}: no link: {trouble}")?;
        match tserver.configuration_age_s {
            Some(age_s) => write!(page, "; the centre's configuration is {} old</p>", duration(age_s))?,
            None => write!(page, "; nothing is known of the centre's configuration</p>")?,
        }
    }
    for (name, target) in status.targets.iter().filter(|(_, target)| target.set_aside > 0) {
        write!(
            page,
            "<p class=warn role=alert>Target {}: {} recordings are set aside; they stay on this box until somebody has them tried again</p>",
            Text(name),
            target.set_aside
        )?;
    }
    Ok(())
}

fn facts(page: &mut String, status: &Status) -> std::fmt::Result {
    let totals = &status.totals;
    let medium = &status.disk.medium;
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".into());
    let aside: usize = status.targets.values().map(|t| t.set_aside).sum();
    page.push_str("<dl>");
    for (name, value) in [
        ("Recording now", status.running.to_string()),
        ("Since start", totals.recordings.to_string()),
        ("Waiting for the data centre", status.waiting.to_string()),
        ("Set aside", aside.to_string()),
        ("Recorded today", status.assurance.summary.clone()),
        ("Delivered", totals.delivered.to_string()),
        ("Packets", totals.media.packets.to_string()),
        ("Packets lost", totals.media.lost.to_string()),
        ("Disk free", bytes(status.disk.free_bytes)),
        ("Written per hour", known(medium.bytes_per_hour.map(bytes))),
        ("Medium worn", known(medium.used_percent.map(|percent| format!("{percent} %")))),
        ("Medium lasts", known(medium.left_hours.map(|hours| duration(hours.saturating_mul(3_600))))),
    ] {
        write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
    }
    page.push_str("</dl>");
    Ok(())
}

/// What targets will not take; nothing when there is nothing.
fn aside(page: &mut String, status: &Status) -> std::fmt::Result {
    if status.aside.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<section><h2>Set aside</h2><div class=scroll><table><thead><tr><th>Recording<th>Target<th>Since (UTC)<th>Why</tr></thead><tbody>",
    );
    for Aside { recording, target, since, why } in &status.aside {
        let (recording, target, since, why) = (Text(recording), Text(target), seconds(*since), Text(why));
        write!(page, "<tr><td>{recording}<td>{target}<td>{since}<td>{why}</tr>")?;
    }
    page.push_str("</tbody></table></div></section>");
    Ok(())
}

fn recordings(page: &mut String, title: &str, none: &str, recordings: &[Recording]) -> std::fmt::Result {
    write!(page, "<section><h2>{title}</h2>")?;
    if recordings.is_empty() {
        return write!(page, "<p>{none}</p></section>");
    }
    page.push_str(
        "<div class=scroll><table><thead><tr><th>Recording<th>Parties<th>Began (UTC)<th>Length<th>Packets<th>Lost<th>State</tr></thead><tbody>",
    );
    for recording in recordings {
        let sum =
            |count: fn(&crate::model::LegCounters) -> u64| recording.legs.iter().map(|leg| count(&leg.counters)).sum::<u64>();
        let parties: Vec<_> = recording.legs.iter().map(|leg| leg.dn.as_deref().unwrap_or("?")).collect();
        let length =
            recording.ended.map_or_else(String::new, |end| duration((end - recording.started).unsigned_abs() / 1_000_000));
        write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{length}<td>{}<td>{}<td>{}{}</tr>",
            Text(&recording.id.0),
            Text(&parties.join(" – ")),
            seconds(recording.started),
            sum(|c| c.packets),
            sum(|c| c.lost),
            stage(recording),
            Text(&flags(&recording.flags)),
        )?;
    }
    page.push_str("</tbody></table></div></section>");
    Ok(())
}

fn stage(recording: &Recording) -> &'static str {
    use crate::model::Stage::{Delivered, Ended, Finished, Recording as Running, Released};
    match recording.stage {
        Running => "recording",
        Ended => "to be finished",
        Finished => "on this box",
        Delivered => "delivered",
        Released => "delivered, local copy gone",
    }
}

fn flags(flags: &[Flag]) -> String {
    let name = |flag: &Flag| match flag {
        Flag::OneSided => "one side only",
        Flag::Continued => "continued",
        Flag::ChannelsByOrder => "channels by order of arrival",
        Flag::LaterPart => "a later part",
        Flag::MetadataIncomplete => "metadata incomplete",
        Flag::Interrupted => "interrupted by a restart",
        Flag::Damaged => "damaged",
        Flag::ClockSet => "clock set meanwhile",
    };
    flags.iter().map(|flag| format!(", {}", name(flag))).collect()
}

/// `2026-03-02 14:05:59`: people need no milliseconds.
fn seconds(time: WallTime) -> String {
    time.to_string().replace('T', " ").split('.').next().unwrap_or_default().to_owned()
}

fn duration(s: u64) -> String {
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

fn bytes(n: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", n / unit, n % unit * 10 / unit);
    match n {
        0..1_048_576 => format!("{} KiB", n >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", n >> 20),
        _ => format!("{} GiB", tenths(1 << 30)),
    }
}

/// Text from outside, escaped for HTML.
struct Text<'a>(&'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            _ => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_says_stays_text() {
        let status = Status { site: "<script>alert(1)</script>".into(), refusing: Some("a & b".into()), ..Status::default() };
        let page = html(&status);
        assert!(!page.contains("<script"));
        assert!(page.contains("New calls are refused: a &amp; b"));
    }

    #[test]
    fn what_is_not_known_of_the_medium_is_unknown() {
        let mut status = Status::default();
        assert_eq!(html(&status).matches("<dd>unknown</dd>").count(), 3);
        status.disk.medium.left_hours = Some(24 * 500);
        status.disk.medium.warning = Some("replace it soon");
        let page = html(&status);
        assert!(page.contains("<dd>500 d 0 h</dd>") && page.contains("replace it soon"));
    }

    #[test]
    fn a_missing_tone_is_an_alarm() {
        let mut status = Status::default();
        status.assurance.findings.insert("tone", 0);
        assert!(!html(&status).contains("Recording tone"));
        status.assurance.findings.insert("tone", 2);
        status.tone_source = Some(crate::web::status::ToneSource { state: "slow", ..Default::default() });
        assert!(html(&status).contains("(slow)"));
        assert!(html(&status).contains("role=alert>Recording tone: 2 recordings of today"));
    }

    #[test]
    fn what_is_set_aside_is_listed_with_its_reason() {
        let mut status = Status::default();
        assert!(!html(&status).contains("<h2>Set aside"));
        let (recording, target, why) = ("01ABC".into(), "dc".into(), "413 <raise the limit>".into());
        status.aside.push(Aside { recording, target, since: WallTime(0), why });
        assert!(html(&status).contains("<tr><td>01ABC<td>dc<td>1970-01-01 00:00:00<td>413 &lt;raise the limit&gt;</tr>"));
    }

    #[test]
    fn the_age_of_what_is_known_of_the_centre_is_shown_while_it_is_away() {
        use crate::web::status::TServer;
        let mut status = Status::default();
        let tserver = |up, configuration_age_s| TServer { up, configuration_age_s, ..TServer::default() };
        status.tservers.insert("hq".into(), tserver(true, Some(0)));
        assert!(!html(&status).contains("T-Server"));
        status.tservers.insert("hq".into(), tserver(false, Some(7_260)));
        assert!(html(&status).contains("T-Server hq: no link: not yet; the centre's configuration is 2 h 1 min old"));
        status.tservers.insert("hq".into(), tserver(false, None));
        assert!(html(&status).contains("nothing is known of the centre's configuration"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!((duration(59), duration(3_599), duration(90_000)), ("59 s".into(), "59 min 59 s".into(), "1 d 1 h".into()));
        assert_eq!((bytes(3 << 20), bytes(3 << 29)), ("3 MiB".into(), "1.5 GiB".into()));
    }
}
