"""The plain program: what somebody would write who follows the requirement word by word.

One thread and one connection a server. For each new zip: fetch, write, fsync the file and its directory, one commit,
one HTTP call. One scan, then it ends. Run as `python3 -m bench.plain CONFIGURATION.json`.
"""

import ftplib
import json
import os
import sqlite3
import sys
import threading
import urllib.parse
import urllib.request


def dbconnect(name):
    connection = sqlite3.connect(name, timeout=60)
    connection.execute("CREATE TABLE IF NOT EXISTS downloads (server TEXT, path TEXT, PRIMARY KEY (server, path))")
    return connection


def is_recorded(connection, server, path):
    found = connection.execute("SELECT 1 FROM downloads WHERE server = ? AND path = ?", (server, path))
    return found.fetchone() is not None


def downloadrecord(connection, server, path):
    connection.execute("INSERT OR IGNORE INTO downloads VALUES (?, ?)", (server, path))
    connection.commit()


def ftpconnect(address, user, password):
    ftp = ftplib.FTP(address, timeout=30)
    ftp.login(user, password)
    return ftp


def ftplist(ftp, directory):
    """The names of the directories and of the files of a directory."""
    directories, files = [], []

    def line(text):
        name = text.split(maxsplit=8)[8]
        (directories if text.startswith("d") else files).append(f"{directory.rstrip('/')}/{name}")

    ftp.dir(directory, line)
    return directories, files


def ftpdownload(ftp, path):
    content = bytearray()
    ftp.retrbinary(f"RETR {path}", content.extend)
    return content


def localstore(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".part", path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def notify(url, path):
    urllib.request.urlopen(f"{url}?file={urllib.parse.quote(path, safe='')}", timeout=10).read()


def scan(configuration, server):
    connection = dbconnect(configuration["database"])
    ftp = ftpconnect(server["address"], configuration["user"], configuration["password"])
    waiting = ["/"]
    while waiting:
        directories, files = ftplist(ftp, waiting.pop())
        waiting += directories
        for path in files:
            if not path.lower().endswith(".zip") or is_recorded(connection, server["name"], path):
                continue
            local = f"/{server['name']}{path}"
            localstore(configuration["root"] + local, ftpdownload(ftp, path))
            downloadrecord(connection, server["name"], path)
            notify(configuration["url"], local)
    ftp.quit()


def main():
    with open(sys.argv[1]) as file:
        configuration = json.load(file)
    failed = []

    def guarded(server):
        try:
            scan(configuration, server)
        except Exception as fault:
            failed.append(f"{server['name']}: {fault!r}")

    dbconnect(configuration["database"]).close()
    threads = [threading.Thread(target=guarded, args=(server,)) for server in configuration["servers"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
