"""What of a bfloat16 step needs no AMX: it is plain vectors."""

import numpy as np
import pytest
import torch

from sweepstake.engine import streams
from sweepstake.engine.kernels import bfloat16


@pytest.mark.parametrize(("inputs", "batch"), [(784, 60), (21, 60), (16, 1), (35, 130)])
def test_a_bfloat16_batch_is_laid_out_in_pairs_of_inputs_and_pairs_of_images(inputs, batch):
    rng, room, width = np.random.default_rng(2), -(-batch // 64) * 64, -(-inputs // 16) * 16
    x = np.zeros((200, width), np.uint8)
    x[:, :inputs] = rng.integers(0, 256, (200, inputs))
    shift, unit = (np.pad(rng.uniform(low, 2, inputs).astype(np.float32), (0, width - inputs)) for low in (0, 1))
    chosen, following = (rng.integers(0, 200, batch).astype(np.int32) for _ in range(2))
    by_input, by_image = (np.zeros(size, np.uint16) for size in (-(-inputs // 32) * 32 * room + 64, room * inputs + 64))
    rows, block = np.zeros(64, np.int64), np.zeros(1024, np.uint8)
    bfloat16.lay_out(chosen, following, x.ravel(), shift, unit, inputs, room, rows, block, by_input, by_image)
    batched = torch.from_numpy((x[chosen].astype(np.float32) - shift) * unit).bfloat16()
    wanted = batched.view(torch.uint16).numpy()[:, :inputs]
    pairs = by_image[:room * inputs].reshape(room // 2, inputs, 2)
    assert (pairs.transpose(0, 2, 1).reshape(room, inputs)[:batch] == wanted).all()
    pairs = by_input[:(inputs + 1) // 2 * 2 * room].reshape(-1, room, 2)
    assert (pairs.transpose(1, 0, 2).reshape(room, -1)[:batch, :inputs] == wanted).all()


@pytest.mark.parametrize(("slope", "lowest"), [(0.0, 0), (0.5, -np.inf)])
def test_a_bfloat16_unit_at_minus_infinity_is_activated_as_torchs(slope, lowest):
    z = np.array([-np.inf, -2, 3, np.nan] * 16, np.float32)
    act, gain = (z.view(np.uint32) >> 16).astype(np.uint16), np.zeros((1, 64), np.float32)
    bias, by_unit = np.zeros(1, np.float32), np.zeros(128, np.uint16)
    bfloat16.activate(act, gain, bias, np.float32(slope), np.uint64(0), streams.dropout_below(0.0), by_unit)
    after = (act.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(after, [lowest, -2 * slope, 3, np.nan] * 16)
    assert (gain[0] == [slope, slope, 1, slope] * 16).all()
