"""What every server has to serve: one tree of odd names, empty directories, and files of all sizes."""

import hashlib
import io
import os
import random
import shutil
import threading
import time
import zipfile
from pathlib import Path

BIG = 200 << 20
SMALL = 300
SLOW = 6 << 20
SLOW_SECONDS = 6.0
BLOCK = 1 << 20

# What the row of a server calls it, and its bytes. Each is a file `/odd/{bytes}.zip` and a directory `/dirs/{bytes}/`.
ODD = {
    "plain": b"plain",
    "blank inside": b"a b  c",
    "blank in front": b" front",
    "blank at the end": b"end ",
    "brackets": b"[1]",
    "brackets behind": b"a[b-c]",
    "braces": b"{a,b}",
    "star": b"st*r",
    "question mark": b"wh?t",
    "dash in front": b"-la",
    "tilde": b"~x",
    "tilde alone": b"~",
    "Chinese": "北京_测量报告".encode(),
    "four bytes": "😀".encode(),
    "GBK": "基站誠".encode("gbk"),
    "Latin-1": "é".encode("latin-1"),
    "semicolon, equals": b"type=file;size=1; x",
    "200 bytes": b"n" * 196,
    "hash": b"#1",
    "per cent": b"%20",
    "quotes": b"q'\"q",
    "backslash": b"back\\slash",
    "dollar, ampersand": b"$HOME&a|b",
    "arrow": b"a -> b",
    "like a listing": b"-rw-r--r-- 1 ftp ftp 5 Jan 1 00:00 x",
    "number": b"213",
}
EMPTY = (b"/empty", b"/nest/a/b/c/empty", b"/nest/empty too", "/空".encode())
LOCKED = b"/locked"
SLOW_PATH = b"/slow/slow.zip"
BIG_PATH = b"/big/big.zip"
LATE = b"/nest/a/b/late.zip"
UPPER = b"/odd/UPPER.ZIP"


def archive(seed, size: int) -> bytes:
    """A zip of about this size with one stored entry."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as writer:
        # with one time, so that the same seed is the same file
        writer.writestr(zipfile.ZipInfo("report.xml"), random.Random(repr(seed)).randbytes(size))
    return out.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def big_archive(path: Path) -> str:
    """The 200 MB zip, made once for all servers; its digest."""
    if not path.exists():
        fresh = path.with_suffix(".new")
        block = random.Random(1).randbytes(BLOCK)
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as writer, writer.open("report.xml", "w") as entry:
            for number in range(BIG // BLOCK):
                entry.write(number.to_bytes(8, "big") + block[8:])
        fresh.chmod(0o644)
        fresh.rename(path)
    return digest_of(os.fsencode(path))


class World:
    """A tree below a directory, and what has to come of it: the digest of each file by its path in the tree.

    Names that the server cannot serve to anybody are left out, by what a row calls them.
    """

    def __init__(self, root: Path, big: Path, big_digest: str, left_out=()):
        self.root = os.fsencode(root)
        self.files: dict[bytes, str] = {}
        self.directories: set[bytes] = set()
        self.slow: threading.Thread | None = None
        root.mkdir(parents=True)
        self.odd = {key: name for key, name in ODD.items() if key not in left_out}
        for key, name in self.odd.items():
            self.put(b"/odd/" + name + b".zip", archive(("file", key), 700))
            self.put(b"/dirs/" + name + b"/in.zip", archive(("directory", key), 900))
        self.put(UPPER, archive("upper", 1000))
        for number in range(SMALL):
            self.put(b"/many/%d/TD-LTE_MRO_OMC_%05d.zip" % (number % 3, number), archive(number, 500 + number * 67))
        self.later = "/后来".encode() if "Chinese" in self.odd else b"/later"
        self.empty = [path for path in EMPTY if path.isascii() or "Chinese" in self.odd]
        for path in self.empty:
            self.make(path)
        self.put(b"/odd/readme.txt", b"not a zip", wanted=False)
        self.put(b"/odd/coming.zip.tmp", archive("tmp", 10), wanted=False)
        self.put(LOCKED + b"/in.zip", archive("locked", 1500), wanted=False)
        os.chmod(self.root + LOCKED, 0o711)
        self.make(b"/slow")
        self.make(b"/big")
        os.link(big, self.root + BIG_PATH)
        self.files[BIG_PATH] = big_digest

    def make(self, path: bytes):
        """A directory with all above it."""
        parts = path.strip(b"/").split(b"/")
        for length in range(1, len(parts) + 1):
            self.directories.add(b"/" + b"/".join(parts[:length]))
        os.makedirs(self.root + path, 0o755, exist_ok=True)

    def put(self, path: bytes, content: bytes, wanted: bool = True):
        """A file that appears whole."""
        self.make(os.path.dirname(path))
        with open(self.root + path + b".new", "wb") as file:
            file.write(content)
        os.chmod(self.root + path + b".new", 0o644)
        os.rename(self.root + path + b".new", self.root + path)
        if wanted:
            self.files[path] = digest(content)

    def begin_slow_upload(self):
        """A file that is written in pieces into its final name."""
        content = archive("slow", SLOW)
        self.files[SLOW_PATH] = digest(content)

        def write():
            pieces = 24
            step = len(content) // pieces + 1
            with open(self.root + SLOW_PATH, "wb", buffering=0) as file:
                os.chmod(self.root + SLOW_PATH, 0o644)
                for at in range(0, len(content), step):
                    file.write(content[at : at + step])
                    time.sleep(SLOW_SECONDS / pieces)

        self.slow = threading.Thread(target=write, daemon=True)
        self.slow.start()

    def add_after_restart(self):
        for number in range(3):
            self.put(b"/many/0/after_%d.zip" % number, archive(("after", number), 800))
        self.put(self.later + b"/new.zip", archive("after", 1100))

    def unlock(self):
        """The directory may be read; and files come late, into directories that were listed many times."""
        os.chmod(self.root + LOCKED, 0o755)
        self.files[LOCKED + b"/in.zip"] = digest(archive("locked", 1500))
        self.put(LATE, archive("late", 1200))

    def remove(self):
        if self.slow:
            self.slow.join()
        shutil.rmtree(self.root, ignore_errors=True)


def mirrored(path: bytes, encoding: str) -> bytes:
    """The path in the mirror of a path on the wire: decoded, and what cannot be decoded as %XX."""
    if encoding == "utf-8":
        return spelt(path)
    return b"/".join(spelt_from(part, encoding) for part in path.split(b"/"))


def spelt(part: bytes) -> bytes:
    text = part.decode("utf-8", "surrogateescape")
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text).encode()


def spelt_from(part: bytes, encoding: str) -> bytes:
    text = part.decode(encoding, "surrogateescape")
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text).encode()
