"""A metric against weights remaining, dense on the left."""

from collections.abc import Sequence
from typing import Any

from sweepstake.base.specs import FigureSpec, figure_kind, label
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures.clipped import clipped
from sweepstake.read.figures.contract import Data, Drawn, FigureKind
from sweepstake.read.figures.style import ERRORS, FADED, PICKED, Spec, colours, kept_axis, percent, seeds, span, unit


class ByKept(FigureKind):
    """A metric against weights remaining. A subclass names the column."""

    def draw(self, data: Data) -> Drawn | None:
        figure = data.figure
        metric = self.column(figure) or figure.metric
        every = analysis.summarise(data.rows, data.over, metric)
        summary = [one for one in every if one["mean"] is not None]
        if not summary:
            return None
        scale, unit_, told = unit(metric)
        points = [_point(one, data, scale, told) for one in summary if data.shows(one["round"])]
        _dodge(points, data.axes[data.by] if data.by else ["all"], figure.x)
        whole = min(point["lo"] for point in points), max(point["hi"] for point in points)
        clip = clipped(points, "{:.4g} %".format if scale == 100 else "{:.4g}".format)
        at = " at early stop" if figure.at == "early" else ""
        y = {"field": "mean", "type": "quantitative", "title": f"{told}{unit_}{at}",
             "scale": {"zero": False, "domain": padded(*(clip[:2] if clip else whole))}, "axis": {"tickCount": 6}}
        lost = max(one["diverged"] for one in every)  # A group that diverged whole has no point.
        bars = f"; bars: {ERRORS[figure.error]}" if points[0]["n"] > 1 else ""
        left_out = f" Diverged cells are left out (up to {lost} a point)." if lost else ""
        dense = "; dashed: the dense network" if any(map(is_dense, points)) else ""
        layers = _marks(points, y, data)
        if clip:
            layers = [{**layer, "mark": {**layer["mark"], "clip": True}} for layer in layers]
        made = {"column": metric, "by": data.by, "panel": data.panel, "every": figure.every or 1,
                "where": dict(figure.where), "error": figure.error, "x": figure.x, "kind": figure.kind,
                "groups": [label(one) for one in data.axes[data.by]] if data.by else ["all"],
                "clip": clip.says if clip else ""}
        return Drawn(points, layers, f"{told[0].upper()}{told[1:]}{at} against weights remaining",
                     f"{seeds(points)}{bars}{dense}.{left_out}{f' {clip.says}' if clip else ''}", data.panels,
                     made=made)


@figure_kind("accuracy_by_kept")
class AccuracyByKept(ByKept):
    """The lottery-ticket papers' figure (Frankle & Carbin 2019, fig. 3)."""

    says = "the metric against weights remaining"
    tabled = True

    def column(self, figure: FigureSpec) -> str | None:
        return analysis.column(figure.metric, figure.at)

    def by_default(self, rows: Sequence[Row]) -> bool:
        return True


def padded(low: float, high: float) -> list[float]:
    """An axis a little longer than what it shows."""
    pad = max((high - low) * 0.04, 1e-9)
    return [low - pad, high + pad]


def is_dense(point: Row) -> bool:
    return point["round"] == 0 and point["kept"] >= 100


def _marks(points: list[Row], y: Spec, data: Data) -> list[Spec]:
    """Lines with bars and points, and the dense network as a dashed line."""
    x = kept_axis([point["kept"] for point in points], data.figure.x)
    colour, shape = colours(data.by, points, data.axes)
    tips = [{"field": key, "title": title} for key, title in TIPS
            if (data.by or key != "group") and (data.panel or key != "panel")]
    return [
        {"transform": [{"filter": "datum.round === 0 && datum.kept >= 100"}],
         "mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1, "aria": False},
         "encoding": {"y": y, "color": colour,
                      "opacity": {"condition": {"param": "picked", "value": 0.65}, "value": 0.05}}},
        {"mark": {"type": "rule", "strokeWidth": 1.2, "aria": False},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour, "opacity": FADED}},
        *[{"mark": {"type": "tick", "orient": "horizontal", "size": 6, "thickness": 1.2, "aria": False},
           "encoding": {"x": x, "y": {**y, "field": end}, "color": colour, "opacity": FADED}} for end in ("lo", "hi")],
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
         "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED],
         "mark": {"type": "point", "filled": True, "size": 55}, "encoding": {
             "x": x, "y": y, "color": colour, "shape": shape, "opacity": FADED, "description": {"field": "told"},
             "tooltip": tips}},
    ]


TIPS = (("group", "group"), ("panel", "panel"), ("kept_told", "weights remaining"), ("round", "round"),
        ("mean_told", "mean"), ("std_told", "standard deviation"), ("interval_told", "95 % interval"),
        ("range_told", "minimum to maximum"), ("n", "seeds"), ("diverged", "diverged"))
"""What a point says of itself when it is pointed at."""


def _point(one: Row, data: Data, scale: float, told: str) -> Row:
    def show(value: float | None) -> str:
        return "-" if value is None else f"{value * scale:.2f} %" if scale == 100 else f"{value:.4g}"

    middle, std, by, panel = one["mean"], one["std"] or 0, data.by, data.panel
    low, high = {"std": (middle - std, middle + std), "ci": (one["low"], one["high"]),
                 "range": (one["min"], one["max"])}[data.figure.error]
    kept = 100 * one["kept_fraction"]
    group = one[by] if by else "all"
    return {
        "group": group, **({"panel": one[panel]} if panel else {}), "round": one["round"], "kept": kept,
        "mean": middle * scale, "lo": (middle if low is None else low) * scale,
        "hi": (middle if high is None else high) * scale, "n": one["n"], "diverged": one["diverged"],
        "kept_told": percent(kept), "mean_told": show(middle), "std_told": show(one["std"]),
        "interval_told": f"{show(one['low'])} to {show(one['high'])}",
        "range_told": f"{show(one['min'])} to {show(one['max'])}",
        "told": f"{f'{group}, ' if by else ''}{percent(kept)} of weights remaining: {told} {show(middle)}, "
                f"standard deviation {show(one['std'])}, {one['n']} seeds",
    }


def _dodge(points: list[Row], labels: Sequence[Any], scale: str) -> None:
    """Move the groups apart by up to 3 % of x, so that error bars at one level do not hide each other."""
    place = {label(one): number for number, one in enumerate(labels)}
    step = min(0.012, 0.06 / max(1, len(labels) - 1))
    for point in points:
        aside = step * ((len(labels) - 1) / 2 - place.get(point["group"], 0))
        point["x"] = point["kept"] * (1 + aside) if scale == "log" else point["kept"] + 0.25 * aside * span(points)
