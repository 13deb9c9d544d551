"""MROSync as it is run here, and the host that its calls go to."""

import collections
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

# the server's row in the mirror
NAME = "omc"
# so that 200 MB take some seconds and a kill surely falls into them
RATE = "30MiB/s"


class Receiver:
    """Takes each call, and knows how often which file was announced."""

    def __init__(self):
        self.calls: collections.Counter[bytes] = collections.Counter()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                query = urllib.parse.urlsplit(self.path).query
                receiver.calls[urllib.parse.unquote_to_bytes(query.removeprefix("file="))] += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Collector:
    """One MROSync for one server."""

    def __init__(self, program: Path, directory: Path, server: dict):
        self.program, self.directory = program, directory
        self.mirror, self.log = directory / "mirror", directory / "mrosync.log"
        self.receiver = Receiver()
        self.process: subprocess.Popen | None = None
        self.configuration = directory / "mrosync.toml"
        self.mirror.mkdir()
        keys = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in server.items())
        self.configuration.write_text(
            f'[sync]\nroot = "{self.mirror}"\ninterval = "1s"\n[quota]\nmax_used_percent = 99\n'
            f'[notify]\nurl = "http://127.0.0.1:{self.receiver.server.server_address[1]}/dls.php"\n'
            f'[records]\npath = "{directory}/records.db"\n[control]\nsocket = "{directory}/c.sock"\n'
            f'[log]\nlevel = "debug"\nfile = "{self.log}"\n[defaults]\ntimeout = "10s"\nmax_rate = "{RATE}"\n'
            f'[[servers]]\nname = "{NAME}"\nhost = "127.0.0.1"\n{keys}'
        )
        self.configuration.chmod(0o600)

    def ask(self, *words: str, limit: float = 40) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.program, *words, "--config", self.configuration], capture_output=True, text=True, timeout=limit,
            env={"PATH": os.environ["PATH"], "TZ": "UTC"},
        )

    def check(self) -> tuple[int, str]:
        """Exit status of `check`, and what it says of the server."""
        done = self.ask("check")
        lines = [line for line in done.stdout.splitlines() if f"server {NAME}:" in line]
        return done.returncode, (lines or [done.stderr.strip()])[0]

    def start(self):
        with open(self.directory / "mrosync.out", "ab") as output:
            self.process = subprocess.Popen(
                [self.program, "run", "--start", "--config", self.configuration],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={"PATH": os.environ["PATH"], "TZ": "UTC"},
            )

    def status(self) -> dict | None:
        """What `ctl status --json` says; None while it does not answer."""
        done = self.ask("ctl", "status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def server(self) -> dict:
        status = self.status()
        return status["servers"][0] if status else {}

    def lines(self, *levels: str) -> list[str]:
        """Lines of the log of these levels, without their times."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line[25:] for line in text.splitlines() if any(line[25:].startswith(level) for level in levels)]

    def largest_partial(self) -> tuple[int, int]:
        """Inode and bytes of the largest file under way; zeros where there is none."""
        found = (0, 0)
        for path in (self.mirror / ".partial").rglob("*"):
            try:
                stat = path.stat()
            except OSError:
                continue
            if path.is_file() and stat.st_size > found[1]:
                found = (stat.st_ino, stat.st_size)
        return found

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> int | None:
        """Ends it in good order; its exit status, None where it had to be killed."""
        self.receiver.close()
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


def wait_until(condition, seconds: float) -> bool:
    """Looks again and again; whether it came true in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
