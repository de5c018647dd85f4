"""One cell in a process of its own, one thread: resume, train, write each round to the store, tell the parent.

Imported by the fork server before any work, so that a worker starts in hundredths of a second. What travels between
the processes is JSON bytes.
"""

import os
import threading
import time
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import msgspec
import torch

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import OnEvent, ignore
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.rounds import run_rounds
from sweepstake.engine.train import keep_freed_memory
from sweepstake.pieces import load_plugin
from sweepstake.run.changed import Changed
from sweepstake.run.files import CannotWrite
from sweepstake.run.settings import Task
from sweepstake.run.sitting import Bench, Lost, Sitting, fail, images_of, watch_with
from sweepstake.run.stopping import SIGNALS, ignore_signals
from sweepstake.run.store import Store


def work(task_json: bytes, pipe: Connection) -> None:
    """The worker's main: computes one cell.

    It ends with done, failed, busy (it is another's by now), or stopped (the machine's fault).
    """
    ignore_signals("SIGINT", *SIGNALS)  # They may reach the whole group; the parent decides.
    _die_with_parent()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Pruned networks drift into denormals, which are a hundred times slower.
    keep_freed_memory()

    def tell(event: events.Event) -> None:
        pipe.send_bytes(events.encode(event))

    task = msgspec.json.decode(task_json, type=Task)
    try:
        _compute_or_fail(task, Store(task.store), tell)
    except Lost:
        tell(events.Busy(task.id))
    except UserError as error:
        tell(events.Stopped(task.id, str(error)))


def _compute_or_fail(task: Task, store: Store, tell: OnEvent) -> None:
    began = time.perf_counter()
    try:
        compute(task, store, tell)
    except (CannotWrite, Changed, Lost):
        raise
    except Exception as error:
        fail(task, error, store, time.perf_counter() - began, tell)


def compute(task: Task, store: Store, tell: OnEvent = ignore) -> str:
    """Run a cell from its last finished round to its end; the store holds every step of it. Returns its status."""
    began = time.perf_counter()
    for path in task.plugins:
        load_plugin(Path(path))
    images = images_of(task)
    trainer = trainer_for(task.cell, images, watch_with(tell), task.engine)
    if not trainer.is_compiled():
        tell(events.Compiling())
    trainer.compile()
    bench = Bench(store, tell, trainer, lambda donor: trainer_for(donor, images, engine=task.engine),
                  {"engine": trainer.name}, began)
    sitting = Sitting.open(task, bench)
    for record, state in run_rounds(trainer, task.cell, sitting.state, task.id, sitting.donor_masks):
        sitting.add(record, state)
    return sitting.finish()


def _die_with_parent() -> None:
    """A worker whose parent was killed must not train on: it would hold the cell and the core."""
    parent = parent_process()
    if parent is not None:
        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
