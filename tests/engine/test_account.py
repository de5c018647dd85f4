"""Everything is counted: what is pruned, what is not and why, and what each round will keep, before anything runs."""

import pytest
import torch
from torch import nn

from sweepstake.engine.account import VECTORS, kept_ahead, unpruned
from sweepstake.engine.build import build_net
from sweepstake.pieces import networks
from tests.helpers import make_cell, run_cell, tiny_images


class Scaled(nn.Linear):
    """A subclass of a layer, pruned as its base is."""


class Attentive(nn.Module):
    """What a plug-in may bring beside linear layers."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Linear(8, 16), nn.Parameter(torch.zeros(8, 16))
        self.attn, self.norm = nn.MultiheadAttention(16, 2, batch_first=True), nn.LayerNorm(16)
        self.mix, self.out = Scaled(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.embed(x.view(-1, 8, 8)) + self.place
        return self.out(self.mix(self.norm(self.attn(x, x, x, need_weights=False)[0])).mean(1))


@pytest.fixture
def attentive(monkeypatch):
    monkeypatch.setattr(networks, "mlp", lambda *_: Attentive())


def of(size, why, counted=True):
    return {"size": size, "why": why, "counted": counted}


def test_every_tensor_that_is_not_pruned_is_named_with_its_size_and_why(attentive):
    cell = make_cell(keep=0.5)
    net = build_net(cell, (1, 8, 8), 10)
    assert unpruned(net, cell) == {"place": of(128, "Attentive", False), VECTORS: of(16 + 48 + 16 + 32 + 16 + 10, "", False)}
    pruned = {"embed.weight": 128, "attn.in_proj_weight": 768, "attn.out_proj.weight": 256, "mix.weight": 256, "out.weight": 160}
    assert sum(pruned.values()) + sum(each["size"] for each in unpruned(net, cell).values()) == net.learnt


def test_attention_is_a_kind_of_layer_with_two_names(attentive):
    cell = make_cell(keep={"attention": 0.5})
    net = build_net(cell, (1, 8, 8), 10)
    assert [slot.layer for slot in net.weights if slot.kind == "attention"] == ["attn.in_proj", "attn.out_proj"]
    assert unpruned(net, cell)["mix.weight"] == of(256, "keeps all")
    only = make_cell(prune_layers=["attn.in_proj"])
    assert unpruned(net, only)["attn.out_proj.weight"] == of(256, "not in prune_layers")


def test_attention_has_no_units_to_prune(attentive):
    cell = make_cell(granularity="unit", criterion="unit_l2")
    assert unpruned(build_net(cell, (1, 8, 8), 10), cell)["attn.in_proj_weight"] == of(768, "attention without units")


MLP = {"hidden": [20, 12]}


@pytest.mark.parametrize(("changes", "layers"), [
    ({}, {}),
    ({"prune_layers": ["fc2"]}, {"fc1.weight": of(1280, "not in prune_layers"), "fc3.weight": of(120, "not in prune_layers")}),
    ({"keep": {"fc1": 0.5}}, {"fc2.weight": of(240, "keeps all"), "fc3.weight": of(120, "keeps all")}),
    ({"output_keep": 1.0}, {"fc3.weight": of(120, "keeps all")}),
    ({"remove": {"fc1": 100, "fc3": 9}}, {"fc2.weight": of(240, "not in remove")}),
    ({"granularity": "unit", "criterion": "unit_l2"}, {"fc3.weight": of(120, "its units are classes")}),
    ({"control": "transplant", "donor": {"prune_layers": ["linear"], "output_keep": 1.0}}, {"fc3.weight": of(120, "keeps all")}),
])
def test_a_layer_that_a_key_leaves_out_is_named_with_the_key(changes, layers):
    cell = make_cell(model=("mlp", MLP), **changes)
    assert unpruned(build_net(cell, (1, 8, 8), 10), cell) == {**layers, VECTORS: of(42, "", False)}


def test_biases_that_are_pruned_are_not_among_the_unpruned():
    cell = make_cell(model=("mlp", MLP), prune_biases=True, prune_layers=["fc1"])
    assert unpruned(build_net(cell, (1, 8, 8), 10), cell)[VECTORS]["size"] == 22


def test_a_record_carries_the_account(attentive):
    cell = make_cell(steps=2, rounds=1)
    records = run_cell(cell, tiny_images())
    assert [record["unpruned"] for record in records] == [unpruned(build_net(cell, (1, 8, 8), 10), cell)] * 2
    assert [record["kept"] for record in records] == [1568, 1254]
    assert [record["numerics"] for record in records] == ["reference 1 every layer"] * 2


CONV = ("conv2", {"width": 0.1, "norm": "batch"})


@pytest.mark.parametrize("changes", [
    {}, {"keep": 0.31, "output_keep": 0.7}, {"keep": {"fc1": 0.4, "linear": 0.9}, "rounds": 4}, {"remove": {"fc1": 321, "fc2": 7}},
    {"prune_when": "before"}, {"prune_when": "both", "rounds": 0}, {"allocation": "everywhere"}, {"allocation": "erk", "keep": 0.3},
    {"allocation": "uniform_plus", "keep": 0.97}, {"prune_layers": ["fc2"]}, {"criterion": ("snip", {"iterations": 3}), "keep": 0.37},
    {"control": "shuffle"}, {"control": "transplant", "donor": {"keep": 0.6, "rounds": 5}, "keep": 0.9},
    {"control": "transplant", "donor": {"prune_when": "before"}}, {"granularity": "unit", "criterion": "unit_l2", "keep": 0.6},
    {"granularity": "unit", "criterion": "random", "remove": {"fc1": 3, "fc2": 2}},
    {"granularity": "unit", "criterion": "random", "allocation": "uniform", "control": "shuffle"},
    {"model": CONV, "keep": {"conv": 0.7}}, {"model": CONV, "granularity": "unit", "criterion": "unit_l1", "keep": 0.5},
    {"model": ("resnet20", {"width": 0.125}), "granularity": "unit", "criterion": "unit_l1", "rounds": 1},
])
def test_what_is_known_ahead_is_what_the_rounds_keep(changes):
    cell = make_cell(**{"model": ("mlp", MLP), "steps": 1, "rounds": 3, **changes})
    records = run_cell(cell, tiny_images())
    assert kept_ahead(build_net(cell, (1, 8, 8), 10), cell) == [record["kept_fraction"] for record in records]


@pytest.mark.parametrize("changes", [{"prune_biases": True}, {"granularity": "unit", "criterion": "unit_l2", "allocation": "everywhere"}])
def test_what_hangs_on_scores_is_not_known_ahead(changes):
    cell = make_cell(model=("mlp", MLP), **changes)
    assert kept_ahead(build_net(cell, (1, 8, 8), 10), cell) is None
