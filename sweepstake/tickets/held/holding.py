"""Masks held while a training loop runs: what every gradient, every step and every loaded state meets.

Hooks of PyTorch do it, so that the loop knows nothing of masks. The last line of `held` takes them all away.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.cover import Cover
from sweepstake.tickets.held.steps import Steps

OnStep = Callable[[int], Any]


@contextmanager
def held(cover: Cover, optimisers: Sequence[Optimizer] = (), on_step: OnStep | None = None) -> Iterator["Holding"]:
    """Hold the dead at 0 until the block ends, however it ends; a block that ends well is checked.

    Without optimisers, every one that steps these parameters is met. `on_step` is called with the number of steps
    made so far.
    """
    chosen = [bare(each) for each in optimisers]
    if problems := [problem for each in chosen for problem in _strange(cover, each)] + cover.replaced():
        raise UserError(*problems)
    holding = Holding(cover, chosen, on_step)
    with ExitStack() as hooks:
        holding.begin(hooks)
        yield holding
        if problems := cover.replaced():
            raise UserError(*problems)
        if problems := cover.broken(cover.parameters):
            cover.clear_weights()
            raise UserError(*problems, "masks: they did not hold in this block; the dead are 0 again. Something other "
                                       "than an optimiser's step() changed weights: say masks.apply() after it.")


class Holding:
    """Masks at work in one block."""

    def __init__(self, cover: Cover, optimisers: Sequence[Optimizer], on_step: OnStep | None):
        self.cover, self.optimisers, self.on_step = cover, optimisers, on_step
        self._names = {id(parameter): name for name, parameter in cover.parameters.items()}
        self._steps = Steps(cover.parameters)

    @property
    def steps(self) -> int:
        """How many steps the loop made in this block."""
        return self._steps.made

    def begin(self, hooks: ExitStack) -> None:
        """Set the dead to 0, and put every hook in place; `hooks` takes them away when it is closed."""
        self.cover.clear_weights()
        for name, parameter in self.cover.parameters.items():
            self.cover.clear_gradient(name)
            handle = _on_gradient(parameter, partial(self._gradient, name))
            hooks.callback(handle.remove)
        for optimiser in self.optimisers:
            self._clear_states(optimiser, self._held_by(optimiser))
        hooks.callback(register_optimizer_step_pre_hook(_untraced(self._before_step)).remove)
        hooks.callback(register_optimizer_step_post_hook(_untraced(self._after_step)).remove)
        for module, names in _owners(self.cover).items():
            loaded = Loaded(partial(self._loaded, names))
            hooks.callback(module.register_load_state_dict_post_hook(loaded).remove)

    def _gradient(self, name: str, _: Tensor) -> None:
        self.cover.clear_gradient(name)

    def _loaded(self, names: list[str]) -> None:
        if problems := self.cover.replaced():
            raise UserError(*problems)
        self.cover.clear_weights(names)

    def _before_step(self, optimiser: Optimizer, *_: object) -> None:
        if self._held_by(optimiser):
            self._steps.begins()

    def _after_step(self, optimiser: Optimizer, *_: object) -> None:
        names = self._held_by(optimiser)
        self.cover.clear_weights(names)
        self._clear_states(optimiser, names)
        if names and self._steps.ended(names) and self.on_step:
            self.on_step(self.steps)

    def _held_by(self, optimiser: Optimizer) -> list[str]:
        """The masked parameters that an optimiser steps, if it is one of those that are meant."""
        if self.optimisers and not any(each is optimiser for each in self.optimisers):
            return []
        every = (id(each) for group in optimiser.param_groups for each in group["params"])
        return [self._names[each] for each in every if each in self._names]

    def _clear_states(self, optimiser: Optimizer, names: list[str]) -> None:
        """Set the dead to 0 in all that an optimiser keeps in a parameter's shape: momentum, averages."""
        for name in names:
            parameter = self.cover.parameters[name]
            for value in optimiser.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    self.cover.clear(name, value)


class Loaded:
    """What follows when a state is loaded into a module. A copy of the module, or a pickle, gets nothing of it."""

    def __init__(self, follow: Callable[[], None] | None = None):
        self.follow = follow

    def __call__(self, *_: object) -> None:
        if self.follow:
            self.follow()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Loaded, ()


def _untraced(hook: Callable[..., None]) -> Any:
    """The hook as torch.compile leaves it alone, where a loop compiles its optimiser's step()."""
    return torch.compiler.disable(hook)


def bare(optimiser: Optimizer) -> Optimizer:
    """The optimiser inside a wrapper, such as accelerate's or Lightning's, which calls its step()."""
    inner = getattr(optimiser, "optimizer", None)
    return bare(inner) if isinstance(inner, Optimizer) else optimiser


def _strange(cover: Cover, optimiser: object) -> list[str]:
    if not isinstance(optimiser, Optimizer):
        return [f"masks.held: {optimiser!r} is no torch.optim.Optimizer. Leave it out to meet every optimiser."]
    masked = {id(parameter) for parameter in cover.parameters.values()}
    if any(id(each) in masked for group in optimiser.param_groups for each in group["params"]):
        return []
    return [f"masks.held: this {type(optimiser).__name__} steps none of the masked parameters. Make it of the "
            "parameters of the masks' own module: masks.model."]


def _on_gradient(parameter: Tensor, hook: Callable[[Tensor], None]) -> Any:
    """A hook on a gradient's accumulation, on a frozen parameter too: it may be trained later."""
    trained = parameter.requires_grad
    with torch.no_grad():
        parameter.requires_grad_(True)
        handle = parameter.register_post_accumulate_grad_hook(hook)
        parameter.requires_grad_(trained)
    return handle


def _owners(cover: Cover) -> dict[nn.Module, list[str]]:
    """Every module that holds a masked parameter itself, and which; a tied one is held by several."""
    names = {id(parameter): name for name, parameter in cover.parameters.items()}
    own = {module: [names[id(each)] for each in module.parameters(recurse=False) if id(each) in names]
           for module in cover.module.modules()}
    return {module: held for module, held in own.items() if held}
