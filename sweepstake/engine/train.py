"""The loop over steps in plain PyTorch, for one cell after another: one thread, data resident, no DataLoader."""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sweepstake.base.cell import Cell, Scaling
from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.network import Net
from sweepstake.pieces import lr_schedule, reset
from sweepstake.pieces.datasets import Data
from sweepstake.pieces.networks import Dropout

Watch = Callable[[str, int, int, int], None]
"""watch(cell's id, round, steps done, steps in the round): called at each point of the learning curve."""


def keep_freed_memory() -> None:
    """Ask glibc to keep what a process frees: a step's activations are wanted again by the next, and fresh pages cost a tenth of it."""
    mmap_threshold, trim_threshold = -3, -1
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 32 * 2**20)  # The most glibc takes.
        mallopt(trim_threshold, 2**30)


@dataclass(frozen=True)
class Split:
    """Some images and their labels: uint8 and int64, never copied as floats."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Images:
    """What a cell trains on and is measured on, with its normalisation: (x - shift) / scale, a number a channel."""

    train: Split
    validation: Split | None
    test: Split
    shift: Tensor
    scale: Tensor
    inputs: tuple[int, ...]
    classes: int

    def batch(self, x: Tensor, dtype: torch.dtype, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
        return x.to(dtype, memory_format=layout).sub_(self.shift.to(dtype)).div_(self.scale.to(dtype))


def prepare(cell: Cell, data: Data) -> Images:
    """Hold out the validation split, take the subset, measure the normalisation on the training images that are left."""
    count = len(data.train_y)
    if cell.validation + max(cell.subset, 1) > count:
        raise UserError(f"validation = {cell.validation}, subset = {cell.subset}: {cell.dataset.name} has {count:,} training images. Ask for less.")
    order = streams.permutation(count, cell.split_seed, "split") if cell.validation or cell.subset else np.arange(count)
    held, rest = order[:cell.validation], order[cell.validation:]
    chosen = np.sort(rest[:cell.subset] if cell.subset else rest)
    train = _split(data.train_x, data.train_y, chosen)
    shift, scale = _normalisation(cell, train.x)
    return Images(train, _split(data.train_x, data.train_y, np.sort(held)) if cell.validation else None,
                  _split(data.test_x, data.test_y, None), shift, scale, tuple(data.train_x.shape[1:]), data.classes)


def _split(x: np.ndarray, y: np.ndarray, chosen: np.ndarray | None) -> Split:
    whole = chosen is None or len(chosen) == len(y)
    x, y = (x, y) if whole else (x[chosen], y[chosen])
    return Split(torch.from_numpy(x if x.flags.writeable else x.copy()), torch.from_numpy(np.ascontiguousarray(y)))


def _normalisation(cell: Cell, x: Tensor) -> tuple[Tensor, Tensor]:
    channels = x.shape[1]
    if isinstance(cell.normalise, Scaling):
        mean, std = cell.normalise.mean, cell.normalise.std
        if not len(mean) == len(std) == channels:
            raise UserError(f"normalise: {len(mean)} means and {len(std)} standard deviations; {cell.dataset.name} has {channels} channel(s).")
        mean, std = [m * 255 for m in mean], [s * 255 for s in std]
    elif cell.normalise == "standard":
        # From the histogram: exact, and no float copy of the images.
        counts = torch.stack([torch.bincount(x[:, c].flatten(), minlength=256) for c in range(channels)]).double()
        levels = torch.arange(256, dtype=torch.float64)
        mean = (counts @ levels / counts.sum(1)).tolist()
        std = [max(1e-6, float((c @ (levels - m) ** 2 / c.sum()).sqrt())) for c, m in zip(counts, mean, strict=True)]
    else:
        mean, std = [0.0] * channels, [255.0 if cell.normalise == "unit" else 1.0] * channels
    return (torch.tensor(v, dtype=torch.float64).view(1, channels, 1, 1) for v in (mean, std))  # pyright: ignore[reportReturnType]


@dataclass
class Trained:
    """What a round's training left: weights at the end, at early stop, at the rewind step, and the learning curve."""

    w_final: Tensor
    w_early: Tensor | None
    early_step: int | None
    w_step: Tensor | None
    moments: list[Tensor]
    curve: dict[str, list[float]]
    steps: int
    seconds: dict[str, float]
    diverged: bool = False


@dataclass
class Start:
    """Where a round begins."""

    w: Tensor
    mask: Tensor
    moments: list[Tensor] = field(default_factory=list[Tensor])


def steps_in_round(cell: Cell, train_count: int) -> int:
    """Epochs are passes over the training images, counted in whole steps: 5 epochs of 60,000 in 60s are 5,000 steps."""
    return cell.steps if cell.steps is not None else ceil(Fraction(str(cell.epochs or 0)) * train_count / cell.batch_size)


def first_step(cell: Cell, round_: int) -> int:
    """Where a round begins: at 0, or, rewound to step k of round 0, at k, as if the steps before it had been taken already
    (Frankle et al. 2020; Renda et al. 2020): the same schedule, and k steps fewer."""
    return cell.reset.options.get("step", 0) if round_ > 0 else 0


def progress(cell: Cell, round_: int, step: int, steps: int) -> float:
    """Where in the learning-rate schedule a step is: fine-tuning stays where round 0 ended."""
    last = round_ > 0 and reset.get(cell.reset.name).traits.get("lr") == "last"
    return (steps - 1 if last else step) / steps


class Trainer:
    """Trains and measures cells of one program (a stack), one after another, in plain PyTorch."""

    name = "reference"

    def __init__(self, cell: Cell, images: Images, watch: Watch = lambda *_: None):
        self.images, self.watch = images, watch
        self.net = Net(cell, images.inputs, images.classes)
        self.dtype = self.net.w.dtype
        convolves = any(slot.kind == "conv" for slot in self.net.slots)
        self.layout = torch.channels_last if convolves else torch.contiguous_format
        self.steps = steps_in_round(cell, len(images.train.y))
        self.grid = set(_grid(cell, self.steps, len(images.train.y)))

    def train(self, cell: Cell, start: Start, round_: int, name: str = "") -> Trained:
        """One round: every step of it, the curve on the grid, and the weights at the lowest validation loss."""
        self._seed_dropout(cell, round_)
        with streams.torch_draws(cell.seed, "dropout", round_):
            return self._train(cell, start, round_, name)

    def _train(self, cell: Cell, start: Start, round_: int, name: str) -> Trained:
        net, images = self.net, self.images
        live = None if bool(start.mask[:net.learnt].all()) else start.mask[:net.learnt].to(self.dtype)
        net.w.copy_(start.w)
        moments = start.moments
        if live is not None:
            # Dead weights begin at 0 with moments of 0 and never see a gradient: no step moves them, so none has to put them back.
            net.w[:net.learnt].mul_(live)
            moments = [moment * live if moment.dim() else moment for moment in moments]
        optimiser = _optimiser(cell, net.w[:net.learnt], net.grad[:net.learnt], moments)
        order = streams.batch_order(len(images.train.y), cell.batch_size, self.steps, _order_seed(cell), round_)
        rate = lr_schedule.get(cell.lr_schedule.name)
        rewind_at = cell.reset.options.get("step") if round_ == 0 else None
        w_step = net.w.clone() if rewind_at == 0 else None
        curve: dict[str, list[float]] = {"step": [], "train_loss": []}
        best, w_early, early_step = float("inf"), None, None
        summed, since = torch.zeros((), dtype=torch.float64), 0
        began, measuring = time.perf_counter(), 0.0
        diverged = False
        first = first_step(cell, round_)
        for step in range(first, self.steps + 1):
            if step in self.grid or step == first:
                paused = time.perf_counter()
                point = self._point(step)
                if since:
                    point["train_loss"] = float(summed) / since
                    diverged = not np.isfinite(point["train_loss"])
                summed.zero_()
                since = 0
                for key, value in point.items():
                    curve.setdefault(key, []).append(value)
                if images.validation and point["validation_loss"] < best:
                    best, w_early, early_step = point["validation_loss"], net.w.clone(), step
                self.watch(name, round_, step, self.steps)
                measuring += time.perf_counter() - paused
            if step == self.steps or diverged:
                break
            share = progress(cell, round_, step, self.steps)
            optimiser.param_groups[0]["lr"] = cell.lr * rate({"progress": lambda share=share: share}, cell.lr_schedule.options)
            summed += self._step(cell, order[step], live, optimiser)
            since += 1
            if step + 1 == rewind_at:
                w_step = net.w.clone()
        return Trained(net.w.clone(), w_early, early_step, w_step, _moments(optimiser), curve, self.steps,
                       {"train": time.perf_counter() - began - measuring, "evaluate": measuring},
                       diverged or not bool(net.w.isfinite().all()))

    def _step(self, cell: Cell, chosen: Tensor, live: Tensor | None, optimiser: torch.optim.Optimizer) -> Tensor:
        net, images = self.net, self.images
        net.module.train()
        net.grad.zero_()
        x = images.batch(images.train.x.index_select(0, chosen), self.dtype, self.layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=cell.precision == "bfloat16"):
            loss = cross_entropy(net.module(x), images.train.y.index_select(0, chosen))
        loss.backward()
        if live is not None:
            net.grad[:net.learnt].mul_(live)
        optimiser.step()
        return loss.detach().double()

    def _point(self, step: int) -> dict[str, float]:
        """One point of the learning curve. The validation split, where there is one, is what early stopping looks at."""
        point = {"step": step, "train_loss": float("nan")}
        if self.images.validation:
            point |= {f"validation_{k}": v for k, v in self._here(self.images.validation).items() if k in ("loss", "accuracy")}
        return point | {f"test_{k}": v for k, v in self._here(self.images.test).items() if k in ("loss", "accuracy")}

    def measure(self, w: Tensor) -> dict[str, dict[str, float] | None]:
        """Loss and accuracy of these weights on every split, each image counted once."""
        self.net.w.copy_(w)
        splits = {"train": self.images.train, "validation": self.images.validation, "test": self.images.test}
        # A module that draws when it is measured (dropout left on) draws the same each time.
        with streams.torch_draws(0, "measure"):
            return {name: self._here(split) if split else None for name, split in splits.items()}

    @torch.no_grad()
    def _here(self, split: Split) -> dict[str, float]:
        self.net.module.eval()
        loss, correct = 0.0, 0
        for x, y in _in_pieces(split):
            logits = self.net.module(self.images.batch(x, self.dtype, self.layout))
            loss += float(cross_entropy(logits.double(), y, reduction="sum"))
            correct += int((logits.argmax(1) == y).sum())
        count = len(split.y)
        return {"loss": loss / count, "accuracy": correct / count, "correct": correct, "count": count}

    def _seed_dropout(self, cell: Cell, round_: int) -> None:
        for number, module in enumerate(m for m in self.net.module.modules() if isinstance(m, Dropout)):
            module.keeps = streams.dropout(cell.seed, round_, number)


def _in_pieces(split: Split, size: int = 250) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(split.x.split(size), split.y.split(size), strict=True)


def _grid(cell: Cell, steps: int, train_count: int) -> list[int]:
    every = cell.eval_every or -(-train_count // cell.batch_size)
    return [*range(0, steps, every), steps]


def _order_seed(cell: Cell) -> int:
    return cell.seed if cell.order_seed is None else cell.order_seed


def _optimiser(cell: Cell, w: Tensor, grad: Tensor, moments: list[Tensor]) -> torch.optim.Optimizer:
    """The published optimiser on one flat parameter, its moments where a round left them (or at 0)."""
    flat = torch.nn.Parameter(w)
    flat.data, flat.grad = w, grad
    if cell.optimiser == "sgd":
        made = torch.optim.SGD([flat], lr=cell.lr, momentum=cell.momentum, weight_decay=cell.weight_decay, fused=True)
        if moments:
            made.state[flat]["momentum_buffer"] = moments[0].clone()
    else:
        kind = torch.optim.AdamW if cell.optimiser == "adamw" else torch.optim.Adam
        made = kind([flat], lr=cell.lr, weight_decay=cell.weight_decay, fused=True)
        if moments:
            made.state[flat] = {"step": moments[2].clone(), "exp_avg": moments[0].clone(), "exp_avg_sq": moments[1].clone()}
    return made


def _moments(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    state = next(iter(optimiser.state.values()), {})
    return [state[name] for name in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step") if state.get(name) is not None]
