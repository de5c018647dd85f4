"""Files of images: found from the study's folder whatever the current one, and told where they are not what results were made from."""

import hashlib
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.pieces import dataset
from sweepstake.run.changed import changed
from sweepstake.run.data import data_hashes
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from sweepstake.run.worker import compute
from sweepstake.study.study import load_study, read_study

TOML = """dataset = {name = "npz", path = "mine.npz"}
model = {name = "mlp", hidden = [12]}
steps = 10
rounds = 2
batch_size = 20
seeds = 2
"""
IDS = ["ccb2c7e5bd19c831", "fe728b9d7c846b93"]
"""Those of the study above since before paths were relative to it."""
TOLD = r"mine\.npz has changed since 2 of 2 results were made from it \(sha256 {before} then, {now} now\)\. Its path is part of an id, what it " \
       r"holds is not\. Give other images another name, or an empty --store\.\n"


def write_npz(path: Path, seed: int = 0) -> str:
    """Images of chance, and the first digits of their file's hash."""
    draw = np.random.default_rng(seed)
    x, y = draw.integers(0, 256, (80, 1, 6, 6), dtype=np.uint8), np.arange(80) % 4
    np.savez(path, train_x=x[:60], train_y=y[:60], test_x=x[60:], test_y=y[60:])
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def write_study(folder: Path, text: str = TOML) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.toml").write_text(text)
    return folder / "own.toml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study, its images and its finished store, run from another folder."""
    folder = tmp_path_factory.mktemp("own") / "studies"
    path = write_study(folder)
    write_npz(folder / "mine.npz")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("elsewhere"))
        assert main(["run", str(path), "--store", str(folder / "runs"), "--out", str(folder / "report"), "--stack", "1"]) == 0
    return folder


@pytest.fixture
def own(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and another folder to be in."""
    shutil.copytree(finished, tmp_path / "studies")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "studies"


# Where they are

def test_a_study_finds_its_file_from_any_folder_and_its_ids_are_as_before(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any):
    assert [each.id for each in load_study(own / "own.toml").planned] == IDS
    assert sorted(path.name for path in (own / "runs" / "cells").iterdir()) == IDS
    monkeypatch.chdir(own)
    code, _, err = call("run", "own.toml", "--store", tmp_path / "new", "--stack", "1")
    assert code == 0, err
    tables = [call("results", "own.toml", "--store", store)[1] for store in ("runs", tmp_path / "new")]
    assert tables[0] == tables[1] != ""


def test_an_absolute_path_and_one_that_set_says_are_found(own: Path, tmp_path: Path, call: Any):
    (own / "sub").mkdir()
    write_npz(own / "sub" / "other.npz")
    for said in ("sub/other.npz", own / "sub" / "other.npz"):
        code, _, err = call("run", own / "own.toml", "--store", tmp_path / "runs", "--set", f"dataset.path={said}", "--set", "seeds=1",
                            "--stack", "1")
        assert code == 0, err


def test_a_file_that_is_not_there_is_refused_in_a_line_that_says_where_it_was_looked_for(own: Path, call: Any):
    (own / "mine.npz").rename("mine.npz")
    code, out, err = call("run", own / "own.toml", "--store", "runs")
    said = f'data set "npz": path = "mine.npz": no file "{own / "mine.npz"}". A path is relative to the study file'
    assert (code, out) == (2, "") and "Traceback" not in err
    assert f"{said}. There is one in the current folder, which does not count. Move it, or put a link to it there (`ln -s`): results keep their ids" \
        in err
    Path("mine.npz").unlink()
    assert f"{said}.\n" in call("run", own / "own.toml", "--store", "runs")[2]
    assert call("results", own / "own.toml", "--store", own / "runs")[0] == 0  # What only reads needs no images.


def test_of_a_shipped_study_and_of_a_table_a_path_is_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load_study("demo").folder == tmp_path
    assert read_study({"dataset": {"name": "npz", "path": "mine.npz"}, "steps": 1}, name="table").folder == tmp_path
    write_study(tmp_path / "studies")
    assert load_study("studies/own.toml").folder == tmp_path / "studies"


@pytest.mark.parametrize("how", [{"stack": 2}, {"workers": 1, "engine": "reference"}], ids=["a stack", "a worker"])
def test_python_finds_it_too_and_a_result_keeps_its_hash(own: Path, tmp_path: Path, how: Any):
    results = ss.run_study(own / "own.toml", tmp_path / "runs", progress=False, **how)
    hash_ = hashlib.sha256((own / "mine.npz").read_bytes()).hexdigest()
    assert [(each["status"], each["provenance"]["data_files"]) for each in results.cells] == [("done", {"mine.npz": hash_})] * 2


def test_a_ticket_of_it_is_taken_out_from_any_folder_as_a_recipe(own: Path, call: Any):
    code, _, err = call("ticket", own / "own.toml", "--store", own / "runs", "--where", "seed=0", "--weights", "recipe", "--out", "t.safetensors")
    assert code == 0, err
    shutil.copy(own / "mine.npz", "mine.npz")  # A ticket's file has no study beside it.
    assert ss.load_ticket("t.safetensors").module() is not None


# What they hold

def test_a_file_that_changed_is_told_by_every_command_that_shows_its_results(own: Path, call: Any):
    pytest.importorskip("pyarrow")
    path, store = own / "own.toml", own / "runs"
    commands = {"status": (), "results": (), "report": ("--out", "report"), "publish": ("--out", "published"),
                "run": ("--out", "report", "--stack", "1")}
    before = hashlib.sha256((own / "mine.npz").read_bytes()).hexdigest()[:16]
    for command, more in commands.items():
        assert "has changed" not in call(command, path, "--store", store, *more)[2]
    told = re.compile(TOLD.format(before=before, now=write_npz(own / "mine.npz", 1)))
    for command, more in commands.items():
        code, _, err = call(command, path, "--store", store, *more)
        assert (code, len(told.findall(err))) == (0, 2 if command == "run" else 1), (command, err)
    (own / "mine.npz").unlink()
    for command, more in commands.items():
        assert "mine.npz" not in call(command, path, "--store", store, *more)[2], command
    published = json.loads(Path("published", "own", "provenance.json").read_text())
    assert [each[:16] for each in published["data_files"]["mine.npz"]] == [before]


def test_results_of_two_contents_are_told_even_where_the_file_is_gone(own: Path, call: Any):
    path, store = own / "own.toml", own / "runs"
    before = hashlib.sha256((own / "mine.npz").read_bytes()).hexdigest()[:16]
    now = write_npz(own / "mine.npz", 1)
    code, _, err = call("run", path, "--store", store, "--set", "seeds=3", "--stack", "1")
    assert code == 0
    assert f"mine.npz has changed since 2 of 2 results were made from it (sha256 {before} then, {now} now)." in err
    assert f"mine.npz has changed since 2 of 3 results were made from it (sha256 {before} then, {now} now)." in err
    (own / "mine.npz").unlink()
    said = f"mine.npz was not the same for all results: sha256 {before} (2 results), {now} (1 result). Its path is part of an id, "
    assert said in call("results", path, "--store", store, "--set", "seeds=3")[2]


def test_python_warns(own: Path):
    with warnings.catch_warnings(action="error"):
        ss.load_results(own / "own.toml", own / "runs")
    write_npz(own / "mine.npz", 1)
    with pytest.warns(UserWarning, match="mine.npz has changed since 2 of 2 results were made from it"):
        ss.load_results(own / "own.toml", own / "runs")


def test_results_from_before_files_were_hashed_tell_nothing(tmp_path: Path):
    write_npz(tmp_path / "mine.npz")
    assert changed(tmp_path, [{"id": "a", "cell": {}, "labels": {}, "seed": 0, "status": "done", "rounds": [{}], "error": None,
                               "provenance": {"study": "own"}}]) == []


def test_a_cell_begun_on_other_images_begins_again(own: Path, tmp_path: Path):
    class Killed(Exception):
        pass

    resumed: list[int] = []

    def tell(event: Any) -> None:
        if event.kind == "resumed":
            resumed.append(event.round)
        if event.kind == "round" and len(resumed) < 3:
            raise Killed

    planned = load_study(own / "own.toml").planned[0]
    def task(store: str) -> Task:
        files = data_hashes(planned.cell.dataset, own)
        return Task(planned.id, planned.cell, str(tmp_path / store), [], [], "own", "", engine="reference", save_weights="all", folder=str(own),
                    files=files)

    store, begun = Store(tmp_path / "runs"), task("runs")
    for _ in range(2):
        with pytest.raises(Killed):
            compute(begun, store, tell)
    assert store.rounds_done(planned.id) == 2
    now = write_npz(own / "mine.npz", 1)
    with pytest.raises(UserError, match="mine.npz has changed since this run began"):
        compute(begun, store, tell)
    assert (compute(task("runs"), store, tell), resumed) == ("done", [0, 1, 0])
    again = Store(tmp_path / "again")
    compute(task("again"), again)
    made = [each.get(planned.id) or {} for each in (store, again)]
    assert made[0]["provenance"]["data_files"]["mine.npz"].startswith(now)
    assert [r["end"] for r in made[0]["rounds"]] == [r["end"] for r in made[1]["rounds"]]


# Of a plug-in's

def test_an_option_of_a_plug_in_may_be_such_a_file(tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = write_study(tmp_path / "studies", 'plugins = ["mine.py"]\n' + TOML.replace('"npz", path', '"changed_halves", images'))
    (path.parent / "mine.py").write_text("""import numpy as np
from sweepstake.pieces.datasets import DataFile, dataset

@dataset
def changed_halves(*, images: DataFile):
    '''Half of a file to train on (nobody, never).'''
    with np.load(images) as held:
        return held["train_x"], held["train_y"], held["test_x"], held["test_y"]
""")
    before = write_npz(path.parent / "mine.npz")
    assert call("run", path, "--set", "seeds=1", "--stack", "1")[0] == 0
    now = write_npz(path.parent / "mine.npz", 1)
    assert f"mine.npz has changed since 1 of 1 results were made from it (sha256 {before} then, {now} now)." in \
        call("status", path, "--set", "seeds=1")[2]


def test_an_empty_path_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="dataset: path"):
        load_study(write_study(tmp_path, TOML.replace("mine.npz", "")))


# Before anything runs

def test_a_study_of_ones_own_file_is_checked_and_estimated_without_data(tmp_path: Path, capsys):
    path = write_study(tmp_path, TOML.replace("seeds = 2", 'seeds = 3\n[[claim]]\nsays = "x"\ntest = "matches_dense"\nkept = 0.1\n'))
    write_npz(tmp_path / "mine.npz")
    assert main(["show", str(path)]) == 2
    assert capsys.readouterr().err == (f"{path}: [[claim]] 1 cannot be answered: No round with about 10 % of the weights will be measured; "
                                       "the nearest is 64 %.\n")
    path.write_text(TOML)
    assert main(["show", str(path)]) == 0
    told = capsys.readouterr().err
    assert "kept fractions are of the 480 weights" in told and "No estimate" not in told and "60 steps" in told


def test_a_study_whose_own_file_is_not_there_yet_is_shown_and_says_so(tmp_path: Path, capsys):
    path = write_study(tmp_path)
    assert main(["show", str(path)]) == 0
    told = capsys.readouterr().err
    assert f'data set "npz": path = "mine.npz": no file "{tmp_path / "mine.npz"}". A path is relative to the study file.' in told
    assert "2 cells in 1 stack" in told


def test_a_data_set_of_a_plug_in_that_no_one_can_size_is_told_to_be_unchecked(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setattr(dataset, "pieces", dict(dataset.pieces))
    (tmp_path / "mine.py").write_text('''from sweepstake import dataset

@dataset
def unsized(files):
    """Images that only their files know (nobody, never)."""
    raise AssertionError("it is read")
''')
    path = write_study(tmp_path, 'plugins = ["mine.py"]\n' + TOML.replace('{name = "npz", path = "mine.npz"}', '"unsized"'))
    assert main(["show", str(path)]) == 0
    assert 'data set "unsized": its images are not known before they are read' in capsys.readouterr().err
