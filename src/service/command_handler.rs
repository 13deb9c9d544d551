//! Where commands are performed, whoever asks: the console, the control socket, the status page or a signal.

use std::fmt::Display;

use super::overview::Overview;
use super::reload::Reloader;
use crate::actors::Address;
use crate::actors::quota_warden::Adopt;
use crate::actors::record_keeper::RecordKeeper;
use crate::actors::supervisor::{IsRunning, Start, Stop, Supervisor};
use crate::base::failpoints;
use crate::base::humanize::why;
use crate::control::{Answer, Change, Command};
use crate::records::Changed;

/// The parts that commands are about.
pub(super) struct CommandHandler {
    pub(super) keeper: Address<RecordKeeper>,
    pub(super) supervisor: Address<Supervisor>,
    pub(super) overview: Overview,
    pub(super) reloader: Reloader,
}

impl CommandHandler {
    pub(super) async fn perform(&self, command: Command) -> Answer {
        failpoints::hang_here("command", &command.to_string()).await;
        match command {
            Command::Start => done(self.supervisor.send(Start).await),
            Command::Stop | Command::Quit => done(self.supervisor.send(Stop).await),
            Command::Reload { confirm } => {
                self.reloader.reload(confirm).await.map_or_else(Answer::Refused, Answer::Done)
            }
            Command::Change(change) => self.change(change).await,
            Command::Help => Answer::Help,
            Command::Status => {
                let running = self.supervisor.send(IsRunning).await.unwrap_or(false);
                Answer::Status(Box::new(self.overview.status(running).await))
            }
        }
    }

    async fn change(&self, change: Change) -> Answer {
        match change.of_records() {
            Some(change) => self.changed(self.keeper.send(change).await),
            None => {
                let adopted = self.reloader.fleet.warden.send(Adopt).await;
                done(adopted.map(|adopted| adopted.map_err(|error| format!("{error:#}"))))
            }
        }
    }

    /// Records were changed: every scanner looks them up again.
    fn changed<E: Display>(&self, outcome: Result<anyhow::Result<Changed>, E>) -> Answer {
        // after the commit: whatever a scan learns from here on is true
        self.reloader.roster.all().iter().for_each(|progress| progress.records_changed());
        match outcome {
            Ok(Ok(changed)) => Answer::Changed(usize::try_from(changed.records).unwrap_or(usize::MAX)),
            Ok(Err(error)) => Answer::Failed(why(&error)),
            Err(lost) => Answer::Failed(lost.to_string()),
        }
    }
}

/// What an actor says of it; one that is lost says nothing.
fn done<E: Display>(outcome: Result<Result<String, String>, E>) -> Answer {
    outcome.unwrap_or_else(|lost| Err(lost.to_string())).into()
}
