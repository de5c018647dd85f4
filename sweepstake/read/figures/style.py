"""How every figure looks: frame, palette, scales, and how a number is said on it."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from sweepstake.base.specs import label
from sweepstake.base.text import all_visible
from sweepstake.read import analysis
from sweepstake.read.analysis import Row

Spec = dict[str, Any]

VEGALITE = "6.4"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fa3", "#767676")
"""Okabe & Ito (2008), for every kind of colour vision; not its yellow and black, which white and black hide."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
ERRORS = {"std": "standard deviation over seeds", "ci": "95 % bootstrap interval of the mean",
          "range": "minimum to maximum over seeds"}
NAMES = {"early_step": "early-stop step", "alive_units": "hidden units alive", "seconds.train": "seconds of training"}
SHARES = ("accuracy", "error", "top5")
"""How columns of fractions end, which are shown in %."""
GREY = "#767676"
WIDTH, HEIGHT = 560, 300
SHORT = "datum.value >= 99.95 ? '100' : datum.value >= 0.995 ? format(datum.value, '.1f') : format(datum.value, '.2~g')"
PICKED: Spec = {"name": "picked", "select": {"type": "point", "fields": ["group"]}, "bind": "legend"}
FADED: Spec = {"condition": {"param": "picked", "value": 1}, "value": 0.12}
CONFIG: Spec = {
    "font": "system-ui, 'DejaVu Sans', Arial, sans-serif", "background": "white", "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.5, "tickSize": 4,
             "titlePadding": 8},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "orient": "top",
               "labelLimit": 260, "symbolSize": 70},
    "header": {"labelFontSize": 12, "labelFontWeight": 600},
    "title": {"fontSize": 14, "subtitleFontSize": 11, "anchor": "start", "offset": 10},
}


def framed(title: str, subtitle: list[str], points: Sequence[Row], body: Spec) -> Spec:
    """What every figure has around its marks. Whatever a store holds, a figure is text that can be drawn."""
    schema = f"https://vega.github.io/schema/vega-lite/v{VEGALITE.split('.')[0]}.json"
    return all_visible({"$schema": schema, "config": CONFIG, "padding": 6,
                        "title": {"text": title, "subtitle": subtitle},
                        "description": f"{title}. {' '.join(subtitle)}", "data": {"values": points}, **body})


def settings(over: Sequence[str], axes: Mapping[str, Sequence[Any]]) -> list[str]:
    """The names of all settings of some axes, in the study's order."""
    return [", ".join(map(label, setting)) for setting in product(*(axes[axis] for axis in over))]


def span(points: Sequence[Row]) -> float:
    """How far a linear axis goes from 100 % down: to 0, or a little below the fewest where most weights always stay."""
    fewest = min((point["kept"] for point in points), default=0)
    return 100 if fewest < 50 else max(1.05 * (100 - fewest), 1)


def kept_axis(kept: Sequence[float], scale: str, most: int = 9) -> Spec:
    """Weights remaining, dense on the left; on the log scale labelled in % at levels that were measured."""
    x = {"field": "x", "type": "quantitative", "title": "weights remaining (%)"}
    if scale == "linear":
        least = 100 - span([{"kept": one} for one in kept])
        return {**x, "scale": {"reverse": True, "domain": [least, 100 + 0.02 * (100 - least)], "nice": False},
                "axis": {"tickCount": 10, "labelOverlap": "greedy", "labelSeparation": 5, "grid": False}}
    ticks = [level * 100 for level in analysis.levels((k / 100 for k in kept), most)]
    smallest = min(min(kept), 99.0)
    domain = [smallest * 0.93, max(*kept, 100) * 1.06]
    return {**x, "scale": {"type": "log", "reverse": True, "domain": domain, "nice": False},
            "axis": {"values": ticks, "labelExpr": SHORT, "labelOverlap": "greedy", "labelSeparation": 5,
                     "grid": False}}


def colours(by: str | None, points: Sequence[Row], axes: Mapping[str, Sequence[Any]]) -> tuple[Spec, Spec]:
    present = {point["group"] for point in points}
    domain = [one for one in map(label, axes[by]) if one in present] if by else ["all"]
    return keyed(domain, by)


def keyed(domain: Sequence[str], title: str | None) -> tuple[Spec, Spec]:
    """A colour and a shape for each group, in one legend."""
    longest = max(map(len, domain), default=0)
    legend = {"title": title, "columns": 4 if longest <= 22 else 2 if longest > 40 else 3, "symbolOpacity": 1,
              "symbolStrokeWidth": 2} if len(domain) > 1 else None
    return tuple({"field": "group", "type": "nominal",
                  "scale": {"domain": domain, "range": cycle(values, len(domain))}, "legend": legend}
                 for values in (PALETTE, SHAPES))  # pyright: ignore[reportReturnType]


def banded(points: Sequence[Row], x: Spec, y: Spec, colour: Spec, shape: Spec,
           tips: Sequence[tuple[str, str]]) -> list[Spec]:
    """Lines with a band and their points."""
    panel = (("panel", "panel"),) if "panel" in points[0] else ()
    shown = (("group", "of"), *panel, ("kept_told", "weights remaining"), *tips, ("n", "seeds"))
    return in_a_band(x, y, colour, shape, [{"field": key, "title": title} for key, title in shown])


def in_a_band(x: Spec, y: Spec, colour: Spec, shape: Spec, tips: Sequence[Spec]) -> list[Spec]:
    """A group's curve in a band from `lo` to `hi`, its points to be pointed at; the legend picks groups."""
    return [
        {"mark": {"type": "area", "aria": False},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour,
                      "opacity": {"condition": {"param": "picked", "value": 0.16}, "value": 0.02}}},
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
         "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 34}, "encoding": {
            "x": x, "y": y, "color": colour, "shape": shape, "opacity": FADED, "description": {"field": "told"},
            "tooltip": list(tips)}},
    ]


def unit(metric: str) -> tuple[float, str, str]:
    """Scale, unit and name of a metric as it is shown: accuracies in %."""
    told = NAMES.get(metric) or metric.removeprefix("early_").replace("_", " ")
    return (100, " (%)", told) if metric.endswith(SHARES) or metric == "alive_units" else (1, "", told)


def seeds(points: Sequence[Row]) -> str:
    found = sorted({point["n"] for point in points})
    if len(found) > 1:
        return f"Mean of {found[0]} to {found[-1]} seeds"
    return f"Mean of {found[0]} seeds" if found[0] > 1 else "One seed"


def cycle(values: Sequence[str], count: int) -> list[str]:
    return [values[place % len(values)] for place in range(count)]


def ramp(count: int) -> list[str]:
    """Cold to warm from dense to sparse, on white and on black."""
    stops = ("#3a5fc0", "#1a8a94", "#5c9c3c", "#bf971c", "#ec8a4e", "#e0609a")
    return [stops[round(place * (len(stops) - 1) / max(1, count - 1))] for place in range(count)]


def percent(value: float) -> str:
    """3 digits that mean something: 100 %, 51.2 %, 3.52 %."""
    return f"{value:.3g} %"
