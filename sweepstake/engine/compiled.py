"""What the trainers in compiled kernels share: the data as rows of bytes, the measuring, and the round of one cell."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.images import Images, Split
from sweepstake.engine.kernels.optimiser import ADAM, MOMENTUM, PACE, SGD, Rule
from sweepstake.engine.kernels.pixels import Pixels
from sweepstake.engine.kernels.placing import padded
from sweepstake.engine.kernels.records import f32
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

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
"""Adam's, as torch has them by default."""

Plan = TypeVar("Plan")
"""What is computed of a network under a mask, and where it lies."""


class KernelTrainer(Trainer, Generic[Plan]):
    """A trainer whose steps and measurements are made by compiled kernels."""

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        splits = [split for split in (images.train, images.validation, images.test) if split]
        self.pixels = {id(split): Pixels(split.x, split.y) for split in splits}
        per_input = torch.ones((1, *images.inputs), dtype=torch.float64)
        scaling = images.shift, 1 / images.scale
        self.shift, self.unit = (padded((per_input * each).float().numpy().ravel()) for each in scaling)
        self.slope = np.float32(0)
        """Of the (leaky) ReLU between layers, below 0."""
        self.known: tuple[Tensor, dict[int, dict[str, float]]] | None = None

    @abstractmethod
    def plan_to_measure(self, w: Tensor, mask: Tensor, moves: bool) -> Plan: ...

    @abstractmethod
    def evaluate(self, split: Split, w: Tensor, plan: Plan) -> dict[str, float]:
        """Loss and accuracy of these weights."""

    def measure(self, w: Tensor) -> Measured:
        """As the reference measures; every split through one plan."""
        plan = self.plan_to_measure(w, w != 0, moves=False)
        return on_every_split(lambda split: self.measure_split(split, w, plan), self.images)

    def measure_split(self, split: Split, w: Tensor, plan: Plan) -> dict[str, float]:
        """Loss and accuracy of these weights; asked again of the same weights, what was measured before."""
        if self.known is None or not torch.equal(self.known[0], w):
            self.known = (w.clone(), {})
        if id(split) not in self.known[1]:  # The last point of a round's curve is its end.
            self.known[1][id(split)] = self.evaluate(split, w, plan)
        return self.known[1][id(split)]


class KernelRound(ABC):
    """A round of one cell whose steps are made by compiled kernels, in arrays of their own.

    `made` holds them: weights, and the moments that the optimiser has.
    """

    made: list[np.ndarray]

    def __init__(self, trainer: KernelTrainer[Any], cell: Cell, start: Start, round_: int):
        self.trainer, self.cell, self.start, self.round = trainer, cell, start, round_
        self.kind = ADAM if cell.optimiser != "sgd" else MOMENTUM if cell.momentum else SGD
        self.needed = self.kind != SGD, self.kind == ADAM
        """Whether it has a first moment, and a second."""
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
