"""The fast trainer: the same cell as `train.Trainer`'s, with only what is alive computed, many steps in one call."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.kernels import step as kernels
from sweepstake.engine.kernels.amx import has_amx
from sweepstake.engine.kernels.optimiser import ADAM, MOMENTUM, PACE, SGD, Rule
from sweepstake.engine.kernels.pixels import Dark, Pixels, Still
from sweepstake.engine.kernels.placing import aligned, padded
from sweepstake.engine.kernels.plan import Plan
from sweepstake.engine.kernels.records import PANEL, State, f32
from sweepstake.engine.train import (
    Images,
    Split,
    Start,
    Trained,
    Trainer,
    Watch,
    _order_seed,  # pyright: ignore[reportPrivateUsage]
    first_step,
    progress,
)
from sweepstake.pieces import lr_schedule
from sweepstake.pieces.networks import MLP

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's, as torch has them by default."""


def covers(cell: Cell, module: nn.Module) -> bool:
    """Whether the fast path trains this cell: an MLP of ReLU or leaky ReLU in float32, or in bfloat16 where the CPU has AMX."""
    if type(module) is not MLP or not isinstance(module.activation, nn.ReLU | nn.LeakyReLU) or module.sizes[0] >= 2**16:
        return False
    return (cell.precision == "float32" and len(module.sizes) > 1) or (cell.precision == "bfloat16" and len(module.sizes) > 2 and has_amx())


def trainer_for(cell: Cell, images: Images, watch: Watch = lambda *_: None, engine: str = "fast") -> Trainer:
    """The fast trainer of the cell's precision where there is one, the reference trainer elsewhere, thinned where it can be;
    plain, always, if that is asked for."""
    from sweepstake.engine import thin
    from sweepstake.engine.half import HalfTrainer

    plain = Trainer(cell, images, watch)
    if engine != "fast":
        return plain
    if not covers(cell, plain.net.module):
        return thin.ThinTrainer(cell, images, watch) if thin.covers(plain.net) else plain
    return (HalfTrainer if cell.precision == "bfloat16" else FastTrainer)(cell, images, watch)


def warm(cell: Cell, images: Images) -> None:
    """Compile the kernels, or read them from numba's cache on disk, by training a step."""
    trainer = FastTrainer(cell, images)
    whole = torch.ones_like(trainer.net.w, dtype=torch.bool)
    trainer.train(cell, Start(trainer.net.w.clone(), whole), 0)


class FastTrainer(Trainer):
    """Trains and measures cells that `covers` says it can, one after another, on one core."""

    name = "fast"

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        splits = [split for split in (images.train, images.validation, images.test) if split]
        self.pixels = {id(split): Pixels(split.x, split.y) for split in splits}
        per_input = torch.ones((1, *images.inputs), dtype=torch.float64)
        self.shift, self.unit = (padded((per_input * each).float().numpy().ravel()) for each in (images.shift, 1 / images.scale))
        self.slope = np.float32(getattr(self.net.module.activation, "negative_slope", 0.0))
        self.module: MLP = self.net.module  # pyright: ignore[reportAttributeAccessIssue]
        nothing = np.zeros(self.module.sizes[0], bool)
        self.anything = Still(nothing, nothing)
        self.dark = Dark(self.pixels[id(images.train)].some, self.shift[:len(nothing)], self.unit[:len(nothing)])
        self.seen: Plan | None = None
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

    def train(self, cell: Cell, start: Start, round_: int, name: str = "") -> Trained:
        """One round: every step of it, the curve on the grid, and the weights at the lowest validation loss."""
        began, measuring = time.perf_counter(), 0.0
        with flushed_denormals():
            run = self.run(cell, start, round_)
            self.seen = Plan(self.net, start.w, start.mask, PANEL, self.anything, self.dark, moves=True)  # For all points of this round's curve.
            rewind_at = cell.reset.options.get("step") if round_ == 0 else None
            first = first_step(cell, round_)
            stops = sorted({step for step in (*self.grid, first, rewind_at) if step is not None and first <= step <= self.steps})
            curve: dict[str, list[float]] = {"step": [], "train_loss": []}
            best, w_early, early_step, w_step = float("inf"), None, None, None
            summed, since, diverged = 0.0, 0, False
            for here, next_ in zip(stops, [*stops[1:], None], strict=True):
                self.net.w.copy_(run.w())
                if here in self.grid or here == first:
                    paused = time.perf_counter()
                    point = self._point(here)
                    if since:
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
        self.seen = None
        w = self.net.w.clone()
        return Trained(w, w_early, early_step, w_step, run.moments(), curve, self.steps,
                       {"train": time.perf_counter() - began - measuring, "evaluate": measuring}, diverged or not bool(w.isfinite().all()))

    def run(self, cell: Cell, start: Start, round_: int) -> "Run":
        return Run(self, cell, start, round_)

    def measure(self, w: Tensor) -> dict[str, dict[str, float] | None]:
        """As the reference measures; every split through one plan."""
        self.seen = Plan(self.net, w, w != 0, PANEL, self.anything, self.dark, moves=False)
        try:
            return super().measure(w)
        finally:
            self.seen = None

    @torch.no_grad()
    def _here(self, split: Split) -> dict[str, float]:
        w, plan, pixels = self.net.w, self.seen, self.pixels[id(split)]
        assert plan is not None, "a plan is made where a round begins, and where one is measured"
        if self.known is None or not torch.equal(self.known[0], w):
            self.known = (w.clone(), {})
        if id(split) in self.known[1]:  # The last point of a round's curve is its end.
            return self.known[1][id(split)]
        batches = plan.batches(pixels, pixels.everything, self.dark, self.shift, self.unit)
        room = plan.room(learns=False)
        loss, correct = kernels.evaluate(len(split.y), batches, plan.layout, plan.gather(w), room, self.slope)
        found = {"loss": loss / len(split.y), "accuracy": correct / len(split.y), "correct": correct, "count": len(split.y)}
        self.known[1][id(split)] = found
        return found


class Run:
    """One round of one cell in the kernels' arrays."""

    def __init__(self, trainer: FastTrainer, cell: Cell, start: Start, round_: int):
        self.trainer, self.cell, self.start, self.round = trainer, cell, start, round_
        moves = bool(cell.weight_decay or start.moments)
        net, images, steps = trainer.net, cell.batch_size, trainer.steps
        net.w.copy_(start.w)
        self.plan = plan = Plan(net, start.w, start.mask, images, trainer.still(moves), trainer.dark, moves)
        self.kind = ADAM if cell.optimiser != "sgd" else MOMENTUM if cell.momentum else SGD
        self.made = [plan.gather(start.w), *(aligned(plan.size if needed else 0) for needed in (self.kind != SGD, self.kind == ADAM))]
        for made, moment in zip(self.made[1:], start.moments, strict=False):
            made[plan.at] = moment.numpy()[plan.of]
        self.done = int(start.moments[2]) if self.kind == ADAM and start.moments else 0
        depth = len(plan.layers)
        dropout = trainer.module.dropout.p
        self.first = first_step(cell, round_)
        keys = self._dropout_keys(steps, depth - 1) if dropout else np.zeros(0, np.uint64)
        order = streams.batch_order(len(trainer.images.train.y), images, steps, _order_seed(cell), round_).numpy().ravel()
        pixels = trainer.pixels[id(trainer.images.train)]
        self.batches = plan.batches(pixels, order, trainer.dark, trainer.shift, trainer.unit)
        w, m, v = self.made
        self.state, self.room = State(w, m, v, aligned(plan.size + 8)), plan.room()
        below = streams.dropout_below(dropout)
        self.recipe = kernels.Recipe(self._rule(), self._paces(steps), trainer.slope, keys, below)

    def steps(self, first: int, last: int) -> float:
        """Train steps first .. last - 1; the sum of their losses."""
        return kernels.train_steps(first, last, self.batches, self.plan.layout, self.state, self.room, self.recipe)

    def w(self) -> Tensor:
        return self.plan.scatter(self.made[0], self.start.w, self.start.w)

    def moments(self) -> list[Tensor]:
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

    def _rule(self) -> Rule:
        cell = self.cell
        l2 = cell.weight_decay if cell.optimiser != "adamw" else 0.0
        return Rule(self.kind, f32(l2), f32(cell.momentum), f32(1 - BETA1), f32(BETA2), f32(1 - BETA2), f32(EPS))

    def _paces(self, steps: int) -> np.ndarray:
        cell, paces = self.cell, np.zeros(steps, PACE)
        factor = lr_schedule.get(cell.lr_schedule.name)
        shares = [progress(cell, self.round, step, steps) for step in range(steps)]
        lr = np.array([cell.lr * factor({"progress": lambda share=share: share}, cell.lr_schedule.options) for share in shares])
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
