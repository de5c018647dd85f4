"""Which pixels the tickets of a study still read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sweepstake.base.specs import Where
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures import WIDTH, Spec, framed, percent
from sweepstake.read.survivors.analysis import Analysis
from sweepstake.read.survivors.cells import One, Results, chosen, masks_of
from sweepstake.tickets.analysis.pixels import pixels_read

TOLD = ("setting", "round", "kept_fraction", "cells", "pixels", "dead", "dead_in_all", "least", "most")
MAPS, ACROSS = 8, 4
"""Heat maps of a setting, and how many stand side by side."""
DEAD = "#d55e00"


def surviving_pixels(results: Results, *, where: Where | None = None, round: int | None = None,
                     each_seed: bool = False, data: str | Path | None = None) -> Analysis:
    """How many live weights read each pixel: a row a setting, round and pixel, in the mean over seeds.

    With `each_seed` every seed is a setting of its own. Of a network whose first layer reads an image pixel by pixel.
    """
    cells = chosen("pixels", results, where, round)
    masks = masks_of("pixels", results, cells, data)
    settings: dict[str, list[One]] = {}
    for one in cells:
        said = [each for axis, each in one.place.items() if each_seed or axis != "seed"]
        if each_seed:
            said[-1] = f"seed {said[-1]}"
        settings.setdefault(", ".join(said) or "all", []).append(one)
    rows, summary = list[Row](), list[Row]()
    for setting, members in settings.items():
        for round_ in sorted({round_ for one in members for round_ in one.rounds(round)}):
            here = [one for one in members if one.rounds(round_)]
            at = {"setting": setting, "round": round_, "cells": len(here),
                  "kept_fraction": sum(one.kept_fraction(round_) for one in here) / len(here)}
            each = torch.stack([pixels_read(masks[one.id][round_], masks[one.id].net.inputs) for one in here])
            mean = each.double().mean(0)  # Exactly 0 where no cell reads the pixel.
            rows += [{**at, "row": y, "column": x, "read_by": count}
                     for y, line in enumerate(mean.tolist()) for x, count in enumerate(line)]
            summary.append({**at, "pixels": mean.numel(), "dead": float((each == 0).sum()) / len(here),
                            "dead_in_all": int((mean == 0).sum()), "least": float(mean.min()),
                            "most": float(mean.max())})
    return Analysis("pixels", rows, summary, _drawn(rows), TOLD)


def _drawn(rows: Sequence[Row]) -> Spec:
    """Small multiples: a heat map a round, a row of them a setting, one scale; dead pixels in a colour of their own."""
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    across = ACROSS if len(settings) == 1 else MAPS
    shown = _rounds(rows, MAPS)
    points = [_point(row, shown[row["round"]]) for row in rows if row["round"] in shown]
    height, width = (1 + max(row[key] for row in rows) for key in ("row", "column"))
    live = [point["read_by"] for point in points if point["read_by"]]
    pixel = max(1, (WIDTH / min(across, len(shown)) - 10) // width)
    spec = {"width": pixel * width, "height": pixel * height, "layer": _layers(min(live), max(live))}
    by_round = {"field": "panel", "type": "nominal", "title": None, "sort": list(shown.values())}
    by_setting = {"field": "setting", "type": "nominal", "title": None, "sort": settings,
                  "header": {"labelAngle": 0, "labelAlign": "left", "labelLimit": 160}}
    body = {"facet": by_round, "columns": min(across, len(shown))} if len(settings) == 1 else {
        "facet": {"column": by_round, "row": by_setting}}
    several = max(row["cells"] for row in rows)
    over = f"Mean over {several} cells. " if several > 1 else ""
    return framed("Live weights that read each pixel, by weights remaining",
                  [f"{over}Orange: a dead pixel, which nothing reads. One logarithmic scale for all."], points,
                  {**body, "spacing": 8, "spec": spec})


def _rounds(rows: Sequence[Row], most: int) -> dict[int, str]:
    """The rounds that are shown, each as its panel is called: by what it keeps, where all settings keep as much."""
    kept: dict[int, set[float]] = {}
    for row in rows:
        kept.setdefault(row["round"], set()).add(row["kept_fraction"])
    levels = analysis.levels([max(each) for each in kept.values()], most)
    alike = all(max(each) - min(each) < 1e-3 * max(each) for each in kept.values())
    return {round_: percent(100 * max(each)) if alike else f"round {round_}"
            for round_, each in sorted(kept.items()) if max(each) in levels}


def _point(row: Row, panel: str) -> Row:
    kept = percent(100 * row["kept_fraction"])
    return {"panel": panel, **{key: row[key] for key in ("setting", "row", "column", "read_by", "round")},
            "told": f"{row['setting']}, pixel {row['row']}, {row['column']} at {kept}: read by {row['read_by']:.4g}"}


def _layers(least: float, most: float) -> list[dict[str, Any]]:
    at = {key: {"field": field, "type": "ordinal", "axis": None, "scale": {"paddingInner": 0, "paddingOuter": 0}}
          for key, field in (("x", "column"), ("y", "row"))}
    tips = [{"field": key, "title": title} for key, title in (
        ("round", "round"), ("row", "row"), ("column", "column"), ("read_by", "read by"))]
    colour = {"field": "read_by", "type": "quantitative", "title": "live weights",
              "scale": {"type": "log", "scheme": "blues", "domain": [least, max(most, least * 1.01)], "nice": False},
              "legend": {"orient": "top", "gradientLength": 200}}
    dead = {"transform": [{"filter": "datum.read_by === 0"}], "mark": {"type": "rect", "color": DEAD},
            "encoding": {**at, "tooltip": tips, "description": {"field": "told"}}}
    return [{"transform": [{"filter": "datum.read_by > 0"}], "mark": "rect",
             "encoding": {**at, "color": colour, "tooltip": tips, "description": {"field": "told"}}}, dead]
