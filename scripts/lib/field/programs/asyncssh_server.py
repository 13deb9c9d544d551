"""AsyncSSH, as its manual starts an SFTP server for one tree."""

import asyncio
import json
import sys

import asyncssh

about = json.loads(sys.argv[1])


class Server(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == (about["user"], about["password"])


async def main():
    await asyncssh.create_server(
        Server, "127.0.0.1", about["port"], server_host_keys=[f"{about['keys']}/host_ed25519"],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=about["root"].encode()),
    )
    await asyncio.Event().wait()


asyncio.run(main())
