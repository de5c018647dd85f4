"""One process a core, one cell a process, single-threaded kernels.

A process per cell gives exact blame: a worker that dies (killed, out of memory, a crash in a library) takes nothing
else with it, and its cell goes on from its last finished round in a new one.
"""

import multiprocessing
import os
import sys
import time
import types
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import Event, OnEvent
from sweepstake.run.children import import_path, python_path, quiet
from sweepstake.run.settings import Settings, Task
from sweepstake.run.store import Store
from sweepstake.run.worker import work

START = "forkserver" if sys.platform != "win32" else "spawn"
DEATHS_ALLOWED = 2
"""A cell whose worker died this often before is tried once more; after that it has failed."""
BUSY_SECONDS = 1.0
"""After which a cell that another run holds is asked for again."""

Work = Callable[[bytes, Connection], None]


def execute(tasks: Sequence[Task], settings: Settings, on_event: OnEvent) -> None:
    """Compute every task, `settings.workers` at a time, in the order given."""
    store = Store(settings.store)

    def heard(event: Event) -> None:
        """What a worker that has ended could not put into the store is put there."""
        match event:
            case events.Stopped():
                raise UserError(event.error)
            case events.Died(again=False):
                error = f"its worker died three times (exit code {event.code}): killed, or out of memory"
                store.fail(event.id, error, "", {})
            case events.Failed(killed=True):
                store.fail(event.id, event.error, "", {})
            case _:
                pass
        on_event(event)

    if tasks:
        in_processes([(task.id, msgspec.json.encode(task)) for task in tasks], work, settings.workers, heard,
                     timeout_seconds=settings.timeout_seconds)


def in_processes(tasks: Sequence[tuple[str, bytes]], work: Work, workers: int, on_event: OnEvent, *,
                 timeout_seconds: float | None = None) -> None:
    """Compute every task (its id, and what `work` takes), `workers` at a time; events arrive as they happen."""
    if multiprocessing.current_process().daemon:
        raise UserError("run_study: was called in a daemonic process (a worker of ours, or of a Pool), "
                        "which may start none. "
                        "Call it in the main process, under `if __name__ == \"__main__\":`.")
    context = multiprocessing.get_context(START)
    if START == "forkserver":
        _start_server(context)
    Pool(context, dict(tasks), work, on_event, timeout_seconds).run(workers)


@dataclass
class Worker:
    """A running process and the end of the pipe it talks into."""

    process: BaseProcess
    pipe: Connection
    id: str
    began: float
    last: Event | None = None

    @property
    def has_ended(self) -> bool:
        return isinstance(self.last, events.Done | events.Failed)

    def is_over(self, limit_seconds: float | None, now: float) -> bool:
        """Whether it has taken longer than its limit, and is not at its end."""
        return bool(limit_seconds) and not self.has_ended and now - self.began > limit_seconds


@dataclass
class Pool:
    """Tasks that wait, the workers that run, and the tasks that are busy elsewhere."""

    context: Any
    tasks: dict[str, bytes]
    work: Work
    on_event: OnEvent
    limit_seconds: float | None
    running: list[Worker] = field(default_factory=list[Worker])
    busy: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    deaths: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self):
        self.waiting = deque(self.tasks)

    def run(self, workers: int) -> None:
        """Until every task has ended, or an event's hearer raises: then every worker ends with it."""
        try:
            while self.waiting or self.running or self.busy:
                while self.waiting and len(self.running) < workers:
                    self._start(self.waiting.popleft())
                due = [each for each in self.busy if each[0] <= time.monotonic()]
                self.waiting.extend(id_ for _, id_ in due)
                self.busy = [each for each in self.busy if each not in due]
                handles = [handle for worker in self.running for handle in (worker.pipe, worker.process.sentinel)]
                wait(handles, timeout=0.2) if handles else time.sleep(0.1)
                for worker in list(self.running):
                    self._attend(worker)
        finally:
            for worker in self.running:
                worker.process.kill()
            for worker in self.running:
                worker.process.join()

    def _start(self, id_: str) -> None:
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=self.work, args=(self.tasks[id_], theirs), daemon=True,
                                       name=f"sweepstake {id_}")
        with _quiet_environment(PYTHONPATH=os.pathsep.join(python_path())), _installed_first(), _no_main():
            process.start()
        theirs.close()
        self.running.append(Worker(process, ours, id_, time.monotonic()))
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
        if isinstance(worker.last, events.Busy):
            self.busy.append((time.monotonic() + BUSY_SECONDS, worker.id))
        elif not worker.has_ended:
            self.deaths[worker.id] += 1
            again = self.deaths[worker.id] <= DEATHS_ALLOWED
            self.on_event(events.Died(worker.id, worker.process.exitcode, again))
            if again:
                self.waiting.appendleft(worker.id)

    def _read(self, worker: Worker) -> None:
        try:
            while worker.pipe.poll():
                self._hear(worker, events.decode(worker.pipe.recv_bytes()))
        except (EOFError, OSError):
            return

    def _hear(self, worker: Worker, event: Event) -> None:
        worker.last = event
        self.on_event(event)


def _start_server(context: Any) -> None:
    """The fork server, our worker and torch already imported in it: a cell then starts in hundredths of a second."""
    from multiprocessing.forkserver import ensure_running

    context.set_forkserver_preload(["sweepstake.run.worker", "sweepstake.run.preload"])
    # Python 3.11 hands the server no sys.path, and it says nothing when it cannot import what it should.
    with _quiet_environment(PYTHONPATH=os.pathsep.join(import_path())), _installed_first():
        ensure_running()


@contextmanager
def _quiet_environment(**more: str) -> Iterator[None]:
    """What is said to a worker before anything is imported there; our own environment is left as it was."""
    said = {**quiet(), **more}
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _no_main() -> Iterator[None]:
    """Keep multiprocessing from running the user's script again in every worker: ours need nothing of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _installed_first() -> Iterator[None]:
    """A worker finds what is installed before what lies in the current folder or the script's.

    Python has put those first in ours.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    put = {"", *([str(Path(script).absolute().parent)] if script else [])} - set(map(os.path.abspath, python_path()))
    if str(Path(__file__).parents[3]) in map(os.path.abspath, put):
        put = set()  # Ours itself lies there, and must be found before another that is installed.
    before = list(sys.path)
    sys.path.sort(key=lambda entry: entry in put)
    try:
        yield
    finally:
        sys.path[:] = before
