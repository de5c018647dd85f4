"""What is computed of an MLP under a mask, and where it lies."""

import numpy as np
import torch
from torch import Tensor, nn

from sweepstake.engine.kernels.connected import Connected, Placed, put_idle
from sweepstake.engine.kernels.kinds import DENSE
from sweepstake.engine.kernels.pixels import Dark, Pixels, Still
from sweepstake.engine.kernels.placing import Placing, padded, up
from sweepstake.engine.kernels.records import PANEL, ROWS, Batches, Room
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.units import After, computed_units

DENSE_FROM = 0.45
"""Kept fraction of a layer's computed block from which dense tiles are faster than sparse rows (docs/speed-log.md).

By kept fraction, never by timing, so that a cell takes the same path every time.
"""


class Plan:
    """What is computed of a network under a mask, and where each survivor lies in the kernels' arrays.

    `placed` says which parameter of the network each of the kernels' is; `flat[pooled_of]` move by `w[pooled_at]`.
    Layers whose weights are stepped as their gradients are made come first; behind them parameters are stepped in one
    sweep: other layers' weights, biases, and what has no gradient.
    """

    def __init__(self, net: Net, w: Tensor, mask: Tensor, images: int, still: Still, dark: Dark, moves: bool):
        units = units_placed(net, w, mask, still, moves)
        units[0] = dark.order[np.isin(dark.order, units[0])]
        self.inputs, self.images = units[0], images
        self.place = np.full(up(net.weights[0].shape[1], 16), -1, np.int32)  # (pixels, filled up)
        self.place[units[0]] = np.arange(len(units[0]))
        self.connected = Connected(net, net.weights, units, mask, images, DENSE_FROM, as_levels=dark.plain)
        placing = Placing(images)
        self.connected.put_stepped(placing)
        swept = placing.size
        self.connected.put_swept(placing)
        self._pool(placing, net.weights[0], w, mask, units[1], still)
        if moves:
            put_idle(placing, mask)
        self.placed = Placed(placing)
        self.connected.finish(placing, swept, self.still, dark.value[units[0]])
        self.layout, self.layers = self.connected.layout, self.connected.layers

    def _pool(self, placing: Placing, slot: Slot, w: Tensor, mask: Tensor, units: np.ndarray, still: Still) -> None:
        """A row's weights of pooled inputs add value * (their sum at the start + their number * drift) to its unit."""
        pooled = slot.of(mask).numpy()[units] & still.pooled  # (rows, pixels)
        rows, columns = pooled.nonzero()
        nothing = np.zeros(0, np.int64)
        self.still, self.pooled_of, self.pooled_at = np.zeros(1, np.float32), nothing, nothing
        if len(rows):
            first = self.connected.layers[0]
            height = int(first["row_tiles"]) * ROWS
            self.still = np.zeros(2 * height + 1, np.float32)
            self.still[:2 * len(units):2] = still.value * (slot.of(w).numpy()[units] * pooled).sum(1, dtype=np.float64)
            self.still[1:2 * len(units):2], self.still[-1] = still.value * pooled.sum(1), still.value
            first["drift"] = drift = placing.put(nothing, nothing, height)
            self.pooled_of, self.pooled_at = slot.start + units[rows] * slot.shape[1] + columns, drift + rows

    def room(self, learns: bool = True) -> Room:
        """What the kernels work in."""
        return self.connected.room(learns)

    def batches(self, pixels: Pixels, order: np.ndarray, dark: Dark, shift: np.ndarray, unit: np.ndarray) -> Batches:
        """A split's images in that order; a dense first layer is given x - dark."""
        shift = padded(dark.level) if self.layers[0]["kind"] == DENSE else shift
        return Batches(self.images, order, pixels.labels, pixels.levels, self.place, shift, unit,
                       np.zeros(PANEL, np.int64), np.zeros(16 * PANEL, np.uint8))

    def gather(self, flat: Tensor) -> np.ndarray:
        """(the network's size) -> (size), in the kernels' order."""
        return self.placed.gather(flat)

    def scatter(self, made: np.ndarray, flat: Tensor, pooled: Tensor) -> Tensor:
        """A copy of `flat` with what was computed put back; `pooled` is where the pooled weights began."""
        out = self.placed.scatter(made, flat)
        out.numpy()[self.pooled_of] = pooled.numpy()[self.pooled_of] + made[self.pooled_at]
        return out


def units_placed(net: Net, w: Tensor, mask: Tensor, still: Still, moves: bool) -> list[np.ndarray]:
    """The numbers of the inputs and units that are computed. What still inputs feed in is added once, by `_pool`."""
    after = [After(isinstance(net.module.activation, nn.ReLU))] * len(net.weights)
    units = computed_units(net, w, mask, after, torch.from_numpy(~still.silent), moves)
    units[0] &= torch.from_numpy(~still.pooled)
    return [np.flatnonzero(each.numpy()) for each in units]
