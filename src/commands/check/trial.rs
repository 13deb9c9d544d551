//! Opens what the service opens at its start, each by the same steps as the service, in the same place and under a name
//! of its own, and takes all of it away again: what the file system refuses shows in no permission.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::{RecordsSettings, Settings};
use crate::mirror;
use crate::records;

/// A key of the configuration, and what is wrong with what it names.
pub(super) type Finding = (&'static str, anyhow::Error);

/// Of what is made here; directories that are left behind are those of a user who runs `check` as themselves.
const MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

/// What the service would fail to open. To be asked while none runs.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let Settings { sync, records, control, log, .. } = settings;
    let log = log.file.as_ref().map_or(Ok(()), |file| try_log(file));
    let tried = [
        ("sync.root", try_mirror(&sync.root)),
        ("records.path", try_records(records)),
        ("log.file", log),
        ("control.socket", try_socket(&control.socket)),
    ];
    tried.into_iter().filter_map(|(key, outcome)| Some((key, outcome.err()?))).collect()
}

/// Directories that were made, which go with it as far as nothing else lies in them.
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes what is missing of `path`.
    fn directories(path: &Path) -> anyhow::Result<Self> {
        let missing = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        let made = Self(missing.take_while(|path| !path.is_dir()).map(Path::to_owned).collect());
        DirBuilder::new()
            .recursive(true)
            .mode(MODE)
            .create(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // one in which somebody has put something meanwhile stays
            drop(std::fs::remove_dir(path));
        }
    }
}

/// The directory of a file.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn own_name() -> String {
    format!(".check-{}", std::process::id())
}

fn try_mirror(root: &Path) -> anyhow::Result<()> {
    let own = mirror::at(root).machine_paths(&[]).files;
    // where the service keeps its own files, and nobody looks for those of a server
    let within = own.first().map_or(root, |file| parent(file));
    let _made = Made::directories(within)?;
    let trial = within.join(own_name());
    let opened = mirror::at(&trial).open().map(drop);
    let removed = std::fs::remove_dir_all(&trial);
    opened?;
    removed.with_context(|| format!("cannot delete {}", trial.display()))
}

/// Records that are there were opened already, by the line that is about them.
fn try_records(settings: &RecordsSettings) -> anyhow::Result<()> {
    // a database is examined by its own line, and lies on no disk of this machine
    let RecordsSettings::Sqlite(file) = settings else { return Ok(()) };
    if records::files(settings).is_empty() || file.symlink_metadata().is_ok() {
        return Ok(());
    }
    let within = parent(file);
    let _made = Made::directories(within)?;
    let trial = RecordsSettings::Sqlite(within.join(own_name()));
    let opened = records::open(&trial).map(|records| records.close());
    for file in records::files(&trial) {
        // those that were not made
        drop(std::fs::remove_file(file));
    }
    Ok(opened?)
}

fn try_log(file: &Path) -> anyhow::Result<()> {
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    let _made = Made::directories(parent(file))?;
    let opened = OpenOptions::new().append(true).create_new(true).mode(FILE_MODE).open(file);
    opened.with_context(|| format!("cannot make {}", file.display()))?;
    std::fs::remove_file(file).with_context(|| format!("cannot delete {}", file.display()))
}

fn try_socket(path: &Path) -> anyhow::Result<()> {
    let within = parent(path);
    let _made = Made::directories(within)?;
    let trial = within.join(own_name());
    let bound = UnixListener::bind(&trial);
    bound.with_context(|| format!("cannot make a socket in {}", within.display()))?;
    std::fs::remove_file(&trial).with_context(|| format!("cannot delete {}", trial.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_of_a_trial_and_what_was_there_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("there")).unwrap();
        std::fs::write(at("there/log"), "kept").unwrap();
        for root in ["new/mirror", "there"] {
            try_mirror(&at(root)).unwrap();
        }
        try_records(&RecordsSettings::Sqlite(at("db/records.db"))).unwrap();
        for log in ["logs/a/log", "there/log", "there/another"] {
            try_log(&at(log)).unwrap();
        }
        try_socket(&at("run/socket")).unwrap();
        let names = |path: &Path| {
            let entries = std::fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(place.path()), ["there"]);
        assert_eq!(names(&at("there")), ["log"]);
        assert_eq!(std::fs::read_to_string(at("there/log")).unwrap(), "kept");
    }

    #[test]
    fn a_file_system_that_takes_no_socket_or_file_is_found_out() {
        // where nothing can be made, whoever asks
        let proc = Path::new("/proc/self/mrosync");
        assert!(try_mirror(proc).is_err() && try_log(&proc.join("log")).is_err());
        assert!(try_socket(&proc.join("socket")).is_err());
        assert!(try_records(&RecordsSettings::Sqlite(proc.join("records.db"))).is_err());
    }
}
