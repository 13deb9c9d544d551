//! The files that lie at their places in a server's part of the mirror, whoever put them there. No link is followed.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use encoding_rs::{Encoding, UTF_8};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::intent::path_in;
use super::tree::{PARTIAL_DIRECTORY, names_in, open_component, open_directory, open_server, size_of_stat};
use crate::base::file_names::FileNames;
use crate::base::names::{RemoteName, RemotePath, ServerName};
use crate::mirror::server::MAX_DEPTH;
use crate::mirror::store::MirroredFile;

/// Finds the files of `server` with such names below its `directories`. Those that a running service is storing at this moment are left
/// out: until it has recorded a file, it holds a second link in `.partial`.
///
/// # Errors
///
/// The system's, with the path; a server without a part in the mirror has no files.
pub(super) fn files(
    root: &Path,
    server: &ServerName,
    (files, encoding): (&FileNames, &'static Encoding),
    directories: &[RemotePath],
) -> anyhow::Result<Vec<MirroredFile>> {
    let top = match open_server(root, server) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let (mut found, mut inodes) = (Vec::new(), Vec::new());
    for directory in directories {
        let home = match open_directory(top.as_fd(), directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut take = |file: MirroredFile, inode| {
            if files.fit_name(&file.name) {
                found.push(file);
                inodes.push(inode);
            }
        };
        walk(home.as_fd(), &Arc::new(directory.clone()), encoding, MAX_DEPTH, &mut take)
            .map_err(|error| anyhow::anyhow!("{server} {directory}: {error}"))?;
    }
    // after the walk: what was stored before and is not here any more was recorded meanwhile
    let (under_way, noted) = under_way(&root.join(PARTIAL_DIRECTORY), server)?;
    let mut keep = inodes.iter().map(|inode| !under_way.contains(inode));
    found.retain(|file| {
        keep.next().unwrap_or_default()
            && (noted.is_empty() || !noted.contains(file.directory.join(&file.name).text()))
    });
    Ok(found)
}

type Inode = (u64, u64);

fn walk(
    home: BorrowedFd<'_>,
    directory: &Arc<RemotePath>,
    encoding: &'static Encoding,
    depth: usize,
    found: &mut impl FnMut(MirroredFile, Inode),
) -> io::Result<()> {
    for text in names_in(home)? {
        let Some(name) = remote_name(&text, encoding) else { continue };
        let stat = match rustix::fs::statat(home, text.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            looked => looked?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                let path = Arc::new(directory.join(&name));
                let below = open_component(home, &text)?;
                walk(below.as_fd(), &path, encoding, depth - 1, found)?;
            }
            FileType::RegularFile => {
                let (size, modified) = (size_of_stat(&stat), stat.st_mtime);
                let directory = Arc::clone(directory);
                found(MirroredFile { directory, name, size, modified }, (stat.st_dev, stat.st_ino));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a server with this encoding calls a file of this local name; `None` where it has no such name.
fn remote_name(text: &str, encoding: &'static Encoding) -> Option<RemoteName> {
    let (wire, _, unmappable) = encoding.encode(text);
    let name = RemoteName::from_wire(&wire, encoding).ok()?;
    (!unmappable && name.text() == text).then_some(name)
}

/// Files that are stored and may not be recorded: by their second link, or by their paths where there are no links.
fn under_way(partial: &Path, server: &ServerName) -> io::Result<(HashSet<Inode>, HashSet<String>)> {
    let (mut inodes, mut noted) = (HashSet::new(), HashSet::new());
    let partial = match open_server(partial, server) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((inodes, noted)),
        opened => opened?,
    };
    for name in names_in(partial.as_fd())? {
        if let Ok(stat) = rustix::fs::statat(&partial, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            inodes.insert((stat.st_dev, stat.st_ino));
        }
        noted.extend(path_in(partial.as_fd(), &name));
    }
    Ok((inodes, noted))
}

/// Counts the files of `servers`, by their names, in the mirror at `root`, and stops at `limit`. What cannot be read holds none.
pub(super) fn count_files(root: &Path, servers: &[(ServerName, FileNames)], limit: u64) -> u64 {
    let mut count = 0;
    for (server, files) in servers {
        if let Ok(top) = open_server(root, server) {
            count_below(top.as_fd(), files, MAX_DEPTH, limit, &mut count);
        }
    }
    count
}

fn count_below(home: BorrowedFd<'_>, files: &FileNames, depth: usize, limit: u64, count: &mut u64) {
    for name in names_in(home).unwrap_or_default() {
        if *count >= limit {
            return;
        }
        let Ok(stat) = rustix::fs::statat(home, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                if let Ok(below) = open_component(home, &name) {
                    count_below(below.as_fd(), files, depth - 1, limit, count);
                }
            }
            FileType::RegularFile if files.fit(name.as_bytes(), UTF_8) => *count += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{GBK, UTF_8};

    /// interface 16.3
    #[test]
    fn zips_at_their_places_are_found_and_no_link_is_followed_and_nothing_under_way_taken() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let put = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"1234").unwrap();
        };
        for path in ["MR/a.zip", "MR/x/上.ZIP", "MR/b.txt", "other/c.zip", "MR/d.zip"] {
            put(&format!("omc01/{path}"));
        }
        put("omc02/MR/e.zip");
        std::fs::create_dir_all(folder.path().join(".partial/omc01")).unwrap();
        std::fs::hard_link(folder.path().join("omc01/MR/d.zip"), folder.path().join(".partial/omc01/half"))
            .unwrap();
        std::fs::write(outside.path().join("f.zip"), b"").unwrap();
        for (target, name) in [(outside.path().to_owned(), "link"), (outside.path().join("f.zip"), "g.zip")] {
            std::os::unix::fs::symlink(target, folder.path().join("omc01/MR").join(name)).unwrap();
        }
        let server = |name: &str| ServerName::new(name).unwrap();
        let directories = [RemotePath::from_text("/MR", GBK).unwrap()];
        let names = FileNames::default();
        let found = |server: &ServerName, encoding| {
            let files = files(folder.path(), server, (&names, encoding), &directories).unwrap();
            let shown = |file: &MirroredFile| (file.directory.join(&file.name).text().to_owned(), file.size);
            let mut files: Vec<_> = files.iter().map(shown).collect();
            files.sort();
            files
        };
        let expected = [("/MR/a.zip".to_owned(), 4), ("/MR/x/上.ZIP".to_owned(), 4)];
        assert_eq!(found(&server("omc01"), GBK), expected);
        assert_eq!(found(&server("omc01"), UTF_8), expected);
        assert_eq!(found(&server("omc03"), UTF_8), []);
    }

    #[test]
    fn zips_are_counted_up_to_a_limit_and_never_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| ServerName::new(name).unwrap());
        for path in ["a/1.zip", "a/x/2.ZIP", "a/x/3.txt", "b/4.zip", "c/5.zip"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        std::os::unix::fs::symlink(folder.path().join("c"), folder.path().join("a/link")).unwrap();
        let servers = [a, b, ServerName::new("none").unwrap()].map(|name| (name, FileNames::default()));
        let count = |limit| count_files(folder.path(), &servers, limit);
        assert_eq!((count(u64::MAX), count(2), count(0)), (3, 2, 0));
        let texts = [(servers[0].0.clone(), FileNames::new(&["*.TXT"]).unwrap())];
        assert_eq!(count_files(folder.path(), &texts, 20), 1);
    }
}
