"""Learning curves: a metric over the steps of a round, a line a kept level, the band its standard deviation."""

from collections.abc import Sequence

from sweepstake.base.specs import FigureSpec, figure_kind
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures.contract import Data, Drawn, FigureKind
from sweepstake.read.figures.style import FADED, PICKED, Spec, percent, ramp, seeds, settings, unit

EARLY = 0.05
"""The share of a round's steps that may lie outside the picture, so that the rest can be told apart."""
MOST = 6
"""So many rounds are shown where the figure does not say which."""


@figure_kind("learning_curves")
class LearningCurves(FigureKind):
    """How networks of each kept level learn (Frankle & Carbin 2019, fig. 3)."""

    says = "the metric over the steps of a round, a line a kept level"
    of_curves = True

    def column(self, figure: FigureSpec) -> str | None:
        return figure.metric

    def by_default(self, rows: Sequence[Row]) -> bool:
        return True

    def draw(self, data: Data) -> Drawn | None:
        points = _points(data)
        if not points:
            return None
        _, unit_, told = unit(data.figure.metric)
        late = [point for point in points if point["step"] >= EARLY * max(point["step"] for point in points)]
        low, high = min(point["lo"] for point in late), max(point["hi"] for point in late)
        room = 0.05 * (high - low)
        y = {"field": "mean", "type": "quantitative", "title": f"{told}{unit_}",
             "scale": {"domain": [low - room, high + room], "nice": False} if room else {"zero": False}}
        band = "; band: standard deviation over seeds" if points[0]["n"] > 1 else ""
        out = any(point["mean"] < low or point["mean"] > high for point in points)
        begin = f" Parts of the first {100 * EARLY:.0f} % of the steps lie outside." if out else ""
        return Drawn(points, _marks(points, y, told, data.over), f"Learning curves: {told}",
                     f"{seeds(points)}{band}.{begin}", settings(data.over, data.axes))


def _points(data: Data) -> list[Row]:
    """The mean over seeds at each step of the rounds shown, a group a kept level."""
    metric, panels = data.figure.metric, data.over
    rows = [row for row in data.curves if row.get(metric) is not None]
    scale, unit_, told = unit(metric)
    points = list[Row]()
    for round_ in _shown(sorted({row["round"] for row in rows}), data.figure.every):
        for one in analysis.summarise([row for row in rows if row["round"] == round_], panels, metric, key="step",
                                      intervals=False):
            if one["mean"] is None:
                continue
            spread, kept = one["std"] or 0.0, percent(100 * one["kept_fraction"])
            points.append({
                "round": round_, "step": one["step"], "mean": one["mean"] * scale, "lo": (one["mean"] - spread) * scale,
                "hi": (one["mean"] + spread) * scale, "kept_told": kept, "n": one["n"],
                **({"panel": ", ".join(one[axis] for axis in panels)} if panels else {}),
                "told": f"{kept} of weights remaining, step {one['step']:,}: "
                        f"{told} {one['mean'] * scale:.4g}{' %' * bool(unit_)}"})
    names = {point["round"]: point["kept_told"] for point in points}
    for point in points:
        point["group"] = names[point["round"]]
    return points


def _shown(rounds: list[int], every: int | None) -> list[int]:
    """Every n-th round; or else a few, the first and the last among them."""
    if every:
        return rounds[::every]
    if len(rounds) <= MOST:
        return rounds
    return sorted({rounds[round(place * (len(rounds) - 1) / (MOST - 1))] for place in range(MOST)})


def _marks(points: list[Row], y: Spec, told: str, panels: list[str]) -> list[Spec]:
    """Lines with bands, and points that are not seen but can be pointed at."""
    domain = list(dict.fromkeys(point["group"] for point in sorted(points, key=lambda point: point["round"])))
    colour = {"field": "group", "type": "nominal", "scale": {"domain": domain, "range": ramp(len(domain))},
              "legend": {"title": "weights remaining", "columns": 6, "symbolType": "stroke", "symbolStrokeWidth": 3,
                         "symbolOpacity": 1}}
    x = {"field": "step", "type": "quantitative", "title": "training step of the round",
         "axis": {"format": "~s", "grid": False, "tickCount": 6}, "scale": {"nice": False}}
    return [
        {"mark": {"type": "area", "aria": False, "clip": True},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "color": colour,
                      "opacity": {"condition": {"param": "picked", "value": 0.14}, "value": 0.02}}},
        {"mark": {"type": "line", "strokeWidth": 1.8, "aria": False, "clip": True},
         "encoding": {"x": x, "y": y, "color": colour, "opacity": FADED}},
        {"params": [PICKED], "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0, "clip": True},
         "encoding": {
            "x": x, "y": y, "color": colour, "opacity": {"value": 0}, "description": {"field": "told"}, "tooltip": [
                *([{"field": "panel", "title": ", ".join(panels)}] if panels else []),
                {"field": "group", "title": "weights remaining"}, {"field": "step", "title": "step", "format": ","},
                {"field": "mean", "title": told, "format": ".4~g"}, {"field": "n", "title": "seeds"}]}},
    ]
