"""One flat vector: logical shapes over channels-last memory, statistics that rewind, chains that know what a unit feeds."""

import pytest
import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.build import build_net, draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.measure import multiply_adds, outputs_a_unit
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.prune import check_pruning, prune
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import Start
from sweepstake.pieces import networks
from tests.helpers import make_cell, tiny_images

SMALL = ("conv2", {"width": 0.1, "norm": "batch"})
"""6 channels, 6 channels, pool, 26, 26."""


def cell_of(**changes):
    return make_cell(**{"model": SMALL, "steps": 4, "rounds": 2, "keep": 0.5, "batch_size": 8, "lr": 0.01, **changes})


def trainer_of(cell, **data):
    return ReferenceTrainer(cell, prepare(cell, tiny_images(32, 16, **data)))


def slot_of(net, name):
    return next(slot for slot in net.slots if slot.name == name)


def test_a_convolution_lies_channels_last_and_is_seen_in_its_logical_shape():
    net = build_net(cell_of(), (1, 8, 8), 10)
    conv, weight = slot_of(net, "conv2.weight"), net.module.get_parameter("conv2.weight")
    assert weight.shape == conv.of(net.w).shape == (6, 6, 3, 3) and weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.data_ptr() == conv.of(net.w).data_ptr()
    flat = torch.zeros_like(net.w)
    conv.of(flat)[1, 2, 0, 1] = 7.0
    assert flat[conv.start + ((1 * 3 + 0) * 3 + 1) * 6 + 2] == 7.0 and flat.sum() == 7.0


def test_an_init_a_mask_and_a_gradient_are_in_logical_order():
    cell = cell_of(init="normal")
    net = build_net(cell, (1, 8, 8), 10)
    conv = slot_of(net, "conv2.weight")
    drawn = streams.normal((6, 6, 3, 3), cell.seed, "normal", "init", "conv2.weight") * 0.1
    assert torch.equal(conv.of(draw_init(net, cell, "init")), drawn)
    net.w.copy_(draw_init(net, cell, "init"))
    weight, x = net.module.get_parameter("conv2.weight"), torch.rand(2, 6, 8, 8)
    nn.functional.conv2d(x, weight, padding=1).square().sum().backward()
    plain = drawn.clone().requires_grad_()
    nn.functional.conv2d(x, plain, padding=1).square().sum().backward()
    assert torch.allclose(conv.of(net.grad), plain.grad, rtol=1e-4, atol=1e-4) and conv.of(net.grad).abs().sum() > 1
    mask = torch.ones_like(net.w, dtype=torch.bool)
    kept = prune(net, cell, {"w_init": net.w, "w_start": net.w, "w_final": net.w}, mask, 0).mask
    size = drawn.abs()
    assert torch.equal(conv.of(kept), size >= size.flatten().sort().values[162])


def test_shuffled_convolutions_hold_the_survivors_own_values():
    cell = cell_of(reset="shuffled")
    trainer = trainer_of(cell)
    *_, (_, state) = run_rounds(trainer, cell, first_state(trainer, cell))
    conv, first = slot_of(trainer.net, "conv2.weight"), draw_init(trainer.net, cell, "init")
    alive = conv.of(state.start.mask)
    now = conv.of(state.start.w)
    assert torch.equal(now[alive].sort().values, conv.of(first)[alive].sort().values) and not torch.equal(now[alive], conv.of(first)[alive])


def test_channels_last_trains_as_plain_pytorch_does():
    cell = cell_of(model=("conv4", {"width": 0.1}), precision="float64", optimiser="sgd", momentum=0.9, lr=0.05, normalise="unit", rounds=0)
    trainer = trainer_of(cell)
    start = first_state(trainer, cell).start
    twin = networks.convolutional((1, 8, 8), 10, [64, 64, "pool", 128, 128, "pool"], [256, 256],
                                  networks.Style(0.1, "none", "relu", 0.01, 0.0)).double()
    for slot in trainer.net.slots:
        twin.get_parameter(slot.name).data.copy_(slot.of(start.w))
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    for chosen in streams.batch_order(32, 8, 4, cell.seed, 0):
        optimiser.zero_grad()
        nn.functional.cross_entropy(twin(trainer.images.train.x[chosen].double() / 255), trainer.images.train.y[chosen]).backward()
        optimiser.step()
    w = trainer.train(cell, start, 0).w_final
    for slot in trainer.net.slots:
        assert torch.allclose(slot.of(w), twin.get_parameter(slot.name), rtol=0, atol=1e-10)


def statistics(net, w):
    return torch.cat([slot.of(w) for slot in net.slots if slot.role == "statistic"])


def test_statistics_lie_behind_what_is_learnt():
    net = build_net(cell_of(), (1, 8, 8), 10)
    assert [slot.name for slot in net.slots if slot.role == "statistic"] == [
        f"conv{n}_norm.running_{which}" for n in (1, 2) for which in ("mean", "var")]
    assert net.size - net.learnt == 24 == sum(b.numel() for b in net.module.buffers() if b.is_floating_point())
    assert statistics(net, draw_init(net, cell_of(), "init")).tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 6 + [1.0] * 6


@pytest.mark.parametrize(("reset", "same_as"), [
    ("rewind", "w_init"), (("rewind", {"step": 2}), "w_step"), ("fresh", "w_init"), ("shuffled", "w_init"), ("none", "w_final")])
def test_statistics_and_norms_go_where_the_weights_go(reset, same_as):
    cell = cell_of(reset=reset)
    trainer = trainer_of(cell)
    net, state = trainer.net, first_state(trainer, cell)
    trained = trainer.train(cell, state.start, 0)
    _, after = next(run_rounds(trainer, cell, state))
    stations = {"w_init": state.start.w, "w_step": trained.w_step, "w_final": trained.w_final}
    for slot in net.slots:
        if slot.role in ("statistic", "other"):
            assert torch.equal(slot.of(after.start.w), slot.of(stations[same_as]))
    assert not torch.equal(statistics(net, trained.w_final), statistics(net, state.start.w))


def test_the_weights_at_early_stop_are_measured_with_the_statistics_of_that_step():
    cell = cell_of(validation=16, eval_every=1, lr=0.3, steps=6, rounds=0)
    trainer = trainer_of(cell)
    trained = trainer.train(cell, first_state(trainer, cell).start, 0)
    trainer.measure(trained.w_final)
    assert trained.early_step < 6
    assert trainer.measure(trained.w_early)["validation"]["loss"] == trained.curve["validation_loss"][trained.early_step]
    assert not torch.equal(statistics(trainer.net, trained.w_early), statistics(trainer.net, trained.w_final))


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_no_decay_and_no_step_touches_a_statistic(optimiser):
    light, heavy = (cell_of(optimiser=optimiser, momentum=0.9 if optimiser == "sgd" else 0.0, lr=1e-12, weight_decay=decay, rounds=0)
                    for decay in (0.0, 1e6))
    ends = [statistics((t := trainer_of(cell)).net, t.train(cell, first_state(t, cell).start, 0).w_final) for cell in (light, heavy)]
    assert torch.allclose(*ends, rtol=1e-3) and ends[0].abs().sum() > 1


def test_every_cell_of_a_stack_starts_from_its_own_seed_and_fresh_statistics():
    cell, other = cell_of(seed=1), cell_of(seed=2)
    shared = trainer_of(cell)
    shared.train(cell, first_state(shared, cell).start, 0)
    alone = trainer_of(other)
    assert torch.equal(first_state(shared, other).start.w, first_state(alone, other).start.w)
    among, by_itself = (trainer.train(other, first_state(trainer, other).start, 0).w_final for trainer in (shared, alone))
    assert torch.equal(among, by_itself)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_dead_weights_stay_exactly_0_whatever_the_moments_were(optimiser):
    cell = cell_of(optimiser=optimiser, momentum=0.9 if optimiser == "sgd" else 0.0, weight_decay=0.1)
    trainer = trainer_of(cell)
    start = first_state(trainer, cell).start
    moments = trainer.train(cell, start, 0).moments
    mask = start.mask.clone()
    for slot in trainer.net.weights:
        slot.of(mask)[::2] = False
    w = trainer.train(cell, Start(start.w * mask, mask, moments), 1).w_final
    assert float(w[~mask].abs().max()) == 0.0 and float(w[mask].abs().min()) >= 0.0 and bool((w[mask] != start.w[mask]).any())


def test_a_chain_knows_the_columns_of_what_a_unit_feeds():
    net = build_net(cell_of(model=("conv2", {"width": 0.1})), (1, 8, 8), 10)
    layers = {slot.layer: slot for slot in net.weights}
    assert {name: following.layer if (following := net.after(slot)) else None for name, slot in layers.items()} == {
        "conv1": "conv2", "conv2": "fc1", "fc1": "fc2", "fc2": "fc3", "fc3": None}
    # Channel 2 of 6 on a 4 x 4 map: columns 32 to 47 of fc1. Without them it can be anything.
    net.w.copy_(draw_init(net, cell_of(), "init"))
    x = torch.rand(3, 1, 8, 8)
    layers["fc1"].of(net.w)[:, 32:48] = 0.0
    before = net.module(x)
    layers["conv2"].of(net.w)[2] += 5.0
    assert torch.equal(net.module(x), before)
    layers["conv2"].of(net.w)[3] += 5.0
    assert not torch.equal(net.module(x), before)


def test_a_dead_channel_takes_its_norm_and_its_columns_with_it():
    cell = cell_of(granularity="unit", criterion="unit_l2")
    trainer = trainer_of(cell)
    net = trainer.net
    _, state = next(run_rounds(trainer, cell, first_state(trainer, cell)))
    alive = slot_of(net, "conv2.weight").of(state.start.mask).flatten(1).any(1)
    assert int(alive.sum()) == 3
    for name in ("conv2_norm.weight", "conv2_norm.bias"):
        assert slot_of(net, name).of(state.start.mask).tolist() == alive.tolist()
    columns = slot_of(net, "fc1.weight").of(state.start.mask).any(0).view(6, 16)
    assert columns.all(1).tolist() == columns.any(1).tolist() == alive.tolist()
    assert bool(state.start.mask[net.learnt:].all())
    dead = torch.arange(6)[~alive]
    seen = []
    net.module.get_submodule("conv2_norm").register_forward_hook(lambda _, __, output: seen.append(output))
    trainer.train(cell, state.start, 1)
    assert len(seen) > 4 and all(float(output[:, dead].detach().abs().max()) == 0.0 for output in seen)


def test_residual_networks_are_no_chain_but_know_their_norms():
    net = build_net(cell_of(model=("resnet20", {"width": 0.25})), (1, 8, 8), 10)
    assert not net.chain and all(net.after(slot) is None for slot in net.weights)
    norms = {slot.layer: {norm.layer for norm in net.norm_of(slot)} for slot in net.weights}
    assert norms["conv1"] == {"conv1_norm"} and norms["block1.conv2"] == {"block1.norm2"}
    assert norms["block4.shortcut.conv"] == {"block4.shortcut.norm"} and norms["fc1"] == set()
    assert all([norm.role for norm in net.norm_of(slot)] == ["other", "other"] for slot in net.weights if slot.kind == "conv")


class OutOfOrder(nn.Module):
    """Registered out of order: only the pass tells which norm reads which layer."""

    def __init__(self):
        super().__init__()
        self.norm_b, self.norm_a = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.a, self.b, self.out = nn.Linear(64, 4), nn.Linear(4, 4), nn.Linear(4, 10)

    def forward(self, x):
        return self.out(self.norm_b(self.b(self.norm_a(self.a(x.flatten(1))))))


class OutOfOrderChain(OutOfOrder):
    chain = True


@pytest.mark.parametrize(("kind", "following"), [(OutOfOrder, [None, None, None]), (OutOfOrderChain, ["b", "out", None])])
def test_a_module_of_ones_own_is_a_chain_where_it_says_so(monkeypatch, kind, following):
    monkeypatch.setattr(networks, "mlp", lambda *_: kind())
    net = build_net(cell_of(model="mlp"), (1, 8, 8), 10)
    assert [after.layer if (after := net.after(slot)) else None for slot in net.weights] == following
    assert [{norm.layer for norm in net.norm_of(slot)} for slot in net.weights] == [{"norm_a"}, {"norm_b"}, set()]


class Called(nn.Module):
    """Layers by the names given: convolutions, then linear layers."""

    def __init__(self, convs=(), linears=()):
        super().__init__()
        self.convs, self.linears = convs, linears
        for place, name in enumerate(convs):
            self.add_module(name, nn.Conv2d(1 if place == 0 else 2, 2, 3, padding=1))
        for place, name in enumerate(linears):
            self.add_module(name, nn.Linear((128 if convs else 64) if place == 0 else 10, 10))

    def forward(self, x):
        for name in self.convs:
            x = self.get_submodule(name)(x)
        x = x.flatten(1)
        for name in self.linears:
            x = self.get_submodule(name)(x)
        return x


def called(monkeypatch, convs, linears, **changes):
    monkeypatch.setattr(networks, "mlp", lambda *_: Called(convs, linears))
    cell = cell_of(model="mlp", **changes)
    return build_net(cell, (1, 8, 8), 10), cell


@pytest.mark.parametrize(("convs", "linears", "changes", "said"), [
    (("stem", "conv"), ("fc",), {"prune_layers": ["conv"]}, 'prune_layers = "conv": "conv" is the name of one layer of the model and also '
     "a kind (stem, conv). Rename that layer in the module."),
    (("stem", "conv"), ("fc",), {"keep": {"conv": 0.5}}, 'keep = {conv = ...}: "conv" is the name of one layer of the model and also '
     "a kind (stem, conv). Rename that layer in the module."),
    ((), ("linear", "fc"), {"prune_layers": ["linear"]}, 'prune_layers = "linear": "linear" is the name of one layer of the model and '
     "also a kind (linear, fc). Rename that layer in the module."),
    ((), ("linear", "fc"), {"keep": {"linear": 0.5}}, 'keep = {linear = ...}: "linear" is the name of one layer of the model and also '
     "a kind (linear, fc). Rename that layer in the module."),
    (("stem",), ("all",), {}, 'prune_layers = "all": "all" is the name of one layer of the model and also the word for all layers '
     "(stem, all). Rename that layer in the module.")])
def test_a_word_that_is_a_layer_and_a_kind_is_refused_by_name(monkeypatch, convs, linears, changes, said):
    net, cell = called(monkeypatch, convs, linears, **changes)
    with pytest.raises(UserError) as refused:
        check_pruning(net, cell)
    assert refused.value.problems == (said,)


@pytest.mark.parametrize(("convs", "linears", "changes", "kept"), [
    (("conv",), ("fc",), {"prune_layers": ["conv"]}, {"conv": 9, "fc": 1280}),
    (("conv",), ("linear",), {"keep": {"conv": 0.5, "linear": 0.25}}, {"conv": 9, "linear": 320}),
    ((), ("linear", "fc"), {"prune_layers": ["fc"]}, {"linear": 640, "fc": 50}),
    (("stem",), ("all",), {"prune_layers": ["linear"], "keep": {"all": 0.5}}, {"stem": 18, "all": 640}),
    (("stem", "conv"), ("fc",), {}, {"stem": 9, "conv": 18, "fc": 640})])
def test_a_layer_named_as_a_kind_is_pruned_where_no_word_is_ambiguous(monkeypatch, convs, linears, changes, kept):
    net, cell = called(monkeypatch, convs, linears, **changes)
    mask = prune(net, cell, {"w_init": net.w, "w_start": net.w, "w_final": net.w}, torch.ones_like(net.w, dtype=torch.bool), 0).mask
    assert {slot.layer: int(slot.of(mask).sum()) for slot in net.weights} == kept


def test_training_leaves_the_callers_random_state_alone():
    cell = cell_of(model=("mlp", {"dropout": 0.5}))
    trainer = trainer_of(cell)
    before = torch.get_rng_state()
    with_dropout = trainer.train(cell, first_state(trainer, cell).start, 0).w_final
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(with_dropout, trainer.train(cell, first_state(trainer, cell).start, 1).w_final)


def test_multiply_adds_are_weights_times_the_outputs_that_each_goes_into():
    """LeNet-5 on a 28 x 28 image: 6 maps of 28 x 28, 16 of 10 x 10, then 400, 120, 84 and 10 units."""
    net = build_net(make_cell(model="lenet5"), (1, 28, 28), 10)
    outputs = outputs_a_unit(net)
    assert outputs == {"conv1": 784, "conv2": 100, "fc1": 1, "fc2": 1, "fc3": 1}
    whole = {slot.layer: slot.size for slot in net.weights}
    assert multiply_adds(whole, outputs) == 150 * 784 + 2400 * 100 + 48_000 + 10_080 + 840 == 416_520
    assert multiply_adds({**whole, "conv2": 24}, outputs) == 416_520 - 2376 * 100
