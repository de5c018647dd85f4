"""What every trainer owes the loop: one contract, held by each of them."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from sweepstake.engine.build import draw_init
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.conv import ConvTrainer
from sweepstake.engine.fast import FastTrainer
from sweepstake.engine.half import HalfTrainer
from sweepstake.engine.images import prepare
from sweepstake.engine.kernels.amx import has_amx
from sweepstake.engine.masks import without_units
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.stacked import StackTrainer
from sweepstake.engine.thin import ThinTrainer
from sweepstake.engine.train import Start, in_top5
from tests.helpers import make_cell, run_cell, tiny_images


class StackOfOne:
    """A stack as a trainer of its only cell."""

    def __init__(self, cell, images, watch=lambda *_: None):
        self.stack = StackTrainer([cell], images, watch=watch)
        self.net = self.stack.net

    def train(self, cell, start, round_, name=""):
        return self.stack.train([start], round_, [name])[0]

    def measure(self, w):
        return self.stack.measure([w])[0]

    @contextmanager
    def begin(self, cell, start, round_):
        self.stack.prepare([start], round_)
        yield self.stack


MLP, CONV = ("mlp", {"hidden": [20, 12]}), ("conv2", {"width": 0.1})
LEAKY = ("conv4", {"width": 0.1, "activation": "leaky_relu", "dropout": 0.2})
TRAINERS = [
    pytest.param(ReferenceTrainer, {"model": MLP}, id="reference"),
    pytest.param(ReferenceTrainer, {"model": CONV}, id="reference, convolutions"),
    pytest.param(ThinTrainer, {"model": CONV}, id="thin"),
    pytest.param(ConvTrainer, {"model": CONV}, id="conv"),
    pytest.param(ConvTrainer, {"model": LEAKY}, id="conv, leaky, with dropout"),
    pytest.param(FastTrainer, {"model": MLP}, id="fast"),
    pytest.param(StackOfOne, {"model": MLP}, id="stacked"),
    pytest.param(HalfTrainer, {"model": MLP, "precision": "bfloat16"}, id="half",
                 marks=pytest.mark.skipif(not has_amx(), reason="this CPU has no AMX")),
]
each_trainer = pytest.mark.parametrize(("kind", "changes"), TRAINERS)


def made(kind, changes, **more):
    """A trainer, its cell, and a round's start where a third of the units, or half the weights, are dead."""
    cell = make_cell(**{"steps": 12, "batch_size": 16, "validation": 20, "eval_every": 4, **changes, **more})
    trainer = kind(cell, prepare(cell, tiny_images(120, 30)))
    net = trainer.net
    mask = torch.ones_like(net.w, dtype=torch.bool)
    if kind is ThinTrainer:
        units = {slot: torch.arange(slot.shape[0]) % 3 > 0 for slot in net.weights[:-1]}
        mask = without_units(net, mask, units)
    else:
        for slot in net.weights:
            slot.of(mask)[torch.from_numpy(np.random.default_rng(0).random(slot.shape) < 0.5)] = False
    return trainer, cell, Start(draw_init(net, cell, "init") * mask, mask)


@each_trainer
def test_where_the_loop_stops_changes_no_weight_and_no_loss(kind, changes):
    trainer, cell, start = made(kind, changes)
    with trainer.begin(cell, start, 0) as running:
        whole, w = running.advance(0, 12, [0.0]), running.w().clone()
    with trainer.begin(cell, start, 0) as running:
        part = running.advance(0, 5, [0.0])
        running.points()
        part = running.advance(5, 12, part)
        assert torch.equal(running.w(), w)
    assert part == pytest.approx(whole, rel=1e-12)


@each_trainer
def test_the_weights_a_round_gives_are_copies(kind, changes):
    trainer, cell, start = made(kind, changes)
    with trainer.begin(cell, start, 0) as running:
        before = running.w()
        kept = before.clone()
        running.advance(0, 3, [0.0])
        assert torch.equal(before, kept)
        assert not torch.equal(running.w(), kept)


@each_trainer
def test_the_curve_has_a_point_at_each_step_of_the_grid_and_each_is_watched(kind, changes):
    seen = []
    trainer, cell, start = made(lambda c, i: kind(c, i, lambda *said: seen.append(said)), changes, eval_every=5)
    trained = trainer.train(cell, start, 0, "it")
    assert trained.curve["step"] == [0, 5, 10, 12]
    assert seen == [("it", 0, step, 12) for step in (0, 5, 10, 12)]
    assert list(trained.curve) == ["step", "train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"]
    assert np.isnan(trained.curve["train_loss"][0]) and np.isfinite(trained.curve["train_loss"][1:]).all()


@each_trainer
def test_the_last_point_is_what_is_measured_of_the_last_weights(kind, changes):
    trainer, cell, start = made(kind, changes)
    trained = trainer.train(cell, start, 0)
    end = trainer.measure(trained.w_final)
    assert trained.curve["test_loss"][-1] == pytest.approx(end["test"]["loss"], rel=1e-6)
    assert end["train"]["count"] == 100 and end["validation"]["count"] == 20 and end["test"]["count"] == 30


@each_trainer
def test_early_stop_is_the_point_of_lowest_validation_loss(kind, changes):
    trainer, cell, start = made(kind, changes, lr=0.05)
    trained = trainer.train(cell, start, 0)
    losses = trained.curve["validation_loss"]
    assert trained.early_step == trained.curve["step"][losses.index(min(losses))]
    assert trainer.measure(trained.w_early)["validation"]["loss"] == pytest.approx(min(losses), rel=1e-6)


@each_trainer
def test_the_rewind_point_is_the_weights_after_that_many_steps(kind, changes):
    trainer, cell, start = made(kind, changes, reset=("rewind", {"step": 7}))
    trained = trainer.train(cell, start, 0)
    with trainer.begin(cell, start, 0) as running:
        running.advance(0, 7, [0.0])
        assert torch.equal(trained.w_step, running.w().cpu())
    later = trainer.train(cell, Start(trained.w_step, start.mask), 1)
    assert (later.w_step, later.curve["step"][0]) == (None, 7)


@each_trainer
def test_the_dead_stay_at_0_and_moments_are_the_optimisers_own(kind, changes):
    for more, count in (({}, 3), ({"optimiser": "sgd", "momentum": 0.9}, 1), ({"optimiser": "sgd"}, 0)):
        trainer, cell, start = made(kind, changes, weight_decay=0.01, **more)
        trained = trainer.train(cell, start, 0)
        assert not bool(trained.w_final[~start.mask].any())
        assert len(trained.moments) == count
        assert all(not bool(moment[~start.mask[:trainer.net.learnt]].any()) for moment in trained.moments if moment.dim())
    trainer, cell, start = made(kind, changes)
    assert float(trainer.train(cell, start, 0).moments[2]) == 12


@each_trainer
def test_a_round_that_diverges_ends_at_the_point_that_says_so(kind, changes):
    trainer, cell, start = made(kind, changes, optimiser="sgd", lr=1e30)
    trained = trainer.train(cell, start, 0)
    assert trained.diverged
    assert trained.curve["step"][-1] < 12 or not trained.w_final.isfinite().all()


def test_each_cell_gets_the_trainer_that_covers_it():
    said = {}
    for name, changes in {"mlp": {}, "tanh": {"model": ("mlp", {"activation": "tanh"})}, "conv": {"model": CONV},
                          "norm": {"model": ("conv2", {"width": 0.1, "norm": "batch"})},
                          "resnet": {"model": ("resnet20", {"width": 0.3})}, "double": {"precision": "float64"}}.items():
        cell = make_cell(**changes)
        images = prepare(cell, tiny_images())
        said[name] = trainer_for(cell, images).name
        assert trainer_for(cell, images, engine="reference").name == "reference"
    assert said == {"mlp": "fast", "tanh": "reference", "conv": "conv", "norm": "thin", "resnet": "reference", "double": "reference"}


def test_of_five_equal_outputs_the_first_count_as_the_larger():
    logits = torch.tensor([[1.0, 1, 1, 1, 1, 1, 1], [0, 9, 8, 7, 6, 5, 4], [0, 9, 8, 7, 6, 5, 4], [3, 2, 1, 0, -1, -1, -2]])
    assert in_top5(logits, torch.tensor([4, 5, 6, 4])).tolist() == [True, True, False, True]
    assert in_top5(logits, torch.tensor([5, 1, 0, 5])).tolist() == [False, True, False, False]


def test_a_network_of_one_output_for_all_has_five_classes_among_its_top_five():
    """Weights of 0: every class has the same output, so the first five are right."""
    data = tiny_images(train=40, test=60)
    cell = make_cell(steps=1)
    shares = {type_.__name__: type_(cell, prepare(cell, data)) for type_ in (ReferenceTrainer, FastTrainer)}
    right = float((torch.from_numpy(data.test_y) < 5).double().mean())
    assert 0.3 < right < 0.7
    for name, trainer in shares.items():
        assert trainer.measure(torch.zeros(trainer.net.size))["test"]["top5"] == right, name


def test_top5_is_recorded_beside_the_end_whose_bytes_it_leaves_alone():
    records = run_cell(make_cell(steps=5, rounds=1), tiny_images())
    assert set(records[0]["end"]["test"]) == {"loss", "accuracy", "correct", "count"}
    assert set(records[0]["top5"]) == {"train", "test"}
    assert all(record["end"]["test"]["accuracy"] <= record["top5"]["test"] <= 1 for record in records)
