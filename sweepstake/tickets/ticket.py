"""A ticket: masks, the weights where training begins, and the trained weights where they were kept.

Every tensor stands under the parameter's own name and in its own shape, as `module.named_parameters()` gives them.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.names import misfits, tensors_by_name, unwrapped

if TYPE_CHECKING:
    from sweepstake.tickets.exported.export import Exported
    from sweepstake.tickets.measured.measure import Measured
    from sweepstake.tickets.small import Small
    from sweepstake.tickets.thin import Thinned

Which = Literal["initial", "trained"]


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        layers, share = len(self.masks), f", {100 * self.kept_fraction:.2f} %" if self.size else ""
        return (f"Ticket: {self.kept:,} of {self.size:,} weights in {layers} layer{'s' * (layers != 1)}{share}; "
                f"holds the initial{' and trained' * (self.trained is not None)} weights")

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
        """The same as a share of the prunable weights."""
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

    def thin(self, model: nn.Module, example: Any) -> "Thinned":
        """The module without the units that are dead under this ticket, proven to give the same outputs.

        The module holds the ticket, its dead weights at 0 (`ticket.apply(model)`), and stays as it is. `example` is
        what it is called with: a batch, a tuple of all arguments, or a dict of them by name.
        """
        from sweepstake.tickets.thin import thin

        return thin(self.held_by(model), self.masks, example)

    def small(self, model: nn.Module, example: Any) -> "Small":
        """That, and then each layer dense or sparse, whichever is faster on this machine at a batch of 1 and of 64."""
        from sweepstake.tickets.small import small

        return small(self.held_by(model), self.masks, example)

    def export(self, model: nn.Module, path: str | Path, example: Any, *,
               to: Literal["onnx", "torch", "safetensors"] = "onnx") -> "Exported":
        """Write the thinned module to a file that others run; run it and compare before it stands there.

        A module that cannot be thinned goes whole, its dead weights at 0; the result says so.
        """
        from sweepstake.tickets.exported.export import export

        said = list[str]()
        try:
            module = self.thin(model, example).module
        except UserError as error:
            said.append(f"not thinned: {error.problems[0]}")
            module = self.held_by(model)
        said += ["dense: single dead weights are stored as 0"]
        done = export(module, path, example, to=to)
        return replace(done, said=(*said, *done.said))

    def measure(self, model: nn.Module, example: Any, *, threads: int | None = None,
                seconds: float = 0.3) -> "Measured":
        """The module beside its small one, in one run: parameters, bytes, multiply-adds, latency at batch 1 and 64."""
        from sweepstake.tickets.measured.measure import measure

        made = self.small(model, example)
        found = measure(self._whole(self.held_by(model)), made.module, example, threads=threads, seconds=seconds)
        return replace(found, said=(*found.said, *made.said))

    def _whole(self, model: nn.Module) -> nn.Module:
        """A copy as the network was before it was pruned, to count and to time; any values do for the dead."""
        whole = deepcopy(model)
        own = tensors_by_name(whole)
        with torch.no_grad():
            for name, mask in self.masks.items():
                own[name].masked_fill_(~mask.to(own[name].device), 1e-3)
        return whole

    def held_by(self, model: nn.Module) -> nn.Module:
        """The module, out of its wrappers, if it holds this ticket: its names, shapes and dead at 0; else refused."""
        model = unwrapped(model)
        own = tensors_by_name(model)
        if problems := misfits(own, {name: tuple(value.shape) for name, value in self.initial.items()}):
            raise UserError(*problems)
        for name, mask in self.masks.items():
            if bool((own[name].detach()[~mask.to(own[name].device)] != 0).any()):
                raise UserError(f"ticket: {name} of this {type(model).__name__} has weights that are dead in the "
                                "ticket. Put the ticket into it first: ticket.apply(model).")
        return model

    def save(self, path: str | Path, *, weights: Literal["auto", "values", "recipe"] = "auto", trained: bool = True,
             draw: Callable[..., Any] | None = None) -> Path:
        """Write it to one .safetensors file, which `load_ticket` gives back to the bit.

        `weights` says how the initial ones are kept: as "values", or as the "recipe" that draws them again (by `draw`,
        else as a study's cell does), proven first; "auto" takes the recipe where there is one. `trained = False` leaves
        the trained ones out.
        """
        from sweepstake.tickets.of_study import recipe
        from sweepstake.tickets.saved.file import save

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
    from sweepstake.tickets.of_study import recipe
    from sweepstake.tickets.saved.file import load

    return Ticket(**load(path, plugins=plugins, draw=draw or recipe.draw))
