"""What training cost: measured seconds by weights remaining, and what sparsity saved against dense networks."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from sweepstake.read import analysis, figures, origins

Results = Sequence[Mapping[str, Any]]

MOST = 9
"""Levels that are shown."""


class Training(NamedTuple):
    """One round's training."""

    kept: float
    seconds: float
    relative: float | None
    """A step of it, in steps of its own cell's dense network."""


def section(results: Results) -> dict[str, Any] | None:
    """A row a level: seconds of a training, and how long a step took beside one of the cell's own dense network."""
    trainings = [one for result in results for one in _trainings(result["rounds"])]
    if not any(one.seconds > 0 for one in trainings):
        return None
    rows = []
    for level in analysis.levels((one.kept for one in trainings), MOST):
        here = [one for one in trainings if abs(one.kept / level - 1) <= analysis.SAME_LEVEL]
        relative = [one.relative for one in here if one.relative is not None]
        low, _, high = quantiles(relative, n=4, method="inclusive") if len(relative) > 1 else (None, None, None)
        rows.append({"kept": figures.percent(100 * level), "n": len(here),
                     "seconds": told_seconds(median(one.seconds for one in here)),
                     "relative": median(relative) if relative else None, "low": low, "high": high})
    most = max([1.0, *(row["high"] or row["relative"] or 0 for row in rows)])
    return {"rows": rows, "most": most, "saved": _saved(results), "by": origins.counted(origins.numerics(results))}


def _trainings(rounds: Sequence[Mapping[str, Any]]) -> list[Training]:
    first = rounds[0] if rounds else None
    dense = _a_step(first) if first and first["round"] == 0 and first["kept_fraction"] == 1 else None
    return [Training(record["kept_fraction"], record["seconds"].get("train", 0.0),
                     None if dense is None or (step := _a_step(record)) is None else step / dense)
            for record in rounds if not record["diverged"] and record["kept_fraction"] > 0]


def _a_step(record: Mapping[str, Any]) -> float | None:
    return record["seconds"].get("train", 0.0) / record["steps"] or None if record["steps"] else None


def _saved(results: Results) -> str:
    """All seconds of training beside what they had been, if every step had taken as long as the dense network's."""
    spent = as_dense = 0.0
    for result in results:
        for record, one in zip((each for each in result["rounds"]
                                if not each["diverged"] and each["kept_fraction"] > 0),
                               _trainings(result["rounds"]), strict=True):
            if one.relative and record["round"] > 0:
                spent += one.seconds
                as_dense += one.seconds / one.relative
    if not as_dense:
        return ""
    saved = 1 - spent / as_dense
    way = (f"sparsity saved {100 * saved:.0f} % of the time" if saved > 0.005 else
           f"pruned networks took {-100 * saved:.0f} % longer" if saved < -0.005 else "sparsity saved nothing")
    return (f"The rounds after the first trained for {told_seconds(spent)}. At the speed of their own dense networks "
            f"they would have trained for {told_seconds(as_dense)}: {way}.")


def told_seconds(seconds: float) -> str:
    """`0.12 s`, `48 s`, `12 minutes`, `3.4 hours`."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
