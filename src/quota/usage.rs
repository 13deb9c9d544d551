//! How full the file system of the mirror is.

use std::io;
use std::os::fd::AsFd;

/// Bytes of a file system as df counts them: blocks reserved for root are neither used nor available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Taken, by whomever.
    pub used: u64,
    /// Free for a user other than root.
    pub available: u64,
}

impl Usage {
    /// Measures the file system that holds `directory`. sysinfo would not do: it has no used bytes of df's kind.
    ///
    /// # Errors
    ///
    /// The system's, for instance on a network file system that is gone.
    pub fn of(directory: impl AsFd) -> io::Result<Self> {
        Ok(measure(directory)?.0)
    }

    /// used / (used + available), in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        match self.used.saturating_add(self.available) {
            0 => 0.0,
            #[allow(clippy::cast_precision_loss)] // a percentage of whole disks
            total => self.used as f64 * 100.0 / total as f64,
        }
    }
}

/// Why a file system takes no new file, whatever room it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiskFault {
    /// Mounted so, or turned so by the kernel after an error.
    #[error("the file system of the mirror is read-only")]
    ReadOnly,
    /// As many files as it can hold.
    #[error("the file system of the mirror has no inodes left")]
    NoInodes,
}

/// How full the file system that holds `directory` is, and what else keeps files away.
///
/// # Errors
///
/// As [`Usage::of`].
pub fn measure(directory: impl AsFd) -> io::Result<(Usage, Option<DiskFault>)> {
    let stat = rustix::fs::fstatvfs(directory)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
    let usage = Usage { used, available: stat.f_bavail.saturating_mul(stat.f_frsize) };
    let fault = if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        Some(DiskFault::ReadOnly)
    } else if stat.f_files > 0 && stat.f_favail == 0 {
        // file systems that make inodes as they need them show none at all
        Some(DiskFault::NoInodes)
    } else {
        None
    };
    Ok((usage, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_is_that_of_df() {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        let mut df = std::process::Command::new("df");
        let mut df = df_output(df.args(["--output=used,avail", "-B1"]).arg(folder.path()));
        let (used, available) = (df.next().unwrap(), df.next().unwrap());
        let ours = Usage::of(&handle).unwrap();
        let theirs = Usage { used, available };
        assert!((ours.percent() - theirs.percent()).abs() < 1.0, "{ours:?} {theirs:?}");
    }

    fn df_output(command: &mut std::process::Command) -> impl Iterator<Item = u64> {
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = text.lines().last().unwrap().to_owned();
        line.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn an_empty_file_system_is_not_full() {
        assert!(Usage { used: 0, available: 0 }.percent() < f64::EPSILON);
    }
}
