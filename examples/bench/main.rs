//! The parts of `scripts/bench` that must not be slow, so that they measure the others and not themselves.
//!
//! Nothing but the standard library, so that `rustc -O` builds it in a few seconds; `scripts/bench` does that.

mod delay;
mod floor;
mod receiver;

use std::process::ExitCode;

const USAGE: &str = "usage: bench floor|floor-synced PLAN ROOT CONNECTIONS
       bench receive ADDRESS
       bench delay MICROSECONDS    (the two devices are standard input and standard output)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        [floor @ ("floor" | "floor-synced"), plan, root, connections] => match connections.parse() {
            Ok(connections) => {
                floor::fetch_all(plan.as_ref(), root.as_ref(), connections, *floor == "floor-synced")
            }
            Err(fault) => Err(std::io::Error::other(fault)),
        },
        ["receive", address] => receiver::serve(address),
        ["delay", microseconds] => match microseconds.parse() {
            Ok(microseconds) => delay::forward(std::time::Duration::from_micros(microseconds)),
            Err(fault) => Err(std::io::Error::other(fault)),
        },
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}
