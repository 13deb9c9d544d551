"""Options, and one workload after the other."""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
from pathlib import Path

from .contenders import Floor, Lftp, Mrosync, Plain, Receiver, Rclone, Setting, Wget
from .disk import Disk, run
from .figures import raw, table
from .network import wait_for
from .picture import draw
from .workloads import WORKLOADS, Bench, Near, say

PEERS = (Floor(synced=False), Floor(synced=True), Lftp(tuned=False), Lftp(tuned=True), Rclone(), Wget(), Plain())


def options():
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Runs MROSync beside lftp, rclone, wget and a plain program, on the same servers and disk.",
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"some of: {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--rounds", type=int, help="how often each contender runs (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; the figures say nothing")
    parser.add_argument("--only", metavar="NAME,…", help="only these contenders: floor, lftp, lftp-tuned, rclone, wget, plain, mrosync")
    parser.add_argument("--connections", type=int, default=4, help="of each contender to each server (4)")
    parser.add_argument("--far", type=lambda text: [int(part) for part in text.split(",")], default=[20, 100], metavar="MS,…",
                        help="the round trips of the workload far, in milliseconds (20,100)")
    parser.add_argument("--mtu", type=int, default=65000, help="of the long wire of the workload far (65000)")
    parser.add_argument("--mrosync", action="append", default=[], metavar="[NAME=]PATH",
                        help="the binary to measure, several for a comparison (a fresh release build)")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="the longest that one run may take (900)")
    parser.add_argument("--disk", type=Path, metavar="DIRECTORY", help="where the file with the disk is made (target/bench)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every figure there (relative paths count from the repository)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draws the ratios there")
    parser.add_argument("--keep", action="store_true", help="keeps logs, configurations and the disk in target/bench")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 3)
    for workload in given.workloads:
        if workload not in WORKLOADS:
            parser.error(f"there is no workload {workload!r}, but {', '.join(WORKLOADS)}")
    return given


def contenders(given) -> list:
    found = list(PEERS)
    for binary in given.mrosync:
        name, _, path = binary.rpartition("=")
        path = Path(path).resolve()
        if not os.access(path, os.X_OK):
            sys.exit(f"scripts/bench: {path} is no program")
        found.append(Mrosync(name or "mrosync", path))
    if given.only:
        wanted = {name.strip().replace("-", " ") for name in given.only.split(",")}
        found = [
            contender
            for contender in found
            if contender.name.replace("-", " ") in wanted or (isinstance(contender, Mrosync) and "mrosync" in wanted)
        ]
        if not found:
            sys.exit(f"scripts/bench: nobody is called {given.only}")
    return found


def machine() -> str:
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return f"{os.cpu_count()} × {cpu}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the start"


def main():
    given = options()
    chosen = contenders(given)
    # so that the disk goes whatever ends the bench; a shell that starts something beside itself has SIGINT ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    base = Path(os.environ["MROSYNC_BENCH_DIRECTORY"])
    tools, helpers, work = base / "tools", base / "helpers", Path("/dev/shm")
    # in this mount namespace alone, and gone with it
    run("mount", "-t", "tmpfs", "-o", "size=75%,nr_inodes=0,mode=755", "bench", str(work))
    Near()
    receiver, disk, results, about = None, None, [], machine()
    say(about)
    try:
        disk = Disk(given.disk or base, given.quick)
        disk.fill()
        receiver = Receiver(helpers)
        wait_for(lambda: receiver.ask("/count"), "the receiver")
        setting = Setting(tools, helpers, work, given.connections, receiver, 120 if given.quick else given.limit)
        bench = Bench(given, setting, disk, chosen)
        for name in given.workloads or WORKLOADS:
            results += WORKLOADS[name](bench)
            report(given, about, results)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if receiver:
            receiver.close()
        if given.keep:
            keep(work, base / "kept")
        if disk:
            disk.remove(keep=given.keep)
    print(f"{about}; {given.rounds} rounds, {given.connections} connections a server\n")
    for figures in results:
        print(f"{figures.about}\n\n{table(figures)}\n")
    bad = [cost.problem for figures in results for costs in figures.costs.values() for cost in costs if cost.problem]
    sys.exit(1 if bad else 0)


def report(given, about: str, results: list):
    """After each workload, so that what was measured is not lost with what comes next."""
    if given.json:
        content = {"machine": about, "rounds": given.rounds, "connections": given.connections, "quick": given.quick,
                   "workloads": [raw(figures) for figures in results]}
        given.json.write_text(json.dumps(content, indent=1) + "\n")
    if given.svg:
        given.svg.write_text(draw(results))


def keep(work: Path, to: Path):
    """Copies what was written beside the measured files, all of which goes with the namespace."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for pattern in ("*.log", "*.toml", "*.json", "*.plan", "fleet*/*.conf", "fleet*/*.out"):
        for file in work.glob(pattern):
            shutil.copy(file, to / "-".join(file.relative_to(work).parts))
    say(f"kept in {to}")


if __name__ == "__main__":
    main()
