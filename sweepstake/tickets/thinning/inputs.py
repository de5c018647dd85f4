"""A network's inputs and outputs: the example that is given, others like it, and every tensor that comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """Arguments of a forward, by place and by name."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, example: Any) -> Inputs:
        """The example as arguments: a tensor or a tuple by place, a dictionary by name."""
        if isinstance(example, Mapping):
            return cls((), dict(example))
        if isinstance(example, Tensor | tuple | list):
            return cls((example,) if isinstance(example, Tensor) else tuple(example), {})
        raise UserError(f"thin: the example is a {type(example).__name__}. Give what the network's forward takes: "
                        "a tensor, a tuple of arguments, or a dictionary of keyword arguments.")

    def run(self, model: nn.Module) -> Any:
        return model(*self.args, **self.kwargs)

    def double(self) -> Inputs:
        """The same in double precision."""
        return Inputs(_each(self.args, _double), _each(self.kwargs, _double))

    def first(self, model: nn.Module) -> Inputs:
        """The first of a batch alone, where the network runs on it: the same structure, quicker to follow."""
        sizes = {len(value) if value.dim() else 0 for value in (*self.args, *self.kwargs.values())
                 if isinstance(value, Tensor)}
        if len(sizes) != 1 or min(sizes) < 2:
            return self
        alone = Inputs(_each(self.args, lambda value: value[:1]), _each(self.kwargs, lambda value: value[:1]))
        try:
            with torch.no_grad():
                alone.run(model)
        except Exception:  # Not a batch after all.
            return self
        return alone

    def other(self, generator: torch.Generator) -> Inputs:
        """Inputs of the same shapes: floats drawn anew as widely, integers anew within the example's range."""
        def another(value: Tensor) -> Tensor:
            return _another(value, generator)

        return Inputs(_each(self.args, another), _each(self.kwargs, another))


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same arguments, each tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each(each, change) for name, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_each(each, change) for each in value)
    return value


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def _another(value: Tensor, generator: torch.Generator) -> Tensor:
    if value.is_floating_point() and value.numel():
        spread = float(value.float().square().mean().sqrt()) or 1.0
        noise = torch.randn(value.shape, generator=generator).to(value)
        return value.detach() + spread * noise
    if value.numel() and value.dtype in (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8):
        low, high = int(value.min()), int(value.max())
        return torch.randint(low, high + 1, value.shape, generator=generator).to(value)
    return value


def floats(value: Any) -> list[Tensor]:
    """Every floating-point tensor of an output, in order: of a tensor, tuple, dictionary or model output."""
    return list(_floats(value, set()))


def _floats(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value
        return
    if id(value) in seen or isinstance(value, str | bytes | nn.Module | type):
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        parts: Any = value.values()
    elif isinstance(value, tuple | list):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") else ()
    for each in parts:
        yield from _floats(each, seen)
