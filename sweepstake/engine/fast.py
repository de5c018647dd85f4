"""The fast trainer: the same cell as `train.Trainer`'s, with only what is alive computed, whole stretches of steps in one compiled call.

Per layer and round, dense tiles or sparse rows, by the kept fraction of what is computed (DENSE_FROM, from docs/speed-log.md):
never by timing, so that a cell takes the same path every time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.engine import kernels, streams
from sweepstake.engine.images import Images, Split
from sweepstake.engine.kernels import ACROSS, ADAM, COLUMNS, LAYER, MOMENTUM, PACE, PANEL, ROWS, RULE, SGD, TALL, TILE
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.train import (
    Measured,
    Start,
    Trainer,
    Watch,
    curve_point,
    first_step,
    learning_rate,
    on_every_split,
    order_seed,
)
from sweepstake.pieces.networks import MLP

DENSE_FROM = 0.45
"""Kept fraction of a layer's computed block from which dense tiles are faster than sparse rows."""

CHUNK, CHUNKED_FROM = 8192, 0.1
"""A chunk of a sparse layer's columns: 32 kB of a panel; and the kept fraction from which rows are cut into chunks."""

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's, as torch has them by default."""


class Pixels:
    """A split's images as rows of bytes, a multiple of 16, and which pixels are the same in all of them."""

    def __init__(self, split: Split):
        x = split.x.flatten(1).numpy()
        self.levels = np.ascontiguousarray(_padded(x)).ravel()
        self.labels = split.y.numpy()
        self.everything = np.arange(len(x), dtype=np.int32)
        self.same, self.some = x.min(0) == x.max(0), x[:1000]


@dataclass(frozen=True)
class Still:
    """Pixels that are the same in every training image: those that are `silent` (0 once normalised) teach nothing;
    a unit's weights from the `pooled` ones, all at one `value`, share one gradient, so they move as one number."""

    silent: np.ndarray
    pooled: np.ndarray
    value: float = 0.0


class Dark:
    """Each pixel's dark `level`, and its `value` there once normalised.

    The level that is exactly 0 once normalised, where there is one: what is 0 in the reference stays 0, and Adam makes steps of rounding.
    Elsewhere (`standard`) the commonest of the pixel's levels in some training images. `order`: all pixels, those that most of these light
    first, so that what is dark in a batch lies together. `plain`: an image is its levels times one number.
    """

    def __init__(self, x: np.ndarray, shift: np.ndarray, unit: np.ndarray):
        commonest = np.array([np.bincount(levels).argmax() for levels in x.T])
        whole = (shift == np.rint(shift)) & (shift >= 0) & (shift <= 255)
        self.level = np.where(whole, shift, commonest).astype(np.float32)
        self.order = np.argsort(-(x != self.level).sum(0), kind="stable")
        self.value = (self.level - shift) * unit
        self.plain = not shift.any() and bool((unit == unit[0]).all())


class Plan:
    """What is computed of a network under a mask, and where each survivor lies in the kernels' arrays.

    `w[at]` in the kernels' order is `flat[of]` in the network's; `flat[pooled_of]` move by `w[pooled_at]`. Dense layers come
    first; from `swept` on (sparse layers, biases, what has no gradient) parameters are stepped in one sweep.
    """

    def __init__(self, net: Net, w: Tensor, mask: Tensor, images: int, still: Still, dark: Dark, moves: bool):
        units = computed_units(net, w, mask, still, moves)
        units[0] = dark.order[np.isin(dark.order, units[0])]
        self.inputs, self.units, self.images = units[0], np.concatenate(units[1:]), images
        self.place = np.full(_up(net.weights[0].shape[1], 16), -1, np.int32)
        self.place[units[0]] = np.arange(len(units[0]))
        self.layers = np.zeros(len(net.weights), LAYER)
        self.size = self.turned_size = 0
        self._at, self._of, self._bits, self._starts, self._rows, self._columns = [], [], Joined(np.uint64), Joined(np.int64), [], []
        alive = [slot.of(mask).numpy()[np.ix_(units[n + 1], units[n])] for n, slot in enumerate(net.weights)]
        index = [slot.start + units[n + 1][:, None] * slot.shape[1] + units[n] for n, slot in enumerate(net.weights)]
        self._measure(net, units, alive, dark)
        for n, layer in enumerate(self.layers):
            if layer["dense"]:
                self._place_dense(layer, alive[n], index[n])
        self.swept = self.size
        live_biases = []
        for n, layer in enumerate(self.layers):
            if not layer["dense"]:
                self._place_sparse(layer, alive[n], index[n])
            bias = _bias(net, net.weights[n])
            live_biases.append(bias.of(mask).numpy()[units[n + 1]])
            of = bias.start + units[n + 1][live_biases[-1]]
            layer["bias"] = self._put(np.flatnonzero(live_biases[-1]), of, int(layer["row_tiles"]) * ROWS)
        self.bias_alive = np.concatenate(live_biases).astype(np.float32)
        self._pool(net.weights[0], w, mask, units[1], still)
        if moves:
            idle = mask.numpy().copy()
            idle[np.concatenate(self._of)] = False
            self._put(np.arange(idle.sum()), np.flatnonzero(idle), int(idle.sum()))
        self._finish(dark)

    def _measure(self, net: Net, units: list[np.ndarray], alive: list[np.ndarray], dark: Dark) -> None:
        """How large each layer is, which kernel takes it, and where its activations lie."""
        heights = [_up(_up(len(u), ROWS), 16) for u in units]  # Room for the rows of a last tile.
        rooms = np.cumsum([0, *(height * PANEL * -(-self.images // PANEL) for height in heights)])
        self.act_size = int(rooms[-1])
        for n, layer in enumerate(self.layers):
            layer["rows"], layer["columns"] = alive[n].shape
            layer["row_tiles"], layer["column_tiles"] = -(-len(units[n + 1]) // ROWS), -(-len(units[n]) // COLUMNS)
            layer["x"], layer["x_panel"] = rooms[n], heights[n] * PANEL
            layer["z"], layer["z_panel"] = rooms[n + 1], heights[n + 1] * PANEL
            layer["unit"], layer["width"] = sum(map(len, units[1:n + 1])), net.weights[n].shape[0]
            kept = alive[n].mean() if alive[n].size else 0.0
            layer["dense"], layer["drift"] = kept >= DENSE_FROM, -1
            layer["x_row"] = PANEL // 2 if dark.plain and n == 0 and not layer["dense"] else PANEL
            layer["chunks"] = -(-len(units[n]) * layer["x_row"] // CHUNK) if kept >= CHUNKED_FROM else 1

    def _put(self, where: np.ndarray, of: np.ndarray, room: int) -> int:
        """Survivors `of` the network go to `where` from here on, in `room` places."""
        begin, self.size = self.size, self.size + room
        self._at.append(begin + where)
        self._of.append(of)
        return begin

    def _place_dense(self, layer: Any, alive: np.ndarray, index: np.ndarray) -> None:
        """Six rows by 64 columns a tile, and a bit a weight for those alive."""
        tiles = _tiles(alive, layer)
        where = np.flatnonzero(tiles)
        layer["w"] = self._put(where, _tiles(index, layer).ravel()[where], tiles.size)
        layer["bits"] = self._bits.add(np.packbits(tiles, axis=-1, bitorder="little").ravel().view(np.uint64))
        layer["turned"], layer["turned_row"] = self.turned_size, layer["column_tiles"] * COLUMNS + 16
        self.turned_size += int(_up(self.images, 16) * layer["turned_row"])

    def _place_sparse(self, layer: Any, alive: np.ndarray, index: np.ndarray) -> None:
        """Rows of survivors, chunk by chunk of columns; and the same by column, as places among the rows."""
        rows, columns = alive.nonzero()
        run = (columns * layer["x_row"] // CHUNK if layer["chunks"] > 1 else 0) * len(alive) + rows
        by_run = np.argsort(run, kind="stable")
        rows, columns, run = rows[by_run], columns[by_run], run[by_run]
        by_column = np.argsort(columns, kind="stable")
        before = sum(map(len, (c for _, c in self._columns)))
        # The kernel's last eight of a row may run over.
        begin = layer["w"] = self._put(np.arange(len(rows)), index[rows, columns], len(rows) + 8)
        layer["by_row"] = self._starts.add(begin + np.searchsorted(run, np.arange(layer["chunks"] * len(alive) + 1)))
        layer["by_column"] = self._starts.add(before + np.searchsorted(columns[by_column], np.arange(alive.shape[1] + 1)))
        self._rows.append((begin, columns * layer["x_row"]))
        self._columns.append((begin + by_column, rows[by_column] * PANEL))

    def _pool(self, slot: Slot, w: Tensor, mask: Tensor, units: np.ndarray, still: Still) -> None:
        """A row's weights of pooled inputs add value * (their sum at the start + their number * drift) to its unit."""
        pooled = slot.of(mask).numpy()[units] & still.pooled
        rows, columns = pooled.nonzero()
        self.still, self.pooled_of, self.pooled_at = np.zeros(1, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        if len(rows):
            padded = int(self.layers[0]["row_tiles"]) * ROWS
            self.still = np.zeros(2 * padded + 1, np.float32)
            self.still[:2 * len(units):2] = still.value * (slot.of(w).numpy()[units] * pooled).sum(1, dtype=np.float64)
            self.still[1:2 * len(units):2], self.still[-1] = still.value * pooled.sum(1), still.value
            self.layers[0]["drift"] = drift = self._put(np.zeros(0, np.int64), np.zeros(0, np.int64), padded)
            self.pooled_of, self.pooled_at = slot.start + units[rows] * slot.shape[1] + columns, drift + rows

    def _finish(self, dark: Dark) -> None:
        self.size = _up(self.size, 16)
        self.at, self.of = np.concatenate(self._at), np.concatenate(self._of)
        self.bits, self.starts = self._bits.whole(), self._starts.whole()
        broadest, value = int(max(self.layers["column_tiles"])) * COLUMNS, dark.value[self.inputs]
        self.darks = _aligned(2 * broadest)
        self.darks[:len(value)] = value
        self.layers["dark"] = broadest
        self.layers["dark"][0] = 0 if value.any() else broadest
        self.ends = np.zeros(broadest // ACROSS, np.int64)
        self.lit = np.zeros(max(broadest, len(self.ends) * self.images) + 1, np.int32)
        self.back_size = (_up(self.images, 16) + 1) * max(map(int, self.layers["z_panel"])) // PANEL if self.turned_size else 0
        self.places = np.zeros(self.size + 8, np.int32)
        for begin, columns in self._rows:
            self.places[begin:begin + len(columns)] = columns
        self.sources, self.targets = (np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)
                                      for parts in (zip(*self._columns, strict=True) if self._columns else ((), ())))

    def gather(self, flat: Tensor) -> np.ndarray:
        made = _aligned(self.size)
        made[self.at] = flat.numpy()[self.of]
        return made

    def scatter(self, made: np.ndarray, flat: Tensor, pooled: Tensor) -> Tensor:
        """A copy of `flat` with what was computed put back; `pooled` is where the pooled weights began."""
        out = flat.clone()
        out.numpy()[self.of] = made[self.at]
        out.numpy()[self.pooled_of] = pooled.numpy()[self.pooled_of] + made[self.pooled_at]
        return out


def computed_units(net: Net, w: Tensor, mask: Tensor, still: Still, moves: bool) -> list[np.ndarray]:
    """Inputs and units of each layer that are computed: those that can be other than 0 and have something alive listening.

    A unit that nothing feeds and whose bias is 0 stays at 0 under ReLU, whose slope there is 0; one that nothing listens
    to gets no gradient. `moves`: parameters without a gradient move too (decay, or momentum of an earlier round).
    """
    relu, speaks = isinstance(net.module.activation, nn.ReLU), [~still.silent & ~still.pooled]
    for n, slot in enumerate(net.weights):
        alive, bias = slot.of(mask).numpy(), _bias(net, slot)
        fed = alive[:, speaks[n] | still.pooled if n == 0 else speaks[n]].any(1)
        stays = (bias.of(w).numpy() == 0) & (relu | ~bias.of(mask).numpy()) & (not moves)
        speaks.append(fed | ~stays if slot is not net.weights[-1] else np.ones(len(alive), bool))
    heard = [speaks[-1]]
    for n in range(len(net.weights) - 1, -1, -1):
        heard.insert(0, np.asarray(net.weights[n].of(mask).numpy()[heard[0] & speaks[n + 1]].any(0)))
    return [np.flatnonzero(s & h) for s, h in zip(speaks, heard, strict=True)]


class FastTrainer(Trainer):
    """Trains and measures cells that `covers` says it can, one after another, on one core."""

    name = "fast"

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        splits = [split for split in (images.train, images.validation, images.test) if split]
        self.pixels = {id(split): Pixels(split) for split in splits}
        per_input = torch.ones((1, *images.inputs), dtype=torch.float64)
        self.shift, self.unit = (_padded((per_input * each).float().numpy().ravel()) for each in (images.shift, 1 / images.scale))
        self.slope = np.float32(getattr(self.net.module.activation, "negative_slope", 0.0))
        self.module: MLP = self.net.module  # pyright: ignore[reportAttributeAccessIssue]
        nothing = np.zeros(self.module.sizes[0], bool)
        self.anything = Still(nothing, nothing)
        self.dark = Dark(self.pixels[id(images.train)].some, self.shift[:len(nothing)], self.unit[:len(nothing)])
        self.known: tuple[Tensor, dict[int, dict[str, float]]] | None = None

    def still(self, moves: bool) -> Still:
        train = self.pixels[id(self.images.train)]
        inputs = len(train.same)
        value = (train.some[0] - self.shift[:inputs]) * self.unit[:inputs]
        silent = train.same & (value == 0)
        left = value[train.same & ~silent]
        if moves or not len(left):
            return Still(silent, np.zeros_like(silent))
        values, counts = np.unique(left, return_counts=True)
        common = values[counts.argmax()]
        return Still(silent, train.same & (value == common), float(common))

    @contextmanager
    def begin(self, cell: Cell, start: Start, round_: int) -> Iterator["Run"]:
        with flushed_denormals():
            yield self.run(cell, start, round_)

    def run(self, cell: Cell, start: Start, round_: int) -> "Run":
        return Run(self, cell, start, round_)

    def measure(self, w: Tensor) -> Measured:
        """As the reference measures; every split through one plan."""
        plan = self.plan_to_measure(w, w != 0, moves=False)
        return on_every_split(lambda split: self.measure_split(split, w, plan), self.images)

    def plan_to_measure(self, w: Tensor, mask: Tensor, moves: bool) -> Plan:
        return Plan(self.net, w, mask, PANEL, self.anything, self.dark, moves)

    def measure_split(self, split: Split, w: Tensor, plan: Plan) -> dict[str, float]:
        pixels = self.pixels[id(split)]
        if self.known is None or not torch.equal(self.known[0], w):
            self.known = (w.clone(), {})
        if id(split) in self.known[1]:  # The last point of a round's curve is its end.
            return self.known[1][id(split)]
        act, gain = _aligned(plan.act_size), _aligned(plan.act_size)
        loss, correct = kernels.evaluate(
            len(split.y), pixels.everything, pixels.labels, self.shown(plan, pixels), plan.layers, plan.gather(w),
            plan.still, plan.darks, plan.starts, plan.places, act, gain, plan.lit, self.slope)
        found = {"loss": loss / len(split.y), "accuracy": correct / len(split.y), "correct": correct, "count": len(split.y)}
        self.known[1][id(split)] = found
        return found

    def shown(self, plan: Plan, pixels: Pixels) -> tuple[np.ndarray, ...]:
        """What `kernels.show` lays out a batch from, and room for it to work in."""
        shift = _padded(self.dark.level) if plan.layers[0]["dense"] else self.shift
        return pixels.levels, plan.place, shift, self.unit, np.zeros(PANEL, np.int64), np.zeros(16 * PANEL, np.uint8)


class Run:
    """One round of one cell in the kernels' arrays."""

    def __init__(self, trainer: FastTrainer, cell: Cell, start: Start, round_: int):
        self.trainer, self.cell, self.start, self.round = trainer, cell, start, round_
        moves = bool(cell.weight_decay or start.moments)
        net, images, steps = trainer.net, cell.batch_size, trainer.steps
        self.to_measure = trainer.plan_to_measure(start.w, start.mask, moves=True)
        self.plan = plan = Plan(net, start.w, start.mask, images, trainer.still(moves), trainer.dark, moves)
        self.kind = ADAM if cell.optimiser != "sgd" else MOMENTUM if cell.momentum else SGD
        self.made = [plan.gather(start.w), *(_aligned(plan.size if needed else 0) for needed in (self.kind != SGD, self.kind == ADAM))]
        for made, moment in zip(self.made[1:], start.moments, strict=False):
            made[plan.at] = moment.numpy()[plan.of]
        self.done = int(start.moments[2]) if self.kind == ADAM and start.moments else 0
        depth = len(plan.layers)
        dropout = trainer.module.dropout.p
        self.first = first_step(cell, round_)
        keys = self._dropout_keys(steps, depth - 1) if dropout else np.zeros(0, np.uint64)
        order = streams.batch_order(len(trainer.images.train.y), images, steps, order_seed(cell), round_).numpy().ravel()
        pixels = trainer.pixels[id(trainer.images.train)]
        act, gain, delta = (_aligned(plan.act_size) for _ in range(3))
        self.arguments: tuple[Any, ...] = (
            images, order, pixels.labels, trainer.shown(plan, pixels), plan.layers, *self.made, _aligned(plan.size + 8),
            _aligned(TALL * TILE), plan.still, plan.bias_alive, plan.bits, plan.starts, plan.places, plan.sources, plan.targets, plan.units,
            act, gain, delta, _aligned(plan.turned_size), _aligned(plan.back_size), plan.darks, plan.lit, plan.ends,
            plan.swept, self._rule(), self._paces(steps), trainer.slope, keys, streams.dropout_below(dropout))

    def advance(self, first: int, last: int, losses: list[float]) -> list[float]:
        return [losses[0] + self.steps(first, last)]

    def points(self) -> list[dict[str, float]]:
        w = self.w()
        return [curve_point(lambda split: self.trainer.measure_split(split, w, self.to_measure), self.trainer.images)]

    def steps(self, first: int, last: int) -> float:
        """Train steps first .. last - 1; the sum of their losses."""
        return kernels.train_steps(first, last, *self.arguments)

    def w(self, seat: int = 0) -> Tensor:
        return self.plan.scatter(self.made[0], self.start.w, self.start.w)

    def moments(self, seat: int = 0) -> list[Tensor]:
        steps = self.done + self.trainer.steps - self.first
        if self.kind == SGD or not (steps or self.start.moments):
            return []
        zero = torch.zeros_like(self.start.w)
        moments = [self.plan.scatter(made, zero, zero) for made in self.made[1:] if len(made)]
        return [*moments, torch.tensor(float(steps))] if self.kind == ADAM else moments

    def _dropout_keys(self, steps: int, layers: int) -> np.ndarray:
        """A key a step and layer; those of the steps before the first are never drawn with."""
        unused = np.zeros(self.first * layers, np.uint64)
        return np.append(unused, streams.dropout_keys((steps - self.first) * layers, self.cell.seed, self.round, 0))

    def _rule(self) -> np.void:
        cell = self.cell
        l2 = cell.weight_decay if cell.optimiser != "adamw" else 0.0
        return np.array([(self.kind, l2, cell.momentum, 1 - BETA1, BETA2, 1 - BETA2, EPS)], RULE)[0]

    def _paces(self, steps: int) -> np.ndarray:
        cell, paces = self.cell, np.zeros(steps, PACE)
        lr = np.array([learning_rate(cell, self.round, step, steps) for step in range(steps)])
        t = np.maximum(self.done + 1 + np.arange(steps) - self.first, 1)
        paces["rate"] = lr / (1 - BETA1 ** t) if self.kind == ADAM else lr
        paces["second"] = 1 / np.sqrt(1 - BETA2 ** t)
        paces["decay"] = 1 - lr * cell.weight_decay if cell.optimiser == "adamw" else 1
        return paces


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 inside: a CPU takes a hundred times as long over them. The thread's own setting comes back."""
    already = bool(torch.tensor([1e-39]) * 1 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def _bias(net: Net, weight: Slot) -> Slot:
    bias = net.bias_of(weight)
    assert bias is not None, "an MLP's layers have biases"
    return bias


class Joined:
    """Arrays put one behind the other."""

    def __init__(self, kind: Any):
        self.parts, self.size = [np.zeros(0, kind)], 0

    def add(self, part: np.ndarray) -> int:
        """Where it begins."""
        self.parts.append(part)
        self.size += len(part)
        return self.size - len(part)

    def whole(self) -> np.ndarray:
        return np.concatenate(self.parts)


def _aligned(size: int) -> np.ndarray:
    """float32 zeros from a 64-byte boundary: a row of a panel off it costs twice the time."""
    raw = np.zeros(size + 16, np.float32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip:skip + size]


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows filled up with 0 to a multiple of 16; no copy where they are one."""
    short = -rows.shape[-1] % 16
    return np.pad(rows, [*[(0, 0)] * (rows.ndim - 1), (0, short)]) if short else rows


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _tiles(matrix: np.ndarray, layer: Any) -> np.ndarray:
    """A matrix padded with 0 and cut into (row tile, column tile, row, column)."""
    tall, broad = int(layer["row_tiles"]), int(layer["column_tiles"])
    padded = np.zeros((tall * ROWS, broad * COLUMNS), matrix.dtype)
    padded[:matrix.shape[0], :matrix.shape[1]] = matrix
    return np.ascontiguousarray(padded.reshape(tall, ROWS, broad, COLUMNS).transpose(0, 2, 1, 3))
