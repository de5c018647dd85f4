"""What a study draws and claims: the `[[figure]]` and `[[claim]]` tables of its file. The descriptions are their reference."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from sweepstake.base.cell import Keep
from sweepstake.base.errors import unknown

Metric = Literal["test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_accuracy", "train_loss", "early_step",
                 "alive_units"]
Label = str | int | float | bool
Where = dict[str, Label | list[Label]]

LOWER_IS_BETTER = ("test_loss", "validation_loss", "train_loss", "early_step")


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
    test: Annotated[Literal["matches_dense", "better", "similar", "about"], Meta(description=(
        "`matches_dense`: not worse by more than `margin` than the same cell's round 0; `better`: `this` beats `than` by more than "
        "`margin`; `similar`: they differ by less than `margin`; `about`: the mean is `value`, give or take `margin`."))]
    name: Annotated[str, Meta(description="A short name for the claim (default: its number).")] = ""
    metric: Annotated[Metric, Meta(description="What is compared; of losses and steps, less is better.")] = "test_accuracy"
    at: Annotated[Literal["end", "early"], Meta(description="Measured at the end of a round, or at early stop.")] = "end"
    kept: Annotated[Keep | None, Meta(description="At the round nearest to this fraction of weights remaining (default: the last).")] = None
    this: Annotated[Where, Meta(description="The cells it is about: `{axis = label}` or `{axis = [...]}`.")] = field(default_factory=dict)
    than: Annotated[Where, Meta(description="The cells they are compared with (`better`, `similar`).")] = field(default_factory=dict)
    value: Annotated[float | None, Meta(description="The printed number (`about`).")] = None
    margin: Annotated[float, Meta(ge=0, description="What does not matter, in the metric's own unit (0.01 is one point).")] = 0.0
    where: Annotated[Where, Meta(description="Only among these cells.")] = field(default_factory=dict)
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
    pair, problems = claim.test in ("better", "similar"), list[str]()
    if pair and not (claim.this and claim.than):
        problems.append(f'test = "{claim.test}" compares two groups. Say this = {{axis = label}} and than = {{axis = label}}.')
    if pair and claim.this and claim.this == claim.than:
        problems.append("this and than choose the same cells. Change one.")
    if not pair and claim.than:
        problems.append(f'test = "{claim.test}" takes no than. Leave it out, or test = "better" or "similar".')
    if (claim.test == "about") != (claim.value is not None):
        problems.append('test = "about" needs value.' if claim.value is None
                        else f'value is for test = "about", not "{claim.test}". Leave it out.')
    if claim.test in ("similar", "about") and claim.margin == 0:
        problems.append(f'test = "{claim.test}" needs a margin above 0: the difference that does not matter.')
    if claim.metric == "early_step" and claim.at == "early":
        problems.append('metric = "early_step" is the early stop itself. Leave at out.')
    return problems
