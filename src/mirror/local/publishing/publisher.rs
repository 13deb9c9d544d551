//! The publisher's thread: whole files become durable under their final names, many at a time.
//!
//! Few files are stored at once, each with syncs of its own. Many go along a line: each round gives their names to the
//! files whose data are durable, and then syncs the file system once, which makes these names durable and the data of
//! the files that came meanwhile. So a file takes two syncs, and a round costs one. A file that comes alone does not
//! wait for company.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::{mpsc, oneshot};

use super::batch::{link_batch, store_batch, sync_together};
use super::staged::Staged;
use crate::base::{blocking, failpoints, panics};
use crate::mirror::error::PublishError;
use crate::mirror::local::durable::DurableDirectories;
use crate::mirror::local::link::disk;

/// Most files of a round. Bounds the wait of the first one of them.
const MAX_BATCH: usize = 256;
/// Jobs that wait for the publisher; beyond it scanners wait, which is the back pressure of a slow disk.
const QUEUE: usize = 1024;

type Outcome = Result<(), PublishError>;

/// The way to the publisher's thread.
#[derive(Debug, Clone)]
pub(in crate::mirror::local) struct Publisher(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    staged: Staged,
    done: oneshot::Sender<Outcome>,
}

impl Publisher {
    /// Starts the thread. It ends when the last clone of the publisher is dropped.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(in crate::mirror::local) fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        blocking::spawn("publisher", move || run(receiver))?;
        Ok(Self(sender))
    }

    /// The same work without a thread, for tests whose clock is paused: it would run on while another thread works.
    #[cfg(test)]
    pub(in crate::mirror::local) fn on_this_thread() -> Self {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        tokio::task::spawn_local(async move {
            let mut line = Line::new(Steps { link: link_batch, store: store_batch });
            while let Some(first) = receiver.recv().await {
                let mut batch = Batch::default();
                batch.push(first);
                line.round(batch);
                while !line.is_empty() {
                    line.round(Batch::default());
                }
            }
        });
        Self(sender)
    }

    /// Makes `staged` durable under its final name.
    ///
    /// Cancelled, the file is stored all the same; its partial name tells the next run so.
    ///
    /// # Errors
    ///
    /// As [`PublishError`] says; the partial file is still there then.
    pub(in crate::mirror::local) async fn store(&self, staged: Staged) -> Result<(), PublishError> {
        let (done, answer) = oneshot::channel();
        self.0.send(Job { staged, done }).await.map_err(|_| PublishError::Gone)?;
        answer.await.map_err(|_| PublishError::Gone)?
    }
}

fn run(mut receiver: mpsc::Receiver<Job>) {
    panics::own_thread("publisher");
    let mut line = Line::new(Steps { link: link_batch, store: store_batch });
    loop {
        let mut batch = Batch::default();
        if line.is_empty() {
            let Some(first) = receiver.blocking_recv() else { return };
            batch.push(first);
        }
        while batch.staged.len() < MAX_BATCH
            && let Ok(job) = receiver.try_recv()
        {
            batch.push(job);
        }
        line.round(batch);
    }
}

/// Files of a round and those who wait for them.
#[derive(Debug, Default)]
struct Batch {
    staged: Vec<Staged>,
    askers: Vec<oneshot::Sender<Outcome>>,
}

impl Batch {
    fn push(&mut self, job: Job) {
        self.staged.push(job.staged);
        self.askers.push(job.done);
    }

    fn answer(self, outcomes: Vec<Outcome>) {
        for (asker, outcome) in self.askers.into_iter().zip(outcomes) {
            // an asker that was stopped finds the file by its partial name at the next start
            drop(asker.send(outcome));
        }
    }
}

/// How files are stored. Tests put panics in their way.
#[derive(Debug, Clone, Copy)]
struct Steps {
    link: fn(&[Staged], &mut DurableDirectories) -> Vec<Outcome>,
    store: fn(&[Staged], &mut DurableDirectories) -> Vec<Outcome>,
}

/// See the module.
#[derive(Debug)]
struct Line {
    steps: Steps,
    durable: DurableDirectories,
    /// Their data are durable, and they have no names yet.
    synced_unlinked: Batch,
}

impl Line {
    fn new(steps: Steps) -> Self {
        Self { steps, durable: DurableDirectories::default(), synced_unlinked: Batch::default() }
    }

    fn is_empty(&self) -> bool {
        self.synced_unlinked.staged.is_empty()
    }

    /// Brings the files in the line one step further, and takes `batch` in.
    fn round(&mut self, batch: Batch) {
        let synced_unlinked = std::mem::take(&mut self.synced_unlinked);
        let files = synced_unlinked.staged.len() + batch.staged.len();
        let one = synced_unlinked.staged.first().or(batch.staged.first());
        if !one.is_some_and(|one| self.durable.suits(files, one)) {
            for batch in [synced_unlinked, batch] {
                let outcomes = store_shielded(self.steps, &batch.staged, &mut self.durable);
                batch.answer(outcomes);
            }
            return;
        }
        let mut outcomes = self.link(&synced_unlinked.staged);
        let linked = synced_unlinked.staged.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let linked: Vec<&Staged> = linked.map(|(staged, _)| staged).collect();
        let synced = sync_together(&linked, &batch.staged, &mut self.durable);
        match synced {
            Ok(()) => self.synced_unlinked = batch,
            Err(error) => {
                let failed = || Err(disk(error, "syncing the file system"));
                outcomes.iter_mut().filter(|outcome| outcome.is_ok()).for_each(|outcome| *outcome = failed());
                let all_failed = batch.staged.iter().map(|_| failed()).collect();
                batch.answer(all_failed);
            }
        }
        synced_unlinked.answer(outcomes);
    }

    fn link(&mut self, synced_unlinked: &[Staged]) -> Vec<Outcome> {
        let linked = catch_unwind(AssertUnwindSafe(|| {
            synced_unlinked.iter().for_each(|staged| failpoints::here("store", staged.name.text()));
            (self.steps.link)(synced_unlinked, &mut self.durable)
        }));
        linked.unwrap_or_else(|_| store_shielded(self.steps, synced_unlinked, &mut self.durable))
    }
}

/// Stores a batch. A panic costs the file that brought it and neither the others nor the thread: they are stored again
/// one by one, which changes nothing for those that are stored already.
fn store_shielded(steps: Steps, batch: &[Staged], durable: &mut DurableDirectories) -> Vec<Outcome> {
    let stored = catch_unwind(AssertUnwindSafe(|| {
        batch.iter().for_each(|staged| failpoints::here("store", staged.name.text()));
        (steps.store)(batch, durable)
    }));
    match (stored, batch) {
        (Ok(outcomes), _) => outcomes,
        (Err(_), [_]) => {
            let words = panics::take_last().unwrap_or_else(|| "a panic".to_owned());
            vec![Err(PublishError::Disk(anyhow::Error::msg(words)))]
        }
        (Err(_), _) => batch.chunks(1).flat_map(|one| store_shielded(steps, one, durable)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::read;
    use std::sync::Arc;

    use super::*;
    use crate::mirror::local::publishing::staged::fixtures::{mirror, stage};
    use crate::mirror::local::root::ServerDirectories;

    const PANICKING: Steps = Steps {
        link: |batch, durable| {
            assert!(batch.iter().all(|staged| staged.name.text() != "bad.zip"), "this one panics");
            link_batch(batch, durable)
        },
        store: |batch, durable| {
            let outcomes = store_batch(batch, durable);
            assert!(batch.iter().all(|staged| staged.name.text() != "bad.zip"), "this one panics");
            outcomes
        },
    };

    #[test]
    fn a_panic_over_one_file_of_a_batch_costs_that_file_alone() {
        let (folder, mirror) = mirror();
        let batch = ["1.zip", "bad.zip", "2.zip"].map(|name| stage(&mirror, "/", name, b"content"));
        let outcomes = store_shielded(PANICKING, &batch, &mut DurableDirectories::default());
        assert!(matches!(outcomes.as_slice(), [Ok(()), Err(PublishError::Disk(_)), Ok(())]), "{outcomes:?}");
        assert_eq!(read(folder.path().join("omc01/2.zip")).unwrap(), b"content");
    }

    fn batch(mirror: &Arc<ServerDirectories>, names: &[String]) -> (Batch, Vec<oneshot::Receiver<Outcome>>) {
        let mut batch = Batch::default();
        let waiting = names.iter().map(|name| {
            let (done, answer) = oneshot::channel();
            batch.push(Job { staged: stage(mirror, "/d", name, name.as_bytes()), done });
            answer
        });
        let waiting = waiting.collect();
        (batch, waiting)
    }

    fn names(from: u32, to: u32) -> Vec<String> {
        (from..to).map(|n| format!("{n}.zip")).collect()
    }

    /// A line that believes its file system to be one of those that are synced as a whole.
    fn line(steps: Steps) -> Line {
        let mut line = Line::new(steps);
        line.durable = DurableDirectories::synced_as_a_whole();
        line
    }

    #[test]
    fn many_files_are_answered_after_the_sync_that_follows_their_names() {
        let (folder, mirror) = mirror();
        let mut line = line(Steps { link: link_batch, store: store_batch });
        let (first, mut waiting) = batch(&mirror, &names(0, 20));
        line.round(first);
        assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_err()), "no name was given yet");
        assert_eq!(std::fs::read_dir(folder.path().join("omc01")).unwrap().count(), 0);
        let (second, mut later) = batch(&mirror, &names(20, 40));
        line.round(second);
        assert!(waiting.into_iter().all(|mut answer| matches!(answer.try_recv(), Ok(Ok(())))));
        assert!(later.iter_mut().all(|answer| answer.try_recv().is_err()));
        // nothing more comes: the rest is brought to its end all the same
        line.round(Batch::default());
        assert!(later.into_iter().all(|mut answer| matches!(answer.try_recv(), Ok(Ok(())))));
        assert!(line.is_empty());
        assert_eq!(read(folder.path().join("omc01/d/39.zip")).unwrap(), b"39.zip");
    }

    #[test]
    fn what_cannot_be_named_costs_itself_alone_in_the_line_too() {
        let (folder, mirror) = mirror();
        std::fs::create_dir(folder.path().join("omc01/d")).unwrap();
        std::fs::write(folder.path().join("omc01/d/3.zip"), b"theirs").unwrap();
        let mut line = line(PANICKING);
        let mut all = names(0, 20);
        all.push("bad.zip".to_owned());
        let (first, waiting) = batch(&mirror, &all);
        line.round(first);
        line.round(Batch::default());
        for (name, mut answer) in all.iter().zip(waiting) {
            let outcome = answer.try_recv().unwrap();
            match name.as_str() {
                "3.zip" => assert!(matches!(outcome, Err(PublishError::NameTaken)), "{outcome:?}"),
                "bad.zip" => assert!(matches!(outcome, Err(PublishError::Disk(_))), "{outcome:?}"),
                _ => assert!(outcome.is_ok(), "{name}: {outcome:?}"),
            }
        }
        assert_eq!(read(folder.path().join("omc01/d/3.zip")).unwrap(), b"theirs");
    }

    #[tokio::test]
    async fn the_publisher_answers_each_asker() {
        let (folder, mirror) = mirror();
        let publisher = Publisher::start().unwrap();
        let names = names(0, 50);
        let jobs = names.iter().map(|name| publisher.store(stage(&mirror, "/d", name, b"x")));
        assert!(futures_util::future::join_all(jobs).await.iter().all(Result::is_ok));
        assert_eq!(std::fs::read_dir(folder.path().join("omc01/d")).unwrap().count(), 50);
    }
}
