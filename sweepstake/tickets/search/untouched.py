"""A user's module while it is worked on: what it was is remembered, and put back where the work fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PARTS = ("_parameters", "_buffers", "_modules")
"""Where an nn.Module holds what it is made of."""


@dataclass(frozen=True)
class Before:
    """A module as it was: the very tensors and modules that it held, their values, its modes, what was trained."""

    module: nn.Module
    parts: dict[nn.Module, dict[str, dict[str, Any]]]
    values: list[tuple[Tensor, Tensor]]
    modes: dict[nn.Module, bool]
    trained: dict[nn.Parameter, bool]
    """Parameter -> whether it took gradients."""

    @classmethod
    def of(cls, module: nn.Module) -> "Before":
        modules = list(module.modules())
        parts = {each: {part: dict(getattr(each, part)) for part in PARTS} for each in modules}
        tensors = [*module.parameters(), *module.buffers()]
        return cls(module, parts, [(tensor, tensor.detach().clone()) for tensor in tensors],
                   {each: each.training for each in modules},
                   {each: each.requires_grad for each in module.parameters()})

    @torch.no_grad()
    def put_back(self) -> None:
        for module, held in self.parts.items():
            for part, content in held.items():
                own = getattr(module, part)
                own.clear()
                own.update(content)
        for tensor, value in self.values:
            tensor.copy_(value)
        self.put_modes_back()

    def put_modes_back(self) -> None:
        """Training or evaluation, and frozen or not, as it was; the values stay."""
        for module, training in self.modes.items():
            module.training = training
        for parameter, trained in self.trained.items():
            parameter.requires_grad_(trained)

    def replaced(self) -> list[str]:
        """The parameters in whose place the module holds another tensor by now."""
        was = {f"{prefix}.{name}" if prefix else name: each
               for prefix, module in self._named() for name, each in self.parts[module]["_parameters"].items()
               if each is not None}
        now = dict(self.module.named_parameters(remove_duplicate=False))
        gone = [name for name, each in was.items() if now.get(name) is not each]
        return gone + [name for name in now if name not in was]

    def _named(self) -> list[tuple[str, nn.Module]]:
        """Every module by the name that it had."""
        found, waiting = list[tuple[str, nn.Module]](), [("", self.module)]
        while waiting:
            prefix, module = waiting.pop()
            found.append((prefix, module))
            waiting += [(f"{prefix}.{name}" if prefix else name, each)
                        for name, each in self.parts[module]["_modules"].items() if each is not None]
        return found


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[Before]:
    """The module is put back as it was where the block ends by an exception, Ctrl-C included."""
    before = Before.of(module)
    try:
        yield before
    except BaseException:
        before.put_back()
        raise
