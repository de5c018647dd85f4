"""Biases, and still inputs: all weights of a unit's pooled inputs share one gradient, so they move by one `drift`."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import total
from sweepstake.engine.kernels.memory import load
from sweepstake.engine.kernels.records import PANEL, ROWS


@inner
def offset(layer, w, still, r):
    """b[r], and what the still inputs add to it: still = (value * sum of their weights, value * their number) a row."""
    if layer.drift < 0:
        return w[layer.bias + r]
    return w[layer.bias + r] + still[2 * r] + still[2 * r + 1] * w[layer.drift + r]


@inner
def bias_gradient(layer, panels, layout, delta, g):
    """g of b[r] = sum over images of d[r]; and of the still inputs' drift, the same times their value."""
    for r in range(layer.rows):
        sum_ = load(delta, layer.z + r * PANEL, 64)
        for panel in range(1, panels):
            sum_ = sum_ + load(delta, layer.z + panel * layer.z_panel + r * PANEL, 64)
        slope = total(sum_)  # (64 images,) -> a number
        g[layer.bias + r] = layout.bias_alive[layer.unit + r] * slope
        if layer.drift >= 0:
            g[layer.drift + r] = layout.still[2 * layer.row_tiles * ROWS] * slope
