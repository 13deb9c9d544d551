"""One server from its start to the judgement."""

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from .collector import NAME, Collector, wait_until
from .server import Failed, Missing, Place, Server
from .world import BIG, BIG_PATH, LATE, LOCKED, ODD, SLOW_PATH, World, digest_of, mirrored

# the transfer of the large file is cut when so much is there
CUT_AT = 40 << 20
DOWN_SECONDS = 1.5


@dataclass
class Row:
    """What came of one server."""

    name: str
    version: str = ""
    protocol: str = ""
    tls: str = ""
    listing: str = ""
    odd: str = ""
    empty: str = ""
    big: str = ""
    slow: str = ""
    restart: str = ""
    locked: str = ""
    calls: str = ""
    seconds: float = 0.0
    warnings: int = 0
    first_warning: str = ""
    check: str = ""
    missing: str = ""
    # what failed, by what the row calls it; and of these, what was known to
    failures: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    note: str = ""


class Trial:
    """Runs one server, and fills its row."""

    def __init__(self, server: Server, place: Place, world: World, program: Path, patience: float):
        self.server, self.place, self.world = server, place, world
        self.patience = patience
        self.row = Row(server.name, protocol=server.protocol, note=server.in_words())
        self.row.tls = "" if server.tls == "off" else f", {server.tls} TLS"
        self.program = program
        self.collector: Collector | None = None
        # bytes of the large file at the kill, the least that was seen of them after that, and the file that held them
        self.resumed_at = self.least_after = self.inode = 0

    def run(self) -> Row:
        began = time.monotonic()
        try:
            self.row.version = self.server.version(self.place)
            self.server.start(self.place)
            self.go_through()
        except Missing as reason:
            self.row.missing = str(reason)
        except Failed as reason:
            self.fail("server", str(reason))
        finally:
            if self.collector and self.collector.end() != 0:
                self.fail("end", "MROSync does not end in good order")
            if self.server.process:
                self.server.kill(set())
        # of those that did not come so far, all of it
        self.row.seconds = self.row.seconds or time.monotonic() - began
        self.row.known = {key: self.server.known[key] for key in self.row.failures if key in self.server.known}
        return self.row

    def fail(self, key: str, reason: str):
        self.row.failures.setdefault(key, reason)

    def top(self) -> bytes:
        """The tree's path on the server, without a slash at its end."""
        top = os.fsencode(self.place.tree) if self.server.top is None else self.server.top.encode()
        return top.rstrip(b"/")

    def go_through(self):
        server, row = self.server, self.row
        top = os.fsdecode(self.top()) or "/"
        keys = {"port": self.place.port, **server.account(self.place), "directories": [top]}
        if server.tls != "off":
            keys |= {"tls": server.tls, "tls_ca_file": str(self.place.keys / "certificate.pem")}
        if server.protocol == "sftp":
            keys["protocol"] = "sftp"
        if server.encoding != "utf-8":
            keys["encoding"] = server.encoding
        self.collector = Collector(self.program, self.place.directory.parent, keys | server.settings)
        status, row.check = self.collector.check()
        if status != 0:
            self.fail("check", f"exit status {status}: {row.check}")
        if "logging in" in row.check:
            raise Failed("nobody can log in")
        began = time.monotonic()
        self.collector.start()
        if not wait_until(lambda: self.collector.status() is not None, 15 * self.patience):
            raise Failed(f"MROSync does not run: {' '.join(self.collector.lines('ERROR')[-1:])}")
        self.world.begin_slow_upload()
        self.cut_the_transfer()
        self.world.add_after_restart()
        self.wait_for_all()
        took = time.monotonic() - began
        self.look_at_the_locked()
        self.judge(took)

    def cut_the_transfer(self):
        """Kills the server in mid-transfer of the large file, and starts it again."""
        collector = self.collector

        def under_way():
            return collector.largest_partial()[1] >= CUT_AT or not collector.is_alive()

        if not wait_until(under_way, 60 * self.patience):
            self.fail("restart", "the large file is not under way in time")
            return
        self.server.kill({collector.process.pid})
        inode, self.resumed_at = collector.largest_partial()
        if not inode:
            self.fail("restart", "the transfer was over before the kill")
        time.sleep(DOWN_SECONDS)
        self.server.start(self.place)
        self.inode = inode

    def wait_for_all(self):
        """Until every file was announced and a scan came through after that; meanwhile, what becomes of the cut file."""
        collector, wanted = self.collector, self.announced()
        self.least_after = self.resumed_at

        def watch():
            inode, size = collector.largest_partial()
            if size >= CUT_AT // 2 and inode != self.inode or inode == self.inode and size < self.resumed_at:
                self.least_after = 0
            lost = not collector.is_alive()
            return lost or not wanted - set(collector.receiver.calls)

        if self.resumed_at:
            wait_until(watch, 90 * self.patience)
        else:
            wait_until(lambda: not wanted - set(collector.receiver.calls), 30 * self.patience)
        scans = collector.server().get("scans", 0)
        wait_until(lambda: collector.server().get("scans", 0) >= scans + 2, 10 * self.patience)

    def announced(self) -> set[bytes]:
        """The paths that calls are to be made for, but for those that are known never to come."""
        return {self.called(path) for path in self.world.files if key_of(path) not in self.server.known}

    def called(self, path: bytes) -> bytes:
        return b"/" + NAME.encode() + self.in_mirror(path)

    def in_mirror(self, path: bytes) -> bytes:
        return mirrored(self.server.on_the_wire(self.top() + path), self.server.encoding)

    def look_at_the_locked(self):
        """A directory that may be entered and not read is named; and comes once it may be read."""
        collector, row = self.collector, self.row
        if not self.server.locks:
            row.locked = "–"
        else:
            named = [line for line in collector.lines("WARN", "ERROR") if LOCKED.decode() in line]
            in_status = LOCKED.decode() in (collector.server().get("last_error") or "")
            row.locked = " and ".join(["log"] * bool(named) + ["status"] * in_status) or "not named"
            if row.locked == "not named":
                self.fail("locked", "a directory that cannot be read is named nowhere")
        self.world.unlock()
        wanted = self.called(LOCKED + b"/in.zip")
        if not wait_until(lambda: wanted in collector.receiver.calls, 30 * self.patience):
            self.fail("unlocked", "the directory is readable again, its file does not come")
        if not wait_until(lambda: self.called(LATE) in collector.receiver.calls, 15 * self.patience):
            self.fail("late", "a file in a directory that was listed many times does not come")
        if not wait_until(lambda: collector.server().get("last_error") is None, 20 * self.patience):
            self.fail("last_error", f"still there at the end: {collector.server().get('last_error')}")

    def judge(self, took: float):
        collector, row = self.collector, self.row
        status = collector.server()
        row.listing = way_of_listing(row.check, status)
        errors = collector.lines("ERROR")
        if errors:
            self.fail("errors", f"{len(errors)} lines, the first: {errors[0]}")
        warnings = collector.lines("WARN")
        row.warnings, row.first_warning = len(warnings), warnings[0] if warnings else ""
        bad = self.bad_files()
        self.judge_odd(bad)
        row.big = "ok" if BIG_PATH not in bad else bad[BIG_PATH]
        row.slow = "ok" if SLOW_PATH not in bad else bad[SLOW_PATH]
        for path, reason in bad.items():
            self.fail(key_of(path), f"{path.decode(errors='backslashreplace')}: {reason}")
        self.judge_shape()
        self.judge_restart()
        self.judge_calls()
        row.seconds = took

    def bad_files(self) -> dict[bytes, str]:
        """Files that are not in the mirror as they are on the server."""
        bad, root = {}, os.fsencode(self.collector.mirror / NAME)
        for path, digest in self.world.files.items():
            local = root + self.in_mirror(path)
            if not os.path.isfile(local):
                bad[path] = "not there"
            elif digest_of(local) != digest:
                bad[path] = "not the same"
        return bad

    def judge_odd(self, bad: dict[bytes, str]):
        lost = {odd_key(path) for path in bad} - {None}
        self.row.odd = f"{len(self.world.odd) - len(lost)}/{len(self.world.odd)}"

    def judge_shape(self):
        """Empty directories are there, and nothing that nobody asked for."""
        root, top = os.fsencode(self.collector.mirror / NAME), self.top()
        allowed = {self.in_mirror(path) for path in self.world.directories}
        made = set()
        above = top
        while above.strip(b"/"):
            allowed.add(above)
            above = os.path.dirname(above)
        files = {self.in_mirror(path) for path in self.world.files}
        for directory, names, found in os.walk(root):
            inside = directory[len(root) :]
            made |= {inside + b"/" + name for name in names}
            for name in found:
                if inside + b"/" + name not in files:
                    self.fail("made", f"a file that is not on the server: {inside + b'/' + name!r}")
        empty = [path for path in self.world.empty if self.in_mirror(path) in made]
        self.row.empty = f"{len(empty)}/{len(self.world.empty)}"
        for path in self.world.empty:
            if path not in empty:
                self.fail("empty", f"{path.decode()} is not made")
        for path in sorted(made - allowed):
            self.fail("made", f"a directory that is not on the server: {path!r} ({len(made - allowed)} of them)")

    def judge_restart(self):
        if self.resumed_at:
            at = f"{self.resumed_at >> 20} of {BIG >> 20} MiB"
            self.row.restart = f"resumed at {at}" if self.least_after else f"anew after {at}"
        if not self.row.restart:
            self.fail("restart", "not cut in mid-transfer")

    def judge_calls(self):
        calls = self.collector.receiver.calls
        wanted = {self.called(path) for path in self.world.files}
        self.row.calls = f"{sum(calls.values())}/{len(wanted)}"
        for path, count in calls.items():
            if path not in wanted:
                self.fail("calls", f"a call for {path!r}")
            elif count != 1:
                self.fail("calls", f"{count} calls for {path!r}")
        for path in self.world.files:
            if self.called(path) not in calls:
                self.fail(key_of(path), f"{path.decode(errors='backslashreplace')}: no call")


def odd_key(path: bytes) -> str | None:
    """What a row calls the odd name in this path."""
    for key, name in ODD.items():
        if path in (b"/odd/" + name + b".zip", b"/dirs/" + name + b"/in.zip"):
            return key
    return None


def key_of(path: bytes) -> str:
    """What a row calls a file that did not come."""
    if path == BIG_PATH:
        return "big"
    if path == SLOW_PATH:
        return "slow"
    return odd_key(path) or path.decode(errors="backslashreplace").rpartition("/")[0]


def way_of_listing(check: str, status: dict) -> str:
    """What the status says about it, or else `check`."""
    way = status.get("listing")
    if isinstance(way, str):
        return way
    found = re.search(r"lists by ([^;]+)", check)
    return found[1] if found else ""
