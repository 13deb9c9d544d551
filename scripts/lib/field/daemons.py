"""FTP daemons in C, as Debian packages them; and those that no registry has, where somebody built them."""

import subprocess
import sys
from pathlib import Path

from .server import Missing, Place, Server


class Debian(Server):
    """A daemon of a package of Debian."""

    package = ""

    def version(self, place: Place) -> str:
        return place.debian(self.package, "version").read_text().strip().partition("+deb")[0]


class Inetd(Debian):
    """One that serves what lies on its standard input and output, and has the whole machine for its tree."""

    top = None
    words: tuple = ()

    def serve(self, place: Place) -> list:
        """What is started for each connection."""
        return [place.debian(self.package, self.words[0]), *self.words[1:]]

    def command(self, place: Place) -> list:
        return [sys.executable, place.program("inetd.py"), place.port, *self.serve(place)]


class Vsftpd(Debian):
    package = "vsftpd"

    def command(self, place: Place) -> list:
        lines = f"""listen=YES
listen_address=127.0.0.1
listen_port={place.port}
background=NO
anonymous_enable=NO
local_enable=YES
chroot_local_user=YES
secure_chroot_dir=/run/vsftpd/empty
# fails in containers: 500 OOPS: priv_sock_get_cmd
seccomp_sandbox=NO
xferlog_enable=NO
tcp_wrappers=NO
"""
        if self.tls != "off":
            lines += f"""ssl_enable=YES
implicit_ssl={"YES" if self.tls == "implicit" else "NO"}
require_ssl_reuse=YES
rsa_cert_file={place.keys}/certificate.pem
rsa_private_key_file={place.keys}/key.pem
ssl_ciphers=HIGH
"""
        return [place.debian(self.package, "usr/sbin/vsftpd"), place.write("vsftpd.conf", lines)]


class Proftpd(Debian):
    package = "proftpd-core"
    more = ""

    def command(self, place: Place) -> list:
        modules = place.directory / "modules"
        modules.mkdir(exist_ok=True)
        for package in ("proftpd-core", "proftpd-mod-crypto"):
            for module in place.debian(package, "usr/lib/proftpd").iterdir():
                (modules / module.name).unlink(missing_ok=True)
                (modules / module.name).symlink_to(module)
        lines = f"""ServerType standalone
ServerName field
DefaultAddress 127.0.0.1
SocketBindTight on
Port {place.port}
UseIPv6 off
UseReverseDNS off
User nobody
Group nogroup
ModulePath {modules}
AuthOrder mod_auth_unix.c
RequireValidShell off
UseFtpUsers off
DefaultRoot ~
DelayEngine off
ScoreboardFile {place.directory}/scoreboard
PidFile {place.directory}/pid
SystemLog {place.directory}/server.log
TransferLog none
WtmpLog off
UseEncoding off
{self.more.format(place=place)}
"""
        return [place.debian(self.package, "usr/sbin/proftpd"), "--nodaemon", "--config", place.write("proftpd.conf", lines)]


PROFTPD_TLS = """LoadModule mod_tls.c
TLSEngine on
TLSRequired on
TLSECCertificateFile {place.keys}/certificate.pem
TLSECCertificateKeyFile {place.keys}/key.pem
TLSLog {place.directory}/server.log"""


class PureFtpd(Debian):
    package = "pure-ftpd"
    without = {("backslash", "GBK"): "a name with the byte of a backslash is refused: 553 Prohibited file name"}

    def command(self, place: Place) -> list:
        words = ["--tls", "3", "--certfile", place.keys / "both.pem"] if self.tls != "off" else []
        return [
            place.debian(self.package, "usr/sbin/pure-ftpd"), "--bind", f"127.0.0.1,{place.port}", "--login", "unix",
            "--noanonymous", "--chrooteveryone", "--dontresolve", "--ipv4only", "--pidfile", place.directory / "pid",
            "--limitrecursion", "100000:64", *words,
        ]


class Globus(Debian):
    package = "globus-gridftp-server-progs"
    as_user = True
    top = None
    without = {("Chinese", "four bytes", "GBK", "Latin-1"): "it cuts a path at the first byte beyond ASCII"}

    def account(self, place: Place) -> dict:
        return {"user": "anonymous"}

    def command(self, place: Place) -> list:
        return [
            place.debian(self.package, "usr/sbin/globus-gridftp-server"), "-port", place.port, "-aa", "-control-interface",
            "127.0.0.1", "-home-dir", "/", "-rp", place.tree, "-ipc-port", "0", "-debug",
        ]


class Own(Server):
    """Built by hand."""

    program = ""

    def version(self, place: Place) -> str:
        place.own(self.program)
        return "built by hand"


class Uftpd(Own):
    """It changes to another root, and stays root there."""

    program = "uftpd"
    locks = False

    def version(self, place: Place) -> str:
        return subprocess.run([place.own("uftpd"), "-v"], capture_output=True, text=True).stdout.splitlines()[0]

    def account(self, place: Place) -> dict:
        return {"user": "anonymous"}

    def command(self, place: Place) -> list:
        return [place.own("uftpd"), "-n", "-o", f"ftp={place.port},tftp=0", place.tree]


class LightFtp(Own):
    program = "lightftp"
    as_user = True

    def command(self, place: Place) -> list:
        account = self.account(place)
        lines = f"""[ftpconfig]
port={place.port}
maxusers=20
interface=127.0.0.1
local_mask=255.255.255.0
external_ip=127.0.0.1
minport=30000
maxport=40000
[{account["user"]}]
pswd={account["password"]}
accs=readonly
root={place.tree}
"""
        return [place.own("lightftp"), place.write("fftp.conf", lines)]


class Gone(Server):
    """One that is looked for by name and cannot be had, or not be used."""

    reason = ""

    def version(self, place: Place) -> str:
        raise Missing(self.reason)


class Busybox(Own):
    """Without passwords (as its FTPD is by default): everybody is root in the tree."""

    program = "busybox"
    locks = False
    without = {("Chinese", "four bytes", "GBK", "Latin-1"): "its ls writes question marks for what is beyond ASCII"}

    def version(self, place: Place) -> str:
        said = subprocess.run([place.own("busybox")], capture_output=True, text=True)
        return (said.stdout + said.stderr).partition("BusyBox ")[2].split()[0]

    def command(self, place: Place) -> list:
        return [sys.executable, place.program("inetd.py"), place.port, place.own("busybox"), "ftpd", place.tree]


DAEMONS = [
    Vsftpd("vsftpd"),
    Vsftpd("vsftpd FTPS", tls="explicit"),
    Vsftpd("vsftpd FTPS implicit", tls="implicit"),
    Proftpd("ProFTPD"),
    Proftpd("ProFTPD FTPS", tls="explicit", more=PROFTPD_TLS),
    PureFtpd("Pure-FTPd"),
    PureFtpd("Pure-FTPd FTPS", tls="explicit"),
    Inetd("inetutils ftpd", package="inetutils-ftpd", words=("usr/sbin/ftpd",)),
    Globus("Globus GridFTP"),
    Uftpd("uftpd"),
    LightFtp("LightFTP"),
    Busybox("busybox ftpd"),
]

GONE = [
    Gone("linux-ftpd-ssl", reason="Debian's 0.17.36 lets nobody in: its conversation with PAM, one question at a time, fails with today's modules"),
    Gone("bftpd", reason="in no registry"),
    Gone("tnftpd", reason="in no registry"),
    Gone("wu-ftpd", reason="in no registry"),
    Gone("rclone serve ftp", reason="Debian builds rclone without it"),
    Gone("FileZilla Server, Serv-U, IIS", reason="not free, or not for Linux, and in no registry"),
]
