"""What all servers have in common: how one is started, killed, started again, and ended."""

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

USER = "mro"
UID = 12021
PASSWORD = "mro-pass"
# in a network namespace of its own, no port is anybody else's
PORT = 2021
PROGRAMS = Path(__file__).parent / "programs"


class Missing(Exception):
    """The server cannot be had here; the reason."""


class Failed(Exception):
    """The server itself does not do what it must for the row to mean anything."""


@dataclass
class Place:
    """Where things are for one server."""

    base: Path  # target/field, as all users reach it
    directory: Path  # of this server, for its configuration and log
    tree: Path  # what it serves
    keys: Path  # certificate.pem, key.pem, both.pem; host_ed25519, host_rsa (OpenSSH), client (a user's key)
    port: int = PORT

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def debian(self, package: str, program: str) -> Path:
        return must_be(self.base / "debian" / package / program, self.base, package)

    def program(self, name: str) -> Path:
        """A small program of ours, where every user reaches it."""
        return Path(shutil.copy(PROGRAMS / name, self.directory))

    def own(self, name: str) -> Path:
        """A program that no registry has; see --program."""
        path = self.base / "own" / name
        if not path.exists():
            raise Missing(f"in no registry; --program {name}=FILE takes one that was built by hand")
        return path

    def python(self, package: str) -> Path:
        must_be(self.base / "venv" / f"{package}.brought", self.base, package)
        return self.base / "venv/bin/python"

    def node_module(self, package: str) -> Path:
        return must_be(self.base / "npm" / package / "node_modules" / package, self.base, package)


def must_be(path: Path, base: Path, package: str) -> Path:
    if path.exists():
        return path
    for name in (package, "debian", "venv"):
        reason = base / "missing" / name
        if reason.exists():
            raise Missing(reason.read_text().strip())
    raise Missing(f"there is no {path.name} in {package}")


class Server:
    """One row. A new server is a subclass with `command`, or an instance of one with other words."""

    protocol = "ftp"
    # as MROSync is configured: off, explicit, implicit
    tls = "off"
    # of names on the wire
    encoding = "utf-8"
    # further keys of the server in MROSync's configuration
    settings: dict = {}
    # the tree's path on the server; None: where it lies, as the server shows its user the whole machine
    top: str | None = "/"
    # run as the account itself; else the server changes to it
    as_user = False
    # the account's home, where that is not the tree
    home: Path | None = None
    # whether a directory can be closed to the account: not where everything is read as root
    locks = True
    # odd names that the server serves to nobody, by what a row calls them, and why
    without: dict[tuple[str, ...], str] = {}
    # what is known to fail, by what the row calls it: the reason
    known: dict[str, str] = {}
    # what a reader of the table should know
    note = ""

    def __init__(self, name: str, **other):
        self.name = name
        self.process: subprocess.Popen | None = None
        for key, value in other.items():
            if not hasattr(self, key):
                raise TypeError(f"{name}: a server has no {key}")
            setattr(self, key, value)

    def version(self, place: Place) -> str:
        raise NotImplementedError

    def command(self, place: Place) -> list:
        """What starts it in the foreground; writes its configuration."""
        raise NotImplementedError

    def account(self, place: Place) -> dict:
        """How MROSync logs in."""
        return {"user": USER, "password": PASSWORD}

    def environment(self, place: Place) -> dict:
        return {}

    def home_of(self, place: Place) -> Path:
        return self.home or place.tree

    def in_words(self) -> str:
        """What a reader of the table should know of it beforehand."""
        left_out = [f"without the names {', '.join(keys)}: {why}" for keys, why in self.without.items()]
        return "; ".join([self.note] * bool(self.note) + left_out)

    def on_the_wire(self, name: bytes) -> bytes:
        """How the server sends a name of its disk."""
        return name

    def start(self, place: Place, limit: float = 20):
        """Starts it and waits until it listens. A port may be taken for a moment after a kill."""
        command = self.command(place)
        ends = time.monotonic() + limit
        while True:
            with open(place.directory / "server.log", "ab") as log:
                self.process = subprocess.Popen(
                    [str(word) for word in command],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=place.directory,
                    env={
                        "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": "UTC", "HOME": str(place.directory),
                        "LD_LIBRARY_PATH": str(place.base / "lib"), "PYTHONDONTWRITEBYTECODE": "1",
                        **self.environment(place),
                    },
                    **({"user": UID, "group": UID, "extra_groups": []} if self.as_user else {}),
                )
            while self.process.poll() is None:
                if listens(place.port):
                    return
                if time.monotonic() > ends:
                    raise Failed(f"does not listen within {limit:.0f} s: {last_words(place)}")
                time.sleep(0.05)
            if time.monotonic() > ends:
                raise Failed(f"ends with {self.process.returncode}: {last_words(place)}")
            time.sleep(0.5)

    def kill(self, keep: set[int]):
        """Kills it and all that it started, wherever that hides: everything in this namespace but what is to be kept."""
        if os.getpid() != 1:
            raise RuntimeError("not in a namespace of processes of its own")
        for _ in range(20):
            found = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in keep | {1}]
            if not found:
                break
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            reap(keep)
            time.sleep(0.02)
        if self.process:
            self.process.wait()


def reap(keep: set[int]):
    """What the servers left behind is ours, as the first process of the namespace."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in keep | {1}:
            try:
                os.waitpid(int(name), os.WNOHANG)
            except ChildProcessError:
                pass


def listens(port: int) -> bool:
    """Whether somebody listens there, without disturbing a server that serves one client at a time."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def last_words(place: Place) -> str:
    log = place.directory / "server.log"
    return " ".join(log.read_text(errors="replace").strip().splitlines()[-2:])[-300:] if log.exists() else ""
