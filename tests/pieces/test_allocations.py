"""Allocations: densities against worked-out references, totals exact to the weight, full layers, protected layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from sweepstake.base.errors import UserError
from sweepstake.engine.build import draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.masks import exact_counts
from sweepstake.engine.network import Net
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.prune import prune
from sweepstake.pieces import allocation
from tests.helpers import make_cell, run_cell, tiny_images

LENET = [(300, 784), (100, 300), (10, 100)]
VGG = [(64, 3, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3), (512, 256, 3, 3), (512, 512, 3, 3), (10, 512)]


def counts(name, shapes, density, **options):
    sizes = [int(np.prod(shape)) for shape in shapes]
    total = round(density * sum(sizes))
    last = len(shapes) - 1
    wishes = allocation.get(name)({
        "sizes": lambda: sizes, "shapes": lambda: shapes, "total": lambda: total, "density": lambda: [density] * len(shapes),
        "first": lambda: [i == 0 for i in range(len(shapes))], "output": lambda: [i == last for i in range(len(shapes))],
    }, allocation.resolve(name, options, "allocation"))
    found = exact_counts(wishes, sizes, total)
    assert sum(found) == total
    return found


def rigl_erk(shapes, density, raw):
    """The published procedure (Evci et al. 2020, sparse_utils.get_mask_random of RigL), from its description: layers whose
    density would pass 1 are made dense, until none is left over."""
    sizes, dense = [np.prod(shape) for shape in shapes], set()
    while True:
        budget = density * sum(sizes) - sum(sizes[i] for i in dense)
        epsilon = budget / sum(raw(shape) * size for i, (shape, size) in enumerate(zip(shapes, sizes, strict=True)) if i not in dense)
        over = {i for i, shape in enumerate(shapes) if i not in dense and epsilon * raw(shape) > 1}
        if not over:
            return [1.0 if i in dense else float(epsilon * raw(shape)) for i, shape in enumerate(shapes)]
        dense.add(max(over, key=lambda i: raw(shapes[i])))


@pytest.mark.parametrize("density", [0.5, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("shapes", [LENET, VGG])
@pytest.mark.parametrize(("name", "raw"), [("erk", lambda shape: sum(shape) / np.prod(shape)),
                                           ("er", lambda shape: sum(shape[:2]) / np.prod(shape[:2]))])
def test_erk_and_er_are_the_published_densities_to_the_weight(name, raw, shapes, density):
    expected = [d * np.prod(shape) for d, shape in zip(rigl_erk(shapes, density, raw), shapes, strict=True)]
    assert counts(name, shapes, density) == pytest.approx(expected, abs=1)


def test_erk_of_lenet_at_a_tenth_by_hand():
    # 26,620 weights are left. Dimensions add up to 1,084, 400 and 110: 26,620 / 1,594 * 110 = 1,837 is more than fc3's 1,000,
    # so fc3 is whole, and 25,620 are shared as 1,084 to 400.
    assert counts("erk", LENET, 0.1) == [18714, 6906, 1000]


def test_erk_plus_keeps_the_output_layer_whole_at_the_same_total():
    wide = [(64, 784), (500, 64), (1000, 500)]
    assert counts("erk", wide, 0.9)[-1] < 500_000
    assert counts("erk_plus", wide, 0.9) == [14388, 9570, 500_000]  # 523,958 in all: 23,958 shared as 848 to 564


def test_uniform_plus_keeps_the_first_layer_whole_and_a_fifth_of_the_output():
    found = counts("uniform_plus", VGG, 0.05)
    sizes = [int(np.prod(shape)) for shape in VGG]
    assert found[0] == sizes[0]
    assert found[-1] == 1024
    densities = [n / size for n, size in zip(found, sizes, strict=True)][1:-1]
    assert max(densities) - min(densities) < 2e-4
    assert counts("uniform_plus", VGG, 0.9)[-1] > 0.8 * 5120, "no less than the others where they keep more"


def test_uniform_gives_every_layer_the_same_fraction():
    assert counts("uniform", LENET, 0.25) == [58800, 7500, 250]


def test_densities_that_cannot_be_are_one_clear_line():
    with pytest.raises(UserError, match='allocation = "uniform_plus": .* not to be sparse hold 235,200, and only 26,620 are to be kept'):
        counts("uniform_plus", LENET, 0.1)
    with pytest.raises(UserError, match='allocation = "erk_plus": .* hold 1,000, and only 266 are'):
        counts("erk_plus", LENET, 0.001)


@given(some.lists(some.tuples(some.floats(0, 1e6), some.integers(0, 5000)), min_size=1, max_size=8), some.floats(0, 1))
@settings(deadline=None, max_examples=300)
def test_counts_are_exact_whole_and_within_the_room(layers, share):
    wishes, room = [wish for wish, _ in layers], [size for _, size in layers]
    total = round(share * sum(room))
    found = exact_counts(wishes, room, total)
    assert sum(found) == total
    assert all(0 <= n <= size for n, size in zip(found, room, strict=True))


@pytest.mark.parametrize(("wishes", "room", "total", "expected"), [
    ([5.0, 5.0], [3, 100], 10, [3, 7]),
    ([9.0, 1.0, 0.0], [2, 2, 10], 6, [2, 2, 2]),
    ([1.0, 1.0, 1.0], [9, 9, 9], 4, [2, 1, 1]),
    ([2.5, 2.5], [9, 9], 5, [3, 2]),
    ([1.0, 1.0], [5, 5], 0, [0, 0]),
    ([1.0, 1.0], [5, 5], 10, [5, 5]),
])
def test_what_a_full_layer_cannot_take_goes_to_the_others(wishes, room, total, expected):
    assert exact_counts(wishes, room, total) == expected


def test_more_than_there_is_and_wishes_that_are_none_are_one_clear_line():
    with pytest.raises(UserError, match="11 weights are to be kept, and the layers hold only 10"):
        exact_counts([1, 1], [5, 5], 11)
    for wishes in ([float("nan"), 1], [-1, 2], [1]):
        with pytest.raises(UserError, match="expected 2 finite numbers, none below 0"):
            exact_counts(wishes, [5, 5], 3)


def cut(data=None, done=0, **changes):
    cell = make_cell(**changes)
    trainer = ReferenceTrainer(cell, prepare(cell, data or tiny_images()))
    w = draw_init(trainer.net, cell, "init")
    everything, mask = {"w_init": w, "w_start": w, "w_final": w}, torch.ones_like(w, dtype=torch.bool)
    return trainer.net, prune(trainer.net, cell, everything, mask, done, trainer.examples)


def test_everywhere_keeps_the_best_wherever_they_are():
    net, pruned = cut(allocation="everywhere", keep=0.3)
    scores = torch.cat(list(pruned.scores.values()))
    best = scores.topk(round(0.3 * len(scores))).values.min()
    assert pruned.asked == {slot.layer: int((pruned.scores[slot.layer] >= best).sum()) for slot in net.weights}


@pytest.mark.parametrize("name", ["everywhere", "uniform", "erk"])
def test_a_layer_that_keeps_all_is_protected_from_every_sharing(name):
    _, pruned = cut(allocation=name, keep={"fc1": 0.3, "fc2": 0.3, "fc3": 1.0})
    assert pruned.asked["fc3"] == 1000
    assert pruned.asked["fc1"] + pruned.asked["fc2"] == round(0.3 * (19200 + 30000))


def test_like_takes_the_counts_of_another_criterion_and_not_its_places():
    like = ("like", {"criterion": "snip", "options": {"images": 30}})
    net, random = cut(allocation=like, criterion="random", keep=0.2)
    _, snip = cut(allocation="everywhere", criterion=("snip", {"images": 30}), keep=0.2)
    _, uniform = cut(allocation="everywhere", criterion="random", keep=0.2)
    assert random.asked == snip.asked != uniform.asked
    for slot in net.weights[:2]:
        share = snip.asked[slot.layer] / slot.size
        both = float((slot.of(random.mask) & slot.of(snip.mask)).sum()) / snip.asked[slot.layer]
        assert both == pytest.approx(share, abs=0.05), "random places meet by chance alone"


def test_like_once_is_one_ranking_of_the_whole_drawn_network_at_every_size():
    def asked(once, rounds):
        like = ("like", {"criterion": "snip", "options": {"images": 30}, "once": once})
        return run_cell(make_cell(allocation=like, criterion="random", keep=0.5, prune_when="before", rounds=rounds, steps=1),
                        tiny_images())[-1]["asked_by_layer"]

    snip = cut(allocation="everywhere", criterion=("snip", {"images": 30}), keep=0.125)[1].asked
    assert asked(True, 2) == snip != asked(False, 2)
    assert asked(True, 0) == asked(False, 0)


def test_like_with_an_unknown_or_unfit_criterion_is_one_clear_line():
    with pytest.raises(UserError, match=r'allocation: criterion = "snipp": no criterion of that name'):
        run_cell(make_cell(allocation=("like", {"criterion": "snipp"})), tiny_images())
    with pytest.raises(UserError, match='allocation: criterion = "unit_l2" scores units, and granularity = "weight"'):
        run_cell(make_cell(allocation=("like", {"criterion": "unit_l2"})), tiny_images())


@pytest.mark.parametrize("name", sorted(set(allocation.pieces) - {"uniform_plus"}))
def test_totals_are_exact_to_the_weight_round_after_round(name):
    options = {"criterion": "magnitude"} if name == "like" else {}
    records = run_cell(make_cell(allocation=(name, options), keep=0.37, rounds=3, steps=2), tiny_images())
    assert [record["kept"] for record in records] == [50200, *[round(50200 * 0.37**r) for r in (1, 2, 3)]]
    assert sum(records[2]["asked_by_layer"].values()) == records[2]["kept"]


def test_biases_are_shared_out_with_the_weights_of_their_layer():
    _, pruned = cut(prune_biases=True, keep=0.5, bias_init=("normal", {"std": 0.1}))
    assert pruned.asked == {"fc1": (19200 + 300) // 2, "fc2": (30000 + 100) // 2, "fc3": 505}


def test_a_network_without_its_first_layer_in_the_pool_has_no_first_layer_to_keep_whole():
    net, pruned = cut(allocation="uniform_plus", prune_layers=["fc2", "fc3"], keep=0.1)
    assert pruned.asked == {"fc2": 2900, "fc3": 200}
    assert bool(net.weights[0].of(pruned.mask).all())


def test_units_are_shared_too():
    net, pruned = cut(allocation="everywhere", criterion="unit_l2", granularity="unit", keep=0.5)
    assert sum(pruned.asked.values()) == 200
    assert Net is type(net)
    assert "fc3" not in pruned.asked


def test_like_prunes_in_as_many_parts_as_the_criterion_it_is_like():
    """Deep and narrow, where one pruning by synflow empties a layer and many do not."""
    model = ("mlp", {"hidden": [200, 20, 100]})
    total = round(0.005 * (64 * 200 + 200 * 20 + 2000 + 1000))
    asked = {}
    for n in (1, 100):
        like = cut(allocation=("like", {"criterion": "synflow", "options": {"iterations": n}}), keep=0.005, model=model)[1]
        asked[n] = cut(criterion=("synflow", {"iterations": n}), allocation="everywhere", keep=0.005, model=model)[1].asked
        assert like.asked == asked[n]
        assert sum(like.asked.values()) == total == 99
    assert asked[1] != asked[100]
    default = cut(allocation=("like", {"criterion": "synflow"}), keep=0.005, model=model)[1]
    assert default.asked == asked[100]
