"""What is written to memory is read from it again."""

import numpy as np
from numba import njit

from sweepstake.engine.kernels import memory


@njit
def stored_and_read(bytes_, out):
    memory.store_levels(out, 64, memory.widen(bytes_, 0, 64))
    memory.store(out, 0, memory.load_levels(out, 64))


def test_levels_are_kept_exactly():
    for first in range(0, 256, 64):
        levels, out = np.arange(first, first + 64).astype(np.uint8), np.full(100, 7, np.float32)
        stored_and_read(levels, out)
        assert (out[:64] == levels).all() and (out[96:] == 7).all()
