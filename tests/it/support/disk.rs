//! Small file systems that a test can fill to the last byte. They need root; without, the test is left out and says so.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::service::Setup;

/// A file system of a few MiB; it is unmounted when it is dropped, so it is declared before the service.
pub struct SmallDisk {
    mounted_on: TempDir,
    /// What a loop device shows as a disk.
    image: Option<tempfile::NamedTempFile>,
}

impl SmallDisk {
    /// In memory; `None` where this process may not mount.
    pub fn tmpfs(mebibytes: u64) -> Option<Self> {
        let mounted_on = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        succeeded(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(mounted_on.path()))?;
        Some(Self { mounted_on, image: None })
    }

    /// With a journal, as most servers have; `None` where there are no loop devices.
    pub fn ext4(mebibytes: u64) -> Option<Self> {
        Self::made_by("mkfs.ext4", &["-q", "-F", "-m", "0"], mebibytes)
    }

    /// The same with room for so few files and directories.
    pub fn with_inodes(mebibytes: u64, inodes: u32) -> Option<Self> {
        Self::made_by("mkfs.ext4", &["-q", "-F", "-m", "0", "-N", &inodes.to_string()], mebibytes)
    }

    /// One that has no hard links; `None` where there are no tools or modules for it.
    pub fn without_links(mebibytes: u64) -> Option<Self> {
        Self::made_by("mkfs.vfat", &[], mebibytes)
    }

    /// Mounts it in a second place, until that is dropped.
    pub fn also_at(&self, path: &Path) -> Option<Mounted> {
        fs::create_dir_all(path).unwrap();
        succeeded(Command::new("mount").arg("--bind").arg(self.path()).arg(path))?;
        Some(Mounted(path.to_owned()))
    }

    fn made_by(program: &str, arguments: &[&str], mebibytes: u64) -> Option<Self> {
        let (mounted_on, image) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        image.as_file().set_len(mebibytes << 20).unwrap();
        // -m 0: else some blocks are kept for root, who runs the tests
        succeeded(Command::new(program).args(arguments).arg(image.path()))?;
        succeeded(Command::new("mount").args(["-o", "loop"]).arg(image.path()).arg(mounted_on.path()))?;
        Some(Self { mounted_on, image: Some(image) })
    }

    /// One of each kind that can be had.
    pub fn all(mebibytes: u64) -> Vec<Self> {
        [Self::tmpfs(mebibytes), Self::ext4(mebibytes)].into_iter().flatten().collect()
    }

    /// Changes how it is mounted; false where that cannot be had.
    pub fn remount(&self, options: &str) -> bool {
        let options = format!("remount,{options}");
        succeeded(Command::new("mount").args(["-o", &options]).arg(self.path())).is_some()
    }

    /// Takes it away and brings it back, as a repair would; nothing on it may be open.
    pub fn mount_again(&self) {
        let image = self.image.as_ref().expect("a disk that outlives its mount");
        succeeded(Command::new("umount").arg(self.path())).expect("nothing is open on it");
        let mount = Command::new("mount").args(["-o", "loop"]).arg(image.path()).arg(self.path()).status();
        assert!(mount.is_ok_and(|status| status.success()));
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted_on.path()
    }

    /// Puts the mirror of a service on it.
    pub fn holds_root(&self, setup: Setup) -> Setup {
        let root = setup.directory().join("sync");
        fs::remove_dir(&root).unwrap();
        std::os::unix::fs::symlink(self.path(), &root).unwrap();
        setup
    }

    /// A file of somebody else.
    pub fn foreign(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![7; bytes]).unwrap();
        path
    }

    /// Takes the last free byte, and says which file to remove for room.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 16, 4096, 1] {
            let bytes = vec![7; size];
            // a file system that allocates late tells at the sync
            while file.write(&bytes).is_ok_and(|written| written > 0) {}
            file.sync_all().ok();
        }
        path
    }
}

/// A mount that ends when it is dropped.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.path()).status().ok();
    }
}

fn succeeded(command: &mut Command) -> Option<()> {
    let why = match command.output() {
        Ok(Output { status, .. }) if status.success() => return Some(()),
        Ok(Output { stderr, .. }) => String::from_utf8_lossy(&stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    println!("left out: cannot {}: {why}", command.get_program().to_string_lossy());
    None
}
