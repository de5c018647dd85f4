"""Sparse modules compute what the dense ones do, are smaller, and say what they cannot do."""

import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.pieces.networks import MLP
from sweepstake.tickets.sparse.layers import SparseChain, SparseLinear
from sweepstake.tickets.sparse.sparsify import difference, sparsify, to_dense


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Its parameters drawn from a generator of their own."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=draw(seed))
    return module


def largest(module: nn.Module, kept: float) -> dict[str, Tensor]:
    """Of each matrix, the masks of its largest weights."""
    masks = {}
    for name, weight in module.named_parameters():
        if weight.dim() == 2:
            best = weight.detach().abs().flatten().topk(round(kept * weight.numel())).indices
            masks[name] = torch.zeros(weight.numel(), dtype=torch.bool).index_fill_(0, best, True).view_as(weight)
    return masks


def masked(module: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    dense = copy.deepcopy(module).eval()
    for name, mask in masks.items():
        dense.get_parameter(name).data.mul_(mask)
    return dense


LENET = filled(MLP([784, 300, 100, 10], nn.ReLU(), 0.5))
MASKS = largest(LENET, 0.8**15)
SPARSE = sparsify(LENET, MASKS, torch.randn(1, 784, generator=draw(1)), ways={})


@pytest.mark.parametrize("images", [0, 1, 2, 3, 15, 16, 17, 64, 100])
def test_a_chain_gives_the_dense_outputs_at_every_batch_size(images):
    x, dense = torch.randn(images, 1, 28, 28, generator=draw(2)), masked(LENET, MASKS)
    with torch.no_grad():
        assert isinstance(SPARSE.module, SparseChain)
        assert SPARSE.module(x).shape == (images, 10)
        assert difference(dense(x), SPARSE.module(x)) < 1e-5


def test_an_image_has_the_same_bits_alone_and_among_others():
    x = torch.randn(64, 784, generator=draw(3))
    assert torch.equal(SPARSE.module(x)[17:18], SPARSE.module(x[17:18]))


@pytest.mark.parametrize("ways", [
    {"1..5": "chain", "1": "ours", "3": "ours", "5": "whole"},
    {"1..5": "chain", "1": "whole", "3": "whole", "5": "whole"},
    {"1..5": "separate", "1": "csr", "3": "ours", "5": "dense"},
], ids=lambda ways: "-".join(ways.values()))
def test_every_way_gives_the_same_outputs_and_dense_layers_back(ways):
    net = filled(nn.Sequential(nn.Flatten(), nn.Linear(70, 37), nn.LeakyReLU(0.2), nn.Linear(37, 21), nn.ReLU(),
                               nn.Linear(21, 5)))
    masks = largest(net, 0.3)
    masks["1.weight"][3] = False
    made = sparsify(net, masks, [torch.randn(4, 7, 10, generator=draw(1))], ways=ways)
    assert made.ways == ways
    assert made.error < 1e-6
    x, dense = torch.randn(33, 7, 10, generator=draw(2)), masked(net, masks)
    back = made.to_dense()
    assert not any(isinstance(part, SparseLinear | SparseChain) for part in back.modules())
    with torch.no_grad():
        assert difference(dense(x), made.module(x)) < 1e-5
        assert difference(dense(x), back(x)) < 1e-5
    assert torch.equal(next(back.parameters()), dense.get_parameter("1.weight"))


def test_measured_choices_name_every_way_and_take_the_fastest():
    net = filled(nn.Sequential(nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 10)))
    made = sparsify(net, {"0.weight": largest(net, 0.02)["0.weight"]}, [torch.randn(1, 300), torch.randn(64, 300)])
    times = made.choices["0"].times
    assert list(made.choices) == ["0"]
    assert list(times) == [1, 64]
    assert {"dense", "ours", "csr"} >= set(times[64]) >= {"dense", "ours"}
    assert all(us > 0 for taken in times.values() for us in taken.values())
    means = {way: (times[1][way] * times[64][way]) ** 0.5 for way in times[1]}
    assert means[made.choices["0"].chosen] <= 1.05001 * min(means.values())
    assert set(made.times) == {1, 64}
    assert set(made.times[1]) == {"dense", "sparse"}


def test_only_what_is_in_a_sequential_and_pruned_is_fused():
    net = filled(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Dropout(),
                               nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)))
    masks = largest(net, 0.1)
    made = sparsify(net, masks, torch.randn(2, 1, 8, 8), ways={})
    assert [type(part).__name__ for part in made.module] == ["Conv2d", "ReLU", "SparseChain", "Tanh", "SparseLinear"]
    assert made.ways == {"3": "ours", "6": "ours", "3..6": "chain", "8": "ours"}
    assert sparsify(net, {}, torch.randn(2, 1, 8, 8), ways={}).ways == {}


def test_a_state_dict_is_18_times_smaller_and_loads_into_another_of_other_masks():
    kept = save(SPARSE.module.state_dict())
    assert len(save(LENET.state_dict())) / len(kept) > 17
    assert SPARSE.module.get_buffer("fc1.columns").dtype is torch.int16
    other = sparsify(filled(copy.deepcopy(LENET), 5), largest(filled(copy.deepcopy(LENET), 5), 0.1),
                     torch.randn(1, 784), ways={}).module
    x = torch.randn(5, 784, generator=draw(4))
    before = other(x)
    other.load_state_dict(load(kept))
    assert not torch.equal(other(x), before)
    assert torch.equal(other(x), SPARSE.module(x))


def test_a_copy_outlives_what_it_was_copied_from():
    x = torch.randn(5, 784, generator=draw(4))
    first = copy.deepcopy(SPARSE.module)
    said = first(x)
    second = copy.deepcopy(first)
    del first
    assert torch.equal(second(x), said)


def test_a_damaged_file_is_refused_before_the_kernel_reads_it():
    state = SPARSE.module.state_dict()
    broken = copy.deepcopy(SPARSE.module)
    broken.load_state_dict({**state, "fc1.columns": torch.full_like(state["fc1.columns"], 784)})
    with pytest.raises(UserError, match="784 wide"):
        broken(torch.randn(1, 784))
    broken.load_state_dict({**state, "fc1.counts": state["fc1.counts"] + 1})
    with pytest.raises(UserError, match="784 wide"):
        broken(torch.randn(1, 784))


def test_other_layouts_and_precisions_are_converted_and_shapes_are_kept():
    layer = filled(nn.Linear(20, 6))
    sparse = SparseLinear.of(layer, largest(layer, 0.5)["weight"])
    x = torch.randn(20, 3, 4, generator=draw()).permute(1, 2, 0)
    dense = sparse.to_dense()
    with torch.no_grad():
        assert difference(dense(x), sparse(x)) < 1e-5
        assert sparse(x.double()).dtype is torch.float64
        assert sparse(x[0, 0]).shape == (6,)
        assert torch.equal(sparse.weight, dense.weight)
    with pytest.raises(UserError, match="20 columns, and this one 19"):
        sparse(torch.randn(2, 19))
    with pytest.raises(UserError, match=r"torch\.int64"):
        sparse(torch.ones(2, 20, dtype=torch.int64))


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    layer = filled(nn.Linear(20, 6))
    assert sparsify(layer, largest(layer, 0.5), torch.randn(2, 20), threads=before + 1, ways={}).threads == before + 1
    assert torch.get_num_threads() == before


def test_training_and_gradients_are_refused():
    sparse = SparseLinear.of(filled(nn.Linear(20, 6)))
    with pytest.raises(UserError, match="is for inference"):
        sparse(torch.randn(2, 20, requires_grad=True))
    with torch.no_grad():
        sparse(torch.randn(2, 20, requires_grad=True))
    with pytest.raises(UserError, match="is for inference"):
        sparse.train()(torch.randn(2, 20))


def test_parts_that_are_shared_unreached_or_not_plain_stay_dense():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.tied, self.never = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.tied.weight = self.one.weight
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.last = nn.Linear(8, 2)

        def forward(self, x):
            return self.last(self.attention(self.tied(self.one(x)), x, x)[0])

    net = filled_all(Odd())
    made = sparsify(net, largest(net, 0.5), torch.randn(3, 5, 8), ways={})
    assert list(made.choices) == ["last"]
    assert made.error < 1e-5


def filled_all(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.3, generator=draw())
    return module


def test_an_encoder_layer_that_computes_all_at_once_stays_dense_and_right():
    net = filled_all(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    made = sparsify(net, largest(net, 0.3), torch.randn(2, 5, 16), ways={})
    assert made.choices == {}
    assert made.error == 0


def test_layers_in_a_module_of_ones_own_go_sparse_and_back_under_their_names():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(12, 40), nn.Linear(40, 12)

        def forward(self, x):
            return x + self.down(torch.tanh(self.up(x)))

    net = filled_all(nn.Sequential(Block(), Block()))
    masks = largest(net, 0.3)
    made = sparsify(net, masks, torch.randn(2, 5, 12), ways={})
    assert list(made.module.state_dict())[:4] == ["0.up.values", "0.up.columns", "0.up.counts", "0.up.bias"]
    dense = to_dense(made.module)
    assert all(torch.equal(mine, its) for mine, its in
               zip(dense.state_dict().values(), masked(net, masks).state_dict().values(), strict=True))


@pytest.mark.parametrize(("masks", "ways", "said"), [
    ({"fc9.weight": torch.ones(2, 2, dtype=torch.bool)}, {}, "fc9.weight is no parameter"),
    ({"fc1.weight": torch.ones(300, 784)}, {}, r"fc1.weight is torch.float32 \(300, 784\)"),
    (MASKS, {"fc7": "ours"}, "fc7: no layer that can be sparse"),
    (MASKS, {"fc1": "chain"}, 'fc1 = "chain". Say ours, dense, csr or whole'),
    (MASKS, {"fc1..fc3": "chain", "fc2": "csr"}, 'fc2 = "csr". Say ours or whole'),
])
def test_mistakes_are_said_in_a_line(masks, ways, said):
    with pytest.raises(UserError, match=said):
        sparsify(LENET, masks, torch.randn(1, 784), ways=ways)
