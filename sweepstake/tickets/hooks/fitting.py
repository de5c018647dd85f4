"""What the callbacks of all trainers share: masks are held from a training's beginning to its end."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.masks import Masks


def absent(library: str, extra: str) -> UserError:
    """What is said where a trainer's library is not installed."""
    return UserError(f'{library} is not installed. pip install "sweepstake[{extra}]"')


class Fitting:
    """One training at a time in which masks are held. A trainer tells when it begins and how it ends."""

    def __init__(self) -> None:
        self._held: AbstractContextManager[Any] | None = None

    def begin(self, masks: Masks, trained: Iterable[Tensor]) -> None:
        """Hold the masks of these parameters. An earlier training that did not come to its end is left."""
        self.leave()
        theirs = {id(parameter) for parameter in trained}
        strange = [name for name, parameter in masks.parameters.items() if id(parameter) not in theirs]
        if strange:
            raise UserError(f"HoldMasks: {strange[0]} of the masks is not in the module that is trained. "
                            "Give the trainer the masks' own module, masks.model, or a module around it.")
        held = masks.held()
        held.__enter__()
        self._held = held

    def end(self) -> None:
        """The training came to its end: the masks are checked, and every hook is removed."""
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)

    def leave(self) -> None:
        """The training broke off: every hook is removed, and nothing is checked."""
        held, self._held = self._held, None
        if held is not None:
            broken = RuntimeError("the training broke off")
            held.__exit__(type(broken), broken, None)
