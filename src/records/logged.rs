//! The store of a service: its failures are logged, and it can be closed while others still ask.

use std::sync::Arc;

use parking_lot::Mutex;

use super::error::RecordsError;
use super::fault_log::{FaultLog, Work};
use super::store::RecordStore;

/// Why the records fail, for whoever asks meanwhile; none while they work.
#[derive(Debug, Clone, Default)]
pub struct SharedFault(Arc<Mutex<Option<String>>>);

impl SharedFault {
    /// Returns it as of the last attempt.
    #[must_use]
    pub fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// See the module.
pub struct LoggedStore {
    /// None once it was closed.
    store: Option<Box<dyn RecordStore>>,
    faults: FaultLog,
    shown: SharedFault,
}

impl LoggedStore {
    /// Takes a store that was opened.
    #[must_use]
    pub fn new(store: Box<dyn RecordStore>) -> Self {
        Self { store: Some(store), faults: FaultLog::default(), shown: SharedFault::default() }
    }

    /// The same, whose failures `shown` shows.
    #[must_use]
    pub fn showing(self, shown: SharedFault) -> Self {
        Self { shown, ..self }
    }

    /// Asks the store.
    ///
    /// # Errors
    ///
    /// What `ask` returns, which was logged; or that the store is closed.
    pub fn attempt<T>(
        &mut self,
        work: Work,
        ask: impl FnOnce(&mut dyn RecordStore) -> Result<T, RecordsError>,
    ) -> anyhow::Result<T> {
        let store = self.store.as_deref_mut().ok_or_else(|| anyhow::anyhow!("the records are closed"))?;
        let outcome = ask(store);
        let error = outcome.as_ref().err();
        if self.faults.note(work, error) {
            *self.shown.0.lock() = error.map(|error| format!("{error}; {}", error.kind().advice()));
        }
        Ok(outcome?)
    }

    /// Closes the store; whoever asks from here on is told so.
    pub fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.close();
        }
    }
}
