//! What a reader of records promises.

use std::io;

use super::error::{OpenError, RecordsError};
use super::filter::Filter;
use super::types::{RecordRow, RecordedMirror};
use crate::base::names::{RemoteName, RemotePath, ServerName};

/// The records, opened by somebody who changes nothing, beside a service that may be writing, in this process or
/// another. Each method sees whole transactions, and holds up neither the writer nor what the writer clears away for
/// longer than it runs. Memory does not grow with the number of records.
pub trait RecordReader: Send {
    /// Reads the latest `limit` records, the newest first.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn newest(&mut self, limit: u32) -> Result<Vec<RecordRow>, ReadError>;

    /// Returns the highest id.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn last_id(&mut self) -> Result<Option<i64>, ReadError>;

    /// Reads some of the records after `after`, up to and with `until`, oldest first: those that `filter` means. A page
    /// is ended by a number of records looked at, not by one of records found.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn page(&mut self, after: i64, until: i64, filter: &Filter) -> Result<Page, ReadError>;

    /// Returns whether the file is on record.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn knows(
        &mut self,
        server: &ServerName,
        directory: &RemotePath,
        name: &RemoteName,
    ) -> Result<bool, ReadError>;

    /// Returns the names of all servers with records, in no order.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn servers(&mut self) -> Result<Vec<String>, ReadError>;

    /// Returns when the server began, in unix seconds, where that is remembered.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn beginning(&mut self, server: &ServerName) -> Result<Option<i64>, ReadError>;

    /// Reads what [`RecordStore::recorded_mirror`](super::RecordStore::recorded_mirror) does.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    fn recorded_mirror(&mut self, some: usize) -> Result<RecordedMirror, ReadError>;

    /// Shows every record that `filter` means to `visit`, oldest first. Records that are made
    /// meanwhile are not shown. Nothing is held while `visit` runs, so it may take its time.
    ///
    /// # Errors
    ///
    /// What `visit` returns, at the first record where it does, and whatever fails while reading.
    fn for_each(
        &mut self,
        filter: &Filter,
        visit: &mut dyn FnMut(&RecordRow) -> io::Result<()>,
    ) -> Result<(), VisitError> {
        self.visit(&Query { filter: filter.clone(), ..Query::default() }, visit)
    }

    /// The same in the order and up to the number of `query`.
    ///
    /// # Errors
    ///
    /// As [`for_each`](Self::for_each).
    fn visit(
        &mut self,
        query: &Query,
        visit: &mut dyn FnMut(&RecordRow) -> io::Result<()>,
    ) -> Result<(), VisitError> {
        let Some(last) = self.last_id()? else { return Ok(()) };
        let mut left = query.limit.unwrap_or(usize::MAX);
        let (mut after, mut until) =
            if query.newest_first { (last.saturating_sub(SPAN), last) } else { (i64::MIN, last) };
        while left > 0 && until > 0 {
            let mut found = Vec::new();
            while after < until {
                let page = self.page(after, until, &query.filter)?;
                after = page.last.unwrap_or(until);
                found.extend(page.rows);
                if !query.newest_first {
                    break;
                }
            }
            if query.newest_first {
                found.reverse();
                until = until.saturating_sub(SPAN);
                after = until.saturating_sub(SPAN);
            } else if after >= last {
                until = 0;
            }
            found.iter().take(left).try_for_each(&mut *visit)?;
            left = left.saturating_sub(found.len());
        }
        Ok(())
    }
}

/// Ids that are looked at together where the newest come first.
const SPAN: i64 = 1000;

/// Which records, in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Those that it means.
    pub filter: Filter,
    /// The latest download first, else the first.
    pub newest_first: bool,
    /// So many at most.
    pub limit: Option<usize>,
}

/// Some records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The last record looked at, whether or not it was meant; none where there was none.
    pub last: Option<i64>,
    /// Those that are meant.
    pub rows: Vec<RecordRow>,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is stored could not be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The records had to be opened again, because a service started to write to them, and could not.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why not every record was visited.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The records could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The visitor could not go on, as where it cannot write.
    #[error("cannot write the records out: {0}")]
    Write(#[from] io::Error),
}
