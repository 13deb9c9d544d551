//! The store of a service: its failures are logged, and it can be closed while others still ask.

use super::error::RecordsError;
use super::fault_log::{FaultLog, Work};
use super::store::RecordStore;

/// See the module.
pub struct LoggedStore {
    /// None once it was closed.
    store: Option<Box<dyn RecordStore>>,
    faults: FaultLog,
}

impl LoggedStore {
    /// Takes a store that was opened.
    #[must_use]
    pub fn new(store: Box<dyn RecordStore>) -> Self {
        Self { store: Some(store), faults: FaultLog::default() }
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
        self.faults.note(work, outcome.as_ref().err());
        Ok(outcome?)
    }

    /// Closes the store; whoever asks from here on is told so.
    pub fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.close();
        }
    }
}
