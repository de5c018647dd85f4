"""The report while its study runs: read from the store again and again, served to one machine's browsers."""

from sweepstake.read.watch.server import Server as Server
from sweepstake.read.watch.server import has_screen as has_screen
from sweepstake.read.watch.server import serve as serve
from sweepstake.read.watch.watched import Watched as Watched
