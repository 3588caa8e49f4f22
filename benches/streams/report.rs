//! Medians over the rounds, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fs;

use nearend::clock::Now;
use serde::Serialize;

use super::Result;
use super::contestant::{ALL, Contestant};
use super::sinks::Sink;
use super::trial::Measured;

/// All that was measured.
pub(crate) struct Report {
    trials: BTreeMap<u32, BTreeMap<Contestant, Vec<Measured>>>,
    notes: Vec<String>,
}

/// The form that scripts outside rely on; further fields may come.
#[derive(Serialize)]
struct Json {
    streams: Vec<Line>,
    machine: String,
    date: String,
    notes: Vec<String>,
}

/// The box at one size, and how it compares. Ratios are medians of the ratios of each round.
#[derive(Serialize)]
struct Line {
    n: u32,
    ratio_naive_sink: Option<f64>,
    ratio_same_way_sink: Option<f64>,
    ratio_rtpengine: Option<f64>,
    us_per_packet: f64,
    lost: i64,
    rss_mb: f64,
    written_per_audio_byte: f64,
    rss_in_calls_mb: f64,
    idle_rss_mb: f64,
    ms_per_call: f64,
    written_per_audio_byte_whole: f64,
    spool_per_audio_byte: Option<f64>,
    fsyncs_per_s: Option<f64>,
    us_per_packet_naive_sink: Option<f64>,
    us_per_packet_same_way_sink: Option<f64>,
    us_per_packet_rtpengine: Option<f64>,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report { trials: BTreeMap::new(), notes: Vec::new() }
    }

    pub(crate) fn add(&mut self, streams: u32, contestant: Contestant, measured: Measured) {
        eprintln!(
            "bench:   {:.2} µs per packet, {:.2} ms per call, {} lost, {:.1} MB ({:.1} in calls), {:.3} written per byte of audio, {:.1} % late",
            measured.us_per_packet,
            measured.ms_per_call,
            measured.lost,
            measured.rss_mb,
            measured.rss_in_calls_mb,
            measured.written_per_audio_byte,
            100.0 * measured.late_share
        );
        self.trials.entry(streams).or_default().entry(contestant).or_default().push(measured);
    }

    pub(crate) fn note(&mut self, note: String) {
        eprintln!("bench:   {note}");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn print_json(&self) -> Result<()> {
        let streams = self.trials.iter().filter_map(|(n, trials)| line(*n, trials)).collect();
        let json = Json { streams, machine: machine(), date: date()?, notes: self.notes.clone() };
        println!("{}", serde_json::to_string(&json)?);
        Ok(())
    }

    pub(crate) fn print_table(&self) -> Result<()> {
        println!("{}, {}\n", machine(), date()?);
        println!(
            "| streams | contestant | µs per packet | the box needs | lost | peak RSS MB | written ÷ audio | fsyncs/s | ms per call | written ÷ audio, finished |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for (n, trials) in &self.trials {
            for contestant in ALL {
                if let Some(measured) = trials.get(&contestant) {
                    println!("{}", row(*n, contestant, measured, ratio(trials, contestant)));
                }
            }
        }
        let idle = self.of_box(|m| Some(m.idle_rss_mb));
        println!("\nThe box idle: {} MB resident.", idle.map_or("?".into(), |mb| format!("{mb:.1}")));
        self.notes.iter().for_each(|note| println!("{note}"));
        Ok(())
    }

    fn of_box(&self, value: fn(&Measured) -> Option<f64>) -> Option<f64> {
        median(self.trials.values().filter_map(|trials| trials.get(&Contestant::Box)).flatten().filter_map(value))
    }
}

fn row(n: u32, contestant: Contestant, measured: &[Measured], ratio: Option<f64>) -> String {
    let of = |value: fn(&Measured) -> Option<f64>| median(measured.iter().filter_map(value));
    let shown = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    let is_recorder = matches!(contestant, Contestant::Box | Contestant::Rtpengine);
    let if_recorder = |value: fn(&Measured) -> Option<f64>| of(value).filter(|_| is_recorder);
    format!(
        "| {n} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        contestant.name(),
        shown(of(|m| Some(m.us_per_packet)), 2),
        shown(ratio, 2) + " ×",
        measured.iter().map(|m| m.lost).max().unwrap_or_default(),
        shown(of(|m| Some(m.rss_mb)), 1),
        shown(if_recorder(|m| Some(m.written_per_audio_byte)), 2),
        shown(of(|m| m.fsyncs_per_s), 1),
        shown(of(|m| Some(m.ms_per_call)), 2),
        shown(if_recorder(|m| Some(m.written_per_audio_byte_whole)), 2),
    )
}

fn line(n: u32, trials: &BTreeMap<Contestant, Vec<Measured>>) -> Option<Line> {
    let of_box = trials.get(&Contestant::Box)?;
    let all = |value: fn(&Measured) -> Option<f64>| median(of_box.iter().filter_map(value));
    let us = |contestant| median(trials.get(&contestant)?.iter().map(|m| m.us_per_packet));
    Some(Line {
        n,
        ratio_naive_sink: ratio(trials, Contestant::Sink(Sink::Naive)),
        ratio_same_way_sink: ratio(trials, Contestant::Sink(Sink::SameWay)),
        ratio_rtpengine: ratio(trials, Contestant::Rtpengine),
        us_per_packet: all(|m| Some(m.us_per_packet))?,
        lost: of_box.iter().map(|m| m.lost).max()?,
        rss_mb: of_box.iter().map(|m| m.rss_mb).reduce(f64::max)?,
        written_per_audio_byte: all(|m| Some(m.written_per_audio_byte))?,
        rss_in_calls_mb: of_box.iter().map(|m| m.rss_in_calls_mb).reduce(f64::max)?,
        idle_rss_mb: all(|m| Some(m.idle_rss_mb))?,
        ms_per_call: all(|m| Some(m.ms_per_call))?,
        written_per_audio_byte_whole: all(|m| Some(m.written_per_audio_byte_whole))?,
        spool_per_audio_byte: all(|m| m.spool_per_audio_byte),
        fsyncs_per_s: all(|m| m.fsyncs_per_s),
        us_per_packet_naive_sink: us(Contestant::Sink(Sink::Naive)),
        us_per_packet_same_way_sink: us(Contestant::Sink(Sink::SameWay)),
        us_per_packet_rtpengine: us(Contestant::Rtpengine),
    })
}

/// What the box needs of what `other` needs: the median over the rounds.
fn ratio(trials: &BTreeMap<Contestant, Vec<Measured>>, other: Contestant) -> Option<f64> {
    let pairs = trials.get(&Contestant::Box)?.iter().zip(trials.get(&other)?);
    median(pairs.map(|(ours, theirs)| ours.us_per_packet / theirs.us_per_packet))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown CPU", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} × {model}, Linux {}", kernel.trim())
}

fn date() -> Result<String> {
    Ok(jiff::Timestamp::from_microsecond(Now::read().wall.0)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
