//! The samples as a few lines in the terminal, and as a drawing.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::samples::Samples;

const COLUMNS: usize = 72;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Of the drawing, in pixels: the whole width, one curve's height, and the room around the curves.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 140.0;
const MARGIN: f64 = 30.0;

/// One line of bars for each measure, from zero to its largest value.
pub fn lines(samples: &Samples) -> String {
    let mut text = String::new();
    for (name, values) in samples.series() {
        let (least, most) = range(&values);
        let last = values.last().copied().unwrap_or_default();
        let bars: String = columns(&values).iter().map(|value| bar(*value, most)).collect();
        writeln!(text, "{name:<12} {bars}  {least:.0} to {most:.0}, last {last:.0}").unwrap();
    }
    text
}

/// The largest value of each column.
fn columns(values: &[f64]) -> Vec<f64> {
    let columns = COLUMNS.min(values.len());
    let part = |n: usize| &values[n * values.len() / columns..(n + 1) * values.len() / columns];
    (0..columns).map(|n| part(n).iter().copied().fold(0.0, f64::max)).collect()
}

fn bar(value: f64, most: f64) -> char {
    let step = (value / most.max(1.0) * (BARS.len() - 1) as f64).round() as usize;
    BARS[step.min(BARS.len() - 1)]
}

fn range(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (if least.is_finite() { least } else { 0.0 }, values.iter().copied().fold(0.0, f64::max))
}

/// Where a file of this soak goes, below `target`; one of an earlier soak is gone.
pub fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("soak");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::remove_file(&path).ok();
    path
}

/// Writes the drawing, and returns where.
pub fn draw(samples: &Samples, seed: u64) -> std::io::Result<PathBuf> {
    let path = fresh("soak.svg");
    std::fs::write(&path, svg(samples, seed))?;
    Ok(path)
}

fn svg(samples: &Samples, seed: u64) -> String {
    let series = samples.series();
    let end = samples.taken.last().map_or(1.0, |last| last.at.as_secs_f64()).max(1.0);
    let x = |seconds: f64| MARGIN + seconds / end * (WIDTH - 2.0 * MARGIN);
    let height = MARGIN + (HEIGHT + MARGIN) * series.len() as f64;
    let mut text = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n"
    );
    for (n, (name, values)) in series.iter().enumerate() {
        let (least, most) = range(values);
        let top = MARGIN + (HEIGHT + MARGIN) * n as f64;
        let bottom = top + HEIGHT;
        let y = |value: f64| bottom - value / most.max(1.0) * HEIGHT;
        for restart in &samples.restarts {
            let at = x(restart.as_secs_f64());
            writeln!(text, "<path d='M{at:.1} {top:.1}V{bottom:.1}' stroke='#ddd'/>").unwrap();
        }
        let points: Vec<String> = samples
            .taken
            .iter()
            .zip(values)
            .map(|(sample, value)| format!("{:.1},{:.1}", x(sample.at.as_secs_f64()), y(*value)))
            .collect();
        let right = WIDTH - MARGIN;
        writeln!(
            text,
            "<path d='M{MARGIN} {bottom:.1}H{right}' stroke='black'/>\n\
             <polyline points='{}' fill='none' stroke='#06c'/>\n\
             <text x='{MARGIN}' y='{:.1}'>{name}: {least:.0} to {most:.0}</text>",
            points.join(" "),
            top - 6.0
        )
        .unwrap();
    }
    let minutes = end / 60.0;
    writeln!(
        text,
        "<text x='{MARGIN}' y='{:.1}'>{minutes:.1} minutes, seed {seed}; grey: started again</text>\n</svg>",
        height - 8.0
    )
    .unwrap();
    text
}
