"""What pruning does to each layer, and to its units, against weights remaining."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

from sweepstake.base.specs import figure_kind
from sweepstake.read import analysis, statistics
from sweepstake.read.analysis import Row
from sweepstake.read.figures.contract import Data, Drawn, FigureKind
from sweepstake.read.figures.style import (
    ERRORS,
    GREY,
    SHORT,
    banded,
    colours,
    kept_axis,
    keyed,
    percent,
    seeds,
    settings,
)

WHOLE = "whole network"
Value = Callable[[Row], float | None]


@figure_kind("layer_density")
class LayerDensity(FigureKind):
    """What each layer keeps: where a shared ranking makes bottlenecks (ours)."""

    says = "what each layer keeps against what the whole network keeps"

    def draw(self, data: Data) -> Drawn | None:
        points, error = list[Row](), data.figure.error
        layers = [layer for layer in _layers(data.rows, "kept.") if f"size.{layer}" in data.rows[0]]
        shares: dict[str, Value] = {layer: _share(f"kept.{layer}", f"size.{layer}") for layer in layers}
        for layer, share in {WHOLE: lambda row: 100 * row["kept_fraction"], **shares}.items():
            for at, values in _each(data, share):
                if (mean := statistics.mean(values)) <= 0:
                    continue
                low, high = _bar(values, error) if layer != WHOLE else (mean, mean)
                points.append({**at, "group": layer, "mean": mean, "lo": max(low, mean / 10), "hi": high,
                               "mean_told": percent(mean),
                               **({"panel": ", ".join(at[axis] for axis in data.over)} if data.over else {}),
                               "told": f"{layer}, {at['kept_told']} of all weights remaining: "
                                       f"{percent(mean)} of its own"})
        if not points:
            return None
        colour, shape = keyed([*layers, WHOLE], None)
        colour["scale"]["range"][-1] = GREY
        ticks = [level * 100 for level in analysis.levels((point["mean"] / 100 for point in points), 8)]
        y = {"field": "mean", "type": "quantitative", "title": "kept of the layer (%)",
             "scale": {"type": "log", "nice": False},
             "axis": {"values": ticks, "labelExpr": SHORT, "labelOverlap": "greedy"}}
        return Drawn(points, banded(points, _x(points, data), y, colour, shape, [("mean_told", "of its own")]),
                     "What each layer keeps against weights remaining",
                     f"{seeds(points)}{_band(points, data)}; grey: the whole network.", settings(data.over, data.axes))


@figure_kind("unit_degrees")
class UnitDegrees(FigureKind):
    """Live weights into a unit and out of what a layer reads: the median unit and the middle half (ours)."""

    says = "live weights into and out of a unit, by layer"

    def draw(self, data: Data) -> Drawn | None:
        ways, points = {"in": "into each unit", "out": "out of each input"}, list[Row]()
        columns = [key for key in _layers(data.rows, "in_degree.") if key.endswith(".median")]
        layers = list(dict.fromkeys(key.split(".median")[0] for key in columns))
        for (way, told), layer in product(ways.items(), layers):
            low, median, high = ([(at, statistics.mean(values)) for at, values in _each(
                data, lambda row, key=f"{way}_degree.{layer}.{what}": row[key])] for what in ("q1", "median", "q3"))
            points += [{**at, "group": layer, "mean": middle, "lo": lo, "hi": hi, "mean_told": f"{middle:.4g}",
                        "half_told": f"{lo:.4g} to {hi:.4g}",
                        "panel": ", ".join([*(at[axis] for axis in data.over), told]),
                        "told": f"{layer}, {at['kept_told']} of weights remaining: "
                                f"median {middle:.4g} live weights {told}"}
                       for (at, middle), (_, lo), (_, hi) in zip(median, low, high, strict=True)]
        if not points:
            return None
        colour, shape = keyed(layers, "layer")
        most = max(point["hi"] for point in points)
        ticks = [0, *(base * 10**power for power in range(9) for base in (1, 3) if base * 10**power <= most)]
        y = {"field": "mean", "type": "quantitative", "title": "live weights",
             "scale": {"type": "symlog", "nice": False}, "axis": {"values": ticks, "format": "~s"}}
        tips = [("mean_told", "median"), ("half_told", "quartiles")]
        return Drawn(points, banded(points, _x(points, data), y, colour, shape, tips),
                     "In- and out-degree of units against weights remaining",
                     f"{seeds(points)}; the median over a layer's units, or over its inputs, the dead too; "
                     "band: the quartiles.",
                     _joined(settings(data.over, data.axes), list(ways.values())))


@figure_kind("alive_units")
class AliveUnits(FigureKind):
    """How many whole units are left (ours)."""

    says = "the share of each hidden layer's units alive, a panel a layer"

    def draw(self, data: Data) -> Drawn | None:
        points, layers, by, panel = list[Row](), _layers(data.rows, "units."), data.by, data.panel
        for layer in layers:
            hidden = [row for row in data.rows if layer in _layers([row], "units.")[:-1]]
            for at, values in _each(data._replace(rows=hidden), _share(f"alive_units.{layer}", f"units.{layer}")):
                (low, high), mean = _bar(values, data.figure.error), statistics.mean(values)
                group = at[by] if by else "all"
                points.append({**at, "group": group, "mean": mean, "lo": max(0.0, low), "hi": min(100.0, high),
                               "mean_told": percent(mean), "panel": ", ".join([*([at[panel]] if panel else []), layer]),
                               "told": f"{f'{group}, ' if by else ''}{layer}, {at['kept_told']} of weights remaining: "
                                       f"{percent(mean)} alive"})
        if not points:
            return None
        colour, shape = colours(by, points, data.axes)
        y = {"field": "mean", "type": "quantitative", "title": "units alive (%)",
             "scale": {"domain": [0, 104], "nice": False}, "axis": {"values": [0, 20, 40, 60, 80, 100]}}
        return Drawn(points, banded(points, _x(points, data), y, colour, shape, [("mean_told", "units alive")]),
                     "Units alive against weights remaining", f"{seeds(points)}{_band(points, data)}.",
                     _joined(data.panels, layers))


def _layers(rows: Sequence[Row], prefix: str) -> list[str]:
    """The layers that rows have a column of, in the network's order."""
    return [key.removeprefix(prefix) for key in (rows[0] if rows else ())
            if key.startswith(prefix) and any(row[key] is not None for row in rows)]


def _each(data: Data, value: Value) -> Iterator[tuple[Row, list[float]]]:
    """Of each setting and round shown: where it stands, and the values, one a seed. Diverged rounds are left out."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in data.rows:
        if not row["diverged"] and value(row) is not None:
            groups.setdefault((*(row[axis] for axis in data.over), row["round"]), []).append(row)
    for (*setting, round_), members in groups.items():
        if not data.shows(round_):
            continue
        by_seed: dict[int, list[float]] = {}
        for row in members:
            by_seed.setdefault(row["seed"], []).append(value(row) or 0.0)
        kept = 100 * statistics.mean([row["kept_fraction"] for row in members])
        at = {**dict(zip(data.over, setting, strict=True)), "round": round_, "kept": kept, "x": kept,
              "kept_told": percent(kept), "n": len(by_seed)}
        yield at, [statistics.mean(by_seed[seed]) for seed in sorted(by_seed)]


def _share(part: str, whole: str) -> Value:
    """One column in % of another; None in a cell that has no such layer."""
    return lambda row: None if row[whole] is None else 100 * row[part] / row[whole]


def _bar(values: Sequence[float], error: str) -> tuple[float, float]:
    """From where to where the band goes."""
    middle, std = statistics.mean(values), statistics.std(values) or 0.0
    if error == "std":
        return middle - std, middle + std
    return (min(values), max(values)) if error == "range" else statistics.bootstrap_interval(values) or (middle, middle)


def _band(points: Sequence[Row], data: Data) -> str:
    return f"; band: {ERRORS[data.figure.error]}" if points[0]["n"] > 1 else ""


def _x(points: Sequence[Row], data: Data) -> dict[str, Any]:
    return kept_axis([point["kept"] for point in points], data.figure.x, 6)


def _joined(settings: Sequence[str], parts: Sequence[str]) -> list[str]:
    """The panels of each setting and part."""
    return [", ".join(one for one in (setting, part) if one) for setting in settings for part in parts]
