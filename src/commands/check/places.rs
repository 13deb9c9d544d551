//! Whether the service could open what it opens at its start: the mirror, the records, the log, the control socket and the
//! status page. Nothing stays of what is made for that (`trial`).

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation};

use super::trial::{self, Finding, parent};
use crate::base::names::Printable;
use crate::base::owner::User;
use crate::config::Settings;
use crate::control::socket::check_directory;
use crate::mirror;
use crate::mirror::store::MachinePaths;
use crate::records;
use crate::service::owners;
use crate::web::BoundListener;

/// Everything that the start would fail at. While a service `is_running`, it holds the mirror and the page's address.
pub(super) fn findings(settings: &Settings, is_running: bool) -> Vec<Finding> {
    let Settings { sync, records: recorded, control, web, log, servers, .. } = settings;
    let mut found = Vec::new();
    let mut note = |key, outcome: anyhow::Result<()>| found.extend(outcome.err().map(|error| (key, error)));
    let names: Vec<_> = servers.iter().map(|server| &server.name).collect();
    let MachinePaths { directories, parts, files, lock } = mirror::at(&sync.root).machine_paths(&names);
    let directories = directories.iter().map(|path| directory(path));
    let (own, parts) = (files.iter().map(|path| file(path)), parts.iter().map(|path| part(path)));
    note("sync.root", all(directories.chain(own).chain(parts)));
    if let Some(lock) = lock.filter(|_| !is_running) {
        note("sync.root", is_free(&lock));
    }
    let database: Vec<_> = records::files(recorded);
    let within = database.first().map(|path| directory(parent(path)));
    note(recorded.key(), all(within.into_iter().chain(database.iter().map(|path| file(path)))));
    if let Some(log) = &log.file {
        note("log.file", file_to_append(log));
    }
    note("control.socket", socket(&control.socket));
    if let Some(web) = web.clone().filter(|_| !is_running) {
        let fault = BoundListener::open(web).err().map(|error| format!("{error:#}"));
        // it names its key itself, for those who see nothing else
        let fault = fault.map(|fault| fault.trim_start_matches("web.listen: ").to_owned());
        note("web.listen", fault.map_or(Ok(()), |fault| Err(anyhow::Error::msg(fault))));
    }
    found.extend(owners::refuse_root(settings).err().map(|refused| ("owner", refused.into())));
    found.extend(owners::barred(settings).map(|barred| ("owner", anyhow::Error::msg(barred))));
    if found.is_empty() && !is_running {
        found = trial::findings(settings);
    }
    found
}

/// All faults in one go.
fn all(outcomes: impl Iterator<Item = anyhow::Result<()>>) -> anyhow::Result<()> {
    let faults = outcomes.filter_map(Result::err).map(|error| format!("{error:#}"));
    let mut shown: Vec<String> = faults.collect();
    shown.dedup();
    if shown.is_empty() { Ok(()) } else { bail!("{}", shown.join("; ")) }
}

/// A part of the mirror: as [`directory`], and no symbolic link.
fn part(path: &Path) -> anyhow::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_dir() => {
            bail!(
                "{} is no directory, or a symbolic link, and links are not followed in the mirror; move it away",
                path.display()
            )
        }
        _ => directory(path),
    }
}

/// The directory can be written; where it is missing, it can be made.
fn directory(path: &Path) -> anyhow::Result<()> {
    let existing = path.ancestors().find(|path| path.symlink_metadata().is_ok());
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    may(existing, Access::WRITE_OK | Access::EXEC_OK, "write into")?;
    match existing.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => bail!("{} is no directory", existing.display()),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", existing.display())),
    }
}

/// The file can be read and written, or is not there.
fn file(path: &Path) -> anyhow::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => bail!("{} is a directory", path.display()),
        Ok(_) => may(path, Access::READ_OK | Access::WRITE_OK, "write"),
        // its directory was looked at
        Err(_) => Ok(()),
    }
}

fn file_to_append(path: &Path) -> anyhow::Result<()> {
    match path.metadata() {
        Ok(found) if found.is_dir() => bail!("{} is a directory", path.display()),
        Ok(_) => may(path, Access::WRITE_OK, "write"),
        Err(_) => directory(parent(path)),
    }
}

fn socket(path: &Path) -> anyhow::Result<()> {
    let within = parent(path);
    directory(within)?;
    if let Ok(found) = within.metadata() {
        check_directory(within, &found)?;
    }
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => bail!("{} is not a socket", path.display()),
        _ => Ok(()),
    }
}

/// By the effective user, as opening would be judged (access(2), `AT_EACCESS`).
fn may(path: &Path, access: Access, what: &str) -> anyhow::Result<()> {
    let Err(error) = rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS) else { return Ok(()) };
    let error = Error::from(error);
    let own = User::own();
    let owner = match User::of(path) {
        Some(owner) if error.kind() == ErrorKind::PermissionDenied && owner != own => {
            format!(" (it belongs to {owner}, and this runs as {own})")
        }
        _ => String::new(),
    };
    let shown = path.display().to_string();
    Err(error).with_context(|| format!("cannot {what} {}{owner}", Printable(&shown)))
}

/// Nobody holds the lock file.
fn is_free(lock: &Path) -> anyhow::Result<()> {
    let Ok(file) = File::open(lock) else { return Ok(()) };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!("another mrosync, with another control.socket, holds {}", lock.display())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_in_the_way_of_a_directory_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        write(&file, "").unwrap();
        let error = directory(&file.join("deeper/still")).unwrap_err();
        assert!(format!("{error:#}").contains(file.to_str().unwrap()), "{error:#}");
        directory(&place.path().join("can/be/made")).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_else_is_named_with_its_owner() {
        if User::own().is_root() {
            return;
        }
        let error = directory(Path::new("/mrosync")).unwrap_err();
        assert!(format!("{error:#}").contains("belongs to root"), "{error:#}");
    }

    #[test]
    fn what_is_no_socket_and_what_others_can_replace_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        write(&file, "").unwrap();
        assert!(format!("{:#}", socket(&file).unwrap_err()).contains("not a socket"));
        let open = place.path().join("open");
        create_dir(&open).unwrap();
        set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(format!("{:#}", socket(&open.join("s")).unwrap_err()).contains("everybody"));
    }

    #[test]
    fn a_lock_that_is_held_is_noticed_and_not_taken() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        is_free(&path).unwrap();
        let held = File::create(&path).unwrap();
        is_free(&path).unwrap();
        rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_free(&path).is_err());
    }
}
