//! The mirror's disk: small, and filled by others now and then.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dice::Dice;

/// Of the whole disk.
const SIZE_MIB: u64 = 64;
/// `scripts/soak` sets this where a mount goes away by itself.
const MAY_MOUNT: &str = "MROSYNC_SOAK_MAY_MOUNT";
/// Lies in the mirror's root, where it is none of the service's business.
pub const FILLER: &str = "filler";

/// A small disk at the mirror's root; `None` where it cannot be had.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(root: &Path) -> Option<Self> {
        if std::env::var_os(MAY_MOUNT).is_none() {
            println!("soak: no disk of its own, so that it is never full (scripts/soak run by root has one)");
            return None;
        }
        let size = format!("size={SIZE_MIB}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "soak"]).arg(root).status();
        assert!(mounted.is_ok_and(|status| status.success()), "cannot mount a small disk");
        Some(Self(root.join(FILLER)))
    }

    /// Other data grows or shrinks: mostly a little, at times to the last byte.
    pub fn change(&self, dice: &mut Dice) {
        let mebibytes = if dice.percent(15) { SIZE_MIB } else { dice.below(SIZE_MIB * 7 / 10) };
        self.fill(mebibytes);
    }

    /// Other data takes so much, or what there is.
    pub fn fill(&self, mebibytes: u64) {
        let length = fs::metadata(&self.0).map_or(0, |metadata| metadata.len());
        if mebibytes << 20 <= length {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&self.0)
                .unwrap()
                .set_len(mebibytes << 20)
                .unwrap();
            return;
        }
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0).unwrap();
        let block = [b'x'; 64 * 1024];
        let mut missing = (mebibytes << 20) - length;
        while missing > 0 {
            match file.write(&block[..missing.min(block.len() as u64) as usize]) {
                Ok(written) => missing -= written as u64,
                // full
                Err(_) => return,
            }
        }
    }
}
