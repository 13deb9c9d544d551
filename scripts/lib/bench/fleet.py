"""The servers and what is on them."""

import io
import os
import random
import shutil
import socket
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .network import wait_for

USER = "anonymous"
PASSWORD = "bench-pass"
MINUTE = 60


@dataclass
class Server:
    name: str
    address: str
    root: Path
    files: list[str]  # paths on the server


class Content:
    """Trees of zips below a directory in memory. All files have one time, a whole minute, as LIST shows no seconds."""

    def __init__(self, directory: Path, seed: int = 1):
        self.directory = directory
        self.random = random.Random(seed)
        self.time = (time.time() // MINUTE - 120) * MINUTE

    def zip(self, size: int) -> bytes:
        """An archive of about this size that nobody can compress."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
            writer.writestr("report.xml", self.random.randbytes(max(0, size - 130)))
        return archive.getvalue()

    def tree(self, name: str, files: int, directories: int, sizes: tuple[int, int]) -> tuple[Path, list[str]]:
        """A tree of different files of sizes in this range, spread over the directories."""
        root = self.directory / name
        paths = self.paths(root, files, directories)
        for path in paths:
            target = root / path[1:]
            target.write_bytes(self.zip(self.random.randint(*sizes)))
            os.utime(target, (self.time, self.time))
        return root, paths

    def tree_of_one(self, name: str, files: int, directories: int) -> tuple[Path, list[str]]:
        """A tree of names: hard links to one small file, where only the listing matters."""
        root = self.directory / name
        paths = self.paths(root, files, directories)
        one = self.directory / f"{name}.one.zip"
        one.write_bytes(self.zip(200))
        os.utime(one, (self.time, self.time))
        for path in paths:
            os.link(one, root / path[1:])
        return root, paths

    def paths(self, root: Path, files: int, directories: int) -> list[str]:
        for number in range(directories):
            (root / f"MR/MRO/day{number:03}").mkdir(parents=True)
        return [f"/MR/MRO/day{n % directories:03}/TD-LTE_MRO_VENDOR_OMC_{n:06}_20261124.zip" for n in range(files)]

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Fleet:
    """So many vsftpd, each with an address of its own, on port 21."""

    def __init__(self, tools: Path, directory: Path, network, trees: list[tuple[Path, list[str]]]):
        self.network = network
        self.daemons: list[subprocess.Popen] = []
        self.servers: list[Server] = []
        # vsftpd serves as another user, who must get there
        for path in (directory, *directory.parents):
            path.chmod(path.stat().st_mode | 0o011)
        (directory / "empty").mkdir(exist_ok=True)
        (directory / "passwords").write_text(f"{PASSWORD}\n")
        for number, (root, files) in enumerate(trees):
            self.start(tools, directory, number, root, files)
        for server in self.servers:
            self.greeting(server)

    def start(self, tools: Path, directory: Path, number: int, root: Path, files: list[str]):
        server = Server(f"omc{number + 1:02}", self.network.address(number), root, files)
        configuration = directory / f"{server.name}.conf"
        configuration.write_text(
            f"listen=YES\nlisten_address={server.address}\nlisten_port=21\nbackground=NO\n"
            # the one way to a password without an account: anonymous, and an "e-mail address" of a list
            "anonymous_enable=YES\nlocal_enable=NO\nsecure_email_list_enable=YES\n"
            f"email_password_file={directory}/passwords\nftp_username=daemon\nanon_root={root}\n"
            f"secure_chroot_dir={directory}/empty\nanon_world_readable_only=NO\nseccomp_sandbox=NO\n"
            "xferlog_enable=NO\ntcp_wrappers=NO\nmax_clients=0\nmax_per_ip=0\n"
        )
        with open(directory / f"{server.name}.out", "wb") as output:
            self.daemons.append(
                subprocess.Popen(
                    [*self.network.enter, tools / "vsftpd/usr/sbin/vsftpd", configuration],
                    # it writes what is wrong with its configuration to standard input
                    stdin=output, stdout=output, stderr=output,
                    env={**os.environ, "LD_LIBRARY_PATH": str(tools / "lib")},
                )
            )
        self.servers.append(server)

    def greeting(self, server: Server):
        def greets():
            with socket.create_connection((server.address, 21), timeout=5) as control:
                return control.recv(100).startswith(b"220")

        wait_for(greets, f"{server.name} at {server.address}")

    def __len__(self):
        return len(self.servers)

    def files(self) -> int:
        return sum(len(server.files) for server in self.servers)

    def bytes(self) -> int:
        return sum((server.root / path[1:]).stat().st_size for server in self.servers for path in server.files)

    def differences(self, mirror: Path) -> int:
        """How many files are not in the mirror byte for byte."""
        wrong = 0
        for server in self.servers:
            for path in server.files:
                if not same(server.root / path[1:], mirror / server.name / path[1:]):
                    wrong += 1
        return wrong

    def close(self):
        for daemon in self.daemons:
            daemon.kill()
        for daemon in self.daemons:
            daemon.wait()
        self.network.close()


def same(one: Path, other: Path) -> bool:
    try:
        with open(one, "rb") as left, open(other, "rb") as right:
            while True:
                block = left.read(1 << 20)
                if block != right.read(1 << 20):
                    return False
                if not block:
                    return True
    except FileNotFoundError:
        return False
