"""Resets: what survivors hold when the next round begins, for every reset."""

import pytest
import torch

from sweepstake.engine.build import draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import progress
from sweepstake.pieces import reset
from tests.helpers import make_cell, run_cell, tiny_images


def after_a_round(name, **changes):
    """The network, its init, what round 0 trained, and where round 1 begins."""
    cell = make_cell(reset=name, bias_init=changes.pop("bias_init", ("normal", {"std": 0.1})), steps=5, rounds=1, **changes)
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images()))
    kept = []
    train = trainer.train
    trainer.train = lambda *said: kept.append(train(*said)) or kept[-1]
    _, state = next(run_rounds(trainer, cell, first_state(trainer, cell)))
    return trainer.net, draw_init(trainer.net, cell, "init"), kept[0], state.start


@pytest.mark.parametrize("name", sorted(reset.pieces))
def test_the_dead_are_zero_and_survivors_are_not(name):
    _net, _, _, start = after_a_round(name)
    assert float(start.w[~start.mask].abs().max()) == 0.0
    assert float((start.w[start.mask] != 0).float().mean()) > 0.999


@pytest.mark.parametrize("name", ["rewind_lr", "none"])
def test_keeping_the_weights_keeps_them_bit_for_bit(name):
    _, w_init, trained, start = after_a_round(name)
    assert torch.equal(start.w, trained.w_final * start.mask)
    assert not torch.equal(start.w, w_init * start.mask)


def test_a_rewind_to_step_3_is_the_weights_after_3_steps_and_not_the_init():
    _, w_init, trained, start = after_a_round(("rewind", {"step": 3}))
    assert torch.equal(start.w, trained.w_step * start.mask)
    assert not torch.equal(trained.w_step, w_init)
    one, = run_cell(make_cell(bias_init=("normal", {"std": 0.1}), steps=3, rounds=0), tiny_images())
    three, *_ = run_cell(make_cell(bias_init=("normal", {"std": 0.1}), steps=3, rounds=1, reset=("rewind", {"step": 3})), tiny_images())
    assert one["end"] == three["end"]


def test_same_signs_has_the_signs_of_the_init_and_other_magnitudes():
    net, w_init, _, start = after_a_round("same_signs")
    here = start.mask
    assert torch.equal(start.w[here].sign(), w_init[here].sign())
    for slot in net.weights:
        alive = slot.of(here)
        both = torch.stack([slot.of(start.w)[alive].abs(), slot.of(w_init)[alive].abs()])
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.15


def test_constant_signed_is_one_magnitude_a_layer_with_the_signs_of_the_init():
    net, w_init, _, start = after_a_round("constant_signed")
    for slot in net.weights:
        alive, whole = slot.of(start.mask), slot.of(w_init)
        now = slot.of(start.w)[alive]
        assert now.abs().unique().tolist() == pytest.approx([float(whole.std(correction=0))], rel=0.01)
        assert torch.equal(now.sign(), whole[alive].sign())


def test_empirical_draws_from_the_layers_own_values_and_repeats_some():
    net, w_init, _, start = after_a_round("empirical")
    for slot in net.weights:
        alive, whole = slot.of(start.mask), slot.of(w_init)
        now = slot.of(start.w)[alive]
        assert bool(torch.isin(now, whole).all())
        assert len(now.unique()) < len(now) * 0.9
        assert float(now.std()) == pytest.approx(float(whole.std()), rel=0.1)


def test_shuffled_keeps_the_survivors_values_and_moves_them():
    net, w_init, _, start = after_a_round("shuffled")
    for slot in net.weights:
        alive = slot.of(start.mask)
        now, first = slot.of(start.w)[alive], slot.of(w_init)[alive]
        assert torch.equal(now.sort().values, first.sort().values)
        assert float((now == first).float().mean()) < 0.05


def test_fresh_draws_from_the_cells_own_init_and_framework_default_does_not():
    net, _, _, fresh = after_a_round("fresh", init="signed_constant")
    _, _, _, default = after_a_round("framework_default", init="signed_constant")
    slot = net.weights[1]
    assert len(slot.of(fresh.w)[slot.of(fresh.mask)].abs().unique()) == 1
    assert len(slot.of(default.w)[slot.of(default.mask)].abs().unique()) > 1000
    assert float(slot.of(default.w).abs().max()) <= 300**-0.5


@pytest.mark.parametrize("name", sorted(set(reset.pieces) - {"none", "rewind_lr", "framework_default"}))
def test_biases_that_began_at_0_begin_at_0_again(name):
    net, _, _, start = after_a_round(name, bias_init="zeros")
    for slot in net.weights:
        assert float(net.bias_of(slot).of(start.w).abs().max()) == 0.0


def test_a_table_resets_layers_by_their_own_options():
    assert reset.by_layer
    _, _, _, plain = after_a_round(("rewind", {"step": 0}))
    _, _, _, other = after_a_round("rewind")
    assert torch.equal(plain.w, other.w)


def test_fine_tuning_stays_at_the_last_rate_and_rewind_lr_plays_the_schedule_again():
    fine, again = make_cell(reset="none"), make_cell(reset="rewind_lr")
    assert [progress(fine, 0, s, 4) for s in range(4)] == [0, 0.25, 0.5, 0.75]
    assert [progress(fine, 1, s, 4) for s in range(4)] == [0.75] * 4
    assert [progress(again, 1, s, 4) for s in range(4)] == [0, 0.25, 0.5, 0.75]
    ends = {(name, lr): run_cell(make_cell(reset=name, lr_schedule=lr, rounds=1), tiny_images())[1]["end"]["test"]["loss"]
            for name in ("none", "rewind_lr") for lr in ("constant", "drops")}
    assert ends["none", "constant"] == ends["rewind_lr", "constant"]
    assert ends["none", "drops"] != ends["rewind_lr", "drops"]
