"""Two settings of a study compared at each level, seed by seed: with the numbers that claims are judged by."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sweepstake.base.errors import UserError
from sweepstake.base.specs import At, ClaimMetric, ClaimSpec, Where, check_where
from sweepstake.base.values import convert, shown
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row
from sweepstake.read.claims.contract import Sides, test_of
from sweepstake.read.claims.lost import lost_seeds
from sweepstake.read.claims.numbers import both_sides, column, mean_by_seed, measured
from sweepstake.read.claims.tell import nothing


def asked_of(axes: Mapping[str, Sequence[Any]], a: Where, b: Where, metric: ClaimMetric, at: At,
             kept: float | None) -> ClaimSpec:
    """The comparison as a claim says it, that a is better than b; refused where no study could say it."""
    problems, types = list[str](), {field.name: field.type for field in msgspec.structs.fields(ClaimSpec)}
    given = [("a", "this", a), ("b", "than", b), ("metric", "metric", metric), ("at", "at", at), ("kept", "kept", kept)]
    for name, field, value in given:
        try:
            convert(value, types[field], f"compare: {name}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    for name, where in (("a", a), ("b", b)):
        problems += check_where(f"compare: {name}", where, axes)
        problems += [] if where else [f"compare: {name} is empty. Say which cells, as in {{axis: label}}."]
    problems += [f"compare: a and b are both {shown(a)}. Change one."] if a and a == b else []
    claim = ClaimSpec(says="a is above b.", test="better", metric=metric, at=at, kept=kept, this=a, than=b)
    if problems := problems or [f"compare: {problem}" for problem in test_of(claim).check(claim)]:
        raise UserError(*problems)
    return claim


def differences(claim: ClaimSpec, axes: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """One row a level: the mean of `this` less that of `than` over the seeds that both have, as it was measured.

    The 95 % interval and the two-sided p are Student's, of the paired differences (Student 1908); no p of fewer than
    three seeds. `diverged` seeds have no number there and are left out.
    """
    rows = [row for row in rows if row["status"] != "failed"]
    sides = [analysis.chosen(rows, where) for where in (claim.this, claim.than)]
    one_level = claim.kept is not None or claim.metric == "smallest_winning"
    found = [_difference(msgspec.structs.replace(claim, kept=level), axes, sides, exactly=not one_level)
             for level in ([claim.kept] if one_level else _shared_levels(sides))]
    if not (whole := [row for row in found if row]):
        raise UserError(f"compare: {nothing(test_of(claim), claim, sides)}")
    return whole


def _shared_levels(sides: Sides) -> list[float]:
    """The kept fractions at which both sides were measured, the largest first."""
    every = [[row["kept_fraction"] for row in side] for side in sides]
    return [level for level in analysis.levels((one for side in every for one in side), sum(map(len, every)))
            if all(any(_is_at(one, level) for one in side) for side in every)]


def _is_at(kept: float, level: float) -> bool:
    return abs(kept / level - 1) <= analysis.SAME_LEVEL


def _difference(claim: ClaimSpec, axes: Sequence[str], sides: Sides, exactly: bool) -> Row | None:
    """What both sides come to at one level; None where no seed has both. `exactly`: only rounds of that very level."""
    _, lost = lost_seeds(test_of(claim), claim, sides)
    left = [[row for row in side if row["seed"] not in lost
             and not (exactly and claim.kept and not _is_at(row["kept_fraction"], claim.kept))] for side in sides]
    cells = measured(claim, left)
    pairs = [(seed, this[seed], than[seed]) for this, than in both_sides(claim, axes, cells)
             for seed in sorted(this.keys() & than.keys())]
    if not pairs:
        return None
    means_a, means_b = (mean_by_seed([(pair[0], pair[side]) for pair in pairs]) for side in (1, 2))
    paired = list(statistics.paired_differences(means_a, means_b).values())
    low, high = statistics.t_interval(paired) or (None, None)
    kept = [at["kept_fraction"] for side in cells for _, at in side]
    return {
        "kept_fraction": None if claim.metric == "smallest_winning" else statistics.mean(kept),
        "metric": column(claim), "mean_a": statistics.mean([*means_a.values()]),
        "mean_b": statistics.mean([*means_b.values()]), "difference": statistics.mean(paired), "low": low,
        "high": high, "n": len(paired),
        "p": statistics.superior(paired).p if len(paired) >= statistics.MIN_SEEDS else None, "diverged": len(lost),
    }
