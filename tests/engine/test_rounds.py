"""Schedules and controls through the whole loop: when it prunes, from whose scores, whose mask, and what is recorded."""

import math

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.engine import plain
from sweepstake.engine.build import build_net, draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.measure import degrees
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, masks_of, run_rounds
from sweepstake.engine.train import steps_in_round
from sweepstake.pieces import cell_id
from sweepstake.pieces.donors import donor_of
from tests.helpers import make_cell, masks_of_donor, run_cell, tiny_images


def states(cell, data=None, **said):
    """Each round's record, and the state it was trained from."""
    trainer = ReferenceTrainer(cell, prepare(cell, data or tiny_images()))
    said = {"donor_masks": masks_of_donor(trainer, cell), **said}
    state, found = first_state(trainer, cell, **said), []
    for record, after in run_rounds(trainer, cell, state, **said):
        found.append((record, state))
        state = after
    return trainer, found


def kept(**changes):
    return [record["kept"] for record in run_cell(make_cell(**changes), tiny_images())]


# When

def test_after_training_round_0_is_whole_and_round_r_has_been_pruned_r_times():
    assert kept(keep=0.5, rounds=3) == [50200, 25100, 12550, 6275]


def test_before_training_every_round_has_been_pruned_once_more():
    assert kept(keep=0.5, rounds=2, prune_when="before") == [25100, 12550, 6275]


def test_both_prunes_at_init_and_then_after_each_training():
    assert kept(keep=0.5, rounds=2, prune_when="both") == [25100, 12550, 6275]


def test_snip_prunes_at_init_and_trains_once_with_rounds_0():
    cell = make_cell(criterion=("snip", {"images": 0}), prune_when="before", rounds=0, keep=0.05, allocation="everywhere")
    trainer, ((record, state),) = states(cell)
    w_init = draw_init(trainer.net, cell, "init")
    assert record["kept"] == 2510
    assert record["steps"] == 20
    assert record["proofs"]["counts"] == "exact"
    assert record["proofs"]["dead_weights"] == 0.0
    assert torch.equal(state.start.w, w_init * state.start.mask)
    module = trainer.net.module
    torch.nn.utils.vector_to_parameters(w_init, module.parameters())
    loss = torch.nn.functional.cross_entropy(module(trainer.images.batch(trainer.images.train.x, torch.float32)), trainer.images.train.y)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
    score = torch.cat([(slot.of(w_init) * slot.of(gradient)).abs().flatten() for slot in trainer.net.weights])
    chosen = torch.cat([slot.of(state.start.mask).flatten() for slot in trainer.net.weights])
    # All but a handful at the cut: float sums in another order.
    assert int(chosen[score.topk(2510).indices].sum()) >= 2505


def test_before_scores_the_weights_it_is_about_to_train_and_after_those_it_trained():
    shares = {}
    for when, name in (("before", "movement"), ("after", "movement")):
        trainer, found = states(make_cell(prune_when=when, criterion=name, reset="rewind", rounds=1, keep=0.5))
        slot = trainer.net.weights[0]
        shares[when] = [int(slot.of(state.start.mask).sum()) for _, state in found]
    assert shares == {"before": [9600, 4800], "after": [19200, 9600]}
    # Before any training nothing has moved: all scores tie, and the cell's draw decides. So large_init and movement differ...
    _, ((_, moved),) = states(make_cell(prune_when="before", criterion="movement", rounds=0))
    _, ((_, large),) = states(make_cell(prune_when="before", criterion="magnitude", rounds=0))
    _, ((_, init),) = states(make_cell(prune_when="before", criterion="large_init", rounds=0))
    assert torch.equal(large.start.mask, init.start.mask)
    assert not torch.equal(moved.start.mask, init.start.mask)


@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_weights_that_a_shuffle_brings_back_begin_at_their_init(when):
    cell = make_cell(prune_when=when, control="shuffle", keep=0.5)
    trainer, found = states(cell)
    w_init = draw_init(trainer.net, cell, "init")
    for _, state in found:
        assert torch.equal(state.start.w, w_init * state.start.mask)
    assert bool((found[2][1].start.mask & ~found[1][1].start.mask).any()), "none was brought back"


def test_prune_when_and_remove_and_donor_rename_nothing_at_their_neutral_values():
    plain = cell_id(make_cell())
    assert cell_id(make_cell(prune_when="after", remove=None, donor=None)) == plain
    others = {cell_id(make_cell(**change)) for change in (
        {"prune_when": "before"}, {"prune_when": "both"}, {"remove": {"fc1": 1}}, {"control": "transplant", "donor": {"seed": 1}})}
    assert len(others | {plain}) == 5


def test_the_last_round_prunes_nothing_more():
    changes = {"remove": {"fc1": 100}, "granularity": "unit", "criterion": "unit_l2", "steps": 0}
    _trainer, found = states(make_cell(rounds=2, **changes))
    assert [record["alive_units"]["fc1"] for record, _ in found] == [300, 200, 100]


# Without training

@pytest.mark.parametrize(("criterion", "granularity"), [
    ("magnitude", "weight"), (("lfe", {"masks": 50}), "unit"), ("unit_l2", "unit"), ("random", "unit")])
def test_pruning_without_any_training_records_the_network_as_it_is(criterion, granularity):
    cell = make_cell(criterion=criterion, granularity=granularity, steps=0, rounds=2, keep=0.5)
    trainer, found = states(cell, tiny_images())
    w_init = draw_init(trainer.net, cell, "init")
    for record, state in found:
        assert record["steps"] == 0
        assert record["curve"]["step"] == [0]
        assert torch.equal(state.start.w, w_init * state.start.mask)
        torch.nn.utils.vector_to_parameters(state.start.w, trainer.net.module.parameters())
        with torch.no_grad():
            logits = trainer.net.module(trainer.images.batch(trainer.images.test.x, torch.float32))
        assert record["end"]["test"]["correct"] == int((logits.argmax(1) == trainer.images.test.y).sum())
        assert record["end"]["test"]["loss"] == record["curve"]["test_loss"][0]
        assert math.isfinite(record["end"]["train"]["loss"])


def test_a_split_is_measured_no_more_often_than_it_is_recorded(monkeypatch):
    counted = []
    here = plain.measure_split
    monkeypatch.setattr(plain, "measure_split", lambda net, images, split: counted.append(len(split.y)) or here(net, images, split))
    run_cell(make_cell(steps=0, rounds=2, validation=16), tiny_images())
    assert counted.count(48) == 3, "the training images, once a round"


# Transplants

def test_a_transplant_takes_the_donors_masks_and_trains_its_own_weights():
    donor = make_cell(seed=7)
    _, theirs = states(donor)
    trainer, ours = states(make_cell(seed=3, control="transplant", donor={"seed": 7}))
    w_init = draw_init(trainer.net, make_cell(seed=3), "init")
    for (_, state), (_, other) in zip(ours, theirs, strict=True):
        assert torch.equal(state.start.mask, other.start.mask)
        assert torch.equal(state.start.w, w_init * state.start.mask)
    assert [record["proofs"].get("transplant") for record, _ in ours] == [None, "the donor's", "the donor's"]
    assert ours[1][0]["end"] != theirs[1][0]["end"]


def test_masks_given_are_taken_and_no_donor_is_run(monkeypatch):
    donor = make_cell(seed=7)
    trainer = ReferenceTrainer(donor, prepare(donor, tiny_images()))
    masks = masks_of(trainer, donor)
    monkeypatch.setattr("tests.helpers.masks_of", lambda *_: {})
    _, found = states(make_cell(control="transplant", donor={"seed": 7}), donor_masks=masks)
    assert [torch.equal(state.start.mask, masks[r]) for r, (_, state) in enumerate(found)] == [True] * 3


def test_a_transplant_before_training_has_the_donors_mask_in_round_0_too():
    _, ours = states(make_cell(control="transplant", donor={"init": "kaiming_normal"}, prune_when="before", rounds=1))
    _, theirs = states(make_cell(init="kaiming_normal", prune_when="before", rounds=1))
    assert [torch.equal(a.start.mask, b.start.mask) for (_, a), (_, b) in zip(ours, theirs, strict=True)] == [True, True]


def test_a_donors_pieces_are_resolved_by_name_or_table():
    donor = donor_of(make_cell(control="transplant", donor={
        "init": "kaiming_normal", "criterion": {"name": "snip", "images": 5}, "seed": 4,
        "reset": {"name": "rewind", "options": {"step": 1}, "version": 1}}))
    assert str(donor.init) == "kaiming_normal(gain=1.0, scale=1.0)"
    assert donor.criterion.options == {"images": 5, "iterations": 1}
    assert donor.reset.options == {"step": 1}
    assert (donor.control, donor.donor, donor.seed) == ("none", None, 4)


@pytest.mark.parametrize(("changes", "says"), [
    ({"control": "transplant"}, r'control = "transplant" needs a donor, as donor = \{seed = 7\}'),
    ({"donor": {"seed": 1}}, 'donor is for control = "transplant", not "none"'),
    ({"control": "transplant", "donor": {"sead": 1}}, 'donor: sead: no field of that name(.|\n)*Did you mean "seed"'),
    ({"control": "transplant", "donor": {"model": "mlp"}}, "donor: model: a donor has the same data and model"),
    ({"control": "transplant", "donor": {"rounds": -1}}, "donor: rounds = -1: expected a whole number at least 0"),
    ({"control": "transplant", "donor": {"init": "xavier"}}, 'init = "xavier"|donor: init'),
    ({"control": "transplant", "donor": {"rounds": 1}}, "the donor has no mask for this round"),
])
def test_a_donor_that_cannot_be_is_one_clear_line(changes, says):
    with pytest.raises(UserError, match=says):
        run_cell(make_cell(**changes), tiny_images())


# Resuming

@pytest.mark.parametrize("changes", [{}, {"prune_when": "before", "criterion": ("snip", {"images": 0})}, {"reset": "empirical"},
                                     {"criterion": ("lfe", {"masks": 30}), "granularity": "unit"}, {"reset": ("rewind", {"step": 4})}])
def test_a_cell_resumed_at_any_round_ends_with_the_same_numbers(changes):
    cell, data = make_cell(**changes), tiny_images()
    _, found = states(cell, data)
    trainer = ReferenceTrainer(cell, prepare(cell, data))
    again = [record for record, _ in run_rounds(trainer, cell, found[1][1])]
    assert [record["end"] for record in again] == [record["end"] for record, _ in found[1:]]
    assert [record["kept_by_layer"] for record in again] == [record["kept_by_layer"] for record, _ in found[1:]]


def test_a_finished_cell_has_no_rounds_left():
    cell = make_cell(rounds=1)
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images()))
    *_, (_, last) = run_rounds(trainer, cell, first_state(trainer, cell))
    assert list(run_rounds(trainer, cell, last)) == []


# What a trap would have left

@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_momentum_and_decay_revive_nothing_and_negative_survivors_move(optimiser):
    momentum = {"momentum": 0.9, "lr": 0.05} if optimiser == "sgd" else {}
    cell = make_cell(optimiser=optimiser, weight_decay=0.01, optimiser_state="kept", rounds=2, bias_init=("normal", {"std": 0.1}),
                     prune_biases=True, **momentum)
    trainer, found = states(cell)
    for record, state in found:
        assert record["proofs"]["dead_weights"] == 0.0
        trained = trainer.train(cell, state.start, record["round"])
        assert float(trained.w_final[~state.start.mask].abs().max() if record["round"] else 0) == 0.0
        negative = state.start.mask & (state.start.w < 0)
        assert float((trained.w_final != state.start.w)[negative].float().mean()) > 0.99


def test_biases_begin_each_round_where_they_began_the_first():
    cell = make_cell(bias_init=("normal", {"std": 0.1}))
    trainer, found = states(cell)
    w_init = draw_init(trainer.net, cell, "init")
    for _, state in found:
        for slot in trainer.net.weights:
            bias = trainer.net.bias_of(slot)
            assert torch.equal(bias.of(state.start.w), bias.of(w_init))


def test_a_cell_that_diverges_ends_there_and_says_so():
    records = run_cell(make_cell(optimiser="sgd", lr=1e30, rounds=3, eval_every=5), tiny_images())
    assert [record["diverged"] for record in records] == [True]
    assert records[0]["end"] == {} and records[0]["early"] is None  # The largest of ten NaNs is a class, and no answer.


# How long

@pytest.mark.parametrize(("epochs", "images", "batch", "steps"), [
    (0.27, 60_000, 60, 270), (1.07, 60_000, 60, 1_070), (10, 1_437, 60, 240), (5, 60_000, 60, 5_000), (0.0001, 60_000, 60, 1)])
def test_epochs_are_whole_steps_rounded_up_from_the_number_as_it_was_written(epochs, images, batch, steps):
    assert steps_in_round(make_cell(epochs=epochs, batch_size=batch), images) == steps


def test_degrees_count_the_live_weights_into_each_unit_and_out_of_what_it_reads():
    net = build_net(make_cell(model=("mlp", {"hidden": [2]})), (1, 1, 4), 3)
    mask = torch.zeros(net.size, dtype=torch.bool)
    fc1, fc2 = net.weights
    fc1.of(mask).copy_(torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]))
    fc2.of(mask).copy_(torch.tensor([[0, 1], [0, 1], [0, 1]]))
    said = degrees(net, mask)
    assert said["fc1"]["in"] == {"min": 1, "q1": 1.5, "median": 2.0, "q3": 2.5, "max": 3, "mean": 2.0, "zero": 0}
    assert said["fc1"]["out"] == {"min": 0, "q1": 0.75, "median": 1.0, "q3": 1.25, "max": 2, "mean": 1.0, "zero": 1}
    assert said["fc2"]["out"] == {"min": 0, "q1": 0.75, "median": 1.5, "q3": 2.25, "max": 3, "mean": 1.5, "zero": 1}


def test_a_channels_degree_counts_its_kernels_weights_and_its_block_of_the_next_layer():
    net = build_net(make_cell(model="lenet5"), (1, 28, 28), 10)
    said = degrees(net, torch.ones(net.size, dtype=torch.bool))
    sizes = {slot.layer: slot.shape for slot in net.weights}
    assert said["conv2"]["in"]["median"] == sizes["conv2"][1] * 25 and said["conv2"]["out"]["median"] == sizes["conv2"][0] * 25
    assert said["fc1"]["out"]["median"] == sizes["fc1"][0] * sizes["fc1"][1] / sizes["conv2"][0]
    assert said["fc1"]["in"]["max"] == sizes["fc1"][1] and {each["in"]["zero"] for each in said.values()} == {0}


def test_every_round_records_its_units_and_their_degrees():
    record = run_cell(make_cell(keep=0.5, rounds=1), tiny_images())[1]
    assert record["units_by_layer"] == {"fc1": 300, "fc2": 100, "fc3": 10}
    assert record["degrees"]["fc2"]["in"]["mean"] * 100 == record["degrees"]["fc2"]["out"]["mean"] * 300 == record["kept_by_layer"]["fc2"]
