"""Claims become verdicts: a test with a margin and an interval, said before the run, paired by seed."""

from collections.abc import Callable, Sequence

import msgspec

from sweepstake.base.specs import LOWER_IS_BETTER, ClaimSpec, Where, labels_of
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row, StudyLike

BySeed = dict[int, float]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What our runs say about a sentence. `effect` is in favour of the sentence when positive, except for `about`: there the mean."""

    claim: str
    says: str
    test: str
    metric: str
    verdict: statistics.Word
    reason: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    diverged: int = 0
    more_seeds: int | None = None
    source: str = ""


def judge(study: StudyLike, rows: Sequence[Row]) -> list[Verdict]:
    """A verdict on every claim of the study, in its order."""
    return [_judge(claim, claim.name or str(number), list(study.axes), rows) for number, claim in enumerate(study.claims, 1)]


def _judge(claim: ClaimSpec, name: str, axes: list[str], rows: Sequence[Row]) -> Verdict:
    rows = [row for row in analysis.chosen(rows, claim.where) if row["status"] != "failed"]
    sides = [analysis.chosen(rows, side) for side in (claim.this, claim.than)[:2 if claim.than else 1]]
    diverged = len({row["id"] for side in sides for row in side if row["diverged"]})
    verdict = Verdict(claim=name, says=claim.says, test=claim.test, metric=claim.metric, verdict="undecided", reason="",
                      diverged=diverged, source=claim.source)
    cells = _measured(claim, sides)
    values = _values(claim, axes, cells)
    if not values:
        return msgspec.structs.replace(verdict, reason=_nothing(claim, sides))
    decision = {
        "matches_dense": lambda: statistics.non_inferior(values, claim.margin), "better": lambda: statistics.superior(values, claim.margin),
        "similar": lambda: statistics.equivalent(values, claim.margin),
        "about": lambda: statistics.about(values, claim.value or 0.0, claim.margin),
    }[claim.test]()
    more = statistics.more_seeds(decision) if decision.verdict == "undecided" else None
    known = decision.n > 1
    return msgspec.structs.replace(
        verdict, verdict=decision.verdict, effect=decision.effect, n=decision.n,
        low=decision.low if known else None, high=decision.high if known else None,
        more_seeds=more, reason=_reason(claim, decision, more, diverged, _levels(claim, cells)))


def _measured(claim: ClaimSpec, sides: list[list[Row]]) -> list[list[tuple[Row, Row]]]:
    """Of each side, its cells' first round and the one that the claim is about."""
    metric = analysis.column(claim.metric, claim.at)
    return [[(rounds[0], at) for rounds in _cells(side) if (at := _at(rounds, claim.kept)) is not None and at[metric] is not None]
            for side in sides]


def _values(claim: ClaimSpec, axes: list[str], cells: list[list[tuple[Row, Row]]]) -> list[float]:
    """One number a seed: the metric itself (about), or the gain over round 0 or over the other side."""
    metric, sign = analysis.column(claim.metric, claim.at), -1.0 if claim.metric in LOWER_IS_BETTER else 1.0
    if claim.test == "about":
        return list(_mean_by_seed([(at["seed"], at[metric]) for _, at in cells[0]]).values())
    if claim.test == "matches_dense":
        gains = [(at["seed"], sign * (at[metric] - dense[metric])) for dense, at in cells[0]
                 if is_dense(dense) and at is not dense and dense[metric] is not None]
        return list(_mean_by_seed(gains).values())
    # Paired within a seed and within every axis that the claim leaves open.
    open_axes = [axis for axis in axes if axis not in claim.this and axis not in claim.than]
    settings = [{tuple(at[axis] for axis in open_axes) for _, at in side} for side in cells]
    gains: list[tuple[int, float]] = []
    for setting in sorted(settings[0] & settings[1]):
        this, than = (_mean_by_seed([(at["seed"], at[metric]) for _, at in side if tuple(at[a] for a in open_axes) == setting])
                      for side in cells)
        gains += [(seed, sign * (this[seed] - than[seed])) for seed in this.keys() & than.keys()]
    return list(_mean_by_seed(gains).values())


def is_dense(row: Row) -> bool:
    """The whole network, trained: round 0, unless it was pruned before its training already."""
    return row["round"] == 0 and row["kept_fraction"] == 1.0


def _cells(rows: list[Row]) -> list[list[Row]]:
    cells: dict[str, list[Row]] = {}
    for row in rows:
        if not row["diverged"]:
            cells.setdefault(row["id"], []).append(row)
    return [sorted(rounds, key=lambda row: row["round"]) for rounds in cells.values()]


def _at(rounds: list[Row], kept: float | None) -> Row | None:
    if kept is not None:
        return analysis.nearest(rounds, kept)
    return rounds[-1] if rounds[-1]["status"] == "done" else None


def _mean_by_seed(pairs: list[tuple[int, float]]) -> BySeed:
    """Only seeds with all their cells: a mean over other cells would be a mean of something else."""
    seeds: dict[int, list[float]] = {}
    for seed, value in pairs:
        seeds.setdefault(seed, []).append(value)
    whole = max(map(len, seeds.values()), default=0)
    return {seed: statistics.mean(seeds[seed]) for seed in sorted(seeds) if len(seeds[seed]) == whole}


def _nothing(claim: ClaimSpec, sides: list[list[Row]]) -> str:
    """Why there is no number to judge by."""
    for said, side in zip((claim.this, claim.than), sides, strict=False):
        if not side:
            return f"No finished round of {_names(said)} is there yet."
        if claim.kept is not None and analysis.nearest(side, claim.kept) is None:
            near = analysis.nearest(side, claim.kept, float("inf"))
            found = f"; the nearest is {100 * near['kept_fraction']:.3g} %" if near else ""
            return f"No round with about {100 * claim.kept:.3g} % of the weights was measured{found}."
        if all(row[analysis.column(claim.metric, claim.at)] is None for row in side):
            held_out = claim.at == "early" or claim.metric.startswith(("validation", "early"))
            needs = " It needs a validation split." if held_out else ""
            return f"No {claim.metric} was measured{' at early stop' if claim.at == 'early' else ''}.{needs}"
    if claim.test == "matches_dense" and sides[0]:
        return "There is no dense network to match: round 0 was pruned before it was trained, or is the round asked for."
    return "No seed has finished on both sides." if len(sides) > 1 else "No cell has finished."


def _levels(claim: ClaimSpec, cells: list[list[tuple[Row, Row]]]) -> str:
    """The kept fraction of each side, where they differ from each other or from what was asked."""
    kept = [[at["kept_fraction"] for _, at in side] for side in cells]
    everything = [*(one for side in kept for one in side), *([claim.kept] if claim.kept is not None else [])]
    if min(everything) >= (1 - analysis.SAME_LEVEL) * max(everything):
        return ""
    low_high = [list(dict.fromkeys(f"{100 * end:.3g}" for end in (max(side), min(side)))) for side in kept]
    told = [" to ".join(ends) + " %" for ends in low_high]
    if len(set(told)) == 1:
        return f"Measured at {told[0]} of the weights."
    return f"{_names(claim.this)} was measured at {told[0]}, {_names(claim.than)} at {told[1]} of the weights."


def _reason(claim: ClaimSpec, decision: statistics.Decision, more: int | None, diverged: int, levels: str) -> str:
    amount, plain = amounts(claim.metric, signed=claim.test != "about"), amounts(claim.metric, signed=False)
    margin = f"{100 * claim.margin:.2f} points" if claim.metric.endswith("accuracy") else plain(claim.margin, True)
    over = f"over {decision.n} seed{'s' * (decision.n != 1)}"
    span = f"95 % interval {amount(decision.low, False)} to {amount(decision.high, False)}, " if decision.n > 1 else ""
    at = f" at {100 * claim.kept:.3g} % of the weights" if claim.kept is not None else " after the last round"
    against = {"matches_dense": " against its own dense network", "about": ""}.get(claim.test, f" against {_names(claim.than)}")
    asked = {
        "matches_dense": f"at worst {margin} less was allowed" if claim.margin else "no loss was allowed",
        "better": f"a gain above {margin if claim.margin else '0'} was claimed", "similar": f"a difference within ±{margin} was claimed",
        "about": f"{plain(claim.value or 0.0, True)} give or take {margin} was said",
    }[claim.test]
    parts = [f"{_names(claim.this)}{against}{at}: {amount(decision.effect, True)} ({span}{over}); {asked}.", *([levels] if levels else [])]
    if claim.metric in LOWER_IS_BETTER and claim.test != "about":
        parts.append("Less is better, so + means less.")
    if decision.verdict == "undecided" and decision.n < statistics.MIN_SEEDS:
        parts.append(f"Below {statistics.MIN_SEEDS} seeds nothing is decided.")
    elif decision.verdict == "undecided":
        parts.append(f"Roughly {more:,} more seed{'s' * (more != 1)} would decide, were effect and spread to stay." if more
                     else "Not even 1,000 more seeds would decide it.")
    if diverged:
        parts.append(f"{diverged} diverged cell{'s are' if diverged > 1 else ' is'} left out from the round of divergence.")
    return " ".join(parts)


def amounts(metric: str, signed: bool) -> Callable[[float, bool], str]:
    """How a metric is told: accuracies in % and their differences in points (1 point is 0.01), the rest as it is."""
    sign = "+" if signed else ""
    if metric.endswith("accuracy"):
        return lambda value, unit: f"{100 * value:{sign}.2f}{(' points' if signed else ' %') * unit}"
    return lambda value, unit: f"{value:{sign},.4g}"


def _names(where: Where) -> str:
    return ", ".join(" and ".join(labels_of(said)) for said in where.values()) or "Every cell"


def table(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """The verdicts as plain dicts, for `verdicts.json`."""
    return [msgspec.to_builtins(verdict) for verdict in verdicts]


