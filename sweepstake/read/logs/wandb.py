"""Weights & Biases, offline: a folder a run, that `wandb sync` sends to a server when you say so.

    DIR/wandb/offline-run-DATE_TIME-ID/run-ID.wandb
    DIR/wandb/offline-run-DATE_TIME-ID/sweepstake.json            which result it is of; it is written when it is whole

Nothing here asks a server: not for runs, and not for errors, which the library else reports to its makers.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepstake.read.logs.contract import Arrays, Run, Values, made, missing
from sweepstake.read.logs.whole import mark_whole, whole_of

BY_STEP = ("train", "validation", "test")
BY_ROUND = ("round", "kept", "initial", "trained", "mask")
QUIET = {"mode": "offline", "silent": True, "console": "off", "disable_git": True, "disable_code": True,
         "x_disable_stats": True, "x_disable_machine_info": True, "x_save_requirements": False}
"""Of what a run is, only what it is given: no output, no code, no packages, no measurements of the machine."""


class WandB:
    """A folder of offline runs."""

    def __init__(self, where: str, study: str):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # It is read once, when the library is imported.
        try:
            import PIL  # noqa: F401  # The library needs it for pictures, and does not say so.
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing("wandb", error) from error
        self.package, self.said = wandb, f"wandb:{where}" if where else "wandb"
        self.study, self.root = study, made(self.said, Path(where or "."))
        self.folder = self.root / "wandb"
        self.where = f"{self.folder} (send with `wandb sync {self.folder / 'offline-run-*'}`)"

    def holds(self, run: Run) -> bool:
        return bool(run.finished) and any(whole_of(folder) == run.finished for folder in self._of(run))

    def begin(self, run: Run) -> "OfflineRun":
        for old in self._of(run):
            shutil.rmtree(old)
        settings = self.package.Settings(**QUIET)
        begun = self.package.init(dir=str(self.root.absolute()), project=self.study, id=run.id, name=run.name,
                                  config=dict(run.settings), settings=settings, reinit="create_new")
        for prefixes, axis in ((BY_STEP, "step"), (BY_ROUND, "round")):
            begun.define_metric(axis, hidden=True)
            for prefix in prefixes:
                begun.define_metric(f"{prefix}/*", step_metric=axis)
        return OfflineRun(self.package, begun, Path(begun.settings.sync_dir), run)

    def close(self) -> None:
        self.package.teardown()

    def _of(self, run: Run) -> list[Path]:
        """The folders of a run, of this study's project."""
        return [folder for folder in self.folder.glob(f"offline-run-*-{run.id}") if folder.is_dir()]


@dataclass
class OfflineRun:
    """One run of it."""

    package: Any
    begun: Any
    folder: Path
    run: Run

    def step(self, step: int, values: Values) -> None:
        self.begun.log({"step": step, **values})

    def round(self, round_: int, values: Values) -> None:
        self.begun.log({"round": round_, **values})

    def weights(self, round_: int, values: Arrays, pictures: Arrays) -> None:
        histograms = {name: self.package.Histogram(each) for name, each in values.items()}
        images = {name: self.package.Image(each) for name, each in pictures.items()}
        if histograms or images:
            self.begun.log({"round": round_, **histograms, **images})

    def end(self) -> None:
        self.begun.finish()
        mark_whole(self.folder, self.run.finished)

    def drop(self) -> None:
        self.begun.finish(exit_code=1)
