"""A cell of a plug-in's is found under the id of its code, and under those of before, of the text to the byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweepstake import pieces
from sweepstake.pieces import hash_of
from sweepstake.run.names import id_in, search_id_in
from sweepstake.run.opened import open_study
from sweepstake.run.run import run_study
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from sweepstake.run.worker import compute
from sweepstake.study.study import Study, read_study
from tests.small import SMALL

CODE = """from sweepstake import criterion


@criterion
def {name}(w_final):
    \"\"\"Mine (Me 2026).\"\"\"
    return w_final.abs()  # what is large
"""


@pytest.fixture
def read(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """A study with a criterion of a plug-in's, read as now or as it was when an id held the text to the byte."""
    name = f"of_{request.node.originalname}"[:60]
    path = tmp_path / "mine.py"

    def made(*, before: bool = False, code: str = CODE, **changes: Any) -> Study:
        path.write_text(code.replace("{name}", name))
        pieces._forget(path)
        with monkeypatch.context() as patched:
            if before:
                patched.setattr(pieces, "code_hash", hash_of)
            table = {**SMALL, "plugins": ["mine.py"], "criterion": name, "seeds": 1, **changes}
            return read_study(table, name="mine", text="# mine\n", folder=tmp_path)

    return made


def ids(study: Study) -> list[str]:
    return [each.id for each in study.planned]


def heard(study: Study, store: Path) -> list[Any]:
    """What a run tells."""
    told: list[Any] = []
    run_study(study, store, stack=1, on_event=told.append)
    return told


def trained(study: Study, store: Path) -> list[str]:
    """What a run computed."""
    told = heard(study, store)
    return [event.id for event in told if event.kind == "done" and event.computed]


def test_the_ids_of_before_and_of_now_are_pinned(tmp_path: Path):
    (tmp_path / "pinned.py").write_text(CODE.replace("{name}", "pinned_score"))
    table = {"plugins": ["pinned.py"], "criterion": "pinned_score", "model": {"name": "mlp", "hidden": [12]}, "steps": 10, "rounds": 2,
             "batch_size": 20}
    study, home = read_study(table, name="pinned", folder=tmp_path), Store(tmp_path / "runs")
    assert ids(study) == ["1af3416eb96fc781"]
    assert id_in(home, study.cells[0]) == "1af3416eb96fc781"
    home.fail("fe3b664170d0ab80", "It was under this one before.", "", {})
    assert id_in(Store(tmp_path / "runs"), study.cells[0]) == "fe3b664170d0ab80"
    home.fail("1af3416eb96fc781", "Where both are there, the code's wins.", "", {})
    assert id_in(home, study.cells[0]) == "1af3416eb96fc781"


def test_results_of_before_are_read_and_never_trained_again(read: Callable[..., Study], tmp_path: Path):
    before = read(before=True)
    old = run_study(before, tmp_path / "runs", stack=1)
    study = read()
    assert set(ids(study)).isdisjoint(ids(before))
    assert open_study(study, tmp_path / "runs").results == [
        {**each, "cell": {**each["cell"], "criterion": {**each["cell"]["criterion"], "source": study.cells[0].criterion.source}}} for each in old]
    assert trained(study, tmp_path / "runs") == []
    assert sorted(path.name for path in (tmp_path / "runs" / "cells").iterdir()) == ids(before)


def test_results_of_before_are_found_when_a_comment_changes_after_a_run(read: Callable[..., Study], tmp_path: Path):
    before = read(before=True)
    run_study(before, tmp_path / "runs", stack=1)
    (tmp_path / "runs" / "plugins" / f"mine-{hash_of((tmp_path / 'mine.py').read_bytes())}.py").unlink()  # As a store of before.
    commented = CODE.replace("# what is large", "# what is large, whatever its sign")
    assert open_study(read(code=commented), tmp_path / "runs").results[0]["status"] == "missing"  # Nothing says that it is the same code.
    assert trained(read(), tmp_path / "runs") == []
    assert [each["id"] for each in open_study(read(code=commented), tmp_path / "runs").results] == ids(before)
    assert trained(read(code=commented.replace('"""Mine', '"""Of mine')), tmp_path / "runs") == []
    assert len(trained(read(code=CODE.replace("abs()", "square()")), tmp_path / "runs")) == 1


def test_a_cell_begun_before_goes_on_under_its_id_and_says_what_was_asked(read: Callable[..., Study], tmp_path: Path):
    class Killed(Exception):
        pass

    def tell(event: Any) -> None:
        if event.kind == "round" and event.round == 1:
            raise Killed

    before = read(before=True)
    task = Task(ids(before)[0], before.cells[0], str(tmp_path / "runs"), [], list(before.plugins), "mine", "", engine="reference")
    with pytest.raises(Killed):
        compute(task, Store(tmp_path / "runs"), tell)
    asked = (tmp_path / "runs" / "cells" / task.id / "cell.json").read_bytes()
    told = heard(read(), tmp_path / "runs")
    assert [(event.id, event.round) for event in told if event.kind == "resumed"] == [(task.id, 2)]
    assert [(event.id, event.status) for event in told if event.kind == "done"] == [(task.id, "done")]
    assert (tmp_path / "runs" / "cells" / task.id / "cell.json").read_bytes() == asked


def test_a_transplant_takes_the_masks_of_a_donor_of_before(read: Callable[..., Study], tmp_path: Path):
    before = read(before=True)
    run_study(before, tmp_path / "runs", stack=1)
    study = read(control="transplant", donor={"criterion": before.cells[0].criterion.name, "seed": 0}, seeds=[5])
    assert study.cells[0].donor and study.cells[0].donor["criterion"]["source"]
    done = run_study(study, tmp_path / "runs", stack=1)
    assert done[0]["status"] == "done"
    assert Store(tmp_path / "runs").masks(done[0]["id"])[2].equal(Store(tmp_path / "runs").masks(ids(before)[0])[2])


def test_a_search_of_before_is_read_and_goes_on(read: Callable[..., Study], tmp_path: Path):
    pytest.importorskip("optuna")
    search = {"options": {"name": "xavier_normal", "scale": {"low": 0.5, "high": 2.0}}, "trials": 2, "batch": 1, "random": 1, "seeds": [7]}
    said = {"validation": 100, "init": ["zeros", "found"], "search": search}
    before = read(before=True, **said)
    done = run_study(before, tmp_path / "runs", stack=1)
    study = read(**said)
    assert before.search and study.search and study.search.id != before.search.id
    assert search_id_in(Store(tmp_path / "runs"), study.search) == before.search.id
    opened = open_study(study, tmp_path / "runs")
    assert opened.study.searched and len(opened.study.searched["trials"]) == 2
    assert [each["id"] for each in opened.results] == [each["id"] for each in done]
    assert trained(study, tmp_path / "runs") == []
    (tmp_path / "runs" / "searches" / f"{before.search.id}.json").unlink()  # The account is made again from the cells.
    assert trained(study, tmp_path / "runs") == []
    assert search_id_in(Store(tmp_path / "runs"), study.search) == study.search.id


def test_the_text_of_each_plug_in_is_kept_and_never_run(read: Callable[..., Study], tmp_path: Path):
    ran = tmp_path / "ran"
    run_study(read(), tmp_path / "runs", stack=1)
    kept = tmp_path / "runs" / "plugins" / f"mine-{hash_of((tmp_path / 'mine.py').read_bytes())}.py"
    assert kept.read_bytes() == (tmp_path / "mine.py").read_bytes()
    (kept.parent / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (kept.parent / "no_python.py").write_text("def\n")
    (kept.parent / "bytes.py").write_bytes(b"\xff\x00")
    assert trained(read(code=CODE + "# more\n"), tmp_path / "runs") == []
    assert not ran.exists()
    kept.write_text("changed\n")
    damages = [event.error for event in heard(read(), tmp_path / "runs") if event.kind == "damaged"]
    assert damages == [f"{kept}: damaged (its content is not what the hash in its name says)"]
    assert kept.read_bytes() == (tmp_path / "mine.py").read_bytes()


def test_cells_without_a_plug_in_are_named_without_a_look_into_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, study = Store(tmp_path / "runs"), read_study({**SMALL}, name="small")
    monkeypatch.setattr(Store, "holds", None)  # Which nobody can call.
    assert [id_in(home, cell) for cell in study.cells] == ids(study)
