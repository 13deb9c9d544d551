//! The command line: what `mrosync` was asked to do ([`Command`]), for `main`.
//!
//! Unusable arguments end the program here with exit status 2 and the usage on standard error; `--help` and
//! `--version` end it with 0. Runs on the main thread.

mod arguments;
mod command;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::commands::adopt::Subject;
use crate::commands::records::Order;
use crate::records::Query;
use arguments::{Arguments, Config, MirrorAction, Verb};

pub use command::{Command, CtlCommand, Invocation};

/// Takes the arguments of the process. Does not return where they are unusable or ask for help.
#[must_use]
pub fn parse() -> Invocation {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// The definition of all arguments, from which man pages and completions are made.
#[must_use]
pub fn definition() -> clap::Command {
    Arguments::command()
}

fn parse_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let Arguments { config, start, command } = Arguments::try_parse_from(arguments)?;
    let mut files = config.files;
    let mut also = |config: Config| files.extend(config.files);
    let command = match command {
        None => Command::Run { start },
        Some(Verb::Run { config, start: start_here }) => {
            also(config);
            Command::Run { start: start || start_here }
        }
        Some(_) if start => {
            let fault = "--start is for the command 'run' only";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, fault));
        }
        Some(Verb::Check { config, servers }) => {
            also(config);
            Command::Check { servers }
        }
        Some(Verb::Ctl { config, action }) => {
            also(config);
            let (config, command) = action.into_command();
            also(config);
            Command::Ctl(command)
        }
        Some(Verb::Records { config, action: Some(action), .. }) => {
            also(config);
            let (config, command) = action.into_command()?;
            also(config);
            command
        }
        Some(Verb::Mirror { config, action: MirrorAction::Adopt(arguments) }) => {
            also(config);
            let (config, command) = arguments.into_command(Subject::Mirror);
            also(config);
            command
        }
        Some(Verb::Records { config, filter, newest, limit, count, format, action: None }) => {
            also(config);
            let query = Query { filter: filter.read()?, newest_first: newest, limit };
            Command::Records(Order { query, count, format })
        }
    };
    Ok(Invocation { config: files, command })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::base::globs::Globs;
    use crate::commands::amend;
    use crate::commands::records::Format;
    use crate::records::{Amendment, Filter};

    fn parsed(line: &str) -> Result<Invocation, clap::Error> {
        parse_from(std::iter::once("mrosync").chain(line.split_whitespace()).map(OsString::from))
    }

    fn command(line: &str) -> Command {
        parsed(line).unwrap().command
    }

    fn files(line: &str) -> Vec<PathBuf> {
        parsed(line).unwrap().config
    }

    fn printed(filter: Filter, format: Format) -> Command {
        let query = Query { filter, ..Query::default() };
        Command::Records(Order { query, count: false, format })
    }

    #[test]
    fn a_change_without_a_filter_shows_how_that_change_is_written() {
        let error = parsed("records forget --dry-run").unwrap_err().to_string();
        assert!(error.contains("Usage: mrosync records forget"), "{error}");
    }

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }

    /// interface 1.1
    #[test]
    fn run_is_what_happens_without_a_command() {
        for (line, start) in [
            ("", false),
            ("run", false),
            ("--start", true),
            ("run --start", true),
            ("--start run", true),
            ("--config x --start", true),
            ("--start --config x", true),
            ("--config x run --start", true),
        ] {
            assert_eq!(command(line), Command::Run { start }, "{line}");
        }
    }

    /// interface 3.6
    #[test]
    fn each_command_is_known_with_its_options() {
        let status = |json, watch: Option<u64>| {
            Command::Ctl(CtlCommand::Status { json, watch: watch.map(Duration::from_millis) })
        };
        let records = |server: Option<&str>, format| {
            let servers = server.into_iter().map(str::to_owned).collect();
            printed(Filter { servers, ..Filter::default() }, format)
        };
        for (line, expected) in [
            ("check", Command::Check { servers: Vec::new() }),
            ("check --server a", Command::Check { servers: vec!["a".to_owned()] }),
            ("ctl scan a", Command::Ctl(CtlCommand::Scan("a".to_owned()))),
            ("ctl pause a", Command::Ctl(CtlCommand::Pause("a".to_owned()))),
            ("ctl resume a", Command::Ctl(CtlCommand::Resume("a".to_owned()))),
            ("ctl start", Command::Ctl(CtlCommand::Start)),
            ("ctl stop", Command::Ctl(CtlCommand::Stop)),
            ("ctl reload", Command::Ctl(CtlCommand::Reload { confirm: None })),
            ("ctl reload --confirm 14", Command::Ctl(CtlCommand::Reload { confirm: Some(14) })),
            ("ctl status", status(false, None)),
            ("ctl status --json", status(true, None)),
            ("ctl status --watch", status(false, Some(2000))),
            ("ctl status --watch=0.1", status(false, Some(100))),
            ("ctl status --watch=86400", status(false, Some(86_400_000))),
            ("ctl status --watch=0.5 --json", status(true, Some(500))),
            ("records", records(None, Format::Table)),
            ("records --format table", records(None, Format::Table)),
            ("records --server omc01 --format json", records(Some("omc01"), Format::Json)),
            ("records --format=csv", records(None, Format::Csv)),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    /// interface 15.1
    #[test]
    fn a_change_of_records_says_which_and_how_many() {
        let filter = || Filter { servers: vec!["a".to_owned()], ..Filter::default() };
        let order = |amendment, dry_run, confirm| {
            Command::Amend(amend::Order { amendment, delete: false, filter: filter(), dry_run, confirm })
        };
        for (line, expected) in [
            ("records forget --server a --dry-run", order(Amendment::Forget, true, None)),
            ("records requeue --server a --confirm 7", order(Amendment::Requeue, false, Some(7))),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn filters_of_records_are_read_and_servers_may_be_several() {
        let line = "records --server a --server b --path *.zip --since 1970-01-01T00:01 --until 1970-01-02 \
                    --evicted --unannounced";
        let filter = Filter {
            servers: vec!["a".to_owned(), "b".to_owned()],
            paths: Globs::new(&["*.zip"]).unwrap(),
            since: Some(60_000),
            until: Some(86_400_000),
            evicted: Some(true),
            announced: Some(false),
        };
        assert_eq!(command(line), printed(filter, Format::Table));
        let Command::Records(order) = command("records --present --announced") else { panic!() };
        let filter = order.query.filter;
        assert_eq!((filter.evicted, filter.announced), (Some(false), Some(true)));
    }

    #[test]
    fn configuration_files_keep_their_order_before_and_after_the_command() {
        for line in [
            "--config a --config b --config c",
            "run --config a --config b --config c",
            "--config a run --config b --config c",
            "--config a --config b check --config c",
            "--config a ctl --config b status --config c --json",
            "ctl --config a --config b start --config c",
            "--config a ctl stop --config b --config c",
            "records --config a --server x --config b --format csv --config c",
        ] {
            assert_eq!(files(line), ["a", "b", "c"].map(PathBuf::from), "{line}");
        }
        assert_eq!(files("run"), Vec::<PathBuf>::new());
    }

    /// interface 14.8
    #[test]
    fn unusable_arguments_end_with_status_2() {
        for line in [
            "walk",
            "--nonsense",
            "run --json",
            "--config",
            "--start check",
            "--start ctl stop",
            "--start records",
            "check --start",
            "ctl",
            "ctl pause",
            "ctl start --json",
            "ctl stop --json",
            "ctl --json status",
            "ctl status --watch=0.05",
            "ctl status --watch=86401",
            "ctl status --watch=soon",
            "ctl status --watch=NaN",
            "ctl status --watch 2",
            "ctl stop --watch",
            "records --format xml",
            "records --server",
            "records --path [a",
            "records --path=",
            "records --since yesterday",
            "records --evicted --present",
            "records --announced --unannounced",
            "records forget",
            "records --server a forget --path b",
            "records requeue --server a --dry-run --confirm 1",
            "run extra",
        ] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_and_version_end_with_status_0() {
        for (line, shown) in [
            ("--help", "records"),
            ("run --help", "--start"),
            ("ctl status --help", "--json"),
            ("--version", env!("CARGO_PKG_VERSION")),
        ] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.exit_code(), 0, "{line}");
            assert!(error.to_string().contains(shown), "{line}: {error}");
        }
    }
}
