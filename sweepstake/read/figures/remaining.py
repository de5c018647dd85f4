"""What each round left."""

from typing import Any

from sweepstake.base.specs import figure_kind
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures.contract import Data, Drawn, FigureKind
from sweepstake.read.figures.style import FADED, PALETTE, PICKED, SHAPES, SHORT, Spec, cycle, percent


@figure_kind("weights_remaining")
class WeightsRemaining(FigureKind):
    """What each round left; where all groups keep alike, a line a layer instead (ours)."""

    says = "what is left after each round"

    def draw(self, data: Data) -> Drawn | None:
        points = [{"group": one[data.by] if data.by else "all", **({"panel": one[data.panel]} if data.panel else {}),
                   "round": one["round"], "kept": 100 * one["kept_fraction"]}
                  for one in analysis.summarise(data.rows, data.over, "kept_fraction", intervals=False)]
        if not points:
            return None
        lines = _merged(points)
        if len(lines) == 1 and not data.panel:
            points = _by_layer([row for row in data.rows if row["id"] == data.rows[0]["id"]])
            lines = _merged(points)
        points = [{**point, "group": name, "kept_told": percent(point["kept"]),
                   "told": f"{name}, round {point['round']}: {percent(point['kept'])} of weights remaining"}
                  for point in points for name, members in lines.items() if point["group"] == members[0]]
        alike = " Every layer keeps the same share." if len(lines) == 1 and not data.panel else ""
        return Drawn(points, _marks(points, list(lines)), "Weights remaining after each round",
                     f"Round 0 trains the whole network; each later round first prunes.{alike}", data.panels)


def _by_layer(rounds: list[Row]) -> list[Row]:
    """What one cell keeps of its whole network and of each layer."""
    first = rounds[0]
    layers = [key for key in first if key.startswith("kept.") and first[key]]
    return [{"group": name, "round": row["round"], "kept": kept} for row in rounds for name, kept in
            [("whole network", 100 * row["kept_fraction"]),
             *((key.removeprefix("kept."), 100 * row[key] / first[key]) for key in layers)]]


def _merged(points: list[Row]) -> dict[str, list[str]]:
    """Name of a line -> the groups that follow it: lines that coincide are one, with both names."""
    paths: dict[str, tuple[Any, ...]] = {}
    for point in points:
        at = (point.get("panel"), point["round"], round(point["kept"], 1))
        paths[point["group"]] = (*paths.get(point["group"], ()), at)
    alike: dict[tuple[Any, ...], list[str]] = {}
    for group, path in paths.items():
        alike.setdefault(path, []).append(group)
    return {", ".join(members) if len(members) < 4 else f"{members[0]} and {len(members) - 1} others": members
            for members in alike.values()}


def _marks(points: list[Row], lines: list[str]) -> list[Spec]:
    legend = {"title": None, "columns": 4, "symbolOpacity": 1} if len(lines) > 1 else None
    colour, shape = ({"field": "group", "type": "nominal",
                      "scale": {"domain": lines, "range": cycle(values, len(lines))}, "legend": legend}
                     for values in (PALETTE, SHAPES))
    ticks = [level * 100 for level in analysis.levels((point["kept"] / 100 for point in points), 8)]
    x = {"field": "round", "type": "quantitative", "title": "round",
         "axis": {"tickMinStep": 1, "format": "d", "grid": False}, "scale": {"nice": False}}
    y = {"field": "kept", "type": "quantitative", "title": "weights remaining (%)",
         "scale": {"type": "log", "nice": False}, "axis": {"values": ticks, "labelExpr": SHORT}}
    return [{"mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
             "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
            {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 45}, "encoding": {
                "x": x, "y": y, "color": colour, "shape": shape, "opacity": FADED, "description": {"field": "told"},
                "tooltip": [
                    {"field": "group", "title": "of"}, {"field": "round", "title": "round"},
                    {"field": "kept_told", "title": "weights remaining"}]}}]
