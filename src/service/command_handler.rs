//! Where commands are performed, whoever asks: the console, the control socket, the status page or a signal.

use std::fmt::Display;

use super::overview::Overview;
use super::reload::Reloader;
use crate::actors::Address;
use crate::actors::quota_warden::Adopt;
use crate::actors::record_keeper::{RecordKeeper, Request};
use crate::actors::supervisor::{IsRunning, Single, SingleOrder, Start, Stop, Supervisor};
use crate::base::failpoints;
use crate::base::humanize::why;
use crate::base::json;
use crate::control::{Answer, Change, Command};
use crate::records::{Changed, Work};

/// Under which the names of paused servers are remembered.
pub(super) const PAUSED: &str = "paused";

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
            Command::Scan(server) => self.single(server, SingleOrder::Scan).await,
            Command::Pause(server) => self.single(server, SingleOrder::Pause).await,
            Command::Resume(server) => self.single(server, SingleOrder::Resume).await,
            Command::Change(change) => self.change(change).await,
            Command::Help => Answer::Help,
            Command::Status => {
                let running = self.supervisor.send(IsRunning).await.unwrap_or(false);
                Answer::Status(Box::new(self.overview.status(running).await))
            }
        }
    }

    async fn single(&self, server: String, order: SingleOrder) -> Answer {
        let asked = server.clone();
        let answer: Answer = done(self.supervisor.send(Single { server, order }).await);
        if order != SingleOrder::Scan && !answer.is_failure() {
            log::info!("server={asked} {}", if order == SingleOrder::Pause { "paused" } else { "resumed" });
            let all = self.reloader.roster.all();
            let paused = all.iter().filter(|progress| progress.is_paused());
            let names: Vec<&str> = paused.map(|progress| progress.name()).collect();
            let text = json::to_string(&names).unwrap_or_default();
            let keep = Request::new(Work::Begin, move |records| records.remember(PAUSED, &text));
            // what cannot be remembered was told, and holds until this process ends
            drop(self.keeper.send(keep).await);
        }
        answer
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
