"""The reference trainer on a smaller network: a cell without its dead channels and units, dense.

A unit is left out where that changes numbers by rounding alone. A smaller network is made where at least the share GONE
of the hidden units can be left out. Nothing depends on timing, so that a cell takes the same path every time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.engine import streams
from sweepstake.engine.images import Images
from sweepstake.engine.masks import columns_of
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.plain import PlainRound, measure, seed_dropout
from sweepstake.engine.train import Measured, Start, Trainer
from sweepstake.engine.units import After, computed_units
from sweepstake.pieces.networks import Dropout, Flatten

GONE = 0.05
"""The share of hidden units that must be dead before a smaller network is made."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SILENT = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.GELU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, Flatten, Dropout)
"""Layers that map a unit of 0 to 0 and mix no units."""

Layers = dict[str, nn.Module]


def covers(net: Net) -> bool:
    """Whether the network can be thinned: a plain chain of layers known here, each norm with a number for each unit."""
    if type(net.module) is not nn.Sequential or len({*net.module}) < len(net.module) or len(net.weights) < 2:
        return False
    known = all(
        type(layer) in (nn.Linear, nn.Conv2d, nn.GroupNorm, *BATCH_NORMS, *SILENT) and getattr(layer, "groups", 1) == 1
        for layer in net.module
    ) and not any(map(_norm, between(net)[0].values()))
    return known and all(_fits(net, slot, after) for slot, after in zip(net.weights, between(net)[1:], strict=True))


def between(net: Net) -> list[Layers]:
    """The layers before the first that has weights, then those after each of them, up to the next."""
    parts: list[Layers] = [{}]
    for name, layer in net.module.named_children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parts.append({})
        else:
            parts[-1][name] = layer
    return parts


def _fits(net: Net, slot: Slot, after: Layers) -> bool:
    following = net.after(slot)
    if following is None:
        return slot is net.weights[-1]
    flat = slot.kind == following.kind or any(isinstance(layer, Flatten) for layer in after.values())
    return flat and all(
        net.module.get_parameter(f"{name}.weight").shape == slot.shape[:1]
        for name, layer in after.items()
        if _norm(layer) and layer.weight is not None
    )


def _norm(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.GroupNorm, *BATCH_NORMS))


def units_kept(net: Net, w: Tensor, mask: Tensor, moves: bool) -> list[Tensor]:
    """The inputs, all of them, and the units of each layer that the smaller network has: at least one a layer."""
    after = [After(relu=any(isinstance(layer, nn.ReLU) for layer in layers.values()),
                   norms=tuple(name for name, layer in layers.items() if _norm(layer))) for layers in between(net)[1:]]
    inputs = torch.ones(net.weights[0].shape[1], dtype=torch.bool)
    _, *kept = computed_units(net, w, mask, after, inputs, moves)
    for units in kept:
        units[0] |= not bool(units.any())
    return [inputs, *kept]


class Thin:
    """A network without the units that are not computed: `net`, whose flat vector is the whole one's at `index`.

    The vector has two parts that the smaller module does not read: behind its parameters the other live ones, which
    decay and moments still move, and behind its statistics those of the channels left out, which `fade` towards 0.
    """

    def __init__(self, whole: Net, kept: list[Tensor], mask: Tensor):
        self.kept, self.layers = kept, between(whole)
        rows = {name: units for layers, units in zip(self.layers, kept, strict=True) for name in layers}
        rows |= {slot.layer: units for slot, units in zip(whole.weights, kept[1:], strict=True)}
        columns = {slot: columns_of(units, slot) for slot, units in zip(whole.weights, kept[:-1], strict=True)}
        order, left = torch.arange(whole.size), mask | (torch.arange(whole.size) >= whole.learnt)
        slots: list[Slot] = []

        def smaller(some: list[Slot], at: int) -> Tensor:
            """Where these slots lie in the whole vector. In the smaller one they lie end to end, from `at` on."""
            places = [torch.empty(0, dtype=torch.int64)]
            for slot in some:
                of = slot.of(order)[rows[slot.layer]]
                of = of[:, columns[slot]] if slot in columns else of
                slots.append(replace(slot, start=at, stop=at + of.numel(), shape=tuple(of.shape)))
                places.append((of.permute(0, 2, 3, 1) if of.dim() == 4 else of).flatten())
                at += of.numel()
            left[torch.cat(places)] = False
            return torch.cat(places)

        statistics = [slot for slot in whole.slots if slot.role == "statistic"]
        own = smaller(whole.slots[:len(whole.slots) - len(statistics)], 0)
        idle = left[:whole.learnt].nonzero().flatten()
        learnt = len(own) + len(idle)
        followed = smaller(statistics, learnt)
        faded = whole.learnt + left[whole.learnt:].nonzero().flatten()
        self.index = torch.cat([own, idle, followed, faded])
        self.size, self.whole = len(self.index), (whole.size, whole.learnt)
        self.faded, momentum = slice(self.size - len(faded), self.size), torch.zeros_like(whole.w)
        for slot in statistics:
            norm: Any = whole.module.get_submodule(slot.layer)
            slot.of(momentum)[:] = norm.momentum
        self.fade = 1 - momentum[faded]
        w = torch.zeros(self.size, dtype=whole.w.dtype)
        self.net = Net(self._smaller(whole.module), whole.inputs, whole.classes, slots, w, learnt)

    def _smaller(self, module: nn.Module) -> nn.Module:
        """A copy of the module whose group norms know which channels they are given."""
        module = deepcopy(module)
        for layers, units in zip(self.layers, self.kept, strict=True):
            for name, layer in layers.items():
                if isinstance(layer, nn.GroupNorm) and not bool(units.all()):
                    setattr(module, name, SomeOfGroups(layer, units))
        return module

    def narrow_dropout(self) -> None:
        """Dropout keeps what it would have kept of the whole network."""
        for layers, units in zip(self.layers, self.kept, strict=True):
            for name in layers:
                layer = self.net.module.get_submodule(name)
                if isinstance(layer, Dropout) and layer.keeps is not None:
                    layer.keeps = _narrowed(layer.keeps, units)

    def start(self, whole: Start) -> Start:
        moments = [moment[self.index[:self.net.learnt]] if moment.dim() else moment for moment in whole.moments]
        return Start(whole.w[self.index], whole.mask[self.index], moments)

    def back(self, flat: Tensor) -> Tensor:
        """A vector of the smaller network, or its learnt part, as one of the whole network: 0 elsewhere."""
        whole = torch.zeros(self.whole[len(flat) < self.size], dtype=flat.dtype)
        whole[self.index[:len(flat)]] = flat
        return whole


def _narrowed(
    keeps: Callable[[tuple[int, ...], float], Tensor], units: Tensor
) -> Callable[[tuple[int, ...], float], Tensor]:
    def narrow(shape: tuple[int, ...], p: float) -> Tensor:
        columns = units.repeat_interleave(shape[1] // int(units.sum()))
        return keeps((shape[0], len(columns), *shape[2:]), p)[:, columns]

    return narrow


class SomeOfGroups(nn.GroupNorm):
    """A GroupNorm that is given some of its channels. The others are 0 and count in mean and variance."""

    def __init__(self, whole: nn.GroupNorm, units: Tensor):
        super().__init__(whole.num_groups, whole.num_channels, whole.eps)
        groups = torch.arange(len(units))[units] // (len(units) // whole.num_groups)
        self.member = nn.functional.one_hot(groups, whole.num_groups).to(whole.weight.dtype)

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x, member, pixels = input.to(self.weight.dtype), self.member, input[0, 0].numel()
            wide = (..., *[None] * (x.dim() - 2))
            size = self.num_channels // self.num_groups * pixels
            mean = x.flatten(2).sum(2) @ member / size if x.dim() > 2 else x @ member / size
            off = x - (mean @ member.T)[wide]
            square = off.square().flatten(2).sum(2) if x.dim() > 2 else off.square()
            variance = (square @ member + (size - pixels * member.sum(0)) * mean.square()) / size
            scale = (variance + self.eps).rsqrt() @ member.T * self.weight
            return off * scale[wide] + self.bias[wide]


class ThinTrainer(Trainer):
    """Trains and measures networks that `covers` allows, without the units that a mask leaves out."""

    name = "thin"

    @contextmanager
    def begin(self, cell: Cell, start: Start, round_: int) -> Iterator[PlainRound]:
        thin = self.thinned(start.w, start.mask, bool(start.moments))
        net = thin.net if thin else self.net
        seed_dropout(net, cell, round_)
        with streams.torch_draws(cell.seed, "dropout", round_):
            if thin is None:
                yield PlainRound(net, self.images, cell, start, round_, self.steps)
            else:
                thin.narrow_dropout()
                yield ThinRound(thin, self.images, cell, start, round_, self.steps)

    def measure(self, w: Tensor) -> Measured:
        thin = self.thinned(w, w != 0, False)
        return measure(thin.net, self.images, w[thin.index]) if thin else measure(self.net, self.images, w)

    def thinned(self, w: Tensor, mask: Tensor, moves: bool) -> Thin | None:
        """The smaller network, where enough of the whole one is gone."""
        kept = units_kept(self.net, w, mask, moves)
        hidden = torch.cat(kept[1:-1])
        return Thin(self.net, kept, mask) if float((~hidden).sum()) >= GONE * len(hidden) else None


class ThinRound(PlainRound):
    """A round of one cell on a smaller network. It gives vectors of the whole one."""

    def __init__(self, thin: Thin, images: Images, cell: Cell, start: Start, round_: int, steps: int):
        super().__init__(thin.net, images, cell, thin.start(start), round_, steps)
        self.thin = thin

    def step(self, chosen: Tensor) -> Tensor:
        loss = super().step(chosen)
        self.net.w[self.thin.faded] *= self.thin.fade
        return loss

    def w(self, seat: int = 0) -> Tensor:
        return self.thin.back(super().w(seat))

    def moments(self, seat: int = 0) -> list[Tensor]:
        return [self.thin.back(moment) if moment.dim() else moment for moment in super().moments(seat)]
