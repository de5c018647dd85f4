"""Masks: chosen by count, never by threshold; ties by a seeded draw; whole units with all that hangs on them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.nn.utils import prune as torch_prune

from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.build import build_net, draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.masks import keep_top
from sweepstake.engine.network import Net
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.prune import check_pruning, prune
from sweepstake.engine.rounds import first_state
from tests.helpers import make_cell, run_cell, tiny_images

DISTINCT = [3.0, -1.0, 4.0, 1.5, -5.0, 9.0, 2.0, 6.0]


def top(scores, count, alive=None, seed=0):
    scores = torch.tensor(scores)
    alive = torch.ones(len(scores), dtype=torch.bool) if alive is None else torch.tensor(alive, dtype=torch.bool)
    return keep_top(scores, alive, count, streams.uniform((len(scores),), seed, "ties")).int().tolist()


@pytest.mark.parametrize(("scores", "count", "alive", "expected"), [
    (DISTINCT, 3, None, [0, 0, 1, 0, 0, 1, 0, 1]),
    (DISTINCT, 0, None, [0] * 8),
    (DISTINCT, 8, None, [1] * 8),
    (DISTINCT, 99, None, [1] * 8),
    (DISTINCT, 2, [1, 1, 1, 1, 1, 0, 1, 0], [1, 0, 1, 0, 0, 0, 0, 0]),
    (DISTINCT, 0, [1, 0, 1, 0, 1, 0, 1, 0], [0] * 8),
    (DISTINCT, 4, [1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1, 0]),
    ([1.0, 0.0, 0.0, 0.0, 2.0], 2, None, [1, 0, 0, 0, 1]),
    ([-0.0, 0.0, 1.0, -1.0], 3, None, [1, 1, 1, 0]),
])
def test_the_best_are_kept(scores, count, alive, expected):
    assert top(scores, count, alive) == expected


@pytest.mark.parametrize("scores", [DISTINCT, [1.0, 1.0, 1.0, 2.0, 2.0, 0.0, 0.0, 5.0], [7.0] * 8, [0.0] * 8])
@pytest.mark.parametrize("count", range(9))
def test_ties_do_not_change_how_many_are_kept(scores, count):
    kept = top(scores, count)
    assert sum(kept) == count
    living, dead = ([s for s, k in zip(scores, kept, strict=True) if k == lives] for lives in (1, 0))
    assert min(living, default=9) >= max(dead, default=-9)


@given(some.lists(some.tuples(some.sampled_from([-1.0, 0.0, 0.5, 2.0]), some.booleans()), min_size=1, max_size=40),
       some.integers(0, 50), some.integers(0, 9))
@settings(deadline=None, max_examples=200)
def test_only_the_alive_are_kept_and_as_many_as_asked(layer, count, seed):
    scores, alive = [s for s, _ in layer], [a for _, a in layer]
    kept = top(scores, count, alive, seed)
    assert sum(kept) == min(count, sum(alive))
    assert all(a for a, k in zip(alive, kept, strict=True) if k)


def test_ties_break_by_a_seeded_draw_not_by_index():
    zeros = [0.0] * 1000
    one, again, other = top(zeros, 500), top(zeros, 500), top(zeros, 500, seed=1)
    assert one == again != other
    assert 200 < sum(one[:500]) < 300, "the first half is neither spared nor hit"


def cut(done=0, mask=None, data=None, **changes):
    cell = make_cell(**changes)
    trainer = ReferenceTrainer(cell, prepare(cell, data or tiny_images()))
    w = draw_init(trainer.net, cell, "init")
    mask = torch.ones_like(w, dtype=torch.bool) if mask is None else mask
    return trainer.net, prune(trainer.net, cell, {"w_init": w, "w_start": w, "w_final": w}, mask, done, trainer.examples), w


@pytest.mark.parametrize("share", [0.8, 0.2, 0.01])
def test_magnitude_masks_are_those_of_torch_prune(share):
    net, ours, w = cut(keep=share)
    _, ours_global, _ = cut(keep=share, allocation="everywhere")
    layers = [nn.Linear(slot.shape[1], slot.shape[0]) for slot in net.weights]
    for slot, layer in zip(net.weights, layers, strict=True):
        layer.weight.data = slot.of(w).clone()
        torch_prune.l1_unstructured(layer, "weight", amount=slot.size - ours.asked[slot.layer])
        assert torch.equal(slot.of(ours.mask), layer.weight_mask.bool())
        torch_prune.remove(layer, "weight")
        layer.weight.data = slot.of(w).clone()
    torch_prune.global_unstructured([(layer, "weight") for layer in layers], torch_prune.L1Unstructured,
                                    amount=50200 - sum(ours_global.asked.values()))
    for slot, layer in zip(net.weights, layers, strict=True):
        assert torch.equal(slot.of(ours_global.mask), layer.weight_mask.bool())


def test_under_a_constant_magnitude_init_ties_are_spread_over_the_image():
    net, pruned, _ = cut(init="signed_constant", keep=0.5)
    by_pixel = net.weights[0].of(pruned.mask).float().mean(0)
    assert int(net.weights[0].of(pruned.mask).sum()) == 9600
    assert float(by_pixel.min()) > 0.3
    assert float(by_pixel.max()) < 0.7


def test_invert_keeps_the_lowest():
    net, pruned, w = cut(control="invert", keep=0.25)
    slot = net.weights[0]
    kept = slot.of(pruned.mask)
    assert float(slot.of(w)[kept].abs().max()) <= float(slot.of(w)[~kept].abs().min())


def test_shuffle_moves_the_mask_and_keeps_its_counts():
    net, pruned, _ = cut(control="shuffle", keep=0.25)
    _, plain, _ = cut(keep=0.25)
    for slot in net.weights:
        assert int(slot.of(pruned.mask).sum()) == int(slot.of(plain.mask).sum())
        assert not torch.equal(slot.of(pruned.mask), slot.of(plain.mask))
    assert torch.equal(pruned.ranked, plain.mask)


# Units

def test_a_dead_unit_takes_its_bias_and_its_outgoing_weights_with_it():
    net, pruned, w = cut(criterion="unit_l2", granularity="unit", keep={"fc1": 0.5, "fc2": 0.25})
    fc1, fc2, fc3 = (slot.of(pruned.mask) for slot in net.weights)
    alive1, alive2 = fc1.all(1), fc2.any(1)
    assert (int(alive1.sum()), int(alive2.sum())) == (150, 25)
    assert torch.equal(fc1, alive1[:, None].expand(300, 64))
    assert torch.equal(fc2, alive2[:, None] & alive1[None])
    assert torch.equal(fc3, alive2[None].expand(10, 100)), "the output layer loses columns and no row"
    assert torch.equal(net.bias_of(net.weights[0]).of(pruned.mask), alive1)
    assert bool(net.bias_of(net.weights[2]).of(pruned.mask).all())
    norms = net.weights[0].of(w).norm(dim=1)
    assert float(norms[alive1].min()) >= float(norms[~alive1].max())


def test_a_shuffle_of_units_brings_none_back_half():
    first_net, first, _ = cut(criterion="unit_l2", granularity="unit", keep=0.5)
    net, second, _ = cut(done=1, mask=first.mask, criterion="unit_l2", granularity="unit", keep=0.5, control="shuffle")
    fc1, fc2, fc3 = (slot.of(second.mask) for slot in net.weights)
    alive1, alive2 = fc1.any(1), fc2.any(1)
    assert (int(alive1.sum()), int(alive2.sum())) == (75, 25)
    assert torch.equal(fc1, alive1[:, None].expand(300, 64))
    assert torch.equal(fc2, alive2[:, None] & alive1[None])
    assert torch.equal(fc3, alive2[None].expand(10, 100))
    assert not torch.equal(alive1, first_net.weights[0].of(first.mask).any(1) & alive1)
    assert torch.equal(net.bias_of(net.weights[0]).of(second.mask), alive1)


def test_a_norm_dies_with_its_unit(monkeypatch):
    net = build_net(make_cell(), (1, 8, 8), 10)
    monkeypatch.setattr(Net, "norm_of", lambda self, weight: [self.bias_of(self.weights[1])] if weight is self.weights[1] else [])
    from sweepstake.engine.masks import without_units

    units = torch.arange(100) < 40
    new = without_units(net, torch.ones(net.size, dtype=torch.bool), {net.weights[1]: units})
    assert torch.equal(net.norm_of(net.weights[1])[0].of(new), units)


# By counts, by parts

def test_remove_takes_exactly_so_many_units_a_step():
    changes = {"remove": {"fc1": 6, "fc2": 2}, "granularity": "unit", "criterion": "unit_l2", "steps": 0}
    records = run_cell(make_cell(rounds=49, **changes), tiny_images())
    assert [record["alive_units"]["fc1"] for record in records] == [300 - 6 * r for r in range(50)]
    assert [record["alive_units"]["fc2"] for record in records] == [100 - 2 * r for r in range(50)]
    with pytest.raises(UserError, match=r"remove = \{fc1 = 6\}: 50 prunings would take 300 of the 300 units of fc1, .* At most 49"):
        run_cell(make_cell(rounds=50, **changes), tiny_images())


def test_remove_takes_weights_too_and_leaves_unnamed_layers_whole():
    records = run_cell(make_cell(remove={"fc1": 1000}, rounds=2, steps=0, allocation="everywhere"), tiny_images())
    assert [record["kept_by_layer"] for record in records] == [{"fc1": 19200 - 1000 * r, "fc2": 30000, "fc3": 1000} for r in range(3)]


def test_remove_with_a_name_nobody_has_names_the_layers():
    cell = make_cell(remove={"fc3": 1}, granularity="unit", criterion="unit_l2")
    with pytest.raises(UserError, match=r"remove = \{fc3 = ...\}: no layer with units to prune of that name(.|\n)*Known: fc1, fc2\."):
        check_pruning(build_net(cell, (1, 8, 8), 10), cell)


def test_synflow_in_many_prunings_leaves_no_layer_empty_where_one_pruning_does():
    deep = ("mlp", {"hidden": [200, 20, 100]})
    sizes = {n: cut(criterion=("synflow", {"iterations": n}), allocation="everywhere", keep=0.005, model=deep)[1].asked for n in (1, 100)}
    assert sum(sizes[1].values()) == sum(sizes[100].values()) == round(0.005 * (64 * 200 + 200 * 20 + 2000 + 1000))
    assert min(sizes[1].values()) == 0
    assert min(sizes[100].values()) > 0


@pytest.mark.parametrize("done", [0, 3])
def test_a_pruning_in_parts_ends_at_the_same_counts(done):
    asked = [cut(done=done, criterion=("synflow", {"iterations": n}), keep=0.7)[1].asked for n in (1, 7)]
    assert asked[0] == asked[1] == {name: round(size * 0.7 ** (done + 1)) for name, size in (("fc1", 19200), ("fc2", 30000), ("fc3", 1000))}


def test_snip_prunes_in_one_shot_unless_a_study_says_otherwise():
    """Lee et al. (2019) prune once; many iterations are de Jorge et al.'s (2021)."""
    data, masks = tiny_images(), {}
    for options in ({}, {"iterations": 1}, {"iterations": 2}):
        cell = make_cell(criterion=("snip", {"images": 0, **options}), keep=0.05, prune_when="before")
        trainer = ReferenceTrainer(cell, prepare(cell, data))
        masks[options.get("iterations")] = first_state(trainer, cell).start.mask
    assert torch.equal(masks[None], masks[1])
    assert not torch.equal(masks[None], masks[2])


def test_the_mask_given_is_not_written_to():
    mask = torch.ones(50610, dtype=torch.bool)
    for granularity, criterion in (("weight", "magnitude"), ("unit", "unit_l2")):
        cut(mask=mask, granularity=granularity, criterion=criterion)
    assert bool(mask.all())


def test_survivors_cannot_be_shuffled_before_they_are_known():
    cell = make_cell(prune_when="before", reset="shuffled")
    with pytest.raises(UserError) as caught:
        check_pruning(build_net(cell, (1, 8, 8), 10), cell)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith('prune_when = "before" with reset = "shuffled": the survivors are shuffled once they are known')
    assert "\n" not in caught.value.problems[0]


@pytest.mark.parametrize(("allocation", "others"), [("per_layer", (9600, 15000)), ("everywhere", None)])
def test_the_output_layer_keeps_its_own_fraction_and_shares_with_nobody(allocation, others):
    _, pruned, _ = cut(keep=0.5, output_keep=0.9, allocation=allocation)
    assert pruned.asked["fc3"] == 900
    assert pruned.asked["fc1"] + pruned.asked["fc2"] == 24600
    assert others in (None, (pruned.asked["fc1"], pruned.asked["fc2"]))
    assert cut(done=1, keep=0.5, output_keep=0.9, allocation=allocation)[1].asked["fc3"] == 810


def test_every_round_has_a_shuffle_draw_of_its_own():
    _, first, _ = cut(done=0, keep=0.25, control="shuffle")
    _, second, _ = cut(done=1, keep=0.5, control="shuffle")
    assert torch.equal(first.ranked, second.ranked)
    assert not torch.equal(first.mask, second.mask)
