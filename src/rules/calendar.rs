//! Days and hours as people of one place keep them: office hours, holidays. Daylight saving time is the time zone's business;
//! its rules are compiled in, so that a box without a zone database decides the same.

use std::fmt;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::model::WallTime;

/// A year of days, the longest range of dates.
pub const MOST_DAYS: i32 = 366;

/// When it is time. What is not said does not limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calendar {
    /// Its name in rules.
    pub name: String,
    /// The place's time.
    #[serde(serialize_with = "show_zone")]
    pub time_zone: TimeZone,
    /// Days of the week.
    #[serde(serialize_with = "show_days", skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Weekday>,
    /// Hours of those days.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<Hours>,
    /// Only these dates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<DateRange>,
    /// All but these dates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<DateRange>,
}

impl Calendar {
    /// The name of a day of the week as it is written.
    pub const DAYS: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];

    /// Whether it is time.
    pub fn holds(&self, at: WallTime) -> bool {
        let local = self.local(at);
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        self.has_day(local.date()) && (self.hours.is_empty() || self.hours.iter().any(|hours| hours.contains(minute)))
    }

    /// Whether no instant is in it: all its dates are excepted, or none is on one of its days of the week.
    pub fn is_empty(&self) -> bool {
        !self.dates.is_empty() && !self.dates.iter().flat_map(|range| range.days()).any(|day| self.has_day(day))
    }

    /// Whether nothing limits it.
    pub fn is_always(&self) -> bool {
        self.days.is_empty() && self.hours.is_empty() && self.dates.is_empty() && self.except.is_empty()
    }

    /// The time there, as people say it: `Mon 2026-03-02 15:05 Europe/Berlin`.
    pub fn shown(&self, at: WallTime) -> String {
        format!("{} {}", self.local(at).strftime("%a %Y-%m-%d %H:%M"), zone_name(&self.time_zone))
    }

    fn has_day(&self, day: Date) -> bool {
        let among = |ranges: &[DateRange]| ranges.iter().any(|range| range.contains(day));
        let is_week_day = self.days.is_empty() || self.days.contains(&day.weekday());
        is_week_day && (self.dates.is_empty() || among(&self.dates)) && !among(&self.except)
    }

    fn local(&self, at: WallTime) -> DateTime {
        self.time_zone.to_datetime(at.timestamp())
    }
}

/// Hours of a day, from minute to minute: `08:00-18:00` ends before 18:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: i32,
    to: i32,
}

impl Hours {
    /// Reads `HH:MM-HH:MM`; `24:00` is the end of a day.
    ///
    /// # Errors
    /// What is wrong, what was expected and, where it can be known, what was meant.
    pub fn parse(text: &str) -> Result<Hours, String> {
        const EXPECTED: &str = "expected \"HH:MM-HH:MM\" such as \"08:00-18:00\"";
        let ends = text.split_once('-').and_then(|(from, to)| minute(from).zip(minute(to)));
        match ends {
            None => Err(format!("{text:?} are no hours; {EXPECTED}")),
            Some((from, to)) if from < to => Ok(Hours { from, to }),
            Some((from, to)) if from == to => {
                Err(format!("{text:?} is empty; {EXPECTED}, or leave the key out for the whole day"))
            }
            Some((from, to)) => {
                let (from, to) = (clock(from), clock(to));
                Err(format!("{text:?} runs over midnight; {EXPECTED}; write two: \"{from}-24:00\" and \"00:00-{to}\""))
            }
        }
    }

    fn contains(self, minute: i32) -> bool {
        self.from <= minute && minute < self.to
    }
}

/// `07:30` as minutes since midnight.
fn minute(text: &str) -> Option<i32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |part: &str| part.parse::<u8>().ok().filter(|_| part.len() == 2 && !part.starts_with('+')).map(i32::from);
    let (hour, minute) = (number(hour)?, number(minute)?);
    let at = hour * 60 + minute;
    (minute < 60 && at <= 24 * 60).then_some(at)
}

fn clock(minute: i32) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", clock(self.from), clock(self.to))
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A date, or several in a row, both ends included: `2026-12-24`, `2026-12-24/2027-01-01` (ISO 8601 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateRange {
    from: Date,
    to: Date,
}

impl DateRange {
    /// Reads `YYYY-MM-DD` or `YYYY-MM-DD/YYYY-MM-DD`.
    ///
    /// # Errors
    /// What is wrong, what was expected and, where it can be known, what was meant.
    pub fn parse(text: &str) -> Result<DateRange, String> {
        const EXPECTED: &str = "expected a date such as \"2026-12-24\", or a range such as \"2026-12-24/2027-01-01\"";
        let (from, to) = text.split_once('/').unwrap_or((text, text));
        let date = |text: &str| Date::strptime("%Y-%m-%d", text).map_err(|_| format!("{text:?} is no date; {EXPECTED}"));
        let (from, to) = (date(from)?, date(to)?);
        if from > to {
            return Err(format!("{text:?} is empty, for it runs backwards; {EXPECTED}; did you mean \"{to}/{from}\"?"));
        }
        let range = DateRange { from, to };
        if range.from.until(to).map_or(true, |span| span.get_days() >= MOST_DAYS) {
            return Err(format!("{text:?} is longer than a year; {EXPECTED}"));
        }
        Ok(range)
    }

    fn contains(self, day: Date) -> bool {
        self.from <= day && day <= self.to
    }

    fn days(self) -> impl Iterator<Item = Date> {
        std::iter::successors(Some(self.from), move |day| day.tomorrow().ok().filter(|next| *next <= self.to))
    }
}

impl fmt::Display for DateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.to {
            true => self.from.fmt(f),
            false => write!(f, "{}/{}", self.from, self.to),
        }
    }
}

impl Serialize for DateRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

fn show_zone<S: Serializer>(zone: &TimeZone, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(zone_name(zone))
}

fn show_days<S: Serializer>(days: &[Weekday], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(days.iter().filter_map(|day| Calendar::DAYS.iter().find(|(_, d)| d == day).map(|(name, _)| name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        WallTime(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn office() -> Calendar {
        Calendar {
            name: "office".into(),
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
            days: Calendar::DAYS[..5].iter().map(|(_, day)| *day).collect(),
            hours: vec![Hours::parse("08:00-18:00").unwrap()],
            dates: Vec::new(),
            except: vec![DateRange::parse("2026-12-24/2027-01-01").unwrap()],
        }
    }

    #[test]
    fn hours_are_those_of_the_place_in_summer_and_winter() {
        let office = office();
        assert!(office.holds(at("2026-03-02T07:00:00Z")) && !office.holds(at("2026-03-02T06:59:59Z")), "winter: UTC+1");
        assert!(office.holds(at("2026-07-06T06:00:00Z")) && !office.holds(at("2026-07-06T16:00:00Z")), "summer: UTC+2");
        assert!(office.holds(at("2026-03-02T16:59:59Z")) && !office.holds(at("2026-03-02T17:00:00Z")), "ends before 18:00");
        assert_eq!(office.shown(at("2026-03-02T14:05:59Z")), "Mon 2026-03-02 15:05 Europe/Berlin");
    }

    #[test]
    fn week_ends_and_holidays_are_outside() {
        let office = office();
        assert!(!office.holds(at("2026-03-01T10:00:00Z")), "a Sunday");
        assert!(!office.holds(at("2026-12-24T10:00:00Z")) && office.holds(at("2026-12-23T10:00:00Z")));
        assert!(!office.holds(at("2027-01-01T10:00:00Z")) && office.holds(at("2027-01-04T10:00:00Z")));
        assert!(!office.holds(at("2026-03-01T23:30:00Z")), "Monday already, but half past midnight");
    }

    #[test]
    fn a_calendar_whose_dates_are_all_excepted_is_empty() {
        let mut calendar = office();
        assert!(!calendar.is_empty());
        calendar.dates = vec![DateRange::parse("2026-12-30/2027-01-01").unwrap()];
        assert!(calendar.is_empty());
        calendar.except.clear();
        assert!(!calendar.is_empty());
        calendar.dates = vec![DateRange::parse("2026-02-28/2026-03-01").unwrap()];
        assert!(calendar.is_empty(), "a week end");
    }

    #[test]
    fn what_cannot_be_read_says_what_was_meant() {
        assert!(Hours::parse("22:00-06:00").unwrap_err().ends_with("write two: \"22:00-24:00\" and \"00:00-06:00\""));
        assert!(Hours::parse("08:00-08:00").unwrap_err().contains("is empty"));
        for text in ["8-18", "08:00", "08:60-09:00", "23:00-24:01", "", "-", "+8:00-09:00"] {
            assert!(Hours::parse(text).is_err(), "{text:?}");
        }
        assert!(DateRange::parse("2027-01-01/2026-12-24").unwrap_err().ends_with("did you mean \"2026-12-24/2027-01-01\"?"));
        assert!(DateRange::parse("2026-02-30").unwrap_err().contains("is no date"));
        assert!(DateRange::parse("2026-01-01/2036-01-01").unwrap_err().contains("longer than a year"));
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        assert_eq!(Hours::parse("00:00-24:00").unwrap().to_string(), "00:00-24:00");
        for text in ["2026-12-24", "2026-12-24/2027-01-01"] {
            assert_eq!(DateRange::parse(text).unwrap().to_string(), text);
        }
    }
}
