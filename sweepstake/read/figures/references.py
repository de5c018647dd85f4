"""What others have measured, laid over a figure of ours: a grey dashed line with its label in the legend."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweepstake.base.specs import FigureSpec, ReferenceSpec, labels_of
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures.contract import Data, Drawn
from sweepstake.read.figures.style import GREY, Spec, percent, unit

LINE, ALONE = "stroke", "cross"
"""The shapes by which a legend shows a reference: a curve, or a printed number that stands alone."""


def fitting(references: Sequence[ReferenceSpec], metric: str, figure: FigureSpec) -> list[ReferenceSpec]:
    """The references of a figure's column that are of cells which it shows."""
    return [one for one in references if analysis.column(one.y, one.at) == metric
            and all(set(labels_of(said)) & set(labels_of(figure.where[axis]))
                    for axis, said in one.where.items() if axis in figure.where)]


def laid_over(drawn: Drawn, data: Data, metric: str, references: Sequence[ReferenceSpec]) -> tuple[Drawn, list[str]]:
    """The figure with its references, and a line a reference that says where its numbers stand.

    Only figures against weights remaining have a place for them: their points say `kept` and `x`.
    """
    chosen = fitting(references, metric, data.figure)
    if not chosen or not drawn.points or not {"kept", "x", "mean"} <= drawn.points[0].keys():
        return drawn, []
    lowest = min(point["kept"] for point in drawn.points)
    points = [point for one in chosen for point in _points(one, metric, data, drawn, lowest)]
    shown = [one for one in chosen if any(point["group"] == one.label for point in points)]
    if not shown:
        return drawn, []
    layers = [_without_references(one) for one in drawn.layers]
    _make_room(layers, [point["reference"] for point in points])
    alone = {point["group"] for point in points if point["alone"]}
    _name(layers, {one.label: ALONE if one.label in alone else LINE for one in shown})
    lines, crosses = _marks(layers)
    layers = [lines, *layers[:-1], *([crosses] if alone else []), layers[-1]]  # The last one is what is pointed at.
    told = [f"Grey{'' if one.label in alone else ', dashed'}: {one.label} ({one.source})." for one in shown]
    return drawn._replace(points=[*drawn.points, *points], layers=layers), told


def _points(one: ReferenceSpec, metric: str, data: Data, drawn: Drawn, lowest: float) -> Iterator[Row]:
    """A reference's points where ours are, in every panel that shows cells of its own."""
    scale, unit_, told = unit(metric)
    wanted = set(labels_of(one.where[data.panel])) if data.panel in one.where else None
    panels = dict.fromkeys(point.get("panel") for point in drawn.points)
    for panel in panels:
        if panel is not None and wanted is not None and panel not in wanted:
            continue
        seen = [(kept, value) for kept, value in one.points if 100 * kept >= lowest * (1 - analysis.SAME_LEVEL)]
        for kept, value in seen:
            yield {"group": one.label, **({"panel": panel} if panel is not None else {}), "kept": 100 * kept,
                   "x": 100 * kept, "reference": value * scale, "alone": len(seen) == 1,
                   "told": f"{one.label}, {percent(100 * kept)} of weights remaining: "
                           f"{told} {value * scale:.4g}{' %' * bool(unit_)}"}


def _without_references(layer: Spec) -> Spec:
    return {**layer, "transform": [{"filter": "!isValid(datum.reference)"}, *layer.get("transform", [])],
            "encoding": {channel: dict(said) for channel, said in layer["encoding"].items()}}


def _make_room(layers: Sequence[Spec], values: Sequence[float]) -> None:
    """The vertical axis goes as far as the references do."""
    for layer in layers:
        y = layer["encoding"].get("y", {})
        domain = y.get("scale", {}).get("domain")
        if domain:
            pad = 0.02 * (domain[1] - domain[0])
            low, high = min(domain[0], min(values) - pad), max(domain[1], max(values) + pad)
            y["scale"] = {**y["scale"], "domain": [low, high]}


def _name(layers: Sequence[Spec], shapes: Mapping[str, str]) -> None:
    """The legend has the references after our groups: a grey line each, or a cross."""
    for layer in layers:
        for channel, values in (("color", [GREY] * len(shapes)), ("shape", list(shapes.values()))):
            said = layer["encoding"].get(channel, {})
            if "domain" in said.get("scale", {}):
                scale = said["scale"]
                legend = said.get("legend") or {"title": None, "columns": 3, "symbolOpacity": 1, "symbolStrokeWidth": 2}
                said |= {"legend": legend, "scale": {**scale, "domain": [*scale["domain"], *shapes],
                                                     "range": [*scale["range"], *values]}}


def _marks(layers: Sequence[Spec]) -> tuple[Spec, Spec]:
    """The references as lines, and the printed numbers that stand alone as crosses."""
    like: dict[str, Any] = next(one["encoding"] for one in layers if one["mark"]["type"] == "line")
    encoding = {"x": like["x"], "y": {**like["y"], "field": "reference"}, "color": like["color"],
                "description": {"field": "told"}, "tooltip": {"field": "told", "title": "reference"}}
    line = {"type": "line", "strokeDash": [3, 2], "strokeWidth": 1.6, "clip": True}
    cross = {"type": "point", "shape": ALONE, "size": 110, "filled": False, "strokeWidth": 1.5, "opacity": 1}
    return ({"transform": [{"filter": "isValid(datum.reference)"}], "mark": line, "encoding": encoding},
            {"transform": [{"filter": "isValid(datum.reference) && datum.alone"}], "mark": cross, "encoding": encoding})
