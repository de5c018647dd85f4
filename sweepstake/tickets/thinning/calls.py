"""The calls in which a weight sums over the channels of its input.

The same table serves a captured graph, whose nodes are these functions, and a network at work.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Reads:
    """Where a function's input, weight and bias stand among its arguments, and how the weight reads."""

    input: int
    weight: int
    bias: int | None
    axis: int
    """Along which axis the weight reads, counted from the end where it is negative."""
    padding: int | None = None
    groups: int | None = None


LINEAR = Reads(0, 1, 2, axis=1)
CONV = Reads(0, 1, 2, axis=1, padding=4, groups=6)
TRANSPOSED = Reads(0, 1, 2, axis=0, padding=4, groups=6)
PRODUCT = Reads(0, 1, None, axis=-2)

READS: dict[Callable[..., Any], Reads] = {
    F.linear: LINEAR,
    torch.conv1d: CONV, torch.conv2d: CONV, torch.conv3d: CONV,
    torch.conv_transpose1d: TRANSPOSED, torch.conv_transpose2d: TRANSPOSED, torch.conv_transpose3d: TRANSPOSED,
    torch.addmm: Reads(1, 2, 0, axis=0),
    torch.matmul: PRODUCT, operator.matmul: PRODUCT, torch.mm: PRODUCT, torch.Tensor.matmul: PRODUCT,
}

NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def argument(position: int | None, args: Any, kwargs: Any, default: Any = None) -> Any:
    if position is None:
        return default
    if position < len(args):
        return args[position]
    return kwargs.get(NAMES[position], default) if position < len(NAMES) else default


def channel_axis(reads: Reads, input_dims: int, weight_dims: int) -> int:
    """Which axis of the input holds the channels."""
    return input_dims - weight_dims + 1 if reads.groups is not None else input_dims - 1


@dataclass
class Seen:
    """What a reader was given so far: the least and largest value of each channel, and how it was called."""

    low: Tensor
    high: Tensor
    bias: Tensor | None
    padded: bool
    grouped: bool
    calls: int = 1


class Watch(TorchFunctionMode):
    """Inside, every call in which one of these weights reads is followed."""

    def __init__(self, names: dict[int, str]):
        super().__init__()
        self.names, self.seen = names, dict[str, Seen]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads, kwargs = READS.get(func), kwargs or {}
        if reads is not None:
            weight = argument(reads.weight, args, kwargs)
            if id(weight) in self.names:
                self.follow(self.names[id(weight)], reads, weight, args, kwargs)
        return func(*args, **kwargs)

    def follow(self, name: str, reads: Reads, weight: Tensor, args: Any, kwargs: Any) -> None:
        value = argument(reads.input, args, kwargs).detach()
        axis = channel_axis(reads, value.dim(), weight.dim())
        flat = value.movedim(axis, 0).flatten(1)
        padding = argument(reads.padding, args, kwargs, 0)
        sides = padding if isinstance(padding, tuple | list) else [padding]
        padded = reads is TRANSPOSED or isinstance(padding, str) or any(sides)
        grouped = argument(reads.groups, args, kwargs, 1) != 1
        now = Seen(flat.amin(1), flat.amax(1), argument(reads.bias, args, kwargs), padded, grouped)
        before = self.seen.get(name)
        if before is not None:
            now = Seen(torch.minimum(now.low, before.low), torch.maximum(now.high, before.high), now.bias,
                       padded or before.padded, grouped or before.grouped, before.calls + 1)
        self.seen[name] = now
