"""The table of means: each group at each level or round it was measured at, for the page and for the terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sweepstake.read import analysis, figures
from sweepstake.read.analysis import Row, StudyLike

if TYPE_CHECKING:
    from rich.table import Table


class Numbers(NamedTuple):
    """The table of means: `columns` are kept fractions, or rounds where groups share few of them; a row a group."""

    by_round: bool
    columns: list[float]
    groups: dict[str, dict[float, Row]]

    def shown(self, most: int) -> list[float]:
        """At most so many columns: the first, where each group ends, and others spread evenly between."""
        ends = Counter(list(cells)[-1] for cells in self.groups.values())
        must = list(dict.fromkeys([*self.columns[:1], *(end for end, _ in ends.most_common())]))[:most]
        room = most - len(must) + 2
        spread: Iterable[float] = []
        if len(must) < most:
            last = len(self.columns) - 1
            places = range(last + 1) if last < room else [round(last * place / (room - 1)) for place in range(room)]
            spread = [self.columns[place] for place in places] if self.by_round else analysis.levels(self.columns, room)
        return [column for column in self.columns if column in {*must, *spread}]

    def head(self, column: float) -> str:
        return f"round {column:g}" if self.by_round else figures.percent(100 * column)

    def skipped(self, shown: Sequence[float]) -> str:
        """What a reader must know when columns are left out."""
        what = "rounds" if self.by_round else "levels"
        return "" if len(shown) == len(self.columns) else f"{len(shown)} of {len(self.columns)} {what} shown"


def _numbers(study: StudyLike, rows: Sequence[Row], metric: str) -> Numbers:
    """Each group (a setting of all axes) at each kept level; by round, if no group has two thirds of the levels."""
    axes, by_group = list(study.axes), dict[str, list[Row]]()
    for one in analysis.summarise(rows, axes, metric, intervals=False):
        by_group.setdefault(", ".join(str(one[axis]) for axis in axes) or study.name, []).append(one)
    levels = analysis.levels((one["kept_fraction"] for members in by_group.values() for one in members), len(rows))
    at = {group: {min(level for level in levels if level >= one["kept_fraction"]): one
                  for one in members if one["kept_fraction"] > 0}
          for group, members in by_group.items()}
    one_each = all(len(at[group]) == len(members) for group, members in by_group.items())
    if one_each and 3 * max(map(len, at.values()), default=0) >= 2 * len(levels):
        return Numbers(False, list(levels), at)
    rounds = sorted({one["round"] for members in by_group.values() for one in members})
    return Numbers(True, rounds, {group: {one["round"]: one for one in members} for group, members in by_group.items()})


def _metric(study: StudyLike) -> str:
    first = next((figure for figure in study.figures if figures.kind_of(figure).tabled), None)
    return analysis.column(first.metric, first.at) if first else "test_accuracy"


def table(study: StudyLike, rows: Sequence[Row]) -> dict[str, Any]:
    """The table as the page shows it, at seven levels or rounds at most."""
    metric = _metric(study)
    numbers = _numbers(study, rows, metric)
    shown = numbers.shown(7)
    cells = [(group, [_cell(at.get(column), metric, 2, numbers.by_round) for column in shown])
             for group, at in numbers.groups.items()]
    return {"metric": metric_told(metric), "columns": [numbers.head(column) for column in shown], "groups": cells,
            "by_round": numbers.by_round, "skipped": numbers.skipped(shown), "axes": ", ".join(study.axes) or "study"}


def _cell(one: Row | None, metric: str, digits: int, by_round: bool) -> dict[str, Any]:
    kept = figures.percent(100 * one["kept_fraction"]) if one and by_round else ""
    note = f"{one['diverged']} diverged" if one and one["diverged"] else ""
    if one is None or one["mean"] is None:
        return {"kept": kept, "mean": "–", "std": "", "note": note}
    scale, style = 1, f".{digits + 2}g" if one["mean"] < 1000 else ",.0f"
    if metric.endswith("accuracy"):
        scale, style = 100, f".{digits}f"
    std = "" if one["std"] is None else f"± {one['std'] * scale:{style}}"
    return {"kept": kept, "mean": f"{one['mean'] * scale:{style}}", "std": std, "note": note}


def metric_told(metric: str) -> str:
    early = metric.startswith("early_") and metric != "early_step"
    return (figures.NAMES.get(metric) or metric.removeprefix("early_").replace("_", " ")) + (" at early stop" if early
        else "") + (" (%)" if metric.endswith("accuracy") else "")


def terminal_table(study: StudyLike, rows: Sequence[Row], width: int = 80) -> "Table":
    """Mean +- std at as many kept levels (or rounds) as fit the width, a row a group."""
    from rich.table import Table

    metric, axes = _metric(study), ", ".join(study.axes) or "study"
    numbers = _numbers(study, rows, metric)
    told = {group: {column: _in_short(one, metric, numbers.by_round) for column, one in at.items()}
            for group, at in numbers.groups.items()}
    lines = [line for at in told.values() for text in at.values() for line in text.split("\n")]
    widest = max(map(len, [*lines, *map(numbers.head, numbers.columns)]), default=1)
    longest = min(28, max(map(len, [*told, axes])))
    shown = numbers.shown(max(1, (width - longest - 4) // (widest + 3)))
    by = "by round (with the weights remaining)" if numbers.by_round else "by weights remaining"
    table = Table(title=f"{metric_told(metric)}, mean ± std over seeds, {by}", title_justify="left",
                  header_style="bold", caption_justify="left", show_lines=numbers.by_round)
    table.add_column(axes, max_width=28, overflow="fold")
    for column in shown:
        table.add_column(numbers.head(column), justify="right", no_wrap=True)
    for group, at in told.items():
        table.add_row(group, *[at.get(column, "–") for column in shown])
    skipped = numbers.skipped(shown)
    lost = "* some cells diverged and are left out" if any(row["diverged"] for row in rows) else ""
    table.caption = "\n".join(filter(None, [skipped and f"{skipped}; all in rows.csv", lost])) or None
    return table


def _in_short(one: Row, metric: str, by_round: bool) -> str:
    cell = _cell(one, metric, 1 if metric.endswith("accuracy") else 2, by_round)
    mean = f"{cell['mean']} {cell['std'].replace('± ', '±')}".strip() + ("*" if cell["note"] else "")
    return f"{cell['kept']}:\n{mean}" if by_round else mean
