"""Masks as bits and weights without their dead ones, and back to the bit.

A mask is packed eight weights a byte, the first in the highest bit, and compressed by zlib where that is shorter. A
masked tensor is its alive values in a row, or itself where a dead value is not 0.
"""

import zlib
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor


def pack_mask(mask: Tensor) -> Tensor:
    bits = np.packbits(mask.bool().cpu().numpy()).tobytes()
    return torch.from_numpy(np.frombuffer(min(bits, zlib.compress(bits, 9), key=len), np.uint8).copy())


def unpack_mask(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask of this shape; ValueError where there are more bits or fewer."""
    size = int(np.prod(shape, dtype=np.int64))
    length, bits = -(-size // 8), packed.numpy().tobytes()
    if len(bits) != length:
        # A file may claim anything: never more is decompressed than the mask has.
        bits = zlib.decompressobj().decompress(bits, length + 1)
    if len(bits) != length:
        raise ValueError("a mask has more bits or fewer than its shape")
    return torch.from_numpy(np.unpackbits(np.frombuffer(bits, np.uint8), count=size)).bool().reshape(shape)


def pack_values(value: Tensor, mask: Tensor | None) -> Tensor:
    own = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if mask is None or _bytes(own)[~mask.cpu().flatten()].any():
        return own
    return _bytes(own)[mask.cpu().flatten()].flatten().view(own.dtype)


def unpack_values(packed: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None or packed.shape == mask.shape:
        return packed
    whole = torch.zeros(mask.shape, dtype=packed.dtype)
    _bytes(whole)[mask.flatten()] = _bytes(packed)
    return whole


def without_dead(values: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with the dead at 0."""
    whole = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in values.items()}
    for name in masks.keys() & whole.keys():
        _bytes(whole[name])[~masks[name].cpu().flatten()] = 0
    return whole


def digest(values: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and every bit of the values; the order of names does not count."""
    total = sha256()
    for name in sorted(values):
        value = values[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(_bytes(value).numpy().tobytes())
    return total.hexdigest()


def _bytes(value: Tensor) -> Tensor:
    """A contiguous tensor's memory, a row of bytes a value."""
    return value.reshape(-1).view(torch.uint8).view(value.numel(), value.element_size())
