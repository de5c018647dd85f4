"""The trainer of convolutions is the reference trainer: same cell, same numbers, by compiled kernels."""

import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

from sweepstake.base.cell import Scaling
from sweepstake.engine.build import draw_init
from sweepstake.engine.conv import ConvTrainer
from sweepstake.engine.images import prepare
from sweepstake.engine.network import Net
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import Start, Trained
from sweepstake.pieces import model, networks
from tests.helpers import is_near, make_cell, tiny_images

POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def chain_of(inputs, classes, layers, hidden, average, slope, dropout, dropped_map):
    """"7@3+1" is a convolution of 7 channels with 3 x 3 kernels, padded by 1; "max" and "avg" pool what stands before."""
    made, units = [], inputs[0]
    for number, word in enumerate(layers, 1):
        if word in POOLS:
            made.append((f"pool{number}", POOLS[word](2)))
            continue
        out, kernel, padding = map(int, re.split("[@+]", word))
        made += [(f"conv{number}", nn.Conv2d(units, out, kernel, padding=padding)), (f"active{number}", nn.LeakyReLU(slope) if slope else nn.ReLU())]
        units = out
    made += [("average", nn.AdaptiveAvgPool2d(1) if average else None), ("flatten", networks.Flatten())]
    width = networks.chain(made)(torch.zeros(1, *inputs)).numel()
    style = networks.Style(1.0, "none", "leaky_relu" if slope else "relu", slope, dropout)
    return networks.chain([*made, ("dropout", networks.Dropout(dropout) if dropped_map else None),
                           *networks.connected([width, *hidden], classes, style)])


@pytest.fixture(scope="module", autouse=True)
def chains():
    """A model for these tests; gone again when they are done."""
    @model
    def conv_test_chain(inputs, classes, *, layers: list[str] = ["6@5+2", "max", "10@3+0", "max"],  # noqa: B006
                        hidden: list[int] = [20, 12], average: bool = False, slope: float = 0.0, dropout: float = 0.0,  # noqa: B006
                        dropped_map: bool = False):
        """Convolutions as its layers say (this test)."""
        return chain_of(inputs, classes, layers, hidden, average, slope, dropout, dropped_map)

    yield
    del model.pieces["conv_test_chain"]


def chain(*layers, **options):
    return "conv_test_chain", {**({"layers": [*layers]} if layers else {}), **options}


class Both(NamedTuple):
    """A round by both trainers."""

    net: Net
    start: Start
    reference: Trained
    conv: Trained


def trainers(data, **changes):
    """A cell, and the two trainers of it."""
    cell = make_cell(**{"model": chain(), "steps": 10, "batch_size": 37, "seed": 1, **changes})
    images = prepare(cell, data)
    return cell, ReferenceTrainer(cell, images), ConvTrainer(cell, images)


def start_of(trainer, cell, keep):
    """A start with about `keep` of each layer's weights alive (a number, or one a layer), and of its biases where they are pruned."""
    net, draw = trainer.net, torch.Generator().manual_seed(1)
    w, mask = draw_init(net, cell, "init"), torch.ones(net.size, dtype=torch.bool)
    for slot, share in zip(net.weights, keep if isinstance(keep, list) else [keep] * len(net.weights), strict=True):
        for each in (slot, net.bias_of(slot)) if cell.prune_biases else (slot,):
            each.of(mask)[:] = torch.rand(each.shape, generator=draw) < share
    return Start(w * mask, mask)


def both(keep=0.5, shape=(1, 12, 12), data=None, edit=lambda net, start: None, round_=0, **changes):
    cell, reference, conv = trainers(data or tiny_images(150, 50, shape), **changes)
    start = start_of(reference, cell, keep)
    edit(reference.net, start)
    start.w *= start.mask
    return Both(reference.net, start, reference.train(cell, start, round_), conv.train(cell, start, round_))


def distance(a, b):
    """The largest difference of weights, relative to their scale."""
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))


def apart(pair):
    """How far the ends of a round, or its moments, lie from each other. What is no matter of rounding is asserted here."""
    _, start, reference, conv = pair
    assert bool((conv.w_final[~start.mask] == 0).all())
    assert conv.curve["step"] == reference.curve["step"] and conv.curve.keys() == reference.curve.keys()
    assert [moment.shape for moment in conv.moments] == [moment.shape for moment in reference.moments]
    assert all(float(a) == float(b) for a, b in zip(reference.moments, conv.moments, strict=True) if not a.dim())
    live = [(a * start.mask, b * start.mask) for a, b in zip(reference.moments, conv.moments, strict=True) if a.dim()]
    return max(distance(a, b) for a, b in [(reference.w_final, conv.w_final), *live])


def ends_alike(keep, **changes):
    return is_near(lambda seed: apart(both(keep, seed=seed, **changes)), below=1e-4)


def layers_apart(keep, **changes):
    """The layers whose gradient is not the reference's. It is seen in a step of plain descent, at a rate so large that no bit of it is lost."""
    net, start, reference, conv = both(keep, **{"optimiser": "sgd", "lr": 1e3, "steps": 1, **changes})
    moved = {slot.name: (slot.of(reference.w_final - start.w), slot.of(conv.w_final - start.w)) for slot in net.slots}
    return [name for name, (a, b) in moved.items() if float((a - b).abs().max()) > 1e-4 * float(a.abs().max())]


# Every geometry

GEOMETRIES = {
    "one convolution": ((1, 12, 12), chain("4@3+1")),
    "no padding, odd maps": ((3, 9, 9), chain("5@3+0", "max")),
    "oblong maps, the last row or column is not pooled": ((3, 8, 9), chain("7@3+1", "avg")),
    "oblong, small": ((3, 7, 5), chain("4@3+1", "3@3+1", "5@3+0", "max")),
    "wide and low": ((1, 5, 13), chain("6@5+2", "avg")),
    "one row": ((3, 1, 9), chain("4@3+1", "5@1+0")),
    "one column": ((2, 9, 1), chain("4@5+2")),
    "two kernels of 5": ((3, 8, 9), chain("2@5+2", "max", "3@5+2")),
    "one channel": ((1, 5, 5), chain("1@3+1", hidden=[1])),
    "a map that grows": ((1, 7, 7), chain("3@3+2", "max")),
    "the widest padding": ((3, 6, 7), chain("3@5+4", "max", "2@3+2")),
    "17 channels": ((2, 9, 9), chain("17@5+1", "max")),
    "17 into 17 channels": ((5, 9, 6), chain("17@3+1", "max", "17@3+1", "max")),
    "both poolings": ((1, 13, 13), chain("3@5+0", "max", "5@3+1", "avg")),
    "kernels of 1": ((3, 10, 10), chain("5@1+0", "7@3+1", "max", "2@1+0")),
    "a kernel of 1, pooled": ((3, 6, 6), chain("5@1+0", "max", "4@1+0", "avg")),
    "a map of one place": ((1, 3, 3), chain("4@3+0")),
    "places gone at once": ((1, 5, 5), chain("4@5+0", "3@1+0")),
    "a kernel wider than its map": ((2, 2, 2), chain("3@5+2", "max")),
    "a map wider than a vector": ((1, 19, 35), chain("3@5+2", "max", "2@3+0")),
    "33 into 40 channels": ((3, 6, 6), chain("33@3+1", "max", "40@3+1")),
    "an average": ((3, 9, 9), chain("8@3+1", "max", "12@3+1", hidden=[], average=True)),
    "an average of what is pooled": ((3, 9, 9), chain("8@3+1", "avg", hidden=[7], average=True)),
    "no hidden layer": ((3, 6, 6), chain("5@3+1", "max", hidden=[])),
    "four convolutions": ((3, 8, 8), chain("8@3+1", "8@3+1", "max", "16@3+1", "16@3+1", "max", hidden=[20, 20])),
    "leaky": ((3, 9, 8), chain("5@3+1", "max", "7@3+0", "avg", slope=0.1)),
    "lenet5": ((1, 12, 12), ("lenet5", {})),
    "conv2": ((3, 10, 10), ("conv2", {"width": 0.125})),
    "conv4": ((1, 8, 8), ("conv4", {"width": 0.125})),
    "conv6": ((3, 8, 8), ("conv6", {"width": 0.0625})),
    "vgg11": ((3, 16, 16), ("vgg11", {"width": 0.03125, "norm": "none", "dropout": 0.2})),
}
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)


@each_geometry
@pytest.mark.parametrize("keep", [1, 0.5, 0.1])
def test_every_layers_gradient_is_the_references(geometry, keep):
    shape, net = GEOMETRIES[geometry]
    assert layers_apart(keep, shape=shape, model=net) == []


@each_geometry
def test_every_layers_gradient_is_the_references_where_no_bias_is_0(geometry):
    """Then dense layers of 3 x 3 with even maps are computed by Winograd's transforms."""
    shape, net = GEOMETRIES[geometry]
    assert layers_apart(0.7, shape=shape, model=net, bias_init=("normal", {"std": 0.1})) == []


@each_geometry
@pytest.mark.parametrize("keep", [1, 0.3])
def test_weights_are_the_references_after_10_steps_of_every_geometry(geometry, keep):
    shape, net = GEOMETRIES[geometry]
    assert ends_alike(keep, shape=shape, model=net)


@pytest.mark.parametrize("keep", [1, 0.7, 0.5, 0.3, 0.1, 0.03])
@pytest.mark.parametrize("net", [("lenet5", {}), ("conv2", {"width": 0.125})], ids=str)
def test_weights_are_the_references_after_40_steps(net, keep):
    pairs = []

    def ends_apart(seed):
        pairs.append(both(keep, model=net, steps=40, batch_size=61, seed=seed))
        return apart(pairs[-1])

    assert is_near(ends_apart, below=1e-4)
    for _, _, reference, conv in pairs:
        assert reference.curve["step"] == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 40]
        for key in reference.curve:
            np.testing.assert_allclose(conv.curve[key][1], reference.curve[key][1], rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 15, 16, 17, 60, 70, 130])
@pytest.mark.parametrize("keep", [1, 0.2])
def test_a_batch_that_fills_no_panel_has_the_references_gradient(batch_size, keep):
    assert layers_apart(keep, batch_size=batch_size) == []
    assert ends_alike(keep, batch_size=batch_size, lr=3e-4)


@pytest.mark.parametrize("keep", [[1, 0.1, 1, 0.1, 1], [0.1, 1, 0.1, 1, 0.1], [0.03, 0.03, 1, 1, 1], [1, 1, 0.03, 0.03, 1]], ids=str)
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_dense_and_sparse_layers_stand_beside_each_other(keep, slope):
    assert layers_apart(keep, model=chain(slope=slope)) == []
    assert ends_alike(keep, model=chain(slope=slope))


@pytest.mark.parametrize("classes", [1, 2, 3, 17, 100])
@pytest.mark.parametrize("keep", [1, 0.3])
def test_any_number_of_classes_is_the_references(classes, keep):
    assert layers_apart(keep, data=tiny_images(150, 50, (1, 12, 12), classes)) == []


@some.composite
def geometries(draw):
    """An image's shape, and a chain that fits it."""
    shape = draw(some.tuples(some.integers(1, 4), some.integers(2, 14), some.integers(2, 14)))
    (_, height, width), layers = shape, []
    for _ in range(draw(some.integers(1, 3))):
        kernel = draw(some.sampled_from([1, 3, 5]))
        padding = draw(some.integers(0, kernel - 1))
        grown = 2 * padding - kernel + 1
        if min(height, width) + grown < 1:
            continue
        layers.append(f"{draw(some.integers(1, 20))}@{kernel}+{padding}")
        height, width = height + grown, width + grown
        pool = draw(some.sampled_from(["", "max", "avg"]))
        if pool and min(height, width) > 1:
            layers.append(pool)
            height, width = height // 2, width // 2
    layers = layers or ["3@1+0"]
    hidden = draw(some.lists(some.integers(1, 20), max_size=2))
    return shape, chain(*layers, hidden=hidden, average=draw(some.booleans()), slope=draw(some.sampled_from([0.0, 0.01, 0.3])))


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(geometries(), some.sampled_from([1, 0.8, 0.5, 0.2, 0.05]), some.integers(1, 40), some.integers(0, 5))
def test_any_geometry_has_the_references_gradient(geometry, keep, batch_size, seed):
    shape, net = geometry
    assert layers_apart(keep, data=tiny_images(60, 20, shape), model=net, batch_size=batch_size, seed=seed) == []


# Every option

@pytest.mark.parametrize("keep", [0.7, 0.1])
@pytest.mark.parametrize("changes", [
    {}, {"model": chain(slope=0.1)}, {"model": chain(dropout=0.3)}, {"model": chain(dropout=0.3, dropped_map=True), "batch_size": 70},
    {"model": chain(dropout=0.5, dropped_map=True, average=True, hidden=[])}, {"model": chain(dropout=0.3), "round_": 2},
    {"optimiser": "sgd", "lr": 0.05}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9},
    {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}, {"optimiser": "sgd", "lr": 0.05, "weight_decay": 0.01},
    {"weight_decay": 0.01}, {"optimiser": "adamw", "weight_decay": 0.1}, {"lr_schedule": "cosine"},
    {"lr_schedule": "warmup", "optimiser": "sgd", "lr": 0.05}, {"init": "kaiming_normal", "lr": 3e-4},
    {"normalise": "unit"}, {"normalise": "none", "lr": 3e-5}, {"normalise": Scaling([0.4], [0.2])}, {"order_seed": 9}, {"batch_size": 1, "lr": 3e-4},
    {"bias_init": ("normal", {"std": 0.1})}, {"prune_biases": True, "weight_decay": 0.1},
    {"prune_biases": True, "bias_init": ("normal", {"std": 0.1})},
], ids=str)
def test_every_option_is_the_references(changes, keep):
    assert ends_alike(keep, **changes)


@pytest.mark.parametrize("normalise", ["standard", "unit", "none", Scaling([0.1, 0.5, 0.9], [0.3, 0.2, 0.1])], ids=str)
@pytest.mark.parametrize("keep", [1, 0.3])
def test_maps_are_padded_by_0_after_the_images_are_normalised(normalise, keep):
    """Each channel has a mean of its own; one is the same in every image, one black in its first rows."""
    data = tiny_images(150, 50, (3, 8, 9))
    for x in (data.train_x, data.test_x):
        x[:, 0], x[:, 1, :3], x[:, 2] = 200, 0, x[:, 2] // 4
    assert layers_apart(keep, data=data, normalise=normalise, model=chain("7@5+2", "max", "5@3+1")) == []


@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9}], ids=str)
def test_moments_go_on_from_the_last_round_under_a_smaller_mask(changes):
    cell, reference, conv = trainers(tiny_images(150, 50, (1, 12, 12)), **changes)
    before = start_of(reference, cell, 0.7)
    moments = reference.train(cell, before, 0).moments
    mask = before.mask & (torch.rand(len(before.mask), generator=torch.Generator().manual_seed(2)) < 0.5)
    start, cleared = Start(before.w * mask, mask, moments), Start(before.w * mask, mask)
    pair = Both(reference.net, start, reference.train(cell, start, 1), conv.train(cell, start, 1))
    assert apart(pair) < 1e-4
    assert distance(pair.reference.w_final, conv.train(cell, cleared, 1).w_final) > 1e-3
    assert float(pair.conv.moments[-1]) == 20 if not changes else len(pair.conv.moments) == 1


@pytest.mark.parametrize("optimiser_state", ["cleared", "kept"])
def test_rewound_to_step_7_of_20_it_takes_the_13_steps_from_there_at_their_rates(optimiser_state):
    cell, reference, conv = trainers(tiny_images(150, 50, (1, 12, 12)), steps=20, eval_every=5, lr_schedule="cosine", model=chain(dropout=0.3),
                                     reset=("rewind", {"step": 7}), optimiser_state=optimiser_state)
    first = start_of(reference, cell, 1)
    begun = conv.train(cell, first, 0)
    assert distance(reference.train(cell, first, 0).w_step, begun.w_step) < 1e-4
    mask = start_of(reference, cell, 0.4).mask
    start = Start(begun.w_step * mask, mask, begun.moments if optimiser_state == "kept" else [])
    pair = Both(reference.net, start, reference.train(cell, start, 1), conv.train(cell, start, 1))
    assert apart(pair) < 1e-4
    assert pair.conv.curve["step"] == [7, 10, 15, 20]
    assert float(pair.conv.moments[-1]) == {"cleared": 13, "kept": 33}[optimiser_state]


def test_no_steps_are_no_training():
    _, start, reference, conv = both(steps=0)
    assert torch.equal(conv.w_final, start.w)
    assert conv.moments == reference.moments == []
    assert conv.curve["test_accuracy"] == reference.curve["test_accuracy"]


def test_where_a_round_begins_is_not_changed():
    cell, reference, conv = trainers(tiny_images(150, 50, (1, 12, 12)))
    start = start_of(reference, cell, 0.5)
    start.moments = reference.train(cell, start, 0).moments
    before = [each.clone() for each in (start.w, start.mask, *start.moments)]
    conv.train(cell, start, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, (start.w, start.mask, *start.moments), strict=True))


# What is dead

THREE = chain("6@3+1", "max", "5@3+1", "4@3+0", hidden=[7])
"""On 3 x 8 x 9: maps of 8 x 9, 4 x 4, 4 x 4 and 2 x 2; then 16, 7, 10."""


class Parts(NamedTuple):
    """The masks of its layers, as views."""

    conv1: torch.Tensor
    conv2: torch.Tensor
    conv3: torch.Tensor
    fc1: torch.Tensor
    fc2: torch.Tensor
    biases: list[torch.Tensor]


def dead(name):
    """An edit after which a part of the masks is False."""
    def edit(net, start):
        for part in DEAD[name](Parts(*(slot.of(start.mask) for slot in net.weights), [net.bias_of(slot).of(start.mask) for slot in net.weights])):
            part[...] = False
    return edit


DEAD = {
    "an input channel": lambda p: [p.conv1[:, 1]],
    "all inputs but one channel": lambda p: [p.conv1[:, 1:]],
    "the middle of every kernel": lambda p: [conv[:, :, 1, 1] for conv in p[:3]],
    "all but the corners of kernels": lambda p: [part for conv in p[:3] for part in (conv[:, :, 1], conv[:, :, :, 1])],
    "all but one corner of kernels": lambda p: [part for conv in p[:3] for part in (conv[:, :, :2], conv[:, :, :, 1:])],
    "unfed channels": lambda p: [p.conv1[:2], p.conv2[3:], p.conv3[1]],
    "unfed channels and their biases": lambda p: [p.conv1[:2], p.biases[0][:2], p.conv2[3:], p.biases[1][3:], p.conv3[1], p.biases[2][1:2]],
    "unheard channels": lambda p: [p.conv2[:, 4:], p.conv3[:, :2], p.fc1[:, 4:8]],
    "channels neither fed nor heard": lambda p: [p.conv1[:2], p.conv2[:, :2], p.conv2[3:], p.conv3[:, 3:]],
    "channels fed by dead channels alone": lambda p: [p.conv1[:3], p.biases[0][:3], p.conv2[0, 3:], p.biases[1][:1], p.conv3[1, 1:]],
    "places of the last maps": lambda p: [p.fc1[:, ::3]],
    "hidden units, unfed and unheard": lambda p: [p.fc1[:2], p.fc2[:, 4:6]],
    "a class": lambda p: [p.fc2[3], p.biases[4][3:4]],
    "the first convolution": lambda p: [p.conv1],
    "the second convolution": lambda p: [p.conv2],
    "the second convolution and its biases": lambda p: [p.conv2, p.biases[1]],
    "the last convolution": lambda p: [p.conv3],
    "the first linear layer": lambda p: [p.fc1],
    "the last layer": lambda p: [p.fc2],
    "all weights": lambda p: p[:5],
    "all weights and biases": lambda p: [*p[:5], *p.biases],
    "all but one channel, fed by one": lambda p: [part for layer in p[:4] for part in (layer[1:], layer[0, 1:])],
    "all but one weight a convolution": lambda p: [part for conv in p[:3] for part in (conv[1:], conv[0, 1:], conv[0, 0, :, 1:], conv[0, 0, 1:])],
    "all biases": lambda p: p.biases,
}


BIASED = {"bias_init": ("normal", {"std": 0.1})}
"""Biases begin as they are drawn: a channel that nothing feeds is above 0 or below, and not at it."""


@pytest.mark.parametrize("part", DEAD)
@pytest.mark.parametrize("changes", [
    {}, BIASED, {**BIASED, "weight_decay": 0.1}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
], ids=str)
def test_what_is_dead_changes_no_number_of_what_lives(part, changes):
    assert ends_alike(0.8, edit=dead(part), shape=(3, 8, 9), model=THREE, steps=6, **changes)


@pytest.mark.parametrize("part", DEAD)
@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_around_what_is_dead_every_gradient_is_the_references(part, slope):
    net = chain(*THREE[1]["layers"], hidden=[7], slope=slope)
    for keep in (1, 0.3):
        assert layers_apart(keep, edit=dead(part), shape=(3, 8, 9), model=net, **BIASED) == []


@pytest.mark.parametrize("part", ["unfed channels", "unheard channels", "the second convolution", "hidden units, unfed and unheard"])
@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd", "lr": 0.05, "momentum": 0.9}], ids=str)
def test_kept_moments_move_what_nothing_feeds_and_what_nothing_hears(part, changes):
    def edit(net, start):
        dead(part)(net, start)
        draw = torch.Generator().manual_seed(3)
        moments = [torch.rand(net.size, generator=draw) * 0.01 - 0.005]
        start.moments = moments if changes else [*moments, torch.rand(net.size, generator=draw) * 1e-3 + 1e-6, torch.tensor(20.0)]

    pair = both(0.8, edit=edit, shape=(3, 8, 9), model=THREE, **changes)
    assert apart(pair) < 1e-4
    assert bool((pair.conv.w_final != pair.start.w)[pair.start.mask].all())


def test_of_equal_values_in_a_pools_window_the_first_has_the_gradient():
    """Weights of 0 that live: a channel is its bias, everywhere."""
    def edit(net, start):
        net.weights[0].of(start.w)[:] = 0

    for slope in (0.0, 0.1):
        model = chain("4@3+1", "max", "5@3+0", "max", slope=slope)
        assert layers_apart(1, edit=edit, model=model, **BIASED) == []


def test_at_a_sum_of_0_relu_has_the_slope_of_0_and_a_leaky_one_its_own():
    """Black images and biases of 0: every sum is 0, and then moves by the biases alone."""
    data = tiny_images(150, 50, (1, 12, 12))
    data.train_x[:] = 0
    for slope, moved in ((0.0, 1), (0.1, 5)):
        net, start, reference, conv = both(1, data=data, normalise="unit", model=chain(slope=slope), steps=1, optimiser="sgd", lr=1.0)
        assert distance(reference.w_final - start.w, conv.w_final - start.w) < 1e-4
        assert sum(bool((slot.of(conv.w_final) != slot.of(start.w)).any()) for slot in net.slots) == moved


# Rounds, curves, measures

def test_a_round_repeated_or_after_another_cell_is_the_same_to_the_bit():
    data = tiny_images(150, 50, (1, 12, 12))
    cell, other = (trainers(data, model=chain(dropout=0.2), steps=20, seed=seed)[0] for seed in (1, 2))
    images = prepare(cell, data)
    trainer = ConvTrainer(cell, images)
    for keep in (1, 0.7, 0.1):
        start = start_of(trainer, cell, keep)
        alone = ConvTrainer(cell, images).train(cell, start, 3)
        trainer.train(other, start_of(trainer, other, 0.4), 0)
        again = trainer.train(cell, start, 3)
        assert torch.equal(alone.w_final, again.w_final)
        assert all(torch.equal(a, b) for a, b in zip(alone.moments, again.moments, strict=True))
        assert str(alone.curve) == str(again.curve)


@pytest.mark.parametrize("keep", [1, 0.1])
def test_where_the_curve_is_looked_at_changes_nothing(keep):
    ends = []
    for every in (1, 7, 30):
        cell, _, trainer = trainers(tiny_images(150, 50, (1, 12, 12)), steps=30, eval_every=every)
        ends.append(trainer.train(cell, start_of(trainer, cell, keep), 0))
    assert torch.equal(ends[0].w_final, ends[1].w_final) and torch.equal(ends[0].w_final, ends[2].w_final)
    assert [len(end.curve["step"]) for end in ends] == [31, 6, 2]


@pytest.mark.parametrize("test", [1, 15, 16, 33, 130, 251])
def test_every_image_is_measured_once_and_counted_as_the_reference_does(test):
    cell, reference, conv = trainers(tiny_images(170, test, (3, 8, 9)), validation=37, steps=5)
    for keep in (1, 0.3, 0.02):
        w = reference.train(cell, start_of(reference, cell, keep), 0).w_final
        ours = conv.measure(w)
        for name, theirs in reference.measure(w).items():
            assert (ours[name]["correct"], ours[name]["top5"], ours[name]["accuracy"]) == (theirs["correct"], theirs["top5"], theirs["accuracy"])
            assert ours[name]["count"] == {"train": 133, "validation": 37, "test": test}[name]
            assert ours[name]["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_split_that_a_cell_does_not_have_is_not_measured():
    cell, _, conv = trainers(tiny_images(60, 20, (1, 12, 12)))
    assert conv.measure(start_of(conv, cell, 0.5).w)["validation"] is None


@pytest.mark.parametrize("classes", [3, 10])
def test_of_equal_outputs_the_first_count_as_the_larger(classes):
    """Weights of 0: every class has the same output, so the first five are among the top five, and class 0 is the answer."""
    data = tiny_images(60, 80, (1, 12, 12), classes)
    _, _, conv = trainers(data)
    test = conv.measure(torch.zeros(conv.net.size))["test"]
    assert (test["correct"], test["top5"]) == (int((data.test_y == 0).sum()), float(np.mean(data.test_y < 5)))
    assert test["loss"] == pytest.approx(np.log(classes), rel=1e-6)


def test_a_whole_cell_prunes_rewinds_and_stops_early_as_the_reference_does():
    """On most seeds: one where a unit stands on ReLU's edge prunes other weights, on one machine or another."""
    def off(seed):
        cell, reference, conv = trainers(tiny_images(200, 60, (1, 12, 12)), model=("lenet5", {}), steps=20, rounds=3, keep=0.4, validation=50,
                                         eval_every=5, reset=("rewind", {"step": 5}), seed=seed)
        ours, theirs = ([record for record, _ in run_rounds(one, cell, first_state(one, cell))] for one in (conv, reference))
        assert [record["kept"] for record in ours] == [record["kept"] for record in theirs] == [15_390, 6_156, 2_462, 985]
        for a, b in zip(ours, theirs, strict=True):
            assert a["steps"] == 20 and a["curve"]["step"] == b["curve"]["step"]
        return max(abs(a["end"]["test"]["loss"] / b["end"]["test"]["loss"] - 1) + abs(a["early"]["step"] - b["early"]["step"])
                   for a, b in zip(ours, theirs, strict=True))

    assert is_near(off, below=1e-4)


# Numbers that are none

@pytest.mark.parametrize("changes", [{"optimiser": "sgd", "lr": 1e6}, {"optimiser": "sgd", "lr": 1e30}, {"lr": 1e30}], ids=str)
@pytest.mark.parametrize("keep", [1, 0.3])
def test_a_diverged_cell_has_the_references_record(changes, keep):
    records = []
    cell, *each = trainers(tiny_images(150, 50, (1, 12, 12)), **changes, steps=20, eval_every=1, rounds=2)
    for trainer in each:
        state = first_state(trainer, cell)
        state.start = start_of(trainer, cell, keep)
        (record,) = [record for record, _ in run_rounds(trainer, cell, state)]
        losses = record.pop("curve")
        records.append({**record, "seconds": {}, "numerics": "", "finite": np.isfinite(losses["train_loss"]).tolist(), "at": losses["step"]})
    assert records[0] == records[1]
    assert records[1]["diverged"] and records[1]["end"] == {} and records[1]["at"][-1] < 20


def test_a_loss_that_is_large_but_a_number_is_not_diverged():
    _, _, reference, conv = both(1, optimiser="sgd", lr=1e3, steps=1)
    assert not reference.diverged and not conv.diverged
    assert conv.curve["test_loss"][-1] == pytest.approx(reference.curve["test_loss"][-1], rel=1e-3)


def test_a_weight_that_is_none_at_the_start_is_told_as_diverged():
    for wrong in (float("nan"), float("inf")):
        def edit(net, start, wrong=wrong):
            start.w[3] = wrong

        _, _, reference, conv = both(1, edit=edit, eval_every=1)
        assert reference.diverged and conv.diverged and conv.curve["step"] == reference.curve["step"] == [0, 1]


def test_denormals_are_flushed_while_a_round_is_trained_and_the_threads_setting_comes_back():
    seen = []
    cell = make_cell(model=chain(), steps=2, eval_every=1)
    trainer = ConvTrainer(cell, prepare(cell, tiny_images(60, 20, (1, 12, 12))), lambda *_: seen.append(float(torch.tensor([1e-39]) * 1)))
    trainer.train(cell, start_of(trainer, cell, 1), 0)
    assert seen == [0.0] * 3
    assert float(torch.tensor([1e-39]) * 1) != 0
