"""How many steps a loop made, by the calls of step() of all the optimisers that it has.

One call may lie inside another: an optimiser's class may call that of its parent, or another optimiser. A call may also
be left by an exception, which no hook tells.
"""

from collections.abc import Iterable
from inspect import currentframe
from types import FrameType

BETWEEN = ("sweepstake.tickets.", "torch._dynamo.")
"""Modules whose calls lie between a step() and the counter."""


class Steps:
    """The updates of the parameter that was updated most often. A step that a GradScaler skips is none."""

    def __init__(self, names: Iterable[str]):
        self.made = 0
        self._updates = dict.fromkeys(names, 0)
        self._open: list[FrameType] = []
        """The calls of step() that began and did not end."""

    def begins(self) -> None:
        """Called inside a step(), at its beginning."""
        self._open.append(_calls()[0])

    def ended(self, names: Iterable[str]) -> bool:
        """Called inside a step() of these parameters, at its end. Says whether the loop made one more step."""
        around = _calls()[1:]
        self._open = [each for each in self._open if each in around]
        if self._open:
            return False
        for name in names:
            self._updates[name] += 1
        before, self.made = self.made, max(self._updates.values())
        return self.made > before


def _calls() -> list[FrameType]:
    """The calls that are running, the step() first, then those around it."""
    calls, frame = list[FrameType](), currentframe()
    while frame and frame.f_globals.get("__name__", "").startswith(BETWEEN):
        frame = frame.f_back
    while frame:
        calls.append(frame)
        frame = frame.f_back
    return calls
