"""Rows become pictures: Vega-Lite specs as plain dicts, the same one for the page (interactive) and for papers (SVG, PDF)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from sweepstake.base.specs import FigureSpec, label
from sweepstake.base.text import all_visible
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import PlannedLike, Row
from sweepstake.run.files import write_text, write_whole

Spec = dict[str, Any]

VEGALITE = "6.4"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b4fa3", "#767676")
"""Okabe & Ito (2008), for every kind of colour vision; yellow and black replaced so that it reads on white and on black."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
ERRORS = {"std": "standard deviation over seeds", "ci": "95 % bootstrap interval of the mean", "range": "minimum to maximum over seeds"}
NAMES = {"early_step": "early-stop step", "alive_units": "hidden units alive"}
GREY = "#767676"
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
    panels: Sequence[str] = ()
    """The panels in their order, where they are not the settings of the axes."""
    columns: int = 2
    shared: bool = True
    """Whether the panels have one scale."""


def draw(figure: FigureSpec, rows: Sequence[Row], curves: Sequence[Row], axes: Mapping[str, Sequence[Any]],
         planned: Sequence[PlannedLike] = ()) -> Spec | None:
    """The Vega-Lite spec of one figure; None when there is nothing to draw yet."""
    by, panel = _axes_of(figure, axes)
    kept = [row for row in analysis.chosen(rows, figure.where) if row["status"] != "failed"]
    if figure.kind == "learning_curves":
        drawn = _learning_curves(figure, analysis.chosen(curves, figure.where), [axis for axis in (by, panel) if axis])
    elif figure.kind == "weights_remaining":
        drawn = _weights_remaining(kept, by, panel, axes)
    elif figure.kind == "init_density":
        kept, drawn = [], _init_density(figure, planned, axes)
    elif figure.kind == "alive_units":
        drawn = _alive_units(figure, kept, by, panel, axes)
    elif figure.kind in ("layer_density", "unit_degrees"):
        drawn = (_layer_density if figure.kind == "layer_density" else _unit_degrees)(figure, kept, [axis for axis in (by, panel) if axis], axes)
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
        over = [axis for axis in (by, panel) if axis] if figure.kind == "learning_curves" else [axis for axis in (panel,) if axis]
        labels = [one for one in drawn.panels or _settings(over, axes) if one in present]
        wide = min(drawn.columns, len(labels))
        body = {"facet": {"field": "panel", "type": "nominal", "title": None, "sort": labels},
                "columns": wide, "spec": {"width": WIDTH // wide - 20 * (wide > 1) - 10 * (wide > 2), "height": HEIGHT - 80,
                                          "layer": drawn.layers},
                **({} if drawn.shared else {"resolve": {"scale": {"x": "independent", "y": "independent"}}})}
    return framed(title, subtitle, drawn.points, body)


def framed(title: str, subtitle: list[str], points: Sequence[Row], body: Spec) -> Spec:
    """What every figure has around its marks. Whatever a store holds, a figure is text that can be drawn."""
    return all_visible({"$schema": f"https://vega.github.io/schema/vega-lite/v{VEGALITE.split('.')[0]}.json", "config": CONFIG, "padding": 6,
            "title": {"text": title, "subtitle": subtitle}, "description": f"{title}. {' '.join(subtitle)}",
            "data": {"values": points}, **body})


def _settings(over: Sequence[str], axes: Mapping[str, Sequence[Any]]) -> list[str]:
    """The names of all settings of some axes, in the study's order."""
    return [", ".join(map(label, setting)) for setting in product(*(axes[axis] for axis in over))]


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
    every = analysis.summarise(rows, [axis for axis in (by, panel) if axis], metric)
    summary = [one for one in every if one["mean"] is not None]
    if not summary:
        return None
    scale, unit, told = _unit(metric)
    points = [_point(one, by, panel, figure.error, scale, told) for one in summary if one["round"] % (figure.every or 1) == 0]
    _dodge(points, axes[by] if by else ["all"], figure.x)
    low, high = min(point["lo"] for point in points), max(point["hi"] for point in points)
    pad = max((high - low) * 0.04, 1e-9)
    y = {"field": "mean", "type": "quantitative", "title": f"{told}{unit}" + (" at early stop" if figure.at == "early" else ""),
         "scale": {"zero": False, "domain": [low - pad, high + pad]}, "axis": {"tickCount": 6}}
    x = _kept_axis([point["kept"] for point in points], figure.x)
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
    lost = max(one["diverged"] for one in every)  # A group that diverged whole has no point.
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


def _dodge(points: list[Row], labels: Sequence[Any], scale: str) -> None:
    """Move the groups apart by up to 3 % of x, so that error bars at one level do not hide each other."""
    place = {label(one): number for number, one in enumerate(labels)}
    step = min(0.012, 0.06 / max(1, len(labels) - 1))
    for point in points:
        aside = step * ((len(labels) - 1) / 2 - place.get(point["group"], 0))
        point["x"] = point["kept"] * (1 + aside) if scale == "log" else point["kept"] + 0.25 * aside * _span(points)


def _span(points: Sequence[Row]) -> float:
    """How far a linear axis goes from 100 % down: to 0, but where most weights always stay only a little below the fewest."""
    fewest = min((point["kept"] for point in points), default=0)
    return 100 if fewest < 50 else max(1.05 * (100 - fewest), 1)


def _kept_axis(kept: Sequence[float], scale: str, most: int = 9) -> Spec:
    """Weights remaining, dense on the left; on the log scale labelled in % at levels that were measured."""
    x = {"field": "x", "type": "quantitative", "title": "weights remaining (%)"}
    if scale == "linear":
        least = 100 - _span([{"kept": one} for one in kept])
        return {**x, "scale": {"reverse": True, "domain": [least, 100 + 0.02 * (100 - least)], "nice": False},
                "axis": {"tickCount": 10, "labelOverlap": "greedy", "labelSeparation": 5, "grid": False}}
    ticks = [level * 100 for level in analysis.levels((k / 100 for k in kept), most)]
    smallest = min(min(kept), 99.0)
    return {**x, "scale": {"type": "log", "reverse": True, "domain": [smallest * 0.93, max(*kept, 100) * 1.06], "nice": False},
            "axis": {"values": ticks, "labelExpr": SHORT, "labelOverlap": "greedy", "labelSeparation": 5, "grid": False}}


def _colours(by: str | None, points: Sequence[Row], axes: Mapping[str, Sequence[Any]]) -> tuple[Spec, Spec]:
    present = {point["group"] for point in points}
    domain = [one for one in map(label, axes[by]) if one in present] if by else ["all"]
    return _keyed(domain, by)


def _keyed(domain: Sequence[str], title: str | None) -> tuple[Spec, Spec]:
    """A colour and a shape for each group, in one legend."""
    longest = max(map(len, domain), default=0)
    legend = {"title": title, "columns": 4 if longest <= 22 else 2 if longest > 40 else 3, "symbolOpacity": 1,
              "symbolStrokeWidth": 2} if len(domain) > 1 else None
    return tuple({"field": "group", "type": "nominal", "scale": {"domain": domain, "range": _cycle(values, len(domain))}, "legend": legend}
                 for values in (PALETTE, SHAPES))  # pyright: ignore[reportReturnType]


EARLY = 0.05
"""The share of a round's steps that may lie outside the picture, so that the rest can be told apart."""


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
    late = [point for point in means if point["step"] >= EARLY * max(point["step"] for point in means)]
    span = [min(point["lo"] for point in late), max(point["hi"] for point in late)]
    room = 0.05 * (span[1] - span[0])
    y = {"field": "mean", "type": "quantitative", "title": f"{told}{unit}",
         "scale": {"domain": [span[0] - room, span[1] + room], "nice": False} if room else {"zero": False}}
    out = any(point["mean"] < span[0] or point["mean"] > span[1] for point in means)
    layers: list[Spec] = [
        {"mark": {"type": "area", "aria": False, "clip": True},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour,
                      "opacity": {"condition": {"param": "picked", "value": 0.14}, "value": 0.02}}},
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False, "clip": True}, "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0, "clip": True}, "encoding": {
            "x": x, "y": y, "color": colour, "opacity": {"value": 0}, "description": {"field": "told"}, "tooltip": [
                *([{"field": "panel", "title": ", ".join(panels)}] if panels else []), {"field": "group", "title": "weights remaining"},
                {"field": "step", "title": "step", "format": ","},
                {"field": "mean", "title": told, "format": ".4~g"}, {"field": "n", "title": "seeds"}]}},
    ]
    band = "; band: standard deviation over seeds" if means[0]["n"] > 1 else ""
    begin = f" Parts of the first {100 * EARLY:.0f} % of the steps lie outside." if out else ""
    return Drawn(means, layers, f"Learning curves: {told}", f"{_seeds(means)}{band}.{begin}")


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


def _layers(rows: Sequence[Row], prefix: str) -> list[str]:
    """The layers that rows have a column of, in the network's order."""
    return [key.removeprefix(prefix) for key in rows[0] if key.startswith(prefix) and any(row[key] is not None for row in rows)] if rows else []


def _each(rows: Sequence[Row], over: Sequence[str], value: Callable[[Row], float | None]) -> Iterator[tuple[Row, list[float]]]:
    """Of each setting and round: where it stands, and the values, one a seed. Diverged rounds are left out."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if not row["diverged"] and value(row) is not None:
            groups.setdefault((*(row[axis] for axis in over), row["round"]), []).append(row)
    for (*setting, round_), members in groups.items():
        seeds: dict[int, list[float]] = {}
        for row in members:
            seeds.setdefault(row["seed"], []).append(value(row) or 0.0)
        kept = 100 * statistics.mean([row["kept_fraction"] for row in members])
        yield ({**dict(zip(over, setting, strict=True)), "round": round_, "kept": kept, "x": kept, "kept_told": percent(kept), "n": len(seeds)},
               [statistics.mean(seeds[seed]) for seed in sorted(seeds)])


def _share(part: str, whole: str) -> Callable[[Row], float | None]:
    """One column in % of another; None in a cell that has no such layer."""
    return lambda row: None if row[whole] is None else 100 * row[part] / row[whole]


def _bar(values: Sequence[float], error: str) -> tuple[float, float]:
    middle = statistics.mean(values)
    if error == "std":
        return middle - (statistics.std(values) or 0.0), middle + (statistics.std(values) or 0.0)
    return (min(values), max(values)) if error == "range" else statistics.bootstrap_interval(values) or (middle, middle)


def _banded(points: Sequence[Row], x: Spec, y: Spec, colour: Spec, shape: Spec, tips: Sequence[tuple[str, str]]) -> list[Spec]:
    """Lines with a band and their points."""
    return [
        {"mark": {"type": "area", "aria": False}, "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour,
                                                               "opacity": {"condition": {"param": "picked", "value": 0.16}, "value": 0.02}}},
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False}, "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 34}, "encoding": {
            "x": x, "y": y, "color": colour, "shape": shape, "opacity": FADED, "description": {"field": "told"},
            "tooltip": [{"field": key, "title": title} for key, title in
                        (("group", "of"), *((("panel", "panel"),) if "panel" in points[0] else ()), ("kept_told", "weights remaining"), *tips,
                         ("n", "seeds"))]}},
    ]


def _layer_density(figure: FigureSpec, rows: list[Row], over: list[str], axes: Mapping[str, Sequence[Any]]) -> Drawn | None:
    """What each layer keeps against what the whole network keeps: where a shared ranking makes bottlenecks."""
    points, whole = list[Row](), "whole network"
    layers = [layer for layer in _layers(rows, "kept.") if f"size.{layer}" in rows[0]]
    shares: dict[str, Callable[[Row], float | None]] = {layer: _share(f"kept.{layer}", f"size.{layer}") for layer in layers}
    for layer, share in {whole: lambda row: 100 * row["kept_fraction"], **shares}.items():
        for at, values in _each(rows, over, share):
            if at["round"] % (figure.every or 1) == 0 and (mean := statistics.mean(values)) > 0:
                low, high = _bar(values, figure.error) if layer != whole else (mean, mean)
                points.append({**at, "group": layer, "mean": mean, "lo": max(low, mean / 10), "hi": high, "mean_told": percent(mean),
                               **({"panel": ", ".join(at[axis] for axis in over)} if over else {}),
                               "told": f"{layer}, {at['kept_told']} of all weights remaining: {percent(mean)} of its own"})
    if not points:
        return None
    colour, shape = _keyed([*layers, whole], None)
    colour["scale"]["range"][-1] = GREY
    ticks = [level * 100 for level in analysis.levels((point["mean"] / 100 for point in points), 8)]
    y = {"field": "mean", "type": "quantitative", "title": "kept of the layer (%)", "scale": {"type": "log", "nice": False},
         "axis": {"values": ticks, "labelExpr": SHORT, "labelOverlap": "greedy"}}
    band = f"; band: {ERRORS[figure.error]}" if points[0]["n"] > 1 else ""
    return Drawn(points, _banded(points, _kept_axis([point["kept"] for point in points], figure.x, 6), y, colour, shape,
                                 [("mean_told", "of its own")]),
                 "What each layer keeps against weights remaining", f"{_seeds(points)}{band}; grey: the whole network.", _settings(over, axes))


def _unit_degrees(figure: FigureSpec, rows: list[Row], over: list[str], axes: Mapping[str, Sequence[Any]]) -> Drawn | None:
    """Live weights into a unit and out of what a layer reads: the median unit, and the band of the middle half."""
    points, layers = list[Row](), list(dict.fromkeys(key.split(".median")[0] for key in _layers(rows, "in_degree.") if key.endswith(".median")))
    ways = {"in": "into each unit", "out": "out of each input"}
    for (way, told), layer in product(ways.items(), layers):
        low, median, high = ([(at, statistics.mean(values)) for at, values in _each(
            rows, over, lambda row, key=f"{way}_degree.{layer}.{what}": row[key])] for what in ("q1", "median", "q3"))
        points += [{**at, "group": layer, "mean": middle, "lo": lo, "hi": hi, "mean_told": f"{middle:.4g}", "half_told": f"{lo:.4g} to {hi:.4g}",
                    "panel": ", ".join([*(at[axis] for axis in over), told]),
                    "told": f"{layer}, {at['kept_told']} of weights remaining: median {middle:.4g} live weights {told}"}
                   for (at, middle), (_, lo), (_, hi) in zip(median, low, high, strict=True) if at["round"] % (figure.every or 1) == 0]
    if not points:
        return None
    colour, shape = _keyed(layers, "layer")
    most = max(point["hi"] for point in points)
    ticks = [0, *(base * 10**power for power in range(9) for base in (1, 3) if base * 10**power <= most)]
    y = {"field": "mean", "type": "quantitative", "title": "live weights", "scale": {"type": "symlog", "nice": False},
         "axis": {"values": ticks, "format": "~s"}}
    panels = [", ".join(one for one in (setting, told) if one) for setting in _settings(over, axes) for told in ways.values()]
    return Drawn(points, _banded(points, _kept_axis([point["kept"] for point in points], figure.x, 6), y, colour, shape,
                                 [("mean_told", "median"), ("half_told", "quartiles")]),
                 "In- and out-degree of units against weights remaining",
                 f"{_seeds(points)}; the median over a layer's units, or over its inputs, the dead too; band: the quartiles.", panels)


def _alive_units(figure: FigureSpec, rows: list[Row], by: str | None, panel: str | None, axes: Mapping[str, Sequence[Any]]) -> Drawn | None:
    """How many whole units are left, a panel a hidden layer."""
    points, layers = list[Row](), _layers(rows, "units.")
    over = [axis for axis in (by, panel) if axis]
    for layer in layers:
        hidden = [row for row in rows if layer in _layers([row], "units.")[:-1]]
        for at, values in _each(hidden, over, _share(f"alive_units.{layer}", f"units.{layer}")):
            if at["round"] % (figure.every or 1) == 0:
                (low, high), mean, group = _bar(values, figure.error), statistics.mean(values), at[by] if by else "all"
                points.append({**at, "group": group, "mean": mean, "lo": max(0.0, low), "hi": min(100.0, high), "mean_told": percent(mean),
                               "panel": ", ".join([*([at[panel]] if panel else []), layer]),
                               "told": f"{f'{group}, ' if by else ''}{layer}, {at['kept_told']} of weights remaining: {percent(mean)} alive"})
    if not points:
        return None
    colour, shape = _colours(by, points, axes)
    y = {"field": "mean", "type": "quantitative", "title": "units alive (%)", "scale": {"domain": [0, 104], "nice": False},
         "axis": {"values": [0, 20, 40, 60, 80, 100]}}
    panels = [", ".join(one for one in (setting, layer) if one) for setting in _settings([panel] if panel else [], axes) for layer in layers]
    band = f"; band: {ERRORS[figure.error]}" if points[0]["n"] > 1 else ""
    return Drawn(points, _banded(points, _kept_axis([point["kept"] for point in points], figure.x, 6), y, colour, shape,
                                 [("mean_told", "units alive")]),
                 "Units alive against weights remaining", f"{_seeds(points)}{band}.", panels)


def _init_density(figure: FigureSpec, planned: Sequence[PlannedLike], axes: Mapping[str, Sequence[Any]]) -> Drawn | None:
    """How the weights of each init are distributed, a panel a layer (Wijnja et al. 2020, fig. 1)."""
    from sweepstake.read.densities import densities

    by = figure.by or ("init" if "init" in axes else next(iter(axes), None))
    cells = {row[by] if by else "all": row["cell"] for row in reversed(
        analysis.chosen([{**one.labels, "cell": one.cell} for one in planned], figure.where))}
    points = [{"group": group, "panel": layer, "place": place, "weight": weight, "density": density, "told": f"{group}, {layer}"}
              for group, cell in reversed(cells.items()) for layer, found in densities(cell).items() for place, (weight, density) in enumerate(found)]
    if not points:
        return None
    layers = list(dict.fromkeys(point["panel"] for point in points))
    colour, _ = _colours(by, points, axes)
    if colour["legend"]:
        colour["legend"] |= {"symbolType": "stroke", "symbolStrokeWidth": 3}
    x = {"field": "weight", "type": "quantitative", "title": "initial weight", "scale": {"nice": False}, "axis": {"tickCount": 3, "grid": False}}
    y = {"field": "density", "type": "quantitative", "title": "density", "axis": {"tickCount": 4}}
    mark = {"type": "line", "strokeWidth": 1.6, "strokeJoin": "round"}
    lines = [{"params": [PICKED], "mark": mark, "encoding": {"x": x, "y": y, "order": {"field": "place"}, "color": colour, "opacity": FADED,
                                                             "description": {"field": "told"}}}]
    return Drawn(points, lines, "How initial weights are distributed in each layer",
                 "The density of a weight before training; its outermost thousandth is not drawn.", layers, 3, shared=False)


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
    return (100, " (%)", told) if metric.endswith("accuracy") or metric == "alive_units" else (1, "", told)


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
        write_text(Path(path), svg)
    return svg


def to_pdf(spec: Spec, path: Path | str) -> Path:
    """The figure as a PDF for papers: text stays text."""
    import vl_convert

    write_whole(Path(path), vl_convert.vegalite_to_pdf(spec, vl_version=VEGALITE, allowed_base_urls=[]))
    return Path(path)


def to_png(spec: Spec, path: Path | str, scale: float = 2.0) -> Path:
    """The figure as a bitmap."""
    import vl_convert

    write_whole(Path(path), vl_convert.vegalite_to_png(spec, vl_version=VEGALITE, scale=scale, allowed_base_urls=[]))
    return Path(path)
