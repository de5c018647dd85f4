"""Trials are cells: run once, kept, resumed; what they find goes where it was waited for."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.read.analysis import tidy, to_csv
from sweepstake.run.opened import load_results
from sweepstake.run.run import run_study
from sweepstake.run.search import found_in, propose, settled, worth
from sweepstake.run.store import Store
from sweepstake.study.search import Search
from sweepstake.study.study import Study
from tests.small import write_small
from tests.study.test_search import study

TRIALS = {"trials": 5, "batch": 2, "random": 2, "cell": {"steps": 5}}


def searching(**changes: Any) -> tuple[Study, Search]:
    made = study({**TRIALS, **changes}, seeds=1)
    assert made.search
    return made, made.search


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store in which the search and the study have ended, and the table."""
    folder = tmp_path_factory.mktemp("search") / "runs"
    return folder, to_csv(tidy(run_study(searching()[0], folder, workers=1)))


def test_the_best_trial_is_found_and_trained_on_the_seeds_of_the_study(whole: tuple[Path, str]):
    made, search = searching()
    home = Store(whole[0])
    trials = (home.search(search.id) or {})["trials"]
    values = [trial["value"] for trial in trials]
    assert len(values) == 5 and all(isinstance(value, float) for value in values)
    best = trials[values.index(max(values))]["params"]
    done = settled(made, home)
    assert [p.labels["init"] for p in done.planned] == ["kaiming_normal", "found"]
    assert done.planned[1].cell.init == search.ref(best) and not done.planned[1].waits
    assert home.status(done.planned[1].id) == "done"
    assert done.searched and done.searched["found"] == {"name": best["name"], "scale": {"fc1": best["scale.fc1"]}}


def test_a_trial_is_worth_the_mean_over_its_seeds(whole: tuple[Path, str]):
    made, search = searching()
    home = Store(whole[0])
    trial = (home.search(search.id) or {})["trials"][2]
    ends = [(home.get(id_) or {})["rounds"][-1]["end"]["validation"]["accuracy"] for id_ in trial["cells"]]
    assert len(ends) == 2 and trial["value"] == sum(ends) / 2
    assert settled(made, home).searched


def test_run_again_trains_nothing_and_gives_the_same_table(whole: tuple[Path, str]):
    events: list[Any] = []
    assert to_csv(tidy(run_study(searching()[0], whole[0], workers=1, on_event=events.append))) == whole[1]
    assert [event.missing for event in events if event.kind == "plan"] == [0]


def test_a_search_stopped_in_a_batch_goes_on_and_finds_the_same(whole: tuple[Path, str], tmp_path: Path):
    made, search = searching()
    done = 0

    def stop(event: Any) -> None:
        nonlocal done
        done += event.kind == "done"
        if done == 6:  # Two cells into the second batch of four.
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(made, tmp_path / "runs", workers=1, on_event=stop)
    home = Store(tmp_path / "runs")
    assert len((home.search(search.id) or {})["trials"]) == 2
    assert settled(made, home).searched == {**(settled(made, home).searched or {}), "found": None}
    assert [result["status"] for result in load_results(made, home)] == ["missing", "missing"]
    fresh: list[str] = []
    again = run_study(made, home.folder, workers=2, on_event=lambda event: fresh.append(event.id) if event.kind == "began" else None)
    assert to_csv(tidy(again)) == whole[1]
    assert len(fresh) == 10 + 2 - 6


def test_without_its_account_the_search_is_told_again_from_its_cells(whole: tuple[Path, str]):
    made, search = searching()
    home = Store(whole[0])
    kept = home.folder / "searches" / f"{search.id}.json"
    before = json.loads(kept.read_text())
    kept.unlink()
    events: list[Any] = []
    run_study(made, home.folder, workers=1, on_event=events.append)
    assert json.loads(kept.read_text()) == before
    assert {event.missing for event in events if event.kind == "plan"} == {0}


def damage(kept: Path, how: str) -> None:
    text = kept.read_text()
    broken = {"shape": '{"trials": [{"params": {}}]}', "value": text.replace('"value": 0.', '"value": 0.9', 1), "cut": text[:200]}[how]
    assert broken != text
    kept.write_text(broken)


@pytest.mark.parametrize("how", ["shape", "value", "cut"])
def test_of_a_damaged_account_the_trials_are_found_again_from_their_cells(whole: tuple[Path, str], tmp_path: Path, how: str):
    made, search = searching()
    home = Store(shutil.copytree(whole[0], tmp_path / "runs"))
    kept = home.folder / "searches" / f"{search.id}.json"
    before = kept.read_bytes()
    damage(kept, how)
    read = settled(made, home).searched or {}
    assert read["damaged"].startswith(f"{kept}: damaged (")
    assert read["trials"] == (settled(made, Store(whole[0])).searched or {})["trials"]
    assert to_csv(tidy(load_results(made, home))) == whole[1]
    with pytest.warns(UserWarning, match="Its trials are found again from their cells"):
        ss.load_results(made, home.folder)
    events: list[Any] = []
    assert to_csv(tidy(run_study(made, home.folder, workers=1, on_event=events.append))) == whole[1]
    assert [event.error for event in events if event.kind == "damaged"] == [read["damaged"]]
    assert {event.missing for event in events if event.kind == "plan"} == {0}
    assert kept.read_bytes() == before


def test_a_damaged_account_and_a_damaged_cell_are_both_told_and_only_the_cell_is_trained(whole: tuple[Path, str], tmp_path: Path):
    made, search = searching()
    home = Store(shutil.copytree(whole[0], tmp_path / "runs"))
    account, cell = home.folder / "searches" / f"{search.id}.json", (home.search(search.id) or {})["trials"][2]["cells"][0]
    damage(account, "cut")
    damage(home.folder / "cells" / cell / "result.json", "cut")
    assert len((settled(made, home).searched or {})["trials"]) == 2  # Up to the batch that lacks it.
    events: list[Any] = []
    run_study(made, home.folder, workers=1, on_event=events.append)
    assert [event.kind for event in events if event.kind == "damaged"] == ["damaged"] * 2
    assert [event.id for event in events if event.kind == "began"] == [cell]
    assert (settled(made, home).searched or {}).get("found")


def test_proposals_depend_on_the_trials_before_and_on_nothing_else():
    _, search = searching()
    first = propose(search, [], 4)
    told = [{"params": point, "value": value} for point, value in zip(first, (0.1, 0.9, None, 0.5), strict=True)]
    assert propose(search, [], 4) == first
    assert propose(search, told, 2) == propose(search, told, 2) != first[:2]
    assert all(0.1 <= point["scale.fc1"] <= 10 and point["name"] in ("xavier_normal", "signed_constant") for point in first)
    assert propose(searching(seed=7)[1], [], 4) != first


def test_proposals_close_in_on_what_was_good():
    _, search = searching(trials=60, random=10)
    trials: list[dict[str, Any]] = []
    while len(trials) < 60:
        trials += [{"params": point, "value": -abs(point["scale.fc1"] - 4.0)} for point in propose(search, trials, 4)]
    late = [abs(trial["params"]["scale.fc1"] - 4.0) for trial in trials[-20:]]
    assert sorted(late)[10] < 2.0  # Of draws that nothing guides the median is 3.
    found = found_in(search, trials)
    assert found and abs(found["scale.fc1"] - 4.0) < 0.3


def test_losses_are_made_small_and_accuracies_large():
    _, accuracy = searching(trials=3)
    _, loss = searching(trials=3, metric="validation_loss")
    trials = [{"params": {"scale.fc1": place}, "value": value} for place, value in enumerate((0.5, None, 0.2))]
    assert (found_in(accuracy, trials), found_in(loss, trials)) == ({"scale.fc1": 0}, {"scale.fc1": 2})
    assert found_in(loss, trials[:2]) is None


def test_a_diverged_trial_has_no_value_and_one_that_never_has_any_is_told(tmp_path: Path):
    made = study({**TRIALS, "trials": 2, "cell": {"optimiser": "sgd", "lr": 1e30}}, seeds=1)
    with pytest.raises(UserError, match="not one of 2 trials has a value: all failed or diverged"):
        run_study(made, tmp_path / "runs", workers=1)
    assert made.search
    assert [trial["value"] for trial in (Store(tmp_path / "runs").search(made.search.id) or {})["trials"]] == [None, None]


def test_the_value_of_several_levels_is_their_mean(whole: tuple[Path, str]):
    _, search = searching(kept=[0.8, 0.64])
    home = Store(whole[0])
    rounds = [(home.get(id_) or {})["rounds"] for id_ in (home.search(searching()[1].id) or {})["trials"][0]["cells"]]
    ends = [one[round_]["end"]["validation"]["accuracy"] for one in rounds for round_ in (1, 2)]
    trial = (home.search(searching()[1].id) or {})["trials"][0]["params"]
    from sweepstake.run.search import planned_trial

    assert worth(search, planned_trial(search, 1, trial, home), home) == pytest.approx(sum(ends) / 4)


def test_reading_needs_no_optuna_and_running_says_how_to_get_it(whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert to_csv(tidy(load_results(searching()[0], whole[0]))) == whole[1]
    assert to_csv(tidy(run_study(searching()[0], whole[0], workers=1))) == whole[1]
    with pytest.raises(UserError, match=r"Optuna is not installed. `pip install sweepstake\[search\]`"):
        run_study(searching()[0], tmp_path / "runs", workers=1)


FILE = """title = "Small"
model = {name = "mlp", hidden = [12]}
init = ["kaiming_normal", "found"]
steps = 10
rounds = 1
batch_size = 20
validation = 200
seeds = 1

[search]
options = {name = "xavier_normal", scale = {low = 0.1, high = 10, log = true}}
trials = 3
seeds = [100]
"""


def test_the_commands_tell_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, store = write_small(tmp_path, FILE), str(tmp_path / "runs")
    assert main(["show", str(path), "--store", store]) == 0
    assert 'search: 3 trials of 1 seed each, for init "found"; not begun.' in capsys.readouterr().err
    assert main(["run", str(path), "--store", store, "--out", str(tmp_path / "out")]) == 0
    assert 'search: "found" is init = {name = "xavier_normal", scale = ' in capsys.readouterr().err
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<section id="search">' in page and "best of 3 trials" in page and "The search, trial by trial" in page
    assert len(json.loads((tmp_path / "out" / "search.json").read_text())["trials"]) == 3
    assert main(["status", str(path), "--store", store]) == 0
    said = capsys.readouterr()
    assert said.out == "done\t2\n" and "best of 3 trials" in said.err


def test_python_reads_the_found_value_back(whole: tuple[Path, str]):
    results = ss.load_results(searching()[0], whole[0])
    assert results.study.searched and results.study.searched["found"]["name"] in ("xavier_normal", "signed_constant")
    assert {row["init"] for row in results.rows()} == {"kaiming_normal", "found"}
