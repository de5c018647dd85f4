"""The test of spreads over seeds: a side varies less than another."""

import math
from typing import NamedTuple

from sweepstake.base.specs import ClaimSpec, claim_test
from sweepstake.read import statistics
from sweepstake.read.claims.contract import ClaimTest, Found, Sides, Unit
from sweepstake.read.claims.numbers import Cells, by_setting, column, measured
from sweepstake.read.claims.tell import against, amounts, measured_at, names, nothing, ratio, untold


class Seen(NamedTuple):
    """What the test tells beside its decision."""

    cells: Cells
    spreads: list[float]
    """The pooled standard deviation of each side."""


@claim_test("more_stable")
class MoreStable(ClaimTest):
    """The spread over seeds within each setting of the axes, pooled a side: a jackknife of the ratio (Miller 1968)."""

    says = "over seeds `this` varies less than `than`, its standard deviation by more than the fraction `margin`"
    sides, takes_relative, needs_seeds = "two", False, True

    def check(self, claim: ClaimSpec) -> list[str]:
        too_much = [f"margin = {claim.margin:g}: {self.said} wants a fraction below 1; 0.2 is a fifth less spread."]
        return super().check(claim) + too_much * (claim.margin >= 1)

    def decide(self, claim: ClaimSpec, axes: list[str], sides: Sides) -> Found:
        cells = measured(claim, sides)
        settings = [[{at["seed"]: at[column(claim)] for at in rows} for rows in by_setting(side, axes).values()]
                    for side in cells]
        if not all(settings):
            return Found(why=nothing(self, claim, sides))
        seeds = sorted(set[int].intersection(*(set(one) for side in settings for one in side)))  # Those that all have.
        this, than = ([[one[seed] for seed in seeds] for one in side] for side in settings)
        if len(seeds) < statistics.MIN_SEEDS:
            return Found(why=f"{len(seeds)} seed{'s' * (len(seeds) != 1)} finished on both sides. "
                             f"Below {statistics.MIN_SEEDS} seeds nothing is decided.", n=len(seeds))
        values = statistics.spread_ratio(this, than)
        if values is None:
            return Found(why=f"A side does not vary over {len(seeds)} seeds, so there is no ratio to judge.",
                         n=len(seeds))
        decision = statistics.superior(values, -math.log1p(-claim.margin))
        return Found(decision, Seen(cells, [statistics.pooled_std(side) for side in (this, than)]))

    def unit(self, claim: ClaimSpec) -> Unit:
        return "ratio"

    def tell(self, claim: ClaimSpec, found: Found) -> str:
        decision, seen = found.decision, found.seen
        assert decision is not None
        effect, low, high = (math.exp(-number) for number in (decision.effect, decision.high, decision.low))
        this, than = (amounts(claim.metric, signed=False, difference=True)(spread, True) for spread in seen.spreads)
        told = "no ratio can be told" if untold(low, high) else f"ratio {ratio(effect)}"
        return " ".join(filter(None, [
            f"{names(claim.this)}{against(self, claim)}: standard deviation {this} against {than}, {told} "
            f"(95 % interval {ratio(low)} to {ratio(high)}, over {decision.n} seeds); "
            f"a ratio below {1 - claim.margin:g} was claimed.",
            measured_at(claim, seen.cells)]))
