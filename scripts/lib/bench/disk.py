"""The disk that everybody writes to: ext4 with a journal, in a file."""

import os
import subprocess
import time
from pathlib import Path

SIZE = 6 << 30
BLOCK = 8 << 20
# the idle workload keeps a tree of 210,000 files for each binary that is measured, and one of names for the peers
BYTES_PER_INODE = 4096


class Disk:
    """Made anew for each run, so that no run pays for what another one deleted or has not written back yet."""

    def __init__(self, directory: Path, quick: bool):
        self.image = directory / "disk.img"
        # in this mount namespace, so that it is unmounted whatever ends the bench
        self.root = directory / "disk"
        self.root.mkdir(exist_ok=True)
        self.size = SIZE // 6 if quick else SIZE
        self.mounted = False

    def fill(self):
        """Takes all its room from the disk below; else the first to write somewhere would pay for that."""
        with open(self.image, "wb") as image:
            for _ in range(self.size // BLOCK):
                image.write(bytes(BLOCK))
            os.fsync(image.fileno())

    def fresh(self) -> Path:
        """The empty file system."""
        self.close()
        # nodiscard: the image keeps its blocks; noinit_itable: no thread of the kernel writes beside the run
        run("mkfs.ext4", "-q", "-F", "-N", str(self.size // BYTES_PER_INODE), "-E", "nodiscard,lazy_itable_init=1", str(self.image))
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
            # a client that has just ended may hold it for a moment
            for _ in range(50):
                if subprocess.run(["umount", self.root], capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                run("umount", "--lazy", str(self.root))
            self.mounted = False

    def remove(self, keep: bool):
        self.close()
        if keep:
            return
        self.image.unlink(missing_ok=True)
        self.root.rmdir()


def run(*command: str):
    """Runs a tool of the system, and says what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
