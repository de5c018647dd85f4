"""Verdicts in English: amounts with their units, and the sentences of a reason. Nothing is decided here."""

import math
from collections.abc import Callable, Sequence

from sweepstake.base.specs import LOWER_IS_BETTER, ClaimSpec, Where, claim_test, labels_of
from sweepstake.read import analysis, statistics
from sweepstake.read.claims.contract import ClaimTest, Sides, Verdict
from sweepstake.read.claims.lost import Weighed
from sweepstake.read.claims.numbers import Cells, asked, column, paired
from sweepstake.read.statistics import Decision, Word

Amount = Callable[[float, bool], str]
"""A number as it is told, with its unit or without."""
UNITS = {
    **dict.fromkeys(("test_accuracy", "validation_accuracy", "train_accuracy"), (100.0, ".2f", " %", " points")),
    "smallest_winning": (100.0, ".2f", " % of the weights", " % of the weights"),
    "alive_units": (100.0, ".2f", " % of the units", " % of the units"),
    "early_step": (1.0, ",.0f", " steps", " steps"), "train_seconds": (1.0, ",.4g", " s", " s")}
"""What a metric is told in: a factor, its digits, the unit of itself and of a difference (1 point is 0.01)."""


# Amounts

def amounts(metric: str, signed: bool, relative: bool = False, difference: bool | None = None) -> Amount:
    """How a metric is told, with its unit where asked for; what has a sign is a difference, unless it is said."""
    sign, apart = "+" if signed else "", signed if difference is None else difference
    if relative:
        return lambda value, unit: f"{100 * value:{sign}.1f}{' %' * unit}"
    scale, style, *units = UNITS.get(metric, (1.0, ",.4g", "", ""))
    told = units[apart] + " saved" * (signed and metric in LOWER_IS_BETTER and bool(units[apart]))
    return lambda value, unit: f"{scale * value:{sign}{style}}{told * unit}"


def amount_of(claim: ClaimSpec, number: float, difference: bool = True) -> str:
    """A number of the claim itself, without a sign."""
    if claim.relative:
        return f"{100 * number:.3g} %"
    return amounts(claim.metric, signed=False, difference=difference)(number, True)


def untold(low: float, high: float) -> bool:
    """Whether an interval of ratios spans two orders of magnitude or more: then none in it is worth telling."""
    return high >= 100 * low


def ratio(value: float) -> str:
    """Two digits at least, and no row of them."""
    return f"{value:.2f}" if 0.1 <= value < 100 else f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:#.2g}"


def p_value(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.001 else f"{p:.3f}"


def with_range(effect: str, span: str) -> str:
    return effect + (f" ({span.replace(', ', ' to ')})" if span else "")


# A verdict

def shown(verdict: Verdict) -> tuple[str, str]:
    """The effect and its interval as people read them: "+0.38 points" and "+0.30, +0.46"; else "–" and ""."""
    low, high = verdict.low, verdict.high
    if verdict.effect is None:
        lost = f"{verdict.diverged} cell{'s' * (verdict.diverged != 1)} diverged"
        return (lost if verdict.diverged and verdict.n else "–"), ""
    if verdict.unit == "ratio":
        if low is not None and high is not None and untold(low, high):
            return "no ratio can be told", ""
        amount: Amount = lambda value, unit: f"{'× ' * unit}{ratio(value)}"  # noqa: E731
    elif verdict.unit == "kept":
        amount = lambda value, unit: f"{100 * value:.3g}{' % of the weights' * unit}"  # noqa: E731
    else:
        amount = amounts(verdict.metric, signed=verdict.unit != "level", relative=verdict.unit == "relative")
    span = "" if low is None or high is None else f"{amount(low, False)}, {amount(high, False)}"
    return amount(verdict.effect, True), span


def instead(verdict: Verdict) -> str:
    """Of a contradicted claim, what its effect is called; nothing where the number says it alone."""
    if verdict.verdict != "contradicted" or verdict.low is None or verdict.high is None:
        return ""
    test: ClaimTest = claim_test.get(verdict.test)  # pyright: ignore[reportAssignmentType]
    opposite = verdict.low > 1 if verdict.unit == "ratio" else verdict.high < 0
    return ("the opposite" if opposite else "not so much") if test.instead is None else test.instead


def sentence(verdict: Verdict) -> str:
    """The claim's sentence; a contradicted one never without what was found, for it is not the finding."""
    if verdict.verdict != "contradicted":
        return verdict.says
    found = ", ".join(filter(None, [instead(verdict), with_range(*shown(verdict))]))
    return f'Claimed: "{verdict.says}" Found: {found}.'


# The reason of a verdict

def reason(test: ClaimTest, claim: ClaimSpec, weighed: Weighed, word: Word, p_holm: float | None, together: int,
           more: int | None) -> str:
    """What was measured, what was lost, how a family corrects it, and what would decide it."""
    decision, lost = weighed.decision, lost_told(test, claim, weighed)
    if decision is None:
        return f"{weighed.found.why} {lost}".strip()
    parts = [found_told(test, claim, weighed), lost]
    if p_holm is not None and decision.n >= statistics.MIN_SEEDS:
        alone = decision.verdict
        p = f"p {'' if p_holm < 0.0001 else '= '}{p_value(p_holm)}"
        parts.append(f"Holm over {together} comparison{'s' * (together != 1)}: {p}"
                     + (f"; alone it would be {alone}." if alone != word else "."))
    if word == "undecided" and (weighed.whole or decision.n < statistics.MIN_SEEDS):
        parts.append(_undecided(decision, more))
    return " ".join(filter(None, parts))


def found_told(test: ClaimTest, claim: ClaimSpec, weighed: Weighed) -> str:
    """What the numbers say; why they say nothing, where seeds were measured and the lost ones do not speak for them."""
    if weighed.found.decision:
        return test.tell(claim, weighed.found)
    return weighed.found.why if weighed.found.n and not weighed.most else ""


def _undecided(decision: Decision, more: int | None) -> str:
    if decision.n < statistics.MIN_SEEDS:
        return f"Below {statistics.MIN_SEEDS} seeds nothing is decided."
    if not more:
        return "Not even 1,000 more seeds would decide it."
    seeds = f"{more:,} more seed{'s' * (more != 1)}"
    return f"About {seeds} would decide it, a forecast that comes true 6 times in 10."


def lost_told(test: ClaimTest, claim: ClaimSpec, weighed: Weighed) -> str:
    """Which seeds were lost to divergence, and what that does to the claim."""
    lost, everyone, most = weighed.lost, weighed.everyone, weighed.most
    if not lost.cells:
        return ""
    this, than = names(claim.this), names(claim.than) if claim.than else "the other level"

    def seeds(number: int) -> str:
        return f"in {number} of {everyone} seed{'s' * (everyone != 1)}"

    parts = [f"Nothing diverged {seeds(weighed.measured)}, and the numbers are theirs."] if weighed.measured else []
    who = "One side alone" if test.alike and paired(claim) else this
    if lost.against:
        parts.append(f"{who} diverged {seeds(lost.against)}: that counts against the claim, "
                     + ("and most seeds contradict it." if most else "and with any such seed it is not supported."))
    if lost.aside:
        parts.append(f"{than} diverged {seeds(lost.aside)}: that counts neither for the claim nor against it.")
    if lost.both:
        both = "The dense network" if test.than_dense else "Both sides"
        parts.append(f"{both} diverged {seeds(lost.both)}: with any such seed nothing is decided.")
    return " ".join(parts)


def nothing(test: ClaimTest, claim: ClaimSpec, sides: Sides) -> str:
    """Why there is no number to judge by."""
    for said, side, kept in zip((claim.this, claim.than or claim.this), sides, asked(claim), strict=False):
        if not side:
            return f"No finished round of {names(said)} is there yet."
        if kept is not None and analysis.nearest(side, kept) is None:
            near = analysis.nearest(side, kept, float("inf"))
            found = f"; the nearest is {100 * near['kept_fraction']:.3g} %" if near else ""
            return f"No round with about {100 * kept:.3g} % of the weights was measured{found}."
        if claim.metric != "smallest_winning" and all(row.get(column(claim)) is None for row in side):
            held_out = claim.at == "early" or claim.metric.startswith(("validation", "early"))
            needs = " It needs a validation split." if held_out else ""
            return f"No {claim.metric} was measured{' at early stop' if claim.at == 'early' else ''}.{needs}"
    if claim.metric == "smallest_winning":
        return "No cell has finished with a dense network to match and a round below it."
    if test.than_dense and sides[0]:
        return ("There is no dense network to match: round 0 was pruned before it was trained, "
                "or is the round asked for.")
    return "No seed has finished on both sides." if len(sides) > 1 else "No cell has finished."


# Parts of a test's own sentence

def names(where: Where) -> str:
    return ", ".join(" and ".join(labels_of(said)) for said in where.values()) or "Every cell"


def over(decision: Decision) -> str:
    return f"over {decision.n} seed{'s' * (decision.n != 1)}"


def best(claim: ClaimSpec) -> str:
    return "lowest" if claim.metric in LOWER_IS_BETTER else "highest"


def against(test: ClaimTest, claim: ClaimSpec) -> str:
    """The other side, and where both were measured."""
    level = "" if claim.metric == "smallest_winning" else \
        f" at {100 * claim.kept:.3g} % of the weights" if claim.kept is not None else " after the last round"
    if test.than_dense:
        return " against its own dense network" + level
    if not paired(claim):
        return level + (f" against {printed(claim)}" if test.value == "instead" else "")
    other = f" against {names(claim.than) if claim.than else 'itself'}"
    return other + level if claim.kept_than is None else f"{level}{other} at {100 * claim.kept_than:.3g} %"


def printed(claim: ClaimSpec, difference: bool = False) -> str:
    """The number that the claim was made with, and whose it is."""
    whose = f" ({claim.reference})" if claim.reference else ""
    return amount_of(claim, claim.value or 0.0, difference) + whose


def measured_at(claim: ClaimSpec, cells: Cells) -> str:
    """The kept fraction of each side, where they differ from each other or from what was asked."""
    if claim.metric == "smallest_winning":
        return ""
    if claim.kept_than is not None and all(_same_level(at["kept_fraction"], kept)
                                           for side, kept in zip(cells, asked(claim), strict=True)
                                           if kept is not None for _, at in side):
        return ""
    kept = [[at["kept_fraction"] for _, at in side] for side in cells]
    everything = [*(one for side in kept for one in side), *([claim.kept] if claim.kept is not None else [])]
    if min(everything) >= (1 - analysis.SAME_LEVEL) * max(everything):
        return ""
    low_high = [_ends(side) for side in kept]
    if len(set(low_high)) == 1:
        return f"Measured at {low_high[0]} of the weights."
    if not claim.than:
        return f"Measured at {low_high[0]} against {low_high[1]} of the weights."
    return f"{names(claim.this)} was measured at {low_high[0]}, {names(claim.than)} at {low_high[1]} of the weights."


def _same_level(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=analysis.SAME_LEVEL)


def _ends(kept: Sequence[float]) -> str:
    """The largest and the smallest: `36 to 33.4 %`, or one number where they are told alike."""
    return " to ".join(dict.fromkeys(f"{100 * end:.3g}" for end in (max(kept), min(kept)))) + " %"
