//! What an error of the system means to those who write files.

use std::error::Error;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// Returns whether there is no room left: on the disk, or in what its owner may use of it.
#[must_use]
pub fn is_no_space(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Returns the kinds of all errors of the system that `error` came from.
pub fn kinds(error: &anyhow::Error) -> impl Iterator<Item = ErrorKind> {
    error.chain().filter_map(kind)
}

fn kind(cause: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    io.or_else(|| cause.downcast_ref::<Errno>().map(|errno| errno.kind()))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_full_disk_is_seen_behind_what_was_tried() {
        let full: Result<(), _> = Err(Errno::NOSPC);
        let error = full.context("cannot write x").context("cannot begin").unwrap_err();
        assert!(kinds(&error).any(is_no_space));
        let other: Result<(), _> = Err(io::Error::from(ErrorKind::PermissionDenied));
        assert!(!kinds(&other.context("cannot write x").unwrap_err()).any(is_no_space));
    }
}
