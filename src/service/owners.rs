//! Whether what the service opens belongs to whom it runs as. One run as root leaves files behind that the service of
//! every later day cannot write.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::base::owner::User;
use crate::base::start_error::StartError;
use crate::config::Settings;
use crate::mirror;
use crate::mirror::store::MachinePaths;
use crate::records;

/// Refuses to run as root where any of it belongs to another user, and names all of that.
///
/// # Errors
///
/// [`StartError::Refused`].
pub fn refuse_root(settings: &Settings) -> Result<(), StartError> {
    if !User::own().is_root() {
        return Ok(());
    }
    // the directory of the socket alone is refused where the socket is made, by its key
    let Some((_, owner)) = of_others(stored(settings)).into_iter().next() else { return Ok(()) };
    let theirs = of_others(opened(settings));
    Err(StartError::Refused(format!(
        "this runs as root, and would leave files behind that {owner} cannot write; these belong to another user: {}; \
         run it as their owner: sudo -u {} mrosync run",
        listed(&theirs),
        owner.for_sudo()
    )))
}

/// Everything of another user that this one cannot write, and how to get it back; none where there is nothing.
#[must_use]
pub fn barred(settings: &Settings) -> Option<String> {
    let (barred, own) = (of_others(opened(settings)), User::own());
    let barred: Vec<_> = barred.into_iter().filter(|(path, _)| !is_writable(path)).collect();
    if barred.is_empty() {
        return None;
    }
    let paths: Vec<String> = barred.iter().map(|(path, _)| path.display().to_string()).collect();
    Some(format!(
        "these belong to another user, and {own} cannot write them: {}; give them to {own}: sudo chown -R {} {}",
        listed(&barred),
        own.for_chown(),
        paths.join(" ")
    ))
}

fn listed(paths: &[(PathBuf, User)]) -> String {
    let shown: Vec<_> = paths.iter().map(|(path, owner)| format!("{} ({owner})", path.display())).collect();
    shown.join(", ")
}

/// What of `paths` is there and belongs to another user; of a directory and what lies in it, the directory.
fn of_others(paths: Vec<PathBuf>) -> Vec<(PathBuf, User)> {
    let mut found: Vec<(PathBuf, User)> = Vec::new();
    for path in paths {
        let Some(owner) = User::of(&path).filter(|owner| *owner != User::own()) else { continue };
        let is_within = |(other, of): &(PathBuf, User)| *of == owner && path.starts_with(other);
        if !found.iter().any(is_within) && !is_public(&path) {
            found.push((path, owner));
        }
    }
    found
}

/// A directory in which everybody may make files, as `/tmp`.
fn is_public(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_dir() && found.mode() & 0o1002 == 0o1002)
}

/// All that the service opens, each before what lies in it.
fn opened(settings: &Settings) -> Vec<PathBuf> {
    let mut paths = stored(settings);
    paths.extend(with_directory(&settings.control.socket));
    paths
}

/// A file behind its directory.
fn with_directory(file: &Path) -> impl Iterator<Item = PathBuf> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.into_iter().chain([file]).map(Path::to_owned).collect::<Vec<_>>().into_iter()
}

/// All of it that stays when the service ends.
fn stored(settings: &Settings) -> Vec<PathBuf> {
    let Settings { sync, records, log, servers, .. } = settings;
    let names: Vec<_> = servers.iter().map(|server| &server.name).collect();
    let MachinePaths { directories, parts, files, .. } = mirror::at(&sync.root).machine_paths(&names);
    let mut paths = directories;
    // the directory of the files is one that a path of theirs begins with
    paths.extend(files.first().and_then(|file| file.parent()).map(Path::to_owned));
    paths.extend(files.into_iter().chain(parts));
    paths.extend(records::files(records).iter().chain(&log.file).flat_map(|file| with_directory(file)));
    paths
}

fn is_writable(path: &Path) -> bool {
    let access =
        if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::READ_OK | Access::WRITE_OK };
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}
