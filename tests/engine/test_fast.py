"""The fast trainer is the reference trainer: same cell, same numbers, less work."""

import numpy as np
import pytest
import torch
from numba.core.runtime import _nrt_python, rtsys

from sweepstake.base.cell import Scaling
from sweepstake.engine import streams
from sweepstake.engine.build import draw_init
from sweepstake.engine.choose import covers
from sweepstake.engine.compiled import flushed_denormals
from sweepstake.engine.fast import FastRound, FastTrainer
from sweepstake.engine.images import prepare
from sweepstake.engine.kernels import step as kernels
from sweepstake.engine.kernels.plan import DENSE_FROM
from sweepstake.engine.kernels.records import PANEL, ROWS
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import Start
from sweepstake.pieces.networks import Dropout
from tests.helpers import is_near, make_cell, tiny_images


def framed(train=640, test=320):
    """Images whose first two rows are black and whose pixel (3, 3) is 7 in training, but not when tested."""
    data = tiny_images(train, test)
    data.train_x[:, :, :2], data.train_x[:, :, 3, 3] = 0, 7
    return data


def start_of(trainer, cell, keep, dead_units=True):
    """A start with about `keep` alive; units 5-8 of fc1 unfed, 11-19 unheard, some of fc2 unfed."""
    w = draw_init(trainer.net, cell, "init")
    mask = torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < keep
    for slot in trainer.net.slots:
        if slot.role == "bias":
            slot.of(mask)[:] = True
        elif dead_units and slot.layer == "fc1" and keep < 1:
            slot.of(mask)[5:9] = False
        elif dead_units and slot.layer == "fc2" and keep < 1:
            slot.of(mask)[:, 11:20] = False
            slot.of(mask)[::7] = False
    return Start(w * mask, mask)


def both(keep, moments=False, data=None, **changes):
    """A round by both trainers."""
    cell = make_cell(**{"steps": 10, "batch_size": 60, "seed": 1, **changes})
    images = prepare(cell, data or framed())
    reference, fast = ReferenceTrainer(cell, images), FastTrainer(cell, images)
    start = start_of(reference, cell, keep)
    if moments:
        start.moments = reference.train(cell, start, 1).moments
    return start, reference.train(cell, start, 0), fast.train(cell, start, 0)


def distance(a, b):
    """The largest difference of weights, relative to their scale."""
    return float((a - b).abs().max() / a.abs().max())


@pytest.mark.parametrize("keep", [1, 0.7, 0.5, 0.3, 0.1, 0.03, 0.01])
def test_weights_are_the_references_after_50_steps(keep):
    """Of five seeds two at least: in the others a unit may come to stand on ReLU's edge, and rounding decides on which side,
    as it does between float32 and float64 of the reference itself (docs/speed-log.md). How often hangs on the processor."""
    pairs = [both(keep, steps=50, seed=seed)[1:] for seed in range(5)]
    assert sorted(distance(reference.w_final, fast.w_final) for reference, fast in pairs)[1] < 1e-4
    for reference, fast in pairs:
        assert reference.curve["step"] == fast.curve["step"] == [0, 11, 22, 33, 44, 50]
        for key in reference.curve:
            np.testing.assert_allclose(fast.curve[key][1], reference.curve[key][1], rtol=1e-4)


@pytest.mark.parametrize("keep", [0.7, 0.1])
@pytest.mark.parametrize("changes", [
    {"model": ("mlp", {"dropout": 0.3})}, {"model": ("mlp", {"activation": "leaky_relu", "slope": 0.1}), "lr": 3e-4},
    {"optimiser": "sgd", "lr": 0.05}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9},
    {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}, {"weight_decay": 0.01},
    {"optimiser": "adamw", "weight_decay": 0.1}, {"lr_schedule": "cosine"}, {"normalise": "unit", "lr": 3e-4}, {"batch_size": 1},
    {"batch_size": 130, "model": ("mlp", {"dropout": 0.3})},
    {"model": ("mlp", {"hidden": []})}, {"model": ("mlp", {"hidden": [50, 40, 30]})},
    {"bias_init": ("normal", {"std": 0.1})}, {"prune_biases": True},
], ids=str)
def test_every_option_of_the_fast_path_is_the_references(changes, keep):
    start, reference, fast = both(keep, **changes)
    assert distance(reference.w_final, fast.w_final) < 1e-4
    assert len(reference.moments) == len(fast.moments)
    for a, b in zip(reference.moments, fast.moments, strict=True):
        alive = start.mask if a.dim() else ...
        assert float((a - b)[alive].abs().max()) <= 1e-4 * float(a.abs().max())
    assert bool((fast.w_final[~start.mask] == 0).all())


@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9}], ids=str)
def test_moments_go_on_from_the_last_round(changes):
    _, reference, fast = both(0.3, moments=True, **changes)
    assert distance(reference.w_final, fast.w_final) < 1e-4
    assert distance(reference.w_final, both(0.3, **changes)[2].w_final) > 1e-3
    assert float(fast.moments[-1]) == 20 if not changes else len(fast.moments) == 1


def test_a_pixel_that_never_changes_moves_its_weights_as_the_reference_does():
    start, reference, fast = both(0.3)
    still = torch.zeros(300, 1, 8, 8, dtype=torch.bool)
    still[:, :, :2] = True
    still = still.view(300, 64) & start.mask[:19200].view(300, 64)
    moved = (fast.w_final - start.w)[:19200].view(300, 64)[still]
    assert float(moved.abs().max()) > 1e-3
    assert torch.allclose(moved, (reference.w_final - start.w)[:19200].view(300, 64)[still], atol=1e-6)


def test_a_round_repeated_or_after_another_cell_is_the_same_to_the_bit():
    cell, other = (make_cell(steps=30, batch_size=60, seed=seed, model=("mlp", {"dropout": 0.2})) for seed in (1, 2))
    images = prepare(cell, framed())
    trainer = FastTrainer(cell, images)
    for keep in (0.7, 0.1):
        start = start_of(trainer, cell, keep)
        alone = FastTrainer(cell, images).train(cell, start, 3)
        trainer.train(other, start_of(trainer, other, 0.4), 0)
        again = trainer.train(cell, start, 3)
        assert torch.equal(alone.w_final, again.w_final)
        assert all(torch.equal(a, b) for a, b in zip(alone.moments, again.moments, strict=True))
        assert str(alone.curve) == str(again.curve)


def test_where_the_curve_is_looked_at_changes_nothing():
    often, once = (make_cell(steps=30, batch_size=60, eval_every=every) for every in (1, 30))
    images = prepare(often, framed())
    a, b = (FastTrainer(cell, images) for cell in (often, once))
    start = start_of(a, often, 0.1)
    first, second = a.train(often, start, 0), b.train(once, start, 0)
    assert torch.equal(first.w_final, second.w_final)
    assert (len(first.curve["step"]), len(second.curve["step"])) == (31, 2)


def test_only_what_can_matter_is_computed():
    """Of 64 inputs 16 are black and one is 7 in every image; of 300 units 4 are unfed and 9 unheard; of 100, 15 unfed."""
    cell = make_cell(batch_size=60)
    trainer = FastTrainer(cell, prepare(cell, framed()))
    start = start_of(trainer, cell, 0.5)
    inputs = [int(layer["columns"]) for layer in FastRound(trainer, cell, start, 0).plan.layers]
    assert inputs == [64 - 16, 300 - 4 - 9, 100 - 15]
    dead_input = Start(start.w.clone(), start.mask.clone())
    dead_input.mask[:19200].view(300, 64)[:, 40:50] = False
    assert int(FastRound(trainer, cell, dead_input, 0).plan.layers[0]["columns"]) == 48 - 10


def test_a_layer_is_dense_from_a_fixed_fraction_of_its_computed_block_and_sparse_below():
    cell = make_cell(batch_size=60)
    trainer = FastTrainer(cell, prepare(cell, tiny_images()))
    w = draw_init(trainer.net, cell, "init")
    mask = torch.ones_like(w, dtype=torch.bool)
    for kept, dense in ((29, [1, 1, 1]), (28, [0, 1, 1])):
        mask[:19200] = (torch.arange(300)[:, None] + torch.arange(64)).flatten() % 64 < kept  # Every input heard by some units.
        assert [int(layer["kind"]) for layer in FastRound(trainer, cell, Start(w * mask, mask), 0).plan.layers] == dense
    assert 28 / 64 < DENSE_FROM < 29 / 64


def mostly_dark(train=640, test=320, negative=False):
    """15 x 15 images, each lit in a few places: some in none, the last rows in two images, the first row in all. If negative, black on white,
    with two rows that few images light, and black images."""
    data = tiny_images(train, test, (1, 15, 15))
    for x in (data.train_x, data.test_x):
        draw = np.random.default_rng(3)
        x *= draw.random(x.shape) < draw.random((len(x), 1, 1, 1)) * 0.3
        x[:, :, :1], x[:, :, 12:] = 50, 0
        x[7, :, 12:], x[9, :, 14] = 200, 100
        x[20:30] = 0
        if negative:
            x[:] = 255 - x
            x[:, :, 9:11] *= np.arange(len(x), dtype=np.uint8).reshape(-1, 1, 1, 1) % 90 == 5
            x[40:50] = 0
    return data


@pytest.mark.parametrize("keep", [1, 0.6, 0.3])
@pytest.mark.parametrize("changes", [
    {}, {"batch_size": 130}, {"batch_size": 1, "lr": 3e-4}, {"model": ("mlp", {"hidden": [16, 32]})}, {"model": ("mlp", {"hidden": []})},
    {"model": ("mlp", {"activation": "leaky_relu", "slope": 0.1, "dropout": 0.2})}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9},
    {"normalise": "standard"}, {"normalise": "standard", "batch_size": 130, "optimiser": "sgd", "lr": 0.05, "weight_decay": 0.01},
    {"normalise": "none", "lr": 3e-5}, {"negative": True}, {"negative": True, "normalise": "standard"},
], ids=str)
def test_what_is_dark_in_a_batch_is_left_out_and_changes_nothing(changes, keep):
    changes = {**changes}
    data = mostly_dark(negative=changes.pop("negative", False))

    def apart(seed):
        _, reference, fast = both(keep, data=data, **{"normalise": "unit", "steps": 20, "seed": seed, **changes})
        np.testing.assert_allclose(fast.curve["test_loss"][0], reference.curve["test_loss"][0], rtol=1e-5)
        return distance(reference.w_final, fast.w_final)

    assert is_near(apart, below=1e-4)


@pytest.mark.parametrize("keep", [1, 0.3])
def test_a_channel_that_never_changes_is_measured_as_the_reference_does(keep):
    """Standardised by the smallest deviation there is: a number of 1e8, were it taken as lit."""
    data = tiny_images(640, 320, (4, 8, 8))
    for x in (data.train_x, data.test_x):
        x[:, :3] *= x[:, :3] > 100
        x[:, 3] = 255
    _, reference, fast = both(keep, data=data, normalise="standard", steps=20)
    assert distance(reference.w_final, fast.w_final) < 1e-4
    for key in reference.curve:
        np.testing.assert_allclose(fast.curve[key], reference.curve[key], rtol=1e-4)


@pytest.mark.parametrize("keep", [1, 0.2])
def test_a_unit_at_minus_infinity_is_silent_as_in_the_reference(keep):
    cell = make_cell(steps=10, batch_size=60, normalise="unit")
    images = prepare(cell, framed())
    reference, fast = ReferenceTrainer(cell, images), FastTrainer(cell, images)
    start = start_of(reference, cell, keep)
    lost = slice(25 * 64, 26 * 64)  # All the weights of a unit of fc1.
    start.w[lost], start.mask[lost] = -3e38, True
    a, b = reference.train(cell, start, 0), fast.train(cell, start, 0)
    assert not a.diverged and not b.diverged
    for trained in (a, b):
        assert bool((trained.w_final[lost] == start.w[lost]).all())
        trained.w_final[lost] = 0
    assert distance(a.w_final, b.w_final) < 1e-4


@pytest.mark.parametrize(("normalise", "row", "chunks"), [
    ("unit", 32, 2), ("none", 32, 2), ("standard", 64, 4), (Scaling([9.0], [99.0]), 64, 4)], ids=str)
def test_a_sparse_first_layer_reads_levels_where_images_are_levels_times_a_number(normalise, row, chunks):
    """Two panels, several chunks."""
    data, changes = tiny_images(640, 320, (1, 20, 20)), {"normalise": normalise, "batch_size": 130, "lr": 3e-5 if normalise == "none" else 1e-3}

    def apart(seed):
        _, reference, fast = both(0.2, data=data, steps=20, seed=seed, **changes)
        return distance(reference.w_final, fast.w_final)

    assert is_near(apart, below=1e-4)
    cell = make_cell(**changes)
    trainer = FastTrainer(cell, prepare(cell, data))
    first, *others = FastRound(trainer, cell, start_of(trainer, cell, 0.2), 0).plan.layers
    assert (first["x_row"], first["chunks"]) == (row, chunks) and all(layer["x_row"] == 64 for layer in others)


def test_pixels_lie_by_how_many_images_light_them():
    cell = make_cell(normalise="unit")
    data = mostly_dark()
    trainer = FastTrainer(cell, prepare(cell, data))
    inputs = FastRound(trainer, cell, start_of(trainer, cell, 1), 0).plan.inputs
    lit = (data.train_x.reshape(640, 225)[:, inputs] > 0).sum(0)
    assert len(set(inputs)) == 225 and (np.diff(lit.astype(int)) <= 0).all() and lit[0] > 600 and lit[-1] == 1


@pytest.mark.parametrize("units", [1, 6, 16, 32, 100])
def test_every_layer_has_room_for_the_rows_of_its_last_tile(units):
    cell = make_cell(batch_size=130, model=("mlp", {"hidden": [units, units]}))
    trainer = FastTrainer(cell, prepare(cell, tiny_images(classes=units)))
    plan = FastRound(trainer, cell, start_of(trainer, cell, 1), 0).plan
    for layer in plan.layers:
        assert layer["z_panel"] >= layer["row_tiles"] * ROWS * PANEL
        assert layer["z"] + 3 * layer["z_panel"] <= plan.connected.act_size


def test_the_end_of_a_round_is_not_measured_twice(monkeypatch):
    cell = make_cell(steps=20, batch_size=60, validation=100)
    trainer = FastTrainer(cell, prepare(cell, framed()))
    counts: list[int] = []
    measured = kernels.evaluate
    monkeypatch.setattr(kernels, "evaluate", lambda count, *rest: counts.append(count) or measured(count, *rest))
    trained = trainer.train(cell, start_of(trainer, cell, 0.5), 0)
    begun = len(counts)
    again = trainer.measure(trained.w_final)
    assert counts[begun:] == [540] and again["test"]["loss"] == trained.curve["test_loss"][-1]
    trainer.measure(trained.w_final * 0.5)
    assert sorted(counts[begun + 1:]) == [100, 320, 540]


def test_nothing_is_allocated_while_stepping():
    _nrt_python.memsys_enable_stats()
    cell = make_cell(steps=400, batch_size=60, model=("mlp", {"dropout": 0.2}))
    trainer = FastTrainer(cell, prepare(cell, framed()))
    for keep in (1, 0.1):
        run = FastRound(trainer, cell, start_of(trainer, cell, keep), 0)
        allocations = []
        for first, last in ((0, 10), (10, 20), (20, 400)):
            before = rtsys.get_allocation_stats().alloc
            run.steps(first, last)
            allocations.append(rtsys.get_allocation_stats().alloc - before)
        assert allocations[1] == allocations[2]


def test_measured_counts_are_a_brute_force_count():
    cell = make_cell(batch_size=60, validation=50)
    images = prepare(cell, framed())
    reference, fast = ReferenceTrainer(cell, images), FastTrainer(cell, images)
    for keep in (1, 0.3, 0.02):
        w = reference.train(cell, start_of(reference, cell, keep), 0).w_final
        ours = fast.measure(w)
        for name, theirs in reference.measure(w).items():
            assert ours[name]["correct"] == theirs["correct"]
            assert ours[name]["top5"] == theirs["top5"] > ours[name]["accuracy"]
            assert ours[name]["count"] == {"train": 590, "validation": 50, "test": 320}[name]
            assert ours[name]["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_whole_cell_prunes_rewinds_and_stops_early_as_the_reference_does():
    """On most seeds: one where a unit stands on ReLU's edge prunes other weights, on one machine or another."""
    def apart(seed):
        cell = make_cell(steps=40, rounds=4, keep=0.4, batch_size=60, validation=100, eval_every=8, reset=("rewind", {"step": 5}), seed=seed)
        images = prepare(cell, framed())
        trainers = FastTrainer(cell, images), ReferenceTrainer(cell, images)
        ours, theirs = ([r for r, _ in run_rounds(t, cell, first_state(t, cell))] for t in trainers)
        assert [r["kept"] for r in ours] == [r["kept"] for r in theirs]
        assert [r["kept"] for r in ours] == [50_200, 20_080, 8_032, 3_213, 1_285]
        for a, b in zip(ours, theirs, strict=True):
            assert a["steps"] == 40 and a["curve"]["step"] == b["curve"]["step"]
        return max(abs(a["end"]["test"]["loss"] / b["end"]["test"]["loss"] - 1) + abs(a["early"]["step"] - b["early"]["step"])
                   for a, b in zip(ours, theirs, strict=True))

    assert is_near(apart, below=1e-5, seeds=5)


def test_a_diverged_round_is_a_result():
    _, reference, fast = both(0.3, optimiser="sgd", lr=1e18)
    assert reference.diverged and fast.diverged
    assert len(fast.curve["step"]) == len(reference.curve["step"]) == 2


@pytest.mark.parametrize("changes", [
    {"precision": "float64"}, {"precision": "bfloat16", "model": ("mlp", {"hidden": []})}, {"model": ("mlp", {"activation": "tanh"})},
], ids=str)
def test_what_the_fast_path_does_not_compute_it_does_not_cover(changes):
    cell, plain = make_cell(**changes), make_cell(model=("mlp", {"activation": "leaky_relu", "dropout": 0.5}))
    images = prepare(cell, tiny_images())
    assert not covers(cell, ReferenceTrainer(cell, images).net.module)
    assert covers(plain, ReferenceTrainer(plain, images).net.module)


def test_dropout_is_drawn_by_counter_and_the_same_for_both_trainers():
    keeps = streams.dropout(5, 2, 0)
    first, second = keeps((60, 300), 0.3), keeps((60, 300), 0.3)
    keys = streams.dropout_keys(2, 5, 2, 0)
    assert torch.equal(first, streams.dropout_keeps((60, 300), int(keys[0]), 0.3))
    assert torch.equal(second, streams.dropout_keeps((60, 300), int(keys[1]), 0.3))
    for draw in (first, second):
        assert abs(float(draw.float().mean()) - 0.7) < 0.02  # 6 standard deviations.
        assert abs(float(torch.corrcoef(draw.float().flatten().unfold(0, 2, 2).T)[0, 1])) < 0.06
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]).float())[0, 1])) < 0.045
    module = Dropout(0.3).train()
    module.keeps = streams.dropout(5, 2, 0)
    assert torch.equal(module(torch.ones(60, 300)), first / 0.7)


def test_the_threads_denormals_are_left_as_they_were():
    tiny = torch.tensor([1e-39])
    with flushed_denormals():
        assert float(tiny * 1) == 0
    assert float(tiny * 1) != 0


def test_denormals_are_flushed_while_a_round_is_trained():
    seen = []
    cell = make_cell(steps=2)
    trainer = FastTrainer(cell, prepare(cell, tiny_images()), lambda *_: seen.append(float(torch.tensor([1e-39]) * 1)))
    trainer.train(cell, start_of(trainer, cell, 1), 0)
    assert seen == [0.0] * 2
    assert float(torch.tensor([1e-39]) * 1) != 0


def test_measured_seconds_fall_as_weights_go():
    """784-300-100 at 3.5 % of its weights against all of them: the medians of 5 rounds each, taken in turn."""
    cell = make_cell(steps=60, batch_size=60, eval_every=60)
    trainer = FastTrainer(cell, prepare(cell, tiny_images(600, 20, shape=(1, 28, 28))))
    starts = {keep: start_of(trainer, cell, keep, dead_units=False) for keep in (1, 0.035)}
    for start in starts.values():
        trainer.train(cell, start, 0)  # Caches filled.
    seconds = {keep: [] for keep in starts}
    for _ in range(5):
        for keep, start in starts.items():
            seconds[keep].append(trainer.train(cell, start, 0).seconds["train"])
    assert np.median(seconds[0.035]) < 0.5 * np.median(seconds[1])
