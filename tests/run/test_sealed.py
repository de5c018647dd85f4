"""Not one flipped bit of a store is read as a result: damage is named with its file, and computed again."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save

import sweepstake as ss
from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.cli import main
from sweepstake.engine import rounds
from sweepstake.pieces import cell_id
from sweepstake.pieces.donors import donor_of
from sweepstake.read.analysis import curves, tidy, to_csv
from sweepstake.run import worker
from sweepstake.run.opened import damaged, load_results
from sweepstake.run.run import run_study
from sweepstake.run.sealed import Damaged, read, seal_tensors
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from tests.small import small_study, write_small

ENDED = ["cell.json", "masks.safetensors", "result.json"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The small study's store, and its table."""
    store = tmp_path_factory.mktemp("ran") / "runs"
    return store, to_csv(tidy(run_study(small_study(), store, workers=1)))


@pytest.fixture
def store(ran: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(ran[0], tmp_path / "runs"))


def folder_of(store: Path, number: int = 0) -> Path:
    return store / "cells" / small_study().planned[number].id


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def unseal(store: Path) -> None:
    """The store as it was written before files were sealed."""
    for path in store.rglob("*.json"):
        said = json.loads(path.read_bytes())
        said.pop("seal")
        path.write_text(json.dumps(said))
    for path in store.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            texts = {key: text for key, text in file.metadata().items() if key in ("records", "meta")}
        path.write_bytes(save(load(path.read_bytes()), metadata=texts or None))


def test_every_file_of_a_cell_says_whose_it_is(store: Path):
    id_, kept = small_study().planned[0].id, Store(store).look(small_study().planned[0].id)
    assert (kept.status, kept.damage) == ("done", ())
    assert sorted(path.name for path in folder_of(store).iterdir()) == ENDED
    for name in ("cell.json", "result.json"):
        seal = json.loads((folder_of(store) / name).read_bytes())["seal"]
        assert (seal["kind"], seal["id"], len(seal["sha256"])) == (name.partition(".")[0], id_, 64)
    with safe_open(folder_of(store) / "masks.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["seal"])["id"] == id_


def test_a_seal_can_be_checked_by_hand(store: Path):
    path = folder_of(store) / "result.json"
    hash_ = json.loads(path.read_bytes())["seal"]["sha256"]
    blank = hashlib.sha256(f"result {folder_of(store).name}".encode()).hexdigest()
    assert hashlib.sha256(path.read_text().replace(hash_, blank).encode()).hexdigest() == hash_


def test_of_a_thousand_flipped_bits_every_one_is_named_with_its_file(store: Path):
    draw, study = random.Random(0), small_study()
    paths = sorted(folder_of(store).iterdir())
    for _ in range(1000):
        path, bit = draw.choice(paths), draw.randrange(10**9)
        whole = path.read_bytes()
        flip(path, bit)
        found = load_results(study, store)
        assert [result["status"] for result in found] == ["damaged", "done"]
        assert (found[0]["rounds"], len(damaged(study, found))) == ([], 1)
        assert found[0]["error"].startswith(f"{path}: damaged (")
        path.write_bytes(whole)
    assert [result["status"] for result in load_results(study, store)] == ["done", "done"]


@pytest.mark.parametrize("name", ENDED)
def test_a_file_of_another_cell_is_not_this_cells(store: Path, name: str):
    shutil.copy(folder_of(store, 1) / name, folder_of(store) / name)
    (damage,) = Store(store).look(folder_of(store).name).damage
    assert str(damage) == f"{folder_of(store) / name}: damaged (it is {name.partition('.')[0]} of {folder_of(store, 1).name})"


def test_masks_of_the_same_cell_that_are_not_the_results_are_damage(store: Path, tmp_path: Path):
    home, id_ = Store(store), folder_of(store).name
    other = Store(tmp_path / "other")
    other.begin(id_, small_study().planned[0].cell)
    other.finish(id_, "done", [{}], {"round.0": torch.zeros(1, dtype=torch.uint8), "size": torch.tensor(8)}, {})
    shutil.copy(folder_of(other.folder) / "masks.safetensors", folder_of(store))
    assert [str(each) for each in home.look(id_).damage] == [
        f"{folder_of(store) / 'masks.safetensors'}: damaged (not the masks of the result beside it)"]


def test_a_run_names_what_is_damaged_and_computes_it_again(ran: tuple[Path, str], store: Path):
    flip(folder_of(store) / "masks.safetensors", 12345)
    shutil.copy(folder_of(store) / "result.json", folder_of(store, 1) / "result.json")
    events: list[Any] = []
    assert to_csv(tidy(run_study(small_study(), store, workers=1, on_event=events.append))) == ran[1]
    said = [event for event in events if event.kind == "damaged"]
    assert [event.error.partition(":")[0] for event in said] == [
        str(folder_of(store) / "masks.safetensors"), str(folder_of(store, 1) / "result.json")]
    assert {event.then for event in said} == {"its cell is computed again"}
    assert [Store(store).status(each.id) for each in small_study().planned] == ["done", "done"]
    assert next(event for event in events if event.kind == "plan").missing == 2


def test_a_cell_that_is_begun_again_is_no_more_done(store: Path):
    """Killed between its masks and its result, it is not the old result beside new masks."""
    Store(store).begin(folder_of(store).name, small_study().planned[0].cell)
    assert [path.name for path in folder_of(store).iterdir()] == ["cell.json"]
    assert Store(store).status(folder_of(store).name) == "missing"


@pytest.mark.parametrize("name", ["state.safetensors", "failure.json"])
def test_a_damaged_state_or_failure_is_named_and_begun_from_the_beginning(store: Path, name: str):
    home, id_ = Store(store), "f" * 16
    home.begin(id_, small_study().planned[0].cell)
    home.save_state(id_, [{}], {"w": torch.ones(3)}, {})
    home.fail(id_, "no", "Traceback", {})
    flip(home.folder / "cells" / id_ / name, 4321)
    kept = home.look(id_)
    assert (kept.status, [each.path.name for each in kept.damage]) == ("damaged", [name])
    home.begin(id_, small_study().planned[0].cell)
    assert home.status(id_) == ("missing" if name == "state.safetensors" else "begun")


def test_a_state_of_another_cell_is_not_gone_on_from(store: Path):
    home, (one, other) = Store(store), ("e" * 16, "f" * 16)
    for id_ in (one, other):
        home.begin(id_, small_study().planned[0].cell)
        home.save_state(id_, [{}], {"w": torch.ones(3)}, {})
    shutil.copy(home.folder / "cells" / one / "state.safetensors", home.folder / "cells" / other)
    assert (home.load_state(other), home.status(other), home.status(one)) == (None, "damaged", "begun")


def test_the_commands_name_a_damaged_file_and_leave_its_cell_out(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                                 monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = str(write_small(tmp_path))
    assert main(["run", path, "--workers", "1"]) == 0
    capsys.readouterr()
    assert main(["results", path]) == 0
    table = capsys.readouterr().out
    broken = Path("runs") / "cells" / ss.load_study(path).planned[0].id / "result.json"
    broken.write_bytes(broken.read_bytes().replace(b'"steps":10', b'"steps":11', 1))
    line = f"{broken}: damaged (its content is not what its hash says). It is not read; `sweepstake run` computes its cell again.\n"

    assert main(["status", path]) == 0
    assert capsys.readouterr() == ("done\t4\n", "")  # It looks at the ends of a result alone.
    assert main(["status", path, "--prove"]) == 0
    assert capsys.readouterr() == ("done\t3\ndamaged\t1\n", line)
    assert main(["results", path]) == 0
    said = capsys.readouterr()
    assert (said.err, len(said.out.splitlines())) == (line, len(table.splitlines()) - 3)
    assert main(["report", path]) == 1
    assert line in capsys.readouterr().err
    assert f"1 of 4 cells damaged on disk, in no mean: {broken}" in (tmp_path / "reports" / "small" / "report.html").read_text()
    assert main(["publish", path]) == 2
    said = capsys.readouterr().err
    assert line in said and "1 of 4 cells damaged" in said
    with pytest.warns(UserWarning, match="result.json: damaged"):
        assert len(ss.load_results(path, "runs").rows()) == 9

    assert main(["run", path, "--workers", "1"]) == 0
    assert f"{broken}: damaged (its content is not what its hash says); its cell is computed again." in capsys.readouterr().err
    assert main(["results", path]) == 0
    assert capsys.readouterr() == (table, "")


# Stores from before files were sealed

def test_a_store_without_seals_opens_and_reads_the_same_and_nothing_is_computed(ran: tuple[Path, str], store: Path):
    masks = [mask.tolist() for mask in Store(store).masks(folder_of(store).name)]
    unseal(store)
    assert to_csv(tidy(load_results(small_study(), store))) == ran[1]
    assert [mask.tolist() for mask in Store(store).masks(folder_of(store).name)] == masks
    events: list[Any] = []
    assert to_csv(tidy(run_study(small_study(), store, workers=1, on_event=events.append))) == ran[1]
    assert [event.kind for event in events] == ["plan"]


def test_a_cell_begun_without_seals_goes_on_where_it_was(ran: tuple[Path, str], tmp_path: Path):
    def stop(event: Any) -> None:
        if event.kind == "round" and event.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(small_study(), tmp_path / "runs", stack=1, on_event=stop)
    unseal(tmp_path / "runs")
    first = small_study().planned[0].id
    assert Store(tmp_path / "runs").status(first) == "begun"
    resumed: list[Any] = []
    run_study(small_study(), tmp_path / "runs", stack=1, on_event=resumed.append)
    assert [event.round for event in resumed if event.kind == "resumed" and event.id == first] == [2]


def test_what_cannot_be_read_of_a_file_without_a_seal_is_named_and_never_an_exception(store: Path):
    unseal(store)
    draw, study, named = random.Random(0), small_study(), 0
    paths = sorted(folder_of(store).iterdir())
    for _ in range(400):
        path, bit = draw.choice(paths), draw.randrange(10**9)
        whole = path.read_bytes()
        flip(path, bit)
        found = load_results(study, store)
        to_csv(tidy(found, timing=True))
        curves(found)
        named += found[0]["status"] == "damaged" and found[0]["error"].startswith(f"{path}: damaged (")
        assert found[0]["status"] in ("done", "diverged", "damaged")
        path.write_bytes(whole)
    assert named > 150


@pytest.mark.parametrize(("name", "text"), [
    ("result.json", '{"status": "done", "rounds": [{"round": 0}], "provenance": {}}'),
    ("result.json", '{"status": "done", "rounds": [], "provenance": {}}'),
    ("result.json", '{"status": "fine", "rounds": [], "provenance": {}}'),
    ("result.json", "[]"),
    ("failure.json", '{"error": "no"}'),
    ("cell.json", "{}"),
])
def test_json_that_is_not_the_shape_of_its_kind_is_damage(store: Path, name: str, text: str):
    (folder_of(store) / name).write_text(text)
    assert [each.path.name for each in Store(store).look(folder_of(store).name).damage] == [name]


def test_a_sealed_file_cannot_pass_for_one_without_a_seal(store: Path):
    for path in sorted(folder_of(store).iterdir()):
        path.write_bytes(path.read_bytes().replace(b"seal", b"sebl", 1))
        with pytest.raises(Damaged):
            read(path, path.name.partition(".")[0], folder_of(store).name)


# The store's own files

def test_a_damaged_marker_is_told_with_what_mends_it(store: Path):
    marker = store / "sweepstake-store.json"
    flip(marker, 8 * marker.read_bytes().index(b"layout"))
    with pytest.raises(UserError, match='sweepstake-store.json: damaged .* write {"layout": 1} into that file'):
        Store(store)
    marker.write_text('{"layout": 1}')
    assert Store(store).status(folder_of(store).name) == "done"


def test_a_damaged_study_text_is_named_and_written_again(store: Path):
    (text,) = (store / "studies").iterdir()
    flip(text, 17)
    events: list[Any] = []
    run_study(small_study(), store, workers=1, on_event=events.append)
    assert [event.error for event in events if event.kind == "damaged"] == [
        f"{text}: damaged (its content is not what the hash in its name says)"]
    assert text.read_text() == "# small\n"


# Donors

def transplanted(store: Path) -> tuple[Task, Task]:
    """A cell under the masks of seed 7, and that seed's own."""
    cell = small_study(control="transplant", donor={"seed": 7}, seeds=1).planned[0].cell
    one, donor = (Task(cell_id(each), each, str(store), [], [], "small", "") for each in (cell, donor_of(cell)))
    return one, donor


def masks_in(store: Store, task: Task) -> list[Any]:
    return [mask.tolist() for mask in store.masks(task.id)]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The masks of seed 7."""
    store = Store(tmp_path_factory.mktemp("honest"))
    _, donor = transplanted(store.folder)
    worker.compute(donor, store)
    return masks_in(store, donor)


@pytest.mark.parametrize("how", ["flipped", "swapped"])
@pytest.mark.parametrize("whose", ["its own result", "beside the cell"])
def test_a_transplant_takes_no_damaged_masks_and_its_donor_is_trained_again(tmp_path: Path, honest: list[Any], how: str, whose: str):
    store = Store(tmp_path / "runs")
    task, donor = transplanted(store.folder)
    if whose == "its own result":
        worker.compute(donor, store)
        path = store.folder / "cells" / donor.id / "masks.safetensors"
    else:
        store.begin(task.id, task.cell)
        store.donor_masks(task.id, donor.id, 910, lambda: pack_back(honest))
        path = store.folder / "cells" / task.id / "donor.safetensors"
    if how == "flipped":
        flip(path, 8 * path.stat().st_size - 3)
    else:
        other = small_study(seeds=1).planned[0]
        run_study(small_study(seeds=1), tmp_path / "other", workers=1)
        shutil.copy(tmp_path / "other" / "cells" / other.id / "masks.safetensors", path)
    told: list[str] = []
    assert store.look(path.parent.name).status == "damaged"
    assert worker.compute(task, store, lambda event: told.append(event.error) if event.kind == "damaged" else None) == "done"
    assert masks_in(store, task) == honest
    if whose == "its own result":  # What lies beside the cell itself is told by the run, before the cell is begun.
        assert [each.partition(":")[0] for each in told] == [str(path)]


def pack_back(masks: list[Any]) -> dict[int, torch.Tensor]:
    assert {len(mask) for mask in masks} == {910}  # 64 x 12 and 12 x 10 weights, 22 biases.
    return {round_: torch.tensor(mask) for round_, mask in enumerate(masks)}


def test_masks_put_for_another_donor_are_not_taken(tmp_path: Path):
    store, told = Store(tmp_path), list[Damaged]()
    (tmp_path / "cells" / "a").mkdir()
    first = store.donor_masks("a", "b", 9, lambda: {0: torch.ones(9, dtype=torch.bool)})
    assert store.donor_masks("a", "b", 9, lambda: pytest.fail("found again"))[0].tolist() == first[0].tolist() == [255, 128]
    again = store.donor_masks("a", "c", 9, lambda: {0: torch.zeros(9, dtype=torch.bool)}, told.append)
    assert (again[0].tolist(), [str(each) for each in told]) == (
        [0, 0], [f"{tmp_path / 'cells' / 'a' / 'donor.safetensors'}: damaged (it is of donor b, not c)"])


def test_a_transplant_is_proven_by_what_the_store_has_of_its_donor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A mask that is changed where the engine holds it differs from nothing that the engine holds."""
    honest = rounds.transplant

    def moved(net: Any, cell: Any, donor: torch.Tensor) -> Any:
        donor[:768] = donor[:768].roll(1)  # fc1: counts are kept.
        return honest(net, cell, donor)

    monkeypatch.setattr(rounds, "transplant", moved)
    store = Store(tmp_path)
    task, donor = transplanted(tmp_path)
    worker.compute(donor, store)
    with pytest.raises(BrokenControl, match="round 1 did not train under the mask that the store has of its donor"):
        worker.compute(task, store)


def test_a_broken_transplant_in_a_stack_leaves_its_neighbours_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    honest = rounds.transplant

    def moved(net: Any, cell: Any, donor: torch.Tensor) -> Any:
        donor[:768] = donor[:768].roll(1)
        return honest(net, cell, donor)

    monkeypatch.setattr(rounds, "transplant", moved)
    study = small_study(case=[{"label": "given", "control": "transplant", "donor": {"seed": 7}}, {"label": "own"}], seeds=1)
    found = run_study(study, tmp_path, stack=2)
    assert [result["status"] for result in found] == ["failed", "done"]
    assert found[0]["error"].startswith("broken control: control = transplant: round 1")


def test_equal_tensors_and_texts_give_equal_bytes_in_a_file_that_safetensors_reads():
    texts = {"a": "1", "b": "é", "c": "\x7f\"", "d": "4", "e": "5"}
    files = {seal_tensors("masks", "x", {"w": torch.arange(3), "v": torch.ones(2)}, **dict(sorted(texts.items(), reverse=turned)))
             for turned in (True, False) for _ in range(8)}
    assert len(files) == 1
    assert load(files.pop())["w"].tolist() == [0, 1, 2]
