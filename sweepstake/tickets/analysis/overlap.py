"""Which weights two tickets both keep, against what chance gives tickets of the same layer counts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sweepstake.base.errors import UserError
from sweepstake.tickets.analysis.chance import Chance, in_both, summed
from sweepstake.tickets.ticket import Ticket

Row = dict[str, Any]

WHOLE = "all"
"""What the row of the whole network says in the place of a layer."""
COLUMNS = 2**16
"""Weights that are multiplied at a time: counts below 2^24 are exact in float32."""


class Shared(NamedTuple):
    """How many of a layer's weights two tickets keep, and how many both do."""

    layer: str
    size: int
    kept_a: int
    kept_b: int
    both: int

    @property
    def chance(self) -> Chance:
        return in_both(self.size, self.kept_a, self.kept_b)


def overlap(a: Ticket, b: Ticket) -> list[Row]:
    """The share of a ticket's survivors that another keeps too: a row a layer, and one of the whole network."""
    these, those = layers_of(a.masks), layers_of(b.masks)
    check_alike(these, those)
    return rows_of([Shared(layer, mask.numel(), int(mask.sum()), int(those[layer].sum()),
                           int((mask & those[layer]).sum())) for layer, mask in these.items()])


def rows_of(layers: Sequence[Shared]) -> list[Row]:
    """Counts as rows: the shares that both keep, Jaccard's index, what chance gives, and how far from it they are.

    `overlap` is of a's survivors, `overlap_b` of b's. Chance is hypergeometric in each layer: two random masks of the
    same counts. The whole network's is the sum of its layers'.
    """
    whole = Shared(WHOLE, *(sum(counts) for counts in zip(*(layer[1:] for layer in layers), strict=True)))
    chances = [layer.chance for layer in layers]
    return [_row(layer, chance) for layer, chance in zip([*layers, whole], [*chances, summed(chances)], strict=True)]


def _row(shared: Shared, chance: Chance) -> Row:
    _, size, a, b, both = shared
    return {"layer": shared.layer, "size": size, "kept_a": a, "kept_b": b, "both": both,
            "overlap": share(both, a), "overlap_b": share(both, b), "jaccard": share(both, a + b - both),
            "chance": share(chance.mean, a), "chance_std": share(chance.std, a), "chance_b": share(chance.mean, b),
            "z": chance.z(both)}


def counts_in_both(masks: Sequence[Tensor]) -> Tensor:
    """How many weights each two of some masks both keep, (masks, masks); the diagonal is what each one keeps."""
    found = torch.zeros(len(masks), len(masks), dtype=torch.long)
    for parts in zip(*(mask.flatten().split(COLUMNS) for mask in masks), strict=True):
        part = torch.stack(parts).float()
        found += (part @ part.T).long()
    return found


def check_alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Two tickets are compared weight by weight, so they are of one network."""
    other = [name for name in {**a, **b} if name not in a or name not in b or a[name].shape != b[name].shape]
    if other:
        raise UserError(f"tickets: two that are compared have the same names and shapes; these differ in "
                        f"{', '.join(other[:3])}{' and others' if len(other) > 3 else ''}.")


def layers_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of layers, by the layers' names. Biases and norms, of one dimension, are not counted as weights."""
    return {name.removesuffix(".weight"): tensor for name, tensor in tensors.items() if tensor.dim() > 1}


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
