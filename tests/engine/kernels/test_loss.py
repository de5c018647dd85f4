"""Softmax and cross-entropy are those of numpy and torch."""

import numpy as np
import pytest
import torch
from numba import njit

from sweepstake.engine.kernels.loss import cross_entropy, exp
from sweepstake.engine.kernels.memory import load, store
from sweepstake.engine.kernels.records import LAYER


@njit
def exps(x, out):
    for i in range(0, len(x), 16):
        store(out, i, exp(load(x, i, 16)))


def test_exp_is_right_to_about_a_unit_in_the_last_place():
    x = np.append(-np.linspace(0, 87, 2**16 - 16), [0, -1e-30, -87, *[-200, -np.inf, np.nan] * 4, 0]).astype(np.float32)
    out = np.zeros_like(x)
    exps(x, out)
    exact = np.exp(np.maximum(x.astype(np.float64), -87))
    assert np.nanmax(abs(out - exact) / exact) < 2**-23
    assert (np.isnan(out) == np.isnan(x)).all() and np.isnan(out).sum() == 4
    assert out[-16] == out[-1] == 1


@pytest.mark.parametrize("batch", [1, 15, 64, 70])
def test_cross_entropy_and_its_gradient_are_torchs(batch):
    draw, layer = np.random.default_rng(0), np.zeros(1, LAYER)
    layer["rows"], layer["z_panel"] = 10, 10 * 64
    z, labels = draw.normal(0, 20, (2, 10, 64)).astype(np.float32), draw.integers(0, 10, 200)
    chosen, delta = draw.integers(0, 200, 300).astype(np.int32), np.full(2 * 640, 9, np.float32)
    loss = sum(losses(layer, panel, batch, labels, chosen, 5, z.ravel(), delta) for panel in range((batch + 63) // 64))
    images = torch.from_numpy(z.transpose(0, 2, 1).reshape(128, 10)[:batch].copy()).double().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(images, torch.from_numpy(labels[chosen[5:5 + batch]]))
    wanted.backward()
    assert loss / batch == pytest.approx(wanted.item(), rel=1e-5)
    d = delta.reshape(2, 10, 64).transpose(0, 2, 1).reshape(128, 10)
    np.testing.assert_allclose(d[:batch], images.grad, atol=3e-7)
    assert (d[batch:(batch + 63) // 64 * 64] == 0).all()
    z[0, 3, 0] = np.nan
    assert np.isnan(losses(layer, 0, batch, labels, chosen, 5, z.ravel(), delta))


@njit
def losses(layers, panel, images, labels, chosen, first, act, delta):
    return cross_entropy(layers[0], panel, images, labels, chosen, first, act, delta)
