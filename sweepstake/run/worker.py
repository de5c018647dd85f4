"""One cell in a process of its own, one thread: resume, train, write each round to the store, tell the parent.

Imported by the fork server before any work, so that a worker starts in hundredths of a second. What travels between
the processes is JSON bytes.
"""

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch._dynamo

from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.rounds import masks_of, run_rounds
from sweepstake.engine.train import Trainer, keep_freed_memory
from sweepstake.pieces import cell_id, load_plugin
from sweepstake.pieces.donors import donor_of
from sweepstake.run import provenance
from sweepstake.run.data import decoded_cache, load_data
from sweepstake.run.files import CannotWrite
from sweepstake.run.journal import Journal, whole
from sweepstake.run.store import Store


class Task(msgspec.Struct):
    """A cell to compute and all a worker needs to know for it."""

    id: str
    cell: Cell
    store: str
    data: list[str]
    plugins: list[str]
    study: str
    text: str
    engine: str = "fast"


def work(task_json: bytes, pipe: Connection) -> None:
    """The worker's main: computes one cell; its last message is done, busy, failed, or stopped: the machine's fault, not the cell's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
    _die_with_parent()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Pruned networks drift into denormals, which are a hundred times slower.
    keep_freed_memory()

    def tell(kind: str, **said: Any) -> None:
        pipe.send_bytes(json.dumps({"kind": kind, **said}).encode())

    task = msgspec.json.decode(task_json, type=Task)
    try:
        _sit(task, Store(task.store), tell)
    except UserError as error:
        tell("stopped", error=str(error))


def _sit(task: Task, store: Store, tell: Callable[..., None]) -> None:
    with store.claim(task.id) as ours:
        if not ours:
            tell("busy")
        elif store.get(task.id) is not None:
            tell("done", status=store.status(task.id), computed=False)
        else:
            try:
                tell("done", status=compute(task, store, tell), computed=True)
            except CannotWrite:
                raise
            except Exception as error:
                said = said_of(error)
                store.fail(task.id, said, traceback.format_exc(), provenance_of(task, 0.0))
                tell("failed", error=said)


def said_of(error: Exception) -> str:
    """A failure in one phrase: a broken control by its name, a mistake in its own words, anything else by its type."""
    if isinstance(error, BrokenControl):
        return f"broken control: {error}"
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".rstrip(": ")


def compute(task: Task, store: Store, tell: Any = lambda *_, **__: None) -> str:
    """Run a cell from its last finished round to its end; the store holds every step of it. Returns its status."""
    began = time.perf_counter()
    for path in task.plugins:
        load_plugin(Path(path))
    cell = task.cell
    images = prepare(cell, load_data(cell.dataset, [Path(d) for d in task.data], decoded_cache()))
    trainer = trainer_for(cell, images, lambda _, round_, step, steps: tell("step", round=round_, share=step / max(steps, 1)), task.engine)
    store.begin(task.id, cell)
    donor = donor_masks(store, task, trainer.net.size, lambda donor: trainer_for(donor, images, engine=task.engine), tell)
    journal = Journal.open(store, task.id, cell, trainer, donor)
    tell("resumed", round=journal.state.round)
    for record, state in run_rounds(trainer, cell, journal.state, task.id, whole(donor, trainer.net.size)):
        journal.add(record, state, time.perf_counter() - began)
        tell("round", round=record["round"])
    said = provenance_of(task, journal.spent + time.perf_counter() - began, images)
    return journal.finish(trainer.net.size, {**said, "engine": trainer.name})


def donor_masks(store: Store, task: Task, size: int, trainer_of: Callable[[Cell], Trainer],
                tell: Callable[..., None]) -> dict[int, torch.Tensor] | None:
    """What a transplant takes, packed: its donor is trained once at most, however often the cell is resumed."""
    if task.cell.control != "transplant":
        return None
    donor = donor_of(task.cell)
    return store.donor_masks(task.id, cell_id(donor), size, lambda: masks_of(trainer_of(donor), donor),
                             lambda damage: tell("damaged", error=str(damage), then="the donor's masks are not taken from it"))


def provenance_of(task: Task, seconds: float, images: Images | None = None) -> dict[str, Any]:
    scaling = {"shift": images.shift.flatten().tolist(), "scale": images.scale.flatten().tolist(),
               "train": len(images.train.y), "test": len(images.test.y)} if images is not None else {}
    return {"study": task.study, "study_text": task.text, "seconds": seconds, "finished": provenance.now(), "versions": provenance.versions(),
            "machine": provenance.machine(), "plugins": provenance.file_hashes(task.plugins), "images": scaling}


def _die_with_parent() -> None:
    """A worker whose parent was killed must not train on: it would hold the cell and the core."""
    parent = parent_process()
    if parent is not None:
        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
