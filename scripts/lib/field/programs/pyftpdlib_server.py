"""pyftpdlib, with the commands that are to be missing taken away."""

import json
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.filesystems import AbstractedFS, UnixFilesystem
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

about = json.loads(sys.argv[1])
base = FTPHandler
if about["tls"] != "off":
    from pyftpdlib.handlers import TLS_FTPHandler as base


class Handler(base):
    proto_cmds = {key: value for key, value in base.proto_cmds.items() if key not in about.get("without", [])}
    encoding = about["encoding"]
    authorizer = DummyAuthorizer()
    abstracted_fs = UnixFilesystem if about.get("unix") else AbstractedFS


if about["tls"] != "off":
    Handler.certfile = f"{about['keys']}/both.pem"
    Handler.tls_control_required = Handler.tls_data_required = True
home = "/" if about.get("unix") else about["root"]
Handler.authorizer.add_user(about["user"], about["password"], home)
FTPServer(("127.0.0.1", about["port"]), Handler).serve_forever()
