//! The command line: what `mrosync` was asked to do, for `main`.
//!
//! Unusable arguments end the program here with exit status 2 and the usage on standard error; `--help` and
//! `--version` end it with 0. Runs on the main thread.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::base::globs::Globs;
use crate::base::time;
use crate::commands::adopt::{Order as AdoptOrder, Subject};
use crate::commands::amend::Order;
use crate::commands::mark::Order as MarkOrder;
use crate::records::{Amendment, Filter, Mark};

/// One call of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The configuration files in the order given; none means [`crate::config::DEFAULT_FILE`].
    pub config: Vec<PathBuf>,
    /// What to do.
    pub command: Command,
}

/// What the program was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The service, in the foreground.
    Run {
        /// Start the scanners at once instead of waiting for `start`.
        start: bool,
    },
    /// Probe the configuration, the servers, the records, the mirror, the disk, the notify host and what `run` opens.
    Check,
    /// A console command for the running service.
    Ctl(CtlCommand),
    /// The download records.
    Records {
        /// Which of them. Their servers need not be in the configuration any more.
        filter: Filter,
        /// How they are printed.
        format: RecordsFormat,
    },
    /// A change of the download records.
    Amend(Order),
    /// Files that are to count as fetched.
    Mark(MarkOrder),
    /// Mirror and records are to belong together.
    Adopt(AdoptOrder),
}

/// A command that goes over the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtlCommand {
    /// Start all scanners.
    Start,
    /// Stop all scanners.
    Stop,
    /// Show the status.
    Status {
        /// As JSON instead of text.
        json: bool,
        /// Again and again, with this time between.
        watch: Option<Duration>,
    },
    /// Read the configuration again.
    Reload,
}

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordsFormat {
    /// A table for people.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

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
        Some(Verb::Check { config }) => {
            also(config);
            Command::Check
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
        Some(Verb::Records { config, filter, format, action: None }) => {
            also(config);
            Command::Records { filter: filter.read()?, format }
        }
    };
    Ok(Invocation { config: files, command })
}

/// Mirrors new zips of many FTP servers, keeps a disk quota and announces every file
#[derive(Debug, Parser)]
#[command(name = "mrosync", version)]
struct Arguments {
    #[command(flatten)]
    config: Config,
    /// With 'run' or no command: start scanning at once
    #[arg(long)]
    start: bool,
    #[command(subcommand)]
    command: Option<Verb>,
}

/// `--config`, which stands before or after each command. Those before come first in the list.
#[derive(Debug, Args)]
struct Config {
    /// Configuration file; later ones override earlier ones [default: /etc/mrosync/mrosync.toml]
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Which records are meant: all of these must match.
#[derive(Debug, Args)]
struct FilterArguments {
    /// Only those of this server; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Only those with a remote path that matches: * stays within a name, ** spans directories; may be repeated
    #[arg(long = "path", value_name = "GLOB")]
    paths: Vec<String>,
    /// Only those downloaded then or later: 2026-11-01, 2026-11-01T00:00 or RFC 3339; UTC without an offset
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    since: Option<i64>,
    /// Only those downloaded before that time
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    until: Option<i64>,
    /// Only those that were deleted from the mirror
    #[arg(long, conflicts_with = "present")]
    evicted: bool,
    /// Only those that are still in the mirror
    #[arg(long)]
    present: bool,
    /// Only those whose notice was not delivered
    #[arg(long, conflicts_with = "announced")]
    unannounced: bool,
    /// Only those whose notice was delivered
    #[arg(long)]
    announced: bool,
}

impl FilterArguments {
    fn read(self) -> Result<Filter, clap::Error> {
        let Self { servers, paths, since, until, evicted, present, unannounced, announced } = self;
        let paths = globs(&paths)?;
        let either = |yes: bool, no: bool| if yes || no { Some(yes) } else { None };
        let (evicted, announced) = (either(evicted, present), either(announced, unannounced));
        Ok(Filter { servers, paths, since, until, evicted, announced })
    }
}

fn globs(patterns: &[String]) -> Result<Globs, clap::Error> {
    Globs::new(patterns)
        .map_err(|fault| Arguments::command().error(ErrorKind::ValueValidation, format!("--path {fault}")))
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the service in the foreground (also without any command)
    Run {
        #[command(flatten)]
        config: Config,
        /// Start scanning at once instead of waiting for the command 'start'
        #[arg(long)]
        start: bool,
    },
    /// Validate the configuration and probe each server, the records, the mirror, the disk, the notify host and
    /// everything that the service opens
    Check {
        #[command(flatten)]
        config: Config,
    },
    /// Send a command to the running service
    Ctl {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        action: Action,
    },
    /// Print the download records, oldest first; or change them
    #[command(args_conflicts_with_subcommands = true)]
    Records {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        filter: Box<FilterArguments>,
        /// How to print them
        #[arg(long, value_enum, default_value_t = RecordsFormat::Table)]
        format: RecordsFormat,
        #[command(subcommand)]
        action: Option<Change>,
    },
    /// Say which mirror belongs to the records
    Mirror {
        #[command(flatten)]
        config: Config,
        #[command(subcommand)]
        action: MirrorAction,
    },
}

#[derive(Debug, Subcommand)]
enum MirrorAction {
    /// Accept what lies at sync.root as the mirror of the records, after it was moved, restored or lost files; missing files count as evicted
    Adopt(AdoptArguments),
}

#[derive(Debug, Args)]
struct AdoptArguments {
    #[command(flatten)]
    config: Config,
    /// Say what would be done, and change nothing
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// The number of files, as the dry run says; asked for at a terminal
    #[arg(long, value_name = "NUMBER")]
    confirm: Option<u64>,
}

impl AdoptArguments {
    fn into_command(self, subject: Subject) -> (Config, Command) {
        let Self { config, dry_run, confirm } = self;
        (config, Command::Adopt(AdoptOrder { subject, dry_run, confirm }))
    }
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Forget files that are no longer in the mirror, or with --delete also the others: they are fetched again if the server still has them
    Forget(ForgetArguments),
    /// Announce files of the mirror once more
    Requeue(ChangeArguments),
    /// Count files as fetched that are not on record, without fetching them
    Mark(MarkArguments),
    /// Accept new records although zips lie in the mirror; those zips are left alone
    Confirm(AdoptArguments),
}

#[derive(Debug, Args)]
struct ForgetArguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// Delete those that are still in the mirror first, instead of leaving them on record
    #[arg(long)]
    delete: bool,
}

#[derive(Debug, Args)]
struct MarkArguments {
    #[command(flatten)]
    config: Config,
    /// Those that the servers list now, as far as since, include and exclude allow
    #[arg(long, conflicts_with = "local", required_unless_present = "local")]
    listed: bool,
    /// Those that lie at their places in the mirror, however they came there
    #[arg(long)]
    local: bool,
    /// Only those of this server; may be repeated
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<String>,
    /// Only those with a remote path that matches: * stays within a name, ** spans directories; may be repeated
    #[arg(long = "path", value_name = "GLOB")]
    paths: Vec<String>,
    /// Announce them; only possible for files in the mirror
    #[arg(long, conflicts_with = "listed")]
    announce: bool,
    /// Show which they are and how many, and change nothing
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// How many they are; asked for at a terminal
    #[arg(long, value_name = "NUMBER")]
    confirm: Option<u64>,
}

impl MarkArguments {
    fn into_order(self) -> Result<(Config, MarkOrder), clap::Error> {
        let Self { config, listed, servers, paths, announce, dry_run, confirm, .. } = self;
        let mark = match (listed, announce) {
            (true, _) => Mark::Listed,
            (false, true) => Mark::LocalToAnnounce,
            (false, false) => Mark::Local,
        };
        Ok((config, MarkOrder { mark, servers, paths: globs(&paths)?, dry_run, confirm }))
    }
}

#[derive(Debug, Args)]
struct ChangeArguments {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    filter: Box<FilterArguments>,
    /// Show which they are and how many, and change nothing
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,
    /// How many they are; asked for at a terminal
    #[arg(long, value_name = "NUMBER")]
    confirm: Option<u64>,
}

impl Change {
    fn into_command(self) -> Result<(Config, Command), clap::Error> {
        let (amendment, delete, arguments) = match self {
            Self::Forget(ForgetArguments { change, delete }) => (Amendment::Forget, delete, change),
            Self::Requeue(arguments) => (Amendment::Requeue, false, arguments),
            Self::Mark(arguments) => {
                let (config, order) = arguments.into_order()?;
                return Ok((config, Command::Mark(order)));
            }
            Self::Confirm(arguments) => return Ok(arguments.into_command(Subject::Records)),
        };
        let ChangeArguments { config, filter, dry_run, confirm } = arguments;
        let filter = filter.read()?;
        if filter == Filter::default() {
            let fault = "at least one filter is needed, such as --server or --path";
            return Err(Arguments::command().error(ErrorKind::MissingRequiredArgument, fault));
        }
        Ok((config, Command::Amend(Order { amendment, delete, filter, dry_run, confirm })))
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start all scanners
    Start {
        #[command(flatten)]
        config: Config,
    },
    /// Stop all scanners
    Stop {
        #[command(flatten)]
        config: Config,
    },
    /// Show what the service is doing
    Status {
        #[command(flatten)]
        config: Config,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Show it again every so many seconds (2 when left out), in place at a terminal; q or Ctrl-C ends it
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "2", value_parser = pause)]
        watch: Option<Duration>,
    },
    /// Read the configuration again, and change what has changed; everything else runs on
    Reload {
        #[command(flatten)]
        config: Config,
    },
}

/// Seconds between two looks, from a tenth to a day.
fn pause(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds from 0.1 to 86400".to_owned()),
    }
}

impl Action {
    fn into_command(self) -> (Config, CtlCommand) {
        match self {
            Self::Start { config } => (config, CtlCommand::Start),
            Self::Stop { config } => (config, CtlCommand::Stop),
            Self::Reload { config } => (config, CtlCommand::Reload),
            Self::Status { config, json, watch } => (config, CtlCommand::Status { json, watch }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, clap::Error> {
        parse_from(std::iter::once("mrosync").chain(line.split_whitespace()).map(OsString::from))
    }

    fn command(line: &str) -> Command {
        parsed(line).unwrap().command
    }

    fn files(line: &str) -> Vec<PathBuf> {
        parsed(line).unwrap().config
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
            Command::Records { filter: Filter { servers, ..Filter::default() }, format }
        };
        for (line, expected) in [
            ("check", Command::Check),
            ("ctl start", Command::Ctl(CtlCommand::Start)),
            ("ctl stop", Command::Ctl(CtlCommand::Stop)),
            ("ctl reload", Command::Ctl(CtlCommand::Reload)),
            ("ctl status", status(false, None)),
            ("ctl status --json", status(true, None)),
            ("ctl status --watch", status(false, Some(2000))),
            ("ctl status --watch=0.1", status(false, Some(100))),
            ("ctl status --watch=86400", status(false, Some(86_400_000))),
            ("ctl status --watch=0.5 --json", status(true, Some(500))),
            ("records", records(None, RecordsFormat::Table)),
            ("records --format table", records(None, RecordsFormat::Table)),
            ("records --server omc01 --format json", records(Some("omc01"), RecordsFormat::Json)),
            ("records --format=csv", records(None, RecordsFormat::Csv)),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    /// interface 15.1
    #[test]
    fn a_change_of_records_says_which_and_how_many() {
        let filter = || Filter { servers: vec!["a".to_owned()], ..Filter::default() };
        let order = |amendment, dry_run, confirm| {
            Command::Amend(Order { amendment, delete: false, filter: filter(), dry_run, confirm })
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
        assert_eq!(command(line), Command::Records { filter, format: RecordsFormat::Table });
        let Command::Records { filter, .. } = command("records --present --announced") else { panic!() };
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
