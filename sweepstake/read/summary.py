"""What each group of cells comes to: its smallest winning ticket, its robustness to pruning, and its rank."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from sweepstake.read import statistics
from sweepstake.read.analysis import Row
from sweepstake.read.claims import finished, half_level, is_dense, smallest_winner, smallest_winning
from sweepstake.read.figures import percent
from sweepstake.read.statistics import Interval

BySeed = dict[int, float]


def summarise(axes: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """One row a setting of all axes, over the seeds of its finished cells; intervals are 95 %, by Student's t.

    `n`: its seeds, those with a cell that `diverged` among them: they have no ticket and no area, and rank last in
    their seed. `smallest_winning`: the geometric mean over seeds of the smallest kept fraction that ends at or above
    the cell's own dense network (1 where none does), its interval half a level wider; `winners`: how many seeds have
    one below 1. `robustness`: the area under test accuracy over log kept, from 1 down to `down_to`, the smallest level
    that all cells reached, relative to the dense network's; 1 loses nothing; none of cells pruned once, or to more
    than half. `rank`: the mean over seeds of its rank by robustness, 1 the best; `friedman_p`: of all groups being
    alike.
    """
    groups: dict[tuple[Any, ...], list[list[Row]]] = {}
    for rounds in finished(rows):
        groups.setdefault(tuple(rounds[0][axis] for axis in axes), []).append(rounds)
    lost: dict[tuple[Any, ...], set[int]] = {}
    for row in rows:
        if row["diverged"]:
            lost.setdefault(tuple(row[axis] for axis in axes), set()).add(row["seed"])
            groups.setdefault(tuple(row[axis] for axis in axes), [])
    pruned = [rounds for cells in groups.values() for rounds in cells if _has_area(rounds)]
    down_to = max((min(row["kept_fraction"] for row in rounds if row["kept_fraction"] > 0) for rounds in pruned),
                  default=1.0)
    areas = {group: {rounds[0]["seed"]: robustness(rounds, down_to) for rounds in cells if _has_area(rounds)}
             for group, cells in groups.items()}
    ranked, p = _ranks({group: area | dict.fromkeys(lost.get(group, ()), -math.inf)
                        for group, area in areas.items() if area})
    return [{
        **dict(zip(axes, group, strict=True)),
        "n": len({rounds[0]["seed"] for rounds in cells} | lost.get(group, set())),
        "diverged": len(lost.get(group, ())), "dense": _dense(cells), **_tickets(cells),
        **_over_seeds("robustness", list(areas[group].values())), "down_to": down_to if areas[group] else None,
        **_over_seeds("rank", ranked.get(group, []), 1.0, float(len(ranked))),
        "friedman_p": p if group in ranked else None,
    } for group, cells in groups.items()]


def smallest_tickets(axes: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """One row a finished cell: its smallest winning ticket, which is the whole network where no smaller one wins.

    Cells without a dense network to match are left out.
    """
    return [{
        "id": winner["id"], **{axis: winner[axis] for axis in axes}, "seed": winner["seed"],
        "kept_fraction": winner["kept_fraction"], "round": winner["round"],
        "test_accuracy": winner["test_accuracy"], "dense_test_accuracy": rounds[0]["test_accuracy"],
    } for rounds in finished(rows) if (winner := smallest_winner(rounds)) is not None]


def ordered(groups: Sequence[Row]) -> list[Row]:
    """The groups that were pruned from a dense network, the most robust first.

    Those without a curve stand last; none if no group has one.
    """
    pruned = (one for one in groups if one["winners"] is not None or one.get("diverged"))
    told = sorted(pruned, key=lambda one: -(one["robustness"] or -math.inf))
    return told if told and told[0]["robustness"] is not None else []


def winners(one: Row) -> str:
    """How many seeds of a group have a winning ticket, and how many diverged."""
    lost = one.get("diverged")
    if one["winners"] is None and not lost:
        return "–"
    return f"{one['winners'] or 0} of {one['n']}" + (f", {lost} diverged" if lost else "")


Told = tuple[str, str]
"""A mean and its interval as they are shown, "" where there is none."""


def numbers_told(one: Row) -> dict[str, Told]:
    """The smallest winning ticket, robustness and rank of a group."""
    def told(name: str, amount: Callable[[float], str]) -> Told:
        mean, low, high = one[name], one[f"{name}_low"], one[f"{name}_high"]
        return "–" if mean is None else amount(mean), "" if low is None else f"{amount(low)}, {amount(high)}"

    ticket = told("smallest_winning", lambda kept: percent(100 * kept)) if one["winners"] else ("–", "")
    return {"ticket": ticket, "robustness": told("robustness", "{:.4f}".format), "rank": told("rank", "{:.1f}".format)}


def robustness(rounds: Sequence[Row], down_to: float) -> float:
    """The mean of test accuracy over log kept, from 1 down to a level, by trapezoids.

    It is relative to the dense network's own.
    """
    points = [(math.log(row["kept_fraction"]), row["test_accuracy"] / rounds[0]["test_accuracy"]) for row in rounds
              if row["kept_fraction"] > 0 and row["test_accuracy"] is not None]
    end, area = math.log(down_to), 0.0
    for (left, high), (right, low) in pairwise(points):
        if left > end:
            cut = max(right, end)
            at_cut = high + (low - high) * (left - cut) / (left - right) if left > right else low
            area += (left - cut) * (high + at_cut) / 2
    return area / -end


def _has_area(rounds: Sequence[Row]) -> bool:
    """Whether there is a curve: a dense network, and two levels or more down to half of the weights or fewer."""
    pruned = {row["kept_fraction"] for row in rounds
              if 0 < row["kept_fraction"] < 1 and row["test_accuracy"] is not None}
    return is_dense(rounds[0]) and bool(rounds[0]["test_accuracy"]) and len(pruned) > 1 and min(pruned) <= 0.5


def _dense(cells: Sequence[Sequence[Row]]) -> float | None:
    found = [rounds[0]["test_accuracy"] for rounds in cells
             if is_dense(rounds[0]) and rounds[0]["test_accuracy"] is not None]
    return statistics.mean(found) if found else None


def _tickets(cells: Sequence[Sequence[Row]]) -> Row:
    """The smallest winning ticket over seeds, on a log scale."""
    smallest: BySeed = {}
    halves: list[float] = []
    for rounds in cells:
        if (kept := smallest_winning(rounds)) is not None and kept > 0:
            smallest[rounds[0]["seed"]] = math.log(kept)
            halves.append(half_level([row["kept_fraction"] for row in rounds], kept))
    told = _over_seeds("smallest_winning", list(smallest.values()), slack=statistics.mean(halves) if halves else 0.0)
    return {key: None if value is None else min(1.0, math.exp(value)) for key, value in told.items()} | {
        "winners": sum(log < 0 for log in smallest.values()) if smallest else None}


def _ranks(areas: dict[tuple[Any, ...], BySeed]) -> tuple[dict[tuple[Any, ...], list[float]], float | None]:
    """Each group's ranks, seed by seed, at the seeds that all groups have, and Friedman's p."""
    seeds = sorted(set[int].intersection(*map(set, areas.values()))) if len(areas) > 1 else []
    if not seeds:
        return {}, None
    table = [[area[seed] for area in areas.values()] for seed in seeds]
    by_group = zip(*map(statistics.ranks, table), strict=True)
    return {group: list(own) for group, own in zip(areas, by_group, strict=True)}, statistics.friedman(table)


def _over_seeds(name: str, values: Sequence[float], least: float = -math.inf, most: float = math.inf,
                slack: float = 0.0) -> Row:
    low, high = _between(statistics.t_interval(values), least, most, slack)
    return {name: statistics.mean(values) if values else None, f"{name}_low": low, f"{name}_high": high}


def _between(interval: Interval | None, least: float, most: float, slack: float) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (max(least, interval[0] - slack), min(most, interval[1] + slack))
