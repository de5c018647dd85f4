"""A cell's id is the name of its result for ever."""

import hashlib
from typing import Any

import msgspec
import pytest

import sweepstake.base.cell as module
from sweepstake.base.cell import NEUTRAL, PIECE_DEFAULTS, SETS, Cell, Scaling, hash_cell
from sweepstake.pieces import cell_id, cell_id_by_seed, neutral_options
from tests.helpers import make_cell, ref, run_cell, tiny_images


def id_of(**changes: Any) -> str:
    return cell_id(make_cell(**changes))


PINNED: list[tuple[str, dict[str, Any]]] = [
    ("2798a338838a706b", {}),
    ("cbc95a39a760756c", {"seed": 1}),
    ("63d85b934a13765d", {"seed": 2**63 - 1}),
    ("9507d59fe15c8bb9", {"init": "kaiming_uniform"}),
    ("a8816a42aa29a3b6", {"init": ("xavier_normal", {"scale": 0.5})}),
    ("a630202a8dad7c11", {"init": ("xavier_normal", {"scale": {"fc1": 0.5, "fc2": 2.0}})}),
    ("a608afa7017c9393", {"bias_init": "framework_default"}),
    ("0974a8cc85150448", {"dataset": "mnist", "normalise": "unit", "epochs": 5.0}),
    ("88ea07f0dbb6f06e", {"normalise": Scaling([0.5], [0.25])}),
    ("37061cafd10f759d", {"model": ("mlp", {"hidden": [100]})}),
    ("6017d8425dfd037e", {"model": ("mlp", {"activation": "leaky_relu", "slope": 0.1, "dropout": 0.2})}),
    ("74e2695ea3956437", {"optimiser": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005}),
    ("302d94906756f532", {"lr_schedule": ("drops", {"at": [0.25, 0.5], "factor": 0.2})}),
    ("ff0c6319754cd8d6", {"batch_size": 128, "eval_every": 100, "validation": 200, "subset": 500, "split_seed": 3}),
    ("3b3427b64ae13c46", {"rounds": 15, "keep": {"fc1": 0.8, "fc3": 0.9}}),
    ("152921e03525fd6c", {"keep": 0.5, "output_keep": 0.9, "prune_layers": ["fc1", "fc2"], "prune_biases": True}),
    ("0363f068b92259b5", {"criterion": ("magnitude_increase", {"weight": 0.5}), "allocation": "everywhere"}),
    ("11c9a4dd61301deb", {"criterion": "unit_l2", "granularity": "unit"}),
    ("1cc0b56e6c6e509b", {"reset": ("rewind", {"step": 100}), "optimiser_state": "kept"}),
    ("e42e0fc157ac2b6d", {"reset": "fresh", "control": "shuffle", "order_seed": 7, "precision": "float64"}),
]


@pytest.mark.parametrize(("id_", "changes"), PINNED, ids=range(len(PINNED)))
def test_ids_are_pinned_by_value(id_: str, changes: dict[str, Any]):
    assert id_of(**changes) == id_


@pytest.mark.parametrize("changes", [changes for _, changes in PINNED], ids=range(len(PINNED)))
def test_the_id_under_another_seed_is_the_id_of_the_cell_with_that_seed(changes: dict[str, Any]):
    cell = make_cell(**changes)
    id_under = cell_id_by_seed(cell)
    for seed in (0, 1, 10, 2**63 - 1):
        assert id_under(seed) == cell_id(msgspec.structs.replace(cell, seed=seed)) == plainly_hashed(msgspec.structs.replace(cell, seed=seed))


def plainly_hashed(cell: Cell) -> str:
    """The hash over the whole of what is hashed, encoded at once."""
    return hashlib.sha256(msgspec.json.encode(hashed_of(cell), order="deterministic")).hexdigest()[:16]


def hashed_of(cell: Cell) -> dict[str, Any]:
    return module._hashed(cell, neutral_options)


def test_pinned_ids_are_all_different():
    assert len({id_ for id_, _ in PINNED}) == 20


@pytest.mark.parametrize("field", NEUTRAL)
def test_a_neutral_field_is_not_hashed(field: str):
    value = ref(SETS[field], NEUTRAL[field]) if field in SETS else NEUTRAL[field]
    said = make_cell(**{"epochs": 5.0 if field == "steps" else None, field: value})
    assert getattr(said, field) == value
    assert field not in hashed_of(said)


def test_exactly_the_fields_with_a_default_are_hashed():
    assert sorted(hashed_of(make_cell())) == sorted([
        "dataset", "normalise", "model", "init", "optimiser", "lr", "batch_size", "steps", "rounds", "keep", "criterion", "allocation",
        "reset", "seed"])
    assert {field.name for field in msgspec.structs.fields(Cell)} == set(hashed_of(make_cell())) | set(NEUTRAL)


def test_an_option_at_its_neutral_is_not_hashed_and_any_other_is():
    hashed = hashed_of(make_cell())
    assert hashed["model"] == {"name": "mlp", "options": {"hidden": [300, 100]}, "version": 1}
    assert hashed["reset"] == {"name": "rewind", "options": {}, "version": 1}
    assert id_of(model=("mlp", {"dropout": 0.0})) == id_of()
    assert id_of(model=("mlp", {"dropout": 0.1})) != id_of()


def test_an_id_cannot_be_had_without_knowing_what_is_neutral():
    with pytest.raises(TypeError, match="neutral_options"):
        hash_cell(make_cell())  # pyright: ignore[reportCallIssue]
    assert cell_id(make_cell()) == PINNED[0][0]


def test_a_bumped_piece_version_is_another_cell():
    cell = make_cell()
    bumped = msgspec.structs.replace(cell, bias_init=msgspec.structs.replace(cell.bias_init, version=2))
    assert cell_id(bumped) != cell_id(cell)


# Field -> (a small cell's fields, the change). Every field of Cell has a row.
BASE: dict[str, Any] = {"model": ("mlp", {"hidden": [12]}), "steps": 12, "rounds": 2, "batch_size": 8, "lr": 0.01, "validation": 16, "subset": 40}
EVERY_FIELD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dataset": ({}, {"dataset": "mnist"}),
    "normalise": ({}, {"normalise": "unit"}),
    "subset": ({}, {"subset": 30}),
    "validation": ({}, {"validation": 20}),
    "split_seed": ({}, {"split_seed": 1}),
    "model": ({}, {"model": ("mlp", {"hidden": [12], "activation": "tanh"})}),
    "init": ({}, {"init": "kaiming_normal"}),
    "bias_init": ({}, {"bias_init": "framework_default"}),
    "optimiser": ({}, {"optimiser": "sgd"}),
    "lr": ({}, {"lr": 0.02}),
    "momentum": ({"optimiser": "sgd"}, {"momentum": 0.9}),
    "weight_decay": ({}, {"weight_decay": 0.1}),
    "lr_schedule": ({}, {"lr_schedule": "cosine"}),
    "batch_size": ({}, {"batch_size": 7}),
    "epochs": ({}, {"steps": None, "epochs": 3.0}),
    "steps": ({}, {"steps": 13}),
    "eval_every": ({}, {"eval_every": 2}),
    "rounds": ({}, {"rounds": 3}),
    "keep": ({}, {"keep": 0.7}),
    "output_keep": ({}, {"output_keep": 0.9}),
    "remove": ({}, {"remove": {"fc1": 40}}),
    "prune_layers": ({}, {"prune_layers": ["fc1"]}),
    "prune_biases": ({"bias_init": "framework_default"}, {"prune_biases": True}),
    "criterion": ({}, {"criterion": "movement"}),
    "prune_when": ({}, {"prune_when": "both"}),
    "granularity": ({"criterion": "random"}, {"granularity": "unit"}),
    "allocation": ({}, {"allocation": "everywhere"}),
    "reset": ({}, {"reset": "fresh"}),
    "control": ({}, {"control": "invert"}),
    "donor": ({"control": "transplant", "donor": {"seed": 1}}, {"donor": {"seed": 2}}),
    "donor_mask": ({"control": "transplant", "donor": {"seed": 1}}, {"donor_mask": "shuffled"}),
    "optimiser_state": ({}, {"optimiser_state": "kept"}),
    "seed": ({}, {"seed": 1}),
    "order_seed": ({}, {"order_seed": 1}),
    "precision": ({}, {"precision": "float64"}),
}


def test_every_field_of_a_cell_has_a_row():
    assert list(EVERY_FIELD) == [field.name for field in msgspec.structs.fields(Cell)]


@pytest.mark.parametrize("field", EVERY_FIELD)
def test_a_changed_field_changes_the_id_and_a_recorded_number(field: str):
    base, change = EVERY_FIELD[field]
    before, after = make_cell(**{**BASE, **base}), make_cell(**{**BASE, **base, **change})
    assert getattr(before, field) != getattr(after, field)
    assert cell_id(before) != cell_id(after)
    # The images are handed over here, so another data set is other images.
    assert numbers(before, 0) != numbers(after, 1 if field == "dataset" else 0)


def numbers(cell: Cell, images: int) -> str:
    """All a run records but the seconds; as text, in which NaN equals NaN."""
    return repr([{k: v for k, v in record.items() if k != "seconds"} for record in run_cell(cell, tiny_images(seed=images))])


def test_the_same_cell_gives_the_same_numbers():
    assert numbers(make_cell(**BASE), 0) == numbers(make_cell(**BASE), 0)


def test_every_default_piece_is_of_its_set():
    for field, name in PIECE_DEFAULTS.items():
        assert ref(SETS[field], name).name == name
