"""Modules that replace PyTorch's own inside a stack, where one forward pass is mapped over many cells."""

from copy import deepcopy
from math import prod

import torch
from torch import Tensor, nn

from sweepstake.engine.narrow import unspare
from sweepstake.pieces.networks import Dropout


class Linear(nn.Linear):
    """nn.Linear as W X^T. The gradient of a mapped X W^T is transposed: turning it costs a pass over all weights."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if x.dim() != 2:
            return super().forward(x)
        z = (self.weight @ x.T).T
        return z if self.bias is None else z + self.bias  # pyright: ignore[reportUnnecessaryComparison]


class Conv2d(nn.Conv2d):
    """nn.Conv2d in autocast's precision. On a CPU, autocast overlooks a mapped convolution."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        device = input.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
            input, weight, bias = input.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        return super()._conv_forward(input, weight, bias)


class Whole(nn.Module):
    """A norm in float32 at least. In a lower precision, mapped, CUDA's kernel refuses its float32 statistics."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.to(torch.promote_types(input.dtype, torch.float32))).to(input.dtype)


class BatchNorm1d(Whole, nn.BatchNorm1d):
    pass


class BatchNorm2d(Whole, nn.BatchNorm2d):
    pass


STAND_INS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: Linear, nn.Conv2d: Conv2d, nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d}


class KeyedDropout(nn.Module):
    """Dropout whose draw depends on (key, call, place): a cell draws the same alone, in a stack, on any device."""

    key: Tensor

    def __init__(self, p: float, kept_dims: int | None):
        super().__init__()
        self.p, self.kept_dims, self.calls = p, kept_dims, 0
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        self.calls += 1
        shape = x.shape if self.kept_dims is None else (*x.shape[:self.kept_dims], *[1] * (x.dim() - self.kept_dims))
        place = torch.arange(prod(shape), device=x.device).view(shape)
        drawn = mixed(mixed(self.key + self.calls) + place * GOLDEN) >> 33 & 0x7FFFFFFF
        return x * (drawn >= int(self.p * 2**31)) / (1 - self.p)


GOLDEN = 0x9E3779B97F4A7C15 - 2**64


def mixed(z: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele et al. 2014) on int64, which wraps. Shifts copy the sign, which is masked off."""
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * (0xBF58476D1CE4E5B9 - 2**64)
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * (0x94D049BB133111EB - 2**64)
    return z ^ (z >> 31 & (1 << 33) - 1)


KEPT_DIMS: dict[type[nn.Module], int | None] = {
    Dropout: None, nn.Dropout: None, nn.Dropout1d: 2, nn.Dropout2d: 2, nn.Dropout3d: 2}
"""Modules that KeyedDropout replaces, and over how many dimensions each draws (None: all)."""


def for_stacks(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy of the module with the replacements in it, and the names of the dropouts, which take a key."""
    module, keyed = deepcopy(module), list[str]()
    for name, old in list(module.named_modules(remove_duplicate=False)):
        unspare(old)
        if type(old) in STAND_INS:
            old.__class__ = STAND_INS[type(old)]  # All it has besides stays, for code that asks it for its in_features.
        elif name and type(old) in KEPT_DIMS:
            module.set_submodule(name, KeyedDropout(old.p, KEPT_DIMS[type(old)]))  # pyright: ignore[reportArgumentType]
            keyed.append(name)
    return module, keyed
