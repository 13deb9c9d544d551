//! How full the file system of the mirror is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::quota::{DiskFault, Measured, Usage};

/// The mounts that this process sees (proc(5)).
const MOUNTS: &str = "/proc/self/mountinfo";
/// What ext4 shows there since Linux 6.15 after an error that stops it from writing, in the place of `ro`.
const STOPPED_WRITING: &str = "emergency_ro";
/// Between two looks at [`MOUNTS`], which are many on some machines.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Measures a file system again and again.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<Option<(Instant, bool)>>);

impl Meter {
    /// How full the file system that holds `directory` is, and what else keeps files away.
    ///
    /// # Errors
    ///
    /// The system's, for instance on a network file system that is gone.
    pub(super) fn measure(&self, directory: impl AsFd) -> io::Result<Measured> {
        let (usage, fault) = measure(&directory)?;
        let at = Instant::now();
        let has_stopped = || self.has_stopped_writing(at, directory.as_fd()).then_some(DiskFault::ReadOnly);
        Ok(Measured { usage, fault: fault.or_else(has_stopped), at })
    }

    /// Returns whether the kernel writes no more to it, as was seen a moment ago at most.
    fn has_stopped_writing(&self, now: Instant, directory: BorrowedFd<'_>) -> bool {
        // not locked while it is looked at: a file system that does not answer must keep nobody else
        let seen = || self.0.lock();
        let lately = *seen();
        match lately {
            Some((at, stopped)) if now.saturating_duration_since(at) < LOOK_EVERY => stopped,
            _ => {
                let stopped = has_stopped_writing(directory).unwrap_or(false);
                *seen() = Some((now, stopped));
                stopped
            }
        }
    }
}

fn has_stopped_writing(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let device = rustix::fs::fstat(directory)?.st_dev;
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    Ok(shows_stop(&std::fs::read_to_string(MOUNTS)?, &device))
}

/// Returns whether one of `mounts` is of `device`, by major and minor number, and of a file system that stopped writing.
fn shows_stop(mounts: &str, device: &str) -> bool {
    let of_device = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(device));
    let mut options = of_device.filter_map(|line| line.rsplit(' ').next()).flat_map(|own| own.split(','));
    options.any(|option| option == STOPPED_WRITING)
}

// sysinfo would not do: it has no used bytes of df's kind
fn measure(directory: impl AsFd) -> io::Result<(Usage, Option<DiskFault>)> {
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

    /// interface 5.2
    #[test]
    fn the_percentage_is_that_of_df() {
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        let mut df = std::process::Command::new("df");
        let mut df = df_output(df.args(["--output=used,avail", "-B1"]).arg(folder.path()));
        let (used, available) = (df.next().unwrap(), df.next().unwrap());
        let ours = measure(&handle).unwrap().0;
        let theirs = Usage { used, available };
        assert!((ours.percent() - theirs.percent()).abs() < 1.0, "{ours:?} {theirs:?}");
    }

    fn df_output(command: &mut std::process::Command) -> impl Iterator<Item = u64> {
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line = text.lines().last().unwrap().to_owned();
        line.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn a_file_system_that_stopped_writing_is_told_from_others_by_its_own_options() {
        let mounts = "42 27 7:0 / /sync rw,relatime - ext4 /dev/loop0 rw,abort,emergency_ro\n\
                      43 27 7:1 /emergency_ro /mnt rw,relatime shared:1 - ext4 /dev/loop1 rw\n";
        assert!(shows_stop(mounts, "7:0") && !shows_stop(mounts, "7:1") && !shows_stop(mounts, "7:2"));
        let folder = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(folder.path()).unwrap();
        assert_eq!(Meter::default().measure(&handle).unwrap().fault, None);
    }
}
