"""Tests of one number a seed: a gain (over another side, the dense network or a number), or the metric itself."""

from typing import NamedTuple

from sweepstake.base.specs import LOWER_IS_BETTER, ClaimSpec, claim_test
from sweepstake.read import statistics
from sweepstake.read.claims.contract import ClaimTest, Found, Sides, Unit
from sweepstake.read.claims.numbers import Cells, gains_over_dense, gains_over_other, levels, measured, paired, sign
from sweepstake.read.claims.tell import against, amount_of, amounts, measured_at, names, nothing, over, printed
from sweepstake.read.statistics import Decision


class Seen(NamedTuple):
    """What a level test tells beside its decision."""

    cells: Cells
    late: list[bool]


class LevelTest(ClaimTest):
    """A test that decides by one number a seed. A subclass gives `decision` and `asked`."""

    def values(self, claim: ClaimSpec, axes: list[str], cells: Cells) -> list[float]:
        """One number a seed: the gain over the other side, or the metric itself where there is none."""
        return gains_over_other(claim, axes, cells) if paired(claim) else levels(claim, cells)

    def decision(self, claim: ClaimSpec, values: list[float]) -> Decision:
        """What these numbers say of the claim."""
        raise NotImplementedError

    def asked(self, claim: ClaimSpec) -> str:
        """What was claimed, in words that end the test's sentence."""
        raise NotImplementedError

    def decide(self, claim: ClaimSpec, axes: list[str], sides: Sides) -> Found:
        cells = measured(claim, sides)
        values = self.values(claim, axes, cells)
        if not values:
            return Found(why=nothing(self, claim, sides))
        late = _late(claim, cells)
        if late and all(late):
            return Found(why="Every training ended at its lowest validation loss, so its early stop lies beyond "
                             "its end. Train longer.", n=len(values))
        return Found(self.decision(claim, values), Seen(cells, late))

    def tell(self, claim: ClaimSpec, found: Found) -> str:
        decision, seen = found.decision, found.seen
        assert decision is not None
        level = self.unit(claim) == "level"
        amount = amounts(claim.metric, signed=not level, relative=claim.relative)
        low, high = (amount(end, False) for end in (decision.low, decision.high))
        span = f"95 % interval {low} to {high}, " if decision.n > 1 else ""
        parts = [f"{names(claim.this)}{against(self, claim)}: {amount(decision.effect, True)} "
                 f"({span}{over(decision)}); {self.asked(claim)}.", measured_at(claim, seen.cells)]
        if claim.metric in LOWER_IS_BETTER and not level:
            parts.append("Less is better, so + means less.")
        if any(seen.late):
            parts.append(f"{sum(seen.late)} of {len(seen.late)} trainings ended at their lowest validation loss: "
                         "they stop early there or later.")
        return " ".join(filter(None, parts))


def _late(claim: ClaimSpec, cells: Cells) -> list[bool]:
    """Of each training, whether its early stop is its last step: it may lie anywhere beyond."""
    return [at["early_step"] == at["steps"] for side in cells for _, at in side] if claim.metric == "early_step" else []


@claim_test("matches_dense")
class MatchesDense(LevelTest):
    """A winning ticket (Frankle & Carbin 2019): its gains over its own dense network lie above -`margin`."""

    says = "not worse by more than `margin` than the same cell's round 0"
    than_dense = True
    instead = "worse than its dense network"

    def values(self, claim: ClaimSpec, axes: list[str], cells: Cells) -> list[float]:
        return gains_over_dense(claim, cells)

    def decision(self, claim: ClaimSpec, values: list[float]) -> Decision:
        return statistics.non_inferior(values, claim.margin)

    def asked(self, claim: ClaimSpec) -> str:
        return f"at worst {amount_of(claim, claim.margin)} less was allowed" if claim.margin else "no loss was allowed"


@claim_test("better")
class Better(LevelTest):
    """Paired differences (Student 1908): the interval of the gains lies above `margin`."""

    says = "`this` beats `than`, or the number `value`, by more than `margin`"
    sides, value = "two", "instead"

    def values(self, claim: ClaimSpec, axes: list[str], cells: Cells) -> list[float]:
        values = super().values(claim, axes, cells)
        return values if paired(claim) else [sign(claim) * (level - (claim.value or 0.0)) for level in values]

    def decision(self, claim: ClaimSpec, values: list[float]) -> Decision:
        return statistics.superior(values, claim.margin)

    def asked(self, claim: ClaimSpec) -> str:
        return f"a gain above {amount_of(claim, claim.margin) if claim.margin else '0'} was claimed"


@claim_test("similar")
class Similar(LevelTest):
    """Two one-sided tests (Schuirmann 1987): the interval of the differences lies within +-`margin`."""

    says = "they differ by less than `margin`"
    sides, needs_margin, alike = "two", True, True
    instead = "a difference"

    def decision(self, claim: ClaimSpec, values: list[float]) -> Decision:
        return statistics.equivalent(values, claim.margin)

    def asked(self, claim: ClaimSpec) -> str:
        return f"a difference within ±{amount_of(claim, claim.margin)} was claimed"


@claim_test("about")
class About(LevelTest):
    """The mean lies within `value` +- `margin`, by an interval (Student 1908) no wider than that band."""

    says = "the mean (or, with `than` or `kept_than`, the gain) is `value`, give or take `margin`"
    sides, value, needs_margin, alike = "either", "needed", True, True
    instead = ""

    def decision(self, claim: ClaimSpec, values: list[float]) -> Decision:
        return statistics.about(values, claim.value or 0.0, claim.margin)

    def asked(self, claim: ClaimSpec) -> str:
        return f"{printed(claim, self.unit(claim) != 'level')} give or take {amount_of(claim, claim.margin)} was said"

    def unit(self, claim: ClaimSpec) -> Unit:
        return super().unit(claim) if claim.relative or paired(claim) else "level"
