"""What chance gives, where only counts are fixed: means and standard deviations in closed form."""

import math
from collections.abc import Iterable
from typing import NamedTuple


class Chance(NamedTuple):
    """A count that chance decides."""

    mean: float
    std: float

    def z(self, found: float) -> float | None:
        """How many standard deviations a count is above its mean; None where chance leaves no choice."""
        return (found - self.mean) / self.std if self.std > 0 else None


def in_both(size: int, a: int, b: int) -> Chance:
    """How many of `size` places lie in two random sets of `a` and `b` places: the hypergeometric distribution."""
    if size < 2:
        return Chance(a * b / max(size, 1), 0.0)
    variance = a * b * (size - a) * (size - b) / (size * size * (size - 1))
    return Chance(a * b / size, math.sqrt(variance))


def alike(size: int, a: int, b: int) -> Chance:
    """In how many of `size` places two random sets of `a` and `b` places agree: in both, or in neither."""
    both = in_both(size, a, b)
    return Chance(size - a - b + 2 * both.mean, 2 * both.std)


def summed(parts: Iterable[Chance]) -> Chance:
    """The sum of independent counts."""
    parts = list(parts)
    return Chance(math.fsum(part.mean for part in parts), math.sqrt(math.fsum(part.std**2 for part in parts)))
