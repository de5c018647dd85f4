"""Results become rows: plain columns, one row per cell and round, and what they come to over seeds."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec, Where, label, labels_of
from sweepstake.base.text import visible
from sweepstake.read import statistics
from sweepstake.run.files import write_whole

Row = dict[str, Any]

SPLITS, MEASURES = ("train", "validation", "test"), ("loss", "accuracy")
SAME_LEVEL = 0.02
"""Kept fractions that differ by no more than this, relatively, are one level."""


class PlannedLike(Protocol):
    """A cell of a study, with its place in it."""

    @property
    def id(self) -> str: ...
    @property
    def cell(self) -> Cell: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


class StudyLike(Protocol):
    """What reading needs to know of a study; never changed here."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def quick(self) -> bool: ...
    @property
    def overrides(self) -> Sequence[str]: ...
    @property
    def axes(self) -> Mapping[str, Sequence[Any]]: ...
    @property
    def planned(self) -> Sequence[PlannedLike]: ...
    @property
    def figures(self) -> Sequence[FigureSpec]: ...
    @property
    def claims(self) -> Sequence[ClaimSpec]: ...


def tidy(results: Iterable[Mapping[str, Any]], timing: bool = False) -> list[Row]:
    """One row per cell and round.

    Seconds only with `timing`: without them the table is the same bytes however the run went.
    """
    rows = [_row(result, record, timing) for result in results for record in result["rounds"]]
    return _even(rows)


def _row(result: Mapping[str, Any], record: Mapping[str, Any], timing: bool) -> Row:
    row = {**_who(result), "round": record["round"], "kept_fraction": record["kept_fraction"], "kept": record["kept"]}
    row |= {f"kept.{layer}": count for layer, count in record["kept_by_layer"].items()}
    row |= {f"size.{layer}": count for layer, count in record["size_by_layer"].items()}
    units, alive = record.get("units_by_layer", {}), record["alive_units"]
    row |= {"alive_units": _alive_share(units, alive), **{f"units.{layer}": count for layer, count in units.items()}}
    row |= {f"alive_units.{layer}": count for layer, count in alive.items()}
    row |= {f"{way}_degree.{layer}.{what}": number for layer, ways in record.get("degrees", {}).items()
            for way, spread in ways.items() for what, number in spread.items()}
    # A diverged network has an argmax, no accuracy.
    end, early = ({}, {}) if record["diverged"] else (record["end"], record["early"] or {})
    row |= {"steps": record["steps"], **_measured("", end), "early_step": early.get("step")}
    row |= {**_measured("early_", early), "test_top5": record.get("top5", {}).get("test")}
    row |= {"diverged": record["diverged"]}
    if timing:
        row |= {f"seconds.{part}": seconds for part, seconds in record["seconds"].items()}
    return row


def spent(result: Mapping[str, Any]) -> float:
    """Seconds that a cell took on its core, pruning and scoring too.

    Of a stack, which its cells share, those of its own rounds.
    """
    alone = result["provenance"].get("seconds") if result["provenance"].get("engine") != "stacked" else None
    return alone or sum(sum(record["seconds"].values()) for record in result["rounds"])


def _alive_share(units: Mapping[str, int], alive: Mapping[str, int]) -> float | None:
    """The share of hidden units that are alive; the last layer's units are classes."""
    hidden = list(units)[:-1]
    return sum(alive[layer] for layer in hidden) / sum(units[layer] for layer in hidden) if hidden else None


def _who(result: Mapping[str, Any]) -> Row:
    return {"id": result["id"], **{axis: label(one) for axis, one in result["labels"].items()}, "seed": result["seed"],
            "status": result["status"]}


def _measured(prefix: str, splits: Mapping[str, Any]) -> Row:
    return {f"{prefix}{split}_{measure}": _finite((splits.get(split) or {}).get(measure))
            for split in SPLITS for measure in MEASURES}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _even(rows: list[Row]) -> list[Row]:
    """Every row has every column; a layer that only some cells have is empty in the others."""
    if all(row.keys() == rows[0].keys() for row in rows):
        return rows
    columns: list[str] = []
    for keys in {tuple(row): None for row in rows}:
        for place, key in enumerate(keys):
            if key not in columns:
                columns.insert(columns.index(keys[place - 1]) + 1 if place else 0, key)
    return [{column: row.get(column) for column in columns} for row in rows]


def curves(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row per point of every learning curve; the point at which a network diverged is empty."""
    rows: list[Row] = []
    for result in results:
        for record in result["rounds"]:
            curve = record["curve"]
            whole = len(curve["step"]) - record["diverged"]
            for place, step in enumerate(curve["step"]):
                point = {name: _finite(values[place] if place < whole else None) for name, values in curve.items()
                         if name != "step" and place < len(values)}
                rows.append({**_who(result), "round": record["round"], "kept_fraction": record["kept_fraction"],
                             "step": int(step), **point})
    return _even(rows)


def column(metric: str, at: str = "end") -> str:
    """The column that holds a metric at the end of a round or at early stop."""
    return metric if at == "end" or metric in ("early_step", "alive_units") else f"early_{metric}"


def chosen(rows: Iterable[Row], where: Where) -> list[Row]:
    """The rows of the cells that `where` names."""
    wanted = {axis: set(labels_of(said)) for axis, said in where.items()}
    return [row for row in rows if all(label(row.get(axis)) in labels for axis, labels in wanted.items())]


def summarise(rows: Sequence[Row], by: Sequence[str], metric: str = "test_accuracy", key: str = "round") -> list[Row]:
    """Mean, std, min, max and the 95 % bootstrap interval over seeds, per group and round (or per `key`).

    One number a seed: where a group holds several cells of a seed, their mean. Failed cells are left out; diverged ones
    too, from the round they diverged in, and `diverged` counts them.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    lost: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        if row["status"] == "failed":
            continue
        group = tuple(row[axis] for axis in by)
        if row.get("diverged"):
            lost.setdefault(group, []).append(row["round"])
        groups.setdefault((*group, row[key]), []).append(row)
    summary: list[Row] = []
    for (*group, place), members in groups.items():
        seeds: dict[int, list[float]] = {}
        for row in members:
            if not row.get("diverged") and row[metric] is not None:
                seeds.setdefault(row["seed"], []).append(row[metric])
        values = [statistics.mean(seeds[seed]) for seed in sorted(seeds)]
        low, high = statistics.bootstrap_interval(values) or (None, None)
        summary.append({
            **dict(zip(by, group, strict=True)), key: place,
            "kept_fraction": statistics.mean([row["kept_fraction"] for row in members]),
            "metric": metric, "n": len(values),
            "diverged": sum(round_ <= members[0]["round"] for round_ in lost.get(tuple(group), [])),
            "mean": statistics.mean(values) if values else None, "std": statistics.std(values),
            "min": min(values, default=None), "max": max(values, default=None), "low": low, "high": high,
        })
    return summary


def nearest(rows: Iterable[Row], kept: float, tolerance: float = 0.15) -> Row | None:
    """The row whose kept fraction is nearest on a log scale, if it is within the tolerance (relative)."""
    near = min((row for row in rows if row["kept_fraction"] > 0),
               key=lambda row: abs(math.log(row["kept_fraction"] / kept)), default=None)
    return near if near and abs(near["kept_fraction"] / kept - 1) <= tolerance else None


def levels(fractions: Iterable[float], most: int) -> list[float]:
    """At most this many of the kept fractions, evenly on a log scale, the largest and the smallest among them."""
    found: list[float] = []
    for fraction in sorted((f for f in fractions if f > 0), reverse=True):
        if not found or fraction < found[-1] * (1 - SAME_LEVEL):
            found.append(fraction)
    if len(found) <= most:
        return found
    if most < 2:
        return found[-most:] if most else []
    span = math.log(found[-1] / found[0])
    spread = [min(found, key=lambda f: abs(math.log(f / found[0]) - span * place / (most - 1)))
              for place in range(most)]
    return sorted(set(spread), reverse=True)


def to_csv(rows: Sequence[Row]) -> str:
    """Comma-separated, floats to the last bit, an empty field where there is no number."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["id", "seed", "status", "round"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return visible(text.getvalue())


def to_json(rows: Sequence[Row]) -> str:
    """A JSON list of rows, one a line."""
    return visible("[\n" + ",\n".join(msgspec.json.encode(row).decode() for row in rows) + "\n]\n")


def to_parquet(rows: Sequence[Row], path: Path | str) -> Path:
    """One Parquet file (needs pyarrow)."""
    try:
        import pyarrow as pa  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet as parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("parquet: pyarrow is not installed. "
                        "`pip install sweepstake[frames]`, or use --format csv or json.") from None
    whole = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows)), whole)
    write_whole(Path(path), whole.getvalue())
    return Path(path)


def frame(rows: Sequence[Row]) -> Any:
    """The rows as a pandas DataFrame (needs pandas)."""
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("frame: pandas is not installed. "
                        "`pip install sweepstake[frames]`; the rows themselves are plain dicts.") from None
    return pandas.DataFrame(list(rows))
