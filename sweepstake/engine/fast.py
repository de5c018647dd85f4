"""The fast trainer: the reference trainer's cell with only what is alive computed, many steps in one call."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.compiled import KernelRound, KernelTrainer, flushed_denormals
from sweepstake.engine.images import Images, Split
from sweepstake.engine.kernels import step as kernels
from sweepstake.engine.kernels.pixels import Dark, Still
from sweepstake.engine.kernels.plan import Plan
from sweepstake.engine.kernels.records import PANEL
from sweepstake.engine.train import Start, Watch, measured
from sweepstake.pieces.networks import MLP


class FastTrainer(KernelTrainer[Plan]):
    """Trains and measures cells that `choose.covers` says it can, one after another, on one core."""

    name = "fast"

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        self.slope = np.float32(getattr(self.net.module.activation, "negative_slope", 0.0))
        self.module: MLP = self.net.module  # pyright: ignore[reportAttributeAccessIssue]
        nothing = np.zeros(self.module.sizes[0], bool)
        self.anything = Still(nothing, nothing)
        self.dark = Dark(self.pixels[id(images.train)].some, self.shift[:len(nothing)], self.unit[:len(nothing)])

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

    def plan_to_measure(self, w: Tensor, mask: Tensor, moves: bool) -> Plan:
        return Plan(self.net, w, mask, PANEL, self.anything, self.dark, moves)

    def evaluate(self, split: Split, w: Tensor, plan: Plan) -> dict[str, float]:
        pixels = self.pixels[id(split)]
        batches = plan.batches(pixels, pixels.everything, self.dark, self.shift, self.unit)
        room, count = plan.room(learns=False), len(split.y)
        loss, correct, top5 = kernels.evaluate(count, batches, plan.layout, plan.gather(w), room, self.slope)
        return measured(loss, correct, top5, count)


class FastRound(KernelRound):
    """A round in float32: what is alive of each layer, as dense tiles or sparse rows."""

    def __init__(self, trainer: FastTrainer, cell: Cell, start: Start, round_: int):
        super().__init__(trainer, cell, start, round_)
        moves = bool(cell.weight_decay or start.moments)
        still, dark = trainer.still(moves), trainer.dark
        self.plan = plan = Plan(trainer.net, start.w, start.mask, cell.batch_size, still, dark, moves)
        self.state = plan.placed.state(start.w, start.moments, self.needed)
        self.made = [*self.state[:3]]
        dropout = trainer.module.dropout.p
        keys = self.dropout_keys(len(plan.layers) - 1) if dropout else np.zeros(0, np.uint64)
        pixels = trainer.pixels[id(trainer.images.train)]
        self.batches = plan.batches(pixels, self.order().ravel(), trainer.dark, trainer.shift, trainer.unit)
        self.room = plan.room()
        self.recipe = kernels.Recipe(self.rule(), self.paces(), trainer.slope, keys, streams.dropout_below(dropout))

    def steps(self, first: int, last: int) -> float:
        return kernels.train_steps(first, last, self.batches, self.plan.layout, self.state, self.room, self.recipe)

    def w(self, seat: int = 0) -> Tensor:
        return self.plan.scatter(self.made[0], self.start.w, self.start.w)

    def flat(self, made: np.ndarray) -> Tensor:
        zero = torch.zeros_like(self.start.w)
        return self.plan.scatter(made, zero, zero)
