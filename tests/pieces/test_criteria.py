"""Criteria: literal tables, and SNIP, GraSP and SynFlow against numbers worked out by hand."""

from math import exp

import pytest
import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.engine.build import build_net, draw_init
from sweepstake.engine.examples import OfImages
from sweepstake.engine.images import Images, Split, prepare
from sweepstake.engine.masks import pruned_slots, ranked_together
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.prune import check_pruning, prune
from sweepstake.engine.scores import Scorer
from sweepstake.pieces import criterion
from sweepstake.pieces import model as models
from tests.helpers import make_cell, ref, run_cell, tiny_images

INIT, FINAL = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([-4.0, 2.0, 0.0, 0.5])
GRAD = torch.tensor([0.5, -1.0, 7.0, 2.0])


@pytest.mark.parametrize(("name", "options", "expected"), [
    ("magnitude", {}, [4, 2, 0, 0.5]),
    ("small_final", {}, [-4, -2, 0, -0.5]),
    ("large_init", {}, [1, 2, 3, 0.5]),
    ("movement", {}, [5, 4, 3, 0]),
    ("magnitude_increase", {}, [3, 0, -3, 0]),
    ("magnitude_increase", {"weight": 0.5}, [3.5, 1, -1.5, 0.25]),
    ("gradient_magnitude", {}, [0.5, 1, 7, 2]),
    ("snip", {}, [2, 2, 0, 1]),
    ("grasp", {}, [-2, -2, 0, 1]),
    ("synflow", {}, [2, 2, 0, 1]),
])
def test_weight_scores_are_their_formulas(name, options, expected):
    flow = GRAD.abs()
    offers = {"w_init": INIT, "w_final": FINAL, "grad": GRAD, "hessian_grad": GRAD, "flow_grad": flow}
    found = criterion.get(name)({k: (lambda v=v: v) for k, v in offers.items()}, criterion.resolve(name, options, "criterion"))
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "expected"), [("unit_l2", [5.0, 1.0]), ("unit_l1", [7.0, 1.0])])
def test_unit_scores_are_norms_of_incoming_weights(name, expected):
    w = torch.tensor([[3.0, -4.0], [0.0, 1.0]])
    assert criterion.get(name)({"w_final": lambda: w}, {}).tolist() == expected
    assert criterion.get(name)({"w_final": lambda: w.view(2, 2, 1, 1)}, {}).tolist() == expected


# A network small enough for paper: 2 inputs, 2 hidden ReLU units, 2 classes, no biases.
# h = relu([[1, -2], [3, 4]] x), logits = [[5, -6], [-7, 8]] h

BY_HAND = torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([[0.5, -0.6], [-0.7, 0.8]])


def by_hand(name, image=(1, 0), label=0, **changes):
    cell = make_cell(**{"model": ("mlp", {"hidden": [2]}), "criterion": (name, {}), "normalise": "none", "precision": "float64", **changes})
    x = torch.tensor([image], dtype=torch.uint8).view(1, 1, 1, 2)
    split = Split(x, torch.tensor([label]))
    zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    net = build_net(cell, (1, 1, 2), 2)
    w = torch.zeros_like(net.w)
    for slot, value in zip(net.weights, BY_HAND, strict=True):
        slot.of(w).copy_(value)
    return net, Scorer(net, cell, {"w_init": w, "w_start": w, "w_final": w}, torch.ones_like(w, dtype=torch.bool), 0,
                       OfImages(Images(split, None, split, zero, one, (1, 1, 2), 2)), name, cell.criterion.options)


def test_snip_on_a_two_layer_network_is_what_paper_and_pencil_say():
    net, scorer = by_hand("snip")
    # x = (1, 0): h = (1, 3); logits = (0.5 - 1.8, -0.7 + 2.4) = (-1.3, 1.7); p1 = 1 / (1 + e^-3); dL/dlogits = (-p1, p1) for label 0.
    p1 = 1 / (1 + exp(-3.0))
    fc2 = [[0.5 * 1 * p1, 0.6 * 3 * p1], [0.7 * 1 * p1, 0.8 * 3 * p1]]
    # dL/dh = p1 (-0.5 - 0.7, 0.6 + 0.8) = p1 (-1.2, 1.4); the second input is 0.
    fc1 = [[1 * 1.2 * p1, 0.0], [3 * 1.4 * p1, 0.0]]
    found = scorer.scores(net.weights)
    assert found[net.weights[0]].view(2, 2).tolist() == [pytest.approx(row) for row in fc1]
    assert found[net.weights[1]].view(2, 2).tolist() == [pytest.approx(row) for row in fc2]


def test_synflow_on_a_two_layer_network_is_what_paper_and_pencil_say():
    net, scorer = by_hand("synflow")
    # Flow through fc1[j, i] is |w1[j, i]| sum_k |w2[k, j]|: columns of fc2 sum to 1.2 and 1.4.
    # Flow through fc2[k, j] is |w2[k, j]| sum_i |w1[j, i]|: rows of fc1 sum to 3 and 7.
    found = scorer.scores(net.weights)
    assert found[net.weights[0]].tolist() == pytest.approx([1 * 1.2, 2 * 1.2, 3 * 1.4, 4 * 1.4])
    assert found[net.weights[1]].tolist() == pytest.approx([0.5 * 3, 0.6 * 7, 0.7 * 3, 0.8 * 7])
    # Conserved: as much flows into the hidden units as out of them (Tanaka et al. 2020, theorem 1).
    assert float(found[net.weights[0]].sum()) == pytest.approx(float(found[net.weights[1]].sum()))


def grasp_mask(module, x, y, dead, count, biases):
    """GraSP as its paper says it (Wang et al. 2020, eq. 8 and algorithm 1), on a plain module: the `count` of each prunable parameter that stay.

    g is the gradient of the loss, logits over 200, in the prunable parameters. Kept are those of largest theta * H g.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    theta = [p for layer in layers for p in (layer.weight, layer.bias if biases else None) if p is not None]
    with torch.no_grad():
        for p, gone in zip(theta, dead, strict=True):
            p[gone] = 0.0
    loss = nn.functional.cross_entropy(module.train()(x) / 200.0, y)
    g = torch.autograd.grad(loss, theta, create_graph=True)
    flow = sum((each * each.detach() * ~gone).sum() for each, gone in zip(g, dead, strict=True))
    score = [p * hg for p, hg in zip(theta, torch.autograd.grad(flow, theta), strict=True)]
    cut = torch.cat([s[~gone] for s, gone in zip(score, dead, strict=True)]).sort(descending=True).values[count - 1].detach()
    assert float(cut) > 0, "weights of units that never fire all score 0: the cut must not lie among them"
    return [(s >= cut) & ~gone for s, gone in zip(score, dead, strict=True)]


@pytest.mark.parametrize("dies", [0.0, 0.3])
@pytest.mark.parametrize(("model", "biases"), [
    (("mlp", {"hidden": [20, 15]}), False), (("mlp", {"hidden": [20, 15]}), True), (("mlp", {"hidden": [20], "norm": "batch"}), False),
    (("conv2", {"width": 0.1, "norm": "batch"}), False), (("lenet5", {}), False), (("resnet20", {"width": 0.125}), False)])
def test_grasp_keeps_what_the_papers_grasp_keeps(model, biases, dies):
    cell = make_cell(criterion=("grasp", {"images": 0}), model=model, bias_init=("normal", {"std": 0.3}), precision="float64", keep=0.1,
                     allocation="everywhere", prune_biases=biases, prune_when="before")
    images = prepare(cell, tiny_images(shape=(1, 28, 28) if model[0] == "lenet5" else (1, 8, 8)))
    net = build_net(cell, images.inputs, images.classes)
    w, mask = draw_init(net, cell, "init"), torch.ones(net.size, dtype=torch.bool)
    ranked = [each for slot in net.weights for each in ranked_together(net, cell, slot)]
    generator = torch.Generator().manual_seed(1)
    for slot in ranked:
        slot.of(mask).copy_(torch.rand(slot.shape, generator=generator) >= dies)
    module = build_net(cell, images.inputs, images.classes).module
    with torch.no_grad():
        for slot in net.slots:
            if slot.role != "statistic":
                module.get_parameter(slot.name).copy_(slot.of(w))
    count = round(0.1 * sum(slot.size for slot in ranked))
    theirs = grasp_mask(module, images.batch(images.train.x, torch.float64), images.train.y, [~slot.of(mask) for slot in ranked], count, biases)
    ours = prune(net, cell, {"w_init": w, "w_start": w, "w_final": w}, mask, 0, OfImages(images)).mask
    assert [int((slot.of(ours) != kept).sum()) for slot, kept in zip(ranked, theirs, strict=True)] == [0] * len(ranked)


def test_activation_mean_is_what_the_next_layer_sees():
    net, scorer = by_hand("activation_mean", granularity="unit")
    assert scorer.scores(net.weights[:1])[net.weights[0]].tolist() == [1.0, 3.0]
    net, scorer = by_hand("activation_mean", image=(0, 1), granularity="unit")
    assert scorer.scores(net.weights[:1])[net.weights[0]].tolist() == [0.0, 4.0]


def test_wanda_without_rows_is_the_weight_times_the_norm_of_what_it_multiplies():
    net, scorer = by_hand("wanda", criterion=("wanda", {"per_output": False}), image=(3, 4))
    # x = (3, 4): h = relu(3 - 8, 9 + 16) = (0, 25), so the norms are (3, 4) and (0, 25).
    found = scorer.scores(net.weights)
    assert found[net.weights[0]].tolist() == pytest.approx([1 * 3, 2 * 4, 3 * 3, 4 * 4])
    assert found[net.weights[1]].tolist() == pytest.approx([0.0, 0.6 * 25, 0.0, 0.8 * 25])


def test_wanda_takes_the_norm_over_all_images_not_the_mean_of_norms():
    cell = make_cell(criterion=("wanda", {"images": 0, "per_output": False}), normalise="none", precision="float64", model=("mlp", {"hidden": []}))
    net, scorer = scorer_of(cell, tiny_images())
    x = scorer.examples.images.train.x.flatten(1).double()
    slot = net.weights[0]
    assert torch.allclose(scorer.scores([slot])[slot].view(10, 64), slot.of(scorer.stations["w_final"]).abs() * (x**2).sum(0).sqrt())


def test_wanda_ranks_within_each_output_unit_as_published():
    """Three units of four inputs, whose norms are 1, 2, 8, 3: half of each row goes (Sun et al. 2024, algorithm 1)."""
    w = torch.tensor([[4.0, 0.0, 1.0, -1.0], [3.0, -2.0, -1.0, -3.0], [-3.0, 1.0, 0.0, 2.0]])
    norm = torch.tensor([1.0, 2.0, 8.0, 3.0]).expand(3, 4)
    score = criterion.get("wanda").function(w, norm, per_output=True)
    # Products: (4, 0, 8, 3), (3, 4, 8, 9), (3, 2, 0, 6).
    assert score.tolist() == [[-0.25, -0.75, 0.0, -0.5], [-0.75, -0.5, -0.25, 0.0], [-0.25, -0.5, -0.75, 0.0]]
    assert (score > -0.5).sum(1).tolist() == [2, 2, 2]
    plain = criterion.get("wanda").function(w, norm, per_output=False)
    assert (plain > plain.flatten().sort().values[5]).sum(1).tolist() != [2, 2, 2]


def test_wandas_equal_scores_have_equal_ranks_so_that_a_draw_breaks_them():
    score = criterion.get("wanda").function(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
    assert score.tolist() == [[-0.25, -0.25, -0.25, 0.0]]


@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_wanda_leaves_every_unit_the_same_share_round_after_round(keep):
    cell = make_cell(criterion=("wanda", {"images": 0}), model=("mlp", {"hidden": [12]}), normalise="none", keep=keep, rounds=2)
    net, scorer = scorer_of(cell, tiny_images())
    mask, w = torch.ones(net.size, dtype=torch.bool), scorer.stations["w_final"]
    for done in (0, 1):
        mask = prune(net, cell, {"w_init": w, "w_start": w, "w_final": w}, mask, done, scorer.examples).mask
        rows = net.weights[0].of(mask).sum(1)
        assert int(rows.max() - rows.min()) <= 1
        assert int(rows.sum()) == round(12 * 64 * keep ** (done + 1))


class Grouped(nn.Module):
    """A plain convolution and one of two groups."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc1 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, groups=2), nn.Linear(6, 10)

    def forward(self, x):
        return self.fc1(self.conv2(self.conv1(x).relu()).relu().mean((2, 3)))


def test_wanda_of_a_convolution_takes_each_channels_norm_over_images_and_places(monkeypatch):
    monkeypatch.setattr(models, "pieces", dict(models.pieces))

    def grouped():
        """A test's own."""
        return Grouped()

    models(grouped)
    cell = make_cell(model=ref("model", "grouped"), criterion=("wanda", {"images": 0, "per_output": False}), precision="float64",
                     bias_init=("normal", {"std": 0.1}), prune_biases=True)
    net, scorer = scorer_of(cell, tiny_images())
    module, w = Grouped().double(), scorer.stations["w_final"]
    torch.nn.utils.vector_to_parameters(torch.cat([slot.of(w).flatten() for slot in net.slots]), module.parameters())
    x = scorer.examples.images.batch(scorer.examples.images.train.x, torch.float64)
    h = module.conv1(x).relu()
    found = scorer.scores(net.weights)
    conv1, conv2 = net.weights[:2]
    assert torch.allclose(found[conv1][:36], (module.conv1.weight.abs() * (x**2).sum().sqrt()).flatten())
    norms = (h**2).sum((0, 2, 3)).sqrt()  # Units 0 to 2 read channels 0 and 1, units 3 to 5 channels 2 and 3.
    read = torch.stack([norms[:2]] * 3 + [norms[2:]] * 3)[:, :, None, None]
    assert torch.allclose(found[conv2][:108], (module.conv2.weight.abs() * read).flatten())
    # A bias multiplies a 1 at each of 64 images and 6 x 6 places.
    assert torch.allclose(found[conv2][108:], module.conv2.bias.abs() * (64 * 36) ** 0.5)


def test_wanda_sees_the_training_images_chosen_for_it_and_no_more():
    cell = make_cell(criterion=("wanda", {"images": 10, "per_output": False}), normalise="none", precision="float64", model=("mlp", {"hidden": []}))
    net, scorer = scorer_of(cell, tiny_images())
    slot = net.weights[0]
    norm = (scorer.chosen.x.flatten(1).double() ** 2).sum(0).sqrt()
    assert len(scorer.chosen.x) == 10
    assert torch.allclose(scorer.scores([slot])[slot].view(10, 64), slot.of(scorer.stations["w_final"]).abs() * norm)


def scorer_of(cell, data, mask=None, done=0, w=None):
    trainer = ReferenceTrainer(cell, prepare(cell, data))
    w = draw_init(trainer.net, cell, "init") if w is None else w
    mask = torch.ones_like(w, dtype=torch.bool) if mask is None else mask
    return trainer.net, Scorer(trainer.net, cell, {"w_init": w, "w_start": w, "w_final": w}, mask, done, trainer.examples,
                               cell.criterion.name, cell.criterion.options)


def test_the_gradient_is_autograds_own_at_the_weights_given_and_masked():
    cell, data = make_cell(criterion=("snip", {"images": 0}), model=("mlp", {"hidden": [12]})), tiny_images()
    net, _ = scorer_of(cell, data)
    w = torch.linspace(-0.5, 0.5, net.size)  # Nobody's init: a silent re-initialisation would be seen.
    mask = torch.arange(net.size) % 3 > 0
    net, scorer = scorer_of(cell, data, mask, w=w)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
    torch.nn.utils.vector_to_parameters(w * mask, module.parameters())
    x = scorer.examples.images.batch(scorer.examples.images.train.x, torch.float32)
    nn.functional.cross_entropy(module(x), scorer.examples.images.train.y).backward()
    theirs = torch.nn.utils.parameters_to_vector([p.grad for p in module.parameters()])
    assert torch.allclose(scorer.grad[:net.learnt], theirs, atol=1e-6)
    assert torch.equal(net.w, build_net(cell, (1, 8, 8), 10).w), "scoring wrote into the network"


@pytest.mark.parametrize("name", ["snip", "grasp", "gradient_magnitude"])
def test_scores_see_the_training_split_alone(name):
    cell = make_cell(criterion=(name, {"images": 0}), validation=16, normalise="unit")
    data = tiny_images()
    plain = scorer_of(cell, data)[1]
    other = tiny_images()
    other.test_x[:] = 255 - other.test_x
    net, blind = scorer_of(cell, other)
    held = prepare(cell, data).validation
    for slot in net.weights:
        assert torch.equal(plain.scores([slot])[slot], blind.scores([slot])[slot])
    assert blind.chosen.count == 48
    assert not (blind.chosen.x.flatten(1)[:, None] == held.x.flatten(1)[None]).all(2).any()


def test_images_are_drawn_by_the_seed_and_the_pruning():
    data = tiny_images()
    drawn = [scorer_of(make_cell(criterion=("snip", {"images": 10}), seed=seed), data, done=done)[1].chosen.x
             for seed, done in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert len(drawn[0]) == 10
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])


def test_a_gradient_in_parts_is_the_gradient(monkeypatch):
    cell, data = make_cell(criterion=("grasp", {"images": 0}), precision="float64"), tiny_images()
    _, whole = scorer_of(cell, data)
    hessian_grad = whole.hessian_grad
    monkeypatch.setattr(Scorer._parts, "__defaults__", (7,))
    _, parts = scorer_of(cell, data)
    assert [len(y) for _, y in parts._parts()] == [7] * 8 + [8]  # Never one image alone.
    assert torch.allclose(whole.grad, parts.grad, atol=1e-12)
    assert torch.allclose(hessian_grad, parts.hessian_grad, atol=1e-12)


# LFE

def test_lfe_finds_the_importance_that_made_the_losses():
    theta = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, 3.0])
    alive = torch.tensor([True, True, True, False, True, True])
    seen = []

    def loss_of(on):
        seen.append(on)
        return 7 - on.float() @ theta

    generator = torch.Generator().manual_seed(0)
    noise = lambda shape: torch.rand(shape, generator=generator) * 2 - 1  # noqa: E731
    found = criterion.get("lfe").function(alive, noise, loss_of, masks=200, share=0.3)
    assert found[alive].tolist() == pytest.approx(theta[alive].tolist(), abs=1e-4)
    assert seen[0].shape == (200, 6)
    assert not seen[0][:, 3].any(), "a dead unit was switched on"
    assert float(seen[0][:, alive].float().mean()) == pytest.approx(0.3, abs=0.05)


def test_lfe_with_fewer_masks_than_units_and_a_ridge_is_ridge_regression():
    generator = torch.Generator().manual_seed(0)
    kept = []

    def loss_of(on):
        kept.append(on.double())
        return on.float() @ torch.linspace(-1, 1, 40)

    found = criterion.get("lfe").function(torch.ones(40, dtype=torch.bool), lambda shape: torch.rand(shape, generator=generator) * 2 - 1,
                                          loss_of, masks=15, ridge=0.7, intercept=False)
    z, s = kept[0], -loss_of(kept[0]).double()
    assert torch.allclose(found, torch.linalg.solve(z.T @ z + 0.7 * torch.eye(40, dtype=torch.float64), z.T @ s), atol=1e-9)


@pytest.mark.parametrize(("activation", "prune_layers"), [
    ("relu", ["all"]), ("sigmoid", ["all"]), ("relu", ["fc2"]), ("relu", ["fc1", "fc3"])])
def test_an_ensembles_losses_are_those_mask_by_mask(activation, prune_layers):
    cell = make_cell(criterion=("lfe", {"images": 0}), granularity="unit", bias_init=("normal", {"std": 0.3}),
                     model=("mlp", {"hidden": [30, 20, 15], "activation": activation}), prune_layers=prune_layers)
    net, scorer = scorer_of(cell, tiny_images())
    slots = pruned_slots(net, cell)
    on = torch.rand((8, sum(slot.shape[0] for slot in slots)), generator=torch.Generator().manual_seed(0)) < 0.5
    on[0], on[1] = False, True
    fast = scorer.losses(slots, on)
    each = dict(zip(slots, on.split([slot.shape[0] for slot in slots], dim=1), strict=True))
    (x, y), = scorer._parts()
    assert torch.allclose(fast, scorer._losses_of_any(each, 8, x, y) / len(y), atol=1e-5)
    # All units on is the network itself.
    whole = nn.functional.cross_entropy(scorer._forward(scorer.stations["w_final"], x), y)
    assert float(fast[1]) == pytest.approx(float(whole), abs=1e-5)


def test_iterative_lfe_lowers_the_loss_of_an_untrained_network_and_random_does_not_as_much():
    data = tiny_images(train=400, test=200)
    records = {name: run_cell(make_cell(criterion=(name, options), granularity="unit", init=("normal", {"std": 0.5}), steps=0, rounds=5,
                                        remove={"fc1": 6, "fc2": 3}, model=("mlp", {"hidden": [40, 20]})), data)
               for name, options in (("lfe", {"masks": 200}), ("random", {}))}
    first, lfe, random = (records["lfe"][0], records["lfe"][-1], records["random"][-1])
    assert lfe["alive_units"] == {"fc1": 10, "fc2": 5, "fc3": 10}
    assert lfe["end"]["train"]["loss"] < 0.7 * first["end"]["train"]["loss"]
    assert lfe["end"]["test"]["loss"] < random["end"]["test"]["loss"]


def test_lfe_scored_once_is_one_shot_pruning_to_every_size():
    data, remove = tiny_images(train=400, test=200), {"fc1": 6, "fc2": 3}

    def ends(options: dict, taken: dict, rounds: int) -> list:
        cell = make_cell(criterion=("lfe", {"masks": 100, **options}), granularity="unit", init=("normal", {"std": 0.5}), steps=0,
                         rounds=rounds, remove=taken, model=("mlp", {"hidden": [40, 20]}))
        return [record["end"]["test"] for record in run_cell(cell, data)]

    once, iterative = ends({"once": True}, remove, 4), ends({}, remove, 4)
    assert once[:2] == iterative[:2] and once[2:] != iterative[2:]
    for times in (2, 4):
        assert once[times] == ends({}, {layer: count * times for layer, count in remove.items()}, 1)[1]


# Networks with more in them

class Normed(nn.Module):
    """A convolution and a batch norm, as a user might write it."""

    def __init__(self):
        super().__init__()
        self.chain = True
        self.conv1, self.norm1, self.fc1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4 * 64, 10)

    def forward(self, x):
        return self.fc1(self.norm1(self.conv1(x)).relu().flatten(1))


@pytest.fixture
def normed(monkeypatch):
    monkeypatch.setattr(models, "pieces", dict(models.pieces))

    def normed():
        """A test's own."""
        return Normed()

    models(normed)
    return ref("model", "normed")


@pytest.mark.parametrize(("name", "granularity"), [
    ("snip", "weight"), ("grasp", "weight"), ("synflow", "weight"), ("wanda", "weight"), ("activation_mean", "unit"), ("lfe", "unit")])
def test_scoring_a_batch_norm_changes_none_of_its_statistics(normed, name, granularity):
    options = {"masks": 30} if name == "lfe" else {"iterations": 3} if name == "synflow" else {}
    net, scorer = scorer_of(make_cell(model=normed, criterion=(name, options), granularity=granularity), tiny_images())
    before = {key: value.clone() for key, value in net.module.state_dict().items()}
    found = scorer.scores([net.weights[0]])[net.weights[0]]
    assert found.shape == ((4,) if granularity == "unit" else (36,))
    assert found.isfinite().all()
    assert float(found.std()) > 0
    assert all(torch.equal(before[key], value) for key, value in net.module.state_dict().items())


def test_before_there_are_statistics_a_batch_norm_takes_those_of_the_images(normed):
    net, scorer = scorer_of(make_cell(model=normed, criterion=("snip", {"images": 0})), tiny_images())
    module = Normed().train()
    torch.nn.utils.vector_to_parameters(scorer.stations["w_final"][:net.learnt], module.parameters())
    images = scorer.examples.images
    loss = nn.functional.cross_entropy(module(images.batch(images.train.x, torch.float32)), images.train.y)
    theirs = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
    assert torch.allclose(scorer.grad[:net.learnt], theirs, atol=1e-6)


# What goes wrong

def test_a_unit_criterion_for_weights_is_one_clear_line():
    cell = make_cell(criterion="unit_l2")
    with pytest.raises(UserError, match='criterion = "unit_l2" scores units, and granularity = "weight".\n  For weights: .*magnitude'):
        check_pruning(build_net(cell, (1, 8, 8), 10), cell)


def test_a_criterion_that_needs_images_it_cannot_have_says_so():
    cell = make_cell(criterion="snip")
    net = build_net(cell, (1, 8, 8), 10)
    scorer = Scorer(net, cell, {"w_final": net.w}, torch.ones_like(net.w, dtype=torch.bool), 0, None, "snip", cell.criterion.options)
    with pytest.raises(UserError, match='criterion = "snip": needs training data'):
        scorer.scores(net.weights)


def test_a_table_for_an_option_of_the_whole_network_is_refused():
    cell = make_cell(criterion=("snip", {"images": {"fc1": 10}}))
    with pytest.raises(UserError, match="criterion: images is one number for the network, not a table of layers"):
        run_cell(cell, tiny_images())


def test_a_criterions_table_reaches_the_layer_it_names():
    net, scorer = scorer_of(make_cell(criterion=("magnitude_increase", {"weight": {"fc1": 0.0}})), tiny_images())
    found = scorer.scores(net.weights)
    assert float(found[net.weights[0]].min()) > -1e-9, "fc1: |w| - 0 |w|"
    assert float(found[net.weights[1]].abs().max()) == 0.0, "fc2: |w| - |w|, the default"


def test_a_criterion_of_the_wrong_shape_or_not_finite_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(criterion, "pieces", dict(criterion.pieces))

    @criterion(granularity="weight")
    def flat(w_final):
        """Of the wrong shape."""
        return w_final.flatten()

    @criterion(granularity="weight")
    def nan(w_final):
        """Not a number."""
        return w_final / 0 * 0

    with pytest.raises(UserError, match=r'criterion = "flat": gave shape \(19200,\) for fc1.weight, expected \(300, 64\)'):
        run_cell(make_cell(criterion="flat"), tiny_images())
    with pytest.raises(UserError, match='criterion = "nan": a score of fc1 is not a finite number'):
        run_cell(make_cell(criterion="nan"), tiny_images())


NORMED = ("mlp", {"hidden": [12, 8], "norm": "batch"})


def test_synflow_on_a_batch_norm_reads_the_statistics_given_whatever_the_module_last_measured():
    cell = make_cell(criterion="synflow", model=NORMED)
    net, scorer = scorer_of(cell, tiny_images())
    w = scorer.stations["w_final"].clone()
    for slot in net.slots:
        if slot.role == "statistic":
            slot.of(w).fill_(-0.25 if slot.name.endswith("mean") else 4.0)

    def scores_of(w, left):
        net, scorer = scorer_of(cell, tiny_images(), w=w)
        net.w.copy_(left)
        return torch.cat(list(scorer.scores(net.weights).values()))

    given = scores_of(w, w)
    assert torch.equal(scores_of(w, torch.full_like(w, 3.0)), given)
    assert not torch.allclose(scores_of(scorer.stations["w_final"], w), given, rtol=0.1)
    # fc3's scores are |w3| times what flows in, relu(norm(norm...)): by hand, in double, a mean of -0.25 adds 0.25.
    at = {slot.name: slot.of(w).double() for slot in net.slots}
    h = torch.ones(64, dtype=torch.float64)
    for fc, norm in (("fc1", "fc1_norm"), ("fc2", "fc2_norm")):
        h = ((at[f"{fc}.weight"].abs().view(-1, len(h)) @ h + 0.25) / (4 + 1e-5) ** 0.5 * at[f"{norm}.weight"]).relu()
    expected = at["fc3.weight"].abs() * h
    assert torch.allclose(given[-80:].double(), expected.flatten(), rtol=1e-5)


@pytest.mark.parametrize("images", [501, 1001])
def test_a_last_part_of_one_image_is_scored_with_the_part_before_it(images):
    """A batch norm has no variance over one image: 501 would be 500 and 1."""
    changes = {"prune_when": "before", "rounds": 0, "keep": 0.5, "steps": 1, "model": NORMED}
    record, = run_cell(make_cell(criterion=("snip", {"images": images}), **changes), tiny_images(1100))
    assert record["kept_by_layer"] == {"fc1": 384, "fc2": 48, "fc3": 40}


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_nothing_is_dropped_out_while_scoring(name):
    plain, dropped = (scorer_of(make_cell(criterion=name, model=("mlp", {"hidden": [12], "dropout": p})), tiny_images()) for p in (0.0, 0.5))
    for net, _ in (plain, dropped):
        net.module.train()  # As a round leaves it.
    assert torch.equal(*(torch.cat(list(scorer.scores(net.weights).values())) for net, scorer in (plain, dropped)))
