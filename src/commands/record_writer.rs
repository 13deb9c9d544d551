//! Who changes the records for a command: the service, where one runs, which is told over its control socket; else this
//! process, which then keeps a service from starting until it is done.

use anyhow::Context;
use chrono::Utc;

use crate::config::Settings;
use crate::control::{Change, client};
use crate::mirror;
use crate::mirror::identity::MirrorId;
use crate::mirror::mounted::take;
use crate::records::{self, OpenError, RecordStore};

/// See the module.
pub(super) struct RecordWriter<'a> {
    settings: &'a Settings,
    /// None where a service runs.
    own: Option<Box<dyn RecordStore>>,
}

impl<'a> RecordWriter<'a> {
    /// Opens the records, unless a service has them open.
    ///
    /// To be called before a reader is opened in this process: SQLite would lose the reader's locks.
    ///
    /// # Errors
    ///
    /// Where they cannot be opened for another reason.
    pub(super) fn open(settings: &'a Settings) -> anyhow::Result<Self> {
        let own = match records::open(&settings.records) {
            Ok(records) => Some(records),
            Err(OpenError::InUse { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { settings, own })
    }

    /// Has the change made, and returns how many records that changed.
    ///
    /// # Errors
    ///
    /// Where it could not be made, or the service could not be asked.
    pub(super) fn change(&mut self, change: Change) -> anyhow::Result<u64> {
        let Some(records) = &mut self.own else {
            return client::change(&self.settings.control.socket, change);
        };
        let change = change.of_records().context("that changes no records")?;
        let now = Utc::now().timestamp_millis();
        Ok(records.change(&change.dated(now), now)?.records)
    }

    /// Has the records remember the mirror at its place, whose marker is `marker`. Last of all: a service goes on with
    /// this.
    ///
    /// # Errors
    ///
    /// Where the mirror cannot be taken, or the service says so.
    pub(super) fn adopt(self, marker: Option<MirrorId>) -> anyhow::Result<()> {
        let Some(mut records) = self.own else {
            return client::adopt(&self.settings.control.socket);
        };
        let settled = take(&*mirror::at(&self.settings.sync.root), marker)?;
        let id = settled.id.ok_or_else(|| anyhow::anyhow!("there is no room for the marker"))?;
        records.remember_mirror(&id.to_string())?;
        records.close();
        Ok(())
    }

    /// Ends the use of the records.
    pub(super) fn close(self) {
        if let Some(records) = self.own {
            records.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Settings whose files all lie in `place`.
    fn settings(place: &Path) -> Settings {
        let file = place.join("config.toml");
        let toml = format!(
            "[sync]\nroot = '{0}/mirror'\n[records]\npath = '{0}/records.db'\n[control]\nsocket = '{0}/socket'\n\
             [[servers]]\nname = 'omc01'\nhost = '127.0.0.1'\n",
            place.display()
        );
        std::fs::write(&file, toml).unwrap();
        crate::config::load(&[file]).unwrap().settings
    }

    /// interface 15.3
    #[test]
    fn without_a_service_the_records_are_changed_here_and_with_one_it_is_asked() {
        let place = tempfile::tempdir().unwrap();
        let settings = settings(place.path());
        let mut writer = RecordWriter::open(&settings).unwrap();
        assert_eq!(writer.change(Change::Forget(vec![1])).unwrap(), 0);
        let mut asker = RecordWriter::open(&settings).unwrap();
        let error = asker.change(Change::Forget(vec![1])).unwrap_err();
        assert!(format!("{error:#}").contains("cannot reach the service"), "{error:#}");
        writer.close();
        let mut writer = RecordWriter::open(&settings).unwrap();
        assert!(writer.change(Change::Adopt {}).is_err());
    }
}
