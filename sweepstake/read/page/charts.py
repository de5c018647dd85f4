"""What the page holds of charts: a still and a spec of each figure, and all cells' numbers for views of its own."""

import base64
import gzip
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from sweepstake.read import analysis, figures
from sweepstake.read.analysis import Row
from sweepstake.read.figures.by_level import by_level
from sweepstake.read.figures.style import unit
from sweepstake.run.files import CannotWrite, clear_abandoned, write_whole

Results = Sequence[Mapping[str, Any]]

METRICS = {
    "test_accuracy": ("test accuracy", 100, 0), "test_loss": ("test loss", 1, 0),
    "early_test_accuracy": ("test accuracy at early stop", 100, 0),
    "early_test_error": ("test error at early stop", -100, 100), "early_step": ("steps to early stop", 1, 0),
    "seconds": ("seconds of training", 1, 0),
    "validation_accuracy": ("validation accuracy", 100, 0), "validation_loss": ("validation loss", 1, 0),
    "train_accuracy": ("train accuracy", 100, 0), "train_loss": ("train loss", 1, 0)}
"""What a reader may choose to see: its name, and what a number is multiplied by and what is added to it."""
COLUMNS = {"early_test_error": "early_test_accuracy"}
"""The columns of metrics that are not called as their column."""
FIXED, A_CELL = 300_000, 800
"""Bytes that the stills of a page may take, and as many more a cell."""


class Charts(NamedTuple):
    """What the templates show."""

    figures: list[dict[str, Any]]
    runs: str
    """The numbers of all cells; empty where no figure can show another metric."""
    library: str


def charts(results: Results, rows: Sequence[Row], drawn: Sequence[tuple[str, figures.Spec]], *,
           live: bool = False) -> Charts:
    """The figures with all that draws them. A `live` page has no stills, and can draw before there is a figure."""
    room = 0 if live else (FIXED + A_CELL * len(results)) // max(1, len(drawn))
    keys, shown = [_view_key(spec) for _, spec in drawn], views(drawn)
    known = list(dict.fromkeys(filter(None, keys)))
    made = [{**held(name, spec, room), "view": known.index(key) if key else None}
            for key, (name, spec) in zip(keys, drawn, strict=True)]
    return Charts(made, packed(_runs(results, rows, shown)) if shown else "", _library() if drawn or live else "")


def views(drawn: Sequence[tuple[str, figures.Spec]]) -> list[Mapping[str, Any]]:
    """What each selection of rows was drawn from that can show other metrics, once where several figures share it."""
    return list({key: spec["usermeta"] for _, spec in drawn if (key := _view_key(spec))}.values())


def _view_key(spec: figures.Spec) -> str:
    """What is the same of figures with the same rows in the same groups; empty where one shows no other metric."""
    made = spec.get("usermeta", {})
    if "column" not in made:
        return ""
    return repr([made["kind"] == "accuracy_by_level", *(made[name] for name in ("by", "panel", "where"))])


def packed(value: Any) -> str:
    """JSON, compressed, in letters that may stand in any element of a page."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(value, enc_hook=float), 6, mtime=0)).decode()


def held(name: str, spec: figures.Spec, room: int) -> dict[str, Any]:
    """A figure as the page holds it: still, in so many bytes, and the spec that makes it live."""
    title = spec["title"]  # The page says the title itself, where it can wrap.
    bare = {key: value for key, value in spec.items() if key not in ("title", "$schema")}
    about, clip = " ".join(title["subtitle"]), spec.get("usermeta", {}).get("clip", "")
    return {"name": name, "title": title["text"], "about": about.replace(clip, "").strip() if clip else about,
            "clip": clip, "view": None, "still": _still(name, bare, room), "spec": packed({**bare, "title": title})}


def _still(name: str, spec: figures.Spec, room: int) -> Any:
    """The figure for print and where no script runs: drawn small, as a bitmap where that is smaller, or left out."""
    from markupsafe import Markup

    if not room:
        return ""
    svg = _slim(figures.to_svg(spec), name)
    if len(svg) <= room:
        return Markup(svg)
    tried = (math.inf, 1.0)
    for scale in (1.5, 1.0, 0.6):
        if tried[0] * (scale / tried[1]) ** 2 > room and math.isfinite(tried[0]):
            continue  # With fewer pixels, it shrinks at most as they do.
        image = base64.b64encode(figures.bitmap(spec, scale)).decode()
        if len(image) <= room:
            return Markup('<img alt="" src="data:image/png;base64,{}">').format(image)
        tried = len(image), scale
    return "This figure has too many parts to stand here as a picture: a browser that runs the page's script draws it."


def _slim(svg: str, name: str) -> str:
    """The same picture without what nobody sees: roles of its parts, invisible marks, digits below 0.01 pixels."""
    svg = re.sub(r' (?:aria-[a-z]+|role|class|pointer-events|stroke-miterlimit|xmlns:xlink)="[^"]*"', "", svg)
    svg = re.sub(r'<path[^>]*? (?:opacity="0"|display="none")[^>]*/>', "", svg)
    svg = re.sub(r"font-family=\"[^\"]*\" | opacity=\"1\"", "", svg)
    clips = list(dict.fromkeys(re.findall(r"\bclip\d+", svg)))  # Counted over all that the library ever drew.
    svg = re.sub(r"\bclip\d+", lambda found: f"clip{clips.index(found[0])}", svg)
    svg = re.sub(r'(\bid="|url\(#)', rf"\g<1>{name}-", svg)  # The page holds several, each from 0.
    # A number that is written, a label say, keeps its digits.
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)


def _runs(results: Results, rows: Sequence[Row], views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows as columns, rounded to six digits, and the intervals that the page cannot compute."""
    names = list(dict.fromkeys([*METRICS, *(view["column"] for view in views)]))
    seconds = [record["seconds"].get("train") for result in results for record in result["rounds"]]
    timed = [{**row, "seconds": time, "place": place}
             for place, (row, time) in enumerate(zip(rows, seconds, strict=True))]
    whole = [row for row in timed if row["status"] != "failed"]
    metrics, columns = list[dict[str, Any]](), dict[str, list[float | None]]()
    for name in names:
        column = COLUMNS.get(name, name)
        values = [None if row["diverged"] else row.get(column) for row in whole]
        if all(value is None for value in values):
            continue
        scale, _, said = unit(name)
        told, times, plus = METRICS.get(name, (said, scale, 0))
        metrics.append({"name": name, "column": column, "told": told, "times": times, "plus": plus})
        columns[column] = [None if value is None else short(value) for value in values]
    axes = list(dict.fromkeys(axis for view in views for axis in (view["by"], view["panel"]) if axis))
    labels = {axis: list(dict.fromkeys(row[axis] for row in whole)) for axis in axes}
    return {
        "metrics": metrics, "columns": columns, "labels": labels,
        "axes": {axis: [labels[axis].index(row[axis]) for row in whole] for axis in axes},
        "seed": [row["seed"] for row in whole], "round": [row["round"] for row in whole],
        "kept": [short(row["kept_fraction"]) for row in whole],
        "diverged": [place for place, row in enumerate(whole) if row["diverged"]],
        "views": [_view(view, whole, columns) for view in views]}


def _view(view: Mapping[str, Any], rows: Sequence[Row], columns: Iterable[str]) -> dict[str, Any]:
    """Which rows a figure shows, in which round or level, and its groups' intervals, by the order of first rows."""
    number = {row["place"]: place for place, row in enumerate(rows)}
    shown = analysis.chosen(rows, view["where"])
    if view["kind"] == "accuracy_by_level":
        shown = by_level(shown)
    over = [axis for axis in (view["by"], view["panel"]) if axis]
    intervals = {column: [one and [short(one[0]), short(one[1])] for one in found]
                 for column, found in analysis.intervals(shown, over, list(columns)).items()}
    whole = len(shown) == len(rows)
    return {"rows": None if whole else [number[row["place"]] for row in shown],
            "rounds": [row["round"] for row in shown] if view["kind"] == "accuracy_by_level" else None,
            "intervals": intervals}


def short(value: float) -> float:
    """Six digits: more than any view shows."""
    return float(f"{value:.6g}")


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, packed; in the user's cache, for bundling takes seconds."""
    import vl_convert

    from sweepstake.run.data import user_cache  # With NumPy.

    versions = f"vega-lite-{figures.VEGALITE}-vl-convert-{version('vl-convert-python')}"
    kept = user_cache() / "page" / f"{versions}.js.gz"
    with suppress(OSError, EOFError, ValueError, zlib.error):  # A missing or damaged one is made again.
        found = kept.read_bytes()
        if b"window.vegaEmbed=" in gzip.decompress(found):
            return base64.b64encode(found).decode()
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=figures.VEGALITE)
    made = gzip.compress(bundle.encode(), 9, mtime=0)
    with suppress(OSError, CannotWrite):  # Where nothing can be kept, it is bundled each time.
        kept.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(kept.parent)
        write_whole(kept, made)
    return base64.b64encode(made).decode()
