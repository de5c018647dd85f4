"""Results in Python: what `run_study` and `load_results` give a notebook."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweepstake.base.errors import UserError
from sweepstake.base.events import Event, Foreseen
from sweepstake.base.records import Result
from sweepstake.base.specs import At, ClaimMetric, Where
from sweepstake.read import ahead, analysis, claims, difference, origins, report, summary
from sweepstake.read.chart import Chart
from sweepstake.read.logs.asked import logger_of
from sweepstake.read.outline import Outline
from sweepstake.read.plot import Asked, Part, sized
from sweepstake.read.plot import plot as drawn
from sweepstake.run.changed import changed
from sweepstake.run.opened import damaged, open_study
from sweepstake.run.progress import Quiet, Terminal, display
from sweepstake.run.run import compute
from sweepstake.run.settings import Saves, Settings
from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study

if TYPE_CHECKING:
    from pandas import DataFrame

    from sweepstake.read.survivors import Analysis
    from sweepstake.tickets.ticket import Ticket


@dataclass(frozen=True, repr=False)
class Results:
    """Every cell of a study, read back."""

    study: Study
    cells: list[Result]
    store: Store | None = None
    """Where they were read from."""

    def __post_init__(self):
        for line in (*origins.warnings(self.cells), *changed(self.study.folder, self.cells)):
            warnings.warn(line, stacklevel=4)

    def __repr__(self) -> str:
        return str(Outline.of(self.study, self.cells))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return Outline.of(self.study, self.cells).html()

    def numerics(self) -> dict[str, int]:
        """How many cells each numerics computed: more than one agree to rounding only."""
        return origins.numerics(self.cells)

    def rows(self, *, timing: bool = False) -> list[dict[str, Any]]:
        """The tidy table: a row per cell and round."""
        return analysis.tidy(self.cells, timing=timing)

    def frame(self, *, timing: bool = False) -> "DataFrame":
        """The tidy table as a pandas DataFrame."""
        return analysis.frame(self.rows(timing=timing))

    def verdicts(self) -> list[claims.Verdict]:
        """What these runs say of each claim of the study."""
        return claims.verdicts(self.study, self.cells)

    def summary(self) -> "DataFrame":
        """What each setting of the axes comes to, with intervals, a row each.

        That is its smallest winning ticket, its robustness to pruning and its rank.
        """
        return analysis.frame(summary.summarise(list(self.study.axes), self.rows()))

    def smallest_ticket(self) -> "DataFrame":
        """The smallest winning ticket of each finished cell, a row each: its kept fraction, round and test accuracy.

        A ticket wins if it ends at or above the cell's own dense network. Where none does, that network stands there.
        """
        return analysis.frame(summary.smallest_tickets(list(self.study.axes), self.rows()))

    def compare(self, a: Where, b: Where, *, kept: float | None = None, metric: ClaimMetric = "test_accuracy",
                at: At = "end") -> "DataFrame":
        """Two settings of the axes against each other, paired by seed: a row a level, or one at the level `kept`.

        `results.compare({"init": "xavier_normal"}, {"init": "kaiming_normal"}, kept=0.035)`: the means, their
        difference a - b with its 95 % interval, on how many seeds, and p. Axes that neither names are paired as well.
        """
        claim = difference.asked_of(self.study.axes, a, b, metric, at, kept)
        rows = self.rows(timing=metric == "train_seconds")
        return analysis.frame(difference.differences(claim, list(self.study.axes), rows))

    def ticket(self, round: int | None = None, **where: Any) -> "Ticket":
        """The ticket of one cell and round: its masks, and the weights that the round began with, by name.

        `results.ticket(init="xavier_normal", seed=0, round=15)`. The filters are axes and keys, with values that one
        cell alone has. Without `round` it is the last.
        """
        from sweepstake.tickets.of_study.choose import choose
        from sweepstake.tickets.of_study.finished import ticket_of

        if self.store is None:
            raise UserError("ticket: these results are of no store. Read them with load_results or run_study.")
        return ticket_of(self.study, self.store, choose(self.cells, where), round)

    def overlap(self, *, where: Where | None = None, round: int | None = None,
                data: str | Path | None = None) -> "Analysis":
        """Which weights each two tickets both keep, against chance: see `read.survivors.overlap`."""
        from sweepstake.read.survivors import overlap  # With PyTorch.

        return overlap(self, where=where, round=round, data=data)

    def surviving_pixels(self, *, where: Where | None = None, round: int | None = None, each_seed: bool = False,
                         data: str | Path | None = None) -> "Analysis":
        """How many live weights read each pixel: see `read.survivors.pixels`."""
        from sweepstake.read.survivors import surviving_pixels  # With PyTorch.

        return surviving_pixels(self, where=where, round=round, each_seed=each_seed, data=data)

    def sign_agreement(self, *, where: Where | None = None, round: int | None = None) -> "Analysis":
        """Whether survivors keep their signs, and tickets agree in them: see `read.survivors.signs`."""
        from sweepstake.read.survivors import sign_agreement  # With PyTorch.

        return sign_agreement(self, where=where, round=round)

    def connectivity(self, *, where: Where | None = None, round: int | None = None,
                     splits: Sequence[str] = ("test", "train"), norms: str = "interpolated",
                     data: str | Path | None = None) -> "Analysis":
        """The error between two trainings in other orders of the data: see `read.survivors.connectivity`."""
        from sweepstake.read.survivors import connectivity  # With PyTorch.

        return connectivity(self, where=where, round=round, splits=splits, norms=norms, data=data)

    def plot(self, y: str | None = None, x: str = "kept", *, by: str | None = None, panel: str | None = None,
             where: Where | None = None, kind: str | None = None, at: str | None = None, error: str | None = None,
             width: str | float | None = None, height: str | float | None = None, font_size: float = 8.0,
             style: Literal["print", "screen"] = "screen", title: bool = False) -> Chart:
        """One figure, which shows itself in a notebook: `results.plot(y="error", where={"init": "xavier_normal"})`.

        With a `width` ("240pt", "85mm"), or in the style "print", it has the size of a page, as `sweepstake figure`
        gives it.
        """
        return plot([self], y, x, by=by, panel=panel, where=where, kind=kind, at=at, error=error, width=width,
                    height=height, font_size=font_size, style=style, title=title)

    def report(self, folder: str | Path | None = None, *, data: str | Path | None = None) -> Path:
        """Write the one-file report (and its figures) and return its path; images are looked for in `data` first."""
        return report.write_report(self.study, self.cells, folder, self.store, data)


def plot(results: Sequence[Results], y: str | None = None, x: str = "kept", *, labels: Sequence[str] = (),
         by: str | None = None, panel: str | None = None, where: Where | None = None, kind: str | None = None,
         at: str | None = None, error: str | None = None, width: str | float | None = None,
         height: str | float | None = None, font_size: float = 8.0, style: Literal["print", "screen"] = "screen",
         title: bool = False) -> Chart:
    """One figure of several studies, which the axis `study` tells apart, by their names or by `labels`."""
    names = list(labels) or [each.study.name for each in results]
    if not results or len(names) != len(results):
        raise UserError(f"plot: {len(names)} labels for {len(results)} results. Give one each, and one at least.")
    if not any(cell["rounds"] for each in results for cell in each.cells):
        raise UserError(f"plot: no cell of {' or '.join(names)} is finished. Run it first: run_study(...).")
    size = sized(width, height, font_size, style, title) if width is not None or style == "print" else None
    parts = [Part(each.study, each.cells, name) for each, name in zip(results, names, strict=True)]
    return drawn(parts, Asked(x=x, y=y, at=at, by=by, panel=panel, where=where, kind=kind, error=error), size)


def run_study(study: Study | str | Path, store: str | Path | None = None, *, data: str | Path | None = None,
              workers: int | None = None, device: str | None = None, stack: int | None = None,
              engine: str | None = None, retry: bool = False, save_weights: Saves | None = None,
              on: str | None = None, log: Sequence[str] = (), progress: bool = True) -> Results:
    """Compute what the store lacks of a study, with a progress bar, and read all of it back.

    `save_weights` keeps trained weights, of each cell's last round or of all: "none", "last", "all". `log` shows the
    runs in loggers, too: `["tensorboard:tb"]`, "trackio" or "wandb".
    """
    study = study if isinstance(study, Study) else load_study(study)
    settings = Settings.of(study, store=store, data=data, workers=workers, device=device, stack=stack, engine=engine,
                           retry=retry, save_weights=save_weights, on=on)
    shown, logger = display() if progress else Quiet(), logger_of(log, study, settings.store, Terminal())

    def on_event(event: Event) -> None:
        if isinstance(event, Foreseen):
            for line in ahead.heed(study, event.cells):
                print(line, file=sys.stderr)
        shown(event)
        logger(event)

    with logger, shown:
        opened = compute(study, settings, on_event)
    return Results(opened.study, opened.results, opened.store)


def load_results(study: Study | str | Path, store: str | Path | None = None) -> Results:
    """Read what a store (else the study's own, else `runs`) holds of a study; computes nothing."""
    opened = open_study(study if isinstance(study, Study) else load_study(study), store)
    found = Results(opened.study, opened.results, opened.store)
    for line in damaged(opened.study, opened.results):
        warnings.warn(line, stacklevel=2)
    return found
