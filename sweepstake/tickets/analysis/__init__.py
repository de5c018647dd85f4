"""What survives a pruning, told of tickets: weights that two share, pixels that are read, signs, lines between two."""

from sweepstake.tickets.analysis.connectivity import barrier as barrier
from sweepstake.tickets.analysis.connectivity import between as between
from sweepstake.tickets.analysis.connectivity import errors_along as errors_along
from sweepstake.tickets.analysis.overlap import overlap as overlap
from sweepstake.tickets.analysis.pixels import surviving_pixels as surviving_pixels
from sweepstake.tickets.analysis.signs import common_signs as common_signs
from sweepstake.tickets.analysis.signs import kept_signs as kept_signs
