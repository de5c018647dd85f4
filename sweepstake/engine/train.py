"""The loop over the steps of a round, written once for every trainer, and the types they share.

A trainer makes the steps: `plain.py` in PyTorch, `thin.py` without dead units, `fast.py`, `half.py` and `conv.py` in
compiled kernels, `stacked.py` for many cells at once. `train_round` does what happens between the steps: the learning
curve, the early stop, the rewind point, the end of a cell that diverges. `choose.py` says which trainer takes a cell.
"""

import ctypes
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, isfinite, nan
from typing import Protocol

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine.build import build_net
from sweepstake.engine.examples import OfImages
from sweepstake.engine.images import Images
from sweepstake.engine.network import Net
from sweepstake.pieces import lr_schedule, reset

Watch = Callable[[str, int, int, int], None]
"""watch(id of the cell, round, steps done, steps in the round): called at each point of the learning curve."""

Measured = dict[str, dict[str, float] | None]
"""Split -> {loss, accuracy, correct, count, top5}; None for a split that the cell does not have."""


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next step, since fresh pages cost a tenth of a step."""
    mmap_threshold, trim_threshold = -3, -1
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 32 * 2**20)  # The most glibc takes.
        mallopt(trim_threshold, 2**30)


# Where a round begins and what it leaves

@dataclass
class Start:
    """Where a round begins."""

    w: Tensor
    mask: Tensor
    moments: list[Tensor] = field(default_factory=list[Tensor])


@dataclass
class Trained:
    """The result of training a round: weights at its end, at early stop and at the rewind step, and the curve."""

    w_final: Tensor
    w_early: Tensor | None
    early_step: int | None
    w_step: Tensor | None
    moments: list[Tensor]
    curve: dict[str, list[float]]
    steps: int
    seconds: dict[str, float]
    diverged: bool = False


# Which steps

def steps_in_round(cell: Cell, train_count: int) -> int:
    """Epochs are passes over the training images, counted in whole steps: 5 epochs of 60,000 in 60s are 5,000 steps."""
    if cell.steps is not None:
        return cell.steps
    return ceil(Fraction(str(cell.epochs or 0)) * train_count / cell.batch_size)


def first_step(cell: Cell, round_: int) -> int:
    """The step at which a round begins: 0, or k after a rewind to step k of round 0.

    Such a round has k steps fewer of the same schedule (Frankle et al. 2020; Renda et al. 2020).
    """
    return cell.reset.options.get("step", 0) if round_ > 0 else 0


def rewind_step(cell: Cell, round_: int) -> int | None:
    """The step of round 0 whose weights later rounds go back to, where the cell's reset asks for one."""
    return cell.reset.options.get("step") if round_ == 0 else None


def curve_steps(cell: Cell, steps: int, train_count: int) -> set[int]:
    """The steps at which the curve has a point: every `eval_every` steps (once an epoch if 0), and the last."""
    every = cell.eval_every or -(-train_count // cell.batch_size)
    return {*range(0, steps, every), steps}


def order_seed(cell: Cell) -> int:
    """The seed that the order of the images is drawn from."""
    return cell.seed if cell.order_seed is None else cell.order_seed


def progress(cell: Cell, round_: int, step: int, steps: int) -> float:
    """Where a step is in the learning-rate schedule, from 0 to 1. Fine-tuning stays where round 0 ended."""
    last = round_ > 0 and reset.get(cell.reset.name).traits.get("lr") == "last"
    return (steps - 1 if last else step) / steps


def learning_rate(cell: Cell, round_: int, step: int, steps: int) -> float:
    """The cell's rate times its schedule's factor at this step."""
    factor = lr_schedule.get(cell.lr_schedule.name)
    return cell.lr * factor({"progress": lambda: progress(cell, round_, step, steps)}, cell.lr_schedule.options)


# The contract

class Round(Protocol):
    """A round in progress, of one cell or of several side by side: what a trainer offers to the loop.

    `seat` numbers the cells. A trainer of one cell has seat 0 alone.
    """

    def advance(self, first: int, last: int, losses: list[float]) -> list[float]:
        """Train steps first .. last - 1; `losses`, a sum a cell, with the loss of each step added."""
        ...

    def points(self) -> list[dict[str, float]]:
        """A point of each cell's learning curve, measured now, without the step and the training loss."""
        ...

    def w(self, seat: int = 0) -> Tensor:
        """A copy of the weights of a cell, as they are now."""
        ...

    def moments(self, seat: int = 0) -> list[Tensor]:
        """What the optimiser holds of a cell: [momentum], or [first, second, steps], or nothing."""
        ...


class Trains(Protocol):
    """What the loop needs of a trainer besides its round."""

    steps: int
    grid: set[int]
    watch: Watch


class Trainer(ABC):
    """Trains and measures cells of one program, one after another. A subclass provides `begin` and `measure`."""

    name: str

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        self.cell, self.images, self.watch = cell, images, watch
        self.examples = OfImages(images)
        self.net: Net = build_net(cell, images.inputs, images.classes)
        self.steps = steps_in_round(cell, len(images.train.y))
        self.grid = curve_steps(cell, self.steps, len(images.train.y))

    def is_compiled(self) -> bool:
        """Whether `compile` has nothing to compile on this machine."""
        return True

    def compile(self) -> None:
        """Compile what its rounds run, or read it from disk, where nothing did so before."""
        return
        return

    @abstractmethod
    def begin(self, cell: Cell, start: Start, round_: int) -> AbstractContextManager[Round]:
        """A round of the cell, at its first step. Its resources are held until the context ends."""

    @abstractmethod
    def measure(self, w: Tensor) -> Measured:
        """Loss and accuracy of these weights on every split, each image counted once."""

    def train(self, cell: Cell, start: Start, round_: int, name: str = "") -> Trained:
        """One round of the cell, from its first step to its end."""
        with self.begin(cell, start, round_) as running:
            (trained,) = train_round(self, running, [cell], round_, [name])
        return trained


# The loop

def train_round(
    trainer: Trains, running: Round, cells: Sequence[Cell], round_: int, names: Sequence[str]
) -> list[Trained]:
    """Train every step of a round, with a point of the curve at each step of the grid. Returns each cell's result."""
    steps, first = trainer.steps, first_step(cells[0], round_)
    rewinds = [rewind_step(cell, round_) for cell in cells]
    stops = sorted({step for step in (*trainer.grid, first, *rewinds) if step is not None and first <= step <= steps})
    seats = [Seat() for _ in cells]
    losses, since = [0.0] * len(cells), 0
    began, measuring = time.perf_counter(), 0.0
    for here, following in zip(stops, [*stops[1:], steps], strict=True):
        if here in trainer.grid or here == first:
            paused = time.perf_counter()
            for number, (seat, point) in enumerate(zip(seats, running.points(), strict=True)):
                if not seat.diverged:
                    train_loss = losses[number] / since if since else nan
                    seat.see({"step": here, "train_loss": train_loss, **point}, lambda c=number: running.w(c))
                    trainer.watch(names[number], round_, here, steps)
            losses, since = [0.0] * len(cells), 0
            measuring += time.perf_counter() - paused
        for number, seat in enumerate(seats):
            if here == rewinds[number] and not seat.diverged:
                seat.w_step = running.w(number)
        if all(seat.diverged for seat in seats):
            break
        if here < following:
            losses = running.advance(here, following, losses)
            since += following - here
    spent = {"train": time.perf_counter() - began - measuring, "evaluate": measuring}
    share = {part: seconds / len(cells) for part, seconds in spent.items()}
    return [seat.trained(running, number, steps, share) for number, seat in enumerate(seats)]


class Seat:
    """One cell's round so far: its curve, and the weights that are kept."""

    def __init__(self):
        self.curve: dict[str, list[float]] = {}
        self.lowest, self.early_step = float("inf"), None
        self.w_early: Tensor | None = None
        self.w_step: Tensor | None = None
        self.w_diverged: Tensor | None = None
        """The weights when the training loss was first not finite: there the cell has ended."""

    @property
    def diverged(self) -> bool:
        return self.w_diverged is not None

    def see(self, point: Mapping[str, float], w: Callable[[], Tensor]) -> None:
        """Add a point to the curve. Keep the weights of the lowest validation loss, and those of a divergence."""
        for key, value in point.items():
            self.curve.setdefault(key, []).append(value)
        if point.get("validation_loss", float("inf")) < self.lowest:
            self.lowest, self.early_step, self.w_early = point["validation_loss"], int(point["step"]), w()
        if len(self.curve["step"]) > 1 and not isfinite(point["train_loss"]):  # The first point has no loss yet.
            self.w_diverged = w()

    def trained(self, running: Round, seat: int, steps: int, seconds: Mapping[str, float]) -> Trained:
        w_final = running.w(seat) if self.w_diverged is None else self.w_diverged
        w_early, w_step = (None if w is None else w.cpu() for w in (self.w_early, self.w_step))
        diverged = self.diverged or not bool(w_final.isfinite().all())
        return Trained(w_final.cpu(), w_early, self.early_step, w_step, running.moments(seat), self.curve, steps,
                       dict(seconds), diverged)


def curve_point(here: Callable[..., dict[str, float]], images: Images) -> dict[str, float]:
    """A point of the curve: loss and accuracy on the validation split (if there is one) and on the test split."""
    splits = {"validation": images.validation, "test": images.test}
    measured = {name: here(split) for name, split in splits.items() if split}
    return {f"{name}_{key}": each[key] for name, each in measured.items() for key in ("loss", "accuracy")}


def measured(loss: float, correct: int, top5: int, count: int) -> dict[str, float]:
    """What is measured of a split, from its summed loss and its counts of images."""
    return {"loss": loss / count, "accuracy": correct / count, "correct": correct, "count": count, "top5": top5 / count}


def in_top5(logits: Tensor, y: Tensor) -> Tensor:
    """Whether each label's logit is among the five largest; of equals, as in an argmax, the first is the larger."""
    own, place = logits.gather(-1, y.unsqueeze(-1)), torch.arange(logits.shape[-1], device=y.device)
    ahead = (logits > own) | ((logits == own) & (place < y.unsqueeze(-1)))
    return ahead.sum(-1) < 5


def on_every_split(here: Callable[..., dict[str, float]], images: Images) -> Measured:
    """`here` of each split; None for a split that the cell does not have."""
    splits = {"train": images.train, "validation": images.validation, "test": images.test}
    return {name: here(split) if split else None for name, split in splits.items()}
