//! What the records in memory hold, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::facts::{Download, Due, Earlier, FileFacts, Notice, Postponed, Shifted};
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::records::change::{Amendment, Change, Changed, Mark};
use crate::records::compare::{KnownFile, ListingUpdate};
use crate::records::types::{PresentFile, RecordRow, Recorded, RecordedMirror, Totals, Writes, Written};

/// A notice that waits for longer than this is due: the clock was set back.
const LONGEST_WAIT_MS: i64 = 10 * 60 * 1000;

/// Server, directory and name, as on the wire.
pub(super) type Key = (String, Vec<u8>, Vec<u8>);

#[derive(Default)]
pub(super) struct Tables {
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) keys: BTreeMap<Key, i64>,
    last_id: i64,
    pub(super) missing: BTreeSet<i64>,
    pub(super) beginnings: BTreeMap<String, i64>,
    pub(super) marker: Option<String>,
    pub(super) remembered: BTreeMap<String, String>,
    changes: u64,
}

pub(super) struct Row {
    key: Key,
    pub(super) shown: RecordRow,
    attempts: u32,
    next_attempt_at: i64,
    no_archive: bool,
    /// What was listed last, where that is not what was stored, and how often it changed.
    listed: Option<(FileFacts, u64)>,
}

impl Row {
    fn is_present(&self) -> bool {
        self.shown.evicted_at.is_none()
    }

    fn is_pending(&self) -> bool {
        self.is_present() && self.shown.notified_at.is_none()
    }

    pub(super) fn known(&self) -> KnownFile {
        let stored = FileFacts { size: Some(self.shown.size), modified: self.shown.modified };
        KnownFile {
            id: self.shown.id,
            size: self.shown.size,
            expected: self.listed.map_or(stored, |(facts, _)| facts),
            listing_lags: matches!(self.listed, Some((_, 0))),
            no_archive: self.no_archive,
            is_present: self.is_present(),
        }
    }

    pub(super) fn present(&self) -> PresentFile {
        let RecordRow { id, server, path, size, notified_at, .. } = self.shown.clone();
        PresentFile { id, server, path, size, announced: notified_at.is_some() }
    }

    fn notice(&self) -> Notice {
        let RecordRow { id, server, path, downloaded_at, size, .. } = self.shown.clone();
        Notice { id, server, path, attempts: self.attempts, downloaded_at, size }
    }

    fn keep_listed(&mut self, facts: FileFacts, changes: u64) {
        let before = self.listed.map_or(0, |(_, changes)| changes);
        self.listed = Some((facts, before + changes));
    }

    /// Marked as listed, and never fetched.
    fn was_never_here(&self) -> bool {
        let RecordRow { evicted_at, notified_at, downloaded_at, .. } = self.shown;
        evicted_at == Some(downloaded_at) && notified_at == Some(downloaded_at)
    }
}

pub(super) fn key(server: &ServerName, directory: &RemotePath, name: &RemoteName) -> Key {
    (server.as_str().to_owned(), directory.wire().to_vec(), name.wire().to_vec())
}

impl Tables {
    pub(super) fn insert(&mut self, file: &Download) -> Recorded {
        let key = key(&file.server, &file.directory, &file.name);
        let found = self.keys.get(&key).copied();
        let odd = found.filter(|id| self.rows[id].no_archive);
        let lagging = file.facts.size.is_some_and(|size| size != file.size).then_some((file.facts, 0));
        match (file.earlier, odd) {
            (Earlier::GivesWay, Some(id)) => self.remove(id),
            (Earlier::IsTheSame, Some(id)) => {
                let row = self.rows.get_mut(&id).unwrap();
                row.shown.modified = file.facts.modified;
                row.listed = lagging;
                return Recorded::Already { id };
            }
            _ => {}
        }
        // an id is used up even where the path is known, as with SQLite
        self.last_id += 1;
        let id = match self.keys.get(&key).copied() {
            Some(id) if self.rows[&id].was_never_here() => id,
            Some(id) => return Recorded::Already { id },
            None => self.last_id,
        };
        let before = self.rows.get(&id).and_then(|row| row.listed);
        let shown = RecordRow {
            id,
            server: file.server.clone(),
            path: file.directory.join(&file.name),
            size: file.size,
            modified: file.facts.modified,
            downloaded_at: file.downloaded_at,
            notified_at: None,
            evicted_at: None,
        };
        let (no_archive, next_attempt_at) = (file.no_archive, file.downloaded_at);
        let listed = lagging.or(before);
        self.keys.insert(key.clone(), id);
        self.rows.insert(id, Row { key, shown, attempts: 0, next_attempt_at, no_archive, listed });
        Recorded::New { id }
    }

    fn remove(&mut self, id: i64) {
        if let Some(row) = self.rows.remove(&id) {
            self.keys.remove(&row.key);
            self.missing.remove(&id);
        }
    }

    pub(super) fn update(&mut self, update: ListingUpdate, facts: FileFacts) {
        match update {
            ListingUpdate::Changed { id } => {
                self.rows.get_mut(&id).unwrap().keep_listed(facts, 1);
                self.changes += 1;
            }
            ListingUpdate::CaughtUp { id } => {
                let row = self.rows.get_mut(&id).unwrap();
                row.shown.modified = facts.modified;
                row.listed = None;
            }
        }
    }

    pub(super) fn settle_shift(&mut self, server: &ServerName, file: &Shifted) {
        let Some(id) = self.keys.get(&key(server, &file.directory, &file.name)).copied() else { return };
        if !file.is_zone {
            return self.update(ListingUpdate::Changed { id }, file.facts);
        }
        let row = self.rows.get_mut(&id).unwrap();
        match row.listed {
            Some(_) => row.keep_listed(file.facts, 0),
            None => row.shown.modified = file.facts.modified,
        }
    }

    pub(super) fn commit(&mut self, writes: &Writes<'_>) -> Written {
        let recorded = writes.downloads.iter().map(|file| self.insert(file)).collect();
        let mut delivered = 0;
        for id in writes.delivered {
            if let Some(row) = self.rows.get_mut(id).filter(|row| row.is_pending()) {
                row.shown.notified_at = Some(writes.delivered_at);
                delivered += 1;
            }
        }
        for Postponed { id, attempts, at } in writes.postponed {
            if let Some(row) = self.rows.get_mut(id).filter(|row| row.is_pending()) {
                (row.attempts, row.next_attempt_at) = ((*attempts).max(1), *at);
            }
        }
        Written { recorded, delivered }
    }

    pub(super) fn change(&mut self, change: &Change, now: i64) -> Changed {
        let mut sum = Changed::default();
        match change {
            Change::Mark(mark, files) => {
                for file in files {
                    if self.keys.contains_key(&key(&file.server, &file.directory, &file.name)) {
                        continue;
                    }
                    let id = self.insert(file).id();
                    let shown = &mut self.rows.get_mut(&id).unwrap().shown;
                    let at = Some(file.downloaded_at);
                    shown.notified_at = at.filter(|_| *mark != Mark::LocalToAnnounce);
                    shown.evicted_at = at.filter(|_| *mark == Mark::Listed);
                    sum.records += 1;
                }
            }
            Change::Evicted(ids) | Change::Missing(ids) => {
                for id in ids {
                    let Some(row) = self.rows.get_mut(id).filter(|row| row.is_present()) else { continue };
                    sum.records += 1;
                    sum.cancelled_notices += u64::from(row.is_pending());
                    row.shown.evicted_at = Some(now);
                    if matches!(change, Change::Missing(_)) {
                        self.missing.insert(*id);
                    }
                }
            }
            Change::Found(ids) => {
                for id in ids {
                    self.missing.remove(id);
                    let row = self.rows.get_mut(id);
                    let Some(row) = row.filter(|row| !row.is_present() && !row.was_never_here()) else {
                        continue;
                    };
                    row.shown.evicted_at = None;
                    row.next_attempt_at = now;
                    sum.records += 1;
                }
            }
            Change::Amend(Amendment::Forget, ids) => {
                for id in ids {
                    let Some(row) = self.rows.get(id) else { continue };
                    sum.records += 1;
                    sum.cancelled_notices += u64::from(row.is_pending());
                    self.remove(*id);
                }
            }
            Change::Amend(Amendment::Requeue, ids) => {
                for id in ids {
                    let row = self.rows.get_mut(id);
                    let announced = |row: &&mut Row| row.is_present() && row.shown.notified_at.is_some();
                    let Some(row) = row.filter(announced) else { continue };
                    row.shown.notified_at = None;
                    (row.attempts, row.next_attempt_at) = (0, now);
                    sum.records += 1;
                }
            }
        }
        sum
    }

    pub(super) fn due(&self, now: i64, limit: usize, in_flight: &[i64], held: &[ServerName]) -> Due {
        let pending = |row: &&Row| row.is_pending() && !in_flight.contains(&row.shown.id);
        let mut rows: Vec<&Row> = self.rows.values().filter(pending).collect();
        rows.sort_by_key(|row| (row.next_attempt_at, row.shown.id));
        let is_held = |row: &Row| held.contains(&row.shown.server);
        let notices = |wanted: &dyn Fn(&Row) -> bool| -> Vec<Notice> {
            let wanted = rows.iter().filter(|row| !is_held(row) && wanted(row));
            wanted.map(|row| row.notice()).collect()
        };
        let (is_tried, far) = (|row: &Row| row.attempts > 0, now.saturating_add(LONGEST_WAIT_MS));
        let mut fresh = notices(&|row| !is_tried(row));
        let mut tried = notices(&|row| is_tried(row) && row.next_attempt_at <= now);
        tried.extend(notices(&|row| is_tried(row) && row.next_attempt_at > far));
        fresh.truncate(limit);
        tried.truncate(limit);
        let waits = |row: &&&Row| is_tried(row) && !tried.iter().any(|notice| notice.id == row.shown.id);
        let next = rows.iter().find(waits).map(|row| row.next_attempt_at);
        Due { next_at: next.filter(|_| tried.len() < limit), fresh, tried }
    }

    pub(super) fn present(
        &self,
        after: i64,
        limit: usize,
        wanted: impl Fn(&Row) -> bool,
    ) -> Vec<PresentFile> {
        let rows = self.rows.range(after.saturating_add(1)..).map(|(_, row)| row);
        rows.filter(|row| row.is_present() && wanted(row)).take(limit).map(Row::present).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals { changes: self.changes, ..Totals::default() };
        for row in self.rows.values() {
            let (files, bytes) = match row.is_present() {
                true => (&mut totals.present_files, &mut totals.present_bytes),
                false => (&mut totals.evicted_files, &mut totals.evicted_bytes),
            };
            *files += 1;
            *bytes += row.shown.size;
            let is_notified = row.shown.notified_at.is_some();
            totals.delivered_notices += u64::from(is_notified);
            totals.pending_notices += u64::from(row.is_pending());
            totals.cancelled_notices += u64::from(!row.is_present() && !is_notified);
        }
        totals
    }

    pub(super) fn mirror(&self, some: usize) -> RecordedMirror {
        let mut sample = self.present(i64::MIN, usize::MAX, |_| true);
        if sample.len() > 2 * some {
            sample.drain(some..sample.len() - some);
        }
        RecordedMirror { marker: self.marker.clone(), totals: self.totals(), sample }
    }
}
