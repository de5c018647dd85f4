"""One network as one flat vector: every parameter and statistic is a slice of it.

So masks, resets and optimisers are single operations on one tensor. Nothing here knows what a cell is: a network is any
`nn.Module` and the shapes it is used with. `build.py` makes the network of a cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.engine.layers import PLAIN, parts_of
from sweepstake.engine.narrow import spare_narrow

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)


@dataclass(frozen=True)
class Slot:
    """One parameter (or statistic): where it lies in the flat vector and what it is."""

    name: str
    layer: str
    role: str
    """weight, bias: of a layer that can be pruned. other: a parameter of a norm or of a module of your own.
    statistic: a buffer, such as a norm's running mean; gradients and masks leave it alone, a rewind takes it back."""
    kind: str
    start: int
    stop: int
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int
    by_unit: bool = True
    """Whether a row of the weight is a unit. Embeddings, transposed convolutions and attention have none."""
    plain: bool = True
    """Whether it is of an nn.Linear or nn.Conv2d, or of no layer. Others were not pruned by earlier releases."""
    also: tuple[str, ...] = ()
    """Its other names, where modules share it."""

    @property
    def size(self) -> int:
        return self.stop - self.start

    def of(self, flat: Tensor) -> Tensor:
        """This parameter as a view in its own shape. Convolutions lie channels-last: their kernels are fastest so."""
        part = flat[self.start:self.stop]
        if len(self.shape) == 4:
            out, into, height, width = self.shape
            return part.view(out, height, width, into).permute(0, 3, 1, 2)
        return part.view(self.shape)


class Net:
    """A module whose parameters and statistics live in `w` and gradients in `grad`, one flat vector each.

    Parameters come first: `w[:learnt]` is what an optimiser steps. A copy of `w` is all that a rewind needs.
    """

    def __init__(self, module: nn.Module, inputs: tuple[int, ...], classes: int,
                 slots: Sequence[Slot], w: Tensor, learnt: int):
        """The module's tensors become the slices of `w` that `slots` say, in the order of `tensors_of`."""
        spare_narrow(module)
        self.module, self.inputs, self.classes = module, inputs, classes
        self.slots, self.w, self.learnt = list(slots), w, learnt
        self.grad = torch.zeros_like(w)
        for slot, tensor in zip(self.slots, tensors_of(module), strict=True):
            tensor.data = slot.of(self.w)
            if slot.role != "statistic":
                tensor.grad = slot.of(self.grad)
        self.norms: dict[str, str] = {}
        """Layer -> the norm that reads its output, by name. `read_norms` finds them."""
        self.given: Tensor | None = None
        """The weights that a user's own module had: the search in it begins from them, not from an init."""
        self.as_built: tuple[int, list[tuple[Slot, Tensor]]] | None = None
        """A seed, and what no init draws, as the module is built for it. `build.as_built` keeps it here."""
        self.chain = bool(getattr(module, "chain", _is_sequential(module)))

    @classmethod
    def of(cls, module: nn.Module, inputs: tuple[int, ...], classes: int) -> "Net":
        """The module as it stands, for inputs of that shape: its own values move into a new flat vector."""
        slots = slots_of(module)
        learnt = max(slot.stop for slot in slots if slot.role != "statistic")
        return cls(module, inputs, classes, slots, flat_of(module, slots), learnt)

    @property
    def size(self) -> int:
        return len(self.w)

    @property
    def plain(self) -> bool:
        """Whether all its layers are nn.Linear and nn.Conv2d themselves, which every release has pruned."""
        return all(slot.plain for slot in self.slots)

    @cached_property
    def weights(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.role == "weight"]

    def bias_of(self, weight: Slot) -> Slot | None:
        return next((slot for slot in self.slots if slot.layer == weight.layer and slot.role == "bias"), None)

    def norm_of(self, weight: Slot) -> list[Slot]:
        """The parameters of the norm that reads this layer, a number a unit: they die with the unit."""
        norm = self.norms.get(weight.layer)
        return [
            slot
            for slot in self.slots
            if slot.layer == norm and slot.role == "other" and slot.shape == weight.shape[:1]
        ]

    def after(self, weight: Slot) -> Slot | None:
        """The layer that this one feeds, in a plain chain. A unit is a column of it, or a block of columns."""
        here = self.weights.index(weight)
        following = self.weights[here + 1] if self.chain and here + 1 < len(self.weights) else None
        if following is None or not (weight.by_unit and following.by_unit):
            return None
        return following if following.shape[1] % weight.shape[0] == 0 else None


def _is_sequential(module: nn.Module) -> bool:
    return all(type(each) is nn.Sequential for each in module.modules() if any(each.children()))


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Every parameter, then every statistic (a buffer of numbers): the order in which slots lie."""
    return [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]


def flat_of(module: nn.Module, slots: Sequence[Slot]) -> Tensor:
    """The module's values as one vector."""
    tensors = tensors_of(module)
    flat = torch.empty(slots[-1].stop, dtype=tensors[0].dtype)
    for slot, tensor in zip(slots, tensors, strict=True):
        slot.of(flat).copy_(tensor.detach())
    return flat


def read_norms(net: Net, *args: Any, **kwargs: Any) -> tuple[object, dict[str, str]]:
    """What the network gives when it is called so, and which norm reads which layer's output. No value changes."""
    outputs: dict[str, Tensor] = {}
    norms: dict[str, str] = {}

    def gave(name: str, output: Tensor) -> None:
        outputs[name] = output

    def takes(name: str, _: nn.Module, given: tuple[Any, ...]) -> None:
        norms.update({layer: name for layer, output in outputs.items() if output is given[0]})

    layers = list(net.module.named_modules())
    hooks = [module.register_forward_hook(lambda _, __, output, name=name: gave(name, output))
             for name, module in layers if type(module) in PLAIN]
    for name, module in layers:
        if isinstance(module, NORMS):
            hooks.append(module.register_forward_pre_hook(partial(takes, name)))
    before = net.w.clone()
    try:
        with torch.no_grad():
            answer = net.module.train()(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    net.w.copy_(before)
    return answer, norms


def moved_from(net: Net) -> Slot | None:
    """A slot whose tensor the module replaced while it ran, so that it is no longer a part of `w`."""
    pairs = zip(net.slots, tensors_of(net.module), strict=True)
    return next((slot for slot, tensor in pairs if tensor.data_ptr() != slot.of(net.w).data_ptr()), None)


def slots_of(module: nn.Module) -> list[Slot]:
    """Where each parameter and statistic of the module lies in its flat vector. A shared parameter lies there once."""
    parts, names = parts_of(module), _names_of(module)
    named = [(name, tensor, "") for name, tensor in module.named_parameters()]
    named += [(name, tensor, "statistic") for name, tensor in module.named_buffers() if tensor.is_floating_point()]
    slots: list[Slot] = []
    start = 0
    for name, tensor, role in named:
        also = names.get(id(tensor), [name])
        part = next((parts[each] for each in also if each in parts), None) if not role else None
        place, shape = (start, start + tensor.numel()), tuple(tensor.shape)
        others = tuple(each for each in also if each != name)
        if part is None:
            fans = (shape[1] if len(shape) > 1 else 1, shape[0] if shape else 1)
            slots.append(Slot(name, name.rpartition(".")[0], role or "other", "", *place, shape, *fans, also=others))
        else:
            slots.append(Slot(name, part.layer, part.role, part.kind, *place, shape, part.fan_in, part.fan_out,
                              part.by_unit, part.plain, others))
        start = slots[-1].stop
    if not any(slot.role == "weight" for slot in slots):
        raise UserError(f"model: {type(module).__name__} has no layer that can be pruned: no linear layer, "
                        "convolution, embedding or attention.")
    return slots


def _names_of(module: nn.Module) -> dict[int, list[str]]:
    """Parameter, by identity -> all its names."""
    names: dict[int, list[str]] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    return names


def check_norms(module: nn.Module) -> None:
    """Refuse a norm whose statistics no rewind of a flat vector takes back."""
    for name, layer in module.named_modules():
        norm = isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.track_running_stats
        if norm and layer.momentum is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise UserError(
                f"model: {name} averages its statistics over all batches (momentum = None), a count no rewind "
                f"takes back. Give it a momentum, such as 0.1."
            )
