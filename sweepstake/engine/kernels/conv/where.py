"""Where things of a convolution lie: in `act` its input and output, in `codes` how its outputs were pooled."""

# pyright: basic, reportCallIssue=false

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.conv.records import SIDE


@inner
def input_at(conv, strip, row, column):
    """The first channel's, from the border's corner: where the output of that row and column begins to read."""
    return conv.x + strip * conv.x_strip + row * conv.x_row + column * SIDE


@inner
def output_at(conv, strip, row, column):
    """The first unit's, pooled. Four strips are a panel of the linear layers behind the last convolution."""
    at = conv.out + strip // 4 * conv.out_panel + strip % 4 * conv.out_strip
    return at + row * conv.out_row + column * conv.out_column


@inner
def code_at(conv, strip, row, column):
    return conv.codes + strip * conv.codes_strip + row * conv.codes_row + column * SIDE


@inner
def mean_at(conv, strip, unit):
    """Where the average of a unit's output lies: in `act`, and its gradient in `delta`."""
    return conv.mean + strip // 4 * conv.mean_panel + strip % 4 * conv.mean_strip + unit * conv.mean_channel
