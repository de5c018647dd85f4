"""Stacks as one program, in this process: on a card all cells that fit, side by side."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from sweepstake.base import events
from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.base.events import OnEvent
from sweepstake.engine.images import Images
from sweepstake.engine.memory import stack_limit
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import State
from sweepstake.engine.side_by_side import Finished, run_stack, train_in_stacks
from sweepstake.engine.stacked import StackTrainer
from sweepstake.run.files import CannotWrite
from sweepstake.run.queue import Queue
from sweepstake.run.settings import Settings, Task
from sweepstake.run.sitting import Bench, Lost, Sitting, fail, images_of, watch_with
from sweepstake.run.store import Store
from sweepstake.study.plan import program_of

POLL_SECONDS = 0.2
"""Between two looks at a queue all of whose cells others hold."""


def check_device(device: str) -> None:
    """The device is there, or one line that says what to do."""
    if device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: PyTorch sees no CUDA device here. "
                        "Leave it out to train on this machine's cores.")


def execute(queue: Queue, settings: Settings, on_event: OnEvent) -> None:
    """Compute what the queue has, a stack after another."""
    while not queue.is_over:
        first = queue.take()
        if first is None:
            time.sleep(POLL_SECONDS)
            continue
        images = images_of(first)
        stack = [first, *_beside(first, queue, _room(first, queue, images, settings) - 1)]
        for left in _train(stack, images, queue.store, settings, on_event):
            queue.lost(left)
        for task in stack:
            queue.end(task.id)


def _room(first: Task, queue: Queue, images: Images, settings: Settings) -> int:
    """How many cells like this one train side by side."""
    like = [task.cell for task in queue.waiting.values() if program_of(task.cell) == program_of(first.cell)]
    return settings.stack or stack_limit([first.cell, *like], images, settings.device)


def _beside(first: Task, queue: Queue, count: int) -> Iterator[Task]:
    """At most so many more cells of the same program, each of them ours now."""
    program = program_of(first.cell)
    for _ in range(count):
        if (task := queue.take(lambda task: program_of(task.cell) == program)) is None:
            return
        yield task


def _train(tasks: Sequence[Task], images: Images, store: Store, settings: Settings, on_event: OnEvent) -> list[str]:
    """One stack, all rounds of all its cells; the ids of those that another run has taken over meanwhile."""
    began = time.perf_counter()
    trainer, engine = ReferenceTrainer(tasks[0].cell, images), {"engine": "stacked", "device": settings.device}
    bench = Bench(store, on_event, trainer, lambda donor: ReferenceTrainer(donor, images), engine, began)
    lost = list[str]()
    if not (sittings := _open(tasks, bench, lost)):
        return lost
    left = dict(enumerate(sittings))
    try:
        for seat, record, state in _rounds(sittings, bench, settings):
            if seat in left and _is_at_its_end(left[seat], record, state, lost):
                del left[seat]
    except CannotWrite:
        raise
    except Exception as error:  # A stack is one program: what breaks it breaks every cell that is still in it.
        for sitting in left.values():
            with _losing(sitting.task, bench.on_event, lost):
                sitting.fail(error)
        return lost
    for sitting in left.values():  # Killed between its last round and its result: nothing was left to train.
        with _losing(sitting.task, bench.on_event, lost):
            sitting.finish()
    return lost


@contextmanager
def _losing(task: Task, on_event: OnEvent, lost: list[str]) -> Iterator[None]:
    """A cell that is another run's by now leaves the stack and ends no neighbour."""
    try:
        yield
    except Lost:
        lost.append(task.id)
        on_event(events.Busy(task.id))


def _open(tasks: Sequence[Task], bench: Bench, lost: list[str]) -> list[Sitting]:
    """Those that can begin; the others have failed, or are another run's."""
    opened: list[Sitting] = []
    for task in tasks:
        with _losing(task, bench.on_event, lost):
            try:
                opened.append(Sitting.open(task, bench))
            except (CannotWrite, Lost):
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

    return train_in_stacks(cells, [sitting.state for sitting in sittings], list(donors), len(cells), run)


def _is_at_its_end(sitting: Sitting, record: dict[str, Any] | Exception, state: State | None, lost: list[str]) -> bool:
    """Put a finished round into the store, or the error that ends the cell; whether it is done, failed or lost now."""
    with _losing(sitting.task, sitting.bench.on_event, lost):
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
    return True
