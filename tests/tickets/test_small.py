"""From a ticket to a small, fast, exported network: every step equal to the masked one."""

import pytest
import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.search.select import prune
from sweepstake.tickets.ticket import Ticket


def lenet() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 60), nn.ReLU(), nn.Linear(60, 30), nn.ReLU(), nn.Linear(30, 10))


@pytest.fixture(scope="module")
def made() -> tuple[nn.Module, Ticket, torch.Tensor]:
    model = lenet()
    ticket = prune(model, keep=0.04, allocation="per_layer").ticket()
    return model, ticket, torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_dead_units_go_and_outputs_stay(made):
    model, ticket, x = made
    thinned = ticket.thin(model, x)
    assert thinned.parameters_after < thinned.parameters_before == 64 * 60 + 60 + 60 * 30 + 30 + 310
    assert torch.allclose(thinned.module(x), model(x), atol=1e-5)


def test_the_small_module_is_equal_and_smaller_on_disk(made):
    model, ticket, x = made
    small = ticket.small(model, x)
    with torch.no_grad():
        assert torch.allclose(small.module(x), model(x), atol=1e-5)
    measured = ticket.measure(model, x, threads=1, seconds=0.02)
    ratios = {row["what"]: row["ratio"] for row in measured.rows}
    assert ratios["bytes on disk"] > 4
    assert ratios["parameters not 0"] == pytest.approx((5940 + 100) / sum(
        int((value != 0).sum()) for value in small.dense.parameters()))


def test_what_is_exported_is_the_thinned_network_and_says_that_it_is_dense(made, tmp_path):
    model, ticket, x = made
    done = ticket.export(model, tmp_path / "t.pt2", x, to="torch")
    assert "dense: single dead weights are stored as 0" in done.said
    assert torch.allclose(torch.export.load(tmp_path / "t.pt2").module()(x), model(x), atol=1e-5)


def test_a_model_that_does_not_hold_the_ticket_is_refused(made):
    _, ticket, x = made
    for step in (ticket.thin, ticket.small, ticket.measure):
        with pytest.raises(UserError, match=r"1\.weight of this Sequential has weights that are dead in the ticket. Put the ticket"):
            step(lenet(), x)
    with pytest.raises(UserError, match=r"ticket: 1\.weight is not in this module"):
        ticket.thin(nn.Sequential(nn.Linear(4, 4)), x)


def test_a_network_that_no_library_follows_goes_on_whole_and_says_so(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recurrent()
    ticket, x = prune(model, keep=0.2).ticket(), torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(1))
    ticket.masks["out.weight"][:, :4] = False
    model.out.weight.data[:, :4] = 0
    small = ticket.small(model, x)
    assert small.thinned is None
    assert small.said[0].startswith("not thinned: ")
    with torch.no_grad():
        assert torch.allclose(small.module(x), model(x), atol=1e-5)
