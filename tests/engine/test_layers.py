"""Every weight tensor belongs to a layer that can be pruned, or is named as one that is not."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from sweepstake.base.errors import UserError
from sweepstake.engine.account import unpruned
from sweepstake.engine.build import draw_init
from sweepstake.engine.layers import parts_of
from sweepstake.engine.masks import prunable
from sweepstake.engine.measure import counts_of, outputs_a_unit
from sweepstake.engine.network import Net
from tests.helpers import make_cell


class Own(nn.Linear):
    pass


class Conv1D(nn.Module):
    """As transformers has it: a linear layer with its weight as (inputs, outputs)."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.weight, self.bias = nf, nn.Parameter(torch.ones(nx, nf)), nn.Parameter(torch.zeros(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


LAYERS = {
    "a turned linear layer": (Conv1D(3, 4), {"weight": "linear", "bias": "linear"}),
    "linear": (nn.Linear(4, 3), {"weight": "linear", "bias": "linear"}),
    "a subclass": (Own(4, 3), {"weight": "linear", "bias": "linear"}),
    "without bias": (nn.Linear(4, 3, bias=False), {"weight": "linear"}),
    "conv1d": (nn.Conv1d(2, 3, 3), {"weight": "conv", "bias": "conv"}),
    "conv2d": (nn.Conv2d(2, 3, 3), {"weight": "conv", "bias": "conv"}),
    "conv3d": (nn.Conv3d(2, 3, 3), {"weight": "conv", "bias": "conv"}),
    "transposed 1d": (nn.ConvTranspose1d(2, 3, 3), {"weight": "conv", "bias": "conv"}),
    "transposed 2d": (nn.ConvTranspose2d(2, 3, 3), {"weight": "conv", "bias": "conv"}),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 3), {"weight": "conv", "bias": "conv"}),
    "embedding": (nn.Embedding(5, 4), {"weight": "embedding"}),
    "bag": (nn.EmbeddingBag(5, 4), {"weight": "embedding"}),
    "attention": (nn.MultiheadAttention(4, 2), {"in_proj_weight": "attention", "in_proj_bias": "attention",
                                                "out_proj.weight": "attention", "out_proj.bias": "attention"}),
    "attention of three sizes": (nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False), {
        "q_proj_weight": "attention", "k_proj_weight": "attention", "v_proj_weight": "attention", "out_proj.weight": "attention"}),
    "a norm": (nn.BatchNorm2d(3), {}),
    "recurrent": (nn.LSTM(4, 3), {}),
    "bilinear": (nn.Bilinear(2, 3, 4), {}),
    "weight norm": (parametrizations.weight_norm(nn.Linear(4, 3)), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_parameter_belongs_to_a_layer_of_a_kind_or_to_none(name):
    module, kinds = LAYERS[name]
    assert {each: part.kind for each, part in parts_of(module).items()} == kinds


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False)
        self.lstm, self.scale = nn.LSTM(6, 6), nn.Parameter(torch.ones(6, 2))
        self.head.weight = self.embed.weight


def test_a_shared_weight_is_one_slot_that_answers_to_both_layers():
    net = Net.of(Tied(), (1,), 11)
    assert [(slot.name, slot.also) for slot in net.weights] == [("embed.weight", ("head.weight",)), ("body.weight", ())]
    assert prunable(net, make_cell(prune_layers=["head"])) == prunable(net, make_cell(prune_layers=["embed"])) == net.weights[:1]
    assert counts_of(net, torch.ones_like(net.w, dtype=torch.bool)).size == 11 * 6 + 36


def test_what_is_of_no_layer_is_named_with_its_module():
    net = Net.of(Tied(), (1,), 11)
    left = unpruned(net, make_cell(keep=0.5))
    assert {name: (each["size"], each["why"]) for name, each in left.items() if "vectors" not in name} == {
        "scale": (12, "Tied"), "lstm.weight_ih_l0": (144, "LSTM"), "lstm.weight_hh_l0": (144, "LSTM")}


def test_an_embedding_keeps_what_its_module_drew():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    net = Net.of(module, (1,), 3)
    net.as_built = 0, [(slot, slot.of(net.w).clone()) for slot in net.slots if slot.kind == "embedding"]
    w = draw_init(net, make_cell(seed=0, init="xavier_normal"), "init")
    embedding, linear = net.weights
    assert torch.equal(embedding.of(w), embedding.of(net.w))
    assert not torch.equal(linear.of(w), linear.of(net.w))


def test_a_network_begins_from_the_weights_that_it_brings():
    net = Net.of(nn.Sequential(nn.Linear(4, 3)), (4,), 3)
    net.given = net.w.clone()
    assert torch.equal(draw_init(net, make_cell(), "init"), net.w)
    assert not torch.equal(draw_init(net, make_cell(), "redraw", 1), net.w)


def test_a_layer_without_weights_to_prune_is_refused():
    with pytest.raises(UserError, match="LSTM has no layer that can be pruned"):
        Net.of(nn.LSTM(4, 3), (4,), 3)


def test_a_transposed_convolutions_units_are_what_it_gives():
    net = Net.of(nn.Sequential(nn.ConvTranspose2d(2, 5, 3), nn.Conv2d(5, 4, 1)), (2, 4, 4), 4)
    mask = torch.ones_like(net.w, dtype=torch.bool)
    net.weights[0].of(mask)[:, :3] = False
    counts = counts_of(net, mask)
    assert counts.units_by_layer == {"0": 5, "1": 4}
    assert counts.alive_units == {"0": 2, "1": 4}
    assert counts.degrees["0"]["in"]["zero"] == 3


def test_a_turned_linear_layers_units_are_its_columns():
    net = Net.of(nn.Sequential(Conv1D(5, 4), nn.Linear(5, 2)), (4,), 2)
    mask = torch.ones_like(net.w, dtype=torch.bool)
    net.weights[0].of(mask)[:, :3] = False
    assert counts_of(net, mask).alive_units == {"0": 2, "1": 2}
    assert outputs_a_unit(net) == {"0": 1, "1": 1}


def test_multiply_adds_count_each_weight_as_often_as_it_is_used():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)

    class Net_(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.conv, self.attn = nn.ConvTranspose2d(1, 3, 2, 2), nn.Conv2d(3, 4, 1), attention

        def forward(self, x):
            tokens = self.conv(self.up(x)).flatten(2).transpose(1, 2)
            return self.attn(tokens, tokens, tokens, need_weights=False)[0].mean(1)

    net = Net.of(Net_(), (1, 3, 3), 4)
    assert outputs_a_unit(net) == {"up": 9, "conv": 36, "attn.in_proj": 36, "attn.out_proj": 36}
