"""The engine against the readable twin, which shares no code with it."""

import pytest
import torch

from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.pieces.datasets import digits
from tests import reference
from tests.helpers import make_cell


def both(steps: int, rounds: int, weight_decay: float):
    data = digits()
    cell = make_cell(steps=steps, epochs=None, rounds=rounds, keep=0.5, normalise="unit", batch_size=50, lr=0.0012, seed=7,
                     weight_decay=weight_decay, model=("mlp", {"hidden": [40, 20]}))
    trainer = ReferenceTrainer(cell, prepare(cell, data))
    ours, begun = [], first_state(trainer, cell)
    mask = begun.start.mask
    for record, state in run_rounds(trainer, cell, begun):
        ours.append((record, mask, trainer.net.w.clone()))
        mask = state.start.mask
    x, test_x = (torch.tensor(images).flatten(1).float() / 255 for images in (data.train_x, data.test_x))
    y, test_y = (torch.tensor(labels) for labels in (data.train_y, data.test_y))
    twin = reference.run(x, y, test_x, test_y, sizes=[64, 40, 20, 10], rounds=rounds, keep=0.5, steps=steps, batch=50, lr=0.0012,
                         seed=7, weight_decay=weight_decay)
    return ours, twin


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_engine_and_twin_find_the_same_masks_weights_and_accuracy(weight_decay):
    ours, twin = both(50, 4, weight_decay)

    for (record, mask, w), other in zip(ours, twin, strict=True):
        assert torch.equal(mask, other["mask"])
        assert (w - other["w_final"]).abs().max() < 1e-4 * w.abs().max()
        assert record["end"]["test"]["accuracy"] == other["test_accuracy"]


def test_twin_learns():
    _, twin = both(200, 1, 0.0)

    assert twin[0]["test_accuracy"] > 0.85
