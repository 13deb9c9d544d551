"""All servers, in the order of the table."""

from .daemons import DAEMONS, GONE
from .libraries import LIBRARIES
from .ssh import SSH

ENTRIES = [*DAEMONS, *LIBRARIES, *SSH, *GONE]
