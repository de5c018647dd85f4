"""What an analysis gives: its rows, what they come to, and a figure of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstake.base.errors import UserError
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures import Spec, to_pdf, to_png, to_svg
from sweepstake.tickets.analysis.overlap import WHOLE

if TYPE_CHECKING:
    from pandas import DataFrame

WRITERS = {".svg": to_svg, ".pdf": to_pdf, ".png": to_png}
TOLD_ROWS = 40


@dataclass(frozen=True, repr=False)
class Analysis:
    """One analysis of the tickets of a study."""

    name: str
    rows: list[Row]
    """The tidy table, down to what was counted or measured."""
    summary: list[Row]
    """What the rows come to; the figure shows it."""
    spec: Spec
    """The figure, as Vega-Lite."""
    columns: Sequence[str] = ()
    """The columns of the summary that are told in a terminal."""

    def frame(self) -> "DataFrame":
        """The rows as a pandas DataFrame."""
        return analysis.frame(self.rows)

    def figure(self, path: str | Path) -> Path:
        """Write the figure: .svg, .pdf or .png, by the path's end."""
        path = Path(path)
        if path.suffix.lower() not in WRITERS:
            raise UserError(f'figure "{path}": ends in {path.suffix or "nothing"}. Say .svg, .pdf or .png.')
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix.lower()](self.spec, path)
        return path

    def table(self) -> list[list[str]]:
        """The summary of whole networks in words: a header, then a line each."""
        whole = [row for row in self.summary if row.get("layer", WHOLE) == WHOLE]
        return [list(self.columns), *([told(row[column]) for column in self.columns] for row in whole)]

    def __repr__(self) -> str:
        lines = self.table()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines[:TOLD_ROWS + 1]]
        left = len(lines) - len(shown)
        return "\n".join([f"{self.name}: {len(self.rows):,} rows", *shown, *([f"... {left} more"] if left else [])])


def told(value: Any) -> str:
    """A value as a terminal shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
