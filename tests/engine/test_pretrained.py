"""A model that brings trained weights keeps them: round 0 begins there, a rewind goes back there, a fresh draw is the cell's init."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sweepstake.cli import main
from sweepstake.engine.build import draw_init
from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.side_by_side import run_stack
from sweepstake.engine.stacked import StackTrainer
from sweepstake.pieces import model
from sweepstake.read.ahead import heed
from sweepstake.run.check import check_study
from sweepstake.tickets.of_study import recipe
from tests.helpers import make_cell, tiny_images
from tests.small import small_study


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.LayerNorm(12), nn.ReLU(), nn.Linear(12, 10))


@model(pretrained=True)
def brings_weights(inputs, classes):
    """Weights as a training elsewhere left them: here, ramps (nobody, never)."""
    module = network()
    with torch.no_grad():
        for number, value in enumerate(module.parameters()):
            value.copy_(torch.linspace(-0.1, 0.1 + number, value.numel()).view(value.shape))
    return module


@model
def brings_none(inputs, classes):
    """The same network, to be drawn (nobody, never)."""
    return network()


CELL: dict[str, Any] = {"model": "brings_weights", "rounds": 2, "keep": 0.5, "steps": 5}


def begun(**changes: Any) -> tuple[ReferenceTrainer, list[Any]]:
    """Where each round of a cell begins."""
    cell = make_cell(**{**CELL, **changes})
    trainer = ReferenceTrainer(cell, prepare(cell, tiny_images()))
    state = first_state(trainer, cell)
    starts = [state.start]
    starts += [following.start for _, following in run_rounds(trainer, cell, state)][:-1]
    return trainer, starts


def brought(trainer: ReferenceTrainer) -> torch.Tensor:
    values = dict(brings_weights((1, 8, 8), 10).named_parameters())
    flat = torch.empty(trainer.net.size)
    for slot in trainer.net.slots:
        slot.of(flat).copy_(values[slot.name].detach())
    return flat


def test_round_0_begins_with_what_it_brings_and_a_rewind_goes_back_there():
    trainer, starts = begun()
    first = brought(trainer)
    assert [torch.equal(start.w, first * start.mask) for start in starts] == [True] * 3
    assert [int(start.mask.sum()) for start in starts] == [934, 490, 268]  # 46 biases, and norms of 24, always stay.


def test_a_fresh_draw_is_of_the_cells_init():
    trainer, starts = begun(reset="fresh")
    first, cell = brought(trainer), make_cell(**CELL, reset="fresh")
    assert torch.equal(starts[0].w, first)
    for round_, start in enumerate(starts[1:]):
        assert torch.equal(start.w, draw_init(trainer.net, cell, "redraw", round_) * start.mask)
        weight = trainer.net.weights[0]
        alive = weight.of(start.mask)
        assert not bool((weight.of(start.w) == weight.of(first))[alive].any())
        assert float(weight.of(start.w)[alive].std()) == pytest.approx((2 / 76) ** 0.5, rel=0.2)


def test_seed_and_init_change_nothing_of_it_and_another_model_is_drawn():
    (one, starts), (_, others) = begun(), begun(seed=1, init="zeros", bias_init="framework_default")
    assert torch.equal(starts[0].w, others[0].w)
    _, drawn = begun(model="brings_none")
    assert not torch.equal(drawn[0].w, brought(one))


def test_cells_side_by_side_begin_there_too():
    cells = [make_cell(**CELL, seed=seed) for seed in (0, 1)]
    stack = StackTrainer(cells, prepare(cells[0], tiny_images()))
    states = [first_state(stack, cell) for cell in cells]
    first = brought(ReferenceTrainer(cells[0], prepare(cells[0], tiny_images())))
    assert all(torch.equal(state.start.w, first) for state in states)
    for _, _, state in run_stack(stack, cells, states):
        assert state is not None
        if state.round <= 2:
            assert torch.equal(state.start.w, first * state.start.mask)


def test_a_recipe_draws_what_it_brings():
    module, tensors = recipe.draw(make_cell(**CELL))
    assert all(torch.equal(tensors[name], value) for name, value in brings_weights((1, 8, 8), 10).named_parameters())
    assert all(torch.equal(tensors[name], value) for name, value in module.named_parameters())


LINE = ('model = "brings_weights": begins from the trained weights it brings, so cells that differ in init alone train alike. '
        'Take the axis out, or say a reset that draws from the init, such as "fresh".')


@pytest.mark.parametrize(("changes", "lines"), [
    ({"init": ["zeros", "xavier_normal"]}, [LINE]), ({}, []), ({"init": ["zeros", "xavier_normal"], "reset": "fresh"}, []),
    ({"init": ["zeros", "xavier_normal"], "model": "brings_none"}, []),
    ({"case": [{"label": "a", "init": "zeros"}, {"label": "b", "lr": 0.1}]}, []),
    ({"bias_init": ["zeros", "framework_default"], "reset": ["rewind", "fresh"]}, [LINE])])
def test_an_axis_of_inits_that_nothing_draws_from_is_told(changes: dict[str, Any], lines: list[str]):
    study = small_study(**{"model": "brings_weights", **changes})
    assert heed(study, check_study(study, list(study.planned), None)) == lines


def test_show_tells_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text('model = "brings_weights"\ninit = ["zeros", "xavier_normal"]\nsteps = 2\nrounds = 1\n')
    assert main(["show", "s.toml"]) == 0
    assert LINE in capsys.readouterr().err.splitlines()
