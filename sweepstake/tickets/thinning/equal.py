"""The proof: two networks give the same outputs, up to rounding, on the example and on others like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.tickets.thinning.inputs import Inputs, floats

TOLERANCE = 1e-5
"""The largest difference allowed, relative to the largest absolute value of the same output tensor."""
EXACT = 1e-9
"""The same in double precision, in which each cut is proven before the network is rounded to its own."""
LOOSE = 100
"""How many times that for weights drawn anew, whose outputs may be ill-conditioned: a wrong cut moves them far more."""


class Unequal(Exception):
    """Two networks do not give the same outputs; the message says how."""


def outputs(model: nn.Module, runs: Sequence[Inputs]) -> list[list[Tensor]]:
    with torch.no_grad():
        return [floats(each.run(model)) for each in runs]


def largest_difference(first: list[list[Tensor]], second: list[list[Tensor]]) -> float:
    """The largest |a - b| / max |a| over all outputs; infinite where shapes or what is finite differ."""
    found = 0.0
    for a, b in zip(first, second, strict=True):
        if [each.shape for each in a] != [each.shape for each in b]:
            return float("inf")
        found = max([found, *(difference(x, y) for x, y in zip(a, b, strict=True))])
    return found


def difference(a: Tensor, b: Tensor) -> float:
    if not a.numel():
        return 0.0
    wide: Any = torch.complex128 if a.is_complex() else torch.float64
    a, b = a.to(wide), b.to(wide)
    finite = torch.isfinite(a)
    odd = not torch.equal(torch.nan_to_num(a[~finite]), torch.nan_to_num(b[~finite]))
    if odd or not bool(b[finite].isfinite().all()):
        return float("inf")
    scale = float(a[finite].abs().max()) if bool(finite.any()) else 0.0
    apart = float((a[finite] - b[finite]).abs().max()) if bool(finite.any()) else 0.0
    return apart / scale if scale else (0.0 if apart == 0 else float("inf"))


def check(reference: list[list[Tensor]], small: nn.Module, runs: Sequence[Inputs],
          tolerance: float = TOLERANCE) -> float:
    """How far the small network's outputs are from these; too far, or a network that does not run, is `Unequal`."""
    try:
        got = outputs(small, runs)
    except Exception as problem:
        words = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise Unequal(f"the smaller network does not run: {words}") from problem
    apart = largest_difference(reference, got)
    if not apart <= tolerance:
        raise Unequal(f"its outputs would differ by {apart:.2g} of their size")
    return apart
