"""Thinned, the reference trainer trains the same cell: same numbers, without the channels and units that are dead."""

import time
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from sweepstake.engine.build import draw_init
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.images import prepare
from sweepstake.engine.masks import without_units
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.thin import GONE, Thin, ThinTrainer, covers, units_kept
from sweepstake.engine.train import Start
from sweepstake.pieces import cell_id, networks
from tests.helpers import is_near, make_cell, tiny_images

SMALL = {"width": 0.25}
"""16 channels, 16 channels, pool, 64, 64."""


def images_for(cell):
    side = 12 if cell.model.name == "lenet5" else 8
    return tiny_images(240, 60, shape=(1, side, side))


def start_of(trainer, cell, keep, unit=True, seed=1):
    """A start with about `keep` of each hidden layer's units alive; or of all weights, the biases whole."""
    net, draw = trainer.net, torch.Generator().manual_seed(seed)
    w = draw_init(net, cell, "init")
    mask = torch.ones_like(w, dtype=torch.bool)
    if unit and keep < 1:
        units = {slot: torch.rand(slot.shape[0], generator=draw) < keep for slot in net.weights[:-1]}
        for each in units.values():
            each[0] = True
        mask = without_units(net, mask, units)
    elif not unit:
        for slot in net.weights:
            slot.of(mask)[:] = torch.rand(slot.shape, generator=draw) < keep
    return Start(w * mask, mask)


def both(keep, unit=True, moments=False, edit=lambda net, start: None, **changes):
    """A round by both trainers; in float64, where what is the same is the same to 1e-9."""
    cell = make_cell(**{"precision": "float64", "model": ("conv2", SMALL), "steps": 8, "batch_size": 20, "seed": 1, **changes})
    images = prepare(cell, images_for(cell))
    plain, thin = ReferenceTrainer(cell, images), ThinTrainer(cell, images)
    start = start_of(plain, cell, keep, unit)
    edit(plain.net, start)
    if moments:
        start.moments = plain.train(cell, start, 1).moments
    return start, plain.train(cell, start, 0), thin.train(cell, start, 0), thin


def distance(a, b):
    return float((a - b).abs().max() / a.abs().max())


def same(start, plain, thin, near=1e-9):
    assert distance(plain.w_final, thin.w_final) < near
    assert len(plain.moments) == len(thin.moments)
    for a, b in zip(plain.moments, thin.moments, strict=True):
        assert a.shape == b.shape and float((a - b).abs().max()) <= near * float(a.abs().max())
    assert bool((thin.w_final[~start.mask] == 0).all())
    assert plain.curve["step"] == thin.curve["step"]


def hidden_left(trainer, start):
    kept = units_kept(trainer.net, start.w, start.mask, bool(start.moments))
    return [int(units.sum()) for units in kept[1:-1]]


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.2, 0.01])
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_weights_are_the_references_after_50_steps(keep, norm):
    def apart(seed):
        start, plain, thin, trainer = both(keep, steps=50, seed=seed, model=("conv2", {**SMALL, "norm": norm}), precision="float32")
        assert sum(hidden_left(trainer, start)) < 160 and bool((thin.w_final[~start.mask] == 0).all())
        return max(distance(plain.w_final, thin.w_final), *(abs(np.array(thin.curve[key][1:]) / plain.curve[key][1:] - 1).max()
                                                            for key in ("train_loss", "test_loss")))

    assert is_near(apart, below=1e-4)


@pytest.mark.parametrize("changes", [
    {"model": ("conv2", {**SMALL, "dropout": 0.3})}, {"model": ("conv2", {**SMALL, "activation": "leaky_relu", "slope": 0.1})},
    {"model": ("conv2", {**SMALL, "activation": "tanh"})}, {"model": ("conv2", {**SMALL, "activation": "gelu", "norm": "batch"})},
    {"model": ("conv4", {"width": 0.125})}, {"model": ("lenet5", {"width": 2.0, "dropout": 0.2}), "lr": 3e-4},
    {"model": ("mlp", {"hidden": [40, 20], "norm": "batch", "dropout": 0.2})}, {"model": ("mlp", {"hidden": [40, 20], "norm": "group"})},
    {"optimiser": "sgd", "lr": 0.01}, {"optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.01},
    {"weight_decay": 0.01}, {"optimiser": "adamw", "weight_decay": 0.1}, {"lr_schedule": "cosine"}, {"batch_size": 1},
    {"bias_init": ("normal", {"std": 0.1})},
], ids=str)
@pytest.mark.parametrize("moments", [False, True])
def test_every_option_is_the_references(changes, moments):
    same(*both(0.4, moments=moments, **{"lr": 3e-4, **changes})[:3])


def test_a_vgg_with_dropout_before_its_layer_is_thinned_too():
    cell = make_cell(model=("vgg11", {"width": 0.0625, "dropout": 0.3}), steps=3, batch_size=10, precision="float64")
    images = prepare(cell, tiny_images(40, 20, shape=(3, 16, 16)))
    plain, thin = ReferenceTrainer(cell, images), ThinTrainer(cell, images)
    start = start_of(plain, cell, 0.5)
    assert sum(hidden_left(thin, start)) < 0.7 * sum(slot.shape[0] for slot in thin.net.weights[:-1])
    same(start, plain.train(cell, start, 0), thin.train(cell, start, 0))


def test_bfloat16_is_the_references_to_its_precision():
    _, plain, thin, _ = both(0.4, precision="bfloat16", lr=3e-4, model=("conv2", {**SMALL, "norm": "group"}))
    assert distance(plain.w_final, thin.w_final) < 1e-2


@pytest.mark.parametrize("changes", [
    {}, {"weight_decay": 0.1}, {"optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}, {"optimiser": "adamw", "weight_decay": 0.1},
], ids=str)
@pytest.mark.parametrize("moments", [False, True])
def test_weights_that_live_beside_dead_units_move_as_they_would(changes, moments):
    """Weight pruning leaves units that nothing feeds but something hears, and that nothing hears but something feeds."""
    def edit(net, start):
        fc1, fc2, fc3 = net.weights[2:]
        fc1.of(start.mask)[:10], fc2.of(start.mask)[:, 12:24], fc3.of(start.mask)[:, 50:] = False, False, False
        net.weights[1].of(start.mask)[:4] = False
        start.w *= start.mask

    start, plain, thin, trainer = both(0.8, unit=False, moments=moments, edit=edit, **{"lr": 3e-4, **changes})
    assert hidden_left(trainer, start) == ([16, 16, 52, 50] if moments else [16, 12, 42, 50])
    same(start, plain, thin)
    # Live weights into units that nothing hears: only decay and momentum move them.
    unheard = trainer.net.weights[2].of(start.mask).clone()
    unheard[:12], unheard[24:] = False, False
    moved = (thin.w_final - start.w)[trainer.net.weights[2].start:trainer.net.weights[2].stop].view(unheard.shape)[unheard].abs().max()
    assert (float(moved) > 0) == ("weight_decay" in changes)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_unit_whose_norm_is_alive_is_computed(norm):
    def edit(net, start):
        for slot in net.weights[:2]:
            for each in net.norm_of(slot):
                each.of(start.mask)[:] = True
                each.of(start.w)[:] += 0.1

    start, plain, thin, trainer = both(0.4, edit=edit, model=("conv2", {**SMALL, "norm": norm}))
    assert hidden_left(trainer, start)[:2] == [16, 16] and hidden_left(trainer, start)[2] < 60
    same(start, plain, thin)


def test_a_dead_channel_with_a_live_bias_is_computed_unless_the_bias_is_0_under_relu():
    def alive(value):
        def edit(net, start):
            bias = net.bias_of(net.weights[0])
            bias.of(start.mask)[:], bias.of(start.w)[:] = True, value
            net.weights[1].of(start.mask)[:], net.weights[1].of(start.w)[:] = True, 0.05
        return edit

    for value, activation, left in ((0.1, "relu", 16), (-0.1, "relu", 16), (0.0, "relu", 9), (0.0, "leaky_relu", 16)):
        start, plain, thin, trainer = both(0.5, edit=alive(value), model=("conv2", {**SMALL, "activation": activation}))
        assert hidden_left(trainer, start)[0] == left
        same(start, plain, thin)


def test_the_statistics_of_a_dead_channel_fade_as_they_would():
    def edit(net, start):
        start.w[net.learnt:] = torch.rand(net.size - net.learnt, generator=torch.Generator().manual_seed(0)) + 1

    start, plain, thin, trainer = both(0.4, edit=edit, model=("conv2", {**SMALL, "norm": "batch"}))
    learnt = trainer.net.learnt
    same(start, plain, thin)
    assert int((thin.w_final[learnt:] / start.w[learnt:] - 0.9 ** 8).abs().lt(1e-4).sum()) == 4 * 16 - 2 * sum(hidden_left(trainer, start)[:2])


def test_a_round_repeated_or_after_another_cell_is_the_same_to_the_bit():
    cell, other = (make_cell(model=("conv2", {**SMALL, "norm": "batch", "dropout": 0.2}), steps=10, batch_size=20, seed=seed) for seed in (1, 2))
    images = prepare(cell, tiny_images(200, 60))
    trainer = ThinTrainer(cell, images)
    start = start_of(trainer, cell, 0.5)
    alone = ThinTrainer(cell, images).train(cell, start, 3)
    trainer.train(other, start_of(trainer, other, 0.3), 0)
    again = trainer.train(cell, start, 3)
    assert torch.equal(alone.w_final, again.w_final) and str(alone.curve) == str(again.curve)
    assert all(torch.equal(a, b) for a, b in zip(alone.moments, again.moments, strict=True))


def test_where_nothing_is_dead_it_is_the_reference_to_the_bit():
    for unit, keep in ((True, 1), (False, 0.7)):
        _, plain, thin, _ = both(keep, unit)
        assert torch.equal(plain.w_final, thin.w_final)
        assert all(torch.equal(a, b) for a, b in zip(plain.moments, thin.moments, strict=True))


def test_the_smaller_network_holds_what_is_alive_and_no_more():
    cell = make_cell(model=("conv2", SMALL))
    trainer = ThinTrainer(cell, prepare(cell, tiny_images()))
    start = start_of(trainer, cell, 0.3)
    kept = units_kept(trainer.net, start.w, start.mask, False)
    thin = Thin(trainer.net, kept, start.mask)
    a, b, c, d = hidden_left(trainer, start)
    assert thin.size == 9 * a + a + 9 * a * b + b + 16 * b * c + c + c * d + d + d * 10 + 10 == int(start.mask.sum())
    assert sum(p.numel() for p in thin.net.module.parameters()) == thin.size < 0.3 * trainer.net.size
    assert thin.net.module.get_parameter("conv2.weight").is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(thin.back(start.w[thin.index]), start.w)
    thin.net.w.copy_(start.w[thin.index])
    trainer.net.w.copy_(start.w)
    x = torch.rand(5, 1, 8, 8)
    assert torch.allclose(thin.net.module(x), trainer.net.module(x), atol=1e-6)


def test_a_smaller_network_is_made_only_where_enough_is_gone():
    cell = make_cell(model=("conv2", SMALL))
    trainer = ThinTrainer(cell, prepare(cell, tiny_images()))
    for dead, thinned in ((7, False), (8, True)):
        units = {slot: torch.ones(slot.shape[0], dtype=torch.bool) for slot in trainer.net.weights[:-1]}
        units[trainer.net.weights[2]][:dead] = False
        mask = without_units(trainer.net, torch.ones_like(trainer.net.w, dtype=torch.bool), units)
        thin = trainer.thinned(trainer.net.w, mask, False)
        assert (thin is not None) == thinned == (dead >= GONE * 160)


def test_measured_through_the_smaller_network_the_numbers_are_the_references():
    for norm in ("none", "batch", "group"):
        _, plain, _, trainer = both(0.3, model=("conv2", {**SMALL, "norm": norm}), validation=50)
        theirs = ReferenceTrainer(trainer.cell, trainer.images).measure(plain.w_final)
        for name, ours in trainer.measure(plain.w_final).items():
            assert ours["correct"] == theirs[name]["correct"] and ours["loss"] == pytest.approx(theirs[name]["loss"], rel=1e-5)


def test_seconds_fall_with_the_channels():
    """A quarter of the channels against all of them masked: the medians of 5 rounds each, in the process's own time."""
    cell = make_cell(model=("conv2", {"width": 0.5}), steps=4, batch_size=30)
    images = prepare(cell, tiny_images(120, 10, shape=(3, 16, 16)))
    trainers = [ReferenceTrainer(cell, images), ThinTrainer(cell, images)]
    start, seconds = start_of(trainers[0], cell, 0.25), ([], [])
    for _ in range(6):
        for trainer, spent in zip(trainers, seconds, strict=True):
            began = time.process_time()
            trainer.train(cell, start, 0)
            spent.append(time.process_time() - began)
    assert np.median(seconds[1][1:]) < 0.7 * np.median(seconds[0][1:])


@pytest.mark.parametrize("changes", [
    {"model": ("conv2", SMALL), "criterion": "unit_l2"}, {"model": ("conv2", {**SMALL, "norm": "batch"}), "criterion": "unit_l1"},
    {"model": ("lenet5", {"dropout": 0.2}), "criterion": "unit_l2", "reset": "none", "optimiser_state": "kept"},
], ids=str)
def test_a_whole_cell_gives_the_references_counts_and_losses_and_goes_on_to_the_bit(changes):
    cell = make_cell(**{"granularity": "unit", "keep": 0.6, "rounds": 3, "steps": 15, "batch_size": 20, "lr": 3e-4,
                        "precision": "float64", "validation": 40, "eval_every": 5, "reset": ("rewind", {"step": 2}), **changes})
    before = cell_id(cell)
    images = prepare(cell, images_for(cell))
    trainer, plain = trainer_for(cell, images), trainer_for(cell, images, engine="reference")
    assert (trainer.name, plain.name, type(plain)) == ("thin", "reference", ReferenceTrainer) and cell_id(trainer.cell) == before
    ours, states = zip(*run_rounds(trainer, cell, first_state(trainer, cell)), strict=True)
    theirs = [record for record, _ in run_rounds(plain, cell, first_state(plain, cell))]
    for a, b in zip(ours, theirs, strict=True):
        assert (a["kept_by_layer"], a["alive_units"], a["early"]["step"]) == (b["kept_by_layer"], b["alive_units"], b["early"]["step"])
        for split in ("train", "validation", "test"):
            assert a["end"][split]["correct"] == b["end"][split]["correct"]
            assert a["end"][split]["loss"] == pytest.approx(b["end"][split]["loss"], rel=1e-9)
    assert str(ours[0]["curve"]) == str(theirs[0]["curve"])  # Round 0 is whole: the very same numbers.
    again = [(record, state) for record, state in run_rounds(ThinTrainer(cell, images), cell, states[1])]
    for (record, state), known, last in zip(again, ours[2:], states[2:], strict=True):
        assert str(record["curve"]) == str(known["curve"]) and record["end"] == known["end"] and torch.equal(state.start.w, last.start.w)


class Own(nn.Sequential):
    pass


@pytest.mark.parametrize("layers", [
    {"a": nn.Flatten(), "b": nn.Linear(64, 10)}, {"f": networks.Flatten(), "a": nn.Linear(64, 8), "s": nn.Sigmoid(), "b": nn.Linear(8, 10)},
    {"f": networks.Flatten(), "a": nn.Linear(64, 8), "d": nn.Dropout(0.5), "b": nn.Linear(8, 10)},
    {"a": nn.Conv2d(1, 4, 3), "g": nn.Conv2d(4, 4, 3, groups=2), "f": networks.Flatten(), "b": nn.Linear(64, 10)},
    {"a": nn.Conv2d(1, 4, 3), "f": networks.Flatten(), "n": nn.BatchNorm1d(144), "b": nn.Linear(144, 10)},
    {"n": nn.BatchNorm2d(1), "a": nn.Conv2d(1, 4, 3), "f": networks.Flatten(), "b": nn.Linear(144, 10)},
], ids=lambda layers: "-".join(type(layer).__name__ for layer in layers.values()))
def test_a_chain_of_layers_it_does_not_know_is_left_alone(monkeypatch, layers):
    monkeypatch.setattr(networks, "mlp", lambda *_: nn.Sequential(OrderedDict(layers)))
    cell = make_cell(model="mlp")
    assert not covers(ReferenceTrainer(cell, prepare(cell, tiny_images())).net)


@pytest.mark.parametrize("model", [("resnet20", {"width": 0.25}), ("conv2", {**SMALL, "activation": "sigmoid"}), ("mlp", {"activation": "tanh"})],
                         ids=str)
def test_residual_and_other_networks_stay_with_the_reference(model):
    cell = make_cell(model=model, granularity="unit", criterion="unit_l2")
    assert type(trainer_for(cell, prepare(cell, tiny_images()))) is ReferenceTrainer
