"""The reference trainer on a smaller network: where whole channels or units are dead, the same cell without them, dense.

A unit is left out where that changes no number but by rounding, and a network only where GONE of its hidden units are left out:
never by timing, so that a cell takes the same path every time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.engine.network import (
    Net,
    Slot,
    _tensors,  # pyright: ignore[reportPrivateUsage]
)
from sweepstake.engine.train import Start, Trained, Trainer
from sweepstake.pieces.networks import Dropout, Flatten

GONE = 0.05
"""The share of hidden units that must be left out before a smaller network is made."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SILENT = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.GELU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, Flatten, Dropout)
"""A unit that is 0 comes out of these as 0, and meets no other unit in them."""

Layers = dict[str, nn.Module]


def covers(net: Net) -> bool:
    """Whether the network can be thinned: a plain chain of layers known here, each norm a number a unit of the layer before it."""
    if type(net.module) is not nn.Sequential or len({*net.module}) < len(net.module) or len(net.weights) < 2:
        return False
    known = all(type(layer) in (nn.Linear, nn.Conv2d, nn.GroupNorm, *BATCH_NORMS, *SILENT) and getattr(layer, "groups", 1) == 1
                for layer in net.module) and not any(map(_norm, between(net)[0].values()))
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
    return flat and all(net.module.get_parameter(f"{name}.weight").shape == slot.shape[:1] for name, layer in after.items()
                        if _norm(layer) and layer.weight is not None)


def _norm(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.GroupNorm, *BATCH_NORMS))


def computed_units(net: Net, w: Tensor, mask: Tensor, moves: bool) -> list[Tensor]:
    """Which inputs and which units of each layer are computed: those that can be other than 0 and have something alive listening.

    A unit that nothing feeds and whose bias and norm are dead stays at 0; under ReLU, whose slope there is 0, so does one whose bias
    is 0, unless it `moves` on from an earlier round. One that nothing listens to gets no gradient; before a norm it is computed all
    the same, since statistics follow it.
    """
    after, owned = between(net), {slot.name: slot for slot in net.slots}
    speaks = [torch.ones(net.weights[0].shape[1], dtype=torch.bool)]
    for slot, layers in zip(net.weights, after[1:], strict=True):
        norms = [name for name, layer in layers.items() if _norm(layer)]
        stays = torch.ones(slot.shape[0], dtype=torch.bool)
        if bias := net.bias_of(slot):
            still = not moves and not norms and any(isinstance(layer, nn.ReLU) for layer in layers.values())
            stays &= ~bias.of(mask) | ((bias.of(w) == 0) & still)
        for name in norms:
            affine = [owned[each].of(mask) for each in (f"{name}.weight", f"{name}.bias") if each in owned]
            stays &= ~(affine[0] | affine[1]) if len(affine) == 2 else False
        speaks.append(slot.of(mask)[:, _columns(speaks[-1], slot)].flatten(1).any(1) | ~stays)
    speaks[-1][:] = True
    kept = [speaks[-1]]
    for n in range(len(net.weights) - 1, 0, -1):
        read = net.weights[n].of(mask)[kept[0]].any(0).view(len(speaks[n]), -1).any(1)
        here = speaks[n] & (read | any(map(_norm, after[n].values())))
        here[0] |= not bool(here.any())
        kept.insert(0, here)
    return [speaks[0], *kept]


def _columns(units: Tensor, reader: Slot) -> Tensor:
    """The columns a layer reads these units in: one each, or a block where a map was laid flat."""
    return units.repeat_interleave(reader.shape[1] // len(units))


class Thin(Net):
    """A network without the units that are not computed; its flat vector is the whole one's at `index`.

    Behind the module's own parameters lie those that are alive without it, which decay and moments go on moving, and behind its
    statistics those of channels that are 0, which `fade`.
    """

    def __init__(self, net: Net, kept: list[Tensor], mask: Tensor):
        self.cell, self.inputs, self.classes, self.chain = net.cell, net.inputs, net.classes, True
        self.kept, self.layers, self.slots = kept, between(net), []
        rows = {name: units for layers, units in zip(self.layers, kept, strict=True) for name in layers}
        rows |= {slot.layer: units for slot, units in zip(net.weights, kept[1:], strict=True)}
        columns = {slot: _columns(units, slot) for slot, units in zip(net.weights, kept[:-1], strict=True)}
        order, left = torch.arange(net.size), mask | (torch.arange(net.size) >= net.learnt)

        def smaller(slots: list[Slot], at: int) -> Tensor:
            """Where in the whole vector these lie, one behind the other, in the smaller one from `at` on."""
            places = [torch.empty(0, dtype=torch.int64)]
            for slot in slots:
                of = slot.of(order)[rows[slot.layer]]
                of = of[:, columns[slot]] if slot in columns else of
                self.slots.append(replace(slot, start=at, stop=at + of.numel(), shape=tuple(of.shape)))
                places.append((of.permute(0, 2, 3, 1) if of.dim() == 4 else of).flatten())
                at += of.numel()
            left[torch.cat(places)] = False
            return torch.cat(places)

        statistics = [slot for slot in net.slots if slot.role == "statistic"]
        own = smaller(net.slots[:len(net.slots) - len(statistics)], 0)
        idle = left[:net.learnt].nonzero().flatten()
        self.learnt = len(own) + len(idle)
        followed = smaller(statistics, self.learnt)
        faded = net.learnt + left[net.learnt:].nonzero().flatten()
        self.index = torch.cat([own, idle, followed, faded])
        self.size, self.whole = len(self.index), (net.size, net.learnt)
        self.w, self.grad = (torch.zeros(self.size, dtype=net.w.dtype) for _ in range(2))
        self.faded, momentum = slice(self.size - len(faded), self.size), torch.zeros_like(net.w)
        for slot in statistics:
            slot.of(momentum)[:] = net.module.get_submodule(slot.layer).momentum  # pyright: ignore[reportArgumentType]
        self.fade = 1 - momentum[faded]
        self.module = self._smaller(net)

    def _smaller(self, net: Net) -> nn.Module:
        """The same module, its tensors this vector's slices."""
        module = deepcopy(net.module)
        for layers, units in zip(self.layers, self.kept, strict=True):
            for name, layer in layers.items():
                if isinstance(layer, nn.GroupNorm) and not bool(units.all()):
                    setattr(module, name, SomeOfGroups(layer, units))
        for slot, tensor in zip(self.slots, _tensors(module), strict=True):
            tensor.data = slot.of(self.w)
            if slot.role != "statistic":
                tensor.grad = slot.of(self.grad)
        return module

    def narrow_dropout(self) -> None:
        """Dropout keeps what it would have kept of the whole network."""
        for layers, units in zip(self.layers, self.kept, strict=True):
            for name in layers:
                layer = self.module.get_submodule(name)
                if isinstance(layer, Dropout) and layer.keeps is not None:
                    layer.keeps = _narrowed(layer.keeps, units)

    def start(self, whole: Start) -> Start:
        moments = [moment[self.index[:self.learnt]] if moment.dim() else moment for moment in whole.moments]
        return Start(whole.w[self.index], whole.mask[self.index], moments)

    def back(self, flat: Tensor) -> Tensor:
        """A flat vector of the whole network, or the learnt part of one: 0 where nothing is computed and nothing alive."""
        whole = torch.zeros(self.whole[len(flat) < self.size], dtype=flat.dtype)
        whole[self.index[:len(flat)]] = flat
        return whole


def _narrowed(keeps: Callable[[tuple[int, ...], float], Tensor], units: Tensor) -> Callable[[tuple[int, ...], float], Tensor]:
    def narrow(shape: tuple[int, ...], p: float) -> Tensor:
        columns = units.repeat_interleave(shape[1] // int(units.sum()))
        return keeps((shape[0], len(columns), *shape[2:]), p)[:, columns]

    return narrow


class SomeOfGroups(nn.GroupNorm):
    """A GroupNorm given some of its channels: the others are 0, and count."""

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
    """Trains and measures networks that `covers` says it can, without the units a mask leaves out."""

    name = "thin"

    def train(self, cell: Cell, start: Start, round_: int, name: str = "") -> Trained:
        with self._thinned(start.w, start.mask, bool(start.moments)) as thin:
            trained = super().train(cell, thin.start(start) if thin else start, round_, name)
        if thin is None:
            return trained
        early, step = (None if w is None else thin.back(w) for w in (trained.w_early, trained.w_step))
        moments = [thin.back(moment) if moment.dim() else moment for moment in trained.moments]
        return replace(trained, w_final=thin.back(trained.w_final), w_early=early, w_step=step, moments=moments)

    def measure(self, w: Tensor) -> dict[str, dict[str, float] | None]:
        with self._thinned(w, w != 0, False) as thin:
            return super().measure(w[thin.index] if thin else w)

    @contextmanager
    def _thinned(self, w: Tensor, mask: Tensor, moves: bool) -> Iterator[Thin | None]:
        """Inside, the network is the smaller one, where enough of it is gone."""
        net, kept = self.net, computed_units(self.net, w, mask, moves)
        hidden = torch.cat(kept[1:-1])
        thin = Thin(net, kept, mask) if float((~hidden).sum()) >= GONE * len(hidden) else None
        self.net = thin or net
        try:
            yield thin
        finally:
            self.net = net

    def _step(self, cell: Cell, chosen: Tensor, live: Tensor | None, optimiser: torch.optim.Optimizer) -> Tensor:
        loss = super()._step(cell, chosen, live, optimiser)
        if isinstance(self.net, Thin):
            self.net.w[self.net.faded] *= self.net.fade
        return loss

    def _seed_dropout(self, cell: Cell, round_: int) -> None:
        super()._seed_dropout(cell, round_)
        if isinstance(self.net, Thin):
            self.net.narrow_dropout()
