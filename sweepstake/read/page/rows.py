"""Every round's row, for the reader to take along: a packed column each, as many of them as the page has room for."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from sweepstake.base.text import visible
from sweepstake.read.analysis import Row
from sweepstake.read.page.charts import packed, short

FIXED, A_ROW = 200_000, 60
"""Bytes that the columns may take, and as many more a row."""


def section(results: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> dict[str, Any] | None:
    """The columns in their order, and the names of those that are too large. Numbers have six digits, counts all.

    Of a column are held one value, where all rows have the same; one a cell, where its rounds do; else one a row.
    """
    if not rows:
        return None
    rounds = [len(result["rounds"]) for result in results if result["rounds"]]
    room, found = FIXED + A_ROW * len(rows), dict[str, tuple[str, Any]]()
    names = list(rows[0])
    for name in sorted(names, key=lambda one: "." in one):  # Those of layers, which are many, take what is left.
        way, held = _held([row[name] for row in rows], rounds)
        if len(str(held)) <= room:
            found[name] = way, held
            room -= len(str(held))
    return {"rounds": packed(rounds), "columns": [[name, *found[name]] for name in names if name in found],
            "left": [name for name in names if name not in found]}


def _held(values: list[Any], rounds: Sequence[int]) -> tuple[str, Any]:
    """How a column is held, and what is held of it."""
    if values.count(values[0]) == len(values):
        return "all", _told(values[0])
    told = {value: _told(value) for value in set(values)}  # Of layers, few differ.
    firsts = [values[place] for place in accumulate(rounds[:-1], initial=0)]
    first_alike = values[:rounds[0]].count(values[0]) == rounds[0]
    if first_alike and values == [value for value, count in zip(firsts, rounds, strict=True) for _ in range(count)]:
        return "cell", packed([told[value] for value in firsts])
    return "row", packed([told[value] for value in values])


def _told(value: Any) -> Any:
    return short(value) if isinstance(value, float) else visible(value) if isinstance(value, str) else value
