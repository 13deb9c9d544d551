//! The arguments as clap takes them, and what they come to.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::command::{Command, CtlCommand};
use crate::base::globs::Globs;
use crate::base::time;
use crate::commands::adopt::{Order as AdoptOrder, Subject};
use crate::commands::amend::Order;
use crate::commands::mark::Order as MarkOrder;
use crate::commands::records::Format;
use crate::records::{Amendment, Filter, Mark};

/// Mirrors new zips of many FTP servers, keeps a disk quota and announces every file
#[derive(Debug, Parser)]
#[command(name = "mrosync", version)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) config: Config,
    /// With 'run' or no command: start scanning at once
    #[arg(long)]
    pub(super) start: bool,
    #[command(subcommand)]
    pub(super) command: Option<Verb>,
}

/// `--config`, which stands before or after each command. Those before come first in the list.
#[derive(Debug, Args)]
pub(super) struct Config {
    /// Configuration file; later ones override earlier ones [default: /etc/mrosync/mrosync.toml]
    #[arg(long = "config", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// Which records are meant: all of these must match.
#[derive(Debug, Args)]
pub(super) struct FilterArguments {
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
    pub(super) fn read(self) -> Result<Filter, clap::Error> {
        let Self { servers, paths, since, until, evicted, present, unannounced, announced } = self;
        let paths = globs(&paths)?;
        let either = |yes: bool, no: bool| if yes || no { Some(yes) } else { None };
        let (evicted, announced) = (either(evicted, present), either(announced, unannounced));
        Ok(Filter { servers, paths, since, until, evicted, announced })
    }
}

/// A fault with the usage of the command that it is about.
fn fault_of(verbs: &[&str], kind: ErrorKind, fault: &str) -> clap::Error {
    let mut about = Arguments::command();
    // gives the commands below their whole names
    about.build();
    for verb in verbs {
        about = about.find_subcommand(verb).cloned().unwrap_or(about);
    }
    about.error(kind, fault)
}

fn globs(patterns: &[String]) -> Result<Globs, clap::Error> {
    Globs::new(patterns)
        .map_err(|fault| Arguments::command().error(ErrorKind::ValueValidation, format!("--path {fault}")))
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
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
        /// Only this server, and nothing else; may be repeated
        #[arg(long = "server", value_name = "NAME")]
        servers: Vec<String>,
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
        /// The newest first
        #[arg(long, conflicts_with = "count")]
        newest: bool,
        /// At most so many
        #[arg(long, value_name = "NUMBER", conflicts_with = "count")]
        limit: Option<usize>,
        /// How many of each server and day, by their downloads in UTC, instead of the records themselves
        #[arg(long)]
        count: bool,
        /// How to print them
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
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
pub(super) enum MirrorAction {
    /// Accept what lies at sync.root as the mirror of the records, after it was moved, restored or lost files; missing files count as evicted
    Adopt(AdoptArguments),
}

#[derive(Debug, Args)]
pub(super) struct AdoptArguments {
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
    pub(super) fn into_command(self, subject: Subject) -> (Config, Command) {
        let Self { config, dry_run, confirm } = self;
        (config, Command::Adopt(AdoptOrder { subject, dry_run, confirm }))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Change {
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
pub(super) struct ForgetArguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// Delete those that are still in the mirror first, instead of leaving them on record
    #[arg(long)]
    delete: bool,
}

#[derive(Debug, Args)]
pub(super) struct MarkArguments {
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
pub(super) struct ChangeArguments {
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
    pub(super) fn into_command(self) -> Result<(Config, Command), clap::Error> {
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
            let verb = if amendment == Amendment::Forget { "forget" } else { "requeue" };
            return Err(fault_of(&["records", verb], ErrorKind::MissingRequiredArgument, fault));
        }
        Ok((config, Command::Amend(Order { amendment, delete, filter, dry_run, confirm })))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
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
        /// How many files a limit that is lower than before may delete at once, as the answer without it says
        #[arg(long, value_name = "NUMBER")]
        confirm: Option<u64>,
    },
    /// Scan one server now
    Scan {
        #[command(flatten)]
        config: Config,
        /// The server
        name: String,
    },
    /// Stop scanning one server until it is resumed, also by later starts
    Pause {
        #[command(flatten)]
        config: Config,
        /// The server
        name: String,
    },
    /// Scan a paused server again
    Resume {
        #[command(flatten)]
        config: Config,
        /// The server
        name: String,
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
    pub(super) fn into_command(self) -> (Config, CtlCommand) {
        match self {
            Self::Start { config } => (config, CtlCommand::Start),
            Self::Stop { config } => (config, CtlCommand::Stop),
            Self::Reload { config, confirm } => (config, CtlCommand::Reload { confirm }),
            Self::Scan { config, name } => (config, CtlCommand::Scan(name)),
            Self::Pause { config, name } => (config, CtlCommand::Pause(name)),
            Self::Resume { config, name } => (config, CtlCommand::Resume(name)),
            Self::Status { config, json, watch } => (config, CtlCommand::Status { json, watch }),
        }
    }
}
