"""The disk that everybody writes to: ext4 with a journal, in a file."""

import os
import subprocess
from pathlib import Path

SIZE = 8 << 30
# the idle workload keeps two trees of 210,000 files for each binary that is measured
INODES = 1_500_000


class Disk:
    """Made anew for each run, so that no run pays for what another one deleted or has not written back yet."""

    def __init__(self, directory: Path):
        self.image = directory / "disk.img"
        self.root = directory / "disk"
        self.root.mkdir(exist_ok=True)
        with open(self.image, "wb") as image:
            # without this, a run would pay for the room that the file takes on the disk below
            os.posix_fallocate(image.fileno(), 0, SIZE)
        self.mounted = False

    def fresh(self) -> Path:
        """The empty file system."""
        self.close()
        # nodiscard: the image keeps its blocks; noinit_itable: no thread of the kernel writes beside the run
        run("mkfs.ext4", "-q", "-F", "-N", str(INODES), "-E", "nodiscard,lazy_itable_init=1", str(self.image))
        run("mount", "-o", "loop,noatime,noinit_itable", str(self.image), str(self.root))
        self.mounted = True
        os.sync()
        return self.root

    def again(self):
        """The same file system, with nothing of it in memory."""
        self.close()
        run("mount", "-o", "loop,noatime,noinit_itable", str(self.image), str(self.root))
        self.mounted = True

    def settle(self):
        """Writes back what is not on the disk yet, so that nobody pays for another's writing."""
        os.sync()

    def close(self):
        if self.mounted:
            run("umount", str(self.root))
            self.mounted = False

    def remove(self):
        self.close()
        self.image.unlink(missing_ok=True)
        self.root.rmdir()


def run(*command: str):
    """Runs a tool of the system, and says what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
