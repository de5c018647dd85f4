"""Trained weights in the store: kept where a study says so, named and shaped, and no result hangs on them."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from sweepstake.base.errors import UserError
from sweepstake.engine.train import Trainer
from sweepstake.pieces import cell_id
from sweepstake.run import worker
from sweepstake.run.layout import masks_by_name, net_of, slots_in
from sweepstake.run.run import run_study
from sweepstake.run.sealed import Damaged
from sweepstake.run.settings import Saves, Settings, Task
from sweepstake.run.store import Store
from tests.helpers import make_cell
from tests.small import small_study

TINY: dict[str, Any] = {"model": ("mlp", {"hidden": [12]}), "steps": 10, "batch_size": 20}
CONV: dict[str, Any] = {"model": ("conv2", {"width": 0.05}), "steps": 3, "batch_size": 20, "rounds": 1, "keep": 0.5}


def task_of(store: Path, saves: Saves = "none", **changes: Any) -> Task:
    cell = make_cell(**{**TINY, **changes})
    return Task(cell_id(cell), cell, str(store), [], [], "small", "", save_weights=saves)


def computed(store: Path, saves: Saves = "none", **changes: Any) -> tuple[Store, Task]:
    task, home = task_of(store, saves, **changes), Store(store)
    worker.compute(task, home)
    return home, task


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The weights that each training ends with, seen where the engine makes them."""
    seen, honest = list[torch.Tensor](), Trainer.train

    def train(self: Any, *said: Any) -> Any:
        trained = honest(self, *said)
        seen.append(trained.w_final.clone())
        return trained

    monkeypatch.setattr(Trainer, "train", train)
    return seen


def of_result(store: Store, id_: str) -> tuple[str, str]:
    """Every number of the result without its seconds, and the masks, as hashes."""
    result = store.get(id_)
    assert result is not None
    numbers = [{key: value for key, value in record.items() if key != "seconds"} for record in result["rounds"]]
    masks = (store.folder / "cells" / id_ / "masks.safetensors").read_bytes()
    return hashlib.sha256(repr(numbers).encode()).hexdigest(), hashlib.sha256(masks).hexdigest()


def test_all_keeps_every_rounds_weights_by_name_and_shape_as_training_left_them(tmp_path: Path, ended: list[torch.Tensor]):
    store, task = computed(tmp_path, "all")
    kept = store.weights(task.id)
    assert kept.rounds == [0, 1, 2]
    for round_ in range(3):
        tensors = kept.read(round_)
        assert {name: tuple(tensor.shape) for name, tensor in (tensors or {}).items()} == {
            "fc1.weight": (12, 64), "fc1.bias": (12,), "fc2.weight": (10, 12), "fc2.bias": (10,)}
        flat = ended[round_]
        assert all(torch.equal(slot.of(flat), (tensors or {})[slot.name]) for slot in net_of(task.cell).slots)


def test_last_keeps_only_the_newest_and_none_keeps_nothing(tmp_path: Path):
    for saves, rounds_kept in (("last", [2]), ("none", [])):
        store, task = computed(tmp_path / saves, saves)
        assert store.weights(task.id).rounds == rounds_kept
    assert not list((tmp_path / "none").rglob("weights*"))


def test_no_result_and_no_mask_changes_by_what_is_kept(tmp_path: Path):
    found = {saves: of_result(*_id(computed(tmp_path / saves, saves))) for saves in ("none", "last", "all")}
    assert found["none"] == found["last"] == found["all"]


def _id(made: tuple[Store, Task]) -> tuple[Store, str]:
    return made[0], made[1].id


def test_a_kernel_is_kept_in_its_own_shape_not_as_it_lies_in_memory(tmp_path: Path, ended: list[torch.Tensor]):
    store, task = computed(tmp_path, "last", **CONV)
    tensors = store.weights(task.id).read(1) or {}
    net = net_of(task.cell)
    conv = next(slot for slot in net.weights if slot.layer == "conv2")
    assert tensors["conv2.weight"].shape == conv.shape == (3, 3, 3, 3)
    assert torch.equal(tensors["conv2.weight"], conv.of(ended[1]))
    assert not torch.equal(tensors["conv2.weight"].flatten(), ended[1][conv.start:conv.stop])


def test_a_rewind_to_a_step_keeps_that_steps_weights(tmp_path: Path):
    store, task = computed(tmp_path, "last", reset=("rewind", {"step": 4}))
    step, mask = store.weights(task.id).read("step") or {}, masks_by_name(store, task.id, task.cell)[2]
    assert set(step) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert mask["fc1.weight"].shape == (12, 64)
    plain, other = computed(tmp_path, "last")
    assert plain.weights(other.id).read("step") is None


class Killed(Exception):
    """The process is gone."""


def test_a_kill_between_a_rounds_weights_and_its_state_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    honest, calls = Store.save_state, list[int]()

    def dies_at_the_second(self: Store, *said: Any) -> None:
        calls.append(len(said[1]))
        if len(calls) == 2:
            raise Killed
        honest(self, *said)

    monkeypatch.setattr(Store, "save_state", dies_at_the_second)
    with pytest.raises(Killed):
        computed(tmp_path / "a", "last")
    store, task = Store(tmp_path / "a"), task_of(tmp_path / "a", "last")
    assert store.weights(task.id).rounds == [0, 1]  # Round 1 is trained, and its state was never put.
    assert store.rounds_done(task.id) == 1
    worker.compute(task, store)
    assert store.weights(task.id).rounds == [2]
    whole, _ = computed(tmp_path / "b", "last")
    assert torch.equal((store.weights(task.id).read(2) or {})["fc1.weight"], (whole.weights(task.id).read(2) or {})["fc1.weight"])


def test_a_cell_computed_anew_keeps_no_weights_of_before(tmp_path: Path):
    store, task = computed(tmp_path, "all")
    (tmp_path / "cells" / task.id / "result.json").write_text("{}")
    worker.compute(task_of(tmp_path, "none"), store)
    assert (store.status(task.id), store.weights(task.id).rounds) == ("done", [])


@pytest.mark.parametrize("how", ["flipped", "of another round", "of another cell", "without a seal"])
def test_damaged_weights_are_named_and_not_read_and_the_result_stays(tmp_path: Path, how: str):
    store, task = computed(tmp_path, "all")
    path = store.weights(task.id).path(2)
    if how == "flipped":
        content = bytearray(path.read_bytes())
        content[-5] ^= 4
        path.write_bytes(content)
    elif how == "without a seal":
        path.write_bytes(save(load(path.read_bytes())))
    elif how == "of another round":
        shutil.copy(store.weights(task.id).path(1), path)
    else:
        other = computed(tmp_path / "other", "all", seed=1)[1]
        shutil.copy(Store(tmp_path / "other").weights(other.id).path(2), path)
    with pytest.raises(Damaged, match=r"weights\.2\.safetensors: damaged"):
        store.weights(task.id).read(2)
    assert store.status(task.id) == "done"


@pytest.mark.parametrize("how", [{"workers": 1}, {"stack": 2}])
def test_both_executors_keep_weights_as_the_study_or_the_caller_says(tmp_path: Path, how: dict[str, Any]):
    by_study = run_study(small_study(machine={"save_weights": "last"}), tmp_path / "study", **how)
    by_caller = run_study(small_study(seeds=1), tmp_path / "caller", save_weights="all", **how)
    assert [Store(tmp_path / "study").weights(each["id"]).rounds for each in by_study] == [[2], [2]]
    assert [Store(tmp_path / "caller").weights(each["id"]).rounds for each in by_caller] == [[0, 1, 2]]
    last = Store(tmp_path / "study").weights(by_study[0]["id"]).read(2) or {}
    mask = masks_by_name(Store(tmp_path / "study"), by_study[0]["id"], small_study().planned[0].cell)[2]
    assert bool((last["fc1.weight"][~mask["fc1.weight"]] == 0).all()) and int(mask["fc1.weight"].sum()) == 491


def test_the_caller_wins_over_the_study_and_a_slip_is_one_line():
    study = small_study(machine={"save_weights": "last"})
    assert [Settings.of(study, save_weights=said).save_weights for said in (None, "none", "all")] == ["last", "none", "all"]
    assert Settings.of(small_study()).save_weights == "none"
    with pytest.raises(UserError, match=r"^--save-weights some: say none, last or all\.$"):
        Settings.of(small_study(), save_weights="some")  # pyright: ignore[reportArgumentType]


# The layout of masks

def test_masks_say_their_parameters_in_order(tmp_path: Path):
    store, task = computed(tmp_path, **CONV)
    slots = slots_in(store.layout(task.id) or "")
    net = net_of(task.cell)
    assert [(each.name, each.shape, each.role, each.start, each.stop) for each in slots] == [
        (each.name, each.shape, each.role, each.start, each.stop) for each in net.slots]
    assert [each.role for each in slots][:2] == ["weight", "bias"]
    conv = next(slot for slot in net.weights if slot.layer == "conv2")
    masks = masks_by_name(store, task.id, task.cell)
    assert [int(mask["conv2.weight"].sum()) for mask in masks] == [81, 41]
    assert torch.equal(masks[1]["conv2.weight"], conv.of(store.masks(task.id)[1]))


def test_masks_of_an_older_store_take_their_layout_from_the_cells_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, task = computed(tmp_path, **CONV)
    new = masks_by_name(store, task.id, task.cell)
    honest = Store.finish
    monkeypatch.setattr(Store, "finish", lambda self, *said, layout: honest(self, *said))
    old, _ = computed(tmp_path / "old", **CONV)
    assert old.layout(task.id) is None
    again = masks_by_name(old, task.id, task.cell)
    assert [each.keys() for each in again] == [each.keys() for each in new]
    assert all(torch.equal(one[name], other[name]) for one, other in zip(again, new, strict=True) for name in one)
