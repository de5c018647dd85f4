"""What is counted of a network under a mask: weights kept, units alive, live weights into and out of each unit."""

from dataclasses import dataclass

import torch
from torch import Tensor

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

    A transposed convolution has them in its columns, and a row of an embedding is a token.
    """
    turned = slot.kind == "conv" and not slot.by_unit
    return slot.of(flat).transpose(0, 1) if turned else slot.of(flat)


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
