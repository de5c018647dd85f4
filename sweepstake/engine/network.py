"""One network as one flat vector: every parameter a slice of it, so that masks, resets and optimisers are one operation."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, unknown
from sweepstake.engine import streams
from sweepstake.pieces import init as inits
from sweepstake.pieces import model as models

KINDS = {nn.Linear: "linear", nn.Conv2d: "conv"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""What weights are held in: bfloat16 is the arithmetic's precision, not the weights'."""


@dataclass(frozen=True)
class Slot:
    """One parameter: where it lies in the flat vector and what it is."""

    name: str
    layer: str
    role: str
    """weight or bias of a linear or conv layer; other, for what a norm or a module of your own brings."""
    kind: str
    start: int
    stop: int
    shape: tuple[int, ...]
    fan_in: int
    fan_out: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def of(self, flat: Tensor) -> Tensor:
        """This parameter, a view in its own shape."""
        return flat[self.start:self.stop].view(self.shape)


class Net:
    """A module whose parameters live in `w` and gradients in `grad`, one flat vector each."""

    def __init__(self, cell: Cell, inputs: tuple[int, ...], classes: int):
        self.cell = cell
        # A module draws weights of its own from torch's global generator, which is not ours to move.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(streams.torch_seed(cell.seed, "module"))
            self.module: nn.Module = models.get(cell.model.name)(
                {"inputs": lambda: inputs, "classes": lambda: classes}, cell.model.options)
        self.module.to(DTYPES[cell.precision])
        self.slots = _slots(self.module)
        self.size = self.slots[-1].stop
        self.w = torch.cat([p.detach().flatten() for p in self.module.parameters()])
        self.as_built = self.w.clone()
        self.grad = torch.zeros_like(self.w)
        for slot, parameter in zip(self.slots, self.module.parameters(), strict=True):
            parameter.data = slot.of(self.w)
            parameter.grad = slot.of(self.grad)

    @cached_property
    def weights(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.role == "weight"]

    @cached_property
    def prunable(self) -> list[Slot]:
        """The weights of the layers the cell prunes, in the network's order."""
        known = {"all": True} | {slot.kind: True for slot in self.weights} | {slot.layer: True for slot in self.weights}
        problems = [unknown(f'prune_layers = "{name}"', "layer or kind", name, known) for name in self.cell.prune_layers if name not in known]
        named = {**(self.cell.keep if isinstance(self.cell.keep, dict) else {})}
        problems += [unknown(f"keep = {{{name} = ...}}", "layer", name, [s.layer for s in self.weights])
                     for name in named if name not in {s.layer for s in self.weights}]
        if problems:
            raise UserError(*problems)
        return [slot for slot in self.weights if {"all", slot.kind, slot.layer} & set(self.cell.prune_layers)]

    def bias_of(self, weight: Slot) -> Slot | None:
        return next((slot for slot in self.slots if slot.layer == weight.layer and slot.role == "bias"), None)

    def norm_of(self, weight: Slot) -> list[Slot]:
        """The parameters of the norm behind this layer, a number a unit."""
        return []

    def after(self, weight: Slot) -> Slot | None:
        """The layer this one feeds, where layers form a plain chain (each unit a column, or a block of columns)."""
        here = self.weights.index(weight)
        following = self.weights[here + 1] if here + 1 < len(self.weights) else None
        return following if following and following.shape[1] % weight.shape[0] == 0 else None


def _slots(module: nn.Module) -> list[Slot]:
    slots, start = [], 0
    layers = dict(module.named_modules())
    for name, parameter in module.named_parameters():
        layer, _, own = name.rpartition(".")
        kind = KINDS.get(type(layers[layer]), "")
        role = own if kind and own in ("weight", "bias") else "other"
        weight_shape = tuple(layers[layer].weight.shape) if kind else tuple(parameter.shape)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        area = prod(weight_shape[2:])
        fan_in = weight_shape[1] * area if len(weight_shape) > 1 else 1
        slots.append(Slot(name, layer, role, kind, start, start + parameter.numel(), tuple(parameter.shape), fan_in, weight_shape[0] * area))
        start += parameter.numel()
    if not any(slot.role == "weight" for slot in slots):
        raise UserError(f"model: {type(module).__name__} has no nn.Linear or nn.Conv2d layer, so there is nothing to prune.")
    return slots


def draw_init(net: Net, cell: Cell, *purpose: object, ref: tuple[str, dict[str, object]] | None = None) -> Tensor:
    """All parameters from the cell's init (or from `ref`), drawn for (seed, purpose); norms as they were built."""
    flat = net.as_built.clone()
    for slot in net.slots:
        if slot.role == "other":
            continue
        chosen = (cell.init if slot.role == "weight" else cell.bias_init) if ref is None else None
        name, options = (chosen.name, chosen.options) if chosen else ref  # pyright: ignore[reportGeneralTypeIssues]
        options = {k: v.get(slot.layer, _default(name, k)) if isinstance(v, dict) else v for k, v in options.items()}
        value = inits.get(name)({
            "normal": lambda s=slot: streams.normal(s.shape, cell.seed, "normal", *purpose, s.name),
            "uniform": lambda s=slot: streams.uniform(s.shape, cell.seed, "uniform", *purpose, s.name),
            "shape": lambda s=slot: s.shape,
            "fan_in": lambda s=slot: s.fan_in,
            "fan_out": lambda s=slot: s.fan_out,
        }, options)
        if tuple(value.shape) != slot.shape:
            raise UserError(f'init = "{name}": gave shape {tuple(value.shape)} for {slot.name}, expected {slot.shape}.')
        slot.of(flat).copy_(value)
    return flat


def _default(name: str, option: str) -> object:
    """A layer that a per-layer table does not name takes the option's default."""
    return inits.get(name).options[option].default
