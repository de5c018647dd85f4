"""A cell at work, however it is computed: opened in the store, each round put there, and its end; each step told."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from torch import Tensor

from sweepstake.base import events
from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.base.events import OnEvent
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.rounds import OfATrainer, State, masks_of
from sweepstake.engine.train import Trainer, Watch
from sweepstake.pieces.donors import donor_of
from sweepstake.run import provenance
from sweepstake.run.changed import data_of
from sweepstake.run.claims import is_held
from sweepstake.run.data import read_decoded
from sweepstake.run.journal import Journal, whole
from sweepstake.run.names import id_in
from sweepstake.run.settings import Task
from sweepstake.run.stopping import unstopped
from sweepstake.run.store import Store


class WithImages(OfATrainer, Protocol):
    """A trainer of cells of a study."""

    @property
    def images(self) -> Images: ...


class Lost(Exception):
    """The cell is another run's by now: this process was frozen for so long that its claim expired."""


@dataclass(frozen=True)
class Bench:
    """What the cells that train together share."""

    store: Store
    on_event: OnEvent
    trainer: WithImages
    """Any trainer of their network."""
    trainer_of: Callable[[Cell], Trainer]
    """What trains a donor."""
    engine: Mapping[str, str]
    """What computes them, for the provenance."""
    began: float

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


@dataclass(frozen=True)
class Sitting:
    """One cell from its last finished round on."""

    task: Task
    bench: Bench
    journal: Journal
    donor_masks: dict[int, Tensor] | None
    """Of a transplant, a mask a round."""

    @classmethod
    def open(cls, task: Task, bench: Bench) -> Self:
        """Begin, or go on; a donor is trained here where the store lacks its masks."""
        trainer, size = bench.trainer, bench.trainer.net.size
        check_held(task)
        bench.store.begin(task.id, task.cell)
        packed = _donor_masks(task, bench)
        journal = Journal.open(bench.store, task.id, task.cell, trainer, packed, task.save_weights, task.files)
        sitting = cls(task, bench, journal, whole(packed, size))
        bench.on_event(events.Resumed(task.id, sitting.state.round))
        return sitting

    @property
    def state(self) -> State:
        """Where its next round begins."""
        return self.journal.state

    def add(self, record: dict[str, Any], following: State) -> None:
        """A finished round."""
        check_held(self.task)
        self.bench.on_event(events.Saving(self.task.id))
        with unstopped():
            self.journal.add(record, following, self.bench.seconds)
        self.bench.on_event(events.Round.of(self.task.id, record))

    def finish(self) -> str:
        """The cell is done, or diverged: its status."""
        made = provenance_of(self.task, self.journal.spent + self.bench.seconds, self.bench.trainer.images)
        check_held(self.task)
        self.bench.on_event(events.Saving(self.task.id))
        with unstopped():
            status = self.journal.finish({**made, **self.bench.engine})
        self.bench.on_event(events.Done(self.task.id, status))
        return status

    def fail(self, error: Exception) -> None:
        """The cell has failed."""
        fail(self.task, error, self.bench.store, self.bench.seconds, self.bench.on_event)


def check_held(task: Task) -> None:
    """Before anything of a cell is written; Lost where another has taken the cell over."""
    if not is_held(task.claim):
        raise Lost


def fail(task: Task, error: Exception, store: Store, seconds: float, on_event: OnEvent) -> None:
    """A cell has failed, opened or not: its traceback is kept."""
    check_held(task)
    trace = "".join(traceback.format_exception(error))
    store.fail(task.id, said_of(error), trace, provenance_of(task, seconds))
    on_event(events.Failed(task.id, said_of(error)))


def said_of(error: Exception) -> str:
    """A failure in one phrase: a broken control by its name, a mistake in its own words, anything else by its type."""
    if isinstance(error, BrokenControl):
        return f"broken control: {error}"
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".rstrip(": ")


def images_of(task: Task) -> Images:
    data = read_decoded(Path(task.images)) if task.images else None
    return prepare(task.cell, data or data_of(task))


def watch_with(on_event: OnEvent) -> Watch:
    """What a trainer calls at each point of a learning curve."""
    return lambda id_, round_, step, steps: on_event(events.Step(id_, round_, step / max(steps, 1)))


def provenance_of(task: Task, seconds: float, images: Images | None = None) -> dict[str, Any]:
    scaling = {"shift": images.shift.flatten().tolist(), "scale": images.scale.flatten().tolist(),
               "train": len(images.train.y), "test": len(images.test.y)} if images is not None else {}
    return {
        "study": task.study,
        "study_text": task.text,
        "seconds": seconds,
        "finished": provenance.now(),
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "plugins": provenance.file_hashes(task.plugins),
        "images": scaling,
        **({"data_files": task.files} if task.files else {}),
    }


def _donor_masks(task: Task, bench: Bench) -> dict[int, Tensor] | None:
    """What a transplant takes, packed: its donor is trained once at most, however often the cell is resumed."""
    if task.cell.control != "transplant":
        return None
    donor = donor_of(task.cell)
    return bench.store.donor_masks(
        task.id, id_in(bench.store, donor), bench.trainer.net.size, lambda: masks_of(bench.trainer_of(donor), donor),
        lambda damage: bench.on_event(events.Damaged(str(damage), "the donor's masks are not taken from it", task.id)))
