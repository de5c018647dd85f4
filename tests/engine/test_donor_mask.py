"""A ticket's own masks, shuffled within layers: the published control, beside a cell that shuffles its own network round after round."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sweepstake.base.errors import BrokenControl, UserError
from sweepstake.engine import rounds
from sweepstake.engine.images import prepare
from sweepstake.engine.masks import alive_in
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.prune import Pruned, donated
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.pieces import cell_id
from sweepstake.run import worker
from sweepstake.run.run import run_study
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from tests.helpers import make_cell, masks_of_donor, run_cell, tiny_images
from tests.small import small_study

SHUFFLED: dict[str, Any] = {"control": "transplant", "donor": {}, "donor_mask": "shuffled"}
SMALL: dict[str, Any] = {"model": ("mlp", {"hidden": [12]}), "keep": 0.5, "steps": 0, "rounds": 3}


def kept(**changes: Any) -> list[list[int]]:
    return [list(record["kept_by_layer"].values()) for record in run_cell(make_cell(**{**SMALL, **changes}), tiny_images())]


def test_under_one_ranking_of_all_layers_it_keeps_the_tickets_counts_and_shuffle_does_not():
    ticket = [[768, 120], [361, 83], [163, 59], [74, 37]]
    assert kept(allocation="global") == ticket
    assert kept(allocation="global", **SHUFFLED) == ticket
    assert kept(allocation="global", control="shuffle") == [[768, 120], [361, 83], [162, 60], [68, 43]]


def masks_of(**changes: Any) -> tuple[ReferenceTrainer, list[torch.Tensor], list[Any], dict[int, torch.Tensor]]:
    """The trainer, the masks that a cell trains under with what each round proves, and its donor's."""
    cell = make_cell(**{**SMALL, **SHUFFLED, **changes})
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images()))
    donor = masks_of_donor(trainer, cell) or {}
    state = first_state(trainer, cell, donor)
    masks, proofs = list[torch.Tensor](), list[Any]()
    for record, following in run_rounds(trainer, cell, state, donor_masks=donor):
        masks.append(state.start.mask)
        proofs.append(record["proofs"].get("transplant"))
        state = following
    return trainer, masks, proofs, donor


@pytest.mark.parametrize("changes", [
    {}, {"prune_biases": True}, {"granularity": "unit", "criterion": "unit_l2"}, {"prune_when": "before", "rounds": 1},
    {"donor": {"init": "kaiming_normal"}}, {"model": ("conv2", {"width": 0.1}), "rounds": 1},
    {"model": ("resnet20", {"width": 0.25}), "granularity": "unit", "criterion": "unit_l2", "rounds": 1}], ids=str)
def test_every_round_moves_the_donors_mask_to_other_places_of_each_layer(changes: dict[str, Any]):
    trainer, masks, proofs, donor = masks_of(**changes)
    first = 0 if changes.get("prune_when") == "before" else 1
    assert proofs[first:] == ["the donor's, moved"] * (len(masks) - first)
    rule = make_cell(**{**SMALL, **changes, "donor": None})
    for round_, mask in list(enumerate(masks))[first:]:
        assert not torch.equal(mask, donor[round_])
        for slot in trainer.net.weights:
            assert int(slot.of(mask).sum()) == int(slot.of(donor[round_]).sum())
            assert int(alive_in(trainer.net, rule, slot, mask).sum()) == int(alive_in(trainer.net, rule, slot, donor[round_]).sum())


def test_each_round_draws_its_places_anew_and_from_the_seed():
    trainer, masks, _, donor = masks_of()
    cell, slot = make_cell(**{**SMALL, **SHUFFLED}), trainer.net.weights[0]
    assert torch.equal(donated(trainer.net, cell, donor[2], 2), masks[2])
    assert not torch.equal(slot.of(donated(trainer.net, cell, donor[2], 1)), slot.of(masks[2]))
    other = make_cell(**{**SMALL, **SHUFFLED, "seed": 1})
    assert not torch.equal(slot.of(donated(trainer.net, other, donor[2], 2)), slot.of(masks[2]))
    assert bool((masks[2] & ~masks[1]).any()), "it is no part of the round before's"


def told(mask: torch.Tensor) -> Pruned:
    return Pruned(mask, mask, {}, {})


@pytest.mark.parametrize(("lie", "complaint"), [
    (lambda donor: lambda net, cell, mask: told(donor[1]), "the mask is the donor's, in no other places"),
    (lambda donor: lambda net, cell, mask: told(torch.cat([mask[:768].roll(1), mask[768:]])), "[0-9]+ places differ from the draw"),
    (lambda donor: lambda net, cell, mask: told(mask & (torch.arange(len(mask)) != mask.nonzero()[0])), "fc1 keeps 383, the donor's mask 384"),
], ids=["the donor's own", "another draw", "one too few"])
def test_a_mask_that_is_not_the_shuffle_it_says_fails_the_cell(monkeypatch: pytest.MonkeyPatch, lie: Any, complaint: str):
    *_, donor = masks_of(rounds=1)
    monkeypatch.setattr(rounds, "transplant", lie(donor))
    with pytest.raises(BrokenControl, match=f'control = transplant, donor_mask = "shuffled": {complaint}'):
        kept(rounds=1, **SHUFFLED)


def test_the_store_proves_the_draw_from_the_donors_masks_that_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cell = make_cell(**{**SMALL, **SHUFFLED})
    task = Task(cell_id(cell), cell, str(tmp_path), [], [], "small", "")
    monkeypatch.setattr(rounds, "donated", lambda net, cell, donor, round_: donated(net, cell, donor, round_ + 100))
    with pytest.raises(BrokenControl, match="round 1 did not train under the mask that the store has of its donor"):
        worker.compute(task, Store(tmp_path))


def test_both_executors_train_under_the_same_masks(tmp_path: Path):
    study = small_study(steps=0, allocation="global", case=[{"label": "ticket"}, {"label": "moved", **SHUFFLED}])
    one, other = run_study(study, tmp_path / "one", workers=2), run_study(study, tmp_path / "other", stack=4)
    assert [each["status"] for each in (*one, *other)] == ["done"] * 8
    for apart, together in zip(one, other, strict=True):
        masks = Store(tmp_path / "one").masks(apart["id"]), Store(tmp_path / "other").masks(together["id"])
        assert all(torch.equal(a, b) for a, b in zip(*masks, strict=True))
    counts = [[record["kept_by_layer"] for record in each["rounds"]] for each in one]
    assert counts[:2] == counts[2:]
    assert one[2]["rounds"][1]["proofs"]["transplant"] == "the donor's, moved"


@pytest.mark.parametrize(("changes", "says"), [
    ({"donor_mask": "shuffled"}, r'donor_mask = "shuffled" is for control = "transplant", not "none"\. Leave it out, or name a donor'),
    ({"donor_mask": "shuffled", "control": "shuffle"}, 'is for control = "transplant", not "shuffle"'),
    ({"control": "transplant", "donor": {}}, r"donor = \{\}: this cell \(seed 0\) would be its own donor"),
    ({**SHUFFLED, "donor": {"donor_mask": "shuffled"}}, "donor: donor_mask: .*Take donor_mask out"),
])
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], says: str):
    with pytest.raises(UserError, match=says):
        kept(**changes)


def test_the_neutral_value_is_in_no_id_and_the_other_is():
    plain = {"control": "transplant", "donor": {"seed": 7}}
    ids = [cell_id(make_cell(**plain, **more)) for more in ({}, {"donor_mask": "as_it_is"}, {"donor_mask": "shuffled"})]
    assert ids[0] == ids[1] == "3e95b234ac99fae2"
    assert ids[2] == "3882477f79cbc5d3"
