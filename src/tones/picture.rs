//! Signals as a picture (SVG): waveform and spectrogram of each, with the windows in which a tone is expected. Pure.

use std::f64::consts::TAU;
use std::fmt::Write as _;
use std::ops::Range;

const COLUMNS: usize = 600;
const ROWS: usize = 40;
const ROW_HZ: f64 = 100.0;
const WINDOW: usize = 256;
/// Places of a column that are looked at; a tone of 80 ms shows in a minute.
const MOST_WINDOWS: usize = 8;
const SHADES: usize = 9;
/// What is this far below full scale is white.
const FLOOR_DB: f64 = 72.0;

const LEFT: usize = 50;
const WAVE_HEIGHT: usize = 60;
const ROW_HEIGHT: usize = 2;
const PANEL: usize = 190;

/// One signal of the picture.
pub struct Panel<'a> {
    /// Its name.
    pub name: &'a str,
    /// 8 kHz.
    pub samples: &'a [i16],
    /// Where tones are expected in it.
    pub expected: &'a [Range<u64>],
}

/// Draws them below each other.
pub fn draw(title: &str, panels: &[Panel]) -> String {
    let (width, height) = (LEFT + COLUMNS + 10, 30 + panels.len() * PANEL);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"10\">\n\
         <title>{title}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"13\">{title}</text>\n",
        title = escaped(title)
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate({LEFT} {})\">", 34 + number * PANEL);
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel) {
    let spectrum_top = WAVE_HEIGHT + 22;
    let bottom = spectrum_top + ROWS * ROW_HEIGHT;
    let length = panel.samples.len().max(1);
    let _ = writeln!(svg, "<text y=\"8\">{}</text>", escaped(panel.name));
    for window in panel.expected {
        let x = |place: u64| place as f64 * COLUMNS as f64 / length as f64;
        let (start, width) = (x(window.start), x(window.end - window.start).max(1.0));
        let _ = writeln!(
            svg,
            "<rect class=\"expected\" x=\"{start:.1}\" y=\"12\" width=\"{width:.1}\" height=\"{}\" fill=\"#f80\" fill-opacity=\".25\"/>",
            bottom - 12
        );
    }
    let middle = 14 + WAVE_HEIGHT / 2;
    let _ = writeln!(svg, "<path class=\"waveform\" stroke=\"#036\" fill=\"none\" d=\"{}\"/>", waveform(panel.samples, middle));
    for (shade, path) in spectrogram(panel.samples, spectrum_top).iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let opacity = (shade + 1) as f64 / SHADES as f64;
        let _ = writeln!(svg, "<path class=\"spectrum\" fill=\"#603\" fill-opacity=\"{opacity:.2}\" d=\"{path}\"/>");
    }
    for khz in 0..=4 {
        let y = bottom - khz * 10 * ROW_HEIGHT;
        let _ = writeln!(svg, "<text x=\"-6\" y=\"{}\" text-anchor=\"end\">{khz} kHz</text>", y + 3);
    }
    for part in 0..=4 {
        let seconds = length as f64 / 8_000.0 * f64::from(part) / 4.0;
        let x = COLUMNS * part as usize / 4;
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{seconds:.1} s</text>", bottom + 12);
    }
}

/// The samples of a column.
fn column(samples: &[i16], number: usize) -> &[i16] {
    let at = |column: usize| column * samples.len() / COLUMNS;
    &samples[at(number)..at(number + 1)]
}

fn waveform(samples: &[i16], middle: usize) -> String {
    let mut path = String::new();
    for number in 0..COLUMNS {
        let part = column(samples, number);
        let y =
            |sample: Option<&i16>| middle as f64 - f64::from(sample.copied().unwrap_or(0)) / 32_768.0 * (WAVE_HEIGHT / 2) as f64;
        let _ = write!(path, "M{number} {:.1}V{:.1}", y(part.iter().max()) - 0.2, y(part.iter().min()) + 0.2);
    }
    path
}

/// A path for each shade, palest first.
fn spectrogram(samples: &[i16], top: usize) -> Vec<String> {
    let columns: Vec<[usize; ROWS]> = (0..COLUMNS).map(|number| shades(samples, number)).collect();
    let mut paths = vec![String::new(); SHADES];
    for row in 0..ROWS {
        let y = top + (ROWS - 1 - row) * ROW_HEIGHT;
        let mut start = 0;
        while start < COLUMNS {
            let shade = columns[start][row];
            let width = columns[start..].iter().take_while(|column| column[row] == shade).count();
            if shade > 0 {
                let _ = write!(paths[shade - 1], "M{start} {y}h{width}v{ROW_HEIGHT}h-{width}z");
            }
            start += width;
        }
    }
    paths
}

/// How loud each band is in a column, from 0 to [`SHADES`].
fn shades(samples: &[i16], number: usize) -> [usize; ROWS] {
    let start = number * samples.len() / COLUMNS;
    let length = column(samples, number).len();
    let windows = length.div_ceil(WINDOW).clamp(1, MOST_WINDOWS);
    let parts =
        (0..windows).filter_map(|n| samples.get(start + n * length / windows..)).map(|rest| &rest[..rest.len().min(WINDOW)]);
    let mut loudest = [0.0_f64; ROWS];
    for part in parts.filter(|part| part.iter().any(|sample| *sample != 0)) {
        for (row, most) in loudest.iter_mut().enumerate() {
            *most = most.max(peak(part, (row as f64 + 0.5) * ROW_HZ));
        }
    }
    loudest.map(|peak| {
        let db = 20.0 * (peak / 32_768.0).max(1e-9).log10();
        (((db + FLOOR_DB) / FLOOR_DB).clamp(0.0, 1.0) * SHADES as f64).round() as usize
    })
}

/// The peak of a sine of this frequency in a window (Goertzel).
fn peak(samples: &[i16], frequency_hz: f64) -> f64 {
    let turn = 2.0 * (TAU * frequency_hz / 8_000.0).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let next = f64::from(*sample) + turn * last - before;
        before = last;
        last = next;
    }
    (last * last + before * before - turn * last * before).max(0.0).sqrt() * 2.0 / WINDOW as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::synth::tone;
    use super::*;

    #[test]
    fn a_tone_shows_at_its_frequency_and_its_window_is_marked() {
        let mut samples = vec![0; 16_000];
        samples[..4_000].copy_from_slice(&tone(1_450.0, 4_000, -10.0));
        let loud = shades(&samples, 30);
        assert_eq!((0..ROWS).max_by_key(|row| loud[*row]), Some(14));
        assert_eq!(shades(&samples, 500), [0; ROWS]);
        let svg = draw("a < b", &[Panel { name: "x", samples: &samples, expected: std::slice::from_ref(&(0..4_000)) }]);
        assert!(svg.contains("a &lt; b") && svg.contains("x=\"0.0\" y=\"12\" width=\"150.0\""), "{}", &svg[..600]);
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn an_empty_signal_is_drawn() {
        assert!(draw("nothing", &[Panel { name: "x", samples: &[], expected: &[] }]).contains("waveform"));
    }
}
