"""One process a cell: exact blame, one thread, and the caller's process as it was."""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import current_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import Done, OfCell, OnEvent
from sweepstake.run.children import THREADS
from sweepstake.run.executors import executor_for
from sweepstake.run.executors.processes import Worker, in_processes
from sweepstake.run.queue import Queue
from sweepstake.run.settings import Settings, Task
from sweepstake.run.store import Store
from tests.helpers import make_cell
from tests.small import small_study


def tell(pipe: Connection, kind: type[OfCell], *said: Any) -> None:
    """As a worker tells it: its cell is in the name of its process."""
    pipe.send_bytes(events.encode(kind(current_process().name.removeprefix("sweepstake "), *said)))


def say_where_you_are(task: bytes, pipe: Connection) -> None:
    loaded = "torch" in sys.modules
    import torch

    tell(pipe, Done, json.dumps({"loaded": loaded, "threads": {name: os.environ.get(name) for name in THREADS}, "torch": torch.get_num_threads(),
                                 "pid": os.getpid(), "main": getattr(sys.modules["__main__"], "__file__", None)}))


def die(task: bytes, pipe: Connection) -> None:
    if task == b"dies":
        os.kill(os.getpid(), signal.SIGKILL)
    tell(pipe, Done, "done")


def die_twice(task: bytes, pipe: Connection) -> None:
    tries = Path(task.decode())
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        os._exit(7)
    tell(pipe, Done, "done")


def sleep(task: bytes, pipe: Connection) -> None:
    time.sleep(float(task))
    tell(pipe, Done, "done")


class Listed:
    """Tasks that nobody else wants; one that dies is begun twice again."""

    def __init__(self, tasks: dict[str, bytes]):
        self.tasks, self.deaths = list(tasks.items()), Counter[str]()

    @property
    def is_over(self) -> bool:
        return not self.tasks

    def take(self) -> tuple[str, bytes] | None:
        return self.tasks.pop(0) if self.tasks else None

    def hear(self, event: events.Event) -> None:
        pass

    def died(self, id_: str) -> bool:
        self.deaths[id_] += 1
        return self.deaths[id_] < 3


def run(tasks: dict[str, bytes], work: Callable[[bytes, Connection], None], workers: int = 2, **how: Any) -> list[Any]:
    heard: list[Any] = []
    in_processes(Listed(tasks), work, workers, heard.append, **how)
    return heard


def test_a_worker_has_one_thread_and_the_callers_environment_is_unchanged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    main = sys.modules["__main__"]
    said = [json.loads(event.status) for event in run({"a": b"", "b": b""}, say_where_you_are) if event.kind == "done"]
    assert dict(os.environ) == before
    assert sys.modules["__main__"] is main
    assert len({event["pid"] for event in said} - {os.getpid()}) == 2
    for event in said:
        assert event["threads"] == dict.fromkeys(THREADS, "1")
        assert event["main"] is None  # The caller's script is not run again in a worker.
        assert event["loaded"]  # In the fork server, once: not in every worker.


def test_a_worker_that_always_dies_takes_nothing_with_it():
    events = run({"a": b"", "bad": b"dies", "c": b""}, die)
    assert sorted(event.id for event in events if event.kind == "done") == ["a", "c"]
    assert [(event.id, event.code, event.again) for event in events if event.kind == "died"] == [
        ("bad", -9, True), ("bad", -9, True), ("bad", -9, False)]


def test_a_worker_that_dies_twice_is_tried_a_third_time(tmp_path: Path):
    events = run({"a": str(tmp_path / "tries").encode()}, die_twice)
    assert [event.kind for event in events] == ["began", "died", "began", "died", "began", "done"]
    assert events[1].code == 7


def test_no_more_than_the_asked_number_run_at_a_time():
    running, most = 0, 0

    def count(event: Any) -> None:
        nonlocal running, most
        running += {"began": 1, "done": -1}[event.kind]
        most = max(most, running)

    in_processes(Listed({str(i): b"0.05" for i in range(5)}), sleep, 2, count)
    assert (running, most) == (0, 2)


def test_a_cell_over_its_time_limit_is_stopped():
    events = run({"slow": b"600", "fast": b"0"}, sleep, timeout_seconds=6.0)
    assert [event.id for event in events if event.kind == "done"] == ["fast"]
    assert [event.error for event in events if event.kind == "failed"] == ["over its limit of 0.1 minutes"]


def test_a_worker_at_its_limit_is_not_over_it_and_one_that_has_ended_never_is():
    worker: Any = Worker(None, None, "a", b"", began=100.0)  # pyright: ignore[reportArgumentType]
    assert [worker.is_over(60.0, now) for now in (100.0, 159.9, 160.0, 160.1)] == [False, False, False, True]
    assert not worker.is_over(None, 10.0**9)
    worker.last = Done("a", "done")
    assert not worker.is_over(60.0, 10.0**9)


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

    def look(task: Task, _: Store, on_event: OnEvent) -> str:
        on_event(Done(task.id, "flushed" if float(torch.tensor([1e-39]) * 1) == 0 else "kept"))
        return "done"

    worker.compute = look
    worker.work(task, pipe)


def test_a_worker_flushes_denormals(tmp_path: Path):
    Store(tmp_path / "runs")
    task = msgspec.json.encode(Task("a", make_cell(), str(tmp_path / "runs"), [], [], "s", ""))
    assert [event.status for event in run({"a": task}, say_of_denormals) if event.kind == "done"] == ["flushed"]


# The contract, which every executor keeps

EXECUTORS: dict[str, dict[str, Any]] = {
    "processes": {"workers": 1}, "stacked": {"stack": 2}, "dask": {}, "dask, stacked": {"stack": 2}, "ray": {"on": "ray"}}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.long) if name == "ray" else name for name in EXECUTORS])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a caller asks for to have this executor. Parcels come back after every round."""
    monkeypatch.setattr("sweepstake.run.executors.away.SECONDS", 0.0)
    asked = EXECUTORS[request.param]
    if request.param.startswith("dask"):
        return {"on": request.getfixturevalue("dask_address"), **asked}
    if request.param == "ray":
        request.getfixturevalue("ray_here")
    return asked


def tasks_of(store: Path, **changes: Any) -> list[Task]:
    return [Task(p.id, p.cell, str(store), [], [], "small", "") for p in small_study(**changes).planned]


def execute(tasks: list[Task], store: Path, how: dict[str, Any], hear: OnEvent = events.ignore) -> list[Any]:
    heard: list[Any] = []

    def on_event(event: events.Event) -> None:
        if isinstance(event, OfCell):  # And not that kernels are compiled, which the first cell of a machine tells.
            heard.append(event)
            hear(event)

    settings = Settings.of(small_study(), store=store, **how)
    with Queue(tasks, Store(store), on_event) as queue:
        executor_for(settings)(queue, settings, on_event)
    return heard


def ends(heard: list[Any]) -> dict[str, list[str]]:
    """The last events of each cell, by kind."""
    found: dict[str, list[str]] = {}
    for event in heard:
        if event.kind in ("done", "failed") or (event.kind == "died" and not event.again):
            found.setdefault(event.id, []).append(event.kind)
    return found


def test_settings_choose_the_executor(how: dict[str, Any]):
    chosen = executor_for(Settings.of(small_study(), **how)).__module__
    assert chosen == f"sweepstake.run.executors.{'away' if 'on' in how else 'stacked' if 'stack' in how else 'processes'}"


def test_no_task_is_no_event(tmp_path: Path, how: dict[str, Any]):
    assert execute([], tmp_path, how) == []


def test_every_round_is_told_in_order_and_every_cell_ends_once(tmp_path: Path, how: dict[str, Any]):
    tasks = tasks_of(tmp_path)
    heard = execute(tasks, tmp_path, how)
    for task in tasks:
        said = [event for event in heard if event.id == task.id and event.kind not in ("step", "saving")]
        assert [event.kind for event in said if event.kind != "began"] == ["resumed", "round", "round", "round", "done"]
        numbers = [(event.round, event.kept, event.accuracy) for event in said if event.kind == "round"]
        records = (Store(tmp_path).get(task.id) or {})["rounds"]
        assert numbers == [(record["round"], record["kept_fraction"], record["end"]["test"]["accuracy"]) for record in records]
        assert [number for number, _, _ in numbers] == [0, 1, 2]
        assert (said[-1].status, said[-1].computed, Store(tmp_path).status(task.id)) == ("done", True, "done")
    assert list(dict.fromkeys(event.id for event in heard)) == [task.id for task in tasks]


def test_what_is_in_the_store_is_done_and_not_computed(tmp_path: Path, how: dict[str, Any]):
    tasks = tasks_of(tmp_path)
    execute(tasks[:1], tmp_path, how)
    heard = execute(tasks, tmp_path, how)
    assert {event.id: event.computed for event in heard if event.kind == "done"} == {tasks[0].id: False, tasks[1].id: True}


def test_an_interrupt_keeps_what_is_finished_and_the_next_goes_on_from_there(tmp_path: Path, how: dict[str, Any]):
    (task, *_) = tasks = tasks_of(tmp_path, rounds=40, steps=20)[:1]

    def stop(event: events.Event) -> None:
        if isinstance(event, events.Round) and event.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(tasks, tmp_path, how, stop)
    with Store(tmp_path).claim(task.id) as free:
        assert free
    kept = Store(tmp_path).rounds_done(task.id)
    assert 2 <= kept < 41
    heard = execute(tasks, tmp_path, how)
    assert [event.round for event in heard if event.kind == "resumed"] == [kept]
    assert [event.round for event in heard if event.kind == "round"] == list(range(kept, 41))


def test_a_busy_cell_is_waited_for_and_its_neighbour_is_not(tmp_path: Path, how: dict[str, Any]):
    Store(tmp_path)
    tasks = tasks_of(tmp_path)
    held = ExitStack()
    held.enter_context(Store(tmp_path).claim(tasks[0].id))

    def let_go(event: events.Event) -> None:
        if isinstance(event, Done) and event.id == tasks[1].id:
            held.close()

    heard = execute(tasks, tmp_path, how, let_go)
    assert next(event.kind for event in heard if event.id == tasks[0].id) == "busy"
    assert ends(heard) == {tasks[1].id: ["done"], tasks[0].id: ["done"]}


def test_a_cell_that_fails_ends_no_other_and_goes_on_when_it_is_asked_for_again(tmp_path: Path, how: dict[str, Any]):
    good, bad = tasks_of(tmp_path)
    wrong = Task(bad.id, msgspec.structs.replace(bad.cell, control="transplant", donor={"rounds": -1}), *list(msgspec.structs.astuple(bad))[2:])
    heard = execute([wrong, good], tmp_path, how)
    assert ends(heard) == {bad.id: ["failed"], good.id: ["done"]}
    failure = Store(tmp_path).failure(bad.id) or {}
    assert failure["error"] == next(event.error for event in heard if event.kind == "failed")
    assert "Traceback" in failure["traceback"]
    assert ends(execute([bad], tmp_path, how)) == {bad.id: ["done"]}
    assert Store(tmp_path).failure(bad.id) is None


def test_a_store_that_cannot_be_written_ends_the_run_with_one_line(tmp_path: Path, how: dict[str, Any]):
    tasks = tasks_of(tmp_path)
    Store(tmp_path)
    (tmp_path / "cells" / tasks[0].id).write_text("")
    with pytest.raises(UserError, match="File exists"):
        execute(tasks, tmp_path, how)


def test_a_process_over_its_limit_is_a_failure_in_the_store(tmp_path: Path):
    """Of processes alone: a stack is one program, and has no limit of its own for a cell."""
    study = small_study(rounds=4000, steps=200, seeds=1, machine={"timeout_minutes": 0.02})
    settings, heard = Settings.of(study, store=tmp_path, workers=1), list[Any]()
    Store(tmp_path)
    task = Task(study.planned[0].id, study.planned[0].cell, str(tmp_path), [], [], "small", "")
    with Queue([task], Store(tmp_path), heard.append) as queue:
        executor_for(settings)(queue, settings, heard.append)
    assert ends(heard) == {task.id: ["failed"]}
    assert (Store(tmp_path).failure(task.id) or {})["error"] == "over its limit of 0.02 minutes"
