"""When training stops best, against weights remaining."""

from collections.abc import Sequence

from sweepstake.base.specs import FigureSpec, figure_kind
from sweepstake.read.analysis import Row
from sweepstake.read.figures.by_kept import ByKept


@figure_kind("early_stop_by_kept")
class EarlyStopByKept(ByKept):
    """How fast a ticket learns (Frankle & Carbin 2019, fig. 4)."""

    says = "the step of lowest validation loss against weights remaining"

    def column(self, figure: FigureSpec) -> str | None:
        return "early_step"

    def by_default(self, rows: Sequence[Row]) -> bool:
        return any(row["early_step"] is not None for row in rows)
