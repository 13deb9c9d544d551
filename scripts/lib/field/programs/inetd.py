"""Serves each connection by a program of its own that has it for its standard input and output, as inetd does.

Unlike there, what it says on standard error does not go to the client.
"""

import os
import signal
import socket
import sys

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
port, *command = sys.argv[1:]
server = socket.create_server(("127.0.0.1", int(port)), backlog=64)
while True:
    connection, _ = server.accept()
    if os.fork() == 0:
        # else its own children are never waited for
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in range(2):
            os.dup2(connection.fileno(), number)
        os.closerange(3, 256)
        os.execv(command[0], command)
    connection.close()
