"""bfloat16 on one core: products of dense layers in the CPU's own tiles (AMX), the rest of a step in float32.

Weights, moments, biases, loss and optimiser are float32, as under autocast; each step ends with a new bfloat16 copy of
the weights. `bfloat16` says what a product may be rounded to, not that it must be: a round that keeps less than
HALF_FROM trains in the float32 kernels of `fast`, which are faster then, and nearer to the exact numbers. The kept
fraction decides, never a timing, so that a cell always takes the same path.
"""

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.compiled import KernelRound
from sweepstake.engine.fast import FastRound, FastTrainer
from sweepstake.engine.kernels.amx import multiply
from sweepstake.engine.kernels.bfloat16 import activate, gate, lay_out, output_layer, update
from sweepstake.engine.kernels.placing import aligned, up
from sweepstake.engine.train import Start

HALF_FROM = 0.5
"""Kept fraction of the weights from which dense bfloat16 is faster than sparse float32 (docs/speed.md)."""


class HalfRound(KernelRound):
    """A round in bfloat16, every layer dense. Activations lie unit by unit, the images of the batch side by side."""

    def __init__(self, trainer: "HalfTrainer", cell: Cell, start: Start, round_: int):
        super().__init__(trainer, cell, start, round_)
        net, images = trainer.net, cell.batch_size
        # Every slot from a cache line on.
        starts = np.cumsum([0, *(up(slot.size, 32) for slot in net.slots)])
        self.size = int(starts[-1])
        self.at = np.concatenate([begin + np.arange(slot.size) for begin, slot in zip(starts, net.slots, strict=False)])
        live = np.zeros(self.size, bool)
        live[self.at] = start.mask.numpy()
        self.live = np.packbits(live, bitorder="little").view(np.uint16)
        self.made = [self._gather(start.w), *(aligned(self.size if each else 0) for each in self.needed)]
        for made, moment in zip(self.made[1:], start.moments, strict=False):
            made[:] = self._gather(moment)
        inputs = trainer.module.sizes[0]
        # `multiply` reads whole tiles, so beyond its rows and columns; what it reads there must only exist.
        self.half, self.g = _halves(self.size + 32 * max(trainer.module.sizes)), _halves(self.size)
        _tensor(self.half)[:self.size].copy_(torch.from_numpy(self.made[0]))
        begin_of = {slot: int(begin) for slot, begin in zip(net.slots, starts, strict=False)}
        biases = [begin_of[net.bias_of(slot)] for slot in net.weights]  # pyright: ignore[reportArgumentType]
        widths = [slot.shape[0] for slot in net.weights]
        self.bias = [self.made[0][begin:begin + width] for begin, width in zip(biases, widths, strict=True)]
        self.bias_g = [self.g[begin:begin + width] for begin, width in zip(biases, widths, strict=True)]
        # Whole vectors of images: those beyond the batch are 0 and have no gradient.
        room = up(images, 64)
        self.by_input, self.by_image = _halves(up(inputs, 32) * room + 64), _halves(room * inputs + 64)
        levels = trainer.pixels[id(trainer.images.train)].levels
        self.batch = (levels, trainer.shift, trainer.unit, inputs, room, np.zeros(64, np.int64),
                      np.zeros(16 * 64, np.uint8), self.by_input, self.by_image)
        self.act, self.delta = ([_halves(up(width, 32) * room) for width in widths] for _ in range(2))
        self.gain = [aligned(width * room).reshape(width, room) for width in widths]
        weights, gradients = ([flat[begin_of[slot]:begin_of[slot] + slot.size] for slot in net.weights]
                              for flat in (self.half, self.g))
        tiles, block = trainer.tiles, aligned(1024)
        self.by_unit = by_unit = [_halves(up(width, 32) * room + 64) for width in widths]
        self.forward = [(self.half[begin_of[slot]:], slot.shape[1], x, room,
                         z, slot.shape[0], room, slot.shape[1], tiles, block)
                        for slot, x, z in zip(net.weights[:-1], [self.by_input, *by_unit], self.act, strict=False)]
        self.first_gradient = (self.delta[0], room, self.by_image, inputs,
                               gradients[0], widths[0], inputs, room, tiles, block)
        acts, deltas = ([_tensor(flat[:width * room]).view(width, room) for flat, width in zip(of, widths, strict=True)]
                        for of in (self.act, self.delta))
        inner = zip(net.weights[1:-1], weights[1:-1], gradients[1:-1], strict=True)
        self.products = [(_tensor(weight).view(slot.shape).t(), acts[n].t(), deltas[n], deltas[n + 1],
                          _tensor(g).view(slot.shape)) for n, (slot, weight, g) in enumerate(inner)]
        self.last = (weights[-1], self.bias[-1], self.act[-2], trainer.labels)
        self.last_gradients = (self.gain[-1], self.delta[-2], gradients[-1], self.bias_g[-1])
        dropout = trainer.module.dropout.p
        self.below = streams.dropout_below(dropout)
        unused = np.zeros(trainer.steps * len(widths), np.uint64)
        self.keys = self.dropout_keys(len(widths) - 1) if dropout else unused
        self.chosen, self.how, self.pace = self.order(), self.rule(), self.paces()

    def steps(self, first: int, last: int) -> float:
        trainer, hidden, loss = self.trainer, len(self.bias) - 1, 0.0
        for step in range(first, last):
            chosen = self.chosen[step]
            lay_out(chosen, self.chosen[step + 1] if step + 1 < last else chosen[:0], *self.batch)
            for n in range(hidden):
                multiply(*self.forward[n])
                key = self.keys[step * hidden + n]
                activate(self.act[n], self.gain[n], self.bias[n], trainer.slope, key, self.below, self.by_unit[n])
            loss += output_layer(*self.last, chosen, *self.last_gradients)
            for n in range(hidden - 1, -1, -1):
                gate(self.delta[n], self.gain[n], self.bias_g[n])
                if n:
                    turned, x, back, delta, gradient = self.products[n - 1]
                    torch.mm(delta, x, out=gradient)
                    torch.mm(turned, delta, out=back)
            multiply(*self.first_gradient)
            update(*self.made, self.half, self.g, self.live, self.how, self.pace, step)
        return loss

    def w(self, seat: int = 0) -> Tensor:
        return self.flat(self.made[0])

    def flat(self, made: np.ndarray) -> Tensor:
        return torch.from_numpy(made[self.at])

    def _gather(self, flat: Tensor) -> np.ndarray:
        """The survivors of a flat vector where the kernels have them; 0 elsewhere."""
        made = aligned(self.size)
        made[self.at] = (flat * self.start.mask).numpy()
        return made


class HalfTrainer(FastTrainer):
    """Trains MLPs with a hidden layer in bfloat16, and measures them in float32, as the reference trainer does."""

    name = "half"

    def __init__(self, *given):
        super().__init__(*given)
        self.labels = self.pixels[id(self.images.train)].labels
        self.tiles = np.zeros(64, np.uint8)
        # Palette 1; eight tiles of 16 rows of 64 bytes.
        self.tiles[0], self.tiles[16:32:2], self.tiles[48:56] = 1, 64, 16

    def round_of(self, cell: Cell, start: Start, round_: int) -> KernelRound:
        kept = np.concatenate([slot.of(start.mask).numpy().ravel() for slot in self.net.weights]).mean()
        return (HalfRound if kept >= HALF_FROM else FastRound)(self, cell, start, round_)


def _halves(size: int) -> np.ndarray:
    """bfloat16 zeros from a 64-byte boundary, as the bits that they are."""
    return aligned(up(size, 2) // 2).view(np.uint16)[:size]


def _tensor(halves: np.ndarray) -> Tensor:
    return torch.from_numpy(halves).view(torch.bfloat16)
