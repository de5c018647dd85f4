"""Masks on anybody's module: held through any training loop, reset, reported, made into a ticket.

The module is never wrapped. It keeps its parameters, its buffers and the names in its state_dict.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sweepstake.base.errors import UserError, unknown
from sweepstake.tickets.held.cover import Cover, inside
from sweepstake.tickets.held.holding import Holding, OnStep, held
from sweepstake.tickets.held.kept import About, Kept, kept_of
from sweepstake.tickets.names import misfits, tensors_by_name
from sweepstake.tickets.ticket import Ticket

Resets = Callable[["Masks", str, Mapping[str, Any]], Mapping[str, Tensor]]
"""(the masks, a reset's name, its options) -> the values that parameters get."""


class Masks:
    """Which weights of a module are alive, and the values that it had when they were chosen.

    Held while a loop trains, the dead stay 0:

        with masks.held(optimiser):
            train(model)
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor], *, w_init: Mapping[str, Tensor] | None = None,
                 w_init_on: torch.device | str | None = None, about: Mapping[str, About] | None = None,
                 resets: Resets | None = None):
        """The dead are set to 0 at once. A mask is boolean, True where a weight is alive, by the parameter's name.

        `w_init`: the values to rewind to; the module's own, where none are given, kept on the device `w_init_on`.
        `about`: a parameter's kind, and why it is not pruned, for the report. `resets` makes the values of resets
        other than "rewind".
        """
        self.model = model
        self._cover = Cover(model, masks)
        if w_init is not None and (problems := _unlike(model, w_init)):
            raise UserError(*problems)
        given = copied(model, w_init_on)
        self.w_init = given if w_init is None else dict(w_init)
        self._began = given
        self._about, self._resets = dict(about or {}), resets
        self._cover.clear_weights()

    @property
    def alive(self) -> dict[str, Tensor]:
        """Parameter -> which of its weights are alive. A parameter that is not here is whole."""
        return self._cover.alive

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The masked parameters, as the very tensors of the module."""
        return dict(self._cover.parameters)

    def held(self, *optimisers: Optimizer, on_step: OnStep | None = None) -> AbstractContextManager[Holding]:
        """Hold the dead at 0 in a `with` block, in these optimisers, or in every one that steps the parameters.

        `on_step(k)` is called after the k-th step. All hooks are removed at the end of the block.
        """
        return held(self._cover, optimisers, on_step)

    def apply(self, other: nn.Module | None = None) -> nn.Module:
        """Set the dead to 0 in the module, or in another of the same names: an average, a copy, a wrapper of one."""
        if other is None:
            self._cover.clear_weights()
            return self.model
        for name, parameter in self._cover.of(other).items():
            self._cover.clear(name, parameter)
        return other

    def on(self, other: nn.Module) -> "Masks":
        """The same masks on another module of the same names, such as a deepcopy; it rewinds to the same values."""
        return Masks(inside(other, self._cover.parameters), self.alive, w_init=self.w_init, about=self._about,
                     resets=self._resets)

    def check(self, other: nn.Module | None = None) -> None:
        """Refuse, by name, a module of which a dead weight is not 0, or a parameter was put in another's place."""
        parameters = self._cover.parameters if other is None else self._cover.of(other)
        if problems := (self._cover.replaced() if other is None else []) + self._cover.broken(parameters):
            raise UserError(*problems)

    # Where training begins again

    def reset(self, which: str = "rewind", **options: Any) -> None:
        """Set the survivors as a reset says: "rewind" takes them back to `w_init`. Make a new optimiser after it."""
        if which == "rewind" and not options:
            self.reset_to(self.w_init)
        elif self._resets is None:
            raise UserError(unknown("masks.reset", "reset", which, ["rewind"], "Or give values: masks.reset_to(...)."))
        else:
            self.reset_to(self._resets(self, which, options))

    @torch.no_grad()
    def reset_to(self, values: Mapping[str, Tensor]) -> None:
        """Give parameters and buffers these values, by name, then set the dead to 0. Those not named stay."""
        if problems := _unlike(self.model, values):
            raise UserError(*problems)
        own = every_tensor(self.model)
        for name, value in values.items():
            own[name].copy_(value)
        self._cover.clear_weights()
        self._began = self.w_init if values is self.w_init else copied(self.model, _device_of(self.w_init))

    def share(self, source: int = 0) -> None:
        """Give every process of the default group the masks and `w_init` of process `source`.

        Each process calls it, before DistributedDataParallel is made: that one shares weights, and no masks.
        """
        import torch.distributed as dist

        if not dist.is_available() or not dist.is_initialized():
            raise UserError("masks.share: there is no process group. Call torch.distributed.init_process_group first.")
        for name in self._cover.parameters:
            sent = self._cover.bits(name).clone()
            dist.broadcast(sent, source)
            self._cover.replace(name, sent != 0)
        own = every_tensor(self.model)
        for values in (self.w_init, self._began)[:1 if self._began is self.w_init else 2]:
            for name in sorted(values):
                sent = values[name].to(own[name].device, copy=True)
                dist.broadcast(sent, source)
                values[name] = sent.to(values[name].device)
        self.apply()

    # What came of it

    def report(self) -> Kept:
        """Every parameter of the module: how many of its weights are alive, or why it is not pruned."""
        return kept_of(self.model, self._cover.alive, self._about)

    def ticket(self, made: Mapping[str, Any] | None = None, build: Callable[[], nn.Module] | None = None) -> Ticket:
        """The ticket: the masks, the weights where training last began, and the weights as they are, all copied."""
        own = tensors_by_name(self.model)
        masks = {name: mask.to("cpu", copy=True) for name, mask in self._cover.alive.items()}
        initial = {name: self._began[name].to("cpu", copy=True) for name in own}
        trained = {name: value.detach().to("cpu", copy=True) for name, value in own.items()}
        for values in (initial, trained):
            for name, mask in masks.items():
                values[name].masked_fill_(~mask, 0)
        return Ticket(masks, initial, trained, dict(made or {}), build)


def every_tensor(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer under its own name; counters too, which a rewind takes back."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def copied(model: nn.Module, device: torch.device | str | None = None) -> dict[str, Tensor]:
    """A copy of every parameter and buffer, on that device, or where it lies."""
    return {name: each.detach().to(device or each.device, copy=True) for name, each in every_tensor(model).items()}


def _unlike(model: nn.Module, values: Mapping[str, Tensor]) -> list[str]:
    """Which of these values the module has no place for, in words."""
    own = every_tensor(model)
    return misfits({name: own[name] for name in values if name in own},
                   {name: tuple(value.shape) for name, value in values.items()})


def _device_of(values: Mapping[str, Tensor]) -> torch.device | None:
    """The one device where these lie; None where they lie on several."""
    devices = {value.device for value in values.values()}
    return devices.pop() if len(devices) == 1 else None
