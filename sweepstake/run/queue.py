"""The cells that a run still has to bring to an end, shared with every other run on the same store.

An executor takes one when it has room for it, and says what became of it. Nobody plans who computes what: each run
takes the next cell that nobody holds, and looks into the store before it begins.
"""

import time
from collections.abc import Callable, Sequence
from typing import Self

import msgspec

from sweepstake.base import events
from sweepstake.base.errors import UserError
from sweepstake.base.events import OnEvent
from sweepstake.pieces.donors import donor_of
from sweepstake.run.claims import Claim, Claims, Held
from sweepstake.run.names import id_in
from sweepstake.run.settings import Task
from sweepstake.run.store import Store

LOOK_SECONDS = 0.5
"""Between two looks at a cell that another run holds, at first."""
LOOK_SECONDS_AT_MOST, FEW = (1.0, 5.0), 100
"""After many looks: where few cells wait, so that a run ends when the last of them does, and where many do."""


class Queue:
    """Tasks in the order in which they are to be taken; a context, which at its end gives back what it holds."""

    def __init__(self, tasks: Sequence[Task], store: Store, on_event: OnEvent, *, waits: bool = True,
                 claims: Claims | None = None):
        self.store, self.on_event, self.waits = store, on_event, waits
        self.claims = claims or Claims(store.folder / "claims")
        self.waiting = {task.id: task for task in tasks}
        self.running = dict[str, Task]()
        self._failed_before = {task.id: store.failure(task.id) for task in tasks if store.has_end(task.id)}
        self._looks = dict[str, tuple[float, float]]()
        self._busy = set[str]()
        self._donors = {task.id: _donor_id(task, store) for task in tasks}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.claims.close()

    @property
    def is_over(self) -> bool:
        """Whether every cell has come to its end; where nobody waits, those that others hold are not waited for."""
        return not self.running and (not self.waiting or (not self.waits and self._others_hold_the_rest()))

    def take(self, fits: Callable[[Task], bool] = lambda _: True) -> Task | None:
        """The next cell that nobody holds, ours from now on; None where there is none now, or none that fits."""
        held: dict[str, Held] | None = None
        for id_, task in list(self.waiting.items()):
            if not (self._is_due(id_) and self._is_ready(id_) and fits(task)):
                continue
            held = self.claims.all() if held is None else held
            if self._has_ended(id_) or (claim := self._claim(id_, held.get(id_))) is None:
                continue
            if self._has_ended(id_):  # It ended between the two looks.
                self.claims.release(id_)
            elif claim.is_hopeless:
                self._give_up(id_, claim.story)
            else:
                self.running[id_] = self.waiting.pop(id_)
                return msgspec.structs.replace(task, claim=str(claim.path))
        return None

    def end(self, id_: str) -> None:
        """A cell that we took is done, or has failed; of one that was lost nothing is to be said."""
        if self.running.pop(id_, None) is not None:
            self.claims.release(id_)

    def moved_on(self, id_: str) -> None:
        """It has finished a round."""
        if claim := self.claims.held.get(id_):
            claim.moved_on()

    def died(self, id_: str) -> bool:
        """What computed it ended without a word; whether it is tried again, which begins with taking it again."""
        claim = self.claims.held[id_]
        claim.died()
        if not claim.is_hopeless:
            return True
        self.running.pop(id_)
        self._fail(id_, claim.story)
        return False

    def lost(self, id_: str) -> None:
        """Another run has taken the cell over while we were frozen: it is theirs, and looked at again."""
        self.claims.release(id_)
        self.waiting[id_] = self.running.pop(id_)
        self._wait(id_)

    def _is_due(self, id_: str) -> bool:
        """Whether it is time to look at a cell again that another run held."""
        return self._looks.get(id_, (0.0, 0.0))[0] <= time.monotonic()

    def _is_ready(self, id_: str) -> bool:
        """A transplant waits for its donor where that is among the cells: else it would be trained twice."""
        donor = self._donors[id_]
        return donor not in self.waiting and donor not in self.running

    def _has_ended(self, id_: str) -> bool:
        """Whether the store has a cell's end, by whomever; then it is told."""
        if not self.store.has_end(id_):
            return False
        kept = self.store.look(id_)
        if kept.result is not None:
            self.on_event(events.Done(id_, kept.result["status"], computed=False))
        elif kept.status == "failed" and kept.failure is not None and kept.failure != self._failed_before.get(id_):
            self.on_event(events.Failed(id_, kept.failure["error"]))
        else:
            return False
        self._forget(id_)
        return True

    def _claim(self, id_: str, held: Held | None) -> Claim | None:
        """A cell that is free, or whose holder has gone; it is told once that another has it."""
        is_free = held is None or self.claims.has_expired(held)
        if is_free and (claim := self.claims.take(id_, self.store.rounds_done(id_), held)):
            return claim
        if id_ not in self._busy:
            self._busy.add(id_)
            self.on_event(events.Busy(id_))
        self._wait(id_)
        return None

    def _wait(self, id_: str) -> None:
        """Look again after a while, which grows."""
        longest = LOOK_SECONDS_AT_MOST[len(self.waiting) > FEW]
        span = min(longest, 1.5 * self._looks.get(id_, (0.0, LOOK_SECONDS / 1.5))[1])
        self._looks[id_] = time.monotonic() + span, span

    def _give_up(self, id_: str, why: str) -> None:
        self._fail(id_, why)
        self.on_event(events.Failed(id_, why))
        self._forget(id_)

    def _fail(self, id_: str, why: str) -> None:
        self.store.fail(id_, why, "", {})
        self.claims.release(id_)

    def _forget(self, id_: str) -> None:
        self.waiting.pop(id_, None)
        self._looks.pop(id_, None)
        self._busy.discard(id_)

    def _others_hold_the_rest(self) -> bool:
        held = self.claims.all()
        rest = [id_ for id_ in self.waiting if id_ not in held or self.claims.has_expired(held[id_])]
        return all(self._donors[id_] in held for id_ in rest)


def _donor_id(task: Task, store: Store) -> str:
    """The cell that a task takes its masks from; empty where it takes none, or its donor cannot be made."""
    if task.cell.control != "transplant":
        return ""
    try:
        return id_in(store, donor_of(task.cell))
    except UserError:
        return ""
