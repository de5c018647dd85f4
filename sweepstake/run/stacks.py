"""Stacks as one program, in this process: on a card all cells that fit, side by side."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.stacked import StackTrainer, run_stack, stack_limit, train_in_stacks
from sweepstake.run.data import decoded_cache, load_data
from sweepstake.run.executors import Event
from sweepstake.run.files import CannotWrite
from sweepstake.run.journal import Journal, whole
from sweepstake.run.store import Store
from sweepstake.run.worker import Task, donor_masks, provenance_of, said_of


def check_device(device: str) -> None:
    """The device is there, or one line that says what to do."""
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: PyTorch sees no CUDA device here. Leave it out to train on this machine's cores.")


def in_stacks(stacks: Sequence[Sequence[Task]], device: str, limit: int | None, on_event: Callable[[Event], None]) -> None:
    """Compute every stack, one after another; a cell that another run is computing is waited for.

    Transplants come last: their donors, where the study has them, are in the store then, and are not trained again.
    """
    waiting = [part for last in (False, True) for stack in stacks
               if (part := [task for task in stack if (task.cell.control == "transplant") == last])]
    while waiting:
        waiting = [busy for stack in waiting if (busy := _compute(stack, device, limit, on_event))]
        if waiting:
            time.sleep(1.0)


def _compute(stack: Sequence[Task], device: str, limit: int | None, on_event: Callable[[Event], None]) -> list[Task]:
    """One stack, all rounds of all its cells; returns those that another run holds."""
    store = Store(stack[0].store)
    with ExitStack() as claims:
        ours = [task for task in stack if claims.enter_context(store.claim(task.id))]
        for task in [task for task in ours if store.get(task.id) is not None]:
            on_event({"kind": "done", "id": task.id, "status": store.status(task.id), "computed": False})
        todo = [task for task in ours if store.get(task.id) is None]
        if todo:
            _train(todo, store, device, limit, on_event)
    return [task for task in stack if task not in ours]


def _train(tasks: Sequence[Task], store: Store, device: str, limit: int | None, on_event: Callable[[Event], None]) -> None:
    began = time.perf_counter()
    cells = [task.cell for task in tasks]
    images = prepare(cells[0], load_data(cells[0].dataset, [Path(d) for d in tasks[0].data], decoded_cache()))
    trainer = ReferenceTrainer(cells[0], images)

    def watch(id_: str, round_: int, step: int, steps: int) -> None:
        on_event({"kind": "step", "id": id_, "round": round_, "share": step / max(steps, 1)})

    def failed(task: Task, error: Exception) -> None:
        store.fail(task.id, said_of(error), "".join(traceback.format_exception(error)), provenance_of(task, time.perf_counter() - began))
        on_event({"kind": "failed", "id": task.id, "error": said_of(error)})

    journals: list[Journal] = []
    begun, donors = list[Task](), dict[str, Mapping[int, Tensor] | None]()

    def told(kind: str, **said: str) -> None:
        on_event({"kind": kind, **said})

    for task in tasks:
        try:
            store.begin(task.id, task.cell)
            donor = donor_masks(store, task, trainer.net.size, lambda donor: ReferenceTrainer(donor, images), told)
            journals.append(Journal.open(store, task.id, task.cell, trainer, donor))
            donors[task.id] = whole(donor, trainer.net.size)
        except CannotWrite:
            raise
        except Exception as error:
            failed(task, error)
            continue
        begun.append(task)
        on_event({"kind": "resumed", "id": task.id, "round": journals[-1].state.round})
    tasks, cells = begun, [task.cell for task in begun]
    if not tasks:
        return
    finished = train_in_stacks(cells, [journal.state for journal in journals], [task.id for task in tasks],
                               limit or stack_limit(cells, images, device),
                               lambda c, s, n: run_stack(StackTrainer(c, images, device, watch), c, s, n, [donors[id_] for id_ in n]))
    ended: set[int] = set()
    try:
        for i, record, state in finished:
            task, journal = tasks[i], journals[i]
            if i in ended:
                continue
            if isinstance(record, Exception) or state is None:
                failed(task, record if isinstance(record, Exception) else RuntimeError("a round without a state"))
                ended.add(i)
                continue
            try:
                journal.add(record, state, time.perf_counter() - began)
            except BrokenControl as error:
                failed(task, error)
                ended.add(i)
                continue
            on_event({"kind": "round", "id": task.id, "round": record["round"]})
            if state.round > task.cell.rounds:
                _end(task, journal, trainer.net.size, time.perf_counter() - began, images, device, on_event)
                ended.add(i)
    except CannotWrite:
        raise
    except Exception as error:  # A stack is one program: what breaks it breaks every cell that is still in it.
        for i in set(range(len(tasks))) - ended:
            failed(tasks[i], error)
        return
    for i, journal in enumerate(journals):
        if i not in ended:  # Killed between its last round and its result: nothing was left to train.
            _end(tasks[i], journal, trainer.net.size, time.perf_counter() - began, images, device, on_event)


def _end(task: Task, journal: Journal, size: int, seconds: float, images: Images, device: str, on_event: Callable[[Event], None]) -> None:
    said = {**provenance_of(task, journal.spent + seconds, images), "engine": "stacked", "device": device}
    on_event({"kind": "done", "id": task.id, "status": journal.finish(size, said), "computed": True})
