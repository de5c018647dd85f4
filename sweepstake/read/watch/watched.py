"""A study's page, and what is newer than the page, from a store that anybody fills. Nothing is written there.

A page of 2,000 cells takes many seconds to make, and a round is to be seen at once, so there are two paces.

`look` asks the store four times a second which files have changed, reads the cells of these alone, and counts. What
they have beyond the page goes to the browser at once (`news`): the cell's line of the table of runs, and its new
rounds, which the browser adds to the charts against weights remaining.

`make` makes the whole page of all that was read: its other figures, intervals, ranks and verdicts. That has a thread of
its own, which rests as long as each page took. The page says as of when they are.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct, structs

from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.base.text import visible
from sweepstake.read.page.document import page, read, waiting
from sweepstake.read.watch.news import Shown, news_of, shown_in
from sweepstake.run.claims import Claims
from sweepstake.run.opened import Opened, open_study, result_so_far
from sweepstake.run.store import MISSING, Kept, Store
from sweepstake.study.study import Planned, Study

LOOK_SECONDS = 0.25
"""Between two looks at the store, while somebody looks at the page."""
HELD_SECONDS = 1.0
"""For which an answer waits for something new, or for the first page."""
WATCHED_SECONDS = 15.0
"""For which somebody who asked looks at the page: a hidden one asks every ten seconds."""
REST = 1.0
"""After making a page, so much of the time that it took is left to the run before the next."""
IDLE_LOOKS = 8
"""Looks at which nobody computed a cell, after which the run has ended: between two cells nobody does for a moment."""


class State(Struct, frozen=True):
    """How far the study is; what the page asks for again and again."""

    version: int = 0
    """Of the page: another number is another page."""
    seen: int = 0
    """The last look at which something had changed."""
    as_of: float = 0.0
    """When the page was begun, in seconds since 1970: its verdicts and intervals are of then."""
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
    news: Sequence[dict[str, Any]] = ()
    """What cells have beyond the page."""


class Seen(NamedTuple):
    """What the last look at which something had changed has found. It is never changed afterwards."""

    number: int
    at: float
    study: Study
    results: list[Result]
    changed: Mapping[str, int]
    """By id, the look that read the cell last."""


class Made(NamedTuple):
    """A page: whole, and without the scripts and styles that a browser has by then."""

    version: int = 0
    whole: bytes = b""
    part: bytes = b""
    seen: int = 0
    """The look that it is of."""
    at: float = 0.0
    rounds: Mapping[str, int] = {}
    """By id, how many rounds of a cell are in it. Failed cells are in no chart."""
    shown: Shown = ()


@dataclass
class Watched:
    """A study in a store that anybody fills."""

    study: Study
    folder: Path
    nonce: str
    made: Made = field(default_factory=Made)
    seen: Seen | None = None
    _counted: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the state, what the last look has told."""
    _known: dict[str, tuple[tuple[int, ...], Result]] = field(default_factory=dict[str, tuple[tuple[int, ...], Result]])
    """Each cell's result as it was last read, and the stamp of the files that it was read from."""
    _found: object = None
    """The stamps and the search that the last look found."""
    _claims: Claims | None = None
    _idle: int = 0
    _asked: float = 0.0
    _ready: threading.Event = field(default_factory=threading.Event)
    _wanted: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    # As a server uses it

    def follow(self) -> None:
        """Look and make pages again and again, for as long as somebody looks at the page; it never returns."""
        self.look()
        threading.Thread(target=self._again, args=[self.make, REST], daemon=True, name="sweepstake page").start()
        self._again(self.look, 0.0)

    def asked(self) -> None:
        """Somebody looks at the page."""
        self._asked = time.monotonic()
        self._wanted.set()

    def page(self, *, bare: bool = False) -> bytes:
        """The page, whole or bare. Until there is one, what is done to make it."""
        if self._ready.wait(HELD_SECONDS):
            return self.made.part if bare else self.made.whole
        problem, cells = self._counted.get("problem", ""), None if self.seen else len(self._known)
        return waiting(self.study, problem, cells, self.nonce).encode()

    def wait_for_more(self, version: int, seen: int) -> None:
        """Until there is another page or more was seen, and not for longer than a moment."""
        with self._changed:
            self._changed.wait_for(lambda: (version, seen) != (self.made.version, self._number), HELD_SECONDS)

    @property
    def _number(self) -> int:
        return self.seen.number if self.seen else 0

    @property
    def state(self) -> State:
        """How far it is now."""
        made = self.made
        return State(made.version, self._number, made.at, **self._counted)

    def state_for(self, version: int, after: int) -> State:
        """The same, with the news for a browser that shows this page and has what was new up to a look."""
        state, made = self.state, self.made
        return structs.replace(state, news=self._news(made, after)) if version == made.version else state

    # What it does

    def look(self) -> bool:
        """One look at the store; whether something had changed."""
        try:
            opened, problem = open_study(self.study, self.folder), ""
        except UserError as error:
            opened, problem = None, visible(error).replace("\n", " ")
        try:
            return self._look(opened, problem)
        except (OSError, UserError) as error:  # A network folder that is gone for a while, say.
            self._tell(problem=visible(error).replace("\n", " "))
            return False

    def make(self) -> bool:
        """The page of what was last seen; whether there was anything new to make one of."""
        seen, before = self.seen, self.made
        if seen is None or (before.whole and seen.number == before.seen):
            return False
        found = read(seen.study, seen.results)
        version = before.version + 1
        whole = page(seen.study, seen.results, found, nonce=self.nonce, version=version)
        rounds = {each["id"]: len(each["rounds"]) for each in seen.results if each["status"] != "failed"}
        self.made = Made(version, whole.encode(), _bare(whole, self.nonce).encode(), seen.number, seen.at,
                         rounds, shown_in(found.drawn))
        self._ready.set()
        self._tell_all()
        return True

    def _again(self, act: Callable[[], bool], rest: float) -> None:
        while True:
            if time.monotonic() - self._asked > WATCHED_SECONDS and self._ready.is_set():
                self._wanted.clear()
                self._wanted.wait()
            began = time.monotonic()
            acted = act()
            time.sleep(LOOK_SECONDS + (rest * (time.monotonic() - began) if acted else 0.0))

    def _look(self, opened: Opened | None, problem: str) -> bool:
        study = opened.study if opened else self.study
        stamps = opened.store.stamps(each.id for each in study.planned) if opened else {}
        running, others = self._held(opened, study.planned)
        self._idle = 0 if running else self._idle + 1
        now = {"running": running, "others": others, "problem": problem, "over": self._idle >= IDLE_LOOKS}
        gone, found = opened is None and bool(self._known), (stamps, study.searched)
        if gone or found == self._found:
            self._tell(**{**now, "problem": f"{problem} What is shown was there." if gone else problem})
            return False
        number, changed = (self.seen.number, dict(self.seen.changed)) if self.seen else (0, dict[str, int]())
        at, results = time.time(), list[Result]()
        for each in study.planned:
            known = self._known.get(each.id)
            results.append(self._result(opened, each, stamps.get(each.id, ())))
            if known is not self._known.get(each.id):
                changed[each.id] = number + 1
        self.seen, self._found = Seen(number + 1, at, study, results, changed), found
        count = Counter(each["status"] for each in results)
        self._tell(cells=len(results), whole=count["done"] + count["diverged"], failed=count["failed"],
                   rounds=sum(len(each["rounds"]) for each in results),
                   planned=sum(each.cell.rounds + 1 for each in study.planned), **now)
        self._tell_all()
        return True

    def _tell_all(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _tell(self, **counted: object) -> None:
        self._counted = {**self._counted, **counted}

    def _news(self, made: Made, after: int) -> list[dict[str, Any]]:
        """Of each cell that was read after a look and after the page, what it has beyond the page."""
        seen = self.seen
        if seen is None or not made.whole:
            return []
        axes, since = list(seen.study.axes), max(after, made.seen)
        return [news_of(axes, each, place, _beyond(each, made), made.shown)
                for place, each in enumerate(seen.results) if seen.changed.get(each["id"], 0) > since]

    def _result(self, opened: Opened | None, planned: Planned, stamp: tuple[int, ...]) -> Result:
        """A cell's result so far, read only if its files have changed."""
        if opened is None or not stamp:
            self._known.pop(planned.id, None)
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


def _beyond(result: Result, made: Made) -> int | None:
    """How many rounds of the cell the page has; None where they are not the first of those that there are now."""
    shown = made.rounds.get(result["id"], 0)
    stays = result["status"] in ("begun", "done", "diverged") and shown <= len(result["rounds"])
    return shown if stays else None


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
