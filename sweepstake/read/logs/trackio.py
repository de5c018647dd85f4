"""Trackio: a project in the folder of Trackio on this machine (`TRACKIO_DIR`), which `trackio show` opens.

Rows go to its storage as its own importers put them: at once and here, with an error where that fails. The runs that
`trackio.init` makes write in a thread that swallows errors, print to stdout, and ask a server for the user's name.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepstake.base.errors import UserError
from sweepstake.read.logs.contract import Arrays, Run, Values, made, missing


class Trackio:
    """A project on this machine."""

    def __init__(self, where: str, study: str):
        try:
            import trackio  # pyright: ignore[reportMissingImports]
            from trackio.media import get_project_media_path  # pyright: ignore[reportMissingImports]
            from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]
            from trackio.utils import TRACKIO_DIR  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing("trackio", error) from error
        self.package, self.storage, self.media = trackio, SQLiteStorage, get_project_media_path
        self.project = where or study
        self.said = f"trackio:{where}" if where else "trackio"
        try:
            SQLiteStorage.validate_project_name(self.project)
        except ValueError as error:
            raise UserError(f"--log {self.said}: {error} Say --log trackio:PROJECT.") from error
        made(self.said, Path(TRACKIO_DIR))
        self.where = f"{TRACKIO_DIR} (look with `trackio show --project {self.project}`)"

    def holds(self, run: Run) -> bool:
        config = self.storage.get_run_config(self.project, run_id=run.id) or {}
        return bool(run.finished) and config.get("finished") == run.finished

    def begin(self, run: Run) -> "Rows":
        self.storage.delete_run(self.project, run.name, run_id=run.id)
        shutil.rmtree(self.media(self.project, run.id), ignore_errors=True)  # By the id: two runs may have one name.
        return Rows(self, run, [])

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Rows:
    """One run of it; rows are written a round at a time."""

    home: Trackio
    run: Run
    waiting: list[tuple[int, dict[str, Any]]]

    def step(self, step: int, values: Values) -> None:
        self.waiting.append((step, dict(values)))

    def round(self, round_: int, values: Values) -> None:
        self.waiting.append((round_, dict(values)))
        self._write({})

    def weights(self, round_: int, values: Arrays, pictures: Arrays) -> None:
        row: dict[str, Any] = {name: self.home.package.Histogram(each)._to_dict() for name, each in values.items()}
        for name, each in pictures.items():
            image = self.home.package.Image(each)
            image._save(self.home.project, self.run.id, round_)
            row[name] = image._to_dict()
        self.waiting.append((round_, row))

    def end(self) -> None:
        self._write({"finished": self.run.finished})

    def drop(self) -> None:
        """What is written stays until it is begun anew."""

    def _write(self, more: dict[str, str]) -> None:
        steps, rows = [step for step, _ in self.waiting], [row for _, row in self.waiting]
        self.home.storage.bulk_log(project=self.home.project, run=self.run.name, run_id=self.run.id, metrics_list=rows,
                                   steps=steps, config={**self.run.settings, **more})
        self.waiting.clear()
