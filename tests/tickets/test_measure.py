"""What is measured of a ticket is what it has and does, and nothing is called faster that is not."""

from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sweepstake.base.errors import UserError
from sweepstake.tickets.exported.example import Inputs
from sweepstake.tickets.measured import measure as measuring
from sweepstake.tickets.measured.counting import count
from sweepstake.tickets.measured.measure import Times, measure
from sweepstake.tickets.names import tensors_by_name
from sweepstake.tickets.ticket import Ticket


def mlp(*sizes: int) -> nn.Sequential:
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def thinned(module: nn.Module, kept: int, of: int) -> nn.Module:
    """Of every matrix, `kept` of every `of` weights stay; biases are 1."""
    copy = deepcopy(module)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.fill_(1)
            if parameter.dim() > 1:
                parameter.view(-1)[torch.arange(parameter.numel()) % of >= kept] = 0
    return copy


class Stored(nn.Module):
    """A sparse layer that keeps its alive weights in a buffer."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.shape = linear.weight.shape
        self.register_buffer("places", linear.weight.detach().flatten().nonzero()[:, 0].int())
        self.register_buffer("values", linear.weight.detach().flatten()[self.places.long()])
        self.register_buffer("bias", linear.bias.detach().clone())

    def to_dense(self) -> nn.Linear:
        linear = nn.Linear(self.shape[1], self.shape[0])
        with torch.no_grad():
            linear.weight.zero_().view(-1)[self.places.long()] = self.values
            linear.bias.copy_(self.bias)
        return linear

    def forward(self, x: Tensor) -> Tensor:
        return self.to_dense()(x)


def inputs(*shape: int) -> Inputs:
    return Inputs.of(torch.randn(shape))


def test_weights_bytes_and_multiply_adds_are_counted():
    module = thinned(mlp(784, 300, 100, 10), 1, 5)
    counts = count(module, inputs(1, 784))
    assert (counts.parameters, counts.not_zero) == (266_610, 53_240 + 410)
    assert (counts.computed, counts.useful) == (266_200, 53_240)
    assert 266_610 * 4 < counts.bytes < 266_610 * 4 + 1000
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_convolutions_weight_counts_at_every_place():
    module = thinned(nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)), 1, 4)
    counts = count(module, inputs(1, 2, 8, 8))
    assert counts.computed == 8 * 2 * 9 * 36 + 2880
    assert counts.useful == 8 * 2 * 9 // 4 * 36 + 2880 // 4


@pytest.mark.parametrize("fused", [True, False])
def test_the_multiply_adds_of_attention_are_those_that_pytorch_counts_unfused(fused: bool):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0).eval()
    layer.requires_grad_(not fused)  # Without gradients PyTorch fuses the whole layer, and counts none of it.
    x = torch.randn(2, 5, 16)
    counts = count(layer, Inputs.of(x))
    projections, attention, rest = 2 * 5 * 16 * 16 * 4, 2 * 5 * 5 * 16 * 2, 2 * 5 * 16 * 32 * 2
    assert counts.computed == counts.useful == projections + attention + rest
    half = count(thinned(layer, 1, 2), Inputs.of(x))
    assert half.useful == (projections + rest) // 2 + attention
    with FlopCounterMode(display=False) as theirs, sdpa_kernel(SDPBackend.MATH):
        layer.requires_grad_()(x)
    assert theirs.get_total_flops() == 2 * counts.computed


def test_a_sparse_layer_computes_its_alive_weights_alone_and_a_tied_weight_twice():
    dense = thinned(mlp(40, 20, 10), 1, 5)
    sparse = nn.Sequential(Stored(dense[0]), nn.ReLU(), dense[2])
    counts = count(sparse, inputs(1, 40))
    assert (counts.computed, counts.useful) == (160 + 200, 160 + 40)
    assert (counts.parameters, counts.not_zero) == (1030, 160 + 40 + 30)
    assert counts.bytes < 160 * 8 + 230 * 4 + 1000
    tied = nn.Sequential(dense[0], nn.Linear(20, 40), dense[0])
    assert count(tied, inputs(1, 40)).computed == 2400


@pytest.fixture(scope="module")
def smaller() -> measuring.Measured:
    return measure(mlp(784, 1000, 1000, 10), mlp(784, 10, 10, 10), torch.randn(3, 784), threads=1, seconds=0.1)


def test_a_hundredth_of_the_network_is_faster_and_the_table_says_on_what(smaller: measuring.Measured):
    assert [row["what"] for row in smaller.rows] == [
        "parameters", "parameters not 0", "bytes on disk", "multiply-adds computed", "multiply-adds not of 0",
        "time, batch 1", "time, batch 64"]
    last = smaller.rows[-1]
    low, high = last["quartiles"]["ratio"]
    assert 1 < low <= last["ratio"] <= high
    assert smaller.said[1].startswith(f"{last['ratio']:.2g} times as fast at batch 64 on one thread of ")
    shown = str(smaller)
    assert shown.endswith(smaller.said[-1])
    assert "1,796,010" in shown and max(map(len, shown.splitlines()[:8])) <= 80


def test_zeros_alone_are_not_called_faster(monkeypatch: pytest.MonkeyPatch):
    # The times of two equal modules are not ours to foresee: those of a quiet machine are given.
    monkeypatch.setattr(measuring, "_timed", lambda *given: Times(given[2].batch, [1e-4] * 5, [1e-4] * 5))
    module = mlp(784, 300, 10)
    said = measure(module, thinned(module, 1, 5), torch.randn(1, 784)).said
    assert said[0].startswith("no faster at batch 1 on ")
    assert said[2] == "20.1 % of the dense parameters are not 0, and zeros in dense layers are computed like any weight."
    said = measure(module, thinned(module, 1, 5), torch.randn(1, 784), pays_below=0.12).said
    assert said[2].endswith("sparse layers pay below 12 % kept on this machine.")


@pytest.mark.parametrize(("ticket", "said"), [
    ([5.0, 5.1, 4.9, 5.0, 5.0], "2 times as fast at batch 1 on here"),
    ([20.0, 20.0, 21.0, 19.0, 20.0], "slower at batch 1 on here (0.50 times as fast"),
    ([9.7, 9.7, 9.7, 9.7, 9.7], "no faster at batch 1 on here (1.03 times as fast"),
    ([5.0, 5.0, 5.0, 20.0, 20.0], "no faster at batch 1 on here (2.00 times as fast"),
])
def test_faster_is_said_only_where_most_turns_say_so(ticket: list[float], said: str):
    times = Times(1, [10.0] * 5, ticket)
    assert measuring._sentence(times, "here").startswith(said)


def test_threads_and_modes_are_as_before_and_examples_may_be_tuples_and_dicts():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
            assert (len(x), len(y)) in [(1, 1), (2, 2)]
            assert not self.training
            assert not torch.is_grad_enabled() or x.shape[0] == 1
            return self.layer(x) * scale + y

    module, x, before = Two(), torch.randn(3, 4), torch.get_num_threads()
    module.layer.eval()
    for example in ((x, x), {"x": x, "y": x, "scale": 2.0}):
        done = measure(module, module, example, batches=(1, 2), threads=before + 1, seconds=0.01)
        assert f"on {before + 1} threads of" in done.said[0]
        assert (module.training, module.layer.training, torch.get_num_threads()) == (True, False, before)
        assert [row["ratio"] for row in done.rows[:5]] == [1] * 5


@pytest.mark.parametrize(("options", "said"), [
    ({"batches": ()}, "are more than 0"), ({"threads": -1}, "are more than 0"),
    ({"example": torch.randn(1, 5)}, r"the dense module fails on the example \(RuntimeError: "),
    ({"ticket": nn.Linear(3, 2)}, "the ticket's module fails on the example")])
def test_a_mistake_is_told_in_one_line(options: dict[str, Any], said: str):
    given = {"dense": nn.Linear(4, 2), "ticket": nn.Linear(4, 2), "example": torch.randn(1, 4), **options}
    with pytest.raises(UserError, match=said) as refusal:
        measure(**given)
    assert "\n" not in str(refusal.value)


def test_a_ticket_is_measured_beside_the_module_it_is_of():
    module = mlp(20, 10, 5)
    masks = {name: torch.arange(value.numel()).view(value.shape) % 2 == 0 for name, value in module.named_parameters() if value.dim() > 1}
    values = {name: value.detach().clone() for name, value in tensors_by_name(module).items()}
    for name, mask in masks.items():
        values[name][~mask] = 0
    ticket = Ticket(masks, values)
    done = ticket.measure(ticket.apply(module), torch.randn(2, 20), threads=1, seconds=0.01)
    dense, own = done.rows[4]["dense"], done.rows[4]["ticket"]
    assert dense == 250 and 0 < own <= 125
