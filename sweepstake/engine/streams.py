"""Random draws by (seed, purpose, where): a cell draws the same alone, among others, resumed, on another worker.

Drawn with NumPy's Philox on the CPU: CUDA generators differ between devices, and torch's between vector widths.
"""

import hashlib
from collections.abc import Callable, Iterator
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
    """Inside, torch's own draws (say a module's weights) come from this purpose. Its generator does not move."""
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(int(generator(seed, purpose, *where).integers(2**62)))
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def batch_order(n: int, batch: int, steps: int, seed: int, round_: int) -> Tensor:
    """The images of each step, (steps, B): passes over the data, each in its own order, cut into full batches."""
    passes = -(-steps * batch // n)
    order = [permutation(n, seed, "order", round_, p).astype(np.int32) for p in range(passes)]
    flat = np.concatenate(order)[:steps * batch] if order else np.empty(0, np.int32)
    return torch.from_numpy(flat.reshape(steps, batch))


def dropout(seed: int, round_: int, module: int) -> Callable[[tuple[int, ...], float], Tensor]:
    """keeps(shape, p) of a dropout module: which elements it keeps, with a new draw at each call of a round."""
    keys = generator(seed, "dropout", round_, module)
    return lambda shape, p: dropout_keeps(shape, int(keys.integers(2**64, dtype=np.uint64)), p)


def dropout_keys(count: int, seed: int, round_: int, module: int) -> np.ndarray:
    """The 64-bit keys of a dropout module's calls in a round, all at once."""
    return generator(seed, "dropout", round_, module).integers(2**64, size=count, dtype=np.uint64)


def dropout_below(p: float) -> int:
    """A draw of 32 bits below this keeps its unit."""
    return round((1 - p) * 2**32)


def dropout_keeps(shape: tuple[int, ...], key: int, p: float) -> Tensor:
    """The elements dropout keeps: those i where mixed(mixed(i ^ low) + high) < (1 - p) 2^32, `key` being (high, low).

    A draw depends on i alone and not on a sequence, so that a trainer draws only for the units that it computes.
    """
    draw = np.arange(np.prod(shape), dtype=np.uint32)
    draw = _mixed(_mixed(draw ^ np.uint32(key & 0xFFFFFFFF)) + np.uint32(key >> 32))
    return torch.from_numpy((draw < dropout_below(p)).reshape(shape))


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 32 bits with no pattern left (lowbias32, Wellons 2018)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
