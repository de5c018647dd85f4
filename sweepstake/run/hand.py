"""What trains on a node: a process that reads a job a line, computes it in a scratch store, and tells each event.

    python -m sweepstake.run.hand SCRATCH

It ends when its input does: a node that was killed leaves nobody behind who trains on, and no scratch folder.
"""

import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch

from sweepstake.base import events
from sweepstake.base.cell import Cell, Ref
from sweepstake.base.errors import UserError
from sweepstake.engine.train import keep_freed_memory
from sweepstake.pieces import REGISTRIES, load_plugin
from sweepstake.run.executors import executor_for
from sweepstake.run.files import CannotWrite
from sweepstake.run.node import Job
from sweepstake.run.queue import Queue
from sweepstake.run.sent import find_images, is_everywhere
from sweepstake.run.settings import Settings, Task
from sweepstake.run.sitting import fail
from sweepstake.run.stopping import SIGNALS, ignore_signals
from sweepstake.run.store import Store
from sweepstake.run.worker import compute

Say = Callable[[bytes], None]

_found: dict[str, Path] = {}
"""The images that are known to be here, by their hash."""


class Enough(BaseException):
    """The parcel goes back: a round has ended after its time. No Exception, so that no cell is failed by it."""


def main() -> None:
    """Compute one job after another."""
    ignore_signals("SIGINT", *SIGNALS)  # They may reach the whole group; the driver decides.
    jobs, said = queue.SimpleQueue[bytes](), _own_output()
    threading.Thread(target=_read, args=(sys.stdin.buffer, jobs, Path(sys.argv[1])), daemon=True).start()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()

    def say(line: bytes) -> None:
        said.write(line + b"\n")
        said.flush()

    while True:
        job = msgspec.json.decode(jobs.get(), type=Job)
        say(b"!" + msgspec.json.encode(work(job, say)))


def _own_output() -> BinaryIO:
    """What the node reads; whatever a library prints goes to stderr."""
    ours = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return ours


def _read(lines: BinaryIO, jobs: "queue.SimpleQueue[bytes]", scratch: Path) -> None:
    for line in lines:
        jobs.put(line)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def work(job: Job, say: Say) -> dict[str, Any]:
    """One job; how it ended, in the fields of `Back`."""
    for path in job.tasks[0].plugins:
        load_plugin(Path(path))
    if differences := [line for task in job.tasks for line in other_pieces(task.cell)]:
        return {"unlike": list(dict.fromkeys(differences))}
    images, dataset = "", job.tasks[0].cell.dataset
    if not is_everywhere(dataset):
        folder = _found.get(job.data) or find_images(dataset, job.data)
        if folder is None:
            return {"lacks": job.data}
        _found[job.data], images = folder, str(folder)
    tasks = [msgspec.structs.replace(task, images=images) for task in job.tasks]
    try:
        _compute(tasks, job, Slice(job.seconds, len(tasks) > 1, say).hear)
    except Enough:
        pass
    except UserError as error:  # The machine's fault.
        say(events.encode(events.Stopped(tasks[0].id, str(error))))
    return {}


def other_pieces(cell: Cell) -> list[str]:
    """The pieces of a cell that come from another text of a plug-in than the one that is loaded here."""
    refs = [getattr(cell, field) for field in cell.__struct_fields__ if isinstance(getattr(cell, field), Ref)]
    sources = {piece.name: piece.source for registry in REGISTRIES.values() for piece in registry.pieces.values()}
    return [f"the plug-in of {ref.name} is {sources.get(ref.name) or 'none'} there, {ref.source} here"
            for ref in refs if ref.source and sources.get(ref.name) != ref.source]


def _compute(tasks: list[Task], job: Job, hear: Callable[[events.Event], None]) -> None:
    store, began = Store(tasks[0].store), time.perf_counter()
    if job.device != "cpu" or job.stack:
        settings = Settings(store=store.folder, data=None, workers=1, device=job.device, stack=len(tasks),
                            engine=tasks[0].engine, timeout_seconds=None, retry=False, wait=True,
                            save_weights=tasks[0].save_weights)
        with Queue(tasks, store, hear) as queue:
            executor_for(settings)(queue, settings, hear)
        return
    (task,) = tasks
    try:
        compute(task, store, hear)
    except CannotWrite:
        raise
    except Exception as error:
        fail(task, error, store, time.perf_counter() - began, hear)


class Slice:
    """The time that a parcel has: over at the first end of a round after it."""

    def __init__(self, seconds: float, many: bool, say: Say):
        self.until, self.many, self.say = time.monotonic() + seconds, many, say
        self.last: events.Event | None = None

    def hear(self, event: events.Event) -> None:
        """Tell it, and stop where a round has ended: of many cells, where the first begins its next."""
        before, self.last = self.last, event
        self.say(events.encode(event))
        ended = isinstance(before if self.many else event, events.Round)
        if ended and isinstance(event, events.Step if self.many else events.Round) and time.monotonic() >= self.until:
            raise Enough


if __name__ == "__main__":
    main()
