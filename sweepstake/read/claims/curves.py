"""Tests of the metric over all rounds: one curve a seed, the mean of the seed's cells."""

import math
from typing import NamedTuple

from sweepstake.base.specs import LOWER_IS_BETTER, ClaimSpec, claim_test
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row
from sweepstake.read.claims.contract import ClaimTest, Found, Sides, Unit
from sweepstake.read.claims.numbers import column, finished, half_level, mean_by_seed, sign
from sweepstake.read.claims.tell import amount_of, amounts, best, names, nothing, over
from sweepstake.read.statistics import Decision

Curves = list[list[Row]]
"""The rounds of each finished cell that have a number."""


class CurveTest(ClaimTest):
    """A test that decides by whole curves. A subclass gives `of_curves` and `tell`."""

    all_rounds, takes_relative = True, False

    def of_curves(self, claim: ClaimSpec, curves: Curves) -> Found:
        """What these curves say of the claim: there is one at least, and each has two rounds or more."""
        raise NotImplementedError

    def decide(self, claim: ClaimSpec, axes: list[str], sides: Sides) -> Found:
        rows, name = sides[0], column(claim)
        cells = [[row for row in rounds if row.get(name) is not None and row["kept_fraction"] > 0]
                 for rounds in finished(rows)]
        curves = [rounds for rounds in cells if len(rounds) > 1]
        if curves:
            return self.of_curves(claim, curves)
        if all(row.get(name) is None for row in rows):
            return Found(why=nothing(self, claim, [rows]))
        return Found(why="No cell has finished more than one round.")


@claim_test("peaks_at")
class PeaksAt(CurveTest):
    """The mean over seeds of the log of the best level, half a level either way, lies about `value` (Student 1908)."""

    says = "over the rounds the metric is best at the kept fraction `value`, within a factor of 1 + `margin`"
    value, needs_margin = "needed", True
    instead = ""

    def check(self, claim: ClaimSpec) -> list[str]:
        problems = super().check(claim)
        if claim.value is not None and not 0 < claim.value <= 1:
            problems.append(f"value = {claim.value:g}: {self.said} wants a kept fraction, above 0 and at most 1.")
        return problems

    def of_curves(self, claim: ClaimSpec, curves: Curves) -> Found:
        peaks = [_peak(rounds, column(claim), sign(claim)) for rounds in curves]
        by_seed = mean_by_seed([(rounds[0]["seed"], peak) for rounds, (peak, _) in zip(curves, peaks, strict=True)])
        slack = statistics.mean([half for _, half in peaks])
        value, margin = math.log(claim.value or 1.0), math.log1p(claim.margin)
        return Found(statistics.about(list(by_seed.values()), value, margin, slack))

    def unit(self, claim: ClaimSpec) -> Unit:
        return "kept"

    def tell(self, claim: ClaimSpec, found: Found) -> str:
        decision = found.decision
        assert decision is not None
        ends = (decision.effect, decision.low, decision.high)
        effect, low, high = (100 * min(1.0, math.exp(number)) for number in ends)
        span = f"95 % interval {low:.3g} to {high:.3g}, half a level included, " if decision.n > 1 else ""
        return (f"{names(claim.this)}: {best(claim)} {claim.metric} at {effect:.3g} % of the weights "
                f"({span}{over(decision)}); "
                f"{100 * (claim.value or 1.0):.3g} % within a factor of {1 + claim.margin:g} was said.")


def _peak(rounds: list[Row], name: str, sign: float) -> tuple[float, float]:
    """The log of the kept fraction with the best metric (ties: their mean), and half a level there."""
    most = max(sign * row[name] for row in rounds)
    kept = [row["kept_fraction"] for row in rounds]
    tied = [row["kept_fraction"] for row in rounds if sign * row[name] == most]
    return statistics.mean([math.log(one) for one in tied]), max(half_level(kept, one) for one in tied)


class Seen(NamedTuple):
    """What a shape is told with: the first and the last kept fraction, and that of the mean curve's peak."""

    shape: statistics.Shape
    first: float
    last: float
    peak: float


@claim_test("unimodal")
class Unimodal(CurveTest):
    """A rise to a peak that the other seeds choose, and a fall, with their intervals (Nadeau & Bengio 2003)."""

    says = "as weights go it gets better to one peak and then worse, each by more than `margin`"
    instead = "no such peak"

    def of_curves(self, claim: ClaimSpec, curves: Curves) -> Found:
        kept = [row["kept_fraction"] for row in curves[0]]
        if any(not _same_levels(kept, [row["kept_fraction"] for row in rounds]) for rounds in curves):
            return Found(why="The cells were not measured at the same levels, so there is no mean curve. "
                             "Name fewer cells with this or where.", n=len({rounds[0]["seed"] for rounds in curves}))
        name = column(claim)
        steps = [mean_by_seed([(rounds[place]["seed"], sign(claim) * rounds[place][name]) for rounds in curves])
                 for place in range(len(kept))]
        shape = statistics.one_peak([[step[seed] for step in steps] for seed in steps[0]], claim.margin)
        means = [statistics.mean(list(step.values())) for step in steps]
        return Found(shape.decision, Seen(shape, kept[0], kept[-1], kept[means.index(max(means))]))

    def tell(self, claim: ClaimSpec, found: Found) -> str:
        shape, first, last, peak = found.seen
        amount = amounts(claim.metric, signed=True)

        def gain(one: Decision) -> str:
            span = f" [{amount(one.low, False)}, {amount(one.high, False)}]" if one.n > 1 else ""
            return amount(one.effect, True) + span

        less = " Less is better, so + means less." if claim.metric in LOWER_IS_BETTER else ""
        above = amount_of(claim, claim.margin) if claim.margin else "0"
        return (f"{names(claim.this)}: {best(claim)} mean {claim.metric} at {100 * peak:.3g} % of the weights; "
                f"{gain(shape.rise)} from {100 * first:.3g} % to the peak, {gain(shape.fall)} at the peak over "
                f"{100 * last:.3g} %, worst step back {gain(shape.back)} (95 % intervals, {over(shape.decision)}; "
                "each seed at the places that the others choose); "
                f"a rise and a fall above {above} and no such step back were claimed.{less}")


def _same_levels(these: list[float], those: list[float]) -> bool:
    return len(these) == len(those) and all(math.isclose(one, other, rel_tol=analysis.SAME_LEVEL)
                                            for one, other in zip(those, these, strict=True))
