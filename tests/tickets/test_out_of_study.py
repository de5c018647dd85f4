"""A ticket out of a finished cell: its masks, and the weights that its training began with, to the bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.engine.network import Net
from sweepstake.engine.train import Trainer
from sweepstake.read.results import Results, load_results
from sweepstake.run import worker
from sweepstake.run.layout import net_of
from sweepstake.run.opened import open_study
from sweepstake.run.run import run_study
from sweepstake.run.settings import Saves, Task
from sweepstake.run.store import Store
from sweepstake.tickets.of_study import recipe
from tests.helpers import make_cell
from tests.small import small_study

CONV: dict[str, Any] = {"model": {"name": "conv2", "width": 0.05}, "steps": 3, "eval_every": 0, "rounds": 1, "keep": 0.5, "seeds": 1}
Starts = list[tuple[int, int, torch.Tensor]]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    """(seed, round, the weights) where each training begins, seen by the trainer."""
    seen, honest = Starts(), Trainer.train

    def train(self: Any, cell: Any, start: Any, round_: int, name: str = "") -> Any:
        seen.append((cell.seed, round_, start.w.clone()))
        return honest(self, cell, start, round_, name)

    monkeypatch.setattr(Trainer, "train", train)
    return seen


def ran(folder: Path, saves: Saves = "none", **changes: Any) -> Results:
    """The small study, run in this process."""
    study, store = small_study(**changes), Store(folder)
    for each in study.planned:
        worker.compute(Task(each.id, each.cell, str(folder), [], [], "small", "", save_weights=saves), store)
    opened = open_study(study, store)
    return Results(opened.study, opened.results, store)


def on(net: Net, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    return {slot.name: slot.of(flat) for slot in net.slots}


def same(ours: Any, theirs: Any) -> bool:
    assert ours.keys() == theirs.keys()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("changes", [
    {"reset": "rewind"}, {"reset": "fresh"}, {"reset": "framework_default"}, {"reset": "shuffled"}, {"reset": "empirical"},
    {"reset": "same_signs"}, {"reset": "constant_signed"}, {"reset": {"name": "rewind", "step": 4}}, {"reset": "rewind_lr"},
    {"reset": "none"}, {"prune_when": "before"}, {"granularity": "unit", "criterion": "unit_l2"}, CONV,
    {**CONV, "model": {"name": "resnet20", "width": 0.13}, "reset": "fresh"},
], ids=str)
def test_every_rounds_ticket_begins_where_training_began_to_the_bit(tmp_path: Path, starts: Starts, changes: dict[str, Any]):
    results = ran(tmp_path, "all", **{"seeds": 1, **changes})
    net = net_of(results.study.planned[0].cell)
    assert [round_ for _, round_, _ in starts] == list(range(len(starts))) and len(starts) >= 2
    for _, round_, w in starts:
        ticket = results.ticket(round_)
        assert same(ticket.initial, on(net, w))
        for name, mask in ticket.masks.items():
            dead = ticket.initial[name][~mask]
            assert not bool(dead.any() or dead.signbit().any())


def test_a_tickets_masks_are_the_stores_by_name_and_count_what_the_record_counts(tmp_path: Path):
    results = ran(tmp_path, seeds=1)
    ticket, record = results.ticket(), results.cells[0]["rounds"][2]
    assert {name: (tuple(mask.shape), int(mask.sum())) for name, mask in ticket.masks.items()} == {
        "fc1.weight": ((12, 64), 491), "fc2.weight": ((10, 12), 77)}
    assert (ticket.kept, ticket.size) == (record["kept"], 888) == (568, 888)
    assert ticket.made["round"] == 2
    assert ticket.trained is None


def test_biases_that_died_are_in_the_masks(tmp_path: Path):
    ticket = ran(tmp_path, seeds=1, granularity="unit", criterion="unit_l2", rounds=1, keep=0.5).ticket()
    assert sorted(ticket.masks) == ["fc1.bias", "fc1.weight", "fc2.weight"]
    assert int(ticket.masks["fc1.bias"].sum()) == 6


def test_a_tickets_module_gives_the_accuracy_of_the_record(tmp_path: Path):
    results = ran(tmp_path, "last", **CONV)
    module, result = results.ticket().module("trained"), results.cells[0]
    from sweepstake.engine.images import prepare
    from sweepstake.pieces.datasets import digits

    images = prepare(results.study.planned[0].cell, digits())
    with torch.no_grad():
        right = module.eval()(images.batch(images.test.x, torch.float32)).argmax(1) == images.test.y
    assert float(right.double().mean()) == pytest.approx(result["rounds"][1]["end"]["test"]["accuracy"], abs=0.003)


def test_what_made_it_is_json_alone_and_says_all_of_it(tmp_path: Path):
    made = ran(tmp_path, init=["xavier_normal", "zeros"], seeds=1).ticket(init="xavier_normal").made
    assert json.loads(json.dumps(made)) == made
    assert (made["study"], made["round"], made["labels"]) == ("small", 2, {"init": "xavier_normal"})
    assert made["kept_fraction"] == pytest.approx(568 / 888)
    assert (made["id"], made["cell"]["seed"], made["numerics"].split()[0]) == (
        small_study(seeds=1, init="xavier_normal").planned[0].id, 0, "fast")
    assert made["versions"]["torch"] == torch.__version__.partition("+")[0] or made["versions"]["torch"] == torch.__version__


def test_a_stacks_cells_give_tickets_too(tmp_path: Path):
    study = small_study()
    run_study(study, tmp_path, stack=2, save_weights="last")
    results = load_results(study, tmp_path)
    ticket = results.ticket(seed=1)
    drawn = recipe.draw(study.planned[1].cell)[1]
    assert torch.equal(ticket.initial["fc1.weight"], drawn["fc1.weight"] * ticket.masks["fc1.weight"])
    assert ticket.trained is not None and not bool(ticket.trained["fc1.weight"][~ticket.masks["fc1.weight"]].any())


def test_a_recipe_is_drawn_from_a_cell_or_its_fields_and_its_module_holds_it():
    import msgspec

    cell = make_cell(model=("conv2", {"width": 0.05}))
    module, tensors = recipe.draw(cell)
    again = recipe.draw(msgspec.to_builtins(cell))[1]
    assert same(tensors, again) and same(tensors, {name: each.detach() for name, each in module.named_parameters()})
    with pytest.raises(UserError, match="its cell is not one of this version"):
        recipe.draw({"dataset": 3})


# What cannot be had

def refused(results: Results, *said: Any, **where: Any) -> str:
    with pytest.raises(UserError) as caught:
        results.ticket(*said, **where)
    return str(caught.value)


@pytest.mark.parametrize(("changes", "saves", "round_", "line"), [
    ({"reset": "none"}, "last", 2, 'ticket: round 2 began from the weights that round 1 ended with (reset = "none"), and they were not '
     "kept (kept: round 2). A cell that is done is not trained again for them; its result stays. Train the study into a new store: "
     "sweepstake run small --store DIR --save-weights all."),
    ({"reset": {"name": "rewind", "step": 4}}, "none", 1, 'ticket: round 1 began from the weights that step 4 of round 0 had (reset = '
     '"rewind"), and they were not kept. A cell that is done is not trained again for them; its result stays. Train the study into a new '
     "store: sweepstake run small --store DIR --save-weights last."),
])
def test_weights_that_were_not_kept_are_told_with_what_to_do(tmp_path: Path, changes: Any, saves: Saves, round_: int, line: str):
    results = ran(tmp_path, saves, seeds=1, **changes)
    assert refused(results, round_) == line
    assert results.ticket(0).made["round"] == 0
    assert Store(tmp_path).status(results.cells[0]["id"]) == "done"


def test_damaged_or_foreign_weights_are_named_and_never_in_a_ticket(tmp_path: Path):
    results = ran(tmp_path / "a", "all", seeds=1)
    kept = Store(tmp_path / "a").weights(results.cells[0]["id"])
    kept.put(2, kept.read(0) or {})
    assert refused(results, 2) == (f"{kept.path(2)}: the weights of other masks than those beside it. Copy both from one store.")
    kept.path(2).write_bytes(b"broken")
    assert refused(results, 2).startswith(f"{kept.path(2)}: damaged (not a safetensors file). It is not read.")
    kept.path(2).unlink()
    assert results.ticket(2).trained is None


def test_a_round_or_a_cell_that_is_not_there_says_what_is(tmp_path: Path):
    results = ran(tmp_path, seeds=1)
    assert refused(results, 3) == "ticket: round = 3: seed = 0 has the rounds 0 to 2."
    missing = load_results(small_study(seeds=2), tmp_path)
    assert refused(missing, seed=1) == "ticket: seed = 1 is missing. `sweepstake run` computes it."
    (tmp_path / "cells" / results.cells[0]["id"] / "masks.safetensors").unlink()
    assert "masks.safetensors is not there, and a ticket is its masks" in refused(results)
    assert refused(Results(results.study, results.cells)).startswith("ticket: these results are of no store.")


def test_a_diverged_cells_rounds_are_those_it_has(tmp_path: Path):
    results = ran(tmp_path, "all", seeds=1, lr=1e30, optimiser="sgd", steps=20)
    assert results.cells[0]["status"] == "diverged"
    assert refused(results, 1) == "ticket: round = 1: seed = 0 has the rounds 0 to 0 (it diverged there)."
    assert not bool(results.ticket().weights("trained")["fc1.weight"].isfinite().all())
