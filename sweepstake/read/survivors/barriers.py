"""Error barriers over weights remaining, drawn."""

from collections.abc import Sequence

from sweepstake.read.analysis import Row
from sweepstake.read.figures import Drawn, Spec, framed, laid_out, percent
from sweepstake.read.figures.style import GREY, in_a_band, kept_axis, keyed
from sweepstake.tickets.analysis.connectivity import STABLE

SPLITS = {"test": "test error", "train": "training error", "validation": "validation error"}


def drawn(summary: Sequence[Row]) -> Spec:
    """A line a setting, and apart what is not one ticket; a panel a split; dashed: below this a pair is stable."""
    settings = list(dict.fromkeys(row["setting"] for row in summary))
    points = [_point(row, row["of"] if len(settings) == 1 else f"{row['setting']}: {row['of']}") for row in summary]
    names = list(dict.fromkeys(point["group"] for point in points))
    counts = sorted({point["n"] for point in points})
    span = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    pairs = "One pair" if span == "1" else f"Mean of {span} pairs"
    band = "; band: least to most" if counts[-1] > 1 else ""
    title = "Error barrier between two trainings in other orders of the data"
    return framed(title, [f"{pairs} a point{band}; dashed: two points, below which a pair is stable.",
                          "Barrier: the largest error on the line, less the mean of its two ends'."], points,
                  laid_out(Drawn(points, _marks(points, names), title, "", list(SPLITS.values()))))


def _point(row: Row, group: str) -> Row:
    kept, panel, mean = 100 * row["kept_fraction"], SPLITS[row["split"]], 100 * row["barrier"]
    return {"group": group, "panel": panel, "round": row["round"], "n": row["n"], "x": kept, "mean": mean,
            "lo": 100 * row["least"], "hi": 100 * row["most"], "kept_told": percent(kept),
            "mean_told": f"{mean:.2f} points", "stable": 100 * STABLE,
            "told": f"{group}, {panel}, {percent(kept)} of weights remaining: barrier {mean:.2f} points, "
                    f"{row['n']} pairs"}


def _marks(points: Sequence[Row], names: Sequence[str]) -> list[Spec]:
    x, (colour, shape) = kept_axis([point["x"] for point in points], "log", 6), keyed(names, None)
    if len(names) == 1:
        colour, shape = ({**each, "legend": {"title": None, "symbolOpacity": 1}} for each in (colour, shape))
    y = {"field": "mean", "type": "quantitative", "title": "error barrier (points)", "axis": {"tickCount": 6},
         "scale": {"zero": True, "nice": True}}
    tips = [{"field": key, "title": title} for key, title in (
        ("group", "of"), ("panel", "split"), ("round", "round"), ("kept_told", "weights remaining"),
        ("mean_told", "barrier"), ("n", "pairs"))]
    return [
        {"mark": {"type": "rule", "strokeDash": [5, 4], "strokeWidth": 1.4, "color": GREY, "aria": False},
         "encoding": {"y": {**y, "field": "stable", "aggregate": "mean"}}},
        *in_a_band(x, y, colour, shape, tips),
    ]
