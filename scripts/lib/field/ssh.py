"""SFTP servers: daemons of Debian, and libraries of PyPI and npm with a small program."""

import base64
import subprocess
import sys
from pathlib import Path

from .daemons import Debian, Proftpd
from .libraries import NOT_UTF_8, Node, Python
from .server import PASSWORD, USER, Place

PROFTPD_SFTP = """LoadModule mod_sftp.c
SFTPEngine on
SFTPHostKey {place.keys}/host_rsa
SFTPAuthMethods password
SFTPLog {place.directory}/server.log"""


def host_keys(place: Place) -> list[str]:
    return [" ".join((place.keys / f"{name}.pub").read_text().split()[:2]) for name in ("host_ed25519", "host_rsa")]


class Ssh:
    """What those have in common that take a password."""

    protocol = "sftp"

    def account(self, place: Place) -> dict:
        return {"user": USER, "password": PASSWORD, "host_key": host_keys(place)}


class OpenSsh(Ssh, Debian):
    """sshd, with a program for SFTP."""

    package = "openssh-server"
    subsystem = ("openssh-sftp-server", "usr/lib/openssh/sftp-server")
    # behind the program
    words = ""
    top = None

    def version(self, place: Place) -> str:
        return place.debian(self.subsystem[0], "version").read_text().strip().partition("+deb")[0]

    def command(self, place: Place) -> list:
        lines = f"""ListenAddress 127.0.0.1
Port {place.port}
HostKey {place.keys}/host_ed25519
HostKey {place.keys}/host_rsa
PidFile {place.directory}/pid
AuthorizedKeysFile none
PasswordAuthentication yes
UsePAM no
Subsystem sftp {place.debian(*self.subsystem)}{self.words}
"""
        program = place.debian(self.package, "usr/sbin/sshd")
        return [program, "-D", "-e", "-f", place.write("sshd_config", lines)]


class MySecureShell(OpenSsh):
    """It is a login shell, which serves SFTP when it is told to run sftp-server, and wants to be its file's owner."""

    words = " -c sftp-server"

    def command(self, place: Place) -> list:
        program = place.debian(*self.subsystem)
        program.chmod(0o4755)
        return super().command(place)


class Dropbear(Ssh, Debian):
    package = "dropbear-bin"
    top = None

    def command(self, place: Place) -> list:
        key = place.directory / "host_key"
        if not key.exists():
            convert = place.debian(self.package, "usr/bin/dropbearconvert")
            subprocess.check_call([convert, "openssh", "dropbear", place.keys / "host_ed25519", key],
                                  env={"LD_LIBRARY_PATH": str(place.base / "lib")})
        return [place.debian(self.package, "usr/sbin/dropbear"), "-F", "-E", "-p", f"127.0.0.1:{place.port}", "-r", key]


class TinySsh(Debian):
    """It takes keys alone, and serves what lies on its standard input and output."""

    protocol = "sftp"
    package = "tinysshd"
    top = None

    def home_of(self, place: Place) -> Path:
        return place.directory / "home"

    def account(self, place: Place) -> dict:
        public = (place.directory / "keys/ed25519.pk").read_bytes()
        kind = b"ssh-ed25519"
        blob = len(kind).to_bytes(4, "big") + kind + len(public).to_bytes(4, "big") + public
        return {
            "user": USER, "private_key_file": str(place.keys / "client"),
            "host_key": f"ssh-ed25519 {base64.b64encode(blob).decode()}",
        }

    def command(self, place: Place) -> list:
        program, keys = place.debian(self.package, "usr/sbin/tinysshd"), place.directory / "keys"
        if not keys.exists():
            # the program is what it is called
            make = place.directory / "tinysshd-makekey"
            make.symlink_to(program)
            subprocess.check_call([make, "-q", keys], env={"LD_LIBRARY_PATH": str(place.base / "lib")})
            ssh = self.home_of(place) / ".ssh"
            ssh.mkdir(parents=True)
            (ssh / "authorized_keys").write_text((place.keys / "client.pub").read_text())
        server = place.debian("openssh-sftp-server", "usr/lib/openssh/sftp-server")
        return [sys.executable, place.program("inetd.py"), place.port, program, "-v", "-x", f"sftp={server}", keys]


class ProftpdSftp(Ssh, Proftpd):
    more = PROFTPD_SFTP


class Rclone(Ssh, Debian):
    """It has an FTP server too, which Debian leaves out."""

    package = "rclone"
    as_user = True

    def command(self, place: Place) -> list:
        return [
            place.debian(self.package, "usr/bin/rclone"), "serve", "sftp", place.tree, "--addr", f"127.0.0.1:{place.port}",
            "--user", USER, "--pass", PASSWORD, "--key", place.keys / "host_ed25519", "--config", "/dev/null",
            "--dir-cache-time", "0s", "--cache-dir", place.directory / "cache",
        ]


class SshPython(Ssh, Python):
    pass


class SshNode(Ssh, Node):
    pass


SSH = [
    OpenSsh("OpenSSH"),
    ProftpdSftp("ProFTPD mod_sftp"),
    Dropbear("dropbear with OpenSSH's sftp-server"),
    TinySsh("tinyssh with OpenSSH's sftp-server"),
    MySecureShell("MySecureShell", subsystem=("mysecureshell", "usr/bin/mysecureshell")),
    OpenSsh("Green End SFTP server", subsystem=("gesftpserver", "usr/libexec/gesftpserver")),
    Rclone("rclone serve sftp", known={"locked": "it shows a directory that it cannot read as an empty one, with success"}),
    SshPython("AsyncSSH", package="asyncssh", program="asyncssh_server.py"),
    SshPython("paramiko", package="paramiko", program="paramiko_server.py", without=NOT_UTF_8),
    SshNode("ssh2 of npm", package="ssh2", program="ssh2_server.js", without=NOT_UTF_8),
]
