"""Linear layers, one behind the other: what is computed of each under a mask, and where it lies."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sweepstake.engine.kernels.kinds import DENSE, KINDS, SPARSE
from sweepstake.engine.kernels.placing import Placing, aligned, up
from sweepstake.engine.kernels.records import ACROSS, COLUMNS, LAYER, PANEL, ROWS, TALL, TILE, Layout, Room, State
from sweepstake.engine.network import Net, Slot


class Connected:
    """The layers' records and survivors. `units`: the numbers of the first layer's inputs, then of each one's units.

    `act_size` is the room of their activations: the first layer's inputs, then each layer's units.
    """

    def __init__(self, net: Net, slots: list[Slot], units: list[np.ndarray], mask: Tensor, images: int,
                 dense_from: float, as_levels: bool = False):
        self.slots, self.units, self.images = slots, units, images
        self.net, self.mask = net, mask.numpy()
        self.layers = np.zeros(len(slots), LAYER)
        order = torch.arange(net.size, dtype=torch.int32)
        # (rows, columns) a layer: what lives, and which parameter of the network each is.
        blocks = [np.ix_(units[n + 1], units[n]) for n in range(len(slots))]
        self.alive = [slot.of(mask).numpy()[block] for slot, block in zip(slots, blocks, strict=True)]
        self.index = [slot.of(order).numpy()[block] for slot, block in zip(slots, blocks, strict=True)]
        self.live_biases = [live_biases(net, slot, mask, rows) for slot, rows in zip(slots, units[1:], strict=True)]
        self._measure(dense_from, as_levels)

    def _measure(self, dense_from: float, as_levels: bool) -> None:
        """How large each layer is, which kind it is, and where its activations lie."""
        heights = [up(up(len(u), ROWS), 16) for u in self.units]  # Room for the rows of a last tile.
        rooms = np.cumsum([0, *(height * PANEL * -(-self.images // PANEL) for height in heights)])
        self.act_size = int(rooms[-1])
        for n, layer in enumerate(self.layers):
            alive = self.alive[n]
            layer["rows"], layer["columns"] = alive.shape
            layer["row_tiles"], layer["column_tiles"] = -(-alive.shape[0] // ROWS), -(-alive.shape[1] // COLUMNS)
            layer["x"], layer["x_panel"] = rooms[n], heights[n] * PANEL
            layer["z"], layer["z_panel"] = rooms[n + 1], heights[n + 1] * PANEL
            layer["unit"], layer["width"] = sum(map(len, self.units[1:n + 1])), self.slots[n].shape[0]
            kept = alive.mean() if alive.size else 0.0
            layer["kind"], layer["drift"] = DENSE if kept >= dense_from else SPARSE, -1
            layer["x_row"] = PANEL // 2 if as_levels and n == 0 else PANEL  # As levels, where its kind reads them.

    def put_stepped(self, placing: Placing) -> None:
        """The weights of layers that are stepped as their gradients are made."""
        for n, layer in enumerate(self.layers):
            if not KINDS[layer["kind"]].SWEPT:
                KINDS[layer["kind"]].place(placing, layer, self.alive[n], self.index[n])

    def put_swept(self, placing: Placing) -> None:
        """The other layers' weights, and all biases: stepped in one sweep."""
        for n, layer in enumerate(self.layers):
            if KINDS[layer["kind"]].SWEPT:
                KINDS[layer["kind"]].place(placing, layer, self.alive[n], self.index[n])
            live = self.live_biases[n]
            of = bias_of(self.net, self.slots[n]).start + self.units[n + 1][live]
            layer["bias"] = placing.put(np.flatnonzero(live), of, int(layer["row_tiles"]) * ROWS)

    def finish(self, placing: Placing, swept: int, still: np.ndarray, dark_value: np.ndarray) -> None:
        """The arrays whole, once everything is put: `layout`, and how much room the kernels need.

        dark_value: (columns of the first layer), or empty where its dark inputs are 0.
        """
        size = up(placing.size, 16)
        broadest = int(max(self.layers["column_tiles"])) * COLUMNS
        darks = aligned(2 * broadest)
        darks[:len(dark_value)] = dark_value
        self.layers["dark"] = broadest
        self.layers["dark"][0] = 0 if dark_value.any() else broadest
        self.groups = broadest // ACROSS
        self.lit_size = max(broadest, self.groups * self.images) + 1
        self.turned_size = placing.turned_size
        height = max(map(int, self.layers["z_panel"])) // PANEL
        self.back_size = (up(self.images, 16) + 1) * height if self.turned_size else 0
        bias_alive = np.concatenate(self.live_biases).astype(np.float32)
        self.layout = Layout(self.layers, np.concatenate(self.units[1:]), bias_alive, still, darks,
                             placing.bits.whole(), placing.starts.whole(), placing.places(size + 8),
                             placing.sources.whole(), placing.targets.whole(), swept)
        del self.alive, self.index  # As large as the network.

    def room(self, learns: bool, beside: int = 0) -> Room:
        """What the kernels work in; to measure images takes less of it than to learn from them.

        `act` has `beside` more places, behind the layers' own.
        """
        act, gain = aligned(self.act_size + beside), aligned(self.act_size)
        to_learn = (self.act_size, self.turned_size, self.back_size, TALL * TILE)
        delta, turned, back, tile_g = (aligned(size if learns else 0) for size in to_learn)
        lit, ends = np.zeros(self.lit_size, np.int32), np.zeros(self.groups, np.int64)
        return Room(act, gain, delta, turned, back, tile_g, lit, ends)


class Placed:
    """Which parameter of the network each of the kernels' is: `w[at]` is `flat[of]`."""

    def __init__(self, placing: Placing):
        self.size = up(placing.size, 16)
        self.at, self.of = placing.at.whole(), placing.of.whole()

    def gather(self, flat: Tensor) -> np.ndarray:
        """(the network's size) -> (size), in the kernels' order."""
        made = aligned(self.size)
        made[self.at] = flat.numpy()[self.of]
        return made

    def state(self, w: Tensor, moments: Sequence[Tensor], needed: Sequence[bool]) -> State:
        """Where a round begins; `needed`: whether the optimiser has a first moment, and a second."""
        first, second = (aligned(self.size if each else 0) for each in needed)
        for made, moment in zip((first, second), moments, strict=False):
            made[self.at] = moment.numpy()[self.of]
        return State(self.gather(w), first, second, aligned(self.size + 8))

    def scatter(self, made: np.ndarray, flat: Tensor) -> Tensor:
        """A copy of `flat` with what was computed put back."""
        out = flat.clone()
        out.numpy()[self.of] = made[self.at]
        return out


def put_idle(placing: Placing, mask: Tensor) -> None:
    """Live parameters that nothing computes: decay and moments still move them."""
    idle = mask.numpy().copy()
    idle[placing.of.whole()] = False
    placing.put(np.arange(idle.sum()), np.flatnonzero(idle), int(idle.sum()))


def bias_of(net: Net, weight: Slot) -> Slot:
    """A layer's bias: every layer of these kernels has one."""
    bias = net.bias_of(weight)
    assert bias is not None, "layers of these kernels have biases"
    return bias


def live_biases(net: Net, weight: Slot, mask: Tensor, units: np.ndarray) -> np.ndarray:
    """bool (units): which of these units' biases live."""
    return bias_of(net, weight).of(mask).numpy()[units]
