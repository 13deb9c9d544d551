//! What the service takes, second by second.

use std::fs;
use std::time::{Duration, Instant};

/// One look at the process.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: Duration,
    pub memory: f64,
    pub files: f64,
    pub threads: f64,
}

pub struct Samples {
    begun: Instant,
    pub taken: Vec<Sample>,
    /// When the service was killed or ended.
    pub restarts: Vec<Duration>,
}

impl Samples {
    pub fn new() -> Self {
        Self { begun: Instant::now(), taken: Vec::new(), restarts: Vec::new() }
    }

    /// Looks at the process, at most once a second.
    pub fn take(&mut self, pid: u32) {
        let at = self.begun.elapsed();
        if self.taken.last().is_some_and(|last| at < last.at + Duration::from_secs(1)) {
            return;
        }
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return };
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
        let number = |key: &str| -> Option<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        // a process that has just ended has no memory any more
        let (Some(kibibytes), Some(threads)) = (number("VmRSS:"), number("Threads:")) else { return };
        let (memory, files) = (kibibytes / 1024.0, files.count() as f64);
        self.taken.push(Sample { at, memory, files, threads });
    }

    pub fn restarted(&mut self) {
        self.restarts.push(self.begun.elapsed());
    }

    /// Each measure with its name and unit.
    pub fn series(&self) -> [(&'static str, Vec<f64>); 3] {
        let of = |value: fn(&Sample) -> f64| self.taken.iter().map(value).collect();
        [
            ("memory, MiB", of(|sample| sample.memory)),
            ("open files", of(|sample| sample.files)),
            ("threads", of(|sample| sample.threads)),
        ]
    }
}
