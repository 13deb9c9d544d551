"""FTP servers made of a library of PyPI or npm and a small program beside this one."""

import json
import subprocess

from .server import PASSWORD, USER, Place, Server

NOT_UTF_8 = {("GBK", "Latin-1"): "its names are UTF-8, others it lists wrong and refuses"}


class Library(Server):
    """A program that is told everything as one JSON argument."""

    package = ""
    program = ""
    options: dict = {}
    as_user = True

    def about(self, place: Place) -> str:
        return json.dumps({
            "port": place.port, "root": str(place.tree), "user": USER, "password": PASSWORD, "keys": str(place.keys),
            "tls": self.tls, "encoding": self.encoding, **self.options,
        })


class Python(Library):
    """A library of PyPI."""

    def version(self, place: Place) -> str:
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return subprocess.check_output([place.python(self.package), "-c", code], text=True).strip()

    def command(self, place: Place) -> list:
        return [place.python(self.package), place.program(self.program), self.about(place)]


class Node(Library):
    """A module of npm."""

    def version(self, place: Place) -> str:
        return json.loads((place.node_module(self.package) / "package.json").read_text())["version"]

    def command(self, place: Place) -> list:
        return ["node", place.program(self.program), self.about(place)]

    def environment(self, place: Place) -> dict:
        return {"NODE_PATH": str(place.node_module(self.package).parent)}


class Pyftpdlib(Python):
    package = "pyftpdlib"
    program = "pyftpdlib_server.py"
    without = NOT_UTF_8


class PyftpdlibGbk(Pyftpdlib):
    """Its names are UTF-8 on the disk and GBK on the wire."""

    encoding = "gbk"
    without = NOT_UTF_8 | {("four bytes",): "there is none in GBK"}

    def on_the_wire(self, name: bytes) -> bytes:
        return name.decode().encode("gbk")


class PyftpdlibDebian(Pyftpdlib):
    """An older one, on the system's Python."""

    def version(self, place: Place) -> str:
        return place.debian("python3-pyftpdlib", "version").read_text().strip()

    def command(self, place: Place) -> list:
        return ["/usr/bin/python3", place.program(self.program), self.about(place)]

    def environment(self, place: Place) -> dict:
        return {"PYTHONPATH": str(place.debian("python3-pyftpdlib", "usr/lib/python3/dist-packages"))}


LIBRARIES = [
    Pyftpdlib("pyftpdlib"),
    Pyftpdlib("pyftpdlib without MLSD", options={"without": ["MLSD", "MLST"]}),
    Pyftpdlib("pyftpdlib FTPS", tls="explicit"),
    Pyftpdlib("pyftpdlib unchrooted", top=None, options={"unix": True}),
    PyftpdlibGbk("pyftpdlib GBK"),
    PyftpdlibDebian("pyftpdlib of Debian"),
    Python("aioftp", package="aioftp", program="aioftp_server.py",
           without=NOT_UTF_8 | {("blank at the end",): "it cuts blanks at the end of a path"},
           known={"locked": "it shows a directory that it cannot read as an empty one, with success"}),
    Python("Twisted FTP", package="Twisted", program="twisted_server.py",
           without={("Chinese", "four bytes", "GBK", "Latin-1"): "it reads what is sent to it as Latin-1, and finds no name beyond ASCII"}),
    Node("ftp-srv", package="ftp-srv", program="ftp_srv.js",
         without=NOT_UTF_8 | {("quotes", "backslash"): "it takes quotes out of a path and backslashes for slashes"}),
    Node("simple-ftpd", package="simple-ftpd", program="simple_ftpd.js",
         without=NOT_UTF_8 | {("blank inside", "blank at the end"): "it makes one blank of many, and cuts them at the end of a path"}),
    Node("ftpd of npm", package="ftpd", program="ftpd.js",
         without=NOT_UTF_8 | {("blank at the end", "star"): "it cuts blanks at the end of a path, and takes a star for a pattern"}),
]
