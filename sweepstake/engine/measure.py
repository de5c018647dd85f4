"""What is counted of a network under a mask: weights kept, units alive, live weights into and out of each unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.engine.masks import units_read
from sweepstake.engine.network import Net, Slot


@dataclass(frozen=True)
class Counts:
    """The counts of a mask, by layer."""

    kept_by_layer: dict[str, int]
    size_by_layer: dict[str, int]
    units_by_layer: dict[str, int]
    alive_units: dict[str, int]
    degrees: dict[str, dict[str, dict[str, float]]]

    @property
    def kept(self) -> int:
        return sum(self.kept_by_layer.values())

    @property
    def size(self) -> int:
        return sum(self.size_by_layer.values())


def counts_of(net: Net, mask: Tensor) -> Counts:
    return Counts(
        kept_by_layer={slot.layer: int(slot.of(mask).sum()) for slot in net.weights},
        size_by_layer={slot.layer: slot.size for slot in net.weights},
        units_by_layer={slot.layer: len(by_unit(slot, mask)) for slot in net.weights},
        alive_units={slot.layer: int(alive_units(net, slot.layer, mask).sum()) for slot in net.weights},
        degrees=degrees(net, mask))


def by_unit(slot: Slot, flat: Tensor) -> Tensor:
    """The layer's weights with a row for each unit that it gives.

    A transposed convolution has them in its columns, a linear layer of transformers too; an embedding's row is a token.
    """
    turned = slot.kind in ("conv", "linear") and not slot.by_unit
    return slot.of(flat).transpose(0, 1) if turned else slot.of(flat)


def outputs_a_unit(net: Net) -> dict[str, int]:
    """How many numbers each unit of a layer puts out for one image: 1, or a feature map's places.

    A transposed convolution's weight goes into as many outputs as it reads places. Attention's projections are used
    once a token.
    """
    outputs: dict[str, int] = {}
    hooks = []
    modules = dict(net.module.named_modules())
    for slot in net.weights:

        def add(_: nn.Module, inputs: Any, output: Any, slot: Slot = slot) -> None:
            seen, width = output, slot.shape[0]
            if slot.kind == "attention":
                seen, width = (output[0] if isinstance(output, tuple) else output), slot.shape[1]
            elif slot.kind != "embedding" and not slot.by_unit:
                seen = inputs[0]
            elif slot.kind == "embedding":
                width = slot.shape[1]
            outputs[slot.layer] = outputs.get(slot.layer, 0) + seen[0].numel() // width

        holder = slot.name.rpartition(".")[0] if slot.kind != "attention" else _attention_of(slot, modules)
        hooks.append(modules[holder].register_forward_hook(add))
    try:
        with torch.no_grad():
            net.module.eval()(torch.zeros((1, *net.inputs), dtype=net.w.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _attention_of(slot: Slot, modules: Mapping[str, nn.Module]) -> str:
    """The name of the attention that a projection belongs to; it calls no module for them."""
    name = slot.name.rpartition(".")[0]
    return name if isinstance(modules[name], nn.MultiheadAttention) else name.rpartition(".")[0]


def multiply_adds(weights: Mapping[str, int], outputs: Mapping[str, int]) -> int:
    """Of one image, with so many weights in each layer: a multiply-add for each weight and each output it goes into.

    What biases, norms and pooling compute is not counted.
    """
    return sum(count * outputs[layer] for layer, count in weights.items())


def alive_units(net: Net, layer: str, mask: Tensor) -> Tensor:
    """Units with a live weight coming in and, where the next layer is known, a live one going out."""
    slot = next(slot for slot in net.weights if slot.layer == layer)
    alive = by_unit(slot, mask).flatten(1).any(dim=1)
    following = net.after(slot)
    if following is not None:
        alive &= units_read(following, mask, len(alive))
    return alive


def degrees(net: Net, mask: Tensor) -> dict[str, dict[str, dict[str, float]]]:
    """Each layer's live weights: into each of its units (`in`), and out of each unit or pixel that it reads (`out`)."""
    by_layer: dict[str, dict[str, dict[str, float]]] = {}
    for before, slot in zip([None, *net.weights], net.weights, strict=False):
        weights = by_unit(slot, mask)
        live = weights.flatten(2).sum(2) if weights.dim() > 2 else weights.long()
        units = before.shape[0] if before is not None and net.after(before) is slot else live.shape[1]
        by_layer[slot.layer] = {"in": _spread(live.sum(1)), "out": _spread(live.sum(0).view(units, -1).sum(1))}
    return by_layer


def _spread(counts: Tensor) -> dict[str, float]:
    """A layer's degrees in a few numbers; `zero` is how many units have no live weight."""
    ordered = counts.double().sort().values
    quarters = torch.tensor([0.25, 0.5, 0.75], dtype=ordered.dtype, device=ordered.device)
    q1, median, q3 = ordered.quantile(quarters).tolist()
    return {
        "min": int(ordered[0]),
        "q1": q1,
        "median": median,
        "q3": q3,
        "max": int(ordered[-1]),
        "mean": float(ordered.mean()),
        "zero": int((counts == 0).sum()),
    }
