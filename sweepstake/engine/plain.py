"""The reference trainer: one cell at a time in plain PyTorch, one thread, data resident, no DataLoader."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.images import Images, Split, in_parts
from sweepstake.engine.network import Net
from sweepstake.engine.train import (
    Measured,
    Start,
    Trainer,
    curve_point,
    in_top5,
    learning_rate,
    measured,
    on_every_split,
    order_seed,
)
from sweepstake.pieces.networks import Dropout


class ReferenceTrainer(Trainer):
    """Trains and measures any cell. Every other trainer must agree with it."""

    name = "reference"

    @contextmanager
    def begin(self, cell: Cell, start: Start, round_: int) -> Iterator["PlainRound"]:
        seed_dropout(self.net, cell, round_)
        with streams.torch_draws(cell.seed, "dropout", round_):
            yield PlainRound(self.net, self.images, cell, start, round_, self.steps)

    def measure(self, w: Tensor) -> Measured:
        return measure(self.net, self.images, w)


def layout_of(net: Net) -> torch.memory_format:
    """Channels last where there are convolutions: the order in which their kernels are fastest."""
    return torch.channels_last if any(slot.kind == "conv" for slot in net.slots) else torch.contiguous_format


def seed_dropout(net: Net, cell: Cell, round_: int) -> None:
    for number, module in enumerate(m for m in net.module.modules() if isinstance(m, Dropout)):
        module.keeps = streams.dropout(cell.seed, round_, number)


class PlainRound:
    """A round of one cell, its network stepped in PyTorch."""

    def __init__(self, net: Net, images: Images, cell: Cell, start: Start, round_: int, steps: int):
        self.net, self.images, self.cell, self.round, self.count = net, images, cell, round_, steps
        self.dtype, self.layout = net.w.dtype, layout_of(net)
        learnt = start.mask[:net.learnt]
        self.live = None if bool(learnt.all()) else learnt.to(self.dtype)
        net.w.copy_(start.w)
        moments = start.moments
        if self.live is not None:
            # Dead weights begin at 0 with moments of 0 and never see a gradient, so that no step moves them.
            net.w[:net.learnt].mul_(self.live)
            moments = [moment * self.live if moment.dim() else moment for moment in moments]
        self.optimiser = _optimiser(cell, net.w[:net.learnt], net.grad[:net.learnt], moments)
        self.order = streams.batch_order(len(images.train.y), cell.batch_size, steps, order_seed(cell), round_)

    def advance(self, first: int, last: int, losses: list[float]) -> list[float]:
        summed = torch.tensor(losses[0], dtype=torch.float64)
        for step in range(first, last):
            self.optimiser.param_groups[0]["lr"] = learning_rate(self.cell, self.round, step, self.count)
            summed += self.step(self.order[step])
        return [float(summed)]

    def step(self, chosen: Tensor) -> Tensor:
        """One step on the chosen images; its loss."""
        net, train = self.net, self.images.train
        net.module.train()
        net.grad.zero_()
        x = self.images.batch(train.x.index_select(0, chosen), self.dtype, self.layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.cell.precision == "bfloat16"):
            loss = cross_entropy(net.module(x), train.y.index_select(0, chosen))
        loss.backward()
        if self.live is not None:
            net.grad[:net.learnt].mul_(self.live)
        self.optimiser.step()
        return loss.detach().double()

    def points(self) -> list[dict[str, float]]:
        return [curve_point(lambda split: measure_split(self.net, self.images, split), self.images)]

    def w(self, seat: int = 0) -> Tensor:
        return self.net.w.clone()

    def moments(self, seat: int = 0) -> list[Tensor]:
        state = next(iter(self.optimiser.state.values()), {})
        names = ("momentum_buffer", "exp_avg", "exp_avg_sq", "step")
        return [state[name] for name in names if state.get(name) is not None]


def measure(net: Net, images: Images, w: Tensor) -> Measured:
    """Loss and accuracy of these weights on every split."""
    net.w.copy_(w)
    # A module that draws when it is measured (dropout left on) draws the same each time.
    with streams.torch_draws(0, "measure"):
        return on_every_split(lambda split: measure_split(net, images, split), images)


@torch.no_grad()
def measure_split(net: Net, images: Images, split: Split) -> dict[str, float]:
    """Loss and accuracy of the weights that the network holds, each image counted once."""
    net.module.eval()
    layout = layout_of(net)
    loss, correct, top5, count = 0.0, 0, 0, len(split.y)
    for x, y in in_parts(split):
        logits = net.module(images.batch(x, net.w.dtype, layout))
        loss += float(cross_entropy(logits.double(), y, reduction="sum"))
        correct += int((logits.argmax(1) == y).sum())
        top5 += int(in_top5(logits, y).sum())
    return measured(loss, correct, top5, count)


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
            first, second, steps = (moment.clone() for moment in moments)
            made.state[flat] = {"step": steps, "exp_avg": first, "exp_avg_sq": second}
    return made
