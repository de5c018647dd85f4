"""A real Slurm of one node: an array of copies on one store, one cancelled, one requeued, one out of time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study
from tests.run.slurm import CannotStart, Slurm, of_folder, running

ROOT = Path(__file__).parents[2]
SWEEPSTAKE = (sys.executable, "-m", "sweepstake")
COPIES = 4
STUDY = """title = "Slowly, while it is held"
plugins = ["slowly.py"]
model = {name = "mlp", hidden = [12]}
criterion = "slowly"
steps = 10
rounds = 30
keep = 0.9
batch_size = 20
seeds = 6
"""
SLOWLY = '''"""Magnitude that takes its time, as long as the file is there that HELD names."""

import os
import time
from pathlib import Path

from sweepstake import criterion


@criterion(granularity="weight")
def slowly(w_final):
    """|w_final|, half a second a layer at a time (nobody, never)."""
    if Path(os.environ.get("HELD", "nowhere")).exists():
        time.sleep(0.25)
    return w_final.abs()
'''


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """A Slurm that takes four tasks at once; where there can be none, a skip that says why."""
    try:
        with running(tasks=COPIES) as started:
            yield started
    except CannotStart as why:
        pytest.skip(str(why))
    assert of_folder(started.folder) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "slowly.py").write_text(SLOWLY)
    (folder / "slowly.toml").write_text(STUDY)
    return load_study(folder / "slowly.toml")


def sweepstake(*arguments: object, **more: str) -> str:
    done = subprocess.run([*SWEEPSTAKE, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **more})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def table(study: Study) -> str:
    """Of one process that nobody disturbs."""
    store = Path(study.path).with_name("undisturbed")
    sweepstake("run", study.path, "--store", store, "--workers", 1, "--engine", "reference", "--out", store / "report")
    return sweepstake("results", study.path, "--store", store)


def begun(study: Study, store: Path) -> int:
    """Cells with a round finished, and not all."""
    return 0 if not store.exists() else sum(Store(store).status(id_) == "begun" for id_ in (each.id for each in study.planned))


def test_an_array_cancelled_requeued_and_out_of_time_gives_the_table_of_one_process(slurm: Slurm, study: Study, table: str, tmp_path: Path):
    store, held = tmp_path / "runs", tmp_path / "held"
    held.touch()
    run = " ".join([*SWEEPSTAKE, "run", study.path, "--store", str(store), "--engine", "reference", "--workers", "1"])
    array = slurm.submit(f"--array=0-{COPIES - 1}", "--requeue", "--time=10", f"--chdir={tmp_path}", "--output=%a.log", "--open-mode=append",
                         "--wrap", run, PYTHONPATH=str(ROOT), HELD=str(held))
    slurm.wait(lambda: begun(study, store) >= COPIES)

    slurm.end_now(f"{array}_3")
    slurm.cancel(f"{array}_1")
    slurm.requeue(f"{array}_2")
    slurm.wait(lambda: slurm.states(array)["2"] == "PENDING")
    slurm.begin_now(f"{array}_2")
    slurm.wait(lambda: slurm.states(array)["3"] == "TIMEOUT")
    held.unlink()
    slurm.wait(lambda: set(slurm.states(array).values()) == {"COMPLETED", "CANCELLED", "TIMEOUT"})

    assert slurm.states(array) == {"0": "COMPLETED", "1": "CANCELLED", "2": "COMPLETED", "3": "TIMEOUT"}
    assert "Restarts=1" in slurm.said("scontrol", "show", "job", f"{array}_2")
    assert sweepstake("results", study.path, "--store", store) == table
