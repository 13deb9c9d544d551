"""The FTP server of Twisted; everybody who knows the password sees the one tree."""

import json
import sys

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet import defer, reactor
from twisted.protocols.ftp import FTPFactory, FTPRealm
from twisted.python.filepath import FilePath
from zope.interface import implementer

about = json.loads(sys.argv[1])


class Realm(FTPRealm):
    def getHomeDirectory(self, avatar):
        return FilePath(about["root"])


@implementer(ICredentialsChecker)
class Checker:
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials):
        right = (credentials.username, credentials.password) == (about["user"], about["password"])
        return defer.succeed(about["user"].encode()) if right else defer.fail(UnauthorizedLogin())


portal = Portal(Realm(about["root"]), [Checker()])
reactor.listenTCP(about["port"], FTPFactory(portal), interface="127.0.0.1")
reactor.run()
