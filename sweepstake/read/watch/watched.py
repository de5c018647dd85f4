"""A study's page, made anew whenever something of its cells has changed in the store. Nothing is written there."""

import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.base.text import visible
from sweepstake.read.page.document import page
from sweepstake.run.claims import Claims
from sweepstake.run.opened import Opened, open_study, result_so_far
from sweepstake.run.store import MISSING, Kept, Store
from sweepstake.study.study import Planned, Study

LOOK_SECONDS = 0.25
"""Between two looks at the store, while somebody looks at the page."""
WATCHED_SECONDS = 15.0
"""For which somebody who asked looks at the page: a hidden one asks every ten seconds."""
REST = 1.0
"""After making a page, so much of the time that it took is left to the run before the next."""
IDLE_LOOKS = 8
"""Looks at which nobody computed a cell, after which the run has ended: between two cells nobody does for a moment."""


class State(Struct, frozen=True):
    """How far the study is; what the page asks for every second."""

    version: int = 0
    """Of the page: another number is another page."""
    cells: int = 0
    whole: int = 0
    """Cells that are done or have diverged."""
    failed: int = 0
    running: int = 0
    rounds: int = 0
    """That are finished, of all cells."""
    planned: int = 0
    """Rounds, of all cells."""
    over: bool = False
    """Nobody computes a cell of the study now."""
    others: bool = False
    """Somebody computes other cells in this store: a search's trials, or another study's."""
    problem: str = ""
    """Why the store cannot be read, in a line."""


@dataclass(frozen=True)
class Made:
    """A page: whole, and without the scripts and styles that a browser has by then."""

    whole: bytes = b""
    part: bytes = b""


@dataclass
class Watched:
    """A study in a store that anybody fills."""

    study: Study
    folder: Path
    nonce: str
    state: State = field(default_factory=State)
    made: Made = field(default_factory=Made)
    _known: dict[str, tuple[tuple[int, ...], Result]] = field(default_factory=dict[str, tuple[tuple[int, ...], Result]])
    """Each cell's result as it was last read, and the stamp of the files that it was read from."""
    _shown: object = None
    """What the page that is made was made from."""
    _claims: Claims | None = None
    _idle: int = 0
    _asked: float = 0.0
    _ready: threading.Event = field(default_factory=threading.Event)
    _wanted: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        """Look again and again, for as long as somebody looks at the page; it never returns."""
        while True:
            if time.monotonic() - self._asked > WATCHED_SECONDS and self._ready.is_set():
                self._wanted.clear()
                self._wanted.wait()
            began = time.monotonic()
            made = self.look()
            self._ready.set()
            time.sleep(LOOK_SECONDS + (REST * (time.monotonic() - began) if made else 0.0))

    def asked(self) -> None:
        """Somebody looks at the page."""
        self._asked = time.monotonic()
        self._wanted.set()

    def wait(self) -> None:
        """Until there is a page."""
        self._ready.wait()

    def look(self) -> bool:
        """One look at the store; whether it made another page."""
        try:
            opened, problem = open_study(self.study, self.folder), ""
        except UserError as error:
            opened, problem = None, visible(error).replace("\n", " ")
        try:
            return self._look(opened, problem)
        except (OSError, UserError) as error:  # A network folder that is gone for a while, say.
            self._tell(problem=visible(error).replace("\n", " "))
            return False

    def _look(self, opened: Opened | None, problem: str) -> bool:
        study = opened.study if opened else self.study
        stamps = opened.store.stamps(each.id for each in study.planned) if opened else {}
        seen = stamps, study.searched
        running, others = self._held(opened, study.planned)
        self._idle = 0 if running else self._idle + 1
        now = {"running": running, "others": others, "problem": problem, "over": self._idle >= IDLE_LOOKS}
        gone = opened is None and bool(self._known)
        if gone or seen == self._shown:
            self._tell(**{**now, "problem": f"{problem} What is shown was there." if gone else problem})
            return False
        results = [self._result(opened, each, stamps.get(each.id, ())) for each in study.planned]
        whole = page(study, results, nonce=self.nonce)
        self.made, self._shown = Made(whole.encode(), _bare(whole, self.nonce).encode()), seen
        count = Counter(each["status"] for each in results)
        self._tell(version=self.state.version + 1, cells=len(results), whole=count["done"] + count["diverged"],
                   failed=count["failed"], rounds=sum(len(each["rounds"]) for each in results),
                   planned=sum(each.cell.rounds + 1 for each in study.planned), **now)
        return True

    def _tell(self, **changes: object) -> None:
        self.state = State(**{**{name: getattr(self.state, name) for name in State.__struct_fields__}, **changes})

    def _result(self, opened: Opened | None, planned: Planned, stamp: tuple[int, ...]) -> Result:
        """A cell's result so far, read only if its files have changed."""
        if opened is None or not stamp:
            return result_so_far(planned, MISSING)
        known = self._known.get(planned.id)
        if known is not None and known[0] == stamp:
            return known[1]
        result = result_so_far(planned, _at_rest(opened.store, planned.id))
        self._known[planned.id] = stamp, result
        return result

    def _held(self, opened: Opened | None, planned: Sequence[Planned]) -> tuple[int, bool]:
        """How many cells of the study somebody computes, and whether somebody computes others here."""
        if opened is None:
            return 0, False
        if self._claims is None:
            self._claims = Claims(opened.store.folder / "claims")
        live = {id_ for id_, held in self._claims.all().items() if not self._claims.has_expired(held)}
        ours = live & {each.id for each in planned}
        return len(ours), len(live) > len(ours)


def _at_rest(store: Store, id_: str) -> Kept:
    """All there is of a cell, of one moment: where a round or an end is put there meanwhile, it is read again."""
    for _ in range(3):
        before, kept = store.stamp(id_), store.look(id_)
        if store.stamp(id_) == before:
            break
    return kept


def _bare(whole: str, nonce: str) -> str:
    """The page without the scripts, the library and the styles that a browser which shows it has already."""
    without = re.sub("<style>.*?</style>", "", whole, count=1, flags=re.DOTALL)
    ours = rf'<script nonce="{nonce}">.*?</script>|<script type="text/plain" id="library">.*?</script>'
    return re.sub(ours, "", without, flags=re.DOTALL)
