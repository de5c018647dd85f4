"""One process a core, one cell a process, single-threaded kernels.

A process per cell gives exact blame: a worker that dies (killed, out of memory, a crash in a library) takes nothing
else with it, and its cell goes on from its last finished round in a new one.
"""

import multiprocessing
import os
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import msgspec

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import Event, OnEvent
from sweepstake.run.children import python_path
from sweepstake.run.executors.server import begin, context, installed_first, quiet_environment
from sweepstake.run.queue import Queue
from sweepstake.run.settings import Settings

SAVING_SECONDS = 5.0
"""For which a worker that is to stop is left to put its finished round into the store."""

Work = Callable[[bytes, Connection], None]


def execute(queue: Queue, settings: Settings, on_event: OnEvent) -> None:
    """Compute what the queue has, `settings.workers` cells at a time."""
    from sweepstake.run.worker import work  # With PyTorch.

    in_processes(Cells(queue), work, settings.workers, on_event, timeout_seconds=settings.timeout_seconds)


class Source(Protocol):
    """Where tasks come from, one when there is room for it, and who is told what became of each."""

    @property
    def is_over(self) -> bool:
        """Whether no task will come any more, and none runs."""
        ...

    def take(self) -> tuple[str, bytes] | None:
        """The next task: its id, and what `work` takes. None where there is none now."""
        ...

    def hear(self, event: Event) -> None:
        """What a task's worker told."""
        ...

    def died(self, id_: str) -> bool:
        """A worker ended without a word; whether its task is begun again."""
        ...


@dataclass
class Cells:
    """The cells of a queue, as the pool takes them."""

    queue: Queue

    @property
    def is_over(self) -> bool:
        return self.queue.is_over

    def take(self) -> tuple[str, bytes] | None:
        task = self.queue.take()
        return None if task is None else (task.id, msgspec.json.encode(task))

    def hear(self, event: Event) -> None:
        """What a worker that was ended could not put into the store is put there."""
        match event:
            case events.Stopped():
                raise UserError(event.error)
            case events.Round():
                self.queue.moved_on(event.id)
            case events.Busy():
                self.queue.lost(event.id)
            case events.Failed(killed=True):
                self.queue.store.fail(event.id, event.error, "", {})
                self.queue.end(event.id)
            case events.Done() | events.Failed():
                self.queue.end(event.id)
            case _:
                pass

    def died(self, id_: str) -> bool:
        return self.queue.died(id_)


def in_processes(source: Source, work: Work, workers: int, on_event: OnEvent, *,
                 timeout_seconds: float | None = None) -> None:
    """Compute every task, `workers` at a time; events arrive as they happen."""
    if source.is_over:
        return
    if multiprocessing.current_process().daemon:
        raise UserError("run_study: was called in a daemonic process (a worker of ours, or of a Pool), "
                        "which may start none. "
                        "Call it in the main process, under `if __name__ == \"__main__\":`.")
    begin()
    Pool(context(), source, work, on_event, timeout_seconds).run(workers)


@dataclass
class Worker:
    """A running process and the end of the pipe it talks into."""

    process: BaseProcess
    pipe: Connection
    id: str
    task: bytes
    began: float
    last: Event | None = None

    @property
    def has_ended(self) -> bool:
        return isinstance(self.last, events.Done | events.Failed | events.Busy)

    def is_over(self, limit_seconds: float | None, now: float) -> bool:
        """Whether it has taken longer than its limit, and is not at its end."""
        return bool(limit_seconds) and not self.has_ended and now - self.began > limit_seconds


@dataclass
class Pool:
    """The workers that run, and the tasks that are to be begun again."""

    context: Any
    source: Source
    work: Work
    on_event: OnEvent
    limit_seconds: float | None
    running: list[Worker] = field(default_factory=list[Worker])
    again: deque[tuple[str, bytes]] = field(default_factory=deque[tuple[str, bytes]])

    def run(self, workers: int) -> None:
        """Until every task has ended, or an event's hearer raises: then every worker ends with it."""
        try:
            while self.running or self.again or not self.source.is_over:
                while len(self.running) < workers and (task := self._next()) is not None:
                    self._start(*task)
                handles = [handle for worker in self.running for handle in (worker.pipe, worker.process.sentinel)]
                wait(handles, timeout=0.2) if handles else time.sleep(0.1)
                for worker in list(self.running):
                    self._attend(worker)
        finally:
            for worker in self.running:
                self._stop(worker)

    def _next(self) -> tuple[str, bytes] | None:
        return self.again.popleft() if self.again else self.source.take()

    def _start(self, id_: str, task: bytes) -> None:
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=self.work, args=(task, theirs), daemon=True, name=f"sweepstake {id_}")
        with quiet_environment(PYTHONPATH=os.pathsep.join(python_path())), installed_first(), _no_main():
            process.start()
        theirs.close()
        self.running.append(Worker(process, ours, id_, task, time.monotonic()))
        self.on_event(events.Began(id_))

    def _attend(self, worker: Worker) -> None:
        """Hear what it tells; stop it at its limit; and once it has ended see what is to follow."""
        self._read(worker)
        over = worker.is_over(self.limit_seconds, time.monotonic()) and worker.process.is_alive()
        if over:
            worker.process.kill()
        elif worker.process.is_alive():
            return
        worker.process.join()
        self._read(worker)
        if over and not worker.has_ended:  # Told last: what it said before it was stopped is no end.
            error = f"over its limit of {(self.limit_seconds or 0) / 60:g} minutes"
            self._hear(worker, events.Failed(worker.id, error, killed=True))
        self.running.remove(worker)
        worker.pipe.close()
        if not worker.has_ended:
            again = self.source.died(worker.id)
            if again:
                self.again.append((worker.id, worker.task))
            self.on_event(events.Died(worker.id, worker.process.exitcode, again))

    def _read(self, worker: Worker) -> None:
        try:
            while worker.pipe.poll():
                self._hear(worker, events.decode(worker.pipe.recv_bytes()))
        except (EOFError, OSError):
            return

    def _hear(self, worker: Worker, event: Event) -> None:
        worker.last = event
        self.source.hear(event)
        self.on_event(event)

    def _stop(self, worker: Worker) -> None:
        """End it; not while it puts a round into the store, if that takes a moment."""
        until = time.monotonic() + SAVING_SECONDS
        with suppress(EOFError, OSError, UserError):
            while worker.pipe.poll(max(0.0, until - time.monotonic()) if isinstance(worker.last, events.Saving) else 0):
                worker.last = events.decode(worker.pipe.recv_bytes())
        worker.process.kill()
        worker.process.join()


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in every worker: ours need nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
