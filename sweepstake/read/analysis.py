"""Results become rows: plain columns, one row per cell and round, and what they come to over seeds."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.specs import SAME_LEVEL as SAME_LEVEL
from sweepstake.base.specs import ClaimSpec, FigureSpec, ReferenceSpec, Where, label, labels_of
from sweepstake.base.text import visible
from sweepstake.read import statistics
from sweepstake.run.files import write_whole

if TYPE_CHECKING:
    from pandas import DataFrame

Row = dict[str, Any]

SPLITS, MEASURES = ("train", "validation", "test"), ("loss", "accuracy")
ROUND = ("seed", "status", "round", "kept_fraction", "kept")
_MEASURES = tuple(f"{split}_{measure}" for split in SPLITS for measure in MEASURES)
MEASURED = ("steps", *_MEASURES, "early_step", *(f"early_{name}" for name in _MEASURES), "test_top5", "diverged")


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
    @property
    def references(self) -> Sequence[ReferenceSpec]: ...


def tidy(results: Iterable[Mapping[str, Any]], timing: bool = False) -> list[Row]:
    """One row per cell and round.

    Seconds only with `timing`: without them the table is the same bytes however the run went.
    """
    return Table.of(results, timing).rows


class Table:
    """Tidy rows as they come, each kept as its values alone: a dict a row would take several times the room."""

    def __init__(self, timing: bool = False):
        self.timing = timing
        self._kinds: dict[tuple[str, ...], tuple[str, ...]] = {}
        """The columns of each kind of row, by the names that stand for them."""
        self._rows: list[tuple[tuple[str, ...], tuple[Any, ...]]] = []

    @classmethod
    def of(cls, results: Iterable[Mapping[str, Any]], timing: bool = False) -> Self:
        table = cls(timing)
        for result in results:
            table.add(result)
        return table

    def add(self, result: Mapping[str, Any]) -> None:
        """A row for every round of a cell."""
        for record in result["rounds"]:
            names, values = _named_values(result, record, self.timing)
            columns = self._kinds.get(names) or self._kinds.setdefault(names, tuple(dict.fromkeys(names)))
            if len(columns) != len(names):  # An axis that is called as a column is: the later one stands, in its place.
                values = dict(zip(names, values, strict=True)).values()
            self._rows.append((columns, tuple(values)))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> list[str]:
        """Every row's; a layer that only some cells have stands where theirs has it."""
        return _all_of(self._kinds.values())

    def values(self) -> Iterator[Sequence[Any]]:
        """Each row's values, one a column."""
        columns = tuple(self.columns)
        for names, values in self._rows:
            yield values if names == columns else [*map(dict(zip(names, values, strict=True)).get, columns)]

    def dicts(self) -> Iterator[Row]:
        """Each row by its columns; in its own order, where every row has them all."""
        columns = self.columns
        if all(len(names) == len(columns) for names in self._kinds.values()):
            return (dict(zip(names, values, strict=True)) for names, values in self._rows)
        return (dict(zip(columns, values, strict=True)) for values in self.values())

    @property
    def rows(self) -> list[Row]:
        return list(self.dicts())


def _named_values(result: Mapping[str, Any], record: Mapping[str, Any],
                  timing: bool) -> tuple[tuple[str, ...], Iterable[Any]]:
    """The columns of a round, and what stands in each."""
    units, alive = record.get("units_by_layer", {}), record["alive_units"]
    # A diverged network has an argmax, no accuracy.
    end, early = ({}, {}) if record["diverged"] else (record["end"], record["early"] or {})
    labels = result["labels"]
    names, values = ["id", *labels, *ROUND], [result["id"], *map(label, labels.values())]
    values += result["seed"], result["status"], record["round"], record["kept_fraction"], record["kept"]

    def put(prefix: str, numbers: Mapping[str, Any]) -> None:
        names.extend(_columns(prefix, tuple(numbers)))
        values.extend(numbers.values())

    put("kept.", record["kept_by_layer"])
    put("size.", record["size_by_layer"])
    names.append("alive_units")
    values.append(_alive_share(units, alive))
    put("units.", units)
    put("alive_units.", alive)
    for layer, ways in record.get("degrees", {}).items():
        for way, spread in ways.items():
            put(f"{way}_degree.{layer}.", spread)
    names += MEASURED
    values += record["steps"], *_measured(end), early.get("step"), *_measured(early)
    values += record.get("top5", {}).get("test"), record["diverged"]
    if timing:
        put("seconds.", record["seconds"])
    return tuple(names), values


@cache
def _columns(prefix: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Of a layer's many columns, in every row the same: made once."""
    return tuple(prefix + name for name in names)


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


def _measured(splits: Mapping[str, Any]) -> list[float | None]:
    """Loss and accuracy of each split, empty where there is none."""
    found = list[float | None]()
    for split in SPLITS:
        measured = splits.get(split) or {}
        found += [_finite(measured.get(measure)) for measure in MEASURES]
    return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _even(rows: list[Row]) -> list[Row]:
    """Every row has every column; a layer that only some cells have is empty in the others."""
    if all(row.keys() == rows[0].keys() for row in rows):
        return rows
    columns = _all_of({tuple(row): None for row in rows})
    return [{column: row.get(column) for column in columns} for row in rows]


def _all_of(kinds: Iterable[Sequence[str]]) -> list[str]:
    """The columns of several kinds of rows, each after the one that it follows in its own kind."""
    columns: list[str] = []
    for keys in kinds:
        for place, key in enumerate(keys):
            if key not in columns:
                columns.insert(columns.index(keys[place - 1]) + 1 if place else 0, key)
    return columns


def curves(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row per point of every learning curve; the point at which a network diverged is empty."""
    rows: list[Row] = []
    for result in results:
        who = _who(result)
        for record in result["rounds"]:
            curve = record["curve"]
            whole = len(curve["step"]) - record["diverged"]
            at = {**who, "round": record["round"], "kept_fraction": record["kept_fraction"]}
            measured = {name: [*map(_finite, values[:whole]), *[None] * len(values[whole:])]
                        for name, values in curve.items() if name != "step"}
            for place, step in enumerate(curve["step"]):
                rows.append({**at, "step": int(step), **{name: values[place] for name, values in measured.items()
                                                         if place < len(values)}})
    return _even(rows)


def column(metric: str, at: str = "end") -> str:
    """The column that holds a metric at the end of a round or at early stop."""
    return metric if at == "end" or metric in ("early_step", "alive_units") else f"early_{metric}"


def chosen(rows: Iterable[Row], where: Where) -> list[Row]:
    """The rows of the cells that `where` names."""
    wanted = {axis: set(labels_of(said)) for axis, said in where.items()}
    return [row for row in rows if all(label(row.get(axis)) in labels for axis, labels in wanted.items())]


def summarise(rows: Sequence[Row], by: Sequence[str], metric: str = "test_accuracy", key: str = "round",
              intervals: bool = True) -> list[Row]:
    """Mean, std, min, max and the 95 % bootstrap interval over seeds, per group and round (or per `key`).

    One number a seed: where a group holds several cells of a seed, their mean. Failed cells are left out; diverged ones
    too, from the round they diverged in, and `diverged` counts them. Without `intervals`, which take longest, the
    bootstrap is left out.
    """
    groups = _grouped(rows, by, key)
    lost: dict[tuple[Any, ...], list[int]] = {}
    for (*group, _), members in groups.items():
        lost.setdefault(tuple(group), []).extend(row["round"] for row in members if row.get("diverged"))
    summary, every = list[Row](), list[list[float]]()
    for (*group, place), members in groups.items():
        values = _by_seed(members, metric)
        every.append(values)
        summary.append({
            **dict(zip(by, group, strict=True)), key: place,
            "kept_fraction": statistics.mean([row["kept_fraction"] for row in members]),
            "metric": metric, "n": len(values),
            "diverged": sum(round_ <= members[0]["round"] for round_ in lost.get(tuple(group), [])),
            "mean": statistics.mean(values) if values else None, "std": statistics.std(values),
            "min": min(values, default=None), "max": max(values, default=None), "low": None, "high": None,
        })
    if intervals:
        for one, found in zip(summary, statistics.bootstrap_intervals(every), strict=True):
            one["low"], one["high"] = found or (None, None)
    return summary


def intervals(rows: Sequence[Row], by: Sequence[str], metrics: Sequence[str],
              key: str = "round") -> dict[str, list[statistics.Interval | None]]:
    """The intervals of `summarise`, in its order, of several metrics."""
    groups = _grouped(rows, by, key).values()
    return {metric: statistics.bootstrap_intervals([_by_seed(members, metric) for members in groups])
            for metric in metrics}


def _grouped(rows: Sequence[Row], by: Sequence[str], key: str) -> dict[tuple[Any, ...], list[Row]]:
    """The rows of each group and round, without those of failed cells."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] != "failed":
            groups.setdefault((*[row[axis] for axis in by], row[key]), []).append(row)
    return groups


def _by_seed(members: Sequence[Row], metric: str) -> list[float]:
    """One number a seed: the mean of its cells."""
    seeds: dict[int, list[float]] = {}
    for row in members:
        if row[metric] is not None and not row.get("diverged"):
            seeds.setdefault(row["seed"], []).append(row[metric])
    return [each[0] if len(each) == 1 else statistics.mean(each) for _, each in sorted(seeds.items())]


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


def to_csv(rows: Sequence[Row] | Table) -> str:
    """Comma-separated, floats to the last bit, an empty field where there is no number."""
    if isinstance(rows, Table):
        columns, values = rows.columns, rows.values()
    else:
        columns = list(rows[0]) if rows else []
        values = ([row[column] for column in columns] for row in rows)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns or ["id", "seed", "status", "round"])
    writer.writerows(values)
    return visible(text.getvalue())


def to_json(rows: Sequence[Row] | Table) -> str:
    """A JSON list of rows, one a line."""
    each = rows.dicts() if isinstance(rows, Table) else rows
    return visible("[\n" + ",\n".join(msgspec.json.encode(row).decode() for row in each) + "\n]\n")


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


def frame(rows: Sequence[Row]) -> "DataFrame":
    """The rows as a pandas DataFrame (needs pandas); a column without any value is one of NaN."""
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("frame: pandas is not installed. "
                        "`pip install sweepstake[frames]`; the rows themselves are plain dicts.") from None
    table = pandas.DataFrame(list(rows))
    return table.astype(dict.fromkeys(table.columns[table.isna().all()] if len(table) else [], float))
