//! Files and variables, as the configuration and what it names are read from them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::base::owner::remedy;

/// The environment of the process, or a test's.
pub(super) type Environment = BTreeMap<OsString, OsString>;

/// The byte order mark in UTF-8.
pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();

/// UTF-8 without the byte order mark that editors of Windows put before it.
fn decoded(mut content: Vec<u8>) -> io::Result<String> {
    if content.starts_with(BOM) {
        content.drain(..BOM.len());
    }
    if content.starts_with(&[0xFF, 0xFE]) || content.starts_with(&[0xFE, 0xFF]) {
        return Err(io::Error::other("it is UTF-16; save it as UTF-8"));
    }
    String::from_utf8(content).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// Reads at most `limit` bytes of UTF-8 text, without a byte order mark, and what the file system says of the file.
///
/// # Errors
///
/// What the system says, or that the file is too long or not UTF-8.
pub(super) fn read_text(path: &Path, limit: u64) -> io::Result<(String, Metadata)> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok((decoded(content)?, metadata))
}

/// Opens a file. Where that is forbidden, the error says as whom it would not be.
///
/// # Errors
///
/// The system's.
pub(super) fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), format!("{error}{}", remedy(path))),
        _ => error,
    })
}

/// The warnings for a file that holds a secret: others than its owner get at it, or could put another in its place.
pub(super) fn open_to_others(path: &Path, metadata: &Metadata) -> Vec<String> {
    let mut warnings = Vec::new();
    // a pipe or a device has no readers beside us
    if !metadata.is_file() {
        return warnings;
    }
    let (shown, mode) = (path.display(), metadata.permissions().mode() & 0o7777);
    if mode & 0o077 != 0 {
        warnings.push(format!(
            "{shown}: holds a password and is open to others than its owner (mode {mode:04o}); chmod 600 it"
        ));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(directory).map_or(0, |metadata| metadata.permissions().mode() & 0o7777);
    // with the sticky bit, as in /tmp, nobody replaces the files of others
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        let directory = directory.display();
        warnings.push(format!(
            "{shown}: holds a password, and others can replace it: its directory {directory} can be written by \
             others than its owner (mode {mode:04o}); chmod go-w it"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::merge;
    use std::path::PathBuf;
    use tempfile::TempDir;

    fn written(directory: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_file_with_a_password_that_others_can_read_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        for (content, mode, warned) in [
            ("[[servers]]\npassword = 'geheim'\n", 0o644, true),
            ("[[servers]]\npassword = 'geheim'\n", 0o640, true),
            ("[[servers]]\npassword = 'geheim'\n", 0o600, false),
            ("[[servers]]\npassword_file = 'x'\n", 0o644, false),
        ] {
            let path = written(&directory, "a.toml", content);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let warnings = merge(std::slice::from_ref(&path), &Environment::new()).warnings;
            assert_eq!(warnings.len(), usize::from(warned), "{content} {mode:o} {warnings:?}");
            for warning in warnings {
                assert!(warning.starts_with(&format!("{}: holds a password", path.display())), "{warning}");
                assert!(!warning.contains("geheim"));
            }
        }
    }

    #[test]
    fn a_password_in_a_directory_that_others_can_write_is_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(&directory, "a.toml", "[[servers]]\npassword = 'geheim'\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for (mode, warned) in [(0o755, false), (0o775, true), (0o777, true), (0o1777, false)] {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let warnings = merge(std::slice::from_ref(&path), &Environment::new()).warnings;
            assert_eq!(warnings.len(), usize::from(warned), "{mode:o} {warnings:?}");
            let named = format!("its directory {} can be written", directory.path().display());
            assert!(warnings.iter().all(|warning| warning.contains(&named)), "{warnings:?}");
        }
    }
}
