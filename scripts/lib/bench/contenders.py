"""Who is measured: how each of them is told to bring everything home once, and what it cost."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .fleet import PASSWORD, USER, Fleet


@dataclass
class Cost:
    """What one run took. Processes that work side by side are added up."""

    wall: float = 0.0  # seconds
    cpu: float = 0.0  # seconds of user and system time of the client, all its processes
    memory: int = 0  # bytes at the peak; pages that processes share count for each of them
    problem: str | None = None
    more: dict = field(default_factory=dict)


@dataclass
class Setting:
    """What a contender needs to know of the bench."""

    tools: Path
    helpers: Path
    work: Path  # for configurations and logs, in memory
    connections: int
    receiver: "Receiver"
    limit: float  # seconds that one run may take


class Receiver:
    """The host that calls go to; see examples/bench/receiver.rs."""

    def __init__(self, helpers: Path):
        self.address = ("127.0.0.1", 8080)
        self.url = "http://127.0.0.1:8080/dls.php"
        self.process = subprocess.Popen([helpers, "receive", "127.0.0.1:8080"])
        self.connection = None

    def ask(self, target: str) -> str:
        # kept open, as it is asked every few milliseconds
        if self.connection is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=20)
        try:
            self.connection.request("GET", target)
            return self.connection.getresponse().read().decode()
        except OSError:
            self.connection = None
            raise

    def count(self) -> tuple[int, float]:
        calls, last = self.ask("/count").split()
        return int(calls), float(last)

    def calls(self) -> list[tuple[float, str]]:
        lines = (line.split(" ", 1) for line in self.ask("/calls").splitlines())
        return [(float(at), target) for at, target in lines]

    def reset(self):
        self.ask("/reset")

    def close(self):
        self.process.kill()
        self.process.wait()


class Peaks:
    """The most memory that each process had, looked at while it runs.

    What wait4 says of it is useless here: it counts what this program had when it started the process.
    """

    def __init__(self, children: list):
        self.peaks = {child.pid: 0 for child in children}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while True:
            for pid in self.peaks:
                self.peaks[pid] = max(self.peaks[pid], kernel_says(pid, "VmHWM") * 1024)
            if self.over.wait(0.05):
                return

    def end(self) -> int:
        self.over.set()
        self.thread.join()
        return sum(self.peaks.values())


def kernel_says(pid: int, key: str) -> int:
    """A number of /proc/PID/status; 0 where the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def run_all(commands: list[list], setting: Setting, name: str, environment: dict | None = None) -> Cost:
    """Runs the commands side by side to their end; what they print is kept in a log."""
    cost = Cost()
    log = setting.work / f"{name}.log"
    variables = {"PATH": os.environ["PATH"], "HOME": str(setting.work), "TZ": "UTC", "LANG": "C.UTF-8"}
    with open(log, "wb") as output:
        began = time.monotonic()
        children = [
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**variables, **(environment or {})}
            )
            for command in commands
        ]
        timer = threading.Timer(setting.limit, lambda: [os.kill(child.pid, signal.SIGKILL) for child in children])
        # else an interrupted bench would wait for it
        timer.daemon = True
        timer.start()
        peaks = Peaks(children)
        for child in children:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            cost.cpu += usage.ru_utime + usage.ru_stime
        cost.wall = time.monotonic() - began
        timer.cancel()
        cost.memory = peaks.end()
    bad = [child.returncode for child in children if child.returncode != 0]
    if bad:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        cost.problem = f"{len(bad)} of {len(children)} processes failed, exit {bad[0]}: {' '.join(last)}"
    return cost


class Floor:
    """The least that a client can do; see examples/bench/floor.rs."""

    def __init__(self, synced: bool):
        # what it costs at least to have each file on the disk before it counts as fetched
        self.name = "floor synced" if synced else "floor"

    def once(self, fleet: Fleet, mirror: Path, setting: Setting) -> Cost:
        plan = setting.work / "floor.plan"
        with open(plan, "w") as file:
            for server in fleet.servers:
                file.write(f"server\t{server.name}\t{server.address}:21\t{USER}\t{PASSWORD}\n")
                file.writelines(f"file\t{path}\n" for path in server.files)
        return run_all([[setting.helpers, self.name.replace(" ", "-"), plan, mirror, str(setting.connections)]], setting, self.name)


class Lftp:
    """lftp mirror, one process a server; as it comes, or with what its manual offers for speed."""

    def __init__(self, tuned: bool):
        self.tuned = tuned
        self.name = "lftp tuned" if tuned else "lftp"

    def once(self, fleet: Fleet, mirror: Path, setting: Setting) -> Cost:
        options = mirror_options = ""
        if self.tuned:
            n = setting.connections
            options = (
                f"set ftp:sync-mode off; set net:connection-limit {n}; set mirror:parallel-directories true;"
                "set ftp:use-mdtm off; set ftp:use-size off; set mirror:set-permissions false;"
            )
            mirror_options = f"--parallel={n} --only-missing --no-perms --no-umask"
        commands = [
            [
                setting.tools / "lftp/usr/bin/lftp", "--norc", "-c",
                f"{options} open -u {USER},{PASSWORD} ftp://{server.address};"
                f"mirror {mirror_options} / {mirror}/{server.name}",
            ]
            for server in fleet.servers
        ]
        return run_all(commands, setting, self.name, {"LD_LIBRARY_PATH": str(setting.tools / "lib")})


class Rclone:
    """rclone copy, one process a server, with as many transfers as there are connections, and no second looks."""

    name = "rclone"

    def __init__(self):
        self.password = None

    def once(self, fleet: Fleet, mirror: Path, setting: Setting) -> Cost:
        program = setting.tools / "rclone/usr/bin/rclone"
        if self.password is None:
            self.password = subprocess.check_output([program, "obscure", PASSWORD], text=True).strip()
        n = str(setting.connections)
        commands = [
            [
                program, "copy", ":ftp:", mirror / server.name, "--config", "/dev/null",
                "--ftp-host", server.address, "--ftp-user", USER, "--ftp-pass", self.password,
                "--transfers", n, "--checkers", n, "--check-first",
                # as its manual says: with n alone it waits for itself for ever
                "--ftp-concurrency", str(setting.connections + 1), "--ignore-existing", "--ignore-checksum", "--no-update-modtime",
            ]
            for server in fleet.servers
        ]
        return run_all(commands, setting, self.name)


class Wget:
    """wget --mirror, one process a server; it has one connection."""

    name = "wget"

    def once(self, fleet: Fleet, mirror: Path, setting: Setting) -> Cost:
        program = setting.tools / "wget/usr/bin/wget"
        commands = [
            [
                program, "--no-config", "-q", "-m", "-nH", "-P", mirror / server.name,
                f"ftp://{USER}:{PASSWORD}@{server.address}/",
            ]
            for server in fleet.servers
        ]
        return run_all(commands, setting, self.name, {"LD_LIBRARY_PATH": str(setting.tools / "lib")})


class Plain:
    """The program that the requirement describes, written plainly; see plain.py."""

    name = "plain"

    def once(self, fleet: Fleet, mirror: Path, setting: Setting) -> Cost:
        configuration = setting.work / "plain.json"
        content = {
            "database": str(self.database(mirror)),
            "root": str(mirror),
            "url": setting.receiver.url,
            "user": USER,
            "password": PASSWORD,
            "servers": [{"name": server.name, "address": server.address} for server in fleet.servers],
        }
        configuration.write_text(json.dumps(content))
        command = [sys.executable, "-m", "bench.plain", configuration]
        return run_all([command], setting, self.name, {"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"})

    def database(self, mirror: Path) -> Path:
        return mirror.with_name(mirror.name + ".plain.db")

    def know(self, fleet: Fleet, mirror: Path):
        """Records all files of the fleet as if they had been fetched."""
        from .plain import dbconnect

        connection = dbconnect(self.database(mirror))
        for server in fleet.servers:
            rows = ((server.name, path) for path in server.files)
            connection.executemany("INSERT INTO downloads VALUES (?, ?)", rows)
        connection.commit()
        connection.close()


class Service:
    """A running MROSync."""

    def __init__(self, program: Path, fleet: Fleet, mirror: Path, setting: Setting, interval: str):
        self.program, self.setting = program, setting
        self.records = mirror.with_name(mirror.name + ".records.db")
        self.configuration = setting.work / "mrosync.toml"
        # short, as the path of a socket has 107 bytes at most
        socket = setting.work / "mrosync.sock"
        servers = "".join(
            f'[[servers]]\nname = "{server.name}"\nhost = "{server.address}"\nuser = "{USER}"\npassword = "{PASSWORD}"\n'
            for server in fleet.servers
        )
        self.configuration.write_text(
            f'[sync]\nroot = "{mirror}"\ninterval = "{interval}"\n[quota]\nmax_used_percent = 95\n'
            f'[notify]\nurl = "{setting.receiver.url}"\n[records]\npath = "{self.records}"\n'
            f'[control]\nsocket = "{socket}"\n[defaults]\nconnections = {setting.connections}\n{servers}'
        )
        self.configuration.chmod(0o600)
        self.log = setting.work / "mrosync.log"
        self.threads = 0
        self.began_unix, self.began = time.time(), time.monotonic()
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [program, "run", "--start", "--config", self.configuration],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={"PATH": os.environ["PATH"], "TZ": "UTC"},
            )

    def wait_announced(self, calls: int) -> float:
        """Waits until so many files were announced, and returns the seconds from the start to the last call."""
        while True:
            count, last = self.setting.receiver.count()
            if count >= calls:
                return last - self.began_unix
            if time.monotonic() - self.began > self.setting.limit:
                raise TimeoutError(f"{count} of {calls} files announced within {self.setting.limit:.0f} s")
            self.must_live()
            self.threads = max(self.threads, kernel_says(self.process.pid, "Threads"))
            time.sleep(0.02)

    def must_live(self):
        if self.process.poll() is not None:
            last = " ".join(self.log.read_text(errors="replace").strip().splitlines()[-2:])
            raise RuntimeError(f"the service ended with {self.process.returncode}: {last}")

    def cpu(self) -> float:
        """Seconds of user and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Bytes at the peak so far."""
        return kernel_says(self.process.pid, "VmHWM") * 1024

    def status(self) -> dict | None:
        """None where it does not answer (yet)."""
        command = [self.program, "ctl", "--config", self.configuration, "status", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_scans(self, scans: int) -> dict:
        """Waits until every server has been scanned so often; the status then."""
        while True:
            status = self.status()
            if status and all(server["scans"] >= scans for server in status["servers"]):
                return status
            if time.monotonic() - self.began > self.setting.limit:
                raise TimeoutError(f"no {scans} scans of every server within {self.setting.limit:.0f} s")
            self.must_live()
            # each question is a process of its own, which takes from what is measured
            time.sleep(0.5)

    def recorded(self) -> int:
        command = [self.program, "records", "--config", self.configuration, "--format", "csv"]
        return subprocess.check_output(command).count(b"\n") - 1

    def end(self) -> Cost:
        """Ends it in good order."""
        cost = Cost()
        if self.process.returncode is None:
            memory = self.memory()
            self.process.send_signal(signal.SIGTERM)
            timer = threading.Timer(20, self.process.kill)
            timer.daemon = True
            timer.start()
            _, status, usage = os.wait4(self.process.pid, 0)
            timer.cancel()
            self.process.returncode = os.waitstatus_to_exitcode(status)
            cost = Cost(0, usage.ru_utime + usage.ru_stime, memory)
            if self.process.returncode != 0:
                cost.problem = f"the service ended with {self.process.returncode}"
        return cost

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Mrosync:
    """MROSync, with its ordinary configuration: everything synced, recorded and announced."""

    def __init__(self, name: str, program: Path):
        self.name, self.program = name, program

    def start(self, fleet: Fleet, mirror: Path, setting: Setting, interval: str = "60s") -> Service:
        return Service(self.program, fleet, mirror, setting, interval)

    def once(self, fleet: Fleet, mirror: Path, setting: Setting) -> Cost:
        setting.receiver.reset()
        with self.start(fleet, mirror, setting) as service:
            wall = service.wait_announced(fleet.files())
            cost = service.end()
        cost.wall = wall
        cost.more["threads"] = service.threads
        announced = {target for _, target in setting.receiver.calls()}
        recorded = service.recorded()
        if not cost.problem and (len(announced), recorded) != (fleet.files(), fleet.files()):
            cost.problem = f"{len(announced)} announced and {recorded} recorded of {fleet.files()}"
        return cost
