"""A batch is laid out as its images are normalised."""

import numpy as np
import pytest
import torch
from numba import njit

from sweepstake.engine.fast import FastRound, FastTrainer
from sweepstake.engine.images import prepare
from sweepstake.engine.kernels.batches import show
from sweepstake.engine.train import Start
from tests.helpers import make_cell, tiny_images


@njit
def shown_by_numba(layers, batches, first, images, act):
    show(layers[0], batches, first, images, act)


@pytest.mark.parametrize(("height", "width"), [(1, 3), (3, 7), (4, 4), (8, 8), (5, 29)])
@pytest.mark.parametrize("batch", [1, 60, 130])
def test_a_batch_is_laid_out_as_its_images_are_normalised(height, width, batch):
    cell = make_cell(batch_size=batch, steps=3)
    images = prepare(cell, tiny_images(150, 20, (1, height, width)))
    trainer = FastTrainer(cell, images)
    w = torch.ones_like(trainer.net.w)
    mask = torch.ones_like(w, dtype=torch.bool)
    mask[:trainer.net.weights[0].size].view(-1, height * width)[:, 1] = False  # An input that nobody hears.
    run = FastRound(trainer, cell, Start(w * mask, mask), 0)
    order, act, plan = run.batches.order, run.room.act, run.plan
    for first in (0, batch, 2 * batch):
        shown_by_numba(plan.layers, run.batches, first, batch, act)
        panel, inputs = plan.layers[0]["x_panel"], range(len(plan.inputs))
        shown = np.stack([act[u * 64 + i % 64 + i // 64 * panel] for u in inputs for i in range(batch)])
        chosen = images.train.x[order[first:first + batch].astype(np.int64)]
        wanted = images.batch(chosen, torch.float32).flatten(1).numpy()[:, plan.inputs].T
        assert 1 not in plan.inputs and len(plan.inputs) == height * width - 1
        wanted = wanted - plan.layout.darks[plan.layers[0]["dark"]:][:len(plan.inputs), None]
        np.testing.assert_allclose(shown.reshape(len(plan.inputs), batch), wanted, rtol=1e-5, atol=1e-6)
