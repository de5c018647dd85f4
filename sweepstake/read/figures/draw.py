"""Rows become pictures: a Vega-Lite spec is a plain dict, the same one for the page (live) and for papers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepstake.base.specs import NO_PANEL, FigureSpec, ReferenceSpec, figure_kind
from sweepstake.read import analysis
from sweepstake.read.analysis import PlannedLike, Row
from sweepstake.read.figures.across import Across, across
from sweepstake.read.figures.contract import Data, Drawn, FigureKind, kind_of
from sweepstake.read.figures.references import laid_over
from sweepstake.read.figures.style import HEIGHT, WIDTH, Spec, framed


def default_figures(rows: Sequence[Row]) -> list[FigureSpec]:
    """What a study shows that names no figure of its own."""
    kinds: Mapping[str, FigureKind] = figure_kind.known  # pyright: ignore[reportAssignmentType]
    return [FigureSpec(kind=name) for name, kind in kinds.items() if kind.by_default(rows)]


def draw(figure: FigureSpec, rows: Sequence[Row], curves: Sequence[Row], axes: Mapping[str, Sequence[Any]],
         planned: Sequence[PlannedLike] = (), references: Sequence[ReferenceSpec] = (),
         x: Across = "kept") -> Spec | None:
    """The Vega-Lite spec of one figure; None when there is nothing to draw yet."""
    kind = kind_of(figure)
    by, panel = _axes_of(figure, axes)
    kept, steps = ([row for row in analysis.chosen(every, figure.where) if row["status"] != "failed"]
                   for every in (rows, curves))
    with figure_kind.blamed(kind):
        data = Data(figure, kept, steps, axes, planned, by, panel)
        drawn = kind.draw(data)
    if drawn is None:
        return None
    drawn, sources = laid_over(drawn, data, kind.column(figure) or figure.metric, references)
    drawn = across(drawn, x)
    pooled = [axis for axis in axes if axis not in (by, panel) and len({row[axis] for row in kept}) > 1]
    averaged = [f"Averaged over {' and '.join(pooled)}."] if pooled and drawn.averaged else []
    meta = {"usermeta": drawn.made} if drawn.made else {}
    return framed(figure.title or drawn.title, [drawn.subtitle, *averaged, *sources], drawn.points,
                  {**laid_out(drawn), **meta})


def laid_out(drawn: Drawn) -> Spec:
    """The marks alone, or once a panel."""
    present = {point["panel"] for point in drawn.points if "panel" in point}
    if not present:
        return {"width": WIDTH, "height": HEIGHT, "layer": drawn.layers}
    labels = [one for one in drawn.panels if one in present]
    columns = min(drawn.columns, len(labels))
    width = WIDTH // columns - 20 * (columns > 1) - 10 * (columns > 2)
    apart = {} if drawn.shared else {"resolve": {"scale": {"x": "independent", "y": "independent"}}}
    return {"facet": {"field": "panel", "type": "nominal", "title": None, "sort": labels}, "columns": columns,
            "spec": {"width": width, "height": HEIGHT - 80, "layer": drawn.layers}, **apart}


def _axes_of(figure: FigureSpec, axes: Mapping[str, Sequence[Any]]) -> tuple[str | None, str | None]:
    """The axis that colours and that of the panels: as the figure says, or else the first two that vary."""
    names = [name for name in axes if name != figure.panel]
    by = figure.by or (names[0] if names else None)
    if figure.panel == NO_PANEL[1]:
        return by, None
    fixed = {axis for axis, said in figure.where.items() if not isinstance(said, list) or len(said) == 1}
    return by, figure.panel or next((axis for axis in axes if axis != by and axis not in fixed), None)
