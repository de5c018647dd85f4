"""What is computed of a network under a mask, and where it lies."""

import numpy as np
import torch
from torch import Tensor, nn

from sweepstake.engine.kernels.kinds import DENSE, KINDS, SPARSE
from sweepstake.engine.kernels.pixels import Dark, Pixels, Still
from sweepstake.engine.kernels.placing import Placing, aligned, padded, up
from sweepstake.engine.kernels.records import ACROSS, COLUMNS, LAYER, PANEL, ROWS, TALL, TILE, Batches, Layout, Room
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.units import After, computed_units

DENSE_FROM = 0.45
"""Kept fraction of a layer's computed block from which dense tiles are faster than sparse rows (docs/speed-log.md).

By kept fraction, never by timing, so that a cell takes the same path every time.
"""


class Plan:
    """What is computed of a network under a mask, and where each survivor lies in the kernels' arrays.

    `w[at]` in the kernels' order is `flat[of]` in the network's; `flat[pooled_of]` move by `w[pooled_at]`. Layers whose
    weights are stepped as their gradients are made come first; from `swept` on parameters are stepped in one sweep:
    other layers' weights, biases, and what has no gradient.
    """

    def __init__(self, net: Net, w: Tensor, mask: Tensor, images: int, still: Still, dark: Dark, moves: bool):
        units = units_placed(net, w, mask, still, moves)
        units[0] = dark.order[np.isin(dark.order, units[0])]
        self.inputs, self.units, self.images = units[0], np.concatenate(units[1:]), images
        self.place = np.full(up(net.weights[0].shape[1], 16), -1, np.int32)  # (pixels, filled up)
        self.place[units[0]] = np.arange(len(units[0]))
        self.layers = np.zeros(len(net.weights), LAYER)
        # (rows, columns) a layer: what lives, and which parameter of the network each is.
        alive = [slot.of(mask).numpy()[np.ix_(units[n + 1], units[n])] for n, slot in enumerate(net.weights)]
        index = [slot.start + units[n + 1][:, None] * slot.shape[1] + units[n] for n, slot in enumerate(net.weights)]
        self._measure(net, units, alive, dark)
        placing = Placing(images)
        for n, layer in enumerate(self.layers):
            if not KINDS[layer["kind"]].SWEPT:
                KINDS[layer["kind"]].place(placing, layer, alive[n], index[n])
        self.swept = placing.size
        live_biases = []
        for n, layer in enumerate(self.layers):
            if KINDS[layer["kind"]].SWEPT:
                KINDS[layer["kind"]].place(placing, layer, alive[n], index[n])
            bias = _bias(net, net.weights[n])
            live_biases.append(bias.of(mask).numpy()[units[n + 1]])
            of = bias.start + units[n + 1][live_biases[-1]]
            layer["bias"] = placing.put(np.flatnonzero(live_biases[-1]), of, int(layer["row_tiles"]) * ROWS)
        self.bias_alive = np.concatenate(live_biases).astype(np.float32)
        self._pool(placing, net.weights[0], w, mask, units[1], still)
        if moves:
            idle = mask.numpy().copy()
            idle[placing.of.whole()] = False
            placing.put(np.arange(idle.sum()), np.flatnonzero(idle), int(idle.sum()))
        self._finish(placing, dark)

    def _measure(self, net: Net, units: list[np.ndarray], alive: list[np.ndarray], dark: Dark) -> None:
        """How large each layer is, which kind it is, and where its activations lie."""
        heights = [up(up(len(u), ROWS), 16) for u in units]  # Room for the rows of a last tile.
        rooms = np.cumsum([0, *(height * PANEL * -(-self.images // PANEL) for height in heights)])
        self.act_size = int(rooms[-1])
        for n, layer in enumerate(self.layers):
            layer["rows"], layer["columns"] = alive[n].shape
            layer["row_tiles"], layer["column_tiles"] = -(-len(units[n + 1]) // ROWS), -(-len(units[n]) // COLUMNS)
            layer["x"], layer["x_panel"] = rooms[n], heights[n] * PANEL
            layer["z"], layer["z_panel"] = rooms[n + 1], heights[n + 1] * PANEL
            layer["unit"], layer["width"] = sum(map(len, units[1:n + 1])), net.weights[n].shape[0]
            kept = alive[n].mean() if alive[n].size else 0.0
            layer["kind"], layer["drift"] = DENSE if kept >= DENSE_FROM else SPARSE, -1
            layer["x_row"] = PANEL // 2 if dark.plain and n == 0 else PANEL  # As levels, where its kind reads them.

    def _pool(self, placing: Placing, slot: Slot, w: Tensor, mask: Tensor, units: np.ndarray, still: Still) -> None:
        """A row's weights of pooled inputs add value * (their sum at the start + their number * drift) to its unit."""
        pooled = slot.of(mask).numpy()[units] & still.pooled  # (rows, pixels)
        rows, columns = pooled.nonzero()
        nothing = np.zeros(0, np.int64)
        self.still, self.pooled_of, self.pooled_at = np.zeros(1, np.float32), nothing, nothing
        if len(rows):
            height = int(self.layers[0]["row_tiles"]) * ROWS
            self.still = np.zeros(2 * height + 1, np.float32)
            self.still[:2 * len(units):2] = still.value * (slot.of(w).numpy()[units] * pooled).sum(1, dtype=np.float64)
            self.still[1:2 * len(units):2], self.still[-1] = still.value * pooled.sum(1), still.value
            self.layers[0]["drift"] = drift = placing.put(nothing, nothing, height)
            self.pooled_of, self.pooled_at = slot.start + units[rows] * slot.shape[1] + columns, drift + rows

    def _finish(self, placing: Placing, dark: Dark) -> None:
        """The arrays whole: what the kernels read, and how much room they need."""
        self.size = up(placing.size, 16)
        self.at, self.of = placing.at.whole(), placing.of.whole()
        broadest, value = int(max(self.layers["column_tiles"])) * COLUMNS, dark.value[self.inputs]
        self.darks = aligned(2 * broadest)
        self.darks[:len(value)] = value
        self.layers["dark"] = broadest
        self.layers["dark"][0] = 0 if value.any() else broadest
        self.groups = broadest // ACROSS
        self.lit_size = max(broadest, self.groups * self.images) + 1
        self.turned_size = placing.turned_size
        height = max(map(int, self.layers["z_panel"])) // PANEL
        self.back_size = (up(self.images, 16) + 1) * height if self.turned_size else 0
        self.layout = Layout(self.layers, self.units, self.bias_alive, self.still, self.darks, placing.bits.whole(),
                             placing.starts.whole(), placing.places(self.size + 8), placing.sources.whole(),
                             placing.targets.whole(), self.swept)

    def room(self, learns: bool = True) -> Room:
        """What the kernels work in; to measure images takes less of it than to learn from them."""
        act, gain = aligned(self.act_size), aligned(self.act_size)
        to_learn = (self.act_size, self.turned_size, self.back_size, TALL * TILE)
        delta, turned, back, tile_g = (aligned(size if learns else 0) for size in to_learn)
        lit, ends = np.zeros(self.lit_size, np.int32), np.zeros(self.groups, np.int64)
        return Room(act, gain, delta, turned, back, tile_g, lit, ends)

    def batches(self, pixels: Pixels, order: np.ndarray, dark: Dark, shift: np.ndarray, unit: np.ndarray) -> Batches:
        """A split's images in that order; a dense first layer is given x - dark."""
        shift = padded(dark.level) if self.layers[0]["kind"] == DENSE else shift
        return Batches(self.images, order, pixels.labels, pixels.levels, self.place, shift, unit,
                       np.zeros(PANEL, np.int64), np.zeros(16 * PANEL, np.uint8))

    def gather(self, flat: Tensor) -> np.ndarray:
        """(the network's size) -> (size), in the kernels' order."""
        made = aligned(self.size)
        made[self.at] = flat.numpy()[self.of]
        return made

    def scatter(self, made: np.ndarray, flat: Tensor, pooled: Tensor) -> Tensor:
        """A copy of `flat` with what was computed put back; `pooled` is where the pooled weights began."""
        out = flat.clone()
        out.numpy()[self.of] = made[self.at]
        out.numpy()[self.pooled_of] = pooled.numpy()[self.pooled_of] + made[self.pooled_at]
        return out


def units_placed(net: Net, w: Tensor, mask: Tensor, still: Still, moves: bool) -> list[np.ndarray]:
    """The numbers of the inputs and units that are computed. What still inputs feed in is added once, by `_pool`."""
    after = [After(isinstance(net.module.activation, nn.ReLU))] * len(net.weights)
    units = computed_units(net, w, mask, after, torch.from_numpy(~still.silent), moves)
    units[0] &= torch.from_numpy(~still.pooled)
    return [np.flatnonzero(each.numpy()) for each in units]


def _bias(net: Net, weight: Slot) -> Slot:
    bias = net.bias_of(weight)
    assert bias is not None, "an MLP's layers have biases"
    return bias
