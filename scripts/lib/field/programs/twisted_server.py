"""The FTP server of Twisted; everybody who knows the password sees the one tree."""

import json
import sys

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.protocols.ftp import FTPFactory, FTPRealm
from twisted.python.filepath import FilePath

about = json.loads(sys.argv[1])


class Realm(FTPRealm):
    def getHomeDirectory(self, avatar):
        return FilePath(about["root"])


checker = InMemoryUsernamePasswordDatabaseDontUse(**{about["user"]: about["password"].encode()})
portal = Portal(Realm(about["root"]), [checker])
reactor.listenTCP(about["port"], FTPFactory(portal), interface="127.0.0.1")
reactor.run()
