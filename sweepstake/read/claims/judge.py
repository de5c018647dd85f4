"""Claims become verdicts: a test with a margin and an interval, said before the run, paired by seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sweepstake.base.specs import ClaimSpec, claim_test
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.claims.contract import Unit, Verdict, test_of
from sweepstake.read.claims.lost import ALPHA, Weighed, lost_seeds, weigh
from sweepstake.read.claims.numbers import paired
from sweepstake.read.claims.tell import reason
from sweepstake.read.statistics import Word


def verdicts(study: StudyLike, results: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """A verdict on every claim from results; seconds are read only where a claim is about them."""
    if not study.claims:
        return []
    return judge(study, analysis.tidy(results, timing=any(claim.metric == "train_seconds" for claim in study.claims)))


def judge(study: StudyLike, rows: Sequence[Row]) -> list[Verdict]:
    """A verdict on every claim of the study, in its order, from rows (with seconds, if a claim is about them)."""
    weighed = [_weighed(claim, list(study.axes), rows) for claim in study.claims]
    families: dict[str, list[int]] = {}
    for place, claim in enumerate(study.claims):
        if claim.family:
            families.setdefault(claim.family, []).append(place)
    holm = {place: p for places in families.values()
            for place, p in zip(places, statistics.holm([_p(weighed[place]) for place in places]), strict=True)}
    return [_verdict(claim, claim.name or str(place + 1), weighed[place], holm.get(place),
                     len(families.get(claim.family, [])))
            for place, claim in enumerate(study.claims)]


def _weighed(claim: ClaimSpec, axes: list[str], rows: Sequence[Row]) -> Weighed:
    """What the rows say of a claim: by the seeds that have numbers, and with those that have none."""
    test = test_of(claim)
    rows = [row for row in analysis.chosen(rows, claim.where) if row["status"] != "failed"]
    chosen = (claim.this, claim.than or claim.this) if paired(claim) else (claim.this,)
    sides = [analysis.chosen(rows, side) for side in chosen]
    lost, gone = lost_seeds(test, claim, sides)
    sides = [[row for row in side if row["seed"] not in gone] for side in sides]
    with claim_test.blamed(test):
        found = test.decide(claim, axes, sides)
    return weigh(found, lost, any(sides)) if gone else Weighed(found, found.decision)


def _p(weighed: Weighed) -> float:
    """1 where nothing can be decided: a claim not yet measured counts in its family all the same."""
    return weighed.decision.p if weighed.decision and weighed.decision.n >= statistics.MIN_SEEDS else 1.0


def _verdict(claim: ClaimSpec, name: str, weighed: Weighed, p_holm: float | None, together: int) -> Verdict:
    """The verdict, corrected for the claims of its family, with the words for it."""
    test, decision = test_of(claim), weighed.decision
    word: Word = "undecided" if decision is None or (p_holm is not None and p_holm >= ALPHA) else decision.verdict
    forecast = decision is not None and word == "undecided" and weighed.whole
    more = statistics.more_seeds(decision, 1 - ALPHA / max(together, 1)) if decision and forecast else None
    with claim_test.blamed(test):
        unit, why = test.unit(claim), reason(test, claim, weighed, word, p_holm, together, more)
    verdict = Verdict(claim=name, says=claim.says, test=claim.test, metric=claim.metric, verdict=word, reason=why,
                      unit=unit, diverged=weighed.lost.cells, source=claim.source)
    if decision is None:
        return verdict
    enough = decision.n >= statistics.MIN_SEEDS
    verdict = msgspec.structs.replace(verdict, n=decision.n, p=decision.p if enough else None,
                                      p_holm=p_holm if enough else None, more_seeds=more)
    if not weighed.whole:
        return verdict
    effect, low, high = (_natural(number, unit) for number in (decision.effect, decision.low, decision.high))
    known = decision.n > 1
    return msgspec.structs.replace(verdict, effect=effect, low=min(low, high) if known else None,
                                   high=max(low, high) if known else None)


def _natural(number: float, unit: Unit) -> float:
    """Decisions on spreads and levels are made on a log scale."""
    return math.exp(-number) if unit == "ratio" else min(1.0, math.exp(number)) if unit == "kept" else number


def table(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    """The verdicts as plain dicts, for `verdicts.json`."""
    return [msgspec.to_builtins(verdict) for verdict in verdicts]
