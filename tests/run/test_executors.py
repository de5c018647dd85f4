"""One process a cell: exact blame, one thread, and the caller's process as it was."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from sweepstake.run.executors import THREADS, in_processes


def tell(pipe: Connection, kind: str, **said: Any) -> None:
    pipe.send_bytes(json.dumps({"kind": kind, **said}).encode())


def say_where_you_are(task: bytes, pipe: Connection) -> None:
    loaded = "torch" in sys.modules
    import torch

    tell(pipe, "done", loaded=loaded, threads={name: os.environ.get(name) for name in THREADS}, torch=torch.get_num_threads(), pid=os.getpid(),
         main=getattr(sys.modules["__main__"], "__file__", None))


def die(task: bytes, pipe: Connection) -> None:
    if task == b"dies":
        os.kill(os.getpid(), signal.SIGKILL)
    tell(pipe, "done")


def die_twice(task: bytes, pipe: Connection) -> None:
    tries = Path(task.decode())
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        os._exit(7)
    tell(pipe, "done")


def busy_at_first(task: bytes, pipe: Connection) -> None:
    tried = Path(task.decode())
    tell(pipe, "done" if tried.exists() else "busy")
    tried.touch()


def sleep(task: bytes, pipe: Connection) -> None:
    time.sleep(float(task))
    tell(pipe, "done")


def run(tasks: dict[str, bytes], work: Callable[[bytes, Connection], None], workers: int = 2, **how: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    in_processes(list(tasks.items()), work, workers, events.append, **how)
    return events


def test_a_worker_has_one_thread_and_the_callers_environment_is_unchanged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    main = sys.modules["__main__"]
    said = [event for event in run({"a": b"", "b": b""}, say_where_you_are) if event["kind"] == "done"]
    assert dict(os.environ) == before
    assert sys.modules["__main__"] is main
    assert len({event["pid"] for event in said} - {os.getpid()}) == 2
    for event in said:
        assert event["threads"] == dict.fromkeys(THREADS, "1")
        assert event["main"] is None  # The caller's script is not run again in a worker.
        assert event["loaded"]  # In the fork server, once: not in every worker.


def test_a_worker_that_always_dies_takes_nothing_with_it():
    events = run({"a": b"", "bad": b"dies", "c": b""}, die)
    assert sorted(event["id"] for event in events if event["kind"] == "done") == ["a", "c"]
    assert [(event["id"], event["code"], event["again"]) for event in events if event["kind"] == "died"] == [
        ("bad", -9, True), ("bad", -9, True), ("bad", -9, False)]


def test_a_worker_that_dies_twice_is_tried_a_third_time(tmp_path: Path):
    events = run({"a": str(tmp_path / "tries").encode()}, die_twice)
    assert [event["kind"] for event in events] == ["began", "died", "began", "died", "began", "done"]
    assert events[1]["code"] == 7


def test_a_busy_cell_is_asked_for_again(tmp_path: Path):
    events = run({"a": str(tmp_path / "tried").encode()}, busy_at_first)
    assert [event["kind"] for event in events] == ["began", "busy", "began", "done"]


def test_no_more_than_the_asked_number_run_at_a_time():
    running, most = 0, 0

    def count(event: dict[str, Any]) -> None:
        nonlocal running, most
        running += {"began": 1, "done": -1}[event["kind"]]
        most = max(most, running)

    in_processes([(str(i), b"0.05") for i in range(5)], sleep, 2, count)
    assert (running, most) == (0, 2)


def test_a_cell_over_its_time_limit_is_stopped():
    events = run({"slow": b"60", "fast": b"0"}, sleep, timeout_seconds=1.0)
    assert [event["id"] for event in events if event["kind"] == "done"] == ["fast"]
    assert [event["error"] for event in events if event["kind"] == "failed"] == ["over its limit of 0.0166667 minutes"]


def test_an_interrupt_stops_every_worker_at_once():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        run({"a": b"60", "b": b"60"}, sleep)
    assert time.monotonic() - began < 4
    from multiprocessing import active_children

    assert [child for child in active_children() if child.name.startswith("sweepstake")] == []


def say_of_denormals(task: bytes, pipe: Connection) -> None:
    """The worker's own main, with a cell that only looks at its thread."""
    import torch

    from sweepstake.run import worker

    worker.compute = lambda *_: "flushed" if float(torch.tensor([1e-39]) * 1) == 0 else "kept"
    worker.work(task, pipe)


def test_a_worker_flushes_denormals(tmp_path: Path):
    import msgspec

    from sweepstake.run.store import Store
    from sweepstake.run.worker import Task
    from tests.helpers import make_cell

    Store(tmp_path / "runs")
    task = msgspec.json.encode(Task("a", make_cell(), str(tmp_path / "runs"), [], [], "s", ""))
    assert [event["status"] for event in run({"a": task}, say_of_denormals) if event["kind"] == "done"] == ["flushed"]
