"""Stacks as one program, in this process: on a card all cells that fit, side by side."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from sweepstake.base import events
from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.base.events import OnEvent
from sweepstake.engine.memory import stack_limit
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import State
from sweepstake.engine.side_by_side import Finished, run_stack, train_in_stacks
from sweepstake.engine.stacked import StackTrainer
from sweepstake.run.files import CannotWrite
from sweepstake.run.settings import Settings, Task
from sweepstake.run.sitting import Bench, Sitting, fail, images_of, watch_with
from sweepstake.run.store import Store
from sweepstake.study.plan import stack_cells
from sweepstake.study.study import Planned


def check_device(device: str) -> None:
    """The device is there, or one line that says what to do."""
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: PyTorch sees no CUDA device here. "
                        "Leave it out to train on this machine's cores.")


def execute(tasks: Sequence[Task], settings: Settings, on_event: OnEvent) -> None:
    """Compute every stack, one after another, `settings.stack` cells side by side.

    Transplants come last: their donors, where the study has them, are in the store then, and are not trained again.
    """
    store, waiting = Store(settings.store), stacks_of(tasks)
    while waiting:
        waiting = [busy for stack in waiting if (busy := _compute(stack, store, settings, on_event))]
        if waiting:
            time.sleep(1.0)


def stacks_of(tasks: Sequence[Task]) -> list[list[Task]]:
    """The cells that one program trains side by side; transplants last."""
    by_id = {task.id: task for task in tasks}
    planned = [Planned(task.id, task.cell, {}) for task in tasks]
    stacks = [[by_id[each.id] for each in stack] for stack in stack_cells(planned)]
    return [part for last in (False, True) for stack in stacks
            if (part := [task for task in stack if (task.cell.control == "transplant") == last])]


def _compute(stack: Sequence[Task], store: Store, settings: Settings, on_event: OnEvent) -> list[Task]:
    """One stack, all rounds of all its cells; returns those that another run holds."""
    busy, todo = list[Task](), list[Task]()
    with ExitStack() as claims:
        for task in stack:
            if not claims.enter_context(store.claim(task.id)):
                busy.append(task)
                on_event(events.Busy(task.id))
            elif (result := store.get(task.id)) is not None:
                on_event(events.Done(task.id, result["status"], computed=False))
            else:
                todo.append(task)
        if todo:
            _train(todo, store, settings, on_event)
    return busy


def _train(tasks: Sequence[Task], store: Store, settings: Settings, on_event: OnEvent) -> None:
    began = time.perf_counter()
    images = images_of(tasks[0])
    trainer, engine = ReferenceTrainer(tasks[0].cell, images), {"engine": "stacked", "device": settings.device}
    bench = Bench(store, on_event, trainer, lambda donor: ReferenceTrainer(donor, images), engine, began)
    if not (sittings := _open(tasks, bench)):
        return
    left = dict(enumerate(sittings))
    try:
        for seat, record, state in _rounds(sittings, bench, settings):
            if seat in left and _is_at_its_end(left[seat], record, state):
                del left[seat]
    except CannotWrite:
        raise
    except Exception as error:  # A stack is one program: what breaks it breaks every cell that is still in it.
        for sitting in left.values():
            sitting.fail(error)
        return
    for sitting in left.values():  # Killed between its last round and its result: nothing was left to train.
        sitting.finish()


def _open(tasks: Sequence[Task], bench: Bench) -> list[Sitting]:
    """Those that can begin; the others have failed."""
    opened: list[Sitting] = []
    for task in tasks:
        try:
            opened.append(Sitting.open(task, bench))
        except CannotWrite:
            raise
        except Exception as error:
            fail(task, error, bench.store, bench.seconds, bench.on_event)
    return opened


def _rounds(sittings: Sequence[Sitting], bench: Bench, settings: Settings) -> Iterator[Finished]:
    """Every round of every cell as it is finished, with its place among the sittings."""
    cells, images, device = [sitting.task.cell for sitting in sittings], bench.trainer.images, settings.device
    donors = {sitting.task.id: sitting.donor_masks for sitting in sittings}

    def run(cells: list[Cell], states: list[State], ids: list[str]) -> Iterator[Finished]:
        trainer = StackTrainer(cells, images, device, watch_with(bench.on_event))
        return run_stack(trainer, cells, states, ids, [donors[id_] for id_ in ids])

    limit = settings.stack or stack_limit(cells, images, device)
    return train_in_stacks(cells, [sitting.state for sitting in sittings], list(donors), limit, run)


def _is_at_its_end(sitting: Sitting, record: dict[str, Any] | Exception, state: State | None) -> bool:
    """Put a finished round into the store, or the error that ends the cell; whether it is done now, or has failed."""
    if isinstance(record, Exception) or state is None:
        sitting.fail(record if isinstance(record, Exception) else RuntimeError("a round without a state"))
        return True
    try:
        sitting.add(record, state)
    except BrokenControl as error:
        sitting.fail(error)
        return True
    if ended := state.round > sitting.task.cell.rounds:
        sitting.finish()
    return ended
