//! The command `mrosync`: arguments in, exit status out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::Duration;

use mrosync::base::humanize::why;
use mrosync::base::names::Printable;
use mrosync::base::start_error::StartError;
use mrosync::cli::{self, Command, CtlCommand, Invocation};
use mrosync::commands;
use mrosync::commands::adopt;
use mrosync::commands::amend;
use mrosync::commands::confirmation::Outcome;
use mrosync::commands::records::UnknownServer;
use mrosync::commands::{check, mark};
use mrosync::config::{self, Loaded, Settings};
use mrosync::control::client::Meaning;
use mrosync::control::{self, CommandLine, Form, operator, watch};
use mrosync::logging;
use mrosync::service;
use mrosync::service::owners;
use mrosync::service::{Ended, Launch};
use mrosync::terminal::screen::Screen;

/// Done.
const DONE: i32 = 0;
/// Failed while running.
const FAILED: i32 = 1;
/// Unusable arguments or configuration.
const UNUSABLE: i32 = 2;

fn main() {
    let Invocation { config, command } = cli::parse();
    let Loaded { settings, warnings } = match config::load(&config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            // of its own configuration the service is the judge
            if let (Command::Ctl(reload @ CtlCommand::Reload { .. }), Some(socket)) =
                (&command, config::control_socket(&config))
            {
                exit(ctl(&socket, reload.clone()));
            }
            print_error(&faults);
            exit(UNUSABLE);
        }
    };
    // ended here and not by returning: a look-up of a host name in another thread may hang for minutes
    exit(match command {
        Command::Run { start } => run(settings, config, &warnings, start),
        Command::Check { servers } => run_check(&settings, &servers, &warnings),
        Command::Ctl(command) => ctl(&settings.control.socket, command),
        Command::Amend(order) => changed(amend::amend(&settings, &order)),
        Command::Adopt(order) => changed(adopt::adopt(&settings, order)),
        Command::Mark(order) => {
            // never dropped, as in `run_check`
            let system = std::mem::ManuallyDrop::new(actix_rt::System::new());
            changed(system.block_on(mark::mark(&settings, &order)))
        }
        Command::Records(order) => done(commands::records::print(&settings, &order)),
    });
}

fn run(settings: Settings, files: Vec<PathBuf>, warnings: &[String], start: bool) -> i32 {
    // before anything is made, the log file too
    if let Err(refused) = owners::refuse_root(&settings) {
        print_error(&refused);
        return UNUSABLE;
    }
    let screen = Screen::default();
    let log = match logging::init(&settings.log, &screen) {
        Ok(log) => log,
        Err(error) => {
            print_error(&why(&error));
            if let Some(barred) = owners::barred(&settings) {
                print_error(&barred);
            }
            return FAILED;
        }
    };
    logging::log_panics(&screen);
    for warning in warnings {
        log::warn!("{warning}");
    }
    let opened = settings.clone();
    match service::run(Launch { settings, files, log, screen, start }) {
        Ok(Ended::Well) => DONE,
        Ok(Ended::RecordsLost) => FAILED,
        Err(refused) => {
            log::error!("{refused}");
            match refused {
                StartError::Refused(_) => UNUSABLE,
                StartError::NoSpace(_) | StartError::Unreachable(_) | StartError::Failed(_) => {
                    // all of it at once, so that nobody meets one after the other
                    if let Some(barred) = owners::barred(&opened) {
                        log::error!("{barred}");
                    }
                    FAILED
                }
            }
        }
    }
}

fn run_check(settings: &Settings, servers: &[String], warnings: &[String]) -> i32 {
    if let Err(unknown) = commands::records::refuse_unconfigured(settings, servers) {
        print_error(&unknown);
        return UNUSABLE;
    }
    for warning in warnings {
        print_error(&format!("warning: {warning}"));
    }
    // never dropped: that would wait for a look-up of the notify host that hangs
    let system = std::mem::ManuallyDrop::new(actix_rt::System::new());
    if system.block_on(check::check(settings, servers)) { DONE } else { FAILED }
}

fn ctl(socket: &Path, command: CtlCommand) -> i32 {
    let line = match command {
        CtlCommand::Start => control::Command::Start.into(),
        CtlCommand::Stop => control::Command::Stop.into(),
        CtlCommand::Reload { confirm } => {
            CommandLine { command: control::Command::Reload { confirm }, form: Form::Lines }
        }
        CtlCommand::Scan(name) => control::Command::Scan(name).into(),
        CtlCommand::Pause(name) => control::Command::Pause(name).into(),
        CtlCommand::Resume(name) => control::Command::Resume(name).into(),
        CtlCommand::Status { json: true, watch: None } => CommandLine::STATUS,
        CtlCommand::Status { json: false, watch: None } => control::Command::Status.into(),
        CtlCommand::Status { json, watch: Some(pause) } => return watch_status(socket, json, pause),
    };
    match operator::ask(socket, line) {
        Ok(reply) => {
            let shown = writeln!(std::io::stdout(), "{}", reply.text);
            match reply.meaning {
                Meaning::Refused => UNUSABLE,
                Meaning::Failed => FAILED,
                _ if shown.is_err() => FAILED,
                _ => DONE,
            }
        }
        Err(error) => {
            print_error(&why(&error));
            FAILED
        }
    }
}

fn watch_status(socket: &Path, json: bool, pause: Duration) -> i32 {
    match watch::run(socket, json, pause) {
        Ok(()) => DONE,
        Err(error) => {
            print_error(&why(&error));
            FAILED
        }
    }
}

fn done(outcome: anyhow::Result<()>) -> i32 {
    changed(outcome.map(|()| Outcome::Done))
}

fn changed(outcome: anyhow::Result<Outcome>) -> i32 {
    match outcome {
        Ok(Outcome::Done) => DONE,
        Ok(Outcome::Unconfirmed) => UNUSABLE,
        Err(error) => {
            print_error(&why(&error));
            if error.is::<UnknownServer>() { UNUSABLE } else { FAILED }
        }
    }
}

/// To standard error, line by line, whether or not anybody reads it.
fn print_error(text: &impl std::fmt::Display) {
    for line in text.to_string().lines() {
        drop(writeln!(std::io::stderr(), "mrosync: {}", Printable(line)));
    }
}
