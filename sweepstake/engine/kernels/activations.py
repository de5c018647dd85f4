"""ReLU, leaky ReLU and dropout."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

import numpy as np

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import at_least, fill, where_positive
from sweepstake.engine.kernels.memory import load, store
from sweepstake.engine.kernels.records import PANEL, f32, u32


@inner
def lowest(slope):
    """What z is at least taken for: a ReLU of minus infinity is 0, where 0 * infinity is not a number."""
    return f32(-np.inf) if slope else f32(-3.4e38)


@inner
def activate(layer, panel, slope, act, gain):
    """gain = 1 where z > 0, else slope; h = z * gain."""
    z, least = layer.z + panel * layer.z_panel, fill(lowest(slope), 64)
    for r in range(layer.rows):
        value = load(act, z + r * PANEL, 64)
        factor = where_positive(value, f32(1), slope)
        store(gain, z + r * PANEL, factor)
        store(act, z + r * PANEL, at_least(value, least) * factor)


@inner
def mixed(x):
    """A bijection of 32 bits with no pattern left (lowbias32, Wellons 2018)."""
    x = u32(x ^ (x >> u32(16)))
    x = u32(x * u32(0x7FEB352D))
    x = u32(x ^ (x >> u32(15)))
    x = u32(x * u32(0x846CA68B))
    return u32(x ^ (x >> u32(16)))


@inner
def drop(layer, panel, key, below, units, act, gain):
    """streams.dropout_keeps: image i keeps unit u where mixed(mixed((i * width + u) ^ low) + high) < below.

    What is kept is divided by 1 - p.
    """
    z = layer.z + panel * layer.z_panel
    low, high = u32(key & np.uint64(0xFFFFFFFF)), u32(key >> np.uint64(32))
    scale = f32(4294967296.0 / below)
    for r in range(layer.rows):
        for i in range(PANEL):
            index = u32((panel * PANEL + i) * layer.width + units[layer.unit + r])
            draw = mixed(u32(mixed(u32(index ^ low)) + high))
            factor = scale if draw < below else f32(0)
            gain[z + r * PANEL + i] *= factor
            act[z + r * PANEL + i] *= factor
