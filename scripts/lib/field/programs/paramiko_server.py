"""paramiko, with the little that a server for one tree needs."""

import json
import os
import socket
import sys
import threading

import paramiko

about = json.loads(sys.argv[1])
key = paramiko.Ed25519Key.from_private_key_file(f"{about['keys']}/host_ed25519")


class Door(paramiko.ServerInterface):
    def check_auth_password(self, username, password):
        right = (username, password) == (about["user"], about["password"])
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def get_allowed_auths(self, username):
        return "password"


class Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class Tree(paramiko.SFTPServerInterface):
    def real(self, path):
        return about["root"] + self.canonicalize(path)

    def tried(self, action):
        try:
            return action()
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def list_folder(self, path):
        def entries():
            found = []
            for name in os.listdir(self.real(path)):
                entry = paramiko.SFTPAttributes.from_stat(os.lstat(os.path.join(self.real(path), name)))
                entry.filename = name
                found.append(entry)
            return found

        return self.tried(entries)

    def stat(self, path):
        return self.tried(lambda: paramiko.SFTPAttributes.from_stat(os.stat(self.real(path))))

    def lstat(self, path):
        return self.tried(lambda: paramiko.SFTPAttributes.from_stat(os.lstat(self.real(path))))

    def open(self, path, flags, attr):
        def opened():
            handle = Handle(flags)
            handle.readfile = open(self.real(path), "rb")
            return handle

        return self.tried(opened)


def serve(connection):
    transport = paramiko.Transport(connection)
    transport.add_server_key(key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Tree)
    transport.start_server(server=Door())


server = socket.create_server(("127.0.0.1", about["port"]), backlog=64)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
