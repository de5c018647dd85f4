"""What survives in the cells of a study: each analysis of `tickets.analysis` over all of them, with its figure."""

from sweepstake.read.survivors.analysis import Analysis as Analysis
from sweepstake.read.survivors.asked import by_name as by_name
from sweepstake.read.survivors.connectivity import connectivity as connectivity
from sweepstake.read.survivors.overlap import overlap as overlap
from sweepstake.read.survivors.pixels import surviving_pixels as surviving_pixels
from sweepstake.read.survivors.signs import sign_agreement as sign_agreement
