"""The fast trainer: the same cell as `train.Trainer`'s, with only what is alive computed, whole stretches of steps in one compiled call.

Per layer and round, dense tiles or sparse rows, by the kept fraction of what is computed (DENSE_FROM, from docs/speed-log.md):
never by timing, so that a cell takes the same path every time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.engine import kernels, streams
from sweepstake.engine.kernels import ADAM, COLUMNS, LAYER, MOMENTUM, PACE, PANEL, ROWS, RULE, SGD, TILE
from sweepstake.engine.network import Net
from sweepstake.engine.train import Images, Split, Start, Trained, Trainer, Watch, _order_seed  # pyright: ignore[reportPrivateUsage]
from sweepstake.pieces import lr_schedule
from sweepstake.pieces.networks import MLP

DENSE_FROM = 0.7
"""Kept fraction of a layer's computed block from which dense tiles are faster than sparse rows."""

CHUNK, CHUNKED_FROM = 192, 0.1
"""Columns in a chunk of a sparse layer: 48 kB of a panel, and the kept fraction from which rows are cut into chunks."""

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's, as torch has them by default."""


def covers(cell: Cell, module: nn.Module) -> bool:
    """Whether the fast path trains this cell: an MLP of ReLU or leaky ReLU in float32."""
    return (type(module) is MLP and isinstance(module.activation, nn.ReLU | nn.LeakyReLU) and cell.precision == "float32"
            and module.sizes[0] < 2**16 and len(module.sizes) > 1)


class Pixels:
    """A split's images as lists of the pixels that are not black, and which pixels are the same in all of them."""

    def __init__(self, split: Split):
        x = split.x.flatten(1).numpy()
        self.starts, self.features, self.levels = kernels.list_pixels(x)
        self.labels = split.y.numpy()
        self.everything = np.arange(len(x), dtype=np.int32)
        self.same, self.first = x.min(0) == x.max(0), x[0]


@dataclass(frozen=True)
class Still:
    """Pixels that are the same in every training image: those that are `silent` (0 once normalised) teach nothing;
    a unit's weights from the `pooled` ones, all at one `value`, share one gradient, so they move as one number."""

    silent: np.ndarray
    pooled: np.ndarray
    value: float = 0.0


class Plan:
    """What is computed of a network under a mask, and where each survivor lies in the kernels' arrays.

    `w[at]` in the kernels' order is `flat[of]` in the network's; `flat[pooled_of]` move by `w[pooled_at]`.
    Dense layers come first; from `swept` on, parameters are stepped in one sweep.
    """

    def __init__(self, net: Net, w: Tensor, mask: Tensor, images: int, still: Still, moves: bool):
        units = computed_units(net, w, mask, still, moves)
        depth, panels = len(net.weights), -(-images // PANEL)
        # Room for the rows of a last tile, and for one row that takes what nobody reads.
        heights = [_up(len(u) + 1, 16) for u in units]
        rooms = np.cumsum([0] + [height * PANEL * panels for height in heights])
        alive = [slot.of(mask).numpy()[np.ix_(units[n + 1], units[n])] for n, slot in enumerate(net.weights)]
        index = [slot.start + units[n + 1][:, None] * slot.shape[1] + units[n] for n, slot in enumerate(net.weights)]
        self.inputs, self.units = units[0], np.concatenate(units[1:])
        self.act_size, self.turned_size = int(rooms[-1]), 0
        self.layers = layers = np.zeros(depth, LAYER)
        at: list[np.ndarray] = []
        of: list[np.ndarray] = []
        bits: list[np.ndarray] = [np.zeros(0, np.uint64)]
        end = 0

        for n, layer in enumerate(layers):
            layer["rows"], layer["columns"], layer["width"] = *alive[n].shape, net.weights[n].shape[0]
            layer["unit"] = sum(map(len, units[1:n + 1]))
            layer["row_tiles"], layer["column_tiles"] = -(-len(units[n + 1]) // ROWS), -(-len(units[n]) // COLUMNS)
            layer["x"], layer["x_panel"], layer["z"], layer["z_panel"] = rooms[n], heights[n] * PANEL, rooms[n + 1], heights[n + 1] * PANEL
            layer["dense"], layer["drift"] = alive[n].size > 0 and alive[n].mean() >= DENSE_FROM, -1
            if layer["dense"]:
                tiles = _tiles(alive[n], layer)
                layer["w"], layer["bits"] = end, sum(map(len, bits))
                layer["turned"], layer["turned_row"] = self.turned_size, layer["column_tiles"] * COLUMNS + 16
                bits.append(np.packbits(tiles, axis=-1, bitorder="little").ravel().view(np.uint64))
                at.append(end + np.flatnonzero(tiles))
                of.append(_tiles(index[n], layer).ravel()[np.flatnonzero(tiles)])
                self.turned_size += int(images * layer["turned_row"])
                end += tiles.size

        self.swept, biases, by_row, by_column, starts = end, [], [], [], [np.zeros(0, np.int64)]
        for n, layer in enumerate(layers):
            if not layer["dense"]:
                layer["chunks"] = -(-len(units[n]) // CHUNK) if alive[n].size and alive[n].mean() >= CHUNKED_FROM else 1
                rows, columns = alive[n].nonzero()
                chunks = columns // CHUNK if layer["chunks"] > 1 else np.zeros_like(columns)
                by_chunk = np.argsort(chunks, kind="stable")
                rows, columns, runs = rows[by_chunk], columns[by_chunk], (chunks * len(alive[n]) + rows)[by_chunk]
                order = np.argsort(columns, kind="stable")
                at.append(end + np.arange(len(rows)))
                of.append(index[n][rows, columns])
                layer["by_row"] = sum(map(len, starts))
                starts.append(end + np.searchsorted(runs, np.arange(layer["chunks"] * len(alive[n]) + 1)))
                layer["by_column"] = sum(map(len, starts))
                starts.append(sum(map(len, by_column)) + np.searchsorted(columns[order], np.arange(alive[n].shape[1] + 1)))
                by_row.append((end, columns))
                by_column.append(np.stack([end + order, rows[order] * PANEL], 1))
                end += len(rows) + 8  # The kernel's last eight may run over.
            slot, padded = net.bias_of(net.weights[n]), int(layer["row_tiles"]) * ROWS
            biases.append(slot.of(mask).numpy()[units[n + 1]])
            layer["bias"] = end
            at.append(end + np.flatnonzero(biases[-1]))
            of.append(slot.start + units[n + 1][biases[-1]])
            end += padded
        self.still, self.pooled_of, self.pooled_at = np.zeros(1, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        if still.pooled.any():
            first, slot = layers[0], net.weights[0]
            pooled = slot.of(mask).numpy()[units[1]] & still.pooled
            rows, columns = pooled.nonzero()
            self.still = np.zeros(2 * int(first["row_tiles"]) * ROWS + 1, np.float32)
            self.still[:2 * len(pooled):2] = still.value * (slot.of(w).numpy()[units[1]] * pooled).sum(1, dtype=np.float64)
            self.still[1:2 * len(pooled):2], self.still[-1] = still.value * pooled.sum(1), still.value
            self.pooled_of, self.pooled_at = slot.start + units[1][rows] * slot.shape[1] + columns, end + rows
            first["drift"], end = end, end + int(first["row_tiles"]) * ROWS
        self.at, self.of = np.concatenate(at), np.concatenate(of)
        if moves:
            idle = mask.numpy().copy()
            idle[self.of] = False
            self.at, self.of = np.append(self.at, end + np.arange(idle.sum())), np.append(self.of, np.flatnonzero(idle))
            end += int(idle.sum())
        self.size = _up(end, 16)
        self.places = np.zeros(self.size + 8, np.int32)
        for begin, columns in by_row:
            self.places[begin:begin + len(columns)] = columns * PANEL
        both = np.concatenate([np.zeros((0, 2), np.int64), *by_column]).astype(np.int32)
        self.sources, self.targets = both[:, 0].copy(), both[:, 1].copy()
        self.starts, self.bits = np.concatenate(starts), np.concatenate(bits)
        self.bias_alive = np.concatenate(biases).astype(np.float32)
        self.place = np.full(net.weights[0].shape[1], len(units[0]), np.int32)
        self.place[units[0]] = np.arange(len(units[0]))

    def levels(self) -> np.ndarray:
        return np.zeros((len(self.inputs) + 1) * PANEL, np.uint8)

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
        alive, bias = slot.of(mask).numpy(), net.bias_of(slot)
        fed = alive[:, speaks[n] | still.pooled if n == 0 else speaks[n]].any(1)
        stays = (bias.of(w).numpy() == 0) & (relu | ~bias.of(mask).numpy()) & (not moves)
        speaks.append(fed | ~stays if slot is not net.weights[-1] else np.ones(len(alive), bool))
    heard = [speaks[-1]]
    for n in range(len(net.weights) - 1, -1, -1):
        heard.insert(0, net.weights[n].of(mask).numpy()[heard[0] & speaks[n + 1]].any(0))
    return [np.flatnonzero(s & h) for s, h in zip(speaks, heard, strict=True)]


class FastTrainer(Trainer):
    """Trains and measures cells that `covers` says it can, one after another, on one core."""

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        splits = [split for split in (images.train, images.validation, images.test) if split]
        self.pixels = {id(split): Pixels(split) for split in splits}
        per_input = torch.ones((1, *images.inputs), dtype=torch.float64)
        self.shift, self.unit = ((per_input * each).float().numpy().ravel() for each in (images.shift, 1 / images.scale))
        self.slope = np.float32(getattr(self.net.module.activation, "negative_slope", 0.0))
        nothing = np.zeros(self.net.module.sizes[0], bool)
        self.anything = Still(nothing, nothing)

    def still(self, moves: bool) -> Still:
        train = self.pixels[id(self.images.train)]
        value = (train.first - self.shift) * self.unit
        silent = train.same & (value == 0)
        left = value[train.same & ~silent]
        if moves or not len(left):
            return Still(silent, np.zeros_like(silent))
        values, counts = np.unique(left, return_counts=True)
        common = values[counts.argmax()]
        return Still(silent, train.same & (value == common), float(common))

    def train(self, cell: Cell, start: Start, round_: int, name: str = "") -> Trained:
        """One round: every step of it, the curve on the grid, and the weights at the lowest validation loss."""
        began, measuring = time.perf_counter(), 0.0
        with flushed_denormals():
            run = Run(self, cell, start, round_)
            rewind_at = cell.reset.options.get("step") if round_ == 0 else None
            stops = sorted({step for step in (*self.grid, rewind_at) if step is not None and step <= self.steps})
            curve: dict[str, list[float]] = {"step": [], "train_loss": []}
            best, w_early, early_step, w_step = float("inf"), None, None, None
            summed, since, diverged = 0.0, 0, False
            for here, next_ in zip(stops, [*stops[1:], None], strict=True):
                self.net.w.copy_(run.w())
                if here in self.grid:
                    paused = time.perf_counter()
                    point = self._point(here)
                    if here:
                        point["train_loss"] = summed / since
                        diverged = not np.isfinite(point["train_loss"])
                    summed, since = 0.0, 0
                    for key, value in point.items():
                        curve.setdefault(key, []).append(value)
                    if self.images.validation and point["validation_loss"] < best:
                        best, w_early, early_step = point["validation_loss"], self.net.w.clone(), here
                    self.watch(name, round_, here, self.steps)
                    measuring += time.perf_counter() - paused
                if here == rewind_at:
                    w_step = self.net.w.clone()
                if diverged or next_ is None:
                    break
                summed, since = summed + run.steps(here, next_), since + next_ - here
        w = self.net.w.clone()
        return Trained(w, w_early, early_step, w_step, run.moments(), curve, self.steps,
                       {"train": time.perf_counter() - began - measuring, "evaluate": measuring}, diverged or not bool(w.isfinite().all()))

    @torch.no_grad()
    def _here(self, split: Split) -> dict[str, float]:
        w, pixels = self.net.w, self.pixels[id(split)]
        plan = Plan(self.net, w, w != 0, PANEL, self.anything, moves=False)
        act, gain = _aligned(plan.act_size), _aligned(plan.act_size)
        loss, correct = kernels.evaluate(
            len(split.y), pixels.everything, pixels.labels, self.shown(plan, pixels), plan.levels(), plan.layers, plan.gather(w),
            plan.still, plan.starts, plan.places, act, gain, self.slope)
        return {"loss": loss / len(split.y), "accuracy": correct / len(split.y), "correct": correct, "count": len(split.y)}

    def shown(self, plan: Plan, pixels: Pixels) -> tuple[np.ndarray, ...]:
        """What `kernels.show` lays out a batch from; the input that nobody reads comes last."""
        shift, unit = (_aligned(len(plan.inputs) + 16) for _ in range(2))
        shift[:len(plan.inputs)], unit[:len(plan.inputs)] = self.shift[plan.inputs], self.unit[plan.inputs]
        return pixels.starts, pixels.features, pixels.levels, plan.place, shift, unit


class Run:
    """One round of one cell in the kernels' arrays."""

    def __init__(self, trainer: FastTrainer, cell: Cell, start: Start, round_: int):
        self.trainer, self.cell, self.start = trainer, cell, start
        moves = bool(cell.weight_decay or start.moments)
        net, images, steps = trainer.net, cell.batch_size, trainer.steps
        net.w.copy_(start.w)
        self.plan = plan = Plan(net, start.w, start.mask, images, trainer.still(moves), moves)
        self.kind = ADAM if cell.optimiser != "sgd" else MOMENTUM if cell.momentum else SGD
        self.made = [plan.gather(start.w), *(_aligned(plan.size if needed else 0) for needed in (self.kind != SGD, self.kind == ADAM))]
        for made, moment in zip(self.made[1:], start.moments, strict=False):
            made[plan.at] = moment.numpy()[plan.of]
        self.done = int(start.moments[2]) if self.kind == ADAM and start.moments else 0
        depth = len(plan.layers)
        dropout = net.module.dropout.p
        keys = streams.dropout_keys(steps * (depth - 1) if dropout else 0, cell.seed, round_, 0)
        order = streams.batch_order(len(trainer.images.train.y), images, steps, _order_seed(cell), round_).numpy().ravel()
        pixels = trainer.pixels[id(trainer.images.train)]
        act, gain, delta = (_aligned(plan.act_size) for _ in range(3))
        self.arguments = (
            images, order, pixels.labels, trainer.shown(plan, pixels), plan.levels(), plan.layers, *self.made, _aligned(plan.size + 8),
            _aligned(TILE), plan.still, plan.bias_alive, plan.bits, plan.starts, plan.places, plan.sources, plan.targets, plan.units,
            act, gain, delta, _aligned(plan.turned_size), plan.swept, self._rule(), self._paces(steps), trainer.slope, keys,
            streams.dropout_below(dropout))

    def steps(self, first: int, last: int) -> float:
        """Train steps first .. last - 1; the sum of their losses."""
        return kernels.train_steps(first, last, *self.arguments)

    def w(self) -> Tensor:
        return self.plan.scatter(self.made[0], self.start.w, self.start.w)

    def moments(self) -> list[Tensor]:
        steps = self.done + self.trainer.steps
        if self.kind == SGD or not steps:
            return []
        zero = torch.zeros_like(self.start.w)
        moments = [self.plan.scatter(made, zero, zero) for made in self.made[1:] if len(made)]
        return [*moments, torch.tensor(float(steps))] if self.kind == ADAM else moments

    def _rule(self) -> np.void:
        cell = self.cell
        l2 = cell.weight_decay if cell.optimiser != "adamw" else 0.0
        return np.array([(self.kind, l2, cell.momentum, 1 - BETA1, BETA2, 1 - BETA2, EPS)], RULE)[0]

    def _paces(self, steps: int) -> np.ndarray:
        cell, paces = self.cell, np.zeros(steps, PACE)
        factor = lr_schedule.get(cell.lr_schedule.name)
        lr = np.array([cell.lr * factor({"progress": lambda s=s: s / steps}, cell.lr_schedule.options) for s in range(steps)])
        t = self.done + 1 + np.arange(steps)
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


def _aligned(size: int) -> np.ndarray:
    """float32 zeros from a 64-byte boundary: a row of a panel off it costs twice the time."""
    raw = np.zeros(size + 16, np.float32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip:skip + size]


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _tiles(matrix: np.ndarray, layer: Any) -> np.ndarray:
    """A matrix padded with 0 and cut into (row tile, column tile, row, column)."""
    tall, broad = int(layer["row_tiles"]), int(layer["column_tiles"])
    padded = np.zeros((tall * ROWS, broad * COLUMNS), matrix.dtype)
    padded[:matrix.shape[0], :matrix.shape[1]] = matrix
    return np.ascontiguousarray(padded.reshape(tall, ROWS, broad, COLUMNS).transpose(0, 2, 1, 3))
