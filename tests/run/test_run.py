"""A study -> results, whatever dies on the way."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from sweepstake.base.errors import UserError
from sweepstake.engine.conv import ConvTrainer
from sweepstake.engine.numerics import VERSIONS
from sweepstake.pieces import REGISTRIES, cell_id
from sweepstake.pieces.donors import donor_of
from sweepstake.read.analysis import tidy, to_csv
from sweepstake.run import sitting, worker
from sweepstake.run.check import check_study
from sweepstake.run.opened import load_results
from sweepstake.run.run import run_study
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study
from tests.small import SMALL_TOML, small_study, write_small

ROOT = Path(__file__).parents[2]


def run(study: Study, store: Path, **how: Any) -> tuple[str, list[Any]]:
    """The table, and the events of the run."""
    events: list[Any] = []
    heard = how.pop("on_event", lambda event: None)

    def hear(event: Any) -> None:
        events.append(event)
        heard(event)

    return to_csv(tidy(run_study(study, store, on_event=hear, **how))), events


def kinds(events: list[Any]) -> Counter[str]:
    return Counter(event.kind for event in events)


def python(code: str, *arguments: object, **how: Any) -> subprocess.Popen[str]:
    """A fresh Python in a process group of its own."""
    return subprocess.Popen([sys.executable, *(["-c", code] if code else []), *map(str, arguments)], cwd=ROOT, text=True, start_new_session=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The small study, run by one worker: its table and its store."""
    store = tmp_path_factory.mktemp("uninterrupted") / "runs"
    return run(small_study(init=["xavier_normal", "zeros"]), store, workers=1)[0], store


def test_a_run_computes_each_cell_once_and_a_second_run_nothing(uninterrupted: tuple[str, Path]):
    table, store = uninterrupted
    assert len(table.splitlines()) == 1 + 4 * 3
    again, events = run(small_study(init=["xavier_normal", "zeros"]), store)
    assert (again, kinds(events)) == (table, {"plan": 1})


def test_two_workers_give_the_table_of_one_byte_for_byte(uninterrupted: tuple[str, Path], tmp_path: Path):
    assert run(small_study(init=["xavier_normal", "zeros"]), tmp_path, workers=2)[0] == uninterrupted[0]


def test_a_cell_alone_is_the_cell_among_others(uninterrupted: tuple[str, Path], tmp_path: Path):
    alone = small_study(seeds=[1])
    run(alone, tmp_path)
    id_ = alone.planned[0].id
    one, many = Store(tmp_path).get(id_), Store(uninterrupted[1]).get(id_)
    assert one and many
    assert _without_seconds(one["rounds"]) == _without_seconds(many["rounds"])


def _without_seconds(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert len(records) == 3
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def test_studies_that_share_cells_share_results(uninterrupted: tuple[str, Path]):
    _, events = run(small_study(init=["zeros"]), uninterrupted[1])
    assert kinds(events) == {"plan": 1}


def test_what_made_a_result_is_kept_beside_it(uninterrupted: tuple[str, Path]):
    result = run_study(small_study(), uninterrupted[1])[0]
    kept = result["provenance"]
    assert (kept["study"], kept["study_text"], kept["seconds"] > 0) == ("small", "# small\n", True)
    assert {"torch", "numpy", "numba"} <= set(kept["versions"])
    assert kept["numerics"] == f"fast {VERSIONS['fast']}"
    assert [record["numerics"] for record in result["rounds"]] == [kept["numerics"]] * 3
    assert kept["machine"]["cores"] == os.cpu_count()
    assert (kept["images"]["train"], kept["images"]["test"]) == (1437, 360)
    assert [path.read_text() for path in (uninterrupted[1] / "studies").iterdir()] == ["# small\n"]


# Death

LONG: dict[str, Any] = {"rounds": 12, "steps": 150, "seeds": 2, "eval_every": 10}
KEEP_RUNNING = """
import sys
sys.path.insert(0, ".")
from tests.small import small_study
from sweepstake.run.run import run_study
seen = []
run_study(small_study(rounds=12, steps=150, seeds=2, eval_every=10), sys.argv[1], workers=int(sys.argv[2]), on_event=seen.append)
print(*[event.id for event in seen if event.kind == "done" and event.computed])
"""


@pytest.fixture(scope="module")
def long_table(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(small_study(**LONG), tmp_path_factory.mktemp("long") / "runs")[0]


def test_kill_9_of_the_whole_run_then_again_gives_the_same_table_and_no_round_twice(tmp_path: Path, long_table: str):
    store, study = tmp_path / "runs", small_study(**LONG)
    running = python(KEEP_RUNNING, store, 2)
    first = study.planned[0].id
    wait_for(lambda: (store / "cells" / first / "state.safetensors").exists() and Store(store, create=False).rounds_done(first) >= 2)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    before = {p.id: Store(store).rounds_done(p.id) for p in study.planned if Store(store).status(p.id) == "begun"}
    assert before[first] >= 2
    table, events = run(study, store)
    assert table == long_table
    for event in events:
        if event.kind == "round":
            assert event.round >= before.get(event.id, 0)
    assert {e.id: e.round for e in events if e.kind == "resumed" and e.id in before} == before
    assert kinds(events)["round"] == sum(13 - before.get(p.id, 0) for p in study.planned)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path):
    store, study = tmp_path / "runs", small_study(**LONG)
    running = python(KEEP_RUNNING, store, 2)
    first = study.planned[0].id
    wait_for(lambda: (store / "cells" / first / "state.safetensors").exists())
    os.kill(running.pid, signal.SIGKILL)  # The parent alone: nobody tells the workers.
    running.communicate()

    def free() -> bool:
        with Store(store).claim(first) as ours:
            return ours

    wait_for(free, 5)


def test_kill_9_of_one_worker_costs_nothing_but_time(tmp_path: Path, long_table: str):
    killed: list[str] = []

    def kill_once(event: Any) -> None:
        if event.kind == "round" and event.round == 3 and not killed:
            killed.append(event.id)
            _kill_worker(event.id)

    table, events = run(small_study(**LONG), tmp_path, on_event=kill_once)
    assert table == long_table
    died = [event for event in events if event.kind == "died"]
    assert [(event.id, event.code, event.again) for event in died] == [(killed[0], -9, True)]
    assert [event.round for event in events if event.kind == "resumed" and event.id == killed[0]][-1] >= 4


def _kill_worker(id_: str) -> None:
    for child in active_children():
        if child.name == f"sweepstake {id_}" and child.pid:
            os.kill(child.pid, signal.SIGKILL)


def test_a_worker_that_always_dies_is_a_recorded_failure_and_the_rest_is_done(tmp_path: Path):
    study = small_study(**LONG)
    bad, good = (planned.id for planned in study.planned)

    def kill_always(event: Any) -> None:
        if event.kind == "resumed" and event.id == bad:
            _kill_worker(bad)

    _, events = run(study, tmp_path, on_event=kill_always)
    store = Store(tmp_path)
    assert (store.status(bad), store.status(good), kinds(events)["died"]) == ("failed", "done", 3)
    assert (store.failure(bad) or {})["error"].startswith("begun 3 times at round ")
    assert [result["status"] for result in load_results(study, store)] == ["failed", "done"]
    assert kinds(run(study, tmp_path)[1]) == {"plan": 1}  # A failure is a result.
    assert [result["status"] for result in run_study(study, tmp_path, retry=True)] == ["done", "done"]


def test_ctrl_c_ends_within_two_seconds_and_says_what_is_kept_and_how_to_go_on(tmp_path: Path):
    path, store = write_small(tmp_path, SMALL_TOML.replace("rounds = 2", "rounds = 4000")), tmp_path / "my runs"
    running = python("", "-m", "sweepstake", "run", path, "--store", store)
    wait_for(lambda: list(store.glob("cells/*/state.safetensors")))
    began = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert time.monotonic() - began < 2
    assert (running.returncode, out) == (130, "")
    assert f"stopped. Kept in {store}: 0 of 4 cells whole, and " in err
    assert f"finished rounds of {len(list(store.glob('cells/*/state.safetensors')))} more." in err
    assert f"Go on with: sweepstake run {path} --store '{store}'" in err
    assert "Traceback" not in err
    assert not list(store.glob("cells/*/failure.json"))


def test_two_runs_on_one_store_compute_each_cell_once_and_agree(tmp_path: Path, long_table: str):
    store, study = tmp_path / "runs", small_study(**LONG)
    first, second = (planned.id for planned in study.planned)
    other = python(KEEP_RUNNING, store, 1)
    wait_for(lambda: (store / "cells" / first / "state.safetensors").exists())
    table, events = run(study, store, workers=1)  # The first cell is busy there: here the second is computed.
    out, err = other.communicate(timeout=60)
    assert (table, err) == (long_table, "")
    computed_here = [event.id for event in events if event.kind == "done" and event.computed]
    assert first in out.split()
    assert sorted(out.split() + computed_here) == sorted([first, second])


# Failures are results

def test_a_diverged_cell_is_recorded_and_its_neighbours_are_unchanged(tmp_path: Path):
    wild = small_study(lr=[0.0012, 1e30], optimiser="sgd", steps=20)
    results = run_study(wild, tmp_path / "both")
    assert [result["status"] for result in results] == ["done", "done", "diverged", "diverged"]
    assert (len(results[2]["rounds"]), results[2]["rounds"][-1]["diverged"], results[2]["error"]) == (1, True, None)
    tame = run_study(small_study(lr=[0.0012], optimiser="sgd", steps=20), tmp_path / "tame")
    assert [_without_seconds(result["rounds"]) for result in results[:2]] == [_without_seconds(result["rounds"]) for result in tame]
    assert kinds(run(wild, tmp_path / "both")[1]) == {"plan": 1}


RAISES = '''
from pathlib import Path
import sweepstake as ss

@ss.criterion
def raises_while_a_file_is_there(w_final, alive):
    """A criterion that fails in the second pruning while a file is there."""
    if (Path(__file__).parent / "fail").exists() and not alive.all():
        raise ZeroDivisionError("not today")
    return w_final.abs()
'''


def test_a_failure_keeps_its_traceback_and_is_tried_again_only_when_asked(tmp_path: Path):
    (tmp_path / "mine.py").write_text(RAISES)
    (tmp_path / "fail").touch()
    study = small_study(tmp_path, criterion=["magnitude", "raises_while_a_file_is_there"], seeds=1, plugins=["mine.py"])
    store = tmp_path / "runs"
    good, bad = run_study(study, store)
    assert (good["status"], bad["status"], bad["error"]) == (
        "done", "failed", 'criterion = "raises_while_a_file_is_there" (mine.py:9) raised ZeroDivisionError: not today. Mend the plug-in.')
    failure = Store(store).failure(bad["id"]) or {}
    assert "mine.py" in failure["traceback"]
    assert "raises_while_a_file_is_there" in failure["traceback"]
    assert list(failure["provenance"]["plugins"]) == ["mine.py"]
    (tmp_path / "fail").unlink()
    assert kinds(run(study, store)[1]) == {"plan": 1}
    assert [result["status"] for result in run_study(study, store, retry=True)] == ["done", "done"]
    assert Store(store).failure(bad["id"]) is None


# Said before anything runs

UNFIT = '''from torch import nn
import sweepstake as ss

@ss.criterion
def unfit_flat(w_final):
    """Of the wrong shape (Nobody 2026)."""
    return w_final.abs().sum()

@ss.criterion
def unfit_list(grad, *, images: int = 10):
    """No tensor (Nobody 2026)."""
    return grad.tolist()

@ss.criterion(granularity="unit")
def unfit_unit(w_final):
    """A number a weight (Nobody 2026)."""
    return w_final

@ss.criterion
def unfit_raises(hessian_grad):
    """Raises (Nobody 2026)."""
    return hessian_grad.nothing

@ss.allocation
def unfit_shares(sizes):
    """One wish too many (Nobody 2026)."""
    return [*sizes, 1.0]

@ss.init
def unfit_drawn(normal):
    """Of the wrong shape (Nobody 2026)."""
    return normal[:1]

@ss.reset
def unfit_reset(w_init):
    """No tensor (Nobody 2026)."""
    return 0.0

@ss.lr_schedule
def unfit_rate(progress):
    """Divides by 0 at first (Nobody 2026)."""
    return 1 / progress

@ss.lr_schedule
def unfit_late(progress):
    """Raises in the second half (Nobody 2026)."""
    return 1.0 if progress < 0.5 else [][0]

@ss.lr_schedule
def unfit_word(progress):
    """No number (Nobody 2026)."""
    return "half"

class Unfit(nn.Linear):
    def forward(self, x):
        return x / (1 // 0)

@ss.model
def unfit_forward(inputs, classes):
    """Raises when it runs (Nobody 2026)."""
    return Unfit(64, classes)

@ss.criterion
def unfit_logs(w_final):
    """NaN of weights below 0 (Nobody 2026)."""
    return w_final.log()

@ss.criterion
def unfit_ratio(grad):
    """NaN of all weights (Nobody 2026)."""
    return 0 * grad / 0

@ss.init
def unfit_roots(normal, fan_in):
    """NaN of draws below 0 (Nobody 2026)."""
    return (normal / fan_in).sqrt()
'''


@pytest.fixture
def own_pieces(monkeypatch: pytest.MonkeyPatch):
    """What a test's plug-in registers is gone after it."""
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "pieces", dict(registry.pieces))


@pytest.mark.usefixtures("own_pieces")
@pytest.mark.parametrize(("changes", "said"), [
    ({"criterion": "unfit_flat"}, 'criterion = "unfit_flat" (mine.py:4): gave shape () for fc1.weight, expected (12, 64) (one a weight).'),
    ({"criterion": "unfit_list"}, 'criterion = "unfit_list" (mine.py:9): gave a list for fc1.weight, expected (12, 64) (one a weight).'),
    ({"criterion": "unfit_unit", "granularity": "unit"}, 'criterion = "unfit_unit" (mine.py:14): gave shape (12, 64) for fc1.weight, '
                                                         "expected (12,) (one a unit)."),
    ({"criterion": "unfit_raises"}, 'criterion = "unfit_raises" (mine.py:22) raised AttributeError: '),
    ({"allocation": "unfit_shares"}, 'allocation = "unfit_shares" (mine.py:24): wishes [768.0, 120.0, 1.0]; expected 2 finite numbers, '
                                     "none below 0."),
    ({"init": "unfit_drawn"}, 'init = "unfit_drawn" (mine.py:29): gave shape (1, 64) for fc1.weight, expected (12, 64).'),
    ({"reset": "unfit_reset"}, 'reset = "unfit_reset" (mine.py:34): gave a float for fc1.weight, expected (12, 64).'),
    ({"lr_schedule": "unfit_late"}, 'lr_schedule = "unfit_late" (mine.py:47) raised IndexError: list index out of range. Mend the plug-in.'),
    ({"lr_schedule": "unfit_word"}, 'lr_schedule = "unfit_word" (mine.py:49): what it gave cannot be used: TypeError: '),
    ({"model": "unfit_forward"}, 'model = "unfit_forward" (mine.py:56): raised ZeroDivisionError on a batch of shape (2, 1, 8, 8): '),
    ({"criterion": "unfit_logs"}, 'criterion = "unfit_logs" (mine.py:63): a score of fc1 is not a finite number.'),
    ({"criterion": "unfit_ratio"}, 'criterion = "unfit_ratio" (mine.py:68): no score of fc1 is a number, but each is NaN.'),
    ({"init": "unfit_roots"}, 'init = "unfit_roots" (mine.py:73): a value for fc1.weight is not a finite number.'),
    ({"lr_schedule": "unfit_rate"}, 'lr_schedule = "unfit_rate" (mine.py:42) raised ZeroDivisionError: float division by zero. Mend the plug-in.'),
])
def test_a_plug_ins_piece_that_does_not_fit_is_told_before_anything_trains(tmp_path: Path, changes: dict[str, Any], said: str):
    (tmp_path / "mine.py").write_text(UNFIT)
    study = small_study(tmp_path, plugins=["mine.py"], **changes)
    for check in (lambda: run_study(study, tmp_path / "runs"), lambda: check_study(study, list(study.planned), None)):
        with pytest.raises(UserError) as caught:
            check()
        assert said in caught.value.problems[0] and len(caught.value.problems) == 1 and "\n" not in caught.value.problems[0]
    assert not list((tmp_path / "runs" / "cells").iterdir())


@pytest.mark.usefixtures("own_pieces")
def test_a_plug_ins_criterion_of_noise_need_not_be_finite_everywhere(tmp_path: Path):
    (tmp_path / "mine.py").write_text(UNFIT.replace("return grad.tolist()", "return 0 * grad.log()"))  # NaN of half of the weights.
    study = small_study(tmp_path, plugins=["mine.py"], criterion="unfit_list")
    assert check_study(study, list(study.planned), None).keys() == {planned.id for planned in study.planned}


@pytest.mark.parametrize(("changes", "fragment"), [
    ({"prune_layers": ["fc9"]}, 'prune_layers = "fc9": no layer or kind of that name.'),
    ({"keep": {"fc9": 0.5}}, "no layer or kind of that name."),
    ({"init": {"name": "xavier_normal", "scale": {"fc9": 2.0}}}, "init: scale = {fc9 = ...}: no layer of that name.\n  Did you mean"),
    ({"reset": {"name": "rewind", "step": 11}}, "reset: step = 11: a round has only 10 steps."),
    ({"normalise": {"mean": [0.5, 0.5], "std": [1, 1]}}, "normalise: 2 means and 2 standard deviations; digits has 1 channel(s)."),
])
def test_what_only_the_network_or_the_images_can_tell_is_told_before_anything_runs(tmp_path: Path, changes: dict[str, Any], fragment: str):
    with pytest.raises(UserError) as caught:
        run_study(small_study(**changes), tmp_path)
    assert fragment in str(caught.value)
    assert list((tmp_path / "cells").iterdir()) == []


def test_missing_data_is_told_with_the_files_and_the_two_ways_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SWEEPSTAKE_DATA", raising=False)
    with pytest.raises(UserError) as caught:
        run_study(small_study(dataset=["mnist", "digits"]), tmp_path / "runs", data=tmp_path)
    said = str(caught.value)
    assert 'data set "mnist": missing train-images-idx3-ubyte.gz' in said
    assert f'looked in "{tmp_path / "mnist"}"' in said
    assert "--data DIR" in said
    assert "sweepstake data" in said


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_is_refused(tmp_path: Path, workers: int):
    with pytest.raises(UserError, match=f"--workers {workers}: at least 1."):
        run_study(small_study(), tmp_path / "runs", workers=workers)
    assert not (tmp_path / "runs").exists()


BROKEN = '''
import sweepstake as ss

@ss.model
def too_small(inputs, classes):
    """A model that cannot be made."""
    return {}["layers"]

@ss.dataset
def unreadable():
    """Images that cannot be read."""
    return {}["images"]
'''


def test_a_model_or_data_set_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "broken.py").write_text(BROKEN)
    for changes, fragment in (({"model": "too_small"}, r'small: model = "too_small" \(broken.py:7\) raised KeyError: .*layers'),
                              ({"dataset": "unreadable"}, r"small: .*unreadable.*KeyError.*images")):
        with pytest.raises(UserError, match=fragment):
            run_study(small_study(tmp_path, plugins=["broken.py"], **changes), tmp_path / "runs")


def test_per_layer_options_reach_their_layers(tmp_path: Path):
    study = small_study(criterion={"name": "magnitude_increase", "weight": {"fc1": 0.0, "fc2": 2.0}},
                        init={"name": "normal", "std": {"fc1": 0.01}}, seeds=1)
    assert [result["status"] for result in run_study(study, tmp_path)] == ["done"]


# The Python door

SCRIPT = """
import os
import sweepstake as ss
before = dict(os.environ)
study = ss.load_study({path!r})
results = ss.run_study(study, store={store!r})
assert dict(os.environ) == before
print(len(results.rows()), len(ss.load_results(study, {store!r}).rows()), [cell["status"] for cell in results.cells])
"""


def test_a_script_without_a_main_guard_runs_a_study_once(tmp_path: Path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.format(path=str(write_small(tmp_path)), store=str(tmp_path / "runs")))
    out, err = python("", script).communicate(timeout=60)
    assert out == "12 12 ['done', 'done', 'done', 'done']\n", err
    assert "4 of 4 cells" in err


def test_the_shipped_studies_can_be_planned_by_the_python_door():
    import sweepstake as ss

    assert len(ss.load_study("prune-ready").cells) == 88
    assert load_study is ss.load_study
    with pytest.raises(AttributeError, match="no attribute 'run_studi'"):
        _ = ss.run_studi


@pytest.mark.parametrize(("changes", "line"), [
    ({"reset": {"name": "rewind", "step": {"fc1": 3}}}, "small: reset: step is one number for the network, not a table of layers."),
    ({"prune_when": "before", "reset": "shuffled"},
     'small: prune_when = "before" with reset = "shuffled": the survivors are shuffled once they are known, and so would not '
     'be the weights that were scored. Say prune_when = "after", or another reset.'),
    ({"remove": {"fc1": 500}},
     "small: remove = {fc1 = 500}: 2 prunings would take 1,000 of the 768 weights of fc1, and one must be left. At most 1 prunings of 500."),
    ({"remove": [{"fc1": 1}, {"fc1": 500}]},
     "small: remove = {fc1 = 500}: 2 prunings would take 1,000 of the 768 weights of fc1, and one must be left. At most 1 prunings of 500."),
    ({"control": "transplant"}, 'small: control = "transplant" needs a donor, as donor = {seed = 7}.'),
])
def test_what_cannot_be_pruned_as_said_is_told_in_one_line_before_anything_runs(tmp_path: Path, changes: dict[str, Any], line: str):
    with pytest.raises(UserError) as caught:
        run_study(small_study(**changes), tmp_path)
    assert list(caught.value.problems) == [line]
    assert list((tmp_path / "cells").iterdir()) == []


def test_a_worker_that_must_compile_says_so_before_it_begins_and_then_trains_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cell = small_study(model={"name": "conv2", "width": 0.1}, seeds=1).planned[0].cell
    task = Task(cell_id(cell), cell, str(tmp_path), [], [], "small", "")
    for known in (True, False):
        monkeypatch.setattr(ConvTrainer, "is_compiled", lambda _, known=known: known)
        told: list[str] = []
        assert worker.compute(task, Store(tmp_path / str(known)), lambda event, told=told: told.append(event.kind)) == "done"
        assert told[:2] == (["resumed", "step"] if known else ["compiling", "resumed"])


# Donors

class Killed(Exception):
    """As if the worker had been."""


def sit(task: Task, store: Store) -> bool:
    """One sitting of a worker that dies after each round; whether it came to the end."""
    def tell(event: Any) -> None:
        if event.kind == "round":
            raise Killed

    try:
        worker.compute(task, store, tell)
    except Killed:
        return False
    return True


def transplanted(store: Path) -> tuple[Task, Task]:
    """A cell under the masks of seed 7, and that seed's own."""
    cell = small_study(control="transplant", donor={"seed": 7}, seeds=1).planned[0].cell
    return tuple(Task(cell_id(each), each, str(store), [], [], "small", "") for each in (cell, donor_of(cell)))  # pyright: ignore


def test_a_donor_is_trained_once_however_often_its_cell_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained: list[int] = []
    honest = sitting.masks_of
    monkeypatch.setattr(sitting, "masks_of", lambda trainer, donor: trained.append(donor.seed) or honest(trainer, donor))
    store = Store(tmp_path)
    task, donor = transplanted(tmp_path)

    assert [sit(task, store) for _ in range(4)] == [False, False, False, True]
    assert trained == [7]
    assert store.status(task.id) == "done"
    assert sorted(path.name for path in (tmp_path / "cells" / task.id).iterdir()) == ["cell.json", "masks.safetensors", "result.json"]
    worker.compute(donor, store)
    assert [mask.tolist() for mask in store.masks(task.id)] == [mask.tolist() for mask in store.masks(donor.id)]


def test_a_donor_whose_own_result_is_in_the_store_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(tmp_path)
    task, donor = transplanted(tmp_path)
    worker.compute(donor, store)
    monkeypatch.setattr(sitting, "masks_of", lambda *_: pytest.fail("the donor was trained again"))
    assert worker.compute(task, store) == "done"
    assert [mask.tolist() for mask in store.masks(task.id)] == [mask.tolist() for mask in store.masks(donor.id)]
