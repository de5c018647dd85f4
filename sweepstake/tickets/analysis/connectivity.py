"""The straight line between two trainings of a ticket (Frankle et al. 2020): does the error rise on the way?"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sweepstake.base.errors import UserError
from sweepstake.tickets.analysis.overlap import check_alike
from sweepstake.tickets.ticket import Ticket

Measured = TypeVar("Measured")

ALPHAS = tuple(step / 10 for step in range(11))
"""Where on the line the error is measured: 0 is the one training, 1 the other."""
STABLE = 0.02
"""A barrier below two points of error: the two trainings are linearly connected (Frankle et al. 2020)."""


def between(a: Ticket, b: Ticket, alpha: float) -> dict[str, Tensor]:
    """(1 - alpha) a + alpha b, of everything that training moved: weights, biases, and the statistics of norms.

    The ends are the tickets' own weights to the bit.
    """
    this, that = a.weights("trained"), b.weights("trained")
    check_alike(this, that)
    if alpha in (0, 1):
        return dict(that if alpha else this)
    return {name: value + alpha * (that[name] - value) for name, value in this.items()}


def errors_along(a: Ticket, b: Ticket, error_of: Callable[[Mapping[str, Tensor]], Measured],
                 alphas: Sequence[float] = ALPHAS) -> list[Measured]:
    """The error at each place of the line, as `error_of` measures it of a network with these weights."""
    return [error_of(between(a, b, alpha)) for alpha in alphas]


def barrier(errors: Sequence[float]) -> float:
    """How far the largest error of the line is above the mean of its two ends (Frankle et al. 2020)."""
    if len(errors) < 3:
        raise UserError(f"barrier: {len(errors)} errors are no line. Give those of both ends and of places between.")
    return max(errors) - (errors[0] + errors[-1]) / 2


def one_ticket(a: Ticket, b: Ticket) -> tuple[bool, bool]:
    """Whether two trainings are of the same masks, and whether they began at the same weights."""
    return _same(a.masks, b.masks), _same(a.initial, b.initial)


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())
