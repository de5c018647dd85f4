"""What a cell has beyond the page: quick to make and to send, for a browser that adds it to what it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepstake.base.records import Result
from sweepstake.read import analysis, claims
from sweepstake.read.figures import Spec
from sweepstake.read.page.charts import COLUMNS, METRICS, short, views
from sweepstake.read.page.runs import line

Shown = Sequence[Mapping[str, Any]]
"""The selections of rows that the page's charts show."""


def shown_in(drawn: Sequence[tuple[str, Spec]]) -> Shown:
    """What the figures of a page show that news may be added to."""
    return views(drawn)


def news_of(axes: Sequence[str], result: Result, place: int, rounds: int | None, shown: Shown) -> dict[str, Any]:
    """The cell's line of the table of runs, and the rounds after the first so many, with the charts that show them.

    Without `rounds` there are none: what the page has of the cell is not the beginning of what there is now. A chart
    over levels takes none either, for a new round may make a level.
    """
    rows = analysis.tidy([result])
    finished = list(claims.finished(rows))
    said = line(axes, result, claims.smallest_winning(finished[0]) if finished else None)
    new = rows[rounds:] if rounds is not None else []
    seconds = [record["seconds"].get("train") for record in result["rounds"]]
    within = [number for number, view in enumerate(shown)
              if view["kind"] != "accuracy_by_level" and new and analysis.chosen(new[:1], view["where"])]
    columns = dict.fromkeys(COLUMNS.get(name, name) for name in (*METRICS, *(view["column"] for view in shown)))
    return {"place": place, "line": said, "views": within, "seed": result["seed"],
            "labels": {axis: rows[0][axis] for axis in axes} if rows else {},
            "rows": [{"round": row["round"], "kept": short(row["kept_fraction"]), "diverged": row["diverged"],
                      "values": _values({**row, "seconds": seconds[number]}, columns)}
                     for number, row in enumerate(new, rounds or 0)]}


def _values(row: Mapping[str, Any], columns: Mapping[str, None]) -> dict[str, float]:
    """What was measured, to six digits."""
    measured = {} if row["diverged"] else {column: row.get(column) for column in columns}
    return {column: short(value) for column, value in measured.items() if value is not None}
