"""A y axis that leaves out what a few groups do where it would squeeze all the others."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sweepstake.read.analysis import Row

SHARE = 0.25
"""The others are squeezed where they take less of the axis than this."""


class Clip(NamedTuple):
    """Where an axis ends, and what lies beyond."""

    low: float
    high: float
    says: str


def clipped(points: Sequence[Row], told: Callable[[float], str]) -> Clip | None:
    """The axis without the fewest groups that squeeze the others, less than half of them; None where none does."""
    spans: dict[str, tuple[float, float]] = {}
    for point in points:
        low, high = spans.get(point["group"], (point["lo"], point["hi"]))
        spans[point["group"]] = min(low, point["lo"]), max(high, point["hi"])
    low, high = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    falling, rising = sorted(spans, key=lambda one: spans[one][0]), sorted(spans, key=lambda one: -spans[one][1])
    for count in range(1, (len(spans) - 1) // 2 + 1):
        end = spans[falling[count]][0]
        if high - end < SHARE * (high - low):
            least = min(point["mean"] for point in points if point["group"] in falling[:count])
            return Clip(end, high, _says(end, falling[:count], "falls", min(least, end), told))
        end = spans[rising[count]][1]
        if end - low < SHARE * (high - low):
            most = max(point["mean"] for point in points if point["group"] in rising[:count])
            return Clip(low, end, _says(end, rising[:count], "rises", max(most, end), told))
    return None


def _says(end: float, groups: Sequence[str], way: str, furthest: float, told: Callable[[float], str]) -> str:
    """One sentence: `Clipped at 90 %: kaiming_uniform falls to 11 %.`"""
    if furthest == end:  # The means stay inside.
        return f"Clipped at {told(end)}: the bars of {_named(groups)} go on."
    return f"Clipped at {told(end)}: {_named(groups)} {way if len(groups) == 1 else way[:-1]} to {told(furthest)}."


def _named(groups: Sequence[str]) -> str:
    return groups[0] if len(groups) == 1 else f"{', '.join(groups[:-1])} and {groups[-1]}"
