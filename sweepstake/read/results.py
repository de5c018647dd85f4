"""Results in Python: what `run_study` and `load_results` give a notebook."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepstake.read import ahead, analysis, claims, origins, report, summary
from sweepstake.run import run
from sweepstake.run.search import settled
from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study


@dataclass(frozen=True)
class Results:
    """Every cell of a study, read back."""

    study: Study
    cells: list[dict[str, Any]]

    def __post_init__(self):
        for line in origins.warnings(self.cells):
            warnings.warn(line, stacklevel=4)

    def numerics(self) -> dict[str, int]:
        """How many cells each numerics computed: more than one agree to rounding only."""
        return origins.numerics(self.cells)

    def rows(self, *, timing: bool = False) -> list[dict[str, Any]]:
        """The tidy table: a row per cell and round."""
        return analysis.tidy(self.cells, timing=timing)

    def frame(self, *, timing: bool = False) -> Any:
        """The tidy table as a pandas DataFrame."""
        return analysis.frame(self.rows(timing=timing))

    def verdicts(self) -> list[claims.Verdict]:
        """What these runs say of each claim of the study."""
        return claims.verdicts(self.study, self.cells)

    def summary(self) -> list[dict[str, Any]]:
        """What each setting of the axes comes to: smallest winning ticket, robustness to pruning and rank, with intervals."""
        return summary.summarise(list(self.study.axes), self.rows())

    def report(self, folder: str | Path | None = None) -> Path:
        """Write the one-file report (and its figures) and return its path."""
        return report.write_report(self.study, self.cells, folder)


def run_study(study: Study | str | Path, store: str | Path | None = None, *, data: str | Path | None = None, workers: int | None = None,
              device: str | None = None, stack: int | None = None, engine: str | None = None, retry: bool = False,
              progress: bool = True) -> Results:
    """Compute what the store lacks of a study, with a progress bar, and read all of it back."""
    from sweepstake.run.progress import Quiet, display

    study = study if isinstance(study, Study) else load_study(study)
    shown = display() if progress else Quiet()

    def heard(event: dict[str, Any]) -> None:
        if event["kind"] == "foreseen":
            for line in ahead.heed(study, event["cells"]):
                print(line, file=sys.stderr)
        shown(event)

    with shown:
        cells = run.run_study(study, store, data=data, workers=workers, device=device, stack=stack, engine=engine, retry=retry, on_event=heard)
    return Results(settled(study, Store(study.store_folder(store))), cells)


def load_results(study: Study | str | Path, store: str | Path | None = None) -> Results:
    """Read what a store (else the study's own, else `runs`) holds of a study; computes nothing."""
    study = study if isinstance(study, Study) else load_study(study)
    home = Store(study.store_folder(store), create=False)
    found = Results(settled(study, home), run.load_results(study, home))
    for told in run.damaged(found.study, found.cells):
        warnings.warn(told, stacklevel=2)
    return found
