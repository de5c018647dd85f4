"""A ticket: masks, the weights where training begins, and the trained weights where they were kept.

Every tensor stands under the parameter's own name and in its own shape, as `module.named_parameters()` gives them.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.names import misfits, tensors_by_name, unwrapped

if TYPE_CHECKING:
    from sweepstake.tickets.export import Exported
    from sweepstake.tickets.measure import Measured

Which = Literal["initial", "trained"]


@dataclass(frozen=True)
class Ticket:
    """What a pruning leaves of a network (Frankle & Carbin 2019)."""

    masks: Mapping[str, Tensor]
    """Parameter -> which of its weights are alive. A parameter that is not here is whole."""
    initial: Mapping[str, Tensor]
    """Every parameter and floating-point buffer where the round began, the dead at 0."""
    trained: Mapping[str, Tensor] | None = None
    """The same at the round's end, where it was kept."""
    made: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What made it: id, round, kept fraction, cell, numerics, versions. JSON alone."""
    build: Callable[[], nn.Module] | None = None
    """Makes the module that the ticket is of, where a recipe of it is known: a study's model."""

    @property
    def kept(self) -> int:
        """How many of the prunable weights are alive."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def size(self) -> int:
        """How many prunable weights there are."""
        return sum(mask.numel() for mask in self.masks.values())

    @property
    def kept_fraction(self) -> float:
        return self.kept / self.size

    def module(self, weights: Which | None = None) -> nn.Module:
        """The ticket's own module with its weights in it: the trained ones where they were kept, else the initial."""
        if self.build is None:
            raise UserError("ticket: it is of a module of yours. Build that module, then say ticket.apply(module).")
        return self.apply(self.build(), weights)

    def apply(self, model: nn.Module, weights: Which | None = None) -> nn.Module:
        """Put the ticket into a module of the same names and shapes, or one that is wrapped; gives that module.

        The dead are 0 in it. A module that does not fit is refused by the names that differ, and left as it was.
        """
        values = self.weights(weights)
        own = tensors_by_name(unwrapped(model))
        if problems := misfits(own, {name: tuple(value.shape) for name, value in values.items()}):
            raise UserError(*problems)
        with torch.no_grad():
            for name, value in values.items():
                own[name].copy_(value)
        return model

    def small(self, model: nn.Module, example: Any) -> nn.Module:
        """A copy of the module with the ticket in it."""
        return self.apply(deepcopy(model))

    def export(self, model: nn.Module, path: str | Path, example: Any, *,
               to: Literal["onnx", "torch", "safetensors"] = "onnx") -> "Exported":
        """Write the module with the ticket in it to a file that others run; run it and compare before it stands there.

        `example` is a batch, or a tuple of all arguments, or a dict of them by name.
        """
        from sweepstake.tickets.export import export

        return export(self.small(model, example), path, example, to=to)

    def measure(self, model: nn.Module, example: Any, *, threads: int | None = None,
                seconds: float = 0.3) -> "Measured":
        """The module as it is beside itself with the ticket in it: weights, bytes, multiply-adds and times, in one run.

        `print` shows a table and says in a sentence whether the ticket is faster here. Each of the two is timed for so
        many seconds, with one example and with 64.
        """
        from sweepstake.tickets.measure import measure

        return measure(model, self.small(model, example), example, threads=threads, seconds=seconds)

    def save(self, path: str | Path, *, weights: Literal["auto", "values", "recipe"] = "auto", trained: bool = True,
             draw: Callable[..., Any] | None = None) -> Path:
        """Write it to one .safetensors file, which `load_ticket` gives back to the bit.

        `weights` says how the initial ones are kept: as "values", or as the "recipe" that draws them again (by `draw`,
        else as a study's cell does), proven first; "auto" takes the recipe where there is one. `trained = False` leaves
        the trained ones out.
        """
        from sweepstake.tickets import recipe
        from sweepstake.tickets.file import save

        return save(self, path, weights=weights, trained=trained, draw=draw or recipe.draw)

    def weights(self, which: Which | None = None) -> Mapping[str, Tensor]:
        """The trained weights where they were kept, else the initial ones; or those of this name."""
        chosen = which or ("initial" if self.trained is None else "trained")
        if chosen not in ("initial", "trained"):
            raise UserError(f'ticket: weights = "{chosen}". Say "initial" or "trained".')
        if chosen == "trained" and self.trained is None:
            raise UserError('ticket: its trained weights were not kept. A study keeps them with save_weights = "last" '
                            'or "all" under [machine]; find_ticket always does.')
        return self.initial if chosen == "initial" or self.trained is None else self.trained


def load_ticket(path: str | Path, *, plugins: Sequence[str | Path] = (),
                draw: Callable[..., Any] | None = None) -> Ticket:
    """The ticket in a file that `Ticket.save` wrote, proven by its hash.

    A recipe is drawn as a study's cell is, or by `draw`. The plug-ins that the recipe
    names are run only where they are given here, and only with the text that the ticket was made with.
    """
    from sweepstake.tickets import recipe
    from sweepstake.tickets.file import load

    return Ticket(**load(path, plugins=plugins, draw=draw or recipe.draw))
