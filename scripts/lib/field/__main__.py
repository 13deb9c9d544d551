"""Options, and one server after the other."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from .entries import ENTRIES
from .ground import Ground
from .report import notes, table, write
from .trial import Row, Trial
from .world import World, big_archive

# of one server, all in all; then it is ended, and its row says so
LIMIT = 240
DOCUMENT = Path("docs/servers.md")


def options():
    parser = argparse.ArgumentParser(
        prog="scripts/field",
        description="Runs MROSync against the FTP and SFTP servers that can be had, and prints what came of it.",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these servers, or all whose names begin so")
    parser.add_argument("--list", action="store_true", help="names the servers, and runs nothing")
    parser.add_argument("--mrosync", type=Path, metavar="FILE", help="the binary (a fresh release build)")
    parser.add_argument("--patience", type=float, default=1, metavar="FACTOR", help="for slow machines: all waits are as much longer")
    parser.add_argument("--program", action="append", default=[], metavar="NAME=FILE",
                        help="a server that no registry has, built by hand: uftpd, lightftp, busybox")
    parser.add_argument("--keep", action="store_true", help="keeps logs, configurations and mirrors in target/field/run")
    parser.add_argument("--write", action="store_true", help=f"puts the table into {DOCUMENT}")
    given = parser.parse_args()
    if given.write and given.only:
        parser.error("--write takes a run of all servers")
    return given


def chosen(names: list[str]) -> list:
    found = [entry for entry in ENTRIES if not names or any(entry.name.startswith(name) for name in names)]
    if not found:
        sys.exit(f"scripts/field: no server is called {', '.join(names)}")
    return found


class Hang(BaseException):
    """A server took longer than everything may take."""


def hang(*_):
    raise Hang


def try_one(entry, ground: Ground, big: Path, digest: str, given) -> Row:
    place = ground.place(entry.name, entry.as_user)
    ground.give_home(entry.home_of(place))
    world = World(place.tree, big, digest, {key for keys in entry.without for key in keys})
    trial = Trial(entry, place, world, given.mrosync, given.patience)
    signal.alarm(int(LIMIT * given.patience))
    try:
        return trial.run()
    except (Hang, Exception) as error:
        # of whatever kind: the other servers are tried all the same
        trial.fail("run", f"not done within {LIMIT * given.patience:.0f} s" if isinstance(error, Hang) else repr(error))
        return trial.row
    finally:
        signal.alarm(0)
        entry.kill(set())
        if not given.keep:
            world.remove()
            shutil.rmtree(place.directory.parent, ignore_errors=True)


def say(row: Row):
    unknown = [key for key in row.failures if key not in row.known]
    verdict = "not to be had" if row.missing else "FAILED" if unknown else "ok"
    print(f"{row.name}: {verdict}, {row.seconds:.0f} s {notes(row) or row.missing}", file=sys.stderr, flush=True)


def main():
    given = options()
    entries = chosen(given.only)
    if given.list:
        print("\n".join(f"{entry.name}  ({entry.protocol})" for entry in entries))
        return
    if os.getpid() != 1:
        sys.exit("scripts/field: run me by scripts/field, which makes the namespaces")
    given.mrosync = given.mrosync.resolve()
    if not os.access(given.mrosync, os.X_OK):
        sys.exit(f"scripts/field: {given.mrosync} is no program")
    # as the first process of the namespace, nothing ends it that it does not heed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, hang)
    os.umask(0o022)
    ground = Ground(Path(os.environ["MROSYNC_FIELD_DIRECTORY"]))
    for word in given.program:
        name, _, program = word.partition("=")
        ground.bring_own(name, Path(program))
    big = ground.base / "big.zip"
    digest = big_archive(big)
    version = subprocess.check_output([given.mrosync, "--version"], text=True).strip()
    rows = []
    try:
        for entry in entries:
            rows.append(try_one(entry, ground, big, digest, given))
            say(rows[-1])
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        print(f"{version}\n\n{table(rows)}")
    if given.write:
        write(DOCUMENT, rows, version)
    sys.exit(any(key not in row.known for row in rows for key in row.failures))


if __name__ == "__main__":
    main()
