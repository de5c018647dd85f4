"""The first screen in words: what the study asks in one sentence, and what it found, a sentence a claim."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sweepstake.read import analysis, figures, summary
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.claims import with_range

ENDS = re.compile(r"(?<!\bal)(?<!\bcf)(?<!\bfig)(?<!\bpar)(?<!\bsec)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\b[A-Z])"
                  r"([.?!])\s+(?=[A-Z0-9\"'(])")
"""Where a sentence ends: not after an abbreviation, and not after the initial of a name."""
NUMBER = re.compile(r"[-+.\de]*\d[-+.\de]*")
FIRST = 4
"""Claims on the first screen; the others are a click away."""


def question(about: str) -> tuple[str, str]:
    """The first sentence of what a study asks, and the rest."""
    text = " ".join(about.split())
    end = ENDS.search(text)
    return (text[:end.end(1)], text[end.end():]) if end else (text, "")


def section(study: StudyLike, verdicts: Sequence[Mapping[str, Any]], groups: Sequence[Row],
            rows: Sequence[Row]) -> dict[str, Any]:
    """A sentence a claim with its verdict; of a study without claims, one sentence of what was found."""
    counts = Counter(one["verdict"] for one in verdicts)
    told = [f"{counts[word]} {word}" for word in ("supported", "contradicted", "undecided") if counts[word]]
    answers = [{"verdict": one["verdict"], "mark": one["mark"], "claimed": one["verdict"] == "contradicted",
                "says": one["says"], "found": _found(one)} for one in verdicts]
    return {"counts": f"{_plural(len(verdicts), 'claim')}: {', '.join(told)}." if len(verdicts) > 1 else "",
            "first": answers[:FIRST], "more": answers[FIRST:],
            "headline": "" if verdicts else headline(study, groups, rows)}


def _found(one: Mapping[str, Any]) -> str:
    """The effect with its interval; of a contradicted claim, what was found instead."""
    if one["shown"] == "–":
        return one["reason"]
    return ", ".join(filter(None, [one["instead"], with_range(one["shown"], one["range"])]))


def headline(study: StudyLike, groups: Sequence[Row], rows: Sequence[Row]) -> str:
    """The smallest winning tickets of the best and the worst group; else the accuracies that rounds ended with."""
    finished = [one for one in groups if one["smallest_winning"] is not None]
    if finished:
        return _tickets(study, sorted(finished, key=lambda one: (one["smallest_winning"], -(one["winners"] or 0))))
    axes = list(study.axes)
    last = {tuple(one[axis] for axis in axes): one for one in analysis.summarise(rows, axes) if one["mean"] is not None}
    if not last:
        return "No round has finished yet."
    best, *_, worst = (ranked := sorted(last.values(), key=lambda one: -one["mean"])) * (1 + (len(last) == 1))
    one = f"{_name(study, best)} ends at a test accuracy of {100 * best['mean']:.2f} %"
    return f"{one}." if len(ranked) == 1 else (
        f"The most accurate of {len(ranked)} groups after its last round: {one}. The least accurate: "
        f"{_name(study, worst)}, {100 * worst['mean']:.2f} %.")


def _tickets(study: StudyLike, ranked: Sequence[Row]) -> str:
    best, worst = ranked[0], ranked[-1]
    if not best["winners"]:
        return "No pruned network ended at least as accurate as its own dense network."
    said = (f"The smallest winning ticket keeps {figures.percent(100 * best['smallest_winning'])} of the weights"
            f"{f' ({_name(study, best)})' if study.axes else ''}, mean over seeds; "
            f"{summary.winners(best)} seeds have one.")
    if len(ranked) == 1:
        return said
    if not worst["winners"]:
        return f"{said} {_name(study, worst)} has no winning ticket."
    return (f"{said} The largest of the {len(ranked)} groups is that of {_name(study, worst)}, with "
            f"{figures.percent(100 * worst['smallest_winning'])}.")


def _name(study: StudyLike, one: Row) -> str:
    """Its labels. One that is a number says of what: lr 0.001."""
    labels = {axis: str(one[axis]) for axis in study.axes}
    said = [f"{axis} {label}" if NUMBER.fullmatch(label) else label for axis, label in labels.items()]
    return ", ".join(said) or study.name


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"
