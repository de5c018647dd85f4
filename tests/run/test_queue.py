"""The queue: any number of runs on one store bring every cell to its end once."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sweepstake.base.errors import UserError
from sweepstake.base.events import Busy, Done, Failed
from sweepstake.pieces import cell_id
from sweepstake.run import provenance
from sweepstake.run.claims import Claims
from sweepstake.run.queue import Queue
from sweepstake.run.run import run_study
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from sweepstake.study.study import load_study
from tests.helpers import make_cell
from tests.run.test_run import python, run, wait_for
from tests.small import small_study

ROOT = Path(__file__).parents[2]


def tasks_of(store: Path, **changes: Any) -> list[Task]:
    return [Task(p.id, p.cell, str(store), [], [], "small", "") for p in small_study(**changes).planned]


def queue_on(store: Path, tasks: list[Task] | None = None, heard: list[Any] | None = None, **how: Any) -> Queue:
    hear = (lambda event: None) if heard is None else heard.append
    return Queue(tasks_of(store) if tasks is None else tasks, Store(store), hear, **how)


def ended(code: str) -> int:
    """The exit code of a fresh Python."""
    running = python(code)
    running.communicate(timeout=120)
    return running.returncode


def finish(queue: Queue, task: Task) -> None:
    """The cell is computed, as far as a store can tell."""
    queue.store.begin(task.id, task.cell)
    queue.store.finish(task.id, "done", [{"round": 0}], {}, {})
    queue.end(task.id)


def test_two_runs_share_the_cells_and_each_hears_of_the_others_ends(tmp_path: Path):
    heard: list[Any] = []
    one, two = queue_on(tmp_path), queue_on(tmp_path, heard=heard)
    first, second = one.take(), two.take()
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == tuple(task.id for task in tasks_of(tmp_path))
    assert heard == [Busy(first.id)]
    assert two.take() is None
    finish(one, first)
    finish(two, second)
    assert not two.is_over
    two._looks.clear()
    assert two.take() is None
    assert heard[1:] == [Done(first.id, "done", computed=False)]
    assert two.is_over
    assert Store(tmp_path).holders() == {}


def test_a_run_that_does_not_wait_is_over_once_others_hold_the_rest(tmp_path: Path):
    one, patient, hasty = queue_on(tmp_path), queue_on(tmp_path), queue_on(tmp_path, waits=False)
    assert [one.take() is not None, one.take() is not None] == [True, True]
    assert patient.take() is None
    assert hasty.take() is None
    assert (patient.is_over, hasty.is_over) == (False, True)
    one.claims.close()
    assert not hasty.is_over  # What is free again is not left behind.


def test_what_a_run_holds_is_free_when_it_ends(tmp_path: Path):
    with queue_on(tmp_path) as queue:
        assert queue.take() is not None
    assert Store(tmp_path).holders() == {}


def test_a_transplant_waits_for_a_donor_that_is_among_the_cells(tmp_path: Path):
    donor = make_cell()
    receiver = msgspec.structs.replace(donor, control="transplant", donor={}, donor_mask="shuffled")
    tasks = [Task(cell_id(cell), cell, str(tmp_path), [], [], "small", "") for cell in (receiver, donor)]
    queue = queue_on(tmp_path, tasks)
    taken = queue.take()
    assert taken is not None
    assert taken.cell == donor
    assert queue.take() is None
    finish(queue, taken)
    after = queue.take()
    assert after is not None
    assert after.cell == receiver


def test_a_cell_that_kills_whoever_computes_it_is_given_up_and_says_where(tmp_path: Path):
    """Over all runs together: each of these is killed before it can say anything."""
    code = f"""
import os, signal
from sweepstake.run.queue import Queue
from sweepstake.run.store import Store
from tests.run.test_queue import tasks_of
Queue(tasks_of({str(tmp_path)!r})[:1], Store({str(tmp_path)!r}), print).take()
os.kill(os.getpid(), signal.SIGKILL)
"""
    Store(tmp_path)
    for _ in range(3):
        assert ended(code) == -signal.SIGKILL
    heard: list[Any] = []
    queue = queue_on(tmp_path, heard=heard)
    taken = queue.take()
    first, second = tasks_of(tmp_path)
    assert taken is not None
    assert taken.id == second.id
    (failed,) = heard
    assert isinstance(failed, Failed)
    assert failed.id == first.id
    assert re.fullmatch(r"begun 3 times at round 0 \(.+, process \d+; .+, process \d+; .+, process \d+\), and whoever computed it ended each time "
                        r"without a word: killed, or out of memory", failed.error)
    assert Store(tmp_path).status(first.id) == "failed"


def test_a_failure_of_another_run_is_heard_and_an_old_one_is_tried_again(tmp_path: Path):
    task, *_ = tasks_of(tmp_path)
    Store(tmp_path).fail(task.id, "ValueError: old", "", {})
    heard: list[Any] = []
    one, two = queue_on(tmp_path, [task]), queue_on(tmp_path, [task], heard)
    assert one.take() is not None
    one.store.fail(task.id, "ValueError: new", "", {})
    one.end(task.id)
    assert two.take() is None
    assert heard == [Failed(task.id, "ValueError: new")]
    assert two.is_over


def test_a_run_whose_cell_was_taken_over_while_it_was_frozen_leaves_it(tmp_path: Path):
    """It writes no round of it any more, and takes the other's result."""
    study, taken = small_study(seeds=1), list[str]()
    (planned,) = study.planned
    other = Claims(tmp_path / "runs" / "claims")

    def take_over(event: Any) -> None:
        if event.kind == "round" and event.round == 0 and not taken:
            taken.append(event.id)
            assert other.take(event.id, 1, other.all()[event.id]) is not None
        if event.kind == "busy":
            other.close()

    table, events = run(study, tmp_path / "runs", stack=1, on_event=take_over)
    assert taken == [planned.id]
    assert [event.round for event in events if event.kind == "resumed"] == [0, 1]
    assert table == run(study, tmp_path / "undisturbed", stack=1)[0]


# Many copies of one command

COMMAND = "import sys; from sweepstake.__main__ import command; sys.argv[0] = 'sweepstake'; command()"


def copy(study: Path, store: Path, *more: str) -> subprocess.Popen[str]:
    return python(COMMAND, "run", study, "--store", store, "--out", store.with_name("report"), *more)


def write_study(folder: Path, **changes: object) -> Path:
    lines = {"model": {"name": "mlp", "hidden": [8]}, "init": ["xavier_normal", "zeros"], "seeds": 3, "steps": 20, "rounds": 3, **changes}
    path = folder / "many.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in lines.items()))
    return path


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def results(study: Path, store: Path) -> str:
    return subprocess.run([sys.executable, "-c", COMMAND, "results", str(study), "--store", str(store)], cwd=ROOT, text=True, check=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout


def test_copies_of_one_command_fill_one_store_and_every_cell_is_computed_once(tmp_path: Path):
    study, store = write_study(tmp_path), tmp_path / "shared"
    copies = [copy(study, store, "--workers", "1") for _ in range(3)]
    said = [each.communicate(timeout=300) for each in copies]
    assert [each.returncode for each in copies] == [0, 0, 0], said
    alone = tmp_path / "alone"
    run_study(load_study(str(study)), alone, workers=1)
    assert results(study, store) == results(study, alone)
    assert Store(store).holders() == {}


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_of_a_scheduler_ends_a_run_and_frees_its_cell(tmp_path: Path, number: signal.Signals):
    study, store = write_study(tmp_path, rounds=4000, seeds=1, init="xavier_normal"), tmp_path / "shared"
    running = copy(study, store, "--workers", "1")
    wait_for(lambda: store.exists() and any(Store(store).rounds_done(id_) for id_ in Store(store).holders()), 120)
    (id_,) = Store(store).holders()
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 143, (out, err)
    assert "stopped. Kept in" in err
    assert Store(store).holders() == {}
    assert Store(store).rounds_done(id_) > 0
    assert [path.name for path in (store / "cells" / id_).iterdir() if path.name.startswith(".")] == []


def test_status_says_who_holds_a_cell(tmp_path: Path):
    study, store = write_study(tmp_path), tmp_path / "runs"
    Store(store)
    planned = load_study(str(study)).planned
    ours, code = Claims(store / "claims"), f"""
import os, signal
from pathlib import Path
from sweepstake.run.claims import Claims
Claims(Path({str(store)!r}) / "claims").take({planned[1].id!r}, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ours.take(planned[0].id, 0)
    assert ended(code) == -signal.SIGKILL
    said = subprocess.run([sys.executable, "-c", COMMAND, "status", str(study), "--store", str(store)], cwd=ROOT, text=True, check=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}).stderr.splitlines()
    held = [line for line in said if line.startswith("held: ")]
    assert re.fullmatch(rf"held: xavier_normal, seed 0: by .+, process {os.getpid()}, since .+, last sign 0:0\d ago", held[0])
    assert re.fullmatch(r"held: xavier_normal, seed 1: by .+, process \d+, which has ended: the next run takes it over", held[1])


def test_a_run_without_waiting_ends_though_another_is_at_work(tmp_path: Path):
    study, store = write_study(tmp_path), tmp_path / "runs"
    loaded = load_study(str(study))
    ours = Claims(Store(store).folder / "claims")
    ours.take(loaded.planned[0].id, 0)
    found = run_study(loaded, store, workers=1, wait=False)
    assert [each["status"] for each in found] == ["missing", *["done"] * 5]
    ours.close()


def test_runs_of_one_store_must_compute_with_the_same_libraries(tmp_path: Path):
    study = small_study(seeds=1)
    ours = {**provenance.comparable(), "torch": "2.12.0"}
    other = Claims(Store(tmp_path).folder / "claims", versions=ours)
    assert other.take("0123456789abcdef", 0) is not None
    here = provenance.comparable()["torch"]
    with pytest.raises(UserError, match=rf"process {os.getpid()} computes there with torch 2\.12\.0, and here it is {re.escape(here)}"):
        run_study(study, tmp_path, stack=1)
    other.close()
    assert [each["status"] for each in run_study(study, tmp_path, stack=1)] == ["done"]
