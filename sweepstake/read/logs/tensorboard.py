"""TensorBoard: a folder a run, with one event file for each time that it was begun.

    DIR/STUDY/xavier_normal, seed 0, 3f2a91/events.out.tfevents...
    DIR/STUDY/xavier_normal, seed 0, 3f2a91/sweepstake.json       which result it is of; it is written when it is whole

Of two points of one tag at one step TensorBoard shows the later, and it wants the steps of a tag in their order.
"""

import re
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sweepstake.read.logs.contract import Arrays, Run, Values, made, missing
from sweepstake.read.logs.whole import mark_whole, unmark, whole_of

EVENTS = "events.out.tfevents.*"
UNFIT = re.compile(r'[<>:"/\\|?*]')
"""What some file system takes in no name."""
LONGEST = 120


class TensorBoard:
    """A folder that `tensorboard --logdir` reads."""

    def __init__(self, where: str, study: str):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing("tensorboard", error) from error
        _quiet()
        self.writer, self.said = SummaryWriter, f"tensorboard:{where}"
        self.folder = made(self.said, Path(where) / _fit(study))
        self.where = f"{where} (look with `tensorboard --logdir {where}`)"

    def holds(self, run: Run) -> bool:
        return bool(run.finished) and whole_of(self._of(run)) == run.finished

    def begin(self, run: Run) -> "EventFile":
        folder = self._of(run)
        unmark(folder)
        for old in folder.glob(EVENTS):
            old.unlink()
        writer: Any = self.writer(str(folder))
        for summary in _hyperparameters(run):
            writer.file_writer.add_summary(summary)
        return EventFile(writer, folder, run)

    def close(self) -> None:
        """Nothing is open but the pens."""

    def _of(self, run: Run) -> Path:
        return self.folder / f"{_fit(run.name)}, {run.id[:6]}"


@dataclass(frozen=True)
class EventFile:
    """One run of it."""

    writer: Any
    folder: Path
    run: Run

    def step(self, step: int, values: Values) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def round(self, round_: int, values: Values) -> None:
        self.step(round_, values)
        self.writer.flush()

    def weights(self, round_: int, values: Arrays, pictures: Arrays) -> None:
        for name, each in values.items():
            self.writer.add_histogram(name, each, round_)
        for name, each in pictures.items():
            self.writer.add_image(name, each, round_, dataformats="HW")

    def end(self) -> None:
        self.writer.close()
        mark_whole(self.folder, self.run.finished)

    def drop(self) -> None:
        self.writer.close()


@cache
def _quiet() -> None:
    """No traceback of the library's threads: what fails in one, a full disk say, is raised where a pen writes next."""
    before = threading.excepthook

    def tell(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard."):
            before(failed)

    threading.excepthook = tell


def _hyperparameters(run: Run) -> tuple[Any, ...]:
    """The run's settings as TensorBoard's table of hyperparameters takes them, with the numbers to compare by."""
    from torch.utils.tensorboard.summary import hparams

    compared = ("round/test_accuracy", "round/kept_fraction")
    return hparams(dict(run.settings), dict.fromkeys(compared, 0.0))


def _fit(name: str) -> str:
    """A name that every file system takes."""
    return UNFIT.sub("_", name)[:LONGEST].rstrip(". ") or "_"
