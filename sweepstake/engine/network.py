"""One network as one flat vector: every parameter and statistic a slice of it, so that masks, resets and optimisers are one operation."""

from collections.abc import Iterator
from contextlib import contextmanager
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
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""What weights are held in: bfloat16 is the arithmetic's precision, not the weights'."""


@dataclass(frozen=True)
class Slot:
    """One parameter (or statistic): where it lies in the flat vector and what it is."""

    name: str
    layer: str
    role: str
    """weight or bias of a linear or conv layer; other, for what a norm or a module of your own brings; statistic, for a
    buffer: a norm's running mean and variance, which no gradient and no mask touches but every rewind does."""
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
        """This parameter, a view in its own shape. Convolutions lie channels-last, the order their kernels are fastest in."""
        part = flat[self.start:self.stop]
        if len(self.shape) == 4:
            out, into, height, width = self.shape
            return part.view(out, height, width, into).permute(0, 3, 1, 2)
        return part.view(self.shape)


class Net:
    """A module whose parameters and statistics live in `w` and gradients in `grad`, one flat vector each.

    Parameters come first: `w[:learnt]` is what an optimiser steps. A copy of `w` is all there is to record or go back to.
    """

    def __init__(self, cell: Cell, inputs: tuple[int, ...], classes: int):
        self.cell, self.inputs, self.classes = cell, inputs, classes
        self._built: tuple[int, list[tuple[Slot, Tensor]]] | None = None
        self.module = self._build(cell.seed)
        self.slots = _slots(self.module)
        self.size = self.slots[-1].stop
        self.learnt = max(slot.stop for slot in self.slots if slot.role != "statistic")
        self.w = self._flat(self.module)
        self.grad = torch.zeros_like(self.w)
        for slot, tensor in zip(self.slots, _tensors(self.module), strict=True):
            tensor.data = slot.of(self.w)
            if slot.role != "statistic":
                tensor.grad = slot.of(self.grad)
        self.chain = bool(getattr(self.module, "chain", all(type(m) is nn.Sequential for m in self.module.modules() if any(m.children()))))
        self._norms = self._try()

    def _build(self, seed: int) -> nn.Module:
        """The cell's module as its function makes it, whatever it draws coming from the seed."""
        place, piece = f'model = "{self.cell.model.name}"', models.get(self.cell.model.name)
        with streams.torch_draws(seed, "module"), _blamed(place, "with inputs = {} and classes = {}", self.inputs, self.classes):
            module = piece({"inputs": lambda: self.inputs, "classes": lambda: self.classes}, self.cell.model.options)
        if not isinstance(module, nn.Module):
            raise UserError(f"{place}: gave a {type(module).__name__}, expected a torch.nn.Module. Return the network itself.")
        return module.to(DTYPES[self.cell.precision])

    def _flat(self, module: nn.Module) -> Tensor:
        flat = torch.empty(self.size, dtype=DTYPES[self.cell.precision])
        for slot, tensor in zip(self.slots, _tensors(module), strict=True):
            slot.of(flat).copy_(tensor.detach())
        return flat

    def as_built(self, seed: int) -> list[tuple[Slot, Tensor]]:
        """What no init draws (norms, statistics, other parameters), as the module itself begins for this seed."""
        others = [slot for slot in self.slots if slot.role not in ("weight", "bias")]
        if self._built is None or self._built[0] != seed:
            flat = self._flat(self._build(seed)) if others else self.w
            self._built = seed, [(slot, slot.of(flat).clone()) for slot in others]
        return self._built[1]

    @torch.no_grad()
    def _try(self) -> dict[str, str]:
        """One pass of two black images (one, if batches are): that the shapes fit, and which norm reads which layer."""
        place = f'model = "{self.cell.model.name}"'
        shape = (min(2, self.cell.batch_size), *self.inputs)
        outputs: dict[str, Tensor] = {}
        found: dict[str, str] = {}

        def gave(name: str, output: Tensor) -> None:
            outputs[name] = output

        def takes(name: str, given: Tensor) -> None:
            found.update({layer: name for layer, output in outputs.items() if output is given})

        hooks = [module.register_forward_hook(lambda _, __, output, name=name: gave(name, output))
                 for name, module in self.module.named_modules() if type(module) in KINDS]
        hooks += [module.register_forward_pre_hook(lambda _, given, name=name: takes(name, given[0]))  # pyright: ignore[reportArgumentType]
                  for name, module in self.module.named_modules() if isinstance(module, NORMS)]
        before = self.w.clone()
        with streams.torch_draws(self.cell.seed, "trial"), _blamed(place, "on a batch of shape {}", shape):
            logits = self.module.train()(torch.zeros(shape, dtype=self.w.dtype))
        for hook in hooks:
            hook.remove()
        self.w.copy_(before)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (shape[0], self.classes):
            gave_what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise UserError(f"{place}: gave {gave_what} for a batch of shape {shape}, "
                            f"expected (batch, classes) = {(shape[0], self.classes)}.")
        for slot, tensor in zip(self.slots, _tensors(self.module), strict=True):
            if tensor.data_ptr() != slot.of(self.w).data_ptr():
                raise UserError(f"{place}: puts a new tensor in place of {slot.name} when it runs, so it could not be rewound. "
                                f"Write into it instead: {slot.name.rpartition('.')[2]}.copy_(...).")
        return found

    @cached_property
    def weights(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.role == "weight"]

    def prunable(self, cell: Cell) -> list[Slot]:
        """The weights of the layers this cell prunes, in the network's order. Cells that share a network may prune other layers."""
        problems = list[str]()
        chosen = [self._named(word, f'prune_layers = "{word}"', ["all"], problems) for word in cell.prune_layers]
        for word in cell.keep if isinstance(cell.keep, dict) else {}:
            self._named(word, f"keep = {{{word} = ...}}", [], problems)
        if problems:
            raise UserError(*problems)
        return [slot for slot in self.weights if any(slot in found for found in chosen)]

    def _named(self, word: str, place: str, everything: list[str], problems: list[str]) -> list[Slot]:
        """The layers a word stands for: one by its name, a kind, or `everything`. A word that could be two of these is refused."""
        own = [slot for slot in self.weights if slot.layer == word]
        several = [slot for slot in self.weights if word in (slot.kind, *everything)]
        if own and several and own != several:
            what = "the word for all layers" if word in everything else "a kind"
            problems.append(f'{place}: "{word}" is the name of one layer of model = "{self.cell.model.name}" and also {what} '
                            f"({', '.join(slot.layer for slot in several)}). Rename that layer in the module.")
        elif not (own or several):
            known = {*everything, *(name for slot in self.weights for name in (slot.kind, slot.layer))}
            problems.append(unknown(place, "layer or kind", word, known))
        return own or several

    def bias_of(self, weight: Slot) -> Slot | None:
        return next((slot for slot in self.slots if slot.layer == weight.layer and slot.role == "bias"), None)

    def norm_of(self, weight: Slot) -> list[Slot]:
        """The parameters of the norm that reads this layer, a number a unit: they die with the unit."""
        norm = self._norms.get(weight.layer)
        return [slot for slot in self.slots if slot.layer == norm and slot.role == "other" and slot.shape == weight.shape[:1]]

    def after(self, weight: Slot) -> Slot | None:
        """The layer this one feeds, where layers form a plain chain: each unit a column of it, or a block of columns."""
        here = self.weights.index(weight)
        following = self.weights[here + 1] if self.chain and here + 1 < len(self.weights) else None
        return following if following and following.shape[1] % weight.shape[0] == 0 else None


@contextmanager
def _blamed(place: str, when: str, *given: object) -> Iterator[None]:
    """What a module of the user's raises is told as theirs."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{place}: raised {type(error).__name__} {when.format(*given)}: {error}.") from error


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *(buffer for buffer in module.buffers() if buffer.is_floating_point())]


def _slots(module: nn.Module) -> list[Slot]:
    slots: list[Slot] = []
    layers = dict(module.named_modules())
    named = [(name, tensor, "") for name, tensor in module.named_parameters()]
    named += [(name, tensor, "statistic") for name, tensor in module.named_buffers() if tensor.is_floating_point()]
    for name, tensor, role in named:
        layer, _, own = name.rpartition(".")
        kind = KINDS.get(type(layers[layer]), "") if not role else ""
        role = role or (own if kind and own in ("weight", "bias") else "other")
        shape = tuple(tensor.shape)
        weight_shape = tuple(layers[layer].weight.shape) if kind else shape  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        area = prod(weight_shape[2:])
        fan_in = weight_shape[1] * area if len(weight_shape) > 1 else 1
        start = slots[-1].stop if slots else 0
        slots.append(Slot(name, layer, role, kind, start, start + tensor.numel(), shape, fan_in, prod(weight_shape[:1]) * area))
    if not any(slot.role == "weight" for slot in slots):
        raise UserError(f"model: {type(module).__name__} has no nn.Linear or nn.Conv2d layer, so there is nothing to prune.")
    for name, layer in layers.items():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.track_running_stats and layer.momentum is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise UserError(f"model: {name} averages its statistics over all batches (momentum = None), a count no rewind "
                            f"takes back. Give it a momentum, such as 0.1.")
    return slots


def draw_init(net: Net, cell: Cell, *purpose: object, ref: tuple[str, dict[str, object]] | None = None) -> Tensor:
    """All parameters from the cell's init (or from `ref`), drawn for (seed, purpose); norms as they were built."""
    flat = torch.empty_like(net.w)
    for slot, value in net.as_built(cell.seed):
        slot.of(flat).copy_(value)
    for slot in net.slots:
        if slot.role not in ("weight", "bias"):
            continue
        chosen = (cell.init if slot.role == "weight" else cell.bias_init) if ref is None else None
        name, options = (chosen.name, chosen.options) if chosen else ref  # pyright: ignore[reportGeneralTypeIssues]
        piece = inits.get(name)
        value = piece({
            "normal": lambda s=slot: streams.normal(s.shape, cell.seed, "normal", *purpose, s.name),
            "uniform": lambda s=slot: streams.uniform(s.shape, cell.seed, "uniform", *purpose, s.name),
            "shape": lambda s=slot: s.shape,
            "fan_in": lambda s=slot: s.fan_in,
            "fan_out": lambda s=slot: s.fan_out,
        }, piece.for_layer(slot.layer, options))
        if tuple(value.shape) != slot.shape:
            raise UserError(f'init = "{name}": gave shape {tuple(value.shape)} for {slot.name}, expected {slot.shape}.')
        slot.of(flat).copy_(value)
    return flat
