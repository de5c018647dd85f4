"""Whose sign a surviving weight has after training: its own at the start, or that of the same weight elsewhere.

A sign is positive or not; a weight of exactly 0 is not.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from sweepstake.tickets.analysis.chance import Chance, alike, summed
from sweepstake.tickets.analysis.overlap import WHOLE, check_alike, layers_of, share
from sweepstake.tickets.ticket import Ticket

Row = dict[str, Any]


class Signs(NamedTuple):
    """Of a layer's weights: how many are compared, how many of each side are positive, how many agree."""

    layer: str
    compared: int
    positive_a: int
    positive_b: int
    agree: int

    @property
    def chance(self) -> Chance:
        return alike(self.compared, self.positive_a, self.positive_b)


def kept_signs(ticket: Ticket) -> list[Row]:
    """The share of survivors whose trained sign is that of where the round began: a row a layer, one of all."""
    end, start = layers_of(ticket.weights("trained")), layers_of(ticket.weights("initial"))
    return _rows(_signs(layer, mask, end, start) for layer, mask in layers_of(ticket.masks).items())


def common_signs(a: Ticket, b: Ticket) -> list[Row]:
    """Of the survivors that two tickets have in common, the share whose trained signs agree, in the same rows."""
    these, those = layers_of(a.masks), layers_of(b.masks)
    check_alike(these, those)
    this, that = layers_of(a.weights("trained")), layers_of(b.weights("trained"))
    return _rows(_signs(layer, mask & those[layer], this, that) for layer, mask in these.items())


def _signs(layer: str, chosen: Tensor, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Signs:
    this, that = a[layer][chosen] > 0, b[layer][chosen] > 0
    return Signs(layer, len(this), int(this.sum()), int(that.sum()), int((this == that).sum()))


def _rows(each: Iterable[Signs]) -> list[Row]:
    """Counts as rows. Chance deals each side's signs anew over the weights that are compared, layer by layer."""
    layers = list(each)
    chances = [layer.chance for layer in layers]
    whole = Signs(WHOLE, *(sum(counts) for counts in zip(*(layer[1:] for layer in layers), strict=True)))
    return [{"layer": one.layer, "compared": one.compared, "agree": one.agree,
             "agreement": share(one.agree, one.compared), "chance": share(chance.mean, one.compared),
             "chance_std": share(chance.std, one.compared), "z": chance.z(one.agree)}
            for one, chance in zip([*layers, whole], [*chances, summed(chances)], strict=True)]
