"""What a module is called with: one example, cut or repeated to any batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError

Example = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""A batch; or all arguments by place; or all by name. Every tensor's first dimension is the batch."""


@dataclass(frozen=True)
class Inputs:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, example: Example) -> "Inputs":
        if isinstance(example, Mapping):
            inputs = cls((), dict(example))
        else:
            inputs = cls(tuple(example) if isinstance(example, tuple | list) else (example,), {})
        strange = {type(value).__name__ for value in inputs.all.values()
                   if not isinstance(value, Tensor | bool | int | float | str | None)}
        if strange:
            raise UserError(f"example: holds a {min(strange)}. Give a tensor, a tuple of tensors and numbers, "
                            "or a dict of them by the names of forward's parameters.")
        if not any(tensor.dim() and len(tensor) for tensor in inputs.tensors):
            raise UserError("example: no tensor in it has a batch. Give a batch of one or more.")
        return inputs

    @property
    def all(self) -> dict[str | int, Any]:
        return {**dict(enumerate(self.args)), **self.kwargs}

    @property
    def tensors(self) -> list[Tensor]:
        return [value for value in self.all.values() if isinstance(value, Tensor)]

    @property
    def batch(self) -> int:
        return next(len(tensor) for tensor in self.tensors if tensor.dim() and len(tensor))

    def is_batched(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dim() > 0 and len(value) == self.batch

    def of_batch(self, size: int) -> "Inputs":
        """The same inputs, repeated or cut to this batch."""
        rows = torch.arange(size) % self.batch

        def resized(value: Any) -> Any:
            return value[rows.to(value.device)] if self.is_batched(value) else value

        return Inputs(tuple(map(resized, self.args)), {name: resized(value) for name, value in self.kwargs.items()})

    def to(self, device: torch.device) -> "Inputs":
        def there(value: Any) -> Any:
            return value.detach().to(device) if isinstance(value, Tensor) else value

        return Inputs(tuple(map(there, self.args)), {name: there(value) for name, value in self.kwargs.items()})

    def fixed_in(self, module: nn.Module) -> tuple["Inputs", list[str]]:
        """The same without what is no tensor and given by name; the module has that of its own from here on."""
        constants = {name: value for name, value in self.kwargs.items() if not isinstance(value, Tensor)}
        if constants:
            module.forward = partial(module.forward, **constants)
        rest = {name: value for name, value in self.kwargs.items() if name not in constants}
        return Inputs(self.args, rest), [f"{name} = {value}" for name, value in constants.items()]

    def into(self, module: nn.Module) -> Any:
        return module(*self.args, **self.kwargs)


def device_of(module: nn.Module) -> torch.device:
    """Where the first of its tensors is."""
    return next((tensor.device for tensor in [*module.parameters(), *module.buffers()]), torch.device("cpu"))


def tensors_in(answer: Any) -> list[Tensor]:
    """The tensors of what a module gave, in order."""
    if isinstance(answer, Tensor):
        return [answer]
    if isinstance(answer, Mapping):
        return [tensor for value in answer.values() for tensor in tensors_in(value)]
    if isinstance(answer, list | tuple):
        return [tensor for value in answer for tensor in tensors_in(value)]
    if answer is None:
        return []
    raise UserError(f"the module's answer holds a {type(answer).__name__}, which no format carries. "
                    "Let it give tensors: of a language model, say use_cache = False in the example.")


def plain(answer: Any) -> Any:
    """The same answer in Python's own dicts and tuples."""
    if isinstance(answer, Mapping):
        return {name: plain(value) for name, value in answer.items() if value is not None}
    return tuple(plain(value) for value in answer) if isinstance(answer, list | tuple) else answer
