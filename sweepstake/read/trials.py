"""A search read back: its trials as a table and a figure, and what was found."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from sweepstake.read import figures
from sweepstake.study.search import in_words, sign

SHOWN = 10
"""Trials in the table: the best ones."""


def section(searched: Mapping[str, Any]) -> dict[str, Any]:
    """What the page tells of a search: how far it is, and its best trials."""
    scale, digits = (100, 2) if searched["metric"].endswith("accuracy") else (1, 4)
    numbered = list(enumerate(searched["trials"], 1))
    better = sorted((each for each in numbered if each[1]["value"] is not None),
                    key=lambda each: -sign(searched["metric"]) * each[1]["value"])
    knobs = list(searched["trials"][0]["params"]) if numbered else []
    rows = [(number, f"{trial['value'] * scale:.{digits}f}", [_told(trial["params"][knob]) for knob in knobs])
            for number, trial in better[:SHOWN]]
    lost = len(numbered) - len(better)
    seeds = ", ".join(map(str, searched["seeds"]))
    kept = " and ".join(figures.percent(100 * level) for level in searched["kept"] or ())
    at = f" at {kept} of the weights" if kept else ""
    over = f"{'seeds' if len(searched['seeds']) > 1 else 'seed'} {seeds}"
    without = f" {lost} without a value: a cell failed or diverged." if lost else ""
    what = (f"A trial is worth its {_metric(searched)}{at}, mean over {over}. "
            f"No seed of the study took part, and no test image.{without}")
    return {"says": in_words(searched), "what": what,
            "knobs": knobs, "rows": rows, "more": len(better) - len(rows)}


def drawn(searched: Mapping[str, Any]) -> figures.Spec | None:
    """Each trial's value in the order they were tried, and the best so far; None without two values."""
    scale = 100 if searched["metric"].endswith("accuracy") else 1
    worth = [(number, trial) for number, trial in enumerate(searched["trials"], 1) if trial["value"] is not None]
    if len(worth) < 2:
        return None
    best = accumulate((trial["value"] for _, trial in worth), max if sign(searched["metric"]) > 0 else min)
    points = [{"trial": number, "value": trial["value"] * scale, "best": so_far * scale,
               "told": (f"trial {number}: {trial['value'] * scale:.2f}; "
                        + ", ".join(f"{k} {_told(v)}" for k, v in trial["params"].items()))}
              for (number, trial), so_far in zip(worth, best, strict=True)]
    title, subtitle = "The search, trial by trial", [f"Points: a trial's {_metric(searched)}; line: the best so far."]
    x = {"field": "trial", "type": "quantitative", "title": "trial", "axis": {"tickMinStep": 1}}
    unit = " (%)" if scale == 100 else ""
    y = {"type": "quantitative", "title": f"{_metric(searched)}{unit}", "scale": {"zero": False}}
    layers = [
        {"mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.6, "color": figures.PALETTE[0],
                  "aria": False},
         "encoding": {"x": x, "y": {**y, "field": "best"}}},
        {"mark": {"type": "point", "filled": True, "size": 45, "color": figures.PALETTE[1]},
         "encoding": {"x": x, "y": {**y, "field": "value"}, "description": {"field": "told"},
                      "tooltip": {"field": "told", "title": "trial"}}},
    ]
    return figures.framed(title, subtitle, points,
                          {"width": figures.WIDTH, "height": figures.HEIGHT - 60, "layer": layers})


def _metric(searched: Mapping[str, Any]) -> str:
    return str(searched["metric"]).replace("_", " ")


def _told(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
