"""From rows to the numbers that a claim is about: one a seed, paired within it."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sweepstake.base.specs import LOWER_IS_BETTER, ClaimSpec
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row

BySeed = dict[int, float]
Cells = list[list[tuple[Row, Row]]]
"""Of each side, its cells' first round and the one that the claim is about."""


def paired(claim: ClaimSpec) -> bool:
    """Whether there is another side: other cells, or the same ones at another level."""
    return bool(claim.than) or claim.kept_than is not None


def asked(claim: ClaimSpec) -> tuple[float | None, float | None]:
    """The kept fraction asked for on each side."""
    return claim.kept, claim.kept if claim.kept_than is None else claim.kept_than


def column(claim: ClaimSpec) -> str:
    """The column of the claim's metric."""
    if claim.metric == "smallest_winning":
        return claim.metric
    return "seconds.train" if claim.metric == "train_seconds" else analysis.column(claim.metric, claim.at)


def sign(claim: ClaimSpec) -> float:
    """-1 where less is better."""
    return -1.0 if claim.metric in LOWER_IS_BETTER else 1.0


def is_dense(row: Row) -> bool:
    """The whole network, trained: round 0, unless it was pruned before its training already."""
    return row["round"] == 0 and row["kept_fraction"] == 1.0


def smallest_winner(rounds: Sequence[Row], accuracy: str = "test_accuracy") -> Row | None:
    """The round of the smallest kept fraction that ends at or above its own dense network, be it that one itself.

    None where it cannot be told.
    """
    dense = rounds[0]
    if not is_dense(dense) or dense["status"] != "done" or dense[accuracy] is None or len(rounds) < 2:
        return None
    winning = (row for row in rounds if row[accuracy] is not None and row[accuracy] >= dense[accuracy])
    return min(winning, key=lambda row: row["kept_fraction"])


def smallest_winning(rounds: Sequence[Row], accuracy: str = "test_accuracy") -> float | None:
    """That kept fraction; 1 where only the dense network does."""
    winner = smallest_winner(rounds, accuracy)
    return None if winner is None else winner["kept_fraction"]


def rounds_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The rounds of each cell, in their order, up to where it diverged."""
    cells: dict[str, list[Row]] = {}
    for row in rows:
        if not row["diverged"]:
            cells.setdefault(row["id"], []).append(row)
    return [sorted(rounds, key=lambda row: row["round"]) for rounds in cells.values()]


def finished(rows: Sequence[Row]) -> list[list[Row]]:
    """The rounds of each cell that came to its end."""
    return [rounds for rounds in rounds_of(rows) if rounds[-1]["status"] == "done"]


def at_level(rounds: list[Row], claim: ClaimSpec, kept: float | None) -> Row | None:
    """The round of a cell that the claim is about."""
    if claim.metric == "smallest_winning":
        smallest = smallest_winning(rounds, analysis.column("test_accuracy", claim.at))
        return None if smallest is None else {**rounds[-1], claim.metric: smallest}
    whole = rounds[-1]["status"] == "done"
    if kept is None:
        return rounds[-1] if whole else None
    near = analysis.nearest(rounds, kept)
    came = whole or near is not rounds[-1] or rounds[-1]["kept_fraction"] <= kept * (1 + analysis.SAME_LEVEL)
    return near if came else None  # A cell that diverged before this level is not measured a level above it.


def measured(claim: ClaimSpec, sides: Sequence[list[Row]]) -> Cells:
    """Of each side, the cells that have a number where the claim asks for one."""
    return [[(rounds[0], at) for rounds in rounds_of(side)
             if (at := at_level(rounds, claim, kept)) is not None and at.get(column(claim)) is not None]
            for side, kept in zip(sides, asked(claim), strict=False)]


def mean_by_seed(pairs: Sequence[tuple[int, float]]) -> BySeed:
    """Only seeds with all their cells: a mean over other cells would be a mean of something else."""
    seeds: dict[int, list[float]] = {}
    for seed, value in pairs:
        seeds.setdefault(seed, []).append(value)
    whole = max(map(len, seeds.values()), default=0)
    return {seed: statistics.mean(seeds[seed]) for seed in sorted(seeds) if len(seeds[seed]) == whole}


def by_setting(cells: Sequence[tuple[Row, Row]], axes: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    """The rounds asked for, by their cells' labels on some axes."""
    settings: dict[tuple[str, ...], list[Row]] = {}
    for _, at in cells:
        settings.setdefault(tuple(at[axis] for axis in axes), []).append(at)
    return settings


def levels(claim: ClaimSpec, cells: Cells) -> list[float]:
    """The metric itself, one number a seed."""
    return list(mean_by_seed([(at["seed"], at[column(claim)]) for _, at in cells[0]]).values())


def gains_over_dense(claim: ClaimSpec, cells: Cells) -> list[float]:
    """The gain over round 0 of the same cell, one number a seed."""
    name, gains = column(claim), list[tuple[int, float]]()
    for dense, at in cells[0]:
        if is_dense(dense) and at is not dense and dense.get(name) is not None:
            gains += _gains(claim, {at["seed"]: at[name]}, {at["seed"]: dense[name]})
    return list(mean_by_seed(gains).values())


def gains_over_other(claim: ClaimSpec, axes: Sequence[str], cells: Cells) -> list[float]:
    """The gain over the other side, one number a seed."""
    gains = list[tuple[int, float]]()
    for this, than in both_sides(claim, axes, cells):
        gains += _gains(claim, this, than)
    return list(mean_by_seed(gains).values())


def both_sides(claim: ClaimSpec, axes: Sequence[str], cells: Cells) -> Iterator[tuple[BySeed, BySeed]]:
    """The numbers of the two sides by seed, for each setting of the axes that the claim leaves open.

    Without another side, the same cells are each paired with themselves.
    """
    open_axes = [axis for axis in axes if not claim.than or (axis not in claim.this and axis not in claim.than)]
    settings = [by_setting(side, open_axes) for side in cells]
    for setting in sorted(settings[0].keys() & settings[1].keys()):
        if not claim.than and settings[0][setting][0] is settings[1][setting][0]:
            continue  # One round, asked for twice.
        this, than = (mean_by_seed([(at["seed"], at[column(claim)]) for at in side[setting]]) for side in settings)
        yield this, than


def _gains(claim: ClaimSpec, this: BySeed, than: BySeed) -> list[tuple[int, float]]:
    """By how much `this` is better than `than`, seed by seed."""
    differences = statistics.paired_differences(this, than, claim.relative)
    return [(seed, sign(claim) * difference) for seed, difference in differences.items()]


def half_level(kept: Sequence[float], at: float) -> float:
    """Half the log step from a level to its farther neighbour: what measuring only at levels hides."""
    logs = sorted(math.log(one) for one in {*kept} if one > 0)
    steps, place = [high - low for low, high in pairwise(logs)], logs.index(math.log(at))
    return max(steps[max(place - 1, 0):place + 1], default=0.0) / 2
