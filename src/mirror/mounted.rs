//! Whether the mirror of the records is there, and who must wait while it is not.
//!
//! [`MountedMirror`] is what all parts share. The warden looks every few seconds, opens the mirror where it is the right one, and
//! holds everything where it is not; scanners and the notifier heed that. Nothing is made below a root that is held.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::identity::{MirrorId, Reason, Standing, Verdict, judge};
use super::store::{MirrorLocation, MirrorStore};
use crate::base::file_names::FileNames;
use crate::base::io_error::is_no_space;
use crate::base::names::{RemotePath, ServerName};
use crate::base::start_error::StartError;
use crate::quota::Absence;

/// Who has to wait, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// Everybody.
    pub all: Option<Reason>,
    /// Whatever is about the files of these servers.
    pub servers: BTreeMap<ServerName, Reason>,
    /// Grows each time that the mirror is opened: directory handles of before lead elsewhere.
    pub opened: u64,
}

impl Holds {
    /// Returns why work on the files of `server` has to wait, if it has.
    #[must_use]
    pub fn of(&self, server: &ServerName) -> Option<&Reason> {
        self.all.as_ref().or_else(|| self.servers.get(server))
    }
}

/// The mirror is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the mirror is held, as the status says")]
pub struct MirrorHeld;

/// See the module.
pub struct MountedMirror {
    location: Arc<dyn MirrorLocation>,
    mirror: Mutex<Option<Arc<dyn MirrorStore>>>,
    marked: AtomicBool,
    holds: watch::Sender<Holds>,
}

impl fmt::Debug for MountedMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MountedMirror({})", self.path().display())
    }
}

impl MountedMirror {
    /// The mirror at `location` is open, or why it is not.
    #[must_use]
    pub fn new(location: Arc<dyn MirrorLocation>, settled: Result<Settled, Reason>) -> Self {
        let mounted = Self {
            location,
            mirror: Mutex::default(),
            marked: AtomicBool::default(),
            holds: watch::Sender::default(),
        };
        match settled {
            Ok(settled) => mounted.open(settled),
            Err(reason) => mounted.close(reason),
        }
        mounted
    }

    /// Where the mirror lies, or should.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    /// The same, to look at what lies there.
    #[must_use]
    pub fn location(&self) -> &dyn MirrorLocation {
        &*self.location
    }

    /// The mirror, while it is there.
    ///
    /// # Errors
    ///
    /// [`MirrorHeld`].
    pub fn mirror(&self) -> Result<Arc<dyn MirrorStore>, MirrorHeld> {
        self.mirror.lock().clone().ok_or(MirrorHeld)
    }

    /// Returns whether the mirror that is open has its marker, and the records know it.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    /// It has it now.
    pub fn marked(&self) {
        self.marked.store(true, Ordering::Relaxed);
    }

    /// Follows who has to wait.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Holds> {
        self.holds.subscribe()
    }

    /// Returns who has to wait now.
    #[must_use]
    pub fn holds(&self) -> Holds {
        self.holds.borrow().clone()
    }

    /// Returns whether work on the files of `server` has to wait.
    #[must_use]
    pub fn is_held(&self, server: &ServerName) -> bool {
        self.holds.borrow().of(server).is_some()
    }

    /// Returns whether everybody has to wait.
    #[must_use]
    pub fn is_all_held(&self) -> bool {
        self.holds.borrow().all.is_some()
    }

    /// The right mirror is here: everything goes on, unless most of its files seem to be gone.
    pub fn open(&self, settled: Settled) {
        let Settled { mirror, id, sample } = settled;
        self.marked.store(id.is_some(), Ordering::Relaxed);
        *self.mirror.lock() = Some(mirror);
        let reason = sample.is_sudden().then_some(Reason::Gone(sample));
        self.holds.send_modify(|holds| {
            match (&holds.all, &reason) {
                (_, Some(reason)) => log::error!("{}", reason.describe(self.path())),
                (Some(_), None) => {
                    log::info!("{} is the mirror of the records: everything goes on", self.path().display());
                }
                (None, None) => {}
            }
            holds.all = reason;
            holds.opened += 1;
        });
    }

    /// Gives up the handles and the lock, because another mirror may be opened next.
    pub fn let_go(&self) {
        self.mirror.lock().take();
    }

    /// It is not: its handles are given up, and everybody waits.
    pub fn close(&self, reason: Reason) {
        self.let_go();
        self.hold_all(Some(reason));
    }

    /// Has everybody wait who works with the files, or not any more; the mirror itself stays open.
    pub fn hold_all(&self, reason: Option<Reason>) {
        self.holds.send_if_modified(|holds| {
            let kind = |reason: &Option<Reason>| reason.as_ref().map(Reason::word);
            let (before, now) = (kind(&holds.all), kind(&reason));
            if let Some(reason) = reason.as_ref().filter(|_| before != now) {
                log::error!("{}", reason.describe(self.path()));
            } else if before.is_some() && now.is_none() {
                log::info!("the files are in {} again: everything goes on", self.path().display());
            }
            std::mem::replace(&mut holds.all, reason) != holds.all
        });
    }

    /// Has those wait who work with the files of these servers, and nobody else.
    pub fn hold_servers(&self, reasons: BTreeMap<ServerName, Reason>) {
        self.holds.send_if_modified(|holds| {
            for (server, reason) in reasons.iter().filter(|(server, _)| !holds.servers.contains_key(*server))
            {
                log::error!("server={server} {}", reason.sentence_of(self.path(), server));
            }
            for server in holds.servers.keys().filter(|server| !reasons.contains_key(*server)) {
                log::info!("server={server} its files are in the mirror again: it goes on");
            }
            std::mem::replace(&mut holds.servers, reasons) != holds.servers
        });
    }
}

/// A mirror that was opened, and is to be the one of the records.
#[derive(Debug)]
pub struct Settled {
    /// It.
    pub mirror: Arc<dyn MirrorStore>,
    /// Its marker; none while there is no room for it, or the records cannot remember it.
    pub id: Option<MirrorId>,
    /// What was found of some files that the records call present.
    pub sample: Absence,
}

/// Opens the mirror at its `location`, if it is that of the records, and gives it a marker where it has none. Makes
/// nothing where it is not.
///
/// # Errors
///
/// [`StartError::Refused`] where another service works in it; else what fails while looking or opening.
pub fn settle(
    location: &dyn MirrorLocation,
    standing: &Standing,
    servers: &[(ServerName, FileNames)],
) -> Result<Result<Settled, Reason>, StartError> {
    // whatever it holds: another service is told from a mirror that others have left
    location.refuse_in_use()?;
    let found = location.marker();
    let found = found.with_context(|| format!("cannot read the marker of {}", location.path().display()))?;
    let sample = look_for(location, &standing.sample);
    match judge(standing, found, sample, |limit| location.count_files(servers, limit)) {
        Verdict::Ours | Verdict::Take => Ok(Ok(Settled { sample, ..take(location, found)? })),
        Verdict::Held(reason) => Ok(Err(reason)),
    }
}

/// Says how many of the `files` lie at their places in the mirror. One that cannot be looked at counts as there.
#[must_use]
pub fn look_for(location: &dyn MirrorLocation, files: &[(ServerName, RemotePath)]) -> Absence {
    let mut absence = Absence::default();
    for (server, path) in files {
        absence.note(matches!(location.size(server, path), Ok(None)));
    }
    absence
}

/// Opens the mirror at its `location`, whatever it is, and gives it a marker where it has none.
///
/// # Errors
///
/// As for [`settle`].
pub fn take(location: &dyn MirrorLocation, found: Option<MirrorId>) -> Result<Settled, StartError> {
    let mirror = location.open()?;
    let id = match found {
        Some(id) => Some(id),
        None => {
            let id = MirrorId::random().context("no random number for the marker of the mirror")?;
            match mirror.mark(id) {
                Ok(()) => Some(id),
                // a full mirror must be opened all the same, or nothing could be evicted from it
                Err(error) if is_no_space(error.kind()) => None,
                Err(error) => {
                    let shown = location.path().display();
                    return Err(anyhow::Error::new(error)
                        .context(format!("cannot mark the mirror {shown}"))
                        .into());
                }
            }
        }
    };
    Ok(Settled { mirror, id, sample: Absence::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::at;

    #[test]
    fn a_root_that_is_held_is_left_as_it_is_and_the_right_one_gets_its_marker() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let standing =
            Standing { known: Some(MirrorId::random().unwrap()), present: 3, ..Standing::default() };
        assert_eq!(
            settle(&*at(&root), &standing, &[]).unwrap().unwrap_err(),
            Reason::Unmarked { present: 3 }
        );
        assert!(!root.is_dir(), "not even the root is made");
        std::fs::create_dir(&root).unwrap();
        settle(&*at(&root), &standing, &[]).unwrap().unwrap_err();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        let Settled { mirror, id, .. } = settle(&*at(&root), &Standing::default(), &[]).unwrap().unwrap();
        assert_eq!(at(&root).marker().unwrap(), id);
        drop(mirror);
        let standing = Standing { known: id, ..standing };
        assert_eq!(settle(&*at(&root), &standing, &[]).unwrap().unwrap().id, id);
    }

    #[test]
    fn who_waits_hears_of_it_and_a_server_alone_does_not_hold_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let open = || take(&*at(folder.path()), None).unwrap();
        let [a, b] = ["a", "b"].map(|name| ServerName::new(name).unwrap());
        let place = MountedMirror::new(at(folder.path()), Err(Reason::Unmarked { present: 1 }));
        assert!(place.is_held(&a) && place.is_all_held() && place.mirror().is_err());
        let follower = place.follow();
        place.open(open());
        assert!(follower.has_changed().unwrap() && !place.is_held(&a) && place.holds().opened == 1);
        let gone = Reason::Gone(Absence { of: 30, gone: 25 });
        place.hold_servers(BTreeMap::from([(a.clone(), gone.clone())]));
        assert!(place.is_held(&a) && !place.is_held(&b) && !place.is_all_held());
        let words = place.holds().of(&a).unwrap().sentence_of(place.path(), &a);
        assert!(words.contains("25 of 30 files") && words.contains("/a at once"), "{words}");
        place.hold_servers(BTreeMap::new());
        place.hold_all(Some(gone));
        assert!(place.is_held(&b) && place.mirror().is_ok(), "the handles are needed to look again");
        place.hold_all(None);
        assert!(!place.is_held(&b));
        place.close(Reason::Another { present: 1 });
        assert_eq!(place.mirror().unwrap_err(), MirrorHeld);
        // the lock was given up with it
        drop(open());
    }

    #[test]
    fn files_are_looked_for_at_their_places() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/x")).unwrap();
        for path in ["a/1.zip", "a/x/2.ZIP"] {
            std::fs::write(folder.path().join(path), b"").unwrap();
        }
        let file = |text: &str| {
            (ServerName::new("a").unwrap(), RemotePath::from_text(text, encoding_rs::UTF_8).unwrap())
        };
        let files = ["/1.zip", "/x/2.ZIP", "/x/9.zip", "/y/9.zip"].map(file);
        assert_eq!(look_for(&*at(folder.path()), &files), Absence { of: 4, gone: 2 });
        let nowhere = at(&folder.path().join("nowhere"));
        assert_eq!(look_for(&*nowhere, &files[..1]), Absence { of: 1, gone: 1 });
    }
}
