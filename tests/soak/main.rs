//! The soak: fourteen servers that misbehave at random while files keep coming, a notify host that fails now and
//! then, a disk that fills, and a service that is killed and started again. In the end everybody behaves, everything
//! settles, and what the README promises must be true. `scripts/soak` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a soak that panics has failed, which is what it is for"
)]

mod chart;
mod dice;
mod disk;
mod proxy;
mod run;
mod samples;
mod source;
#[allow(unused_imports, reason = "the soak takes the part of it that it needs")]
#[path = "../it/support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use run::{Ended, Run};

/// How long everything misbehaves, unless the command line says it.
const DURATION: Duration = Duration::from_secs(3 * 60);
const USAGE: &str = "usage: scripts/soak [DURATION] [--seed N]   (DURATION such as 30m, 3m when left out)";

fn main() -> ExitCode {
    let Some((duration, seed)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!("soak: {}, seed {seed}", humantime::format_duration(duration));
    let mut run = Run::begin(duration, seed);
    // a failed check panics with its words, wherever it is
    let outcome = catch_unwind(AssertUnwindSafe(|| run.to_its_end()));
    run.show();
    match outcome {
        Ok(Ended::AllHolds) => {
            println!("soak: everything that is promised holds (seed {seed})");
            ExitCode::SUCCESS
        }
        Ok(Ended::Interrupted) => {
            println!("soak: interrupted, nothing was checked");
            ExitCode::from(130)
        }
        Err(_) => {
            println!(
                "soak: FAILED, see above; scripts/soak {}s --seed {seed} repeats it",
                duration.as_secs()
            );
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<(Duration, u64)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (mut duration, mut seed) = (DURATION, u64::from(now.subsec_nanos()));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => seed = arguments.next()?.parse().ok()?,
            other => duration = humantime::parse_duration(other).ok()?,
        }
    }
    Some((duration, seed))
}
