"""A figure of one study or of several, as somebody asks for it: what is over what, which cells, how large."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypedDict

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.specs import (
    NO_PANEL,
    FigureSpec,
    Metric,
    ReferenceSpec,
    Where,
    check_where,
    figure_kind,
    label,
    labels_of,
)
from sweepstake.read import analysis, figures, trials
from sweepstake.read.analysis import Row, StudyLike
from sweepstake.read.chart import Chart
from sweepstake.read.figures import Spec, paper
from sweepstake.read.figures.across import Across

SHORT = {"accuracy": "test_accuracy", "loss": "test_loss", "error": "test_error", "seconds": "seconds.train"}
"""What a metric may be called: the column that is meant."""
PLACES = ("seed", "round", "step", "steps", "kept", "diverged")
"""Columns that say where a row stands."""
ACROSS = ("kept", "compression", "round")
ERRORS = ("std", "ci", "range")
STUDY = "study"
"""The axis that several studies make."""


@dataclass(frozen=True)
class Asked:
    """What a figure is to show. None: as the study's own figure says."""

    x: str = "kept"
    y: str | None = None
    at: str | None = None
    by: str | None = None
    panel: str | None = None
    where: Where | None = None
    kind: str | None = None
    error: str | None = None
    figure: str | None = None
    """Which of the study's own figures: its number, or its name (`2-learning_curves`)."""
    say: str = ""
    """How an option is written: `--` in a terminal, nothing in Python."""


class Said(TypedDict, total=False):
    """The same, as a command line says it."""

    x: str
    y: str | None
    at: str | None
    by: str | None
    panel: str | None
    kind: str | None
    error: str | None
    figure: str | None


class Part(NamedTuple):
    """A study with what it came to, and its name in the figure."""

    study: StudyLike
    results: Sequence[Mapping[str, Any]]
    name: str


class _Planned(NamedTuple):
    id: str
    cell: Cell
    labels: Mapping[str, str]


class _Data(NamedTuple):
    """All parts as one."""

    rows: list[Row]
    curves: list[Row]
    axes: dict[str, list[str]]
    planned: list[Any]
    references: list[ReferenceSpec]


def plot(parts: Sequence[Part], asked: Asked, size: paper.Paper | None = None) -> Chart:
    """The chart of one study, or of several, which `study` tells apart."""
    if asked.x not in ACROSS:
        raise UserError(unknown(f'{asked.say}x {asked.x}', "x", asked.x, ACROSS))
    data = _joined(parts)
    if asked.figure == "search":
        spec = _search(parts[0].study, asked)
    else:
        figure = _figure(parts, asked, data)
        _check(figure, asked, data)
        x: Across = asked.x  # pyright: ignore[reportAssignmentType]
        spec = figures.draw(figure, _with_errors(data.rows), data.curves, data.axes, data.planned,
                            _references(data, figure), x)
        if spec is None:
            raise UserError(_nothing(figure, asked, data))
    told = [spec["title"]["text"], *spec["title"]["subtitle"]]
    return Chart(paper.fitted(spec, size) if size else spec, told, size)


# The data

def _joined(parts: Sequence[Part]) -> _Data:
    """The rows, axes and references of all; of several, each under its name on the axis `study`."""
    if len(parts) == 1:
        study, results = parts[0].study, parts[0].results
        return _Data(analysis.tidy(results, timing=True), analysis.curves(results),
                     {axis: list(map(label, labels)) for axis, labels in study.axes.items()}, list(study.planned),
                     list(study.references))
    names = [part.name for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f'study "{twice[0]}": stands twice. Give each a name of its own with --label.')
    axes: dict[str, list[str]] = {STUDY: names}
    wanted = dict.fromkeys(axis for part in parts for axis in part.study.axes if axis != STUDY)
    said = [{axis: _labels(part, axis) for axis in wanted} for part in parts]
    for axis in wanted:
        axes[axis] = list(dict.fromkeys(one for each in said for one in each[axis]))
    results, planned, references = list[Any](), list[Any](), dict[str, ReferenceSpec]()
    for part, own in zip(parts, said, strict=True):
        fixed = {axis: labels[0] for axis, labels in own.items() if axis not in part.study.axes}
        results += [{**one, "labels": {STUDY: part.name, **one["labels"], **fixed}} for one in part.results]
        planned += [_Planned(one.id, one.cell, {STUDY: part.name, **one.labels, **fixed}) for one in part.study.planned]
        references |= {one.label: one for one in part.study.references}
    return _Data(analysis.tidy(results, timing=True), analysis.curves(results), axes, planned,
                 list(references.values()))


def _labels(part: Part, axis: str) -> list[str]:
    """The labels of a study on an axis; of one that does not vary it, the value that all its cells have."""
    if axis in part.study.axes:
        return list(map(label, part.study.axes[axis]))
    value = getattr(part.study.planned[0].cell, axis, None) if part.study.planned else None
    return ["–" if value is None else label(getattr(value, "name", value))]


def _with_errors(rows: Sequence[Row]) -> list[Row]:
    """Beside every accuracy what it lacks: the error."""
    pairs = [(key, key.replace("accuracy", "error")) for key in (rows[0] if rows else ()) if key.endswith("_accuracy")]
    return [{**row, **{error: None if row[key] is None else 1 - row[key] for key, error in pairs}} for row in rows]


def _references(data: _Data, figure: FigureSpec) -> list[ReferenceSpec]:
    """The references; where the error is drawn, that of the accuracies which they hold."""
    if not figure.metric.endswith("error"):
        return data.references
    return [msgspec.structs.replace(one, y=one.y.replace("accuracy", "error"),
                                    points=[(kept, 1 - value) for kept, value in one.points])
            for one in data.references if one.y.endswith("accuracy")]


# What is asked

def _figure(parts: Sequence[Part], asked: Asked, data: _Data) -> FigureSpec:
    """The study's figure that is named, else one of the kind that is asked for, with what else is asked."""
    own = _own(parts[0].study, asked, data) if asked.figure else FigureSpec(kind=asked.kind or "accuracy_by_kept")
    metric: Metric = SHORT.get(asked.y or "", asked.y or own.metric)  # pyright: ignore[reportAssignmentType]
    given = {key: said for key in ("at", "by", "panel", "error") if (said := getattr(asked, key)) is not None}
    return msgspec.structs.replace(own, metric=metric, where={**own.where, **(asked.where or {})}, **given)


def _own(study: StudyLike, asked: Asked, data: _Data) -> FigureSpec:
    known = {f"{number}-{one.kind}": one
             for number, one in enumerate(study.figures or figures.default_figures(data.rows), 1)}
    for number, (name, one) in enumerate(known.items(), 1):
        if asked.figure in (name, str(number)):
            return one
    also = ["search"] if getattr(study, "searched", None) else []
    raise UserError(unknown(f"{asked.say}figure {asked.figure}", "figure", asked.figure or "", [*known, *also]))


def _search(study: StudyLike, asked: Asked) -> Spec:
    spec = trials.drawn(searched) if (searched := getattr(study, "searched", None)) else None
    if spec is None:
        raise UserError(f"{asked.say}figure search: {study.name} has no search with two trials.")
    return spec


def _check(figure: FigureSpec, asked: Asked, data: _Data) -> None:
    """Every name that is not there, with those that are."""
    say, problems = asked.say, list[str]()
    if problem := figure_kind.problem(figure.kind):
        raise UserError(f"{say}kind {figure.kind}: {problem}")
    for key in ("by", "panel"):
        if (axis := getattr(figure, key)) is not None and axis not in data.axes and (key, axis) != NO_PANEL:
            problems.append(unknown(f"{say}{key} {axis}", "axis", axis, data.axes))
    if figure.by is not None and figure.by == figure.panel:
        problems.append(f"{say}by and {say}panel are both {figure.by}. Give two axes, or leave one out.")
    problems += check_where(f"{say}where", figure.where, data.axes)
    for key, known in (("at", ("end", "early")), ("error", ERRORS)):
        if (given := getattr(figure, key)) not in known:
            problems.append(unknown(f"{say}{key} {given}", f"value of {key}", given, known))
    problems += _check_column(figure, asked, data)
    kind = figures.kind_of(figure)
    with figure_kind.blamed(kind):
        problems += [f"{say}kind {figure.kind}: {problem}" for problem in kind.check(figure, data.axes)]
    if problems:
        raise UserError(*problems)


def _check_column(figure: FigureSpec, asked: Asked, data: _Data) -> list[str]:
    if asked.y is None:
        return []
    kind = figures.kind_of(figure)
    source = data.curves if kind.of_curves else _with_errors(data.rows[:1])
    numbers = [key for key in (source[0] if source else ()) if key not in ("id", "status", *data.axes)]
    if analysis.column(figure.metric, figure.at) in numbers or figure.metric in numbers:
        return []
    whole = [one for one in numbers if "." not in one and not one.startswith("early_test") and one not in PLACES]
    return [unknown(f"{asked.say}y {asked.y}", "column", asked.y, {*SHORT, *whole},
                    "`sweepstake results` prints every column.")]


def _nothing(figure: FigureSpec, asked: Asked, data: _Data) -> str:
    """Why there is nothing to draw."""
    column = figures.kind_of(figure).column(figure) or figure.metric
    chosen = analysis.chosen(data.rows, figure.where)
    if not chosen:
        said = ", ".join(f"{axis} = {' or '.join(labels_of(labels))}" for axis, labels in figure.where.items())
        return f"{asked.say}where: no finished cell has {said}."
    return (f"nothing to draw: no finished cell has a number for {column}. "
            + ("Early stopping needs `validation` in the study." if "early" in column else
               f"Say another with {asked.say}y, or another {asked.say}kind."))


def said_where(said: Sequence[str], studies: Sequence[StudyLike]) -> Where:
    """`init=a,b` of the command line: the labels of an axis. A label that has a comma itself is said alone."""
    found: Where = {}
    for each in said:
        axis, equals, labels = each.partition("=")
        if not equals or not labels:
            raise UserError(f"--where {each}: say AXIS=LABEL, or several with commas, as in --where init=a,b.")
        known = {label(one) for study in studies for one in study.axes.get(axis, ())}
        found[axis] = [labels] if labels in known else [*labels.split(",")]
    return found


def sized(width: str | float | None, height: str | float | None, font_size: float, style: str,
          title: bool, say: str = "") -> paper.Paper:
    """The printed size that is asked for."""
    if style not in ("print", "screen"):
        raise UserError(unknown(f"{say}style {style}", "style", style, ("print", "screen")))
    if not 3 <= font_size <= 48:
        raise UserError(f"{say}font-size {font_size:g}: say 3 to 48 points.")
    made = paper.Paper(font_size=font_size, style=style, title=title)
    if width is not None:
        made = replace(made, width=paper.points(width, f"{say}width"))
    return made if height is None else replace(made, height=paper.points(height, f"{say}height"))
