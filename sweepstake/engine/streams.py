"""Random draws by (seed, purpose, where): the same numbers alone, among others, resumed, or on another worker.

Drawn with NumPy's Philox on the CPU: CUDA generators differ between devices, and torch's between vector widths.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, purpose: str, *where: object) -> np.random.Generator:
    """A generator of its own for every purpose: no draw can shift another."""
    key = hashlib.blake2b(repr((seed, purpose, *where)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def normal(shape: tuple[int, ...], seed: int, purpose: str, *where: object) -> Tensor:
    """N(0, 1)."""
    return torch.from_numpy(generator(seed, purpose, *where).standard_normal(shape, dtype=np.float32))


def uniform(shape: tuple[int, ...], seed: int, purpose: str, *where: object) -> Tensor:
    """U(-1, 1)."""
    return torch.from_numpy(generator(seed, purpose, *where).random(shape, dtype=np.float32) * 2 - 1)


def permutation(n: int, seed: int, purpose: str, *where: object) -> np.ndarray:
    return generator(seed, purpose, *where).permutation(n)


@contextmanager
def torch_draws(seed: int, purpose: str, *where: object) -> Iterator[None]:
    """Inside, what torch itself draws (dropout, a module's own weights) is this purpose's; its global generator stays where it was."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(int(generator(seed, purpose, *where).integers(2**62)))
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def batch_order(n: int, batch: int, steps: int, seed: int, round_: int) -> Tensor:
    """Which images each step sees, (steps, B): passes over the data, each in an order of its own, cut into full batches."""
    passes = -(-steps * batch // n)
    order = [permutation(n, seed, "order", round_, p).astype(np.int32) for p in range(passes)]
    flat = np.concatenate(order)[:steps * batch] if order else np.empty(0, np.int32)
    return torch.from_numpy(flat.reshape(steps, batch))
