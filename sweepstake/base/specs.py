"""What a study draws, claims and is compared with: the `[[figure]]`, `[[claim]]` and `[[reference]]` tables.

The descriptions are their reference. `[[reference]]` tables hold what others have measured.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import log
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta, Struct, field

from sweepstake.base.cell import Keep
from sweepstake.base.errors import unknown
from sweepstake.base.named import Named
from sweepstake.base.values import shown

Metric = Literal["test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_accuracy", "train_loss",
                 "early_step", "alive_units"]
ClaimMetric = Literal[Metric, "train_seconds", "smallest_winning"]
At = Literal["end", "early"]
NO_PANEL = ("panel", "none")
"""What a figure says instead of an axis, where it is to have one panel."""
Label = str | int | float | bool
Where = dict[str, Label | list[Label]]

LOWER_IS_BETTER = ("test_loss", "validation_loss", "train_loss", "early_step", "train_seconds", "smallest_winning")
SAME_LEVEL = 0.02
"""Kept fractions that differ by no more than this, relatively, are one level."""


class FigureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[figure]]` of a study file."""

    kind: Annotated[str, Meta(description="What is drawn.")] = "accuracy_by_kept"
    metric: Annotated[Metric, Meta(description=(
        "What is drawn; `alive_units` is the share of hidden units alive."))] = "test_accuracy"
    at: Annotated[At, Meta(description=(
        "Measured at the end of a round, or at early stop."))] = "end"
    by: Annotated[str | None, Meta(description="The axis that colours the lines (default: the first axis).")] = None
    panel: Annotated[str | None, Meta(description=(
        "The axis of the panels (default: the second axis; `none`: one panel, the mean over that axis)."))] = None
    where: Annotated[Where, Meta(description="Only these cells: `{axis = label}` or `{axis = [labels]}`.")] = field(
        default_factory=dict)
    title: Annotated[str, Meta(description="The figure's title (default: what it shows).")] = ""
    error: Annotated[Literal["std", "ci", "range"], Meta(description=(
        "Error bars over seeds: standard deviation, 95 % bootstrap interval of the mean, "
        "or minimum to maximum."))] = "std"
    x: Annotated[Literal["log", "linear"], Meta(description=(
        "The scale of weights remaining, where a figure is drawn against them."))] = "log"
    every: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description=(
        "Only every n-th round (default: as many as read well)."))] = None


class ClaimSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[claim]]` of a study file: a sentence, and the test that can contradict it, said before the run."""

    says: Annotated[str, Meta(min_length=1, description="The sentence, as the paper says it.")]
    test: Annotated[str, Meta(description="What would contradict it.")]
    name: Annotated[str, Meta(description="A short name for the claim (default: its number).")] = ""
    metric: Annotated[ClaimMetric, Meta(description=(
        "What is compared; of losses, steps, seconds and weights, less is better. "
        "`train_seconds`: measured seconds of a round's training; "
        "`smallest_winning`: the smallest kept fraction with a test accuracy at or above "
        "the cell's own dense network's."))] = "test_accuracy"
    at: Annotated[At, Meta(description=(
        "Measured at the end of a round, or at early stop."))] = "end"
    kept: Annotated[Keep | None, Meta(description=(
        "At the round nearest to this fraction of weights remaining (default: the last)."))] = None
    this: Annotated[Where, Meta(description="The cells it is about: `{axis = label}` or `{axis = [...]}`.")] = field(
        default_factory=dict)
    than: Annotated[Where, Meta(description="The cells they are compared with, by a test of two sides.")] = field(
        default_factory=dict)
    kept_than: Annotated[Keep | None, Meta(description=(
        "The other side's fraction of weights remaining (default: `kept`). "
        "Without `than`, the same cells at that fraction: 1.0 is their own dense network."))] = None
    value: Annotated[float | None, Meta(description="The printed number, for a test that names it.")] = None
    reference: Annotated[str, Meta(description=(
        "The label of a `[[reference]]`, whose number at `kept` is the `value`."))] = ""
    margin: Annotated[float, Meta(ge=0, description=(
        "What does not matter, in the metric's own unit (0.01 is one point); "
        "a fraction with `relative` and where the test says so."))] = 0.0
    relative: Annotated[bool, Meta(description=(
        "Gains are fractions of the other side's value: 0.38 of `early_step` is 38 % earlier."))] = False
    where: Annotated[Where, Meta(description="Only among these cells.")] = field(default_factory=dict)
    family: Annotated[str, Meta(description=(
        "Claims of one family are corrected together, for their number (Holm 1979)."))] = ""
    source: Annotated[str, Meta(description="Where the sentence stands.")] = ""


class ReferenceSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[reference]]` of a study file: a curve or a number that somebody else has measured."""

    label: Annotated[str, Meta(min_length=1, description="Its name in figures, and in the claims that are about it.")]
    source: Annotated[str, Meta(min_length=1, description="Where the numbers stand: paper, figure or table, page.")]
    points: Annotated[list[tuple[Keep, float]], Meta(description=(
        "Its numbers: `[[kept, value], ...]`, the fraction of weights remaining and the metric there; "
        "one pair for a single printed value."))] = field(default_factory=list)
    csv: Annotated[str, Meta(description=(
        "A file with these numbers in the place of `points`, its path relative to the study file."))] = ""
    columns: Annotated[tuple[str, str], Meta(description="The columns of that file.")] = ("kept", "value")
    y: Annotated[Metric, Meta(description="The metric that the values are of.")] = "test_accuracy"
    at: Annotated[At, Meta(description=(
        "Measured at the end of training, or at early stop."))] = "end"
    percent: Annotated[bool, Meta(description="The values are in per cent; otherwise they are fractions.")] = False
    where: Annotated[Where, Meta(description=(
        "The cells that it is to be compared with: it is drawn only beside them (default: all)."))] = field(
        default_factory=dict)

    def value_at(self, kept: float) -> float | None:
        """Its value at a kept fraction, between its points on the line over log(kept); None outside of them."""
        known = sorted(self.points)
        if not known or not known[0][0] * (1 - SAME_LEVEL) <= kept <= known[-1][0] * (1 + SAME_LEVEL):
            return None
        kept = min(max(kept, known[0][0]), known[-1][0])
        for (low, below), (high, above) in pairwise(known):
            if kept <= high:
                return below + (above - below) * log(kept / low) / log(high / low)
        return known[0][1]


class ClaimTestLike(Protocol):
    """What a study file needs to know of a claim's test; how it decides is the affair of `read/claims`."""

    name: str
    says: str

    def check(self, claim: ClaimSpec) -> list[str]: ...


class FigureKindLike(Protocol):
    """What a study file needs to know of a figure's kind; how it is drawn is the affair of `read/figures`."""

    name: str
    says: str

    def check(self, figure: FigureSpec, axes: Mapping[str, Sequence[Any]]) -> list[str]: ...


claim_test = Named[ClaimTestLike]("claim test", "sweepstake.read.claims")
figure_kind = Named[FigureKindLike]("figure kind", "sweepstake.read.figures")


def check_name(place: str, spec: type, table: Mapping[str, Any]) -> list[str]:
    """What is wrong with the test or the kind that a table of the study file names."""
    key, known = ("test", claim_test) if spec is ClaimSpec else ("kind", figure_kind)
    name = table.get(key)
    problem = known.problem(name) if isinstance(name, str) else None
    return [f"{place}: {key} = {shown(name)}: {problem}"] if problem else []


def label(value: Any) -> str:
    """A value of an axis as it is shown and compared."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def labels_of(said: Label | list[Label]) -> list[str]:
    return [label(one) for one in said] if isinstance(said, list) else [label(said)]


def check_specs(axes: Mapping[str, Sequence[Any]], figures: Iterable[FigureSpec], claims: Iterable[ClaimSpec],
                references: Iterable[ReferenceSpec] = ()) -> list[str]:
    """All that is wrong with figures, claims and references, given the axes and their labels."""
    problems: list[str] = []
    for number, figure in enumerate(figures, 1):
        place = f"[[figure]] {number}"
        for key in ("by", "panel"):
            if (axis := getattr(figure, key)) is not None and axis not in axes and (key, axis) != NO_PANEL:
                problems.append(unknown(f'{place}: {key} = "{axis}"', "axis", axis, axes,
                                        "An axis is a key whose value is a list."))
        if figure.by is not None and figure.by == figure.panel:
            problems.append(f'{place}: by and panel are both "{figure.by}". Give two axes, or leave one out.')
        problems += check_where(f"{place}: where", figure.where, axes)
        kind = figure_kind.get(figure.kind)
        with figure_kind.blamed(kind):
            problems += [f"{place}: {problem}" for problem in kind.check(figure, axes)]
    for number, claim in enumerate(claims, 1):
        place = f"[[claim]] {number}"
        for key in ("where", "this", "than"):
            problems += check_where(f"{place}: {key}", getattr(claim, key), axes)
        test = claim_test.get(claim.test)
        with claim_test.blamed(test):
            problems += [f"{place}: {problem}" for problem in test.check(claim)]
    for number, reference in enumerate(references, 1):
        problems += check_where(f"[[reference]] {number}: where", reference.where, axes)
    return problems


def check_where(place: str, where: Where, axes: Mapping[str, Sequence[Any]]) -> list[str]:
    """What is wrong with a choice of cells by the labels of axes; nothing when all is well."""
    problems: list[str] = []
    for axis, said in where.items():
        if axis not in axes:
            problems.append(unknown(f"{place}: {axis}", "axis", axis, axes, "An axis is a key whose value is a list."))
            continue
        known = [label(one) for one in axes[axis]]
        problems += [unknown(f'{place}: {axis} = "{one}"', f"label of {axis}", one, known)
                     for one in labels_of(said) if one not in known]
        if not labels_of(said):
            problems.append(f"{place}: {axis} = []: an empty list chooses no cell. Name labels, or leave {axis} out.")
    return problems
