"""The trainer of chains of convolutions: in compiled kernels, dense or sparse layer by layer, on one core."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.chains import chain_of
from sweepstake.engine.compiled import KernelRound, KernelTrainer, flushed_denormals
from sweepstake.engine.images import Images, Split
from sweepstake.engine.kernels.conv import step as kernels
from sweepstake.engine.kernels.conv.plan import ConvPlan
from sweepstake.engine.kernels.records import PANEL
from sweepstake.engine.train import Start, Watch, measured


class ConvTrainer(KernelTrainer[ConvPlan]):
    """Trains and measures cells that `choose.covers_chain` says it can, one after another, on one core."""

    name = "conv"

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        super().__init__(cell, images, watch)
        chain = chain_of(self.net.module, images.inputs)
        assert chain is not None, "choose.py gives this trainer chains alone"
        self.chain, self.slope = chain, np.float32(chain.slope)

    def is_compiled(self) -> bool:
        return kernels.are_compiled()

    def compile(self) -> None:
        w, nothing = self.net.w.clone(), torch.zeros(self.net.size, dtype=torch.bool)
        with self.begin(self.cell, Start(w, nothing), 0) as round_:
            round_.advance(0, 0, [0.0])
        self._evaluate(0, self.images.test, w, self.plan_to_measure(w, nothing, moves=False))

    @contextmanager
    def begin(self, cell: Cell, start: Start, round_: int) -> Iterator["ConvRound"]:
        with flushed_denormals():
            yield ConvRound(self, cell, start, round_)

    def plan_to_measure(self, w: Tensor, mask: Tensor, moves: bool) -> ConvPlan:
        return ConvPlan(self.net, self.chain, w, mask, PANEL, moves)

    def evaluate(self, split: Split, w: Tensor, plan: ConvPlan) -> dict[str, float]:
        count = len(split.y)
        return measured(*self._evaluate(count, split, w, plan), count)

    def _evaluate(self, count: int, split: Split, w: Tensor, plan: ConvPlan) -> tuple[float, int, int]:
        """The summed loss of the split's first `count` images, and how many are right, and right in the top 5."""
        pixels, own = self.pixels[id(split)], plan.placed.gather(w)
        pictures = plan.pictures(pixels, pixels.everything, self.shift, self.unit)
        conv_room, room = plan.room(learns=False)
        return kernels.evaluate(count, pictures, plan.conv_layout, conv_room, plan.layout, own, room, self.slope)


class ConvRound(KernelRound):
    """A round of one cell: what is alive of each layer, dense or sparse."""

    def __init__(self, trainer: ConvTrainer, cell: Cell, start: Start, round_: int):
        super().__init__(trainer, cell, start, round_)
        moves = bool(cell.weight_decay or start.moments)
        self.plan = plan = ConvPlan(trainer.net, trainer.chain, start.w, start.mask, cell.batch_size, moves)
        self.state = plan.placed.state(start.w, start.moments, self.needed)
        self.made = [*self.state[:3]]
        pixels = trainer.pixels[id(trainer.images.train)]
        self.pictures = plan.pictures(pixels, self.order().ravel(), trainer.shift, trainer.unit)
        self.conv_room, self.room = plan.room()
        dropouts = trainer.chain.dropouts
        below = np.array([streams.dropout_below(each[1] if each else 0.0) for each in dropouts], np.int64)
        self.recipe = kernels.ConvRecipe(self.rule(), self.paces(), trainer.slope, self._keys(dropouts), below,
                                         plan.inputs_as_units(), plan.inputs)

    def _keys(self, dropouts: list[tuple[int, float] | None]) -> np.ndarray:
        """A key a step and linear layer, whose dropout it is: (steps * linear layers)."""
        if not any(dropouts):
            return np.zeros(0, np.uint64)
        keys = np.zeros((self.trainer.steps, len(dropouts)), np.uint64)
        for n, dropout in enumerate(dropouts):
            if dropout:
                count = self.trainer.steps - self.first
                keys[self.first:, n] = streams.dropout_keys(count, self.cell.seed, self.round, dropout[0])
        return keys.ravel()

    def steps(self, first: int, last: int) -> float:
        return kernels.train_steps(first, last, self.pictures, self.plan.conv_layout, self.conv_room, self.plan.layout,
                                   self.state, self.room, self.recipe)

    def w(self, seat: int = 0) -> Tensor:
        return self.plan.placed.scatter(self.made[0], self.start.w)

    def flat(self, made: np.ndarray) -> Tensor:
        return self.plan.placed.scatter(made, torch.zeros_like(self.start.w))
