"""What reaches each part of a module when examples go through it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Example:
    """What a module is called with."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    @classmethod
    def of(cls, given: Any) -> "Example":
        """A tensor, a tuple of arguments, or a dict of them."""
        if isinstance(given, Mapping):
            return cls((), given)
        return cls(given if isinstance(given, tuple) else (given,), {})

    @property
    def images(self) -> int:
        """The length of its first tensor."""
        tensors = (each for each in (*self.arguments, *self.named.values()) if isinstance(each, Tensor) and each.dim())
        return next((len(each) for each in tensors), 0)

    def through(self, module: nn.Module) -> Any:
        return module(*self.arguments, **self.named)


@dataclass
class Seen:
    """The first input of a part in each example, and how often it was called in all."""

    inputs: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    """Images in the example -> input."""
    calls: int = 0


def watch(module: nn.Module, examples: Sequence[Example]) -> dict[str, Seen]:
    """Path of a part -> what reached it."""
    seen = {path: Seen() for path, _ in module.named_modules()}
    for example in examples:
        with _watched(module, seen, example.images):
            example.through(module)
    return seen


@contextmanager
def _watched(module: nn.Module, seen: Mapping[str, Seen], images: int) -> Iterator[None]:
    """No hooks: a module that sees one computes otherwise, as nn.TransformerEncoderLayer does."""
    before = [(part, part.__dict__.get("forward")) for part in module.modules()]
    for path, part in module.named_modules():
        part.forward = _noted(part.forward, seen[path], images)
    try:
        yield
    finally:
        for part, own in before:
            del part.forward
            if own is not None:
                part.forward = own


def _noted(forward: Callable[..., Any], seen: Seen, images: int) -> Callable[..., Any]:
    def noted(*arguments: Any, **named: Any) -> Any:
        seen.calls += 1
        first = next(iter((*arguments, *named.values())), None)
        if isinstance(first, Tensor):
            seen.inputs.setdefault(images, first)
        return forward(*arguments, **named)
    return noted
