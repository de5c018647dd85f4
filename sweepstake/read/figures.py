"""Rows become pictures: Vega-Lite specs as plain dicts, the same one for the page (interactive) and for papers (SVG, PDF)."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from sweepstake.base.specs import FigureSpec, label
from sweepstake.read import analysis
from sweepstake.read.analysis import Row

Spec = dict[str, Any]

VEGALITE = "6.4"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fa3", "#767676")
"""Okabe & Ito (2008), for every kind of colour vision; yellow and black replaced so that it reads on white and on black."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
ERRORS = {"std": "standard deviation over seeds", "ci": "95 % bootstrap interval of the mean", "range": "minimum to maximum over seeds"}
NAMES = {"early_step": "early-stop step"}
WIDTH, HEIGHT = 560, 300
SHORT = "datum.value >= 99.95 ? '100' : datum.value >= 0.995 ? format(datum.value, '.1f') : format(datum.value, '.2~g')"
PICKED: Spec = {"name": "picked", "select": {"type": "point", "fields": ["group"]}, "bind": "legend"}
FADED: Spec = {"condition": {"param": "picked", "value": 1}, "value": 0.12}
CONFIG: Spec = {
    "font": "system-ui, 'DejaVu Sans', Arial, sans-serif", "background": "white", "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.5, "tickSize": 4, "titlePadding": 8},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "orient": "top", "labelLimit": 260, "symbolSize": 70},
    "header": {"labelFontSize": 12, "labelFontWeight": 600}, "title": {"fontSize": 14, "subtitleFontSize": 11, "anchor": "start",
                                                                       "offset": 10},
}


def default_figures(rows: Sequence[Row]) -> list[FigureSpec]:
    """What a study shows that names no figure of its own."""
    kinds = ["accuracy_by_kept", "learning_curves", *(["early_stop_by_kept"] if any(row["early_step"] is not None for row in rows) else [])]
    return [FigureSpec(kind=kind) for kind in kinds]  # pyright: ignore[reportArgumentType]


class Drawn(NamedTuple):
    """The parts of a figure, before it is laid out alone or in panels."""

    points: list[Row]
    layers: list[Spec]
    title: str
    subtitle: str


def draw(figure: FigureSpec, rows: Sequence[Row], curves: Sequence[Row], axes: Mapping[str, Sequence[Any]]) -> Spec | None:
    """The Vega-Lite spec of one figure; None when there is nothing to draw yet."""
    by, panel = _axes_of(figure, axes)
    kept = [row for row in analysis.chosen(rows, figure.where) if row["status"] != "failed"]
    if figure.kind == "learning_curves":
        drawn = _learning_curves(figure, analysis.chosen(curves, figure.where), [axis for axis in (by, panel) if axis])
    elif figure.kind == "weights_remaining":
        drawn = _weights_remaining(kept, by, panel, axes)
    else:
        drawn = _by_kept(figure, kept, by, panel, axes)
    if drawn is None:
        return None
    pooled = [axis for axis in axes if axis not in (by, panel) and len({row[axis] for row in kept}) > 1]
    title = figure.title or drawn.title
    subtitle = [drawn.subtitle, *([f"Averaged over {' and '.join(pooled)}."] if pooled else [])]
    body: Spec = {"width": WIDTH, "height": HEIGHT, "layer": drawn.layers}
    present = {point["panel"] for point in drawn.points if "panel" in point}
    if present:
        over = [axis for axis in (by, panel) if axis] if figure.kind == "learning_curves" else [panel]
        labels = [one for one in (", ".join(map(label, setting)) for setting in product(*(axes[axis] for axis in over if axis)))
                  if one in present]
        body = {"facet": {"field": "panel", "type": "nominal", "title": None, "sort": labels},
                "columns": 2, "spec": {"width": (WIDTH - 40) // 2, "height": HEIGHT - 80, "layer": drawn.layers}}
    return {"$schema": f"https://vega.github.io/schema/vega-lite/v{VEGALITE.split('.')[0]}.json", "config": CONFIG, "padding": 6,
            "title": {"text": title, "subtitle": subtitle}, "description": f"{title}. {' '.join(subtitle)}",
            "data": {"values": drawn.points}, **body}


def _axes_of(figure: FigureSpec, axes: Mapping[str, Sequence[Any]]) -> tuple[str | None, str | None]:
    names = [name for name in axes if name != figure.panel]
    by = figure.by or (names[0] if names else None)
    rest = [name for name in axes if name != by]
    fixed = {axis for axis, said in figure.where.items() if not isinstance(said, list) or len(said) == 1}
    panel = figure.panel or next((axis for axis in rest if axis not in fixed), None)
    return by, panel


def _by_kept(figure: FigureSpec, rows: list[Row], by: str | None, panel: str | None, axes: Mapping[str, Sequence[Any]]) -> Drawn | None:
    """A metric against weights remaining, dense on the left: the lottery-ticket papers' figure (Frankle & Carbin 2019, fig. 3)."""
    metric = "early_step" if figure.kind == "early_stop_by_kept" else analysis.column(figure.metric, figure.at)
    summary = [one for one in analysis.summarise(rows, [axis for axis in (by, panel) if axis], metric) if one["mean"] is not None]
    if not summary:
        return None
    scale, unit, told = _unit(metric)
    points = [_point(one, by, panel, figure.error, scale, told) for one in summary if one["round"] % (figure.every or 1) == 0]
    _dodge(points, axes[by] if by else ["all"])
    low, high = min(point["lo"] for point in points), max(point["hi"] for point in points)
    pad = max((high - low) * 0.04, 1e-9)
    y = {"field": "mean", "type": "quantitative", "title": f"{told}{unit}" + (" at early stop" if figure.at == "early" else ""),
         "scale": {"zero": False, "domain": [low - pad, high + pad]}, "axis": {"tickCount": 6}}
    x = _kept_axis([point["kept"] for point in points])
    colour, shape = _colours(by, points, axes)
    layers: list[Spec] = [
        {"transform": [{"filter": "datum.round === 0 && datum.kept >= 100"}],
         "mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1, "aria": False},
         "encoding": {"y": y, "color": colour, "opacity": {"condition": {"param": "picked", "value": 0.65}, "value": 0.05}}},
        {"mark": {"type": "rule", "strokeWidth": 1.2, "aria": False},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour, "opacity": FADED}},
        *[{"mark": {"type": "tick", "orient": "horizontal", "size": 6, "thickness": 1.2, "aria": False},
           "encoding": {"x": x, "y": {**y, "field": end}, "color": colour, "opacity": FADED}} for end in ("lo", "hi")],
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False}, "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED],
         "mark": {"type": "point", "filled": True, "size": 55}, "encoding": {
             "x": x, "y": y, "color": colour, "shape": shape, "opacity": FADED, "description": {"field": "told"},
             "tooltip": [{"field": key, "title": title} for key, title in _TIPS if key != "told" and (by or key != "group")
                         and (panel or key != "panel")]}},
    ]
    lost = max((point["diverged"] for point in points), default=0)
    bars = f"; bars: {ERRORS[figure.error]}" if points[0]["n"] > 1 else ""
    left_out = f" Diverged cells are left out (up to {lost} a point)." if lost else ""
    dense = "; dashed: the dense network" if any(point["round"] == 0 and point["kept"] >= 100 for point in points) else ""
    subtitle = f"{_seeds(points)}{bars}{dense}.{left_out}"
    title = f"{told[0].upper()}{told[1:]} against weights remaining"
    return Drawn(points, layers, title, subtitle)


_TIPS = (("group", "group"), ("panel", "panel"), ("kept_told", "weights remaining"), ("round", "round"), ("mean_told", "mean"),
         ("std_told", "standard deviation"),
         ("interval_told", "95 % interval"), ("range_told", "minimum to maximum"), ("n", "seeds"), ("diverged", "diverged"))


def _point(one: Row, by: str | None, panel: str | None, error: str, scale: float, told: str) -> Row:
    def show(value: float | None) -> str:
        return "-" if value is None else f"{value * scale:.2f} %" if scale == 100 else f"{value:.4g}"

    middle = one["mean"]
    low, high = {"std": (middle - (one["std"] or 0), middle + (one["std"] or 0)), "ci": (one["low"], one["high"]),
                 "range": (one["min"], one["max"])}[error]
    kept = 100 * one["kept_fraction"]
    group = one[by] if by else "all"
    return {
        "group": group, **({"panel": one[panel]} if panel else {}), "round": one["round"], "kept": kept, "mean": middle * scale,
        "lo": (middle if low is None else low) * scale, "hi": (middle if high is None else high) * scale, "n": one["n"],
        "diverged": one["diverged"],
        "kept_told": percent(kept), "mean_told": show(middle), "std_told": show(one["std"]),
        "interval_told": f"{show(one['low'])} to {show(one['high'])}",
        "range_told": f"{show(one['min'])} to {show(one['max'])}",
        "told": f"{f'{group}, ' if by else ''}{percent(kept)} of weights remaining: {told} {show(middle)}, "
                f"standard deviation {show(one['std'])}, {one['n']} seeds",
    }


def _dodge(points: list[Row], labels: Sequence[Any]) -> None:
    """Move the groups apart by up to 3 % of x, so that error bars at one level do not hide each other."""
    place = {label(one): number for number, one in enumerate(labels)}
    step = min(0.012, 0.06 / max(1, len(labels) - 1))
    for point in points:
        point["x"] = point["kept"] * (1 + step * ((len(labels) - 1) / 2 - place.get(point["group"], 0)))


def _kept_axis(kept: Sequence[float], most: int = 9) -> Spec:
    """Weights remaining: log scale, dense on the left, labelled in % at levels that were measured."""
    ticks = [level * 100 for level in analysis.levels((k / 100 for k in kept), most)]
    smallest = min(min(kept), 99.0)
    return {"field": "x", "type": "quantitative", "title": "weights remaining (%)",
            "scale": {"type": "log", "reverse": True, "domain": [smallest * 0.93, max(*kept, 100) * 1.06], "nice": False},
            "axis": {"values": ticks, "labelExpr": SHORT, "labelOverlap": "greedy", "grid": False}}


def _colours(by: str | None, points: Sequence[Row], axes: Mapping[str, Sequence[Any]]) -> tuple[Spec, Spec]:
    present = {point["group"] for point in points}
    domain = [one for one in map(label, axes[by]) if one in present] if by else ["all"]
    legend = {"title": by, "columns": 4, "symbolOpacity": 1, "symbolStrokeWidth": 2} if len(domain) > 1 else None

    return tuple({"field": "group", "type": "nominal", "scale": {"domain": domain, "range": _cycle(values, len(domain))}, "legend": legend}
                 for values in (PALETTE, SHAPES))  # pyright: ignore[reportReturnType]


def _learning_curves(figure: FigureSpec, curves: list[Row], panels: list[str]) -> Drawn | None:
    """A metric over the steps of a round, a line a kept level, the band its standard deviation (Frankle & Carbin 2019, fig. 3)."""
    rows = [row for row in curves if row["status"] != "failed" and row.get(figure.metric) is not None]
    if not rows:
        return None
    rounds = sorted({row["round"] for row in rows})
    shown = rounds[::figure.every] if figure.every else [rounds[round(place * (len(rounds) - 1) / 5)]
                                                         for place in range(6)] if len(rounds) > 6 else rounds
    scale, unit, told = _unit(figure.metric)
    means: list[Row] = []
    for round_ in sorted(set(shown)):
        for one in analysis.summarise([row for row in rows if row["round"] == round_], panels, figure.metric, key="step"):
            if one["mean"] is not None:
                spread, kept = one["std"] or 0.0, percent(100 * one["kept_fraction"])
                means.append({"round": round_, "step": one["step"], "mean": one["mean"] * scale, "lo": (one["mean"] - spread) * scale,
                              "hi": (one["mean"] + spread) * scale, "kept_told": kept, "n": one["n"],
                              **({"panel": ", ".join(one[axis] for axis in panels)} if panels else {}),
                              "told": f"{kept} of weights remaining, step {one['step']:,}: "
                                      f"{told} {one['mean'] * scale:.4g}{' %' * bool(unit)}"})
    if not means:
        return None
    names = {point["round"]: f"{point['kept_told']}" for point in means}
    for point in means:
        point["group"] = names[point["round"]]
    domain = list(dict.fromkeys(names[round_] for round_ in sorted(names)))
    colour = {"field": "group", "type": "nominal", "scale": {"domain": domain, "range": _ramp(len(domain))},
              "legend": {"title": "weights remaining", "columns": 6, "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}}
    x = {"field": "step", "type": "quantitative", "title": "training step of the round",
         "axis": {"format": "~s", "grid": False, "tickCount": 6},
         "scale": {"nice": False}}
    y = {"field": "mean", "type": "quantitative", "title": f"{told}{unit}", "scale": {"zero": False}}
    layers: list[Spec] = [
        {"mark": {"type": "area", "aria": False}, "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour,
                                                               "opacity": {
            "condition": {"param": "picked", "value": 0.14}, "value": 0.02}}},
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False}, "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0}, "encoding": {
            "x": x, "y": y, "color": colour, "opacity": {"value": 0}, "description": {"field": "told"}, "tooltip": [
                *([{"field": "panel", "title": ", ".join(panels)}] if panels else []), {"field": "group", "title": "weights remaining"},
                {"field": "step", "title": "step", "format": ","},
                {"field": "mean", "title": told, "format": ".4~g"}, {"field": "n", "title": "seeds"}]}},
    ]
    band = "; band: standard deviation over seeds" if means[0]["n"] > 1 else ""
    return Drawn(means, layers, f"Learning curves: {told}", f"{_seeds(means)}{band}.")


def _weights_remaining(rows: list[Row], by: str | None, panel: str | None, axes: Mapping[str, Sequence[Any]]) -> Drawn | None:
    """What each round left; where all groups keep alike, a line a layer instead. Lines that coincide are one, with both names."""
    points = [{"group": one[by] if by else "all", **({"panel": one[panel]} if panel else {}), "round": one["round"],
               "kept": 100 * one["kept_fraction"]}
              for one in analysis.summarise(rows, [axis for axis in (by, panel) if axis], "kept_fraction")]
    if not points:
        return None
    lines = _merged(points)
    if len(lines) == 1 and not panel:
        first = [row for row in rows if row["id"] == rows[0]["id"]]
        layers = [key for key in first[0] if key.startswith("kept.") and first[0][key]]
        points = [{"group": name, "round": row["round"], "kept": kept} for row in first for name, kept in
                  [("whole network", 100 * row["kept_fraction"]), *((key[5:], 100 * row[key] / first[0][key]) for key in layers)]]
        lines = _merged(points)
    points = [{**point, "group": name, "kept_told": percent(point["kept"]),
               "told": f"{name}, round {point['round']}: {percent(point['kept'])} of weights remaining"}
              for point in points for name, members in lines.items() if point["group"] == members[0]]
    legend = {"title": None, "columns": 4, "symbolOpacity": 1} if len(lines) > 1 else None
    colour = {"field": "group", "type": "nominal", "scale": {"domain": list(lines), "range": _cycle(PALETTE, len(lines))}, "legend": legend}
    shape = {"field": "group", "type": "nominal", "scale": {"domain": list(lines), "range": _cycle(SHAPES, len(lines))}, "legend": legend}
    ticks = [level * 100 for level in analysis.levels((point["kept"] / 100 for point in points), 8)]
    x = {"field": "round", "type": "quantitative", "title": "round", "axis": {"tickMinStep": 1, "format": "d", "grid": False},
         "scale": {"nice": False}}
    y = {"field": "kept", "type": "quantitative", "title": "weights remaining (%)", "scale": {"type": "log", "nice": False},
         "axis": {"values": ticks, "labelExpr": SHORT}}
    layers = [{"mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
               "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
              {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 45}, "encoding": {
                  "x": x, "y": y, "color": colour, "shape": shape, "opacity": FADED, "description": {"field": "told"}, "tooltip": [
                      {"field": "group", "title": "of"}, {"field": "round", "title": "round"},
                      {"field": "kept_told", "title": "weights remaining"}]}}]
    alike = " Every layer keeps the same share." if len(lines) == 1 and not panel else ""
    subtitle = f"Round 0 trains the whole network; each later round first prunes.{alike}"
    return Drawn(points, layers, "Weights remaining after each round", subtitle)


def _merged(points: list[Row]) -> dict[str, list[str]]:
    """Name of a line -> the groups that follow it."""
    paths: dict[str, tuple[Any, ...]] = {}
    for point in points:
        paths[point["group"]] = (*paths.get(point["group"], ()), (point.get("panel"), point["round"], round(point["kept"], 1)))
    alike: dict[tuple[Any, ...], list[str]] = {}
    for group, path in paths.items():
        alike.setdefault(path, []).append(group)
    return {", ".join(members) if len(members) < 4 else f"{members[0]} and {len(members) - 1} others": members
            for members in alike.values()}


def _unit(metric: str) -> tuple[float, str, str]:
    """Scale, unit and name of a metric as it is shown: accuracies in %."""
    told = NAMES.get(metric) or metric.removeprefix("early_").replace("_", " ")
    return (100, " (%)", told) if metric.endswith("accuracy") else (1, "", told)


def _seeds(points: Sequence[Row]) -> str:
    found = sorted({point["n"] for point in points})
    return f"Mean of {found[0]} to {found[-1]} seeds" if len(found) > 1 else f"Mean of {found[0]} seeds" if found[0] > 1 else "One seed"


def _cycle(values: Sequence[str], count: int) -> list[str]:
    return [values[place % len(values)] for place in range(count)]


def _ramp(count: int) -> list[str]:
    """Cold to warm from dense to sparse, on white and on black."""
    stops = ("#3a5fc0", "#1a8a94", "#5c9c3c", "#bf971c", "#ec8a4e", "#e0609a")
    return [stops[round(place * (len(stops) - 1) / max(1, count - 1))] for place in range(count)]


def percent(value: float) -> str:
    """3 digits that mean something: 100 %, 51.2 %, 3.52 %."""
    return f"{value:.3g} %"


def to_svg(spec: Spec, path: Path | str | None = None) -> str:
    """The figure as SVG; written to the path if one is given."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE, allowed_base_urls=[])
    if path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


def to_pdf(spec: Spec, path: Path | str) -> Path:
    """The figure as a PDF for papers: text stays text."""
    import vl_convert

    Path(path).write_bytes(vl_convert.vegalite_to_pdf(spec, vl_version=VEGALITE, allowed_base_urls=[]))
    return Path(path)


def to_png(spec: Spec, path: Path | str, scale: float = 2.0) -> Path:
    """The figure as a bitmap."""
    import vl_convert

    Path(path).write_bytes(vl_convert.vegalite_to_png(spec, vl_version=VEGALITE, scale=scale, allowed_base_urls=[]))
    return Path(path)
