"""Who computes: one process a core, one cell a process, single-threaded kernels.

A process per cell gives exact blame: a worker that dies (killed, out of memory, a crash in a library) takes nothing
else with it, and its cell goes on from its last finished round in a new one.
"""

import json
import multiprocessing
import os
import sys
import sysconfig
import time
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sweepstake.base.errors import UserError

START = "forkserver" if sys.platform != "win32" else "spawn"
DEATHS_ALLOWED = 2
"""A cell whose worker died this often before is tried once more; after that it has failed."""

Event = dict[str, Any]


@dataclass
class Worker:
    """A running process and the end of the pipe it talks into."""

    process: BaseProcess
    pipe: Connection
    id: str
    began: float
    last: Event | None = None


def in_processes(tasks: Sequence[tuple[str, bytes]], work: Callable[[bytes, Connection], None], workers: int,
                 on_event: Callable[[Event], None], *, timeout_seconds: float | None = None) -> None:
    """Compute every task, `workers` at a time; events arrive as they happen. Returns when all have ended.

    A task that another run is computing (busy) is asked for again until its result is there.
    """
    if multiprocessing.current_process().daemon:
        raise UserError("run_study: was called in a daemonic process (a worker of ours, or of a Pool), which may start none. Call it in the "
                        "main process, under `if __name__ == \"__main__\":`.")
    context = multiprocessing.get_context(START)
    waiting, deaths = deque(tasks), dict[str, int]()
    tasks_by_id, running, later = dict(tasks), list[Worker](), list[tuple[float, str]]()
    if START == "forkserver":
        _start_server(context)
    try:
        while waiting or running or later:
            while waiting and len(running) < workers:
                id_, task = waiting.popleft()
                running.append(_start(context, work, id_, task))
                on_event({"kind": "began", "id": id_})
            due = [each for each in later if each[0] <= time.monotonic()]
            waiting.extend((id_, tasks_by_id[id_]) for _, id_ in due)
            later = [each for each in later if each not in due]
            handles = [h for worker in running for h in (worker.pipe, worker.process.sentinel)]
            wait(handles, timeout=0.2) if handles else time.sleep(0.1)
            for worker in list(running):
                _read(worker, on_event)
                ended = worker.last is not None and worker.last["kind"] in ("done", "failed")
                if timeout_seconds and not ended and time.monotonic() - worker.began > timeout_seconds and worker.process.is_alive():
                    worker.process.kill()
                    told = f"over its limit of {timeout_seconds / 60:g} minutes"
                    worker.last = {"kind": "failed", "id": worker.id, "error": told, "killed": True}  # So it stored nothing itself.
                    on_event(worker.last)
                if worker.process.is_alive():
                    continue
                worker.process.join()
                _read(worker, on_event)
                running.remove(worker)
                worker.pipe.close()
                ended = worker.last["kind"] if worker.last else ""
                if ended == "busy":
                    later.append((time.monotonic() + 1.0, worker.id))
                elif ended not in ("done", "failed"):
                    deaths[worker.id] = deaths.get(worker.id, 0) + 1
                    again = deaths[worker.id] <= DEATHS_ALLOWED
                    on_event({"kind": "died", "id": worker.id, "code": worker.process.exitcode, "again": again})
                    if again:
                        waiting.appendleft((worker.id, tasks_by_id[worker.id]))
    finally:
        for worker in running:
            worker.process.kill()
        for worker in running:
            worker.process.join()


def _start_server(context: Any) -> None:
    """The fork server, our worker and torch already imported in it: a cell then starts in hundredths of a second."""
    from multiprocessing.forkserver import ensure_running

    context.set_forkserver_preload(["sweepstake.run.worker", "sweepstake.run.preload"])
    # Python 3.11 hands the server no sys.path, and it says nothing when it cannot import what it should. Our own folder may be the
    # current one (a checkout), so Python's own modules come before it.
    standard = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")]
    path = [*_python_path(), *filter(None, standard), str(Path(__file__).parents[2])]
    with _quiet_environment(PYTHONPATH=os.pathsep.join(path)), _installed_first():
        ensure_running()


def _python_path() -> list[str]:
    """PYTHONPATH without its empty entries, which mean the current folder."""
    return list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))


def _start(context: Any, work: Callable[[bytes, Connection], None], id_: str, task: bytes) -> Worker:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(task, theirs), daemon=True, name=f"sweepstake {id_}")
    with _quiet_environment(PYTHONPATH=os.pathsep.join(_python_path())), _installed_first(), _no_main():
        process.start()
    theirs.close()
    return Worker(process, ours, id_, time.monotonic())


def _read(worker: Worker, on_event: Callable[[Event], None]) -> None:
    try:
        while worker.pipe.poll():
            worker.last = {**json.loads(worker.pipe.recv_bytes()), "id": worker.id}
            on_event(worker.last)
    except (EOFError, OSError):
        return


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextmanager
def _quiet_environment(**more: str) -> Iterator[None]:
    """One thread a worker, and no current folder on its path: said before anything is imported there. Our own environment is left as it was."""
    said = {**dict.fromkeys(THREADS, "1"), "PYTHONSAFEPATH": "1", **more}
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
    """A worker finds what is installed before what lies in the current folder or the script's, which Python has put first in ours."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    put = {"", *([str(Path(script).absolute().parent)] if script else [])} - set(map(os.path.abspath, _python_path()))
    if str(Path(__file__).parents[2]) in map(os.path.abspath, put):
        put = set()  # Ours itself lies there, and must be found before another that is installed.
    before = list(sys.path)
    sys.path.sort(key=lambda entry: entry in put)
    try:
        yield
    finally:
        sys.path[:] = before
