"""A metric against weights remaining where `keep` is an axis: every level is a cell of its own (one-shot pruning)."""

import math
from collections.abc import Sequence

from sweepstake.base.specs import FigureSpec, figure_kind
from sweepstake.read import analysis
from sweepstake.read.analysis import Row
from sweepstake.read.figures.by_kept import AccuracyByKept
from sweepstake.read.figures.contract import Data, Drawn

LEVELS = ("keep", "keep_target")
"""The axes that make levels."""


@figure_kind("accuracy_by_level")
class AccuracyByLevel(AccuracyByKept):
    """One curve from cells pruned once each, to one level each (Blalock et al. 2020)."""

    says = "the metric against weights remaining, where every level is a cell of its own: `keep` is an axis"

    def by_default(self, rows: Sequence[Row]) -> bool:
        return False

    def check(self, figure: FigureSpec, axes: object) -> list[str]:
        wrong = [key for key in ("by", "panel") if getattr(figure, key) in LEVELS]
        return [f"{key} = \"{getattr(figure, key)}\": levels lie along the curve. Name another axis." for key in wrong]

    def draw(self, data: Data) -> Drawn | None:
        by, panel = (None if axis in LEVELS else axis for axis in (data.by, data.panel))
        return super().draw(data._replace(rows=by_level(data.rows), by=by, panel=panel))


def by_level(rows: Sequence[Row]) -> list[Row]:
    """The rows with their level's place as their round: 0 for the largest kept fraction."""
    levels = analysis.levels((row["kept_fraction"] for row in rows), len(rows))
    return [{**row, "round": _place(row["kept_fraction"], levels)} for row in rows]


def _place(kept: float, levels: Sequence[float]) -> int:
    return min(range(len(levels)), key=lambda place: abs(math.log(levels[place] / kept))) if kept else len(levels)
