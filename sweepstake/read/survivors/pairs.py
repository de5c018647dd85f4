"""Shares against chance: rows of pairs of tickets come to one line a kind of pair, and are drawn."""

from collections.abc import Sequence

from sweepstake.read import statistics
from sweepstake.read.analysis import Row
from sweepstake.read.figures import Drawn, Spec, framed, laid_out, percent
from sweepstake.read.figures.style import GREY, SHORT, in_a_band, kept_axis, keyed
from sweepstake.tickets.analysis.overlap import WHOLE

BY = ("pair", "round", "layer")


def summarise(rows: Sequence[Row], measure: str, *also: str) -> list[Row]:
    """Of each kind of pair, round and layer: the mean share, its least and most, chance's, the mean z, and others."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        if row[measure] is not None:
            groups.setdefault((row["pair"], row["round"], row["layer"]), []).append(row)
    return [{**dict(zip(BY, group, strict=True)), **_summary(members, measure, also)}
            for group, members in groups.items()]


def _summary(members: Sequence[Row], measure: str, also: Sequence[str]) -> Row:
    values, zs = [row[measure] for row in members], [row["z"] for row in members if row["z"] is not None]
    return {"kept_fraction": statistics.mean([row["kept_fraction"] for row in members]), "n": len(members),
            measure: statistics.mean(values), "least": min(values), "most": max(values),
            "chance": statistics.mean([row["chance"] for row in members]),
            "z": statistics.mean(zs) if zs else None,
            **{column: statistics.mean([row[column] for row in members]) for column in also}}


def drawn(summary: Sequence[Row], measure: str, y: str, title: str, says: str, log: bool = False) -> Spec:
    """A line a kind of pair over weights remaining, a panel a layer; dashed: chance, in the mean over the kinds."""
    points = [_point(row, measure, y) for row in summary]
    layers = list(dict.fromkeys(point["panel"] for point in points))
    panels = [WHOLE, *(layer for layer in layers if layer != WHOLE)]
    told = {"field": "mean", "type": "quantitative", "title": f"{y} (%)", "stack": None, **_scaled(points, log)}
    kinds = list(dict.fromkeys(point["group"] for point in points))
    band = "; band: least to most" if any(point["n"] > 1 for point in points) else ""
    none = " At the lower edge: none." if log and any(point["lo"] <= 0 for point in points) else ""
    chance = f"Mean over pairs{band}; dashed: chance, at the same counts in each layer.{none}"
    return framed(title, [chance, says], points,
                  laid_out(Drawn(points, _marks(points, told, kinds), title, "", panels)))


def _scaled(points: Sequence[Row], log: bool) -> Spec:
    """The axis of the shares, chance's among them."""
    found = [point[key] for point in points for key in ("lo", "hi", "chance")]
    if not log:
        return {"scale": {"zero": False}, "axis": {"tickCount": 5}}
    least = min((one for one in found if one > 0), default=1.0)
    ticks = [step * 10.0**power for power in range(-4, 3) for step in (1, 2, 5)]
    return {"scale": {"type": "log", "domain": [0.93 * least, 105], "nice": False, "clamp": True},
            "axis": {"values": [tick for tick in ticks if least <= tick <= 100], "labelExpr": SHORT}}


def _point(row: Row, measure: str, y: str) -> Row:
    kept, mean = 100 * row["kept_fraction"], 100 * row[measure]
    z = "-" if row["z"] is None else f"{row['z']:.1f}"
    return {"group": row["pair"], "panel": row["layer"], "round": row["round"], "n": row["n"], "x": kept,
            "mean": mean, "lo": 100 * row["least"], "hi": 100 * row["most"], "chance": 100 * row["chance"],
            "kept_told": percent(kept), "mean_told": percent(mean), "chance_told": percent(100 * row["chance"]), "z": z,
            "told": f"{row['pair']}, {row['layer']}, {percent(kept)} of weights remaining: {y} {percent(mean)}, "
                    f"chance {percent(100 * row['chance'])}, z {z}, {row['n']} pairs"}


def _marks(points: Sequence[Row], y: Spec, kinds: Sequence[str]) -> list[Spec]:
    """Chance below, then a band, a line and points for each kind."""
    x, (colour, shape) = kept_axis([point["x"] for point in points], "log", 6), keyed(kinds, None)
    tips = [{"field": key, "title": title} for key, title in (
        ("group", "pair"), ("panel", "layer"), ("round", "round"), ("kept_told", "weights remaining"),
        ("mean_told", "mean"), ("chance_told", "chance"), ("z", "z"), ("n", "pairs"))]
    return [
        {"mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.4, "color": GREY, "aria": False},
         "encoding": {"x": x, "y": {**y, "field": "chance", "aggregate": "mean"}}},
        *in_a_band(x, y, colour, shape, tips),
    ]
