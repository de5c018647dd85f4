"""A real Slurm of one node: an array of copies on one store, one cancelled, one requeued, one out of time."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study
from tests.run.slurm import CannotStart, Slurm, of_folder, running

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
"""Slurm looks at time limits every 30 seconds; the rest hangs on how busy the machine is."""
ROOT = Path(__file__).parents[2]
SWEEPSTAKE = (sys.executable, "-m", "sweepstake")
STUDY = """title = "Waits, while it is held"
plugins = ["waiting.py"]
model = {name = "mlp", hidden = [12]}
criterion = "waiting"
steps = 10
rounds = 12
keep = 0.8
batch_size = 20
seeds = 6
"""
WAITING = '''"""Magnitude that waits: a cell that has pruned three times goes on once the file is gone that HELD names."""

import os
import time
from pathlib import Path

from sweepstake import criterion

HELD, LAYERS = Path(os.environ.get("HELD", "nowhere")), 2
pruned = 0


@criterion(granularity="weight")
def waiting(w_final):
    """|w_final| (nobody, never)."""
    global pruned
    pruned += 1
    while pruned > 3 * LAYERS and HELD.exists():
        time.sleep(0.05)
    return w_final.abs()
'''


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """A Slurm that takes six tasks at once; where there can be none, a skip that says why."""
    try:
        with running(tasks=6) as started:
            yield started
    except CannotStart as why:
        pytest.skip(str(why))
    assert of_folder(started.folder) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "waiting.py").write_text(WAITING)
    (folder / "waiting.toml").write_text(STUDY)
    return load_study(folder / "waiting.toml")


def sweepstake(*arguments: object, **more: str) -> str:
    done = subprocess.run([*SWEEPSTAKE, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **more})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def table(study: Study) -> str:
    """Of one process that nobody disturbs."""
    store = Path(study.path).with_name("undisturbed")
    sweepstake("run", study.path, "--store", store, "--workers", 1, "--engine", "reference", "--out", store / "report")
    return sweepstake("results", study.path, "--store", store)


@dataclass
class Array:
    """Copies on a store of their own, and what became of them."""

    number: str
    store: Path

    @property
    def folder(self) -> Path:
        return self.store.parent

    def log(self, index: int) -> str:
        return next(self.folder.glob(f"*{index}.log")).read_text()

    @property
    def logs(self) -> str:
        return "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def holds_what_nobody_computes(self) -> bool:
        """Whether a process that has ended has left a claim."""
        return any(held.holder.has_ended() for held in Store(self.store).holders().values())

    def begun(self, study: Study) -> int:
        """Cells with a round finished, and not all."""
        return sum(Store(self.store).status(each.id) == "begun" for each in study.planned) if self.store.exists() else 0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of jobs: no cell comes to its end before the file is gone."""
    held = tmp_path_factory.mktemp("held") / "held"
    held.touch()
    return {"PYTHONPATH": str(ROOT), "HELD": str(held)}


@pytest.fixture(scope="module")
def array(slurm: Slurm, study: Study, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Array:
    """An array of one command, as people type it."""
    store = tmp_path_factory.mktemp("array") / "runs"
    run = shlex.join([*SWEEPSTAKE, "run", study.path, "--store", str(store), "--engine", "reference", "--workers", "1"])
    return Array(slurm.submit("--array=0-3", "--requeue", "--time=10", f"--chdir={store.parent}", "--output=%a.log", "--open-mode=append",
                              "--wrap", run, **environment), store)


@pytest.fixture(scope="module")
def scripted(slurm: Slurm, study: Study, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Array:
    """The script that the command prints, as it prints it."""
    store = tmp_path_factory.mktemp("scripted") / "runs"
    path = store.with_name("job.sh")
    path.write_text(sweepstake("script", study.path, "--for", "slurm", "--store", store, "--copies", 2, "--hours", 1, "--engine", "reference"))
    return Array(slurm.submit(f"--chdir={store.parent}", path, **environment), store)


@pytest.fixture(scope="module")
def disturbed(slurm: Slurm, study: Study, scripted: Array, array: Array, environment: dict[str, str]) -> None:
    """One copy of the array is cancelled, one requeued, one is out of time; a copy of the script is warned. Then all go on to their end."""
    try:
        slurm.wait(lambda: (array.begun(study), scripted.begun(study)) == (4, 2))
    except AssertionError as error:
        error.add_note(array.logs + scripted.logs)
        raise
    slurm.end_in(f"{array.number}_3", 2)
    slurm.end_in(f"{scripted.number}_1", 60)
    slurm.cancel(f"{array.number}_1")
    slurm.requeue(f"{array.number}_2")
    slurm.wait(lambda: slurm.states(array.number)["1"] == "CANCELLED" and slurm.states(array.number)["2"] == "PENDING")
    assert not array.holds_what_nobody_computes()
    slurm.begin_now(f"{array.number}_2")
    slurm.wait(lambda: slurm.states(array.number)["3"] == "TIMEOUT" and slurm.states(scripted.number)["1"] == "PENDING")
    assert not array.holds_what_nobody_computes() and not scripted.holds_what_nobody_computes()
    slurm.begin_now(f"{scripted.number}_1")
    Path(environment["HELD"]).unlink()
    slurm.wait(lambda: not {"PENDING", "RUNNING", "COMPLETING"} & {*slurm.states(array.number).values(), *slurm.states(scripted.number).values()})


@pytest.mark.usefixtures("disturbed")
def test_an_array_cancelled_requeued_and_out_of_time_gives_the_table_of_one_process(slurm: Slurm, study: Study, array: Array, table: str):
    assert slurm.states(array.number) == {"0": "COMPLETED", "1": "CANCELLED", "2": "COMPLETED", "3": "TIMEOUT"}, array.logs
    said = slurm.said("scontrol", "show", "job", f"{array.number}_2")
    assert re.search(r"Restarts=[1-9]", said), said
    assert [index for index in range(4) if "stopped. Kept in" in array.log(index)] == [1, 2, 3]
    assert sweepstake("status", study.path, "--store", array.store) == "done\t6\n"
    assert sweepstake("results", study.path, "--store", array.store) == table


@pytest.mark.usefixtures("disturbed")
def test_a_copy_of_the_script_that_is_warned_begins_itself_again(slurm: Slurm, study: Study, scripted: Array, table: str):
    assert slurm.states(scripted.number) == {"0": "COMPLETED", "1": "COMPLETED"}, scripted.logs
    said = slurm.said("scontrol", "show", "job", f"{scripted.number}_1")
    assert re.search(r"Restarts=[1-9]", said), said
    assert [index for index in range(2) if "stopped. Kept in" in scripted.log(index)] == [1]
    assert sweepstake("results", study.path, "--store", scripted.store) == table
