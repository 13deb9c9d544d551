"""What the servers stand on, in this mount and network namespace alone: loopback, an account, keys and certificates."""

import os
import shutil
import subprocess
from pathlib import Path

from .server import PASSWORD, UID, USER, Place

# the second is who anonymous users are
ACCOUNT = f"{USER}:x:{UID}:{UID}:field:{{home}}:/bin/sh\nftp:x:{UID}:{UID}:field:{{home}}:/bin/sh\n"
PAM = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n"
PAM_SERVICES = ("other", "vsftpd", "ftp", "proftpd", "pure-ftpd", "sshd", "login")
MYSECURESHELL = "<Default>\nStayAtHome false\nVirtualChroot false\nLimitConnection 50\nLimitConnectionByUser 50\nLimitConnectionByIP 50\nHome /\n</Default>\n"


def run(*command) -> str:
    """Runs a tool of the system, and says what it said where it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Ground:
    """Made once; all of it goes with the namespace, but for what lies in target/field."""

    def __init__(self, field: Path):
        run("ip", "link", "set", "lo", "up")
        # every user reaches it there, wherever the repository lies
        self.base = next(path for path in (Path("/mnt"), Path("/srv"), Path("/media")) if path not in field.parents)
        run("mount", "--bind", field, self.base)
        self.etc = self.base / "etc"
        shutil.rmtree(self.etc, ignore_errors=True)
        self.etc.mkdir()
        self.keys = self.base / "keys"
        self.make_keys()
        self.make_account()

    def put_over(self, path: str, text: str, mode: int = 0o644):
        """Another content of a file of the system, for this namespace."""
        own = self.etc / path.rpartition("/")[2]
        own.write_text(text)
        own.chmod(mode)
        if os.path.exists(path):
            run("mount", "--bind", own, path)

    def make_account(self):
        hashed = run("openssl", "passwd", "-6", "-salt", "field", PASSWORD).strip()
        lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
        self.passwd = "".join(line for line in lines if not line.startswith("ftp:"))
        self.put_over("/etc/passwd", self.passwd + ACCOUNT.format(home="/"))
        self.put_over("/etc/shadow", Path("/etc/shadow").read_text() + f"{USER}:{hashed}:19000:0:99999:7:::\n", 0o600)
        self.put_over("/etc/group", Path("/etc/group").read_text() + f"{USER}:x:{UID}:\n")
        self.put_over("/etc/ftpusers", "")
        services = self.etc / "pam.d"
        services.mkdir()
        for name in PAM_SERVICES:
            (services / name).write_text(PAM)
        if os.path.isdir("/etc/pam.d"):
            run("mount", "--bind", services, "/etc/pam.d")
        # MySecureShell reads its configuration there and nowhere else
        if os.path.isdir("/etc/ssh"):
            shutil.copytree("/etc/ssh", self.etc / "ssh")
            (self.etc / "ssh/sftp_config").write_text(MYSECURESHELL)
            run("mount", "--bind", self.etc / "ssh", "/etc/ssh")
        # empty directories that daemons lock themselves into, and their sockets and marks
        run("mount", "-t", "tmpfs", "-o", "mode=755", "field", "/run")
        for name in ("sshd", "vsftpd", "vsftpd/empty", "proftpd", "utmp"):
            (Path("/run") / name).mkdir(mode=0o755, parents=True)

    def give_home(self, home: Path):
        """In place, as the file is bound over that of the system."""
        (self.etc / "passwd").write_text(self.passwd + ACCOUNT.format(home=home))

    def make_keys(self):
        if (self.keys / "complete").exists():
            return
        shutil.rmtree(self.keys, ignore_errors=True)
        self.keys.mkdir()
        run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
            "-subj", "/CN=field", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-keyout", self.keys / "key.pem", "-out", self.keys / "certificate.pem",
        )
        both = (self.keys / "key.pem").read_text() + (self.keys / "certificate.pem").read_text()
        (self.keys / "both.pem").write_text(both)
        for name, kind in (("host_ed25519", "ed25519"), ("client", "ed25519")):
            run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "field", "-f", self.keys / name)
        run("ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-m", "PEM", "-N", "", "-C", "field", "-f", self.keys / "host_rsa")
        for path in self.keys.iterdir():
            # servers that run as the account read them too; daemons want them closed
            path.chmod(0o600)
            os.chown(path, 0, 0)
        own = self.keys / "own"
        own.mkdir(mode=0o755)
        for path in list(self.keys.iterdir()):
            if path.is_file():
                shutil.copy(path, own)
                os.chown(own / path.name, UID, UID)
        (self.keys / "complete").touch()

    def bring_own(self, name: str, program: Path):
        """A program that was built by hand."""
        own = self.base / "own"
        own.mkdir(exist_ok=True)
        shutil.copy(program, own / name)
        (own / name).chmod(0o755)

    def place(self, name: str, as_user: bool) -> Place:
        """A directory for one row, made anew."""
        directory = self.base / "run" / name.replace(" ", "-").replace("/", "-")
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "server").mkdir(parents=True)
        if as_user:
            os.chown(directory / "server", UID, UID)
        keys = self.keys / "own" if as_user else self.keys
        return Place(self.base, directory / "server", directory / "tree", keys)
