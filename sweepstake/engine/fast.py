"""The fast trainer: the reference trainer's cell with only what is alive computed, many steps in one call."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.images import Images, Split
from sweepstake.engine.kernels import step as kernels
from sweepstake.engine.kernels.optimiser import ADAM, MOMENTUM, PACE, SGD, Rule
from sweepstake.engine.kernels.pixels import Dark, Pixels, Still
from sweepstake.engine.kernels.placing import aligned, padded
from sweepstake.engine.kernels.plan import Plan
from sweepstake.engine.kernels.records import PANEL, State, f32
from sweepstake.engine.train import (
    Measured,
    Start,
    Trainer,
    Watch,
    curve_point,
    first_step,
    learning_rate,
    measured,
    on_every_split,
    order_seed,
)
from sweepstake.pieces.networks import MLP

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's, as torch has them by default."""


class FastTrainer(Trainer):
    """Trains and measures cells that `choose.covers` says it can, one after another, on one core."""

    name = "fast"

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        splits = [split for split in (images.train, images.validation, images.test) if split]
        self.pixels = {id(split): Pixels(split.x, split.y) for split in splits}
        per_input = torch.ones((1, *images.inputs), dtype=torch.float64)
        scaling = images.shift, 1 / images.scale
        self.shift, self.unit = (padded((per_input * each).float().numpy().ravel()) for each in scaling)
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
    def begin(self, cell: Cell, start: Start, round_: int) -> Iterator["KernelRound"]:
        with flushed_denormals():
            yield self.round_of(cell, start, round_)

    def round_of(self, cell: Cell, start: Start, round_: int) -> "KernelRound":
        return FastRound(self, cell, start, round_)

    def measure(self, w: Tensor) -> Measured:
        """As the reference measures; every split through one plan."""
        plan = self.plan_to_measure(w, w != 0, moves=False)
        return on_every_split(lambda split: self.measure_split(split, w, plan), self.images)

    def plan_to_measure(self, w: Tensor, mask: Tensor, moves: bool) -> Plan:
        return Plan(self.net, w, mask, PANEL, self.anything, self.dark, moves)

    def measure_split(self, split: Split, w: Tensor, plan: Plan) -> dict[str, float]:
        """Loss and accuracy of these weights; asked again of the same weights, what was measured before."""
        pixels = self.pixels[id(split)]
        if self.known is None or not torch.equal(self.known[0], w):
            self.known = (w.clone(), {})
        if id(split) in self.known[1]:  # The last point of a round's curve is its end.
            return self.known[1][id(split)]
        batches = plan.batches(pixels, pixels.everything, self.dark, self.shift, self.unit)
        room = plan.room(learns=False)
        count = len(split.y)
        loss, correct, top5 = kernels.evaluate(count, batches, plan.layout, plan.gather(w), room, self.slope)
        found = measured(loss, correct, top5, count)
        self.known[1][id(split)] = found
        return found


class KernelRound(ABC):
    """A round of one cell whose steps are made by compiled kernels, in arrays of their own.

    `made` holds them: weights, and the moments that the optimiser has.
    """

    made: list[np.ndarray]

    def __init__(self, trainer: FastTrainer, cell: Cell, start: Start, round_: int):
        self.trainer, self.cell, self.start, self.round = trainer, cell, start, round_
        self.kind = ADAM if cell.optimiser != "sgd" else MOMENTUM if cell.momentum else SGD
        self.done = int(start.moments[2]) if self.kind == ADAM and start.moments else 0
        self.first = first_step(cell, round_)
        self.to_measure = trainer.plan_to_measure(start.w, start.mask, moves=True)

    @abstractmethod
    def steps(self, first: int, last: int) -> float:
        """Train steps first .. last - 1; the sum of their losses."""

    @abstractmethod
    def flat(self, made: np.ndarray) -> Tensor:
        """One of the kernels' arrays of moments as the network's vector, 0 where nothing is computed."""

    @abstractmethod
    def w(self, seat: int = 0) -> Tensor: ...

    def advance(self, first: int, last: int, losses: list[float]) -> list[float]:
        return [losses[0] + self.steps(first, last)]

    def points(self) -> list[dict[str, float]]:
        w = self.w()
        return [curve_point(lambda split: self.trainer.measure_split(split, w, self.to_measure), self.trainer.images)]

    def moments(self, seat: int = 0) -> list[Tensor]:
        steps = self.done + self.trainer.steps - self.first
        if self.kind == SGD or not (steps or self.start.moments):
            return []
        moments = [self.flat(made) for made in self.made[1:] if len(made)]
        return [*moments, torch.tensor(float(steps))] if self.kind == ADAM else moments

    def order(self) -> np.ndarray:
        """The images of each step, (steps, images of a batch)."""
        count = len(self.trainer.images.train.y)
        seed = order_seed(self.cell)
        return streams.batch_order(count, self.cell.batch_size, self.trainer.steps, seed, self.round).numpy()

    def dropout_keys(self, layers: int) -> np.ndarray:
        """A key a step and layer; those of the steps before the first are never drawn with."""
        unused = np.zeros(self.first * layers, np.uint64)
        count = (self.trainer.steps - self.first) * layers
        return np.append(unused, streams.dropout_keys(count, self.cell.seed, self.round, 0))

    def rule(self) -> Rule:
        cell = self.cell
        l2 = cell.weight_decay if cell.optimiser != "adamw" else 0.0
        return Rule(self.kind, f32(l2), f32(cell.momentum), f32(1 - BETA1), f32(BETA2), f32(1 - BETA2), f32(EPS))

    def paces(self) -> np.ndarray:
        """Of each step, the rate and Adam's corrections."""
        cell, steps = self.cell, self.trainer.steps
        paces = np.zeros(steps, PACE)
        lr = np.array([learning_rate(cell, self.round, step, steps) for step in range(steps)])
        t = np.maximum(self.done + 1 + np.arange(steps) - self.first, 1)
        paces["rate"] = lr / (1 - BETA1 ** t) if self.kind == ADAM else lr
        paces["second"] = 1 / np.sqrt(1 - BETA2 ** t)
        paces["decay"] = 1 - lr * cell.weight_decay if cell.optimiser == "adamw" else 1
        return paces


class FastRound(KernelRound):
    """A round in float32: what is alive of each layer, as dense tiles or sparse rows."""

    def __init__(self, trainer: FastTrainer, cell: Cell, start: Start, round_: int):
        super().__init__(trainer, cell, start, round_)
        moves = bool(cell.weight_decay or start.moments)
        still, dark = trainer.still(moves), trainer.dark
        self.plan = plan = Plan(trainer.net, start.w, start.mask, cell.batch_size, still, dark, moves)
        needed = self.kind != SGD, self.kind == ADAM
        self.made = [plan.gather(start.w), *(aligned(plan.size if each else 0) for each in needed)]
        for made, moment in zip(self.made[1:], start.moments, strict=False):
            made[plan.at] = moment.numpy()[plan.of]
        dropout = trainer.module.dropout.p
        keys = self.dropout_keys(len(plan.layers) - 1) if dropout else np.zeros(0, np.uint64)
        pixels = trainer.pixels[id(trainer.images.train)]
        self.batches = plan.batches(pixels, self.order().ravel(), trainer.dark, trainer.shift, trainer.unit)
        w, m, v = self.made
        self.state, self.room = State(w, m, v, aligned(plan.size + 8)), plan.room()
        self.recipe = kernels.Recipe(self.rule(), self.paces(), trainer.slope, keys, streams.dropout_below(dropout))

    def steps(self, first: int, last: int) -> float:
        return kernels.train_steps(first, last, self.batches, self.plan.layout, self.state, self.room, self.recipe)

    def w(self, seat: int = 0) -> Tensor:
        return self.plan.scatter(self.made[0], self.start.w, self.start.w)

    def flat(self, made: np.ndarray) -> Tensor:
        zero = torch.zeros_like(self.start.w)
        return self.plan.scatter(made, zero, zero)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Inside, numbers below 1e-38 count as 0: a CPU takes a hundred times as long over them.

    The thread's own setting comes back.
    """
    already = bool(torch.tensor([1e-39]) * 1 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)
