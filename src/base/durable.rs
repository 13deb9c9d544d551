//! Directories whose names survive a power loss.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Makes what is missing of the directory at `path`, with `mode`, and syncs each new name in the directory above it.
///
/// # Errors
///
/// The system's, except that it exists.
pub fn make_directories(path: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<PathBuf> = path
        .ancestors()
        .filter(|directory| !directory.as_os_str().is_empty())
        .take_while(|directory| !directory.is_dir())
        .map(Path::to_owned)
        .collect();
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    missing.iter().rev().try_for_each(|directory| sync_above(directory))
}

/// Syncs the name of `path` in the directory above it.
///
/// # Errors
///
/// The system's.
pub fn sync_above(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
        make_directories(&folder.path().join("a/b"), 0o750).unwrap();
        make_directories(&folder.path().join("a/b/c"), 0o700).unwrap();
        assert_eq!((mode("a"), mode("a/b"), mode("a/b/c")), (0o750, 0o750, 0o700));
        make_directories(&folder.path().join("a/b/c"), 0o700).unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        make_directories(&folder.path().join("file/x"), 0o700).unwrap_err();
    }
}
