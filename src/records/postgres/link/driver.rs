//! A thread whose runtime moves the bytes of connections: whoever asks may block, or belong to another runtime.

use std::io;
use std::pin::Pin;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use crate::base::blocking;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Make = Box<dyn FnOnce() -> Task + Send>;

/// The thread; it ends with this, and all tasks on it.
#[derive(Debug)]
pub(super) struct Driver(mpsc::UnboundedSender<Make>);

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system gives none.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (sender, mut tasks) = mpsc::unbounded_channel::<Make>();
        blocking::spawn("records", move || {
            let spawn_all = async {
                while let Some(make) = tasks.recv().await {
                    drop(spawn_local(make()));
                }
            };
            LocalSet::new().block_on(&runtime, spawn_all);
            runtime.shutdown_background();
        })?;
        Ok(Self(sender))
    }

    /// Begins a task on the thread, and returns where its result comes. The task goes on without it.
    pub(super) fn spawn<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> oneshot::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (done, result) = oneshot::channel();
        // whoever waited may have gone
        let task = move || -> Task { Box::pin(async move { drop(done.send(make().await)) }) };
        // a thread that is gone shows in the result
        drop(self.0.send(Box::new(task)));
        result
    }
}
