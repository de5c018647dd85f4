"""Claims become verdicts: a test with a margin and an interval, said before the run, paired by seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import msgspec

from sweepstake.base.specs import CURVES, LOWER_IS_BETTER, ClaimSpec, Where, labels_of
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.statistics import Decision

BySeed = dict[int, float]
Unit = Literal["level", "gain", "relative", "ratio", "kept"]
ALPHA = 1 - statistics.LEVEL
ALIKE = ("similar", "about")
"""Tests of two sides that speak for neither: a side that diverges alone counts against them, whichever it is."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What our runs say about a sentence. `effect` is what `unit` says, with its 95 % interval, uncorrected.

    gain, relative: in favour of the sentence when positive; level: the mean itself; ratio: of standard deviations, below 1 in
    favour; kept: a fraction of the weights. `p` belongs to that interval; `p_holm` is corrected for its family, and decides.
    `diverged` cells have no number where the claim asks for one; where they count against it there is no effect, only a verdict.
    """

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
    p: float | None = None
    p_holm: float | None = None
    unit: Unit = "gain"
    diverged: int = 0
    more_seeds: int | None = None
    source: str = ""


class Found(NamedTuple):
    """What the rows say of a claim, before any correction: a decision and how it is told, or why there is none."""

    decision: Decision | None = None
    told: Callable[[], str] = str
    why: str = ""
    n: int = 0
    """Seeds that were measured, where there is no decision."""
    diverged: int = 0
    lost: str = ""
    """Which seeds were lost to divergence, and what that does to the claim."""
    whole: bool = True
    """Whether the decision rests on numbers of every seed that counts."""


class Lost(NamedTuple):
    """Seeds without a number, by where cells diverged before the round asked for, and what that means for the claim."""

    against: int
    """Where something good is said of it."""
    aside: int
    """On the other side alone: neither for nor against."""
    both: int
    """On both sides alike: nothing can be told."""
    cells: int


def verdicts(study: StudyLike, results: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """A verdict on every claim from results; seconds are read only where a claim is about them."""
    return judge(study, analysis.tidy(results, timing=any(claim.metric == "train_seconds" for claim in study.claims)))


def judge(study: StudyLike, rows: Sequence[Row]) -> list[Verdict]:
    """A verdict on every claim of the study, in its order, from rows (with seconds, if a claim is about them)."""
    found = [_find(claim, list(study.axes), rows) for claim in study.claims]
    families: dict[str, list[int]] = {}
    for place, claim in enumerate(study.claims):
        if claim.family:
            families.setdefault(claim.family, []).append(place)
    holm = {place: p for places in families.values()
            for place, p in zip(places, statistics.holm([_p(found[place]) for place in places]), strict=True)}
    return [_verdict(claim, claim.name or str(place + 1), found[place], holm.get(place), len(families.get(claim.family, [])))
            for place, claim in enumerate(study.claims)]


def _p(found: Found) -> float:
    """1 where nothing can be decided: a claim not yet measured counts in its family all the same."""
    return found.decision.p if found.decision and found.decision.n >= statistics.MIN_SEEDS else 1.0


def _verdict(claim: ClaimSpec, name: str, found: Found, p_holm: float | None, together: int) -> Verdict:
    decision, unit = found.decision, _unit(claim)
    plain = Verdict(claim=name, says=claim.says, test=claim.test, metric=claim.metric, verdict="undecided", reason=found.why, unit=unit,
                    diverged=found.diverged, source=claim.source)
    if decision is None:
        return plain
    alone = decision.verdict
    word: statistics.Word = "undecided" if p_holm is not None and p_holm >= ALPHA else alone
    more = statistics.more_seeds(decision, 1 - ALPHA / max(together, 1)) if word == "undecided" and found.whole else None
    parts = [found.told(), found.lost]
    if p_holm is not None and decision.n >= statistics.MIN_SEEDS:
        parts.append(f"Holm over {together} comparison{'s' * (together != 1)}: p {'' if p_holm < 0.0001 else '= '}{p_value(p_holm)}"
                     + (f"; alone it would be {alone}." if alone != word else "."))
    if word == "undecided" and (found.whole or decision.n < statistics.MIN_SEEDS):
        parts.append(_undecided(decision, more))
    enough = decision.n >= statistics.MIN_SEEDS
    plain = msgspec.structs.replace(plain, verdict=word, reason=" ".join(filter(None, parts)), n=decision.n, p=decision.p if enough else None,
                                    p_holm=p_holm if enough else None, more_seeds=more)
    if not found.whole:
        return plain
    effect, low, high = (_natural(number, unit) for number in (decision.effect, decision.low, decision.high))
    known = decision.n > 1
    return msgspec.structs.replace(plain, effect=effect, low=min(low, high) if known else None, high=max(low, high) if known else None)


def _undecided(decision: Decision, more: int | None) -> str:
    if decision.n < statistics.MIN_SEEDS:
        return f"Below {statistics.MIN_SEEDS} seeds nothing is decided."
    return (f"About {more:,} more seed{'s' * (more != 1)} would decide it, a forecast that comes true 6 times in 10." if more
            else "Not even 1,000 more seeds would decide it.")


def _unit(claim: ClaimSpec) -> Unit:
    if claim.test in ("more_stable", "peaks_at"):
        return "ratio" if claim.test == "more_stable" else "kept"
    return "relative" if claim.relative else "level" if claim.test == "about" and not _paired(claim) else "gain"


def _natural(number: float, unit: Unit) -> float:
    """Decisions on spreads and levels are made on a log scale."""
    return math.exp(-number) if unit == "ratio" else min(1.0, math.exp(number)) if unit == "kept" else number


def _paired(claim: ClaimSpec) -> bool:
    """Whether there is another side: other cells, or the same ones at another level."""
    return bool(claim.than) or claim.kept_than is not None


def _find(claim: ClaimSpec, axes: list[str], rows: Sequence[Row]) -> Found:
    rows = [row for row in analysis.chosen(rows, claim.where) if row["status"] != "failed"]
    sides = [analysis.chosen(rows, side) for side in ((claim.this, claim.than or claim.this) if _paired(claim) else (claim.this,))]
    lost, gone = _lost(claim, sides)
    sides = [[row for row in side if row["seed"] not in gone] for side in sides]
    found = _of_curves(claim, axes, sides[0]) if claim.test in CURVES else _of_levels(claim, axes, sides)
    return _weighed(claim, found, lost, any(sides)) if gone else found


def _lost(claim: ClaimSpec, sides: list[list[Row]]) -> tuple[Lost, set[int]]:
    """The seeds without a number because a cell diverged, and how they count: a seed whose other side has not run yet does not."""
    cells = [_lost_cells(claim, side, kept) for side, kept in zip(sides, _asked(claim), strict=False)]
    if claim.test == "matches_dense":  # The other side is round 0 of the same cell.
        cells.append({id_: seed for id_, seed in cells[0].items() if not any(row["id"] == id_ and not row["diverged"] for row in sides[0])})
    known = set[int].intersection(*({row["seed"] for row in side} for side in sides))
    this, than = (set(one.values()) for one in (*cells, {})[:2])
    both, one_side, other = this & than, this - than & known, than - this & known
    alike = claim.test in ALIKE
    lost = Lost(len(one_side) + alike * len(other), (not alike) * len(other), len(both), len(set[str]().union(*cells)))
    return lost, this | than


def _lost_cells(claim: ClaimSpec, side: list[Row], kept: float | None) -> dict[str, int]:
    """The cells that diverged before the round that the claim is about, and their seeds."""
    rounds: dict[str, list[Row]] = {}
    for row in side:
        rounds.setdefault(row["id"], []).append(row)
    sound = {id_: sorted((row for row in own if not row["diverged"]), key=lambda row: row["round"]) for id_, own in rounds.items()}
    return {id_: own[0]["seed"] for id_, own in rounds.items() if len(sound[id_]) < len(own) and _cut_short(sound[id_], claim, kept)}


def _cut_short(rounds: list[Row], claim: ClaimSpec, kept: float | None) -> bool:
    """Whether the rounds that a diverged cell has come before the one asked for."""
    if not rounds or claim.test in CURVES or claim.metric == "smallest_winning" or kept is None:
        return True
    return rounds[-1]["kept_fraction"] > kept and _at(rounds, claim, kept) is None


def _weighed(claim: ClaimSpec, found: Found, lost: Lost, ended: bool) -> Found:
    """The decision where seeds are lost: nothing good is said of a side that lost one, and most of them lost contradict the claim.

    A lost seed counts as one that lost more than any number: Student's p is then that of their count.
    """
    decision = found.decision or Decision("undecided", math.nan, math.nan, math.nan, found.n, math.nan, 1.0)
    n, everyone = decision.n + lost.against, decision.n + lost.against + lost.aside + lost.both
    found = found._replace(diverged=lost.cells)
    if ended and not decision.n:  # What was asked for was never measured where nothing diverged.
        return found._replace(why=f"{found.why} {_lost_told(claim, lost, everyone, False)}".strip())
    p = statistics.p_of_lost(lost.against, n)
    most = 2 * lost.against > everyone and p < ALPHA
    withheld = {"supported": lost.against or lost.both, "contradicted": lost.aside or lost.both, "undecided": False}[decision.verdict]
    if most and (decision.verdict != "contradicted" or withheld):
        decision = decision._replace(verdict="contradicted", p=p)
    elif withheld:
        decision = decision._replace(verdict="undecided", p=1.0)
    told = found.told if found.decision else (lambda: found.why) if found.n and not most else str
    return found._replace(decision=decision._replace(n=n), told=told, whole=not (lost.against or lost.both or withheld),
                          lost=_lost_told(claim, lost, everyone, most))


def _lost_told(claim: ClaimSpec, lost: Lost, everyone: int, most: bool) -> str:
    """Which seeds were lost to divergence, and what that does to the claim."""
    this, than = _names(claim.this), _names(claim.than) if claim.than else "the other level"

    def seeds(number: int) -> str:
        return f"in {number} of {everyone} seed{'s' * (everyone != 1)}"

    measured = everyone - lost.against - lost.aside - lost.both
    parts = [f"Nothing diverged {seeds(measured)}, and the numbers are theirs."] if measured else []
    who = "One side alone" if claim.test in ALIKE and _paired(claim) else this
    if lost.against:
        parts.append(f"{who} diverged {seeds(lost.against)}: that counts against the claim, "
                     + ("and most seeds contradict it." if most else "and with any such seed it is not supported."))
    if lost.aside:
        parts.append(f"{than} diverged {seeds(lost.aside)}: that counts neither for the claim nor against it.")
    if lost.both:
        both = "The dense network" if claim.test == "matches_dense" else "Both sides"
        parts.append(f"{both} diverged {seeds(lost.both)}: with any such seed nothing is decided.")
    return " ".join(parts)


def _of_levels(claim: ClaimSpec, axes: list[str], sides: list[list[Row]]) -> Found:
    cells = _measured(claim, sides)
    if claim.test == "more_stable":
        return _of_spreads(claim, axes, sides, cells)
    values = _values(claim, axes, cells)
    if not values:
        return Found(why=_nothing(claim, sides))
    late = _late(claim, cells)
    if late and all(late):
        return Found(why="Every training ended at its lowest validation loss, so its early stop lies beyond its end. Train longer.", n=len(values))
    decision = {
        "matches_dense": lambda: statistics.non_inferior(values, claim.margin), "better": lambda: statistics.superior(values, claim.margin),
        "similar": lambda: statistics.equivalent(values, claim.margin),
        "about": lambda: statistics.about(values, claim.value or 0.0, claim.margin),
    }[claim.test]()
    said = f"{sum(late)} of {len(late)} trainings ended at their lowest validation loss: they stop early there or later." if any(late) else ""
    return Found(decision, lambda: " ".join(filter(None, [_reason(claim, decision, _levels(claim, cells)), said])))


def _late(claim: ClaimSpec, cells: list[list[tuple[Row, Row]]]) -> list[bool]:
    """Of each training, whether its early stop is its last step: it may lie anywhere beyond."""
    return [at["early_step"] == at["steps"] for side in cells for _, at in side] if claim.metric == "early_step" else []


def _measured(claim: ClaimSpec, sides: list[list[Row]]) -> list[list[tuple[Row, Row]]]:
    """Of each side, its cells' first round and the one that the claim is about."""
    column = _column(claim)
    return [[(rounds[0], at) for rounds in _cells(side) if (at := _at(rounds, claim, kept)) is not None and at.get(column) is not None]
            for side, kept in zip(sides, _asked(claim), strict=False)]


def _asked(claim: ClaimSpec) -> tuple[float | None, float | None]:
    """The kept fraction asked for on each side."""
    return claim.kept, claim.kept if claim.kept_than is None else claim.kept_than


def _column(claim: ClaimSpec) -> str:
    if claim.metric == "smallest_winning":
        return claim.metric
    return "seconds.train" if claim.metric == "train_seconds" else analysis.column(claim.metric, claim.at)


def _values(claim: ClaimSpec, axes: list[str], cells: list[list[tuple[Row, Row]]]) -> list[float]:
    """One number a seed: the metric itself (about), or the gain over round 0, over the other side or over the number said."""
    column, sign = _column(claim), _sign(claim)
    if claim.test == "matches_dense":
        pairs = [(at["seed"], at[column], dense[column]) for dense, at in cells[0]
                 if is_dense(dense) and at is not dense and dense.get(column) is not None]
        return list(_mean_by_seed([(seed, sign * gain) for seed, this, than in pairs
                                   for gain in statistics.paired_differences({seed: this}, {seed: than}, claim.relative).values()]).values())
    if not _paired(claim):
        levels = _mean_by_seed([(at["seed"], at[column]) for _, at in cells[0]]).values()
        return [sign * (level - (claim.value or 0.0)) if claim.test == "better" else level for level in levels]
    # Paired within a seed and within every axis that the claim leaves open; the same cells each with themselves.
    open_axes = [axis for axis in axes if not claim.than or (axis not in claim.this and axis not in claim.than)]
    by_setting = [_by_setting(side, open_axes) for side in cells]
    gains: list[tuple[int, float]] = []
    for setting in sorted(by_setting[0].keys() & by_setting[1].keys()):
        if not claim.than and by_setting[0][setting][0] is by_setting[1][setting][0]:
            continue  # One round, asked for twice.
        this, than = (_mean_by_seed([(at["seed"], at[column]) for at in side[setting]]) for side in by_setting)
        gains += [(seed, sign * gain) for seed, gain in statistics.paired_differences(this, than, claim.relative).items()]
    return list(_mean_by_seed(gains).values())


def _sign(claim: ClaimSpec) -> float:
    return -1.0 if claim.metric in LOWER_IS_BETTER else 1.0


def _by_setting(cells: list[tuple[Row, Row]], axes: list[str]) -> dict[tuple[str, ...], list[Row]]:
    settings: dict[tuple[str, ...], list[Row]] = {}
    for _, at in cells:
        settings.setdefault(tuple(at[axis] for axis in axes), []).append(at)
    return settings


def _of_spreads(claim: ClaimSpec, axes: list[str], sides: list[list[Row]], cells: list[list[tuple[Row, Row]]]) -> Found:
    """The spread over seeds within each setting of all axes, pooled on each side; only seeds that every setting has."""
    column = _column(claim)
    settings = [[{at["seed"]: at[column] for at in rows} for rows in _by_setting(side, axes).values()] for side in cells]
    if not all(settings):
        return Found(why=_nothing(claim, sides))
    seeds = sorted(set[int].intersection(*(set(one) for side in settings for one in side)))
    this, than = ([[one[seed] for seed in seeds] for one in side] for side in settings)
    if len(seeds) < statistics.MIN_SEEDS:
        return Found(why=f"{len(seeds)} seed{'s' * (len(seeds) != 1)} finished on both sides. Below {statistics.MIN_SEEDS} seeds nothing "
                     "is decided.", n=len(seeds))
    values = statistics.spread_ratio(this, than)
    if values is None:
        return Found(why=f"A side does not vary over {len(seeds)} seeds, so there is no ratio to judge.", n=len(seeds))
    decision = statistics.superior(values, -math.log1p(-claim.margin))

    def told() -> str:
        effect, low, high = (math.exp(-number) for number in (decision.effect, decision.high, decision.low))
        amount = amounts(claim.metric, signed=False, difference=True)
        spreads = [amount(statistics.pooled_std(side), True) for side in (this, than)]
        found = (f"no ratio can be told (95 % interval {ratio(low)} to {ratio(high)}" if untold(low, high) else
                 f"ratio {ratio(effect)} (95 % interval {ratio(low)} to {ratio(high)}")
        return " ".join(filter(None, [
            f"{_names(claim.this)}{_against(claim)}: standard deviation {spreads[0]} against {spreads[1]}, {found}, over {len(seeds)} seeds); "
            f"a ratio below {1 - claim.margin:g} was claimed.", _levels(claim, cells)]))

    return Found(decision, told)


def _of_curves(claim: ClaimSpec, axes: list[str], rows: list[Row]) -> Found:
    """The metric over all rounds: one curve a seed, the mean of the seed's cells."""
    column, sign = _column(claim), _sign(claim)
    cells = [[row for row in rounds if row.get(column) is not None and row["kept_fraction"] > 0] for rounds in finished(rows)]
    cells = [rounds for rounds in cells if len(rounds) > 1]
    if not cells:
        return Found(why=_nothing(claim, [rows]) if not rows or all(row.get(column) is None for row in rows) else
                     "No cell has finished more than one round.")
    if claim.test == "peaks_at":
        peaks = [_peak(rounds, column, sign) for rounds in cells]
        by_seed = _mean_by_seed([(rounds[0]["seed"], peak) for rounds, (peak, _) in zip(cells, peaks, strict=True)])
        slack = statistics.mean([half for _, half in peaks])
        decision = statistics.about(list(by_seed.values()), math.log(claim.value or 1.0), math.log1p(claim.margin), slack)
        return Found(decision, lambda: _peak_told(claim, decision))
    levels = [[row["kept_fraction"] for row in rounds] for rounds in cells]
    if any(len(own) != len(levels[0]) or not all(math.isclose(a, b, rel_tol=analysis.SAME_LEVEL) for a, b in zip(own, levels[0], strict=True))
           for own in levels):
        return Found(why="The cells were not measured at the same levels, so there is no mean curve. Name fewer cells with this or where.",
                     n=len({rounds[0]["seed"] for rounds in cells}))
    steps = [_mean_by_seed([(rounds[place]["seed"], sign * rounds[place][column]) for rounds in cells]) for place in range(len(levels[0]))]
    curves = [[step[seed] for step in steps] for seed in steps[0]]
    shape = statistics.one_peak(curves, claim.margin)
    means = [statistics.mean(list(step.values())) for step in steps]
    return Found(shape.decision, lambda: _shape_told(claim, shape, levels[0], max(range(len(means)), key=lambda place: means[place])))


def _peak(rounds: list[Row], column: str, sign: float) -> tuple[float, float]:
    """The log of the kept fraction with the best metric (ties: their mean), and half a level there."""
    best = max(sign * row[column] for row in rounds)
    kept, tied = [row["kept_fraction"] for row in rounds], [row["kept_fraction"] for row in rounds if sign * row[column] == best]
    return statistics.mean([math.log(one) for one in tied]), max(half_level(kept, one) for one in tied)


def half_level(kept: Sequence[float], at: float) -> float:
    """Half the log step from a level to its farther neighbour: what measuring only at levels hides."""
    logs = sorted(math.log(one) for one in {*kept} if one > 0)
    steps, place = [high - low for low, high in pairwise(logs)], logs.index(math.log(at))
    return max(steps[max(place - 1, 0):place + 1], default=0.0) / 2


def _peak_told(claim: ClaimSpec, decision: Decision) -> str:
    effect, low, high = (100 * _natural(number, "kept") for number in (decision.effect, decision.low, decision.high))
    span = f"95 % interval {low:.3g} to {high:.3g}, half a level included, " if decision.n > 1 else ""
    return (f"{_names(claim.this)}: {_best(claim)} {claim.metric} at {effect:.3g} % of the weights ({span}{_over(decision)}); "
            f"{100 * (claim.value or 1.0):.3g} % within a factor of {1 + claim.margin:g} was said.")


def _shape_told(claim: ClaimSpec, shape: statistics.Shape, kept: list[float], peak: int) -> str:
    amount = amounts(claim.metric, signed=True)

    def gain(one: Decision) -> str:
        return amount(one.effect, True) + (f" [{amount(one.low, False)}, {amount(one.high, False)}]" if one.n > 1 else "")

    less = " Less is better, so + means less." if claim.metric in LOWER_IS_BETTER else ""
    above = _amount_of(claim, claim.margin) if claim.margin else "0"
    return (f"{_names(claim.this)}: {_best(claim)} mean {claim.metric} at {100 * kept[peak]:.3g} % of the weights; {gain(shape.rise)} from "
            f"{100 * kept[0]:.3g} % to the peak, {gain(shape.fall)} at the peak over {100 * kept[-1]:.3g} %, worst step back "
            f"{gain(shape.back)} (95 % intervals, {_over(shape.decision)}; each seed at the places that the others choose); a rise and a "
            f"fall above {above} and no such step back were claimed.{less}")


def _best(claim: ClaimSpec) -> str:
    return "lowest" if claim.metric in LOWER_IS_BETTER else "highest"


def is_dense(row: Row) -> bool:
    """The whole network, trained: round 0, unless it was pruned before its training already."""
    return row["round"] == 0 and row["kept_fraction"] == 1.0


def smallest_winning(rounds: Sequence[Row], accuracy: str = "test_accuracy") -> float | None:
    """The smallest kept fraction that ends at or above its own dense network; 1 where only that itself does. None: not to be told."""
    dense = rounds[0]
    if not is_dense(dense) or dense["status"] != "done" or dense[accuracy] is None or len(rounds) < 2:
        return None
    return min(row["kept_fraction"] for row in rounds if row[accuracy] is not None and row[accuracy] >= dense[accuracy])


def finished(rows: Sequence[Row]) -> list[list[Row]]:
    """The rounds of each cell that came to its end."""
    return [rounds for rounds in _cells(rows) if rounds[-1]["status"] == "done"]


def _cells(rows: Sequence[Row]) -> list[list[Row]]:
    cells: dict[str, list[Row]] = {}
    for row in rows:
        if not row["diverged"]:
            cells.setdefault(row["id"], []).append(row)
    return [sorted(rounds, key=lambda row: row["round"]) for rounds in cells.values()]


def _at(rounds: list[Row], claim: ClaimSpec, kept: float | None) -> Row | None:
    if claim.metric == "smallest_winning":
        smallest = smallest_winning(rounds, analysis.column("test_accuracy", claim.at))
        return None if smallest is None else {**rounds[-1], claim.metric: smallest}
    whole = rounds[-1]["status"] == "done"
    if kept is None:
        return rounds[-1] if whole else None
    near = analysis.nearest(rounds, kept)
    came = whole or near is not rounds[-1] or rounds[-1]["kept_fraction"] <= kept * (1 + analysis.SAME_LEVEL)
    return near if came else None  # A cell that diverged before this level is not measured a level above it.


def _mean_by_seed(pairs: list[tuple[int, float]]) -> BySeed:
    """Only seeds with all their cells: a mean over other cells would be a mean of something else."""
    seeds: dict[int, list[float]] = {}
    for seed, value in pairs:
        seeds.setdefault(seed, []).append(value)
    whole = max(map(len, seeds.values()), default=0)
    return {seed: statistics.mean(seeds[seed]) for seed in sorted(seeds) if len(seeds[seed]) == whole}


def _nothing(claim: ClaimSpec, sides: list[list[Row]]) -> str:
    """Why there is no number to judge by."""
    column = _column(claim)
    for said, side, kept in zip((claim.this, claim.than or claim.this), sides, _asked(claim), strict=False):
        if not side:
            return f"No finished round of {_names(said)} is there yet."
        if kept is not None and analysis.nearest(side, kept) is None:
            near = analysis.nearest(side, kept, float("inf"))
            found = f"; the nearest is {100 * near['kept_fraction']:.3g} %" if near else ""
            return f"No round with about {100 * kept:.3g} % of the weights was measured{found}."
        if claim.metric != "smallest_winning" and all(row.get(column) is None for row in side):
            held_out = claim.at == "early" or claim.metric.startswith(("validation", "early"))
            needs = " It needs a validation split." if held_out else ""
            return f"No {claim.metric} was measured{' at early stop' if claim.at == 'early' else ''}.{needs}"
    if claim.metric == "smallest_winning":
        return "No cell has finished with a dense network to match and a round below it."
    if claim.test == "matches_dense" and sides[0]:
        return "There is no dense network to match: round 0 was pruned before it was trained, or is the round asked for."
    return "No seed has finished on both sides." if len(sides) > 1 else "No cell has finished."


def _levels(claim: ClaimSpec, cells: list[list[tuple[Row, Row]]]) -> str:
    """The kept fraction of each side, where they differ from each other or from what was asked."""
    if claim.metric == "smallest_winning":
        return ""
    if claim.kept_than is not None and all(math.isclose(at["kept_fraction"], kept, rel_tol=analysis.SAME_LEVEL)
                                           for side, kept in zip(cells, _asked(claim), strict=True) if kept is not None for _, at in side):
        return ""
    kept = [[at["kept_fraction"] for _, at in side] for side in cells]
    everything = [*(one for side in kept for one in side), *([claim.kept] if claim.kept is not None else [])]
    if min(everything) >= (1 - analysis.SAME_LEVEL) * max(everything):
        return ""
    low_high = [list(dict.fromkeys(f"{100 * end:.3g}" for end in (max(side), min(side)))) for side in kept]
    told = [" to ".join(ends) + " %" for ends in low_high]
    if len(set(told)) == 1:
        return f"Measured at {told[0]} of the weights."
    if not claim.than:
        return f"Measured at {told[0]} against {told[1]} of the weights."
    return f"{_names(claim.this)} was measured at {told[0]}, {_names(claim.than)} at {told[1]} of the weights."


def _reason(claim: ClaimSpec, decision: Decision, levels: str) -> str:
    unit = _unit(claim)
    amount = amounts(claim.metric, signed=unit != "level", relative=claim.relative)
    margin = _amount_of(claim, claim.margin)
    span = f"95 % interval {amount(decision.low, False)} to {amount(decision.high, False)}, " if decision.n > 1 else ""
    asked = {
        "matches_dense": f"at worst {margin} less was allowed" if claim.margin else "no loss was allowed",
        "better": f"a gain above {margin if claim.margin else '0'} was claimed", "similar": f"a difference within ±{margin} was claimed",
        "about": f"{_amount_of(claim, claim.value or 0.0, unit != 'level')} give or take {margin} was said",
    }[claim.test]
    parts = [f"{_names(claim.this)}{_against(claim)}: {amount(decision.effect, True)} ({span}{_over(decision)}); {asked}.", levels]
    if claim.metric in LOWER_IS_BETTER and unit != "level":
        parts.append("Less is better, so + means less.")
    return " ".join(filter(None, parts))


def _over(decision: Decision) -> str:
    return f"over {decision.n} seed{'s' * (decision.n != 1)}"


def _against(claim: ClaimSpec) -> str:
    """The other side, and where both were measured."""
    level = "" if claim.metric == "smallest_winning" else \
        f" at {100 * claim.kept:.3g} % of the weights" if claim.kept is not None else " after the last round"
    if claim.test == "matches_dense":
        return " against its own dense network" + level
    if not _paired(claim):
        return level + (f" against {_amount_of(claim, claim.value or 0.0, False)}" if claim.test == "better" else "")
    other = f" against {_names(claim.than) if claim.than else 'itself'}"
    return other + level if claim.kept_than is None else f"{level}{other} at {100 * claim.kept_than:.3g} %"


def _amount_of(claim: ClaimSpec, number: float, difference: bool = True) -> str:
    """A number of the claim itself, without a sign."""
    return f"{100 * number:.3g} %" if claim.relative else amounts(claim.metric, signed=False, difference=difference)(number, True)


UNITS = {
    **dict.fromkeys(("test_accuracy", "validation_accuracy", "train_accuracy"), (100.0, ".2f", " %", " points")),
    "smallest_winning": (100.0, ".2f", " % of the weights", " % of the weights"),
    "alive_units": (100.0, ".2f", " % of the units", " % of the units"),
    "early_step": (1.0, ",.0f", " steps", " steps"), "train_seconds": (1.0, ",.4g", " s", " s")}
"""What a metric is told in: a factor, its digits, and the unit of itself and of a difference (1 point is 0.01). A loss has none."""


def amounts(metric: str, signed: bool, relative: bool = False, difference: bool | None = None) -> Callable[[float, bool], str]:
    """How a metric is told, with its unit where that is asked for; what has a sign is a difference, if nothing else is said."""
    sign, apart = "+" if signed else "", signed if difference is None else difference
    if relative:
        return lambda value, unit: f"{100 * value:{sign}.1f}{' %' * unit}"
    scale, style, *units = UNITS.get(metric, (1.0, ",.4g", "", ""))
    told = units[apart] + " saved" * (signed and metric in LOWER_IS_BETTER and bool(units[apart]))
    return lambda value, unit: f"{scale * value:{sign}{style}}{told * unit}"


def untold(low: float, high: float) -> bool:
    """Whether an interval of ratios spans two orders of magnitude or more: then none in it is worth telling."""
    return high >= 100 * low


def ratio(value: float) -> str:
    """Two digits at least, and no row of them."""
    return f"{value:.2f}" if 0.1 <= value < 100 else f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:#.2g}"


def shown(verdict: Verdict) -> tuple[str, str]:
    """The effect and its interval as people read them: "+0.38 points" and "+0.30, +0.46"; "–" and "" where there is none."""
    low, high = verdict.low, verdict.high
    if verdict.effect is None:
        return (f"{verdict.diverged} cell{'s' * (verdict.diverged != 1)} diverged" if verdict.diverged and verdict.n else "–"), ""
    if verdict.unit == "ratio":
        if low is not None and high is not None and untold(low, high):
            return "no ratio can be told", ""
        amount: Callable[[float, bool], str] = lambda value, unit: f"{'× ' * unit}{ratio(value)}"  # noqa: E731
    elif verdict.unit == "kept":
        amount = lambda value, unit: f"{100 * value:.3g}{' % of the weights' * unit}"  # noqa: E731
    else:
        amount = amounts(verdict.metric, signed=verdict.unit != "level", relative=verdict.unit == "relative")
    return amount(verdict.effect, True), "" if low is None or high is None else f"{amount(low, False)}, {amount(high, False)}"


def instead(verdict: Verdict) -> str:
    """Of a contradicted claim, what its effect is in the place of what was claimed; nothing where the number says it alone."""
    if verdict.verdict != "contradicted" or verdict.low is None or verdict.high is None or verdict.test in ("about", "peaks_at"):
        return ""
    opposite = verdict.low > 1 if verdict.unit == "ratio" else verdict.high < 0
    return {"similar": "a difference", "matches_dense": "worse than its dense network", "unimodal": "no such peak"}.get(
        verdict.test, "the opposite" if opposite else "not so much")


def with_range(effect: str, span: str) -> str:
    return effect + (f" ({span.replace(', ', ' to ')})" if span else "")


def sentence(verdict: Verdict) -> str:
    """The claim's sentence; a contradicted one never without what was found, for it is not the finding."""
    if verdict.verdict != "contradicted":
        return verdict.says
    found = ", ".join(filter(None, [instead(verdict), with_range(*shown(verdict))]))
    return f'Claimed: "{verdict.says}" Found: {found}.'


def p_value(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.001 else f"{p:.3f}"


def _names(where: Where) -> str:
    return ", ".join(" and ".join(labels_of(said)) for said in where.values()) or "Every cell"


def table(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """The verdicts as plain dicts, for `verdicts.json`."""
    return [msgspec.to_builtins(verdict) for verdict in verdicts]
