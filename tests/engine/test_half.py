"""bfloat16 on one core is the reference trainer's autocast: same cell, numbers within what bfloat16 rounds."""

import numpy as np
import pytest
import torch

from sweepstake.engine.choose import trainer_for
from sweepstake.engine.fast import FastTrainer
from sweepstake.engine.half import HALF_FROM, HalfTrainer
from sweepstake.engine.images import prepare
from sweepstake.engine.kernels.amx import has_amx
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import Start
from tests.engine.test_fast import framed, start_of
from tests.helpers import make_cell

pytestmark = pytest.mark.skipif(not has_amx(), reason="this CPU has no AMX, so bfloat16 cells train under the reference trainer")


def trained(keep=1.0, kinds=(ReferenceTrainer, HalfTrainer), moments=False, **changes):
    """The start of a round, and what each kind of trainer makes of it."""
    cell = make_cell(**{"steps": 20, "batch_size": 60, "seed": 1, "precision": "bfloat16", "lr": 3e-4, **changes})
    images = prepare(cell, framed())
    trainers = [kind(cell, images) for kind in kinds]
    start = start_of(trainers[0], cell, keep)
    if moments:
        start.moments = trainers[0].train(cell, start, 1).moments
    return start, *(trainer.train(cell, start, 0) for trainer in trainers)


def apart(start, a, b):
    """How far two ends of a round lie from each other, as a share of the way from its start."""
    return float((a.w_final - b.w_final).norm() / (a.w_final - start.w).norm())


@pytest.mark.parametrize("keep", [1, 0.7])
@pytest.mark.parametrize("changes", [
    {}, {"model": ("mlp", {"dropout": 0.3})}, {"model": ("mlp", {"activation": "leaky_relu", "slope": 0.1})},
    {"optimiser": "sgd", "lr": 0.05}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    {"optimiser": "adamw", "weight_decay": 0.1}, {"lr_schedule": "cosine"}, {"normalise": "unit"}, {"batch_size": 130},
    {"model": ("mlp", {"hidden": [50, 40, 30]})}, {"model": ("mlp", {"hidden": [33]})}, {"model": ("mlp", {"hidden": [33, 17]})},
], ids=str)
def test_a_round_ends_as_near_the_float32_one_as_the_references_autocast_does(changes, keep):
    start, exact, reference, half = trained(keep, (FastTrainer, ReferenceTrainer, HalfTrainer), **changes)
    assert apart(start, exact, half) < 1.5 * apart(start, exact, reference) + 0.01 < 0.3
    assert half.curve["step"] == reference.curve["step"]
    np.testing.assert_allclose(half.curve["train_loss"][1:], reference.curve["train_loss"][1:], rtol=0.01)
    assert bool((half.w_final[~start.mask] == 0).all())
    assert len(half.moments) == len(reference.moments)
    for a, b in zip(reference.moments, half.moments, strict=True):
        assert float((a - b).norm()) <= 0.3 * float(a.norm())


def test_it_is_bfloat16_and_not_float32():
    start, reference, half, fast = trained(1, (ReferenceTrainer, HalfTrainer, FastTrainer))
    assert apart(start, half, fast) > 1e-3
    assert apart(start, reference, fast) > 1e-3


def test_one_steps_gradient_is_right_to_two_digits():
    start, exact, half = trained(1, (FastTrainer, HalfTrainer), steps=1, optimiser="sgd", lr=1.0)
    assert 1e-3 < apart(start, exact, half) < 0.02


def test_moments_go_on_from_the_last_round():
    start, reference, half = trained(0.7, moments=True)
    assert apart(start, reference, half) < 0.1
    assert float(half.moments[-1]) == 40


def test_below_half_from_it_is_the_float32_of_the_fast_trainer():
    _, fast, half = trained(HALF_FROM - 0.1, (FastTrainer, HalfTrainer))
    assert torch.equal(fast.w_final, half.w_final)
    _, fast, half = trained(HALF_FROM + 0.2, (FastTrainer, HalfTrainer))
    assert not torch.equal(fast.w_final, half.w_final)


def test_a_round_repeated_or_after_another_cell_is_the_same_to_the_bit():
    cell, other = (make_cell(steps=30, batch_size=60, seed=seed, precision="bfloat16", model=("mlp", {"dropout": 0.2})) for seed in (1, 2))
    images = prepare(cell, framed())
    trainer = HalfTrainer(cell, images)
    start = start_of(trainer, cell, 0.8)
    alone = HalfTrainer(cell, images).train(cell, start, 3)
    trainer.train(other, start_of(trainer, other, 1), 0)
    again = trainer.train(cell, start, 3)
    assert torch.equal(alone.w_final, again.w_final)
    assert all(torch.equal(a, b) for a, b in zip(alone.moments, again.moments, strict=True))
    assert str(alone.curve) == str(again.curve)


def test_where_the_curve_is_looked_at_changes_nothing():
    ends = []
    for every in (1, 30):
        cell = make_cell(steps=30, batch_size=60, eval_every=every, precision="bfloat16")
        trainer = HalfTrainer(cell, prepare(cell, framed()))
        ends.append(trainer.train(cell, start_of(trainer, cell, 1), 0).w_final)
    assert torch.equal(*ends)


def test_a_whole_cell_passes_its_own_proofs_and_rewinds():
    cell = make_cell(steps=20, rounds=4, batch_size=60, precision="bfloat16", validation=100, reset=("rewind", {"step": 5}))
    images = prepare(cell, framed())
    trainer = trainer_for(cell, images)
    assert trainer.name == "half" and trainer_for(cell, images, engine="reference").name == "reference"
    ours, theirs = ([record for record, _ in run_rounds(one, cell, first_state(one, cell))] for one in (trainer, ReferenceTrainer(cell, images)))
    for a, b in zip(ours, theirs, strict=True):
        assert a["curve"]["step"] == b["curve"]["step"] and a["kept_fraction"] == b["kept_fraction"]
        assert a["end"]["test"]["loss"] == pytest.approx(b["end"]["test"]["loss"], rel=0.1)


def test_a_diverged_round_is_a_result():
    _, reference, half = trained(1, optimiser="sgd", lr=1e30)
    assert reference.diverged and half.diverged


def test_where_a_round_starts_from_is_not_changed():
    cell = make_cell(steps=5, precision="bfloat16")
    trainer = HalfTrainer(cell, prepare(cell, framed()))
    start = start_of(trainer, cell, 0.8)
    before = Start(start.w.clone(), start.mask.clone())
    trainer.train(cell, start, 0)
    assert torch.equal(start.w, before.w) and torch.equal(start.mask, before.mask)
