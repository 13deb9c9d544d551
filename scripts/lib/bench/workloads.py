"""The workloads: each brings figures of every contender, or of MROSync alone where no peer does such a thing."""

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from .contenders import Cost, Mrosync, Plain, Setting, run_all
from .disk import Disk
from .fleet import Content, Fleet
from .network import Far, Near


@dataclass
class Figures:
    """The costs of the contenders in one workload, of each round one."""

    title: str
    about: str
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    base: str | None = "floor"  # whom the others are compared with; none: the best peer
    facts: list[str] = field(default_factory=list)

    def add(self, name: str, cost: Cost):
        self.costs.setdefault(name, []).append(cost)
        problem = f"   PROBLEM: {cost.problem}" if cost.problem else ""
        say(f"  {name:<14} {cost.wall:8.2f} s  {cost.cpu:7.2f} s CPU  {cost.memory / 2**20:6.0f} MiB{problem}")

    def fact(self, text: str):
        self.facts.append(text)
        say(f"  {text}")


def say(text: str):
    print(text, file=sys.stderr, flush=True)


# what a contender that fails, or takes too long, ends in
FAULTS = (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError)


class Bench:
    """What all workloads share."""

    def __init__(self, options, setting: Setting, disk: Disk, contenders: list):
        self.options, self.setting, self.disk, self.contenders = options, setting, disk, contenders
        self.rounds = options.rounds
        self.servers = 3 if options.quick else 14
        self.content_directory = setting.work / "content"
        self.fleets = 0

    def services(self) -> list[Mrosync]:
        return [contender for contender in self.contenders if isinstance(contender, Mrosync)]

    def size(self, real, quick):
        return quick if self.options.quick else real

    def content(self) -> Content:
        shutil.rmtree(self.content_directory, ignore_errors=True)
        self.content_directory.mkdir()
        return Content(self.content_directory)

    def fleet(self, trees, network=None) -> Fleet:
        self.fleets += 1
        directory = self.setting.work / f"fleet{self.fleets}"
        directory.mkdir()
        return Fleet(self.setting.tools, directory, network or Near(), trees)

    def cold(self, fleet: Fleet, figures: Figures, contenders: list | None = None):
        """Everything is new: each contender brings all home, onto an empty disk."""
        say(f"\n{figures.title}: {figures.about}")
        for round_number in range(self.rounds):
            say(f" round {round_number + 1} of {self.rounds}")
            for contender in in_turn(contenders or self.contenders, round_number):
                mirror = self.disk.fresh() / "mirror"
                mirror.mkdir()
                cost = guarded(lambda: contender.once(fleet, mirror, self.setting))
                wrong = fleet.differences(mirror)
                if wrong:
                    cost.problem = f"{wrong} of {fleet.files()} files did not arrive whole; {cost.problem or ''}"
                figures.add(contender.name, cost)
        return figures


def in_turn(contenders: list, round_number: int) -> list:
    """They begin with another one in each round, so that nobody is always the first."""
    start = round_number % len(contenders)
    return contenders[start:] + contenders[:start]


def guarded(measure) -> Cost:
    """A contender that fails costs its own figure alone."""
    try:
        return measure()
    except FAULTS as fault:
        return Cost(problem=str(fault))


def small(bench: Bench):
    files = bench.size(600, 40)
    content = bench.content()
    trees = [content.tree(f"server{n}", files, bench.size(40, 5), (5_000, 60_000)) for n in range(bench.servers)]
    fleet = bench.fleet(trees)
    try:
        about = f"{len(fleet)} servers, {files} zips of 5 to 60 KB in {bench.size(40, 5)} directories each, all new"
        return [bench.cold(fleet, Figures("small", about))]
    finally:
        fleet.close()


def large(bench: Bench):
    megabytes = bench.size(48, 8)
    content = bench.content()
    size = megabytes * 1_000_000
    fleet = bench.fleet([content.tree(f"server{n}", 2, 2, (size, size)) for n in range(bench.servers)])
    try:
        about = f"{len(fleet)} servers, 2 zips of {megabytes} MB each, all new"
        return [bench.cold(fleet, Figures("large", about))]
    finally:
        fleet.close()


def far(bench: Bench):
    files, directories = bench.size(100, 12), bench.size(8, 3)
    content = bench.content()
    trees = [content.tree(f"server{n}", files, directories, (5_000, 60_000)) for n in range(bench.servers)]
    results = []
    for milliseconds in bench.options.far:
        network = Far(bench.setting.helpers, milliseconds / 1000, bench.options.mtu)
        fleet = bench.fleet(trees, network)
        try:
            measured = network.measured(fleet.servers[0].address) * 1000
            about = f"{len(fleet)} servers, {files} zips of 5 to 60 KB in {directories} directories each, all new, over "
            about += f"a round trip of {measured:.1f} ms (asked for: {milliseconds})"
            results.append(bench.cold(fleet, Figures(f"far {milliseconds} ms", about)))
        finally:
            fleet.close()
    return results


def idle(bench: Bench):
    files, directories = bench.size(15_000, 600), bench.size(300, 20)
    content = bench.content()
    fleet = bench.fleet([content.tree_of_one(f"server{n}", files, directories) for n in range(bench.servers)])
    about = f"{len(fleet)} servers, {files} zips in {directories} directories each, all known: one scan that finds nothing"
    figures = Figures("idle", about, base=None)
    say(f"\n{figures.title}: {about}")
    try:
        root = bench.disk.fresh()
        seed(fleet, root / "peers", bench.contenders)
        contenders = [contender for contender in bench.contenders if not contender.name.startswith("floor")]
        for service in bench.services():
            cost = guarded(lambda: service.once(fleet, root / service.name, bench.setting))
            if cost.problem:
                figures.fact(f"{service.name}: PROBLEM with the first scan: {cost.problem}")
                contenders.remove(service)
            else:
                figures.fact(f"{service.name}: the first scan brought all {fleet.files()} home in {cost.wall:.1f} s")
        for round_number in range(bench.rounds):
            say(f" round {round_number + 1} of {bench.rounds}")
            for contender in in_turn(contenders, round_number):
                bench.disk.settle()
                if isinstance(contender, Mrosync):
                    cost = guarded(lambda: idle_scans(bench, contender, fleet, root / contender.name))
                else:
                    cost = guarded(lambda: idle_run(bench, contender, fleet, root / "peers"))
                figures.add(contender.name, cost)
        for service in contenders:
            if isinstance(service, Mrosync):
                freshness(bench, service, fleet, root / service.name, figures)
        return [figures]
    finally:
        fleet.close()


def seed(fleet: Fleet, mirror: Path, contenders: list):
    """The mirror as the peers would have left it, without running them: hard links to one file are enough."""
    for server in fleet.servers:
        previous = one = None
        for path in sorted(server.files):
            target = mirror / server.name / path[1:]
            if target.parent != previous:
                # a file has at most 65,000 names on ext4
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(server.root / path[1:], target)
                previous, one = target.parent, target
            else:
                os.link(one, target)
    for contender in contenders:
        if isinstance(contender, Plain):
            contender.know(fleet, mirror)


def idle_run(bench: Bench, contender, fleet: Fleet, mirror: Path) -> Cost:
    began = time.time()
    cost = contender.once(fleet, mirror, bench.setting)
    fetched = sum((mirror / server.name / path[1:]).stat().st_ctime > began for server in fleet.servers for path in server.files)
    if fetched:
        cost.problem = f"fetched {fetched} files that it has; {cost.problem or ''}"
    return cost


def idle_scans(bench: Bench, contender: Mrosync, fleet: Fleet, mirror: Path) -> Cost:
    """The cost of one scan of a service that runs already: that of some scans, divided."""
    scans = 3
    bench.setting.receiver.reset()
    with contender.start(fleet, mirror, bench.setting, f"{bench.size(10, 2)}s") as service:
        done = total_scans(service.wait_scans(2))
        before = service.cpu()
        seconds = []
        for further in range(scans):
            status = service.wait_scans(3 + further)
            seconds.append(max(server["last_scan_seconds"] for server in status["servers"]))
        per_scan = (service.cpu() - before) / ((total_scans(status) - done) / len(fleet))
        memory = service.memory()
        ended = service.end()
    cost = Cost(statistics.mean(seconds), per_scan, memory, ended.problem)
    if bench.setting.receiver.count()[0]:
        cost.problem = "it announced files that were known"
    return cost


def total_scans(status: dict) -> int:
    return sum(server["scans"] for server in status["servers"])


def freshness(bench: Bench, contender: Mrosync, fleet: Fleet, mirror: Path, figures: Figures):
    """How long a new zip on each server takes to be announced, at the interval of one second."""
    new = [(server, server.root / f"MR/MRO/day000/new_{contender.name}.zip") for server in fleet.servers]
    try:
        bench.setting.receiver.reset()
        with contender.start(fleet, mirror, bench.setting, "1s") as service:
            service.wait_scans(2)
            for server, path in new:
                shutil.copy2(server.root / server.files[0][1:], path.with_suffix(".tmp"))
                os.rename(path.with_suffix(".tmp"), path)
            appeared = time.time()
            latest = service.began_unix + service.wait_announced(len(new)) - appeared
            figures.fact(f"{contender.name}: a new zip on each server, interval 1 s: the last was announced after {latest:.2f} s")
    except FAULTS as fault:
        figures.fact(f"{contender.name}: PROBLEM with new zips: {fault}")
    finally:
        for _, path in new:
            path.unlink(missing_ok=True)


def steady(bench: Bench):
    rate, seconds = bench.size(300, 100), bench.size(60, 8)
    figures = Figures("steady", f"{rate} new files a second for {seconds} s over {bench.servers} servers, interval 1 s", base=None)
    say(f"\n{figures.title}: {figures.about}")
    for _ in range(bench.rounds):
        for contender in bench.services():
            content = bench.content()
            trees = [content.tree(f"server{n}", 0, 20, (1, 1)) for n in range(bench.servers)]
            waiting = make_waiting(content, rate * seconds)
            fleet = bench.fleet(trees)
            try:
                mirror = bench.disk.fresh() / "mirror"
                figures.add(contender.name, guarded(lambda: keep_up(bench, contender, fleet, mirror, waiting, rate, figures)))
            finally:
                fleet.close()
    return [figures]


def make_waiting(content: Content, count: int) -> list[Path]:
    """Files that only need to be renamed into place: names of some different zips."""
    directory = content.directory / "waiting"
    directory.mkdir()
    zips = []
    for number in range(100):
        zips.append(directory / f"zip{number}")
        zips[-1].write_bytes(content.zip(content.random.randint(5_000, 60_000)))
    files = [directory / str(number) for number in range(count)]
    for number, file in enumerate(files):
        os.link(zips[number % len(zips)], file)
    return files


def keep_up(bench: Bench, contender: Mrosync, fleet: Fleet, mirror: Path, waiting: list[Path], rate: int, figures: Figures):
    bench.setting.receiver.reset()
    appeared: dict[str, float] = {}

    def appear():
        began = time.monotonic()
        for number, file in enumerate(waiting):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            server = fleet.servers[number % len(fleet)]
            path = f"/MR/MRO/day{number // len(fleet) % 20:03}/new_{number:06}.zip"
            appeared[f"/{server.name}{path}"] = time.time()
            os.rename(file, server.root / path[1:])
            server.files.append(path)

    with contender.start(fleet, mirror, bench.setting, "1s") as service:
        service.wait_scans(1)
        before, began = service.cpu(), time.monotonic()
        writer = threading.Thread(target=appear, daemon=True)
        writer.start()
        writer.join()
        service.wait_announced(len(waiting))
        cpu, wall = service.cpu() - before, time.monotonic() - began
        cost = service.end()
    announced = {file_of(target): at for at, target in bench.setting.receiver.calls()}
    delays = sorted(announced[path] - at for path, at in appeared.items())
    wrong = fleet.differences(mirror)
    p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    late = max(announced.values()) - max(appeared.values())
    figures.fact(
        f"{contender.name}: from appearing to announced p50 {p50:.2f} s, p99 {p99:.2f} s, longest {delays[-1]:.2f} s; "
        f"the last call {late:.2f} s after the last file; CPU {cpu / wall * 100:.0f} % of a core"
    )
    more = {"p50": p50, "p99": p99, "longest": delays[-1], "late": late}
    return Cost(wall, cpu, cost.memory, f"{wrong} files did not arrive whole" if wrong else cost.problem, more)


def file_of(target: str) -> str:
    return urllib.parse.parse_qs(urllib.parse.urlsplit(target).query)["file"][0]


def years(bench: Bench):
    records = bench.size(10_000_000, 200_000)
    files = bench.size(600, 40)
    content = bench.content()
    trees = [content.tree(f"server{n}", files, bench.size(40, 5), (5_000, 60_000)) for n in range(bench.servers)]
    fleet = bench.fleet(trees)
    about = f"small and its scans with {records} records of earlier files, and with none"
    figures = Figures("years", about, base=None)
    say(f"\n{figures.title}: {about}")
    try:
        for contender in bench.services():
            full = bench.setting.work / "years.db"
            fill(bench, contender, fleet, full, records)
            for _ in range(bench.rounds):
                for database in (None, full):
                    name = f"{contender.name}, {'no' if database is None else records} records"
                    try:
                        years_once(bench, contender, fleet, database, name, figures)
                    except FAULTS as fault:
                        figures.add(name, Cost(problem=str(fault)))
            full.unlink()
        return [figures]
    finally:
        fleet.close()


def years_once(bench: Bench, contender: Mrosync, fleet: Fleet, database: Path | None, name: str, figures: Figures):
    mirror = bench.disk.fresh() / "mirror"
    mirror.mkdir()
    if database:
        shutil.copy(database, mirror.with_name("mirror.records.db"))
        # read from the disk again, not from the memory that the copy went through
        bench.disk.again()
    bench.setting.receiver.reset()
    with contender.start(fleet, mirror, bench.setting, f"{bench.size(5, 2)}s") as service:
        while service.status() is None:
            service.must_live()
        start = time.monotonic() - service.began
        wall = service.wait_announced(fleet.files())
        cold_cpu = service.cpu()
        first = service.wait_scans(2)
        before, scans = service.cpu(), total_scans(first)
        last = service.wait_scans(5)
        scan = max(server["last_scan_seconds"] for server in last["servers"])
        scan_cpu = (service.cpu() - before) / ((total_scans(last) - scans) / len(fleet))
        ended = service.end()
    more = {"start": start, "scan": scan, "scan_cpu": scan_cpu}
    figures.add(name, Cost(wall, cold_cpu, ended.memory, ended.problem, more))
    server = fleet.servers[0].name
    command = [contender.program, "records", "--config", service.configuration, "--server", server, "--format", "csv"]
    export = run_all([command], bench.setting, "records")
    rows = (bench.setting.work / "records.log").read_bytes().count(b"\n") - 1
    more.update(export=export.wall, export_memory=export.memory, export_rows=rows)
    figures.fact(
        f"{name}: answers after {start:.2f} s; a scan {scan:.3f} s and {scan_cpu:.3f} s CPU; "
        f"records of {server}: {rows} rows in {export.wall:.2f} s with {export.memory / 2**20:.0f} MiB"
    )


def fill(bench: Bench, contender: Mrosync, fleet: Fleet, target: Path, records: int):
    """A database with so many evicted downloads, made by the program itself and filled in its own schema."""
    mirror = bench.disk.fresh() / "mirror"
    with contender.start(fleet, mirror, bench.setting) as service:
        while service.status() is None:
            service.must_live()
    shutil.copy(service.records, target)
    began = time.monotonic()
    database = sqlite3.connect(target)
    database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;")
    tables = ("downloads", "directories", "totals", "last_listed")
    for table in tables:
        database.execute(f"DELETE FROM {table}" if table != "totals" else "SELECT 1")
    # the triggers would count each row; they are put back when the sums are known
    triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    each = 200
    size, now = 30_000, int(time.time() * 1000)
    directories = records // each
    database.executemany(
        "INSERT INTO directories (id, server, wire, text) VALUES (?, ?, ?, NULL)",
        (
            (n + 1, fleet.servers[n * len(fleet) // directories].name, f"/MR/MRO/past{n:06}".encode())
            for n in range(directories)
        ),
    )
    columns = [row[1] for row in database.execute("PRAGMA table_info(downloads)")]
    values = {
        "id": "n + 1", "directory": f"n / {each} + 1", "size": str(size),
        "name": "CAST(printf('TD-LTE_MRO_VENDOR_OMC_%08d_20241124.zip', n) AS BLOB)",
        "modified": f"{now // 1000 - 40_000_000} + n", "modified_source": "1",
        "downloaded_at": f"{now - 40_000_000_000} + n", "notified_at": f"{now - 40_000_000_000} + n",
        "evicted_at": f"{now - 20_000_000_000} + n", "attempts": "0", "next_attempt_at": "0",
    }
    used = [column for column in columns if column in values]
    database.execute(
        f"WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {directories * each}) "
        f"INSERT INTO downloads ({', '.join(used)}) SELECT {', '.join(values[column] for column in used)} FROM numbers"
    )
    database.execute(
        "UPDATE totals SET present_files = 0, present_bytes = 0, evicted_files = ?1, evicted_bytes = ?1 * ?2, pending = 0, "
        "delivered = ?1, cancelled = 0, changes = 0", (directories * each, size),
    )
    for _, sql in triggers:
        database.execute(sql)
    database.commit()
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    say(f"  {records} records made in {time.monotonic() - began:.0f} s, {target.stat().st_size / 2**20:.0f} MiB")


def many(bench: Bench):
    files = bench.size(500, 50)
    content = bench.content()
    tree = content.tree("server", files, 10, (5_000, 20_000))
    contenders = [contender for contender in bench.contenders if contender.name == "floor" or isinstance(contender, Mrosync)]
    results = []
    for servers in bench.size([14, 50, 100, 200], [4, 8, 16]):
        # a listener for each of the servers; they all show the same tree
        fleet = bench.fleet([tree] * servers)
        try:
            about = f"{servers} vsftpd (one for each server, all showing one tree), {files} zips in 10 directories, all new"
            figures = bench.cold(fleet, Figures(f"many {servers}", about), contenders)
            for service in bench.services():
                costs = [cost for cost in figures.costs[service.name] if not cost.problem]
                if costs:
                    figures.fact(
                        f"{service.name}, {servers} servers: {max(cost.more['threads'] for cost in costs)} threads, "
                        f"{statistics.median(cost.memory for cost in costs) / 2**20 / servers:.2f} MiB, "
                        f"{statistics.median(cost.wall for cost in costs) / servers * 1000:.1f} ms and "
                        f"{statistics.median(cost.cpu for cost in costs) / servers * 1000:.1f} ms CPU a server"
                    )
            results.append(figures)
        finally:
            fleet.close()
    return results


WORKLOADS = {"small": small, "large": large, "idle": idle, "far": far, "steady": steady, "years": years, "many": many}
