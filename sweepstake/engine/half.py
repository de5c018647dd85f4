"""bfloat16 on one core: products of dense layers in the CPU's own tiles (AMX), the rest of a step in float32.

Weights, moments, biases, loss and optimiser are float32, as under autocast; the weights' bfloat16 copy is made as each step ends.
`bfloat16` says what a product may be rounded to, not that it must be: a round with less than HALF_FROM kept trains in the float32
kernels of `fast`, which then are faster and nearer to the exact numbers. By kept fraction, never by timing: a cell's path is its own.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# (As in kernels.py: an intrinsic is written with its typing context and called without.)

import ctypes
import math
import sys
from functools import cache

import llvmlite.binding
import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.fast import FastTrainer, Run, _aligned, _up  # pyright: ignore[reportPrivateUsage]
from sweepstake.engine.kernels import (
    ADAM,
    MOMENTUM,
    SGD,
    Lanes,
    at_least,
    fetch,
    fill,
    fma,
    load,
    lowest,
    mixed,
    root,
    store,
    total,
    turn_bytes,
    where_alive,
    where_positive,
    widen,
)
from sweepstake.engine.train import Start, first_step, order_seed

HALF_FROM = 0.5
"""Kept fraction of the weights from which dense bfloat16 is faster than sparse float32 (docs/speed.md)."""

f32, u32, u64 = np.float32, np.uint32, np.uint64


@intrinsic(prefer_literal=True)
def load_half(typing, array, at, n):
    """array[at : at + n], the upper halves of float32, as float32."""
    def code(context, builder, signature, args):
        count = n.literal_value
        data = context.make_array(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.VectorType(ir.IntType(16), count).as_pointer())
        read = builder.load(pointer)
        read.align = 2
        words = ir.VectorType(ir.IntType(32), count)
        return builder.bitcast(builder.shl(builder.zext(read, words), ir.Constant(words, [16] * count)), ir.VectorType(ir.FloatType(), count))
    return Lanes(n.literal_value)(array, types.int64, n), code


@intrinsic
def store_half(typing, array, at, lanes):
    """array[at : at + n] = lanes, each rounded to the nearest bfloat16, ties to even."""
    def code(context, builder, signature, args):
        words, halves = (ir.VectorType(ir.IntType(bits), lanes.n) for bits in (32, 16))

        def all_(value):
            return ir.Constant(words, [value] * lanes.n)

        bits = builder.bitcast(args[2], words)
        even = builder.and_(builder.lshr(bits, all_(16)), all_(1))
        rounded = builder.lshr(builder.add(bits, builder.add(even, all_(0x7FFF))), all_(16))
        data = context.make_array(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), halves.as_pointer())
        builder.store(builder.trunc(rounded, halves), pointer).align = 2
        return context.get_dummy_value()
    return types.none(array, types.int64, lanes), code


@intrinsic
def widened(typing, half):
    """One bfloat16, given as its bits, as float32."""
    def code(context, builder, signature, args):
        return builder.bitcast(builder.shl(builder.zext(args[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16)), ir.FloatType())
    return types.float32(types.uint16), code


@intrinsic
def store_pairs(typing, array, at, low, high):
    """array[at : at + 2 n] = low and high in turns, each rounded to the nearest bfloat16."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), low.n)

        def all_(value):
            return ir.Constant(words, [value] * low.n)

        def rounded(lanes):
            bits = builder.bitcast(lanes, words)
            return builder.add(bits, builder.add(builder.and_(builder.lshr(bits, all_(16)), all_(1)), all_(0x7FFF)))

        pairs = builder.or_(builder.lshr(rounded(args[2]), all_(16)), builder.and_(rounded(args[3]), all_(0xFFFF0000)))
        data = context.make_array(array)(context, builder, args[0]).data
        builder.store(pairs, builder.bitcast(builder.gep(data, [args[1]]), words.as_pointer())).align = 2
        return context.get_dummy_value()
    return types.none(array, types.int64, low, high), code


def _amx(builder, name, arguments, result=None):
    kind = ir.FunctionType(result or ir.VoidType(), [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _byte(value):
    return ir.Constant(ir.IntType(8), value)


@intrinsic(prefer_literal=True)
def tile_zero(typing, tile):
    """tile = 0"""
    def code(context, builder, signature, args):
        _amx(builder, "tilezero", [_byte(tile.literal_value)])
        return context.get_dummy_value()
    return types.none(tile), code


@intrinsic(prefer_literal=True)
def tile_load(typing, tile, array, at, stride):
    """tile = 16 rows of 64 bytes of the array, the first from element `at`, `stride` bytes apart."""
    def code(context, builder, signature, args):
        pointer = builder.gep(context.make_array(array)(context, builder, args[1]).data, [args[2]])
        _amx(builder, "tileloadd64", [_byte(tile.literal_value), builder.bitcast(pointer, ir.IntType(8).as_pointer()), args[3]])
        return context.get_dummy_value()
    return types.none(tile, array, types.int64, types.int64), code


@intrinsic(prefer_literal=True)
def tile_store(typing, tile, array, at, stride):
    """16 rows of 64 bytes of the array = tile."""
    def code(context, builder, signature, args):
        pointer = builder.gep(context.make_array(array)(context, builder, args[1]).data, [args[2]])
        _amx(builder, "tilestored64", [_byte(tile.literal_value), builder.bitcast(pointer, ir.IntType(8).as_pointer()), args[3]])
        return context.get_dummy_value()
    return types.none(tile, array, types.int64, types.int64), code


@intrinsic(prefer_literal=True)
def tile_multiply(typing, into, a, b):
    """into += a @ b, 16 x 32 by 32 x 16."""
    def code(context, builder, signature, args):
        _amx(builder, "tdpbf16ps", [_byte(each.literal_value) for each in (into, a, b)])
        return context.get_dummy_value()
    return types.none(into, a, b), code


@intrinsic
def tiles_begin(typing, array):
    """The tiles' shapes, from 64 bytes of the array."""
    def code(context, builder, signature, args):
        pointer = context.make_array(array)(context, builder, args[0]).data
        _amx(builder, "ldtilecfg", [builder.bitcast(pointer, ir.IntType(8).as_pointer())])
        return context.get_dummy_value()
    return types.none(array), code


@intrinsic
def tiles_end(typing):
    """Tiles hold nothing any more, and cost nothing at a change of process."""
    def code(context, builder, signature, args):
        _amx(builder, "tilerelease", [])
        return context.get_dummy_value()
    return types.none(), code


@njit(cache=True, nogil=True)
def multiply(a, a_row, b, b_row, out, rows, columns, depth, shapes, block):
    """out = a @ b in tiles of 16 x 16 float32, 2 x 2 at a time, rounded once.

    Row r of `a` begins at r * a_row; b holds pairs of its rows side by side, (depth / 2, b_row, 2), and 0 beyond the depth. What
    is read of `a` beyond its rows and of b beyond its columns is not kept.
    """
    tiles_begin(shapes)
    for r in range(0, rows, 32):
        for c in range(0, columns, 32):
            tile_zero(0)
            tile_zero(1)
            tile_zero(2)
            tile_zero(3)
            for k in range(0, depth, 32):
                tile_load(4, a, r * a_row + k, 2 * a_row)
                tile_load(5, a, (r + 16) * a_row + k, 2 * a_row)
                tile_load(6, b, k * b_row + 2 * c, 4 * b_row)
                tile_load(7, b, k * b_row + 2 * c + 32, 4 * b_row)
                tile_multiply(0, 4, 6)
                tile_multiply(1, 4, 7)
                tile_multiply(2, 5, 6)
                tile_multiply(3, 5, 7)
            tile_store(0, block, 0, 128)
            tile_store(1, block, 16, 128)
            tile_store(2, block, 512, 128)
            tile_store(3, block, 528, 128)
            width = min(32, columns - c)
            for row in range(min(32, rows - r)):
                at = (r + row) * columns + c
                for i in range(0, width - 15, 16):
                    store_half(out, at + i, load(block, row * 32 + i, 16))
                for i in range(width // 16 * 16, width):
                    store_half(out, at + i, load(block, row * 32 + i, 1))
    tiles_end()


@njit(cache=True, nogil=True)
def lay_out(chosen, following, levels, shift, unit, inputs, room, rows, block, by_input, by_image):
    """A batch twice, as `multiply` reads it: two inputs of an image side by side, and two images at an input; `following` is the next one.

    Beyond the batch stands its last image once more: its deltas are 0.
    """
    width = len(shift)
    for panel in range(0, room, 64):
        for i in range(64):
            rows[i] = chosen[min(panel + i, len(chosen) - 1)] * width
        for i in range(0, 64, 2):  # Image by image: what a row of whole vectors writes beyond its end is the next row's beginning.
            for f in range(0, width, 16):
                low = (widen(levels, rows[i] + f, 16) - load(shift, f, 16)) * load(unit, f, 16)
                high = (widen(levels, rows[i + 1] + f, 16) - load(shift, f, 16)) * load(unit, f, 16)
                store_pairs(by_image, (panel + i) * inputs + 2 * f, low, high)
        for f in range(0, width, 16):
            if f % 64 == 0:
                for i in range(panel, min(panel + 64, len(following))):
                    fetch(levels, following[i] * width + f)
            for i in range(0, 64, 16):
                turn_bytes(levels, rows, f, block, i)
            for c in range(0, 16, 2):
                low = (widen(block, c * 64, 64) - fill(shift[f + c], 64)) * fill(unit[f + c], 64)
                high = (widen(block, c * 64 + 64, 64) - fill(shift[f + c + 1], 64)) * fill(unit[f + c + 1], 64)
                store_pairs(by_input, (f + c) * room + 2 * panel, low, high)


@njit(cache=True, nogil=True)
def activate(act, gain, bias, slope, key, below, by_unit):
    """h = (z + b) * gain;  gain = (1 where z + b > 0, else slope) * dropout, as streams.dropout_keeps draws it.

    And h once more as `multiply` reads it, two units side by side.
    """
    units, room = gain.shape
    low, high, scale = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32)), f32(4294967296.0 / below)
    flat, least = gain.ravel(), fill(lowest(slope), 16)
    for r in range(units):
        for i in range(0, room, 16):
            at = r * room + i
            z = load_half(act, at, 16) + fill(bias[r], 16)
            store(flat, at, where_positive(z, f32(1), slope))
            if below < 4294967296:
                for lane in range(16):
                    draw = mixed(u32(mixed(u32(u32((i + lane) * units + r) ^ low)) + high))
                    flat[at + lane] *= scale if draw < below else f32(0)
            h = at_least(z, least) * load(flat, at, 16)
            store_half(act, at, h)
            if r % 2:
                store_pairs(by_unit, at - room + i, load_half(act, at - room, 16), h)
            elif r == units - 1:
                store_pairs(by_unit, at + i, h, fill(f32(0), 16))


@njit(cache=True, nogil=True, error_model="numpy")
def output_layer(w, bias, x, labels, chosen, d, back, g, bias_g):
    """The last layer whole: z = w x + b, d = (softmax(z) - onehot(y)) / B, back = w' d, and the gradients.

    Returns the mean loss, log sum_c exp(z_c) - z_y. Of few units, so that a call of torch.mm would cost more than its work.
    """
    (classes, room), units = d.shape, len(w) // len(d)
    flat, loss, share = d.ravel(), 0.0, f32(1) / f32(len(chosen))
    for c in range(classes):
        for i in range(0, room, 64):
            one, two, three, four = (fill(bias[c], 16), fill(bias[c], 16), fill(bias[c], 16), fill(bias[c], 16))
            for u in range(units):
                weight, at = widened(w[c * units + u]), u * room + i
                one = fma(weight, load_half(x, at, 16), one)
                two = fma(weight, load_half(x, at + 16, 16), two)
                three = fma(weight, load_half(x, at + 32, 16), three)
                four = fma(weight, load_half(x, at + 48, 16), four)
            store(flat, c * room + i, one)
            store(flat, c * room + i + 16, two)
            store(flat, c * room + i + 32, three)
            store(flat, c * room + i + 48, four)
    for i in range(len(chosen)):
        top, sum_, label = flat[i], f32(0), labels[chosen[i]]
        for c in range(1, classes):
            top = max(top, flat[c * room + i])
        own = flat[label * room + i]
        for c in range(classes):
            e = math.exp(flat[c * room + i] - top)
            flat[c * room + i] = e
            sum_ += e
        loss += math.log(sum_) + top - own
        for c in range(classes):
            flat[c * room + i] *= share / sum_
        flat[label * room + i] -= share
    for c in range(classes):
        sum_16 = fill(f32(0), 16)
        for i in range(len(chosen), room):
            flat[c * room + i] = 0
        for i in range(0, room, 16):
            sum_16 = sum_16 + load(flat, c * room + i, 16)
        store_half(bias_g, c, fill(total(sum_16), 1))
        for u in range(units):
            sum_16 = fill(f32(0), 16)
            for i in range(0, room, 16):
                sum_16 = fma(load(flat, c * room + i, 16), load_half(x, u * room + i, 16), sum_16)
            store_half(g, c * units + u, fill(total(sum_16), 1))
    for u in range(units):
        for i in range(0, room, 16):
            sum_16 = fill(f32(0), 16)
            for c in range(classes):
                sum_16 = fma(widened(w[c * units + u]), load(flat, c * room + i, 16), sum_16)
            store_half(back, u * room + i, sum_16)
    return loss / len(chosen)


@njit(cache=True, nogil=True)
def gate(delta, gain, g):
    """d *= gain, and the biases' gradients: sums of d over the batch."""
    units, room = gain.shape
    flat = gain.ravel()
    for r in range(units):
        sum_ = fill(f32(0), 16)
        for i in range(r * room, (r + 1) * room, 16):
            d = load_half(delta, i, 16) * load(flat, i, 16)
            sum_ = sum_ + d
            store_half(delta, i, d)
        store_half(g, r, fill(total(sum_), 1))


@njit(cache=True, nogil=True)
def update(w, m, v, half, g, live, rule, pace):
    """kernels.optimise of the survivors, and the weights' new bfloat16 copy, in one sweep: it is memory that a step waits for."""
    # By value, so that no store makes them be read again.
    kind, l2, momentum, rate, decay = rule.kind, rule.l2, rule.momentum, pace.rate, pace.decay
    beta1_rest, beta2, beta2_rest, second, eps = rule.beta1_rest, rule.beta2, rule.beta2_rest, pace.second, rule.eps
    for i in range(0, len(w), 16):
        old = load(w, i, 16)
        grad = fma(l2, old, where_alive(u64(live[i // 16]), load_half(g, i, 16)))
        if kind == ADAM:
            mean, square = load(m, i, 16), load(v, i, 16)
            mean = fma(beta1_rest, grad - mean, mean)
            square = fma(beta2_rest, grad * grad, fill(beta2, 16) * square)
            store(m, i, mean)
            store(v, i, square)
            new = fma(-rate, mean / fma(second, root(square), fill(eps, 16)), fill(decay, 16) * old)
        else:
            if kind == MOMENTUM:
                grad = fma(momentum, load(m, i, 16), grad)
                store(m, i, grad)
            new = fma(-rate, grad, old)
        store(w, i, new)
        store_half(half, i, new)


@cache
def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16, and Linux lets this process (it asks to be asked)."""
    features = llvmlite.binding.get_host_cpu_features()
    if not (sys.platform == "linux" and features.get("amx-tile") and features.get("amx-bf16")):
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


class HalfRun(Run):
    """One round of one cell, every layer dense. Activations lie unit by unit, the images of the batch side by side."""

    def __init__(self, trainer: "HalfTrainer", cell: Cell, start: Start, round_: int):
        self.trainer, self.cell, self.start, self.round = trainer, cell, start, round_
        net, images = trainer.net, cell.batch_size
        self.to_measure = trainer.plan_to_measure(start.w, start.mask, moves=True)
        self.kind = ADAM if cell.optimiser != "sgd" else MOMENTUM if cell.momentum else SGD
        self.done = int(start.moments[2]) if self.kind == ADAM and start.moments else 0
        # Every slot from a cache line on.
        starts = np.cumsum([0, *(_up(slot.size, 32) for slot in net.slots)])
        self.size = int(starts[-1])
        self.at = np.concatenate([begin + np.arange(slot.size) for begin, slot in zip(starts, net.slots, strict=False)])
        live = np.zeros(self.size, bool)
        live[self.at] = start.mask.numpy()
        self.live = np.packbits(live, bitorder="little").view(np.uint16)
        self.made = [self._gather(start.w), *(_aligned(self.size if needed else 0) for needed in (self.kind != SGD, self.kind == ADAM))]
        for made, moment in zip(self.made[1:], start.moments, strict=False):
            made[:] = self._gather(moment)
        inputs = trainer.module.sizes[0]
        # `multiply` reads whole tiles, so beyond its rows and columns; what it reads there must only exist.
        self.half, self.g = _halves(self.size + 32 * max(trainer.module.sizes)), _halves(self.size)
        _tensor(self.half)[:self.size].copy_(torch.from_numpy(self.made[0]))
        begin_of = {slot: int(begin) for slot, begin in zip(net.slots, starts, strict=False)}
        biases = [begin_of[net.bias_of(slot)] for slot in net.weights]
        widths = [slot.shape[0] for slot in net.weights]
        self.bias = [self.made[0][begin:begin + width] for begin, width in zip(biases, widths, strict=True)]
        self.bias_g = [self.g[begin:begin + width] for begin, width in zip(biases, widths, strict=True)]
        # Whole vectors of images: those beyond the batch are 0 and have no gradient.
        room = _up(images, 64)
        self.by_input, self.by_image = _halves(_up(inputs, 32) * room + 64), _halves(room * inputs + 64)
        self.batch = (trainer.pixels[id(trainer.images.train)].levels, trainer.shift, trainer.unit, inputs, room, np.zeros(64, np.int64),
                      np.zeros(16 * 64, np.uint8), self.by_input, self.by_image)
        self.act, self.delta = ([_halves(_up(width, 32) * room) for width in widths] for _ in range(2))
        self.gain = [_aligned(width * room).reshape(width, room) for width in widths]
        weights, gradients = ([flat[begin_of[slot]:begin_of[slot] + slot.size] for slot in net.weights] for flat in (self.half, self.g))
        tiles, block = trainer.tiles, _aligned(1024)
        self.by_unit = by_unit = [_halves(_up(width, 32) * room + 64) for width in widths]
        self.forward = [(self.half[begin_of[slot]:], slot.shape[1], x, room, z, slot.shape[0], room, slot.shape[1], tiles, block)
                        for slot, x, z in zip(net.weights[:-1], [self.by_input, *by_unit], self.act, strict=False)]
        self.first_gradient = (self.delta[0], room, self.by_image, inputs, gradients[0], widths[0], inputs, room, tiles, block)
        acts, deltas = ([_tensor(flat[:width * room]).view(width, room) for flat, width in zip(of, widths, strict=True)]
                        for of in (self.act, self.delta))
        self.products = [(_tensor(weight).view(slot.shape).t(), acts[n].t(), deltas[n], deltas[n + 1], _tensor(g).view(slot.shape))
                         for n, (slot, weight, g) in enumerate(zip(net.weights[1:-1], weights[1:-1], gradients[1:-1], strict=True))]
        self.last = (weights[-1], self.bias[-1], self.act[-2], trainer.labels)
        self.last_gradients = (self.gain[-1], self.delta[-2], gradients[-1], self.bias_g[-1])
        dropout = trainer.module.dropout.p
        self.below, steps = streams.dropout_below(dropout), trainer.steps
        self.first = first_step(cell, round_)
        self.keys = self._dropout_keys(steps, len(widths) - 1) if dropout else np.zeros(steps * len(widths), np.uint64)
        self.order = streams.batch_order(len(trainer.images.train.y), images, steps, order_seed(cell), round_).numpy()
        self.rule, self.paces = self._rule(), self._paces(steps)

    def steps(self, first: int, last: int) -> float:
        """Train steps first .. last - 1; the sum of their losses."""
        trainer, hidden, loss = self.trainer, len(self.bias) - 1, 0.0
        for step in range(first, last):
            chosen = self.order[step]
            lay_out(chosen, self.order[step + 1] if step + 1 < last else chosen[:0], *self.batch)
            for n in range(hidden):
                multiply(*self.forward[n])
                activate(self.act[n], self.gain[n], self.bias[n], trainer.slope, self.keys[step * hidden + n], self.below, self.by_unit[n])
            loss += output_layer(*self.last, chosen, *self.last_gradients)
            for n in range(hidden - 1, -1, -1):
                gate(self.delta[n], self.gain[n], self.bias_g[n])
                if n:
                    turned, x, back, delta, gradient = self.products[n - 1]
                    torch.mm(delta, x, out=gradient)
                    torch.mm(turned, delta, out=back)
            multiply(*self.first_gradient)
            update(*self.made, self.half, self.g, self.live, self.rule, self.paces[step])
        return loss

    def w(self, seat: int = 0) -> Tensor:
        return torch.from_numpy(self.made[0][self.at])

    def moments(self, seat: int = 0) -> list[Tensor]:
        steps = self.done + self.trainer.steps - self.first
        if self.kind == SGD or not (steps or self.start.moments):
            return []
        moments = [torch.from_numpy(made[self.at]) for made in self.made[1:] if len(made)]
        return [*moments, torch.tensor(float(steps))] if self.kind == ADAM else moments

    def _gather(self, flat: Tensor) -> np.ndarray:
        """The survivors of a flat vector where the kernels have them; 0 elsewhere."""
        made = _aligned(self.size)
        made[self.at] = (flat * self.start.mask).numpy()
        return made


class HalfTrainer(FastTrainer):
    """Trains what `fast` covers and has a hidden layer, in bfloat16; measures it in float32, as the reference trainer does."""

    name = "half"

    def __init__(self, *given):
        super().__init__(*given)
        self.labels = self.pixels[id(self.images.train)].labels
        self.tiles = np.zeros(64, np.uint8)
        self.tiles[0], self.tiles[16:32:2], self.tiles[48:56] = 1, 64, 16  # Palette 1; eight tiles of 16 rows of 64 bytes.

    def run(self, cell: Cell, start: Start, round_: int) -> Run:
        kept = np.concatenate([slot.of(start.mask).numpy().ravel() for slot in self.net.weights]).mean()
        return (HalfRun if kept >= HALF_FROM else Run)(self, cell, start, round_)


def _halves(size: int) -> np.ndarray:
    """bfloat16 zeros from a 64-byte boundary, as the bits that they are."""
    return _aligned(_up(size, 2) // 2).view(np.uint16)[:size]


def _tensor(halves: np.ndarray) -> Tensor:
    return torch.from_numpy(halves).view(torch.bfloat16)
