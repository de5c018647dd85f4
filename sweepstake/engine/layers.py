"""Which parameters of a module are the weights and biases of a layer, and of what kind.

A layer is what a study can name: `fc1` of a linear layer, `attn.in_proj` of an attention. Its kind is a word that
stands for all such layers: linear, conv, embedding, attention.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import nn

PLAIN = (nn.Linear, nn.Conv2d)
"""The modules whose weights were pruned before all others were. Subclasses were not."""

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
OF_A_TYPE = {(nn.Linear,): "linear", (*CONVS, *TRANSPOSED): "conv", (nn.Embedding, nn.EmbeddingBag): "embedding"}
"""Subclasses are of the kind of their base."""

TURNED_LINEAR = "Conv1D"
"""A linear layer of transformers that stores its weight as (inputs, outputs). Known by name: it is not imported."""

PROJECTIONS = ("in_proj", "q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Part:
    """A parameter's place in a layer: weight or bias, the layer's name and kind, and its weight's shape."""

    layer: str
    role: str
    kind: str
    shape: tuple[int, ...]
    """Of the layer's weight, also for a bias."""
    by_unit: bool
    """Whether a row of the weight is a unit: a neuron, a channel."""
    plain: bool
    """Whether it was prunable before other kinds of layers were."""

    @property
    def fan_in(self) -> int:
        return prod(self.shape[1:]) if len(self.shape) > 1 else 1

    @property
    def fan_out(self) -> int:
        return prod(self.shape[:1]) * prod(self.shape[2:])


def parts_of(module: nn.Module) -> dict[str, Part]:
    """Parameter -> its place in a layer. A parameter that is not here belongs to no layer that can be pruned.

    A parameter that several modules share stands under each of its names.
    """
    attentions = {name for name, each in module.named_modules() if isinstance(each, nn.MultiheadAttention)}
    found: dict[str, Part] = {}
    for name, each in module.named_modules(remove_duplicate=False):
        if name in attentions:
            found.update(_projections(name, each))
        elif kind := _kind(each, name, attentions):
            found.update(_weight_and_bias(name, each, kind))
    return found


def _kind(module: nn.Module, name: str, attentions: set[str]) -> str:
    """The kind of a layer of one weight; empty for any other module."""
    if name.rpartition(".")[0] in attentions and isinstance(module, nn.Linear):
        return "attention"
    if _is_turned(module):
        return "linear"
    return next((kind for types, kind in OF_A_TYPE.items() if isinstance(module, types)), "")


def _is_turned(module: nn.Module) -> bool:
    """Whether it is a linear layer whose units are columns."""
    return TURNED_LINEAR in (each.__name__ for each in type(module).__mro__) and hasattr(module, "nf")


def _weight_and_bias(name: str, module: nn.Module, kind: str) -> Iterator[tuple[str, Part]]:
    own = dict(module.named_parameters(recurse=False))
    weight = own.get("weight")
    if weight is None:  # Computed from others, as under weight norm: those belong to no layer.
        return
    by_unit = kind in ("linear", "conv") and not (isinstance(module, TRANSPOSED) or _is_turned(module))
    for role in ("weight", "bias"):
        if role in own:
            place = Part(name, role, kind, tuple(weight.shape), by_unit, type(module) in PLAIN)
            yield (f"{name}.{role}" if name else role), place


def _projections(name: str, module: nn.Module) -> Iterator[tuple[str, Part]]:
    """Queries', keys' and values' weights: one tensor, or three where their sizes differ."""
    own = dict(module.named_parameters(recurse=False))
    prefix = f"{name}." if name else ""
    for projection in PROJECTIONS:
        weight = own.get(f"{projection}_weight")
        for role in ("weight", "bias"):
            if weight is not None and f"{projection}_{role}" in own:
                place = Part(prefix + projection, role, "attention", tuple(weight.shape), False, False)
                yield f"{prefix}{projection}_{role}", place
