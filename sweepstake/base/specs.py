"""What a study draws and claims: the `[[figure]]` and `[[claim]]` tables of its file. The descriptions are their reference."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from sweepstake.base.cell import Keep
from sweepstake.base.errors import unknown

Metric = Literal["test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_accuracy", "train_loss", "early_step",
                 "alive_units"]
ClaimMetric = Literal[Metric, "train_seconds", "smallest_winning"]
Label = str | int | float | bool
Where = dict[str, Label | list[Label]]

LOWER_IS_BETTER = ("test_loss", "validation_loss", "train_loss", "early_step", "train_seconds", "smallest_winning")
PAIRS = ("better", "similar", "more_stable")
"""Tests that compare two sides."""
CURVES = ("peaks_at", "unimodal")
"""Tests of all rounds at once."""


class FigureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[figure]]` of a study file."""

    kind: Annotated[Literal["accuracy_by_kept", "learning_curves", "weights_remaining", "early_stop_by_kept", "init_density", "layer_density",
                            "unit_degrees", "alive_units"], Meta(description=(
        "`accuracy_by_kept`: the metric against weights remaining; `learning_curves`: the metric over the steps of a round, a line a "
        "kept level; `weights_remaining`: what is left after each round; `early_stop_by_kept`: the step of lowest validation loss "
        "against weights remaining; `init_density`: how each init's weights are distributed, a panel a layer; `layer_density`: what each layer "
        "keeps against what the whole network keeps; `unit_degrees`: live weights into and out of a unit, by layer; `alive_units`: the share "
        "of each hidden layer's units alive, a panel a layer."))] = "accuracy_by_kept"
    metric: Annotated[Metric, Meta(description="What is drawn; `alive_units` is the share of hidden units alive.")] = "test_accuracy"
    at: Annotated[Literal["end", "early"], Meta(description="Measured at the end of a round, or at early stop.")] = "end"
    by: Annotated[str | None, Meta(description="The axis that colours the lines (default: the first axis).")] = None
    panel: Annotated[str | None, Meta(description="The axis of the panels (default: the second axis).")] = None
    where: Annotated[Where, Meta(description="Only these cells: `{axis = label}` or `{axis = [labels]}`.")] = field(default_factory=dict)
    title: Annotated[str, Meta(description="The figure's title (default: what it shows).")] = ""
    error: Annotated[Literal["std", "ci", "range"], Meta(description=(
        "Error bars over seeds: standard deviation, 95 % bootstrap interval of the mean, or minimum to maximum."))] = "std"
    x: Annotated[Literal["log", "linear"], Meta(description="The scale of weights remaining, where a figure is drawn against them.")] = "log"
    every: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Only every n-th round (default: as many as read well).")] = None


class ClaimSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[claim]]` of a study file: a sentence, and the test that can contradict it, said before the run."""

    says: Annotated[str, Meta(min_length=1, description="The sentence, as the paper says it.")]
    test: Annotated[Literal["matches_dense", "better", "similar", "about", "more_stable", "peaks_at", "unimodal"], Meta(description=(
        "`matches_dense`: not worse by more than `margin` than the same cell's round 0; `better`: `this` beats `than`, or the number "
        "`value`, by more than `margin`; `similar`: they differ by less than `margin`; `about`: the mean (or, with `than` or `kept_than`, the "
        "gain) is `value`, give or take `margin`; `more_stable`: over seeds `this` varies less than `than`, its standard deviation by more "
        "than the fraction `margin`; `peaks_at`: over the rounds the metric is best at the kept fraction `value`, within a factor of "
        "1 + `margin`; `unimodal`: as weights go it gets better to one peak and then worse, each by more than `margin`."))]
    name: Annotated[str, Meta(description="A short name for the claim (default: its number).")] = ""
    metric: Annotated[ClaimMetric, Meta(description=(
        "What is compared; of losses, steps, seconds and weights, less is better. `train_seconds`: measured seconds of a round's training; "
        "`smallest_winning`: the smallest kept fraction with a test accuracy at or above the cell's own dense network's."))] = "test_accuracy"
    at: Annotated[Literal["end", "early"], Meta(description="Measured at the end of a round, or at early stop.")] = "end"
    kept: Annotated[Keep | None, Meta(description="At the round nearest to this fraction of weights remaining (default: the last).")] = None
    this: Annotated[Where, Meta(description="The cells it is about: `{axis = label}` or `{axis = [...]}`.")] = field(default_factory=dict)
    than: Annotated[Where, Meta(description="The cells they are compared with (`better`, `similar`, `more_stable`, `about`).")] = field(
        default_factory=dict)
    kept_than: Annotated[Keep | None, Meta(description=(
        "The other side's fraction of weights remaining (default: `kept`). Without `than`, the same cells at that fraction: 1.0 is their own "
        "dense network."))] = None
    value: Annotated[float | None, Meta(description="The printed number (`about`, `peaks_at`; `better`, in the place of another side).")] = None
    margin: Annotated[float, Meta(ge=0, description=(
        "What does not matter, in the metric's own unit (0.01 is one point); a fraction with `relative`, `more_stable` and `peaks_at`."))] = 0.0
    relative: Annotated[bool, Meta(description="Gains are fractions of the other side's value: 0.38 of `early_step` is 38 % earlier.")] = False
    where: Annotated[Where, Meta(description="Only among these cells.")] = field(default_factory=dict)
    family: Annotated[str, Meta(description="Claims of one family are corrected together, for their number (Holm 1979).")] = ""
    source: Annotated[str, Meta(description="Where the sentence stands.")] = ""


def label(value: Any) -> str:
    """A value of an axis as it is shown and compared."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def labels_of(said: Label | list[Label]) -> list[str]:
    return [label(one) for one in said] if isinstance(said, list) else [label(said)]


def check_specs(axes: Mapping[str, Sequence[Any]], figures: Iterable[FigureSpec], claims: Iterable[ClaimSpec]) -> list[str]:
    """All that is wrong with figures and claims, given the axes and their labels; nothing when all is well."""
    problems: list[str] = []
    for number, figure in enumerate(figures, 1):
        place = f"[[figure]] {number}"
        for key in ("by", "panel"):
            if (axis := getattr(figure, key)) is not None and axis not in axes:
                problems.append(unknown(f'{place}: {key} = "{axis}"', "axis", axis, axes, "An axis is a key whose value is a list."))
        if figure.by is not None and figure.by == figure.panel:
            problems.append(f'{place}: by and panel are both "{figure.by}". Give two axes, or leave one out.')
        problems += _check_where(f"{place}: where", figure.where, axes)
    for number, claim in enumerate(claims, 1):
        place = f"[[claim]] {number}"
        for key in ("where", "this", "than"):
            problems += _check_where(f"{place}: {key}", getattr(claim, key), axes)
        problems += [f"{place}: {problem}" for problem in _check_test(claim)]
    return problems


def _check_where(place: str, where: Where, axes: Mapping[str, Sequence[Any]]) -> list[str]:
    problems: list[str] = []
    for axis, said in where.items():
        if axis not in axes:
            problems.append(unknown(f"{place}: {axis}", "axis", axis, axes, "An axis is a key whose value is a list."))
            continue
        known = [label(one) for one in axes[axis]]
        problems += [unknown(f'{place}: {axis} = "{one}"', f"label of {axis}", one, known) for one in labels_of(said) if one not in known]
        if not labels_of(said):
            problems.append(f"{place}: {axis} = []: an empty list chooses no cell. Name labels, or leave {axis} out.")
    return problems


def _check_test(claim: ClaimSpec) -> list[str]:
    said, problems = f'test = "{claim.test}"', list[str]()
    if claim.test in PAIRS and not claim.than and claim.kept_than is None and not (claim.test == "better" and claim.value is not None):
        problems.append(f"{said} compares two groups. Say this = {{axis = label}} and than = {{axis = label}}, or kept_than for the same cells "
                        "at another level.")
    if claim.than and not claim.this:
        problems.append("than needs a this to be compared with. Say this = {axis = label}.")
    same_cells = claim.kept_than is not None if not claim.than else claim.this == claim.than
    if same_cells and claim.kept_than in (None, claim.kept):
        problems.append("this and than choose the same cells at the same kept. Change one.")
    if claim.test not in (*PAIRS, "about"):
        problems += [f'{said} takes no {key}. Leave it out, or test = "better" or "similar".'
                     for key, given in (("than", claim.than), ("kept_than", claim.kept_than is not None)) if given]
    return problems + _check_numbers(claim, said) + _check_metric(claim, said)


def _check_numbers(claim: ClaimSpec, said: str) -> list[str]:
    problems = list[str]()
    alone = not claim.than and claim.kept_than is None
    if claim.test in ("about", "peaks_at") and claim.value is None:
        problems.append(f"{said} needs value.")
    if claim.value is not None and claim.test not in ("about", "peaks_at", *(["better"] if alone else [])):
        problems.append(f"{said} takes value in the place of another side. Leave one out." if claim.test == "better" else
                        f'value is for test = "about", "peaks_at" or "better", not "{claim.test}". Leave it out.')
    if claim.test == "peaks_at" and claim.value is not None and not 0 < claim.value <= 1:
        problems.append(f"value = {claim.value:g}: {said} wants a kept fraction, above 0 and at most 1.")
    if claim.test in ("similar", "about", "peaks_at") and claim.margin == 0:
        problems.append(f"{said} needs a margin above 0: the difference that does not matter.")
    if claim.test == "more_stable" and claim.margin >= 1:
        problems.append(f"margin = {claim.margin:g}: {said} wants a fraction below 1; 0.2 is a fifth less spread.")
    if claim.relative and claim.test in ("more_stable", *CURVES):
        problems.append(f"{said} takes no relative. Leave it out.")
    if claim.relative and alone and (claim.test == "about" or (claim.test == "better" and claim.value is not None)):
        problems.append(f"relative = true needs another side. Leave it out, or give {said} than or kept_than.")
    return problems


def _check_metric(claim: ClaimSpec, said: str) -> list[str]:
    problems = list[str]()
    if claim.metric in ("early_step", "train_seconds") and claim.at == "early":
        problems.append('metric = "early_step" is the early stop itself. Leave at out.' if claim.metric == "early_step"
                        else 'metric = "train_seconds" is of a whole round. Leave at out.')
    whole = 'metric = "smallest_winning"' if claim.metric == "smallest_winning" else said if claim.test in CURVES else ""
    if whole:
        problems += [f"{whole} is about all rounds of a cell. Leave {key} out." for key in ("kept", "kept_than")
                     if getattr(claim, key) is not None and not (key == "kept_than" and claim.test in CURVES)]
    if claim.metric == "smallest_winning" and claim.test in ("matches_dense", *CURVES):
        problems.append(f'{said} is about single rounds, metric = "smallest_winning" about all. Take "better", "similar", "more_stable" or "about".')
    return problems
