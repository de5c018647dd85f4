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
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch._dynamo

from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.engine.rounds import State, first_state, run_rounds
from sweepstake.engine.train import Start, Trainer, keep_freed_memory, prepare
from sweepstake.pieces import load_plugin
from sweepstake.run import provenance
from sweepstake.run.data import decoded_cache, load_data
from sweepstake.run.store import Store, pack


class Task(msgspec.Struct):
    """A cell to compute and all a worker needs to know for it."""

    id: str
    cell: Cell
    store: str
    data: list[str]
    plugins: list[str]
    study: str
    text: str


def work(task_json: bytes, pipe: Connection) -> None:
    """The worker's main: computes one cell; its last message is done, busy, or failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
    _die_with_parent()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # Pruned networks drift into denormals, which are a hundred times slower.
    keep_freed_memory()

    def tell(kind: str, **said: Any) -> None:
        pipe.send_bytes(json.dumps({"kind": kind, **said}).encode())

    task = msgspec.json.decode(task_json, type=Task)
    store = Store(task.store)
    with store.claim(task.id) as ours:
        if not ours:
            tell("busy")
        elif store.get(task.id) is not None:
            tell("done", status=store.status(task.id), computed=False)
        else:
            try:
                tell("done", status=compute(task, store, tell), computed=True)
            except Exception as error:
                said = _said(error)
                store.fail(task.id, said, traceback.format_exc(), _provenance(task, 0.0))
                tell("failed", error=said)


def _said(error: Exception) -> str:
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
    trainer = Trainer(cell, images, lambda _, round_, step, steps: tell("step", round=round_, share=step / max(steps, 1)))
    store.begin(task.id, cell)
    records, masks, state, spent = _resume(store, task.id, trainer, cell)
    tell("resumed", round=state.round)
    alive = state.start.mask
    for record, following in run_rounds(trainer, cell, state, task.id):
        masks[f"round.{record['round']}"] = pack(alive)
        alive = following.start.mask
        records.append(record)
        tensors, meta = _state_out(following)
        meta["seconds"] = spent + time.perf_counter() - began
        store.save_state(task.id, records, {**tensors, **{f"mask.{k}": v for k, v in masks.items()}}, meta)
        tell("round", round=record["round"])
    status = "diverged" if records[-1]["diverged"] else "done"
    masks["size"] = torch.tensor(trainer.net.size)
    store.finish(task.id, status, records, masks, _provenance(task, spent + time.perf_counter() - began, images))
    return status


def _resume(store: Store, id_: str, trainer: Trainer, cell: Cell) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor], State, float]:
    saved = store.load_state(id_)
    if saved is None:
        return [], {}, first_state(trainer, cell), 0.0
    records, tensors, meta = saved
    masks = {name.removeprefix("mask."): value for name, value in tensors.items() if name.startswith("mask.")}
    return records, masks, _state_in(tensors, meta), float(meta["seconds"])


def _state_out(state: State) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors = {"w": state.start.w, "alive": state.start.mask}
    tensors |= {f"moment.{i}": moment for i, moment in enumerate(state.start.moments)}
    if state.w_step is not None:
        tensors["w_step"] = state.w_step
    return tensors, {"round": state.round, "asked": state.asked, "proofs": state.proofs}


def _state_in(tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> State:
    moments = [tensors[name] for name in sorted(name for name in tensors if name.startswith("moment."))]
    return State(meta["round"], Start(tensors["w"], tensors["alive"], moments), tensors.get("w_step"), meta["asked"], meta["proofs"])


def _provenance(task: Task, seconds: float, images: Any = None) -> dict[str, Any]:
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
