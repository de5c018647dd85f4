"""What is computed of a chain of convolutions and linear layers under a mask, and where it lies."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sweepstake.engine.chains import Chain, Stage
from sweepstake.engine.kernels.connected import Connected, Placed, bias_of, live_biases, put_idle
from sweepstake.engine.kernels.conv.places import Survivors
from sweepstake.engine.kernels.conv.records import CONV, SIDE, ConvLayout, ConvRoom, Pictures
from sweepstake.engine.kernels.conv.sizes import KERNEL, LEARNT, POOLED, WIDTHS
from sweepstake.engine.kernels.conv.transforms import TILES
from sweepstake.engine.kernels.conv.winograd import ELEMENTS
from sweepstake.engine.kernels.pixels import Pixels
from sweepstake.engine.kernels.placing import Placing, aligned, up
from sweepstake.engine.kernels.records import LAYER, PANEL, Room
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.units import After, computed_units

DENSE_FROM = 0.5
"""Kept fraction of a convolution's computed block from which it is faster dense (docs/speed.md).

By kept fraction, never by timing, so that a cell takes the same path every time."""
LINEAR_DENSE_FROM = 0.55
"""The same of the linear layers behind them, which are larger than an MLP's."""


class ConvPlan:
    """What is computed of a chain under a mask, and where each survivor lies in the kernels' arrays.

    `act` holds the linear layers' activations, and behind them the inputs of all convolutions, each with its border of
    zeros. The last convolution writes where the first linear layer reads.
    """

    def __init__(self, net: Net, chain: Chain, w: Tensor, mask: Tensor, images: int, moves: bool):
        self.images, self.chain = images, chain
        stages, deep = chain.stages, len(chain.stages)
        units = _units(net, chain, w, mask, moves)
        area = 1 if chain.average else int(np.prod(stages[-1].pooled))
        self.inputs = (units[deep][:, None] * area + np.arange(area)).ravel()  # Of the first linear layer.
        self.connected = Connected(net, net.weights[deep:], [self.inputs, *units[deep + 1:]], mask, images,
                                   LINEAR_DENSE_FROM)
        self.strips = -(-images // SIDE)
        self.convs = np.zeros(deep, CONV)
        self.act_size = self.codes_size = self.maps_size = self.u_size = 0
        self.survivors = Survivors()
        live = [live_biases(net, slot, mask, some)
                for slot, some in zip(net.weights[:deep], units[1:deep + 1], strict=True)]
        self.bias_alive = np.concatenate(live)
        for n, stage in enumerate(stages):
            self._measure(self.convs[n], stage, len(units[n]), len(units[n + 1]))
            self._cut(self.convs[n], net, net.weights[n], mask, units[n], units[n + 1])
        placing = Placing(images)
        self.connected.put_stepped(placing)
        swept = placing.size
        self.connected.put_swept(placing)
        first = self._put(placing, net, units, live)
        if moves:
            put_idle(placing, mask)
        self.placed = Placed(placing)
        self.connected.finish(placing, swept, np.zeros(1, np.float32), np.zeros(0, np.float32))
        self._join(stages[-1])
        self.layout, self.conv_layout = self.connected.layout, self._layout(first)
        self.place = self._pixels(units[0], net.inputs)

    def _measure(self, conv: np.void, stage: Stage, inputs: int, units: int) -> None:
        """How large a convolution is, and where its input and the gradient of its sums lie."""
        height, width = stage.inputs
        conv["inputs"], conv["units"], conv["kernel"], conv["pool"] = inputs, units, stage.kernel, stage.pool
        conv["height"], conv["width"] = height, width
        conv["rows"], conv["columns"] = stage.computed
        conv["unit"] = sum(self.convs["units"]) - units
        border = stage.padding
        conv["x_row"], conv["x"] = (width + 2 * border) * SIDE, self.connected.act_size + self.act_size
        conv["x_channel"] = (height + 2 * border) * conv["x_row"]
        conv["x_inside"] = border * (conv["x_row"] + SIDE)
        conv["x_strip"] = inputs * conv["x_channel"]
        self.act_size += int(conv["x_strip"]) * self.strips
        border = stage.kernel - 1 - stage.padding  # So that the way back is a convolution of the turned weights.
        height, width = stage.outputs
        conv["d_row"], conv["d"] = (width + 2 * border) * SIDE, self.maps_size
        conv["d_channel"] = (height + 2 * border) * conv["d_row"]
        conv["d_inside"] = border * (conv["d_row"] + SIDE)
        self.maps_size += int(units * conv["d_channel"])
        if stage.pool:
            height, width = stage.pooled
            conv["codes_row"], conv["codes_channel"] = width * SIDE, height * width * SIDE
            conv["codes"], conv["codes_strip"] = self.codes_size, units * conv["codes_channel"]
            self.codes_size += int(conv["codes_strip"]) * self.strips

    def _cut(self, conv: np.void, net: Net, slot: Slot, mask: Tensor, inputs: np.ndarray, units: np.ndarray) -> None:
        """Into tiles, and its survivors dense or sparse."""
        columns = int(conv["columns"])
        self.survivors.add_tiles(conv, "tile", columns, POOLED if conv["pool"] else WIDTHS)
        self.survivors.add_tiles(conv, "back_tile", int(conv["width"]), WIDTHS)
        self.survivors.add_tiles(conv, "learn_tile", columns, LEARNT)
        side = np.arange(int(conv["kernel"]))
        block = np.ix_(units, inputs, side, side)
        alive, index = slot.of(mask).numpy()[block], slot.of(torch.arange(net.size, dtype=torch.int32)).numpy()[block]
        conv["dense"] = conv["kernel"] == KERNEL and alive.size > 0 and alive.mean() >= DENSE_FROM
        if conv["dense"]:
            self.survivors.put_dense(conv, alive, index)
            conv["even"] = conv["rows"] % 2 == 0 and columns % 2 == 0
            conv["back_even"] = conv["height"] % 2 == 0 and conv["width"] % 2 == 0
            conv["u"], self.u_size = self.u_size, self.u_size + ELEMENTS * len(units) * len(inputs)
        else:
            self.survivors.put_sparse(conv, alive, index)

    def _put(self, placing: Placing, net: Net, units: list[np.ndarray], live: list[np.ndarray]) -> int:
        """The parameters of the convolutions, behind what is put already; where the first survivor is."""
        survivors = self.survivors
        alive = survivors.alive.whole()
        first = placing.put(np.flatnonzero(alive), survivors.of.whole()[alive], survivors.count + SIDE)
        for n, conv in enumerate(self.convs):
            of = bias_of(net, net.weights[n]).start + units[n + 1][live[n]]
            conv["bias"] = placing.put(np.flatnonzero(live[n]), of, len(live[n]))
            conv["bias_sums"] = (survivors.count + int(conv["unit"])) * SIDE
        return first

    def _join(self, last: Stage) -> None:
        """Where each convolution's output lies: in the next one's input; the last one's in the first linear layer's."""
        for conv, following in pairwise(self.convs):
            conv["out"] = following["x"] + following["x_inside"]
            conv["out_strip"], conv["out_panel"] = following["x_strip"], PANEL // SIDE * following["x_strip"]
            conv["out_channel"], conv["out_row"], conv["out_column"] = following["x_channel"], following["x_row"], SIDE
        conv, linear, (height, width) = self.convs[-1], self.connected.layers[0], last.pooled
        wide = SIDE if self.chain.average else PANEL  # From position to position.
        conv["out"], conv["out_strip"], conv["out_panel"] = linear["x"], SIDE, linear["x_panel"]
        conv["out_channel"], conv["out_row"], conv["out_column"] = height * width * wide, width * wide, wide
        if self.chain.average:
            conv["averaged"] = height * width
            conv["mean"], conv["mean_strip"], conv["mean_panel"] = conv["out"], conv["out_strip"], conv["out_panel"]
            conv["mean_channel"] = PANEL
            conv["out"] = self.connected.act_size + self.act_size
            conv["out_strip"] = conv["units"] * conv["out_channel"]
            conv["out_panel"] = PANEL // SIDE * conv["out_strip"]
            self.act_size += int(conv["out_strip"]) * self.strips

    def _layout(self, first: int) -> ConvLayout:
        some = self.survivors
        return ConvLayout(self.convs, some.tiles.whole().reshape(-1, 2), some.starts.whole(), some.places.whole(),
                          some.turned_places.whole(), some.sources.whole(), some.alive.whole(), self.bias_alive, first)

    def _pixels(self, channels: np.ndarray, inputs: tuple[int, ...]) -> np.ndarray:
        """Of each pixel of an image, where it lies in the first convolution's input, or -1."""
        conv, (_, height, width) = self.convs[0], inputs
        place = np.full(inputs, -1)
        here = np.arange(len(channels))[:, None, None] * conv["x_channel"]
        place[channels] = conv["x_inside"] + here + np.arange(height)[:, None] * conv["x_row"] + np.arange(width) * SIDE
        size = place.size
        return np.pad(place.ravel(), (0, up(size, 16) - size), constant_values=-1).astype(np.int32)

    def room(self, learns: bool = True) -> tuple[ConvRoom, Room]:
        """What the kernels work in; to measure images takes less of it than to learn from them."""
        room = self.connected.room(learns, beside=self.act_size)
        room.gain[:] = 1  # Of the first linear layer's inputs, whose own gradient `carry` knows.
        survivors = self.survivors.count
        channels = int(max(self.convs["units"].max(), self.convs["inputs"].max()))
        kept = 2 * max(*WIDTHS, *POOLED) * channels * SIDE
        tiles = ELEMENTS * channels * TILES * SIDE if self.u_size else 0
        sizes = (self.maps_size, survivors, (survivors + len(self.bias_alive)) * SIDE)
        maps, turned, partial = (aligned(size if learns else 0) for size in sizes)
        codes = np.zeros(self.codes_size, np.uint8)
        transformed = np.zeros(len(self.convs), bool)
        return ConvRoom(codes, maps, turned, aligned(self.u_size), aligned(tiles), aligned(tiles), transformed,
                        aligned(kept), partial), room

    def pictures(self, pixels: Pixels, order: np.ndarray, shift: np.ndarray, unit: np.ndarray) -> Pictures:
        """A split's images in that order."""
        return Pictures(self.images, order, pixels.labels, pixels.levels, self.place, shift, unit,
                        np.zeros(SIDE, np.int64), np.zeros(16 * 64, np.uint8))

    def inputs_as_units(self) -> np.ndarray:
        """The first linear layer's inputs, as if they were a layer's units: dropout is told of such."""
        inputs, linear = np.zeros(1, LAYER), self.connected.layers[0]
        inputs["rows"], inputs["z"], inputs["z_panel"] = len(self.inputs), linear["x"], linear["x_panel"]
        inputs["width"] = self.connected.slots[0].shape[1]
        return inputs


def _units(net: Net, chain: Chain, w: Tensor, mask: Tensor, moves: bool) -> list[np.ndarray]:
    """The numbers of the input channels and units that are computed."""
    inputs = torch.ones(net.weights[0].shape[1], dtype=torch.bool)
    after = [After(relu=chain.slope == 0)] * len(net.weights)
    return [np.flatnonzero(each.numpy()) for each in computed_units(net, w, mask, after, inputs, moves)]
