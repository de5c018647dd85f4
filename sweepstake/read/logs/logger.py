"""When loggers get what: each round as it ends, and the rest of a cell when it is finished; all of it from the store.

A logger is no part of a run. It is fed in a thread, so that no training waits for it; one that fails is told once and
left out. A run of a logger that was cut short is written anew, so that nothing is ever in it twice.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Self

from sweepstake.base import events
from sweepstake.base.events import Event
from sweepstake.base.records import Result
from sweepstake.read.logs.contents import rounds_of, run_of, steps_of, weights_of
from sweepstake.read.logs.contract import Arrays, Pen, Run, Sink
from sweepstake.run.opened import Opened
from sweepstake.study.study import Planned

FINISHED = ("done", "diverged")
SECONDS_AT_A_STOP = 5.0
"""For what is being written when a run is stopped."""


@dataclass(eq=False)
class Feed:
    """One logger, and how far it has come."""

    sink: Sink
    whole: set[str] = field(default_factory=set[str])
    open: dict[str, tuple[Pen, int]] = field(default_factory=dict[str, tuple[Pen, int]])
    """By id, a pen and the rounds that it has written."""

    def rounds(self, run: Run, result: Result) -> None:
        """The rounds that it lacks."""
        if run.id in self.whole:
            return
        if run.id not in self.open and self.sink.holds(run):
            self.whole.add(run.id)
            return
        pen, done = self.open.get(run.id, (None, 0))
        if pen is None or done > len(result["rounds"]):  # More than there are: the cell was begun anew.
            if pen is not None:
                pen.drop()
            pen, done = self.sink.begin(run), 0
        for step, values in steps_of(result, done):
            pen.step(step, values)
        for round_, values in rounds_of(result, done):
            pen.round(round_, values)
        self.open[run.id] = pen, len(result["rounds"])

    def weights(self, run: Run, round_: int, values: Arrays, pictures: Arrays) -> None:
        """The survivors of a round."""
        pen, _ = self.open[run.id]
        pen.weights(round_, values, pictures)

    def end(self, run: Run) -> None:
        """The run is whole."""
        pen, _ = self.open.pop(run.id)
        pen.end()
        self.whole.add(run.id)

    def close(self) -> None:
        """Nothing more comes: what is open stays as it is."""
        for pen, _ in self.open.values():
            pen.drop()
        self.open.clear()
        self.sink.close()


class Logger:
    """The loggers of a run: a context around it, which hears its events."""

    def __init__(self, sinks: Sequence[Sink], open_: Callable[[], Opened | None], tell: Callable[[str], None],
                 counted: Callable[[], AbstractContextManager[Callable[[int, int], None]]]):
        self.sinks, self.feeds = sinks, [Feed(sink) for sink in sinks]
        """All of them, and those that have not failed."""
        self.open, self.tell, self.counted = open_, tell, counted
        """How the study is found in its store, who hears of a failure, and what counts cells."""
        self.opened: Opened | None = None
        self.planned: dict[str, Planned] = {}
        self.waiting: SimpleQueue[str | None] = SimpleQueue()
        self.thread: Thread | None = None
        self.stopped = False

    def __enter__(self) -> Self:
        if self.feeds:
            self.thread = Thread(target=self._work, name="loggers", daemon=True)
            self.thread.start()
        return self

    def __call__(self, event: Event) -> None:
        """A round or a cell has ended, or the cells of the study are known now; the thread does what that asks for."""
        match event:
            case events.Plan(stage=""):
                self.waiting.put("")
            case events.Round(id_) | events.Done(id_):
                self.waiting.put(id_)
            case _:
                pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.thread is None:
            return
        self.stopped = kind is not None
        self.waiting.put(None)
        self.thread.join(SECONDS_AT_A_STOP if self.stopped else None)
        try:
            if not self.stopped:
                self._log_all()
        finally:
            if not self.thread.is_alive():
                self._each(Feed.close, self.feeds)

    def _log_all(self) -> None:
        """Every finished cell that a logger lacks: of earlier runs, too, and of others that fill the store."""
        self._find()
        with self.counted() as count:
            for number, planned in enumerate(self.planned.values(), 1):
                if self.feeds and self.opened is not None and self.opened.store.has_end(planned.id):
                    self._log(self.opened, planned)
                count(number, len(self.planned))

    def _work(self) -> None:
        """The thread: cells one after another, until the run is over."""
        with suppress(_Stop):
            while (id_ := self.waiting.get()) is not None:
                if self.stopped:
                    return
                if not id_:
                    self._find()
                elif self.opened is not None and id_ in self.planned:
                    self._log(self.opened, self.planned[id_])

    def _find(self) -> None:
        """The cells by their ids, of which a search may have made others."""
        self.opened = self.open()
        self.planned = {each.id: each for each in self.opened.study.planned} if self.opened else {}

    def _log(self, opened: Opened, planned: Planned) -> None:
        """What loggers lack of a cell."""
        try:
            self._put(opened, planned)
        except _Stop:
            raise
        except Exception as error:  # What is logged could not be read: that ends the logging, and never the run.
            for feed in list(self.feeds):
                self._lose(feed, error)

    def _put(self, opened: Opened, planned: Planned) -> None:
        result = opened.now(planned)
        if not result["rounds"]:
            return
        run = run_of(opened.study.name, planned, result)
        self._each(lambda feed: feed.rounds(run, result), self.feeds)
        if result["status"] not in FINISHED:
            return
        lacking = [feed for feed in self.feeds if run.id in feed.open]
        if lacking:
            for round_, values, pictures in weights_of(opened, result):
                self._each(partial(Feed.weights, run=run, round_=round_, values=values, pictures=pictures), lacking)
                if self.stopped:
                    raise _Stop
        self._each(lambda feed: feed.end(run), lacking)

    def _each(self, do: Callable[[Feed], None], feeds: Iterable[Feed]) -> None:
        """The same with every logger; one that fails is told, and is none of them from here on."""
        for feed in [each for each in feeds if each in self.feeds]:
            try:
                do(feed)
            except Exception as error:
                self._lose(feed, error)

    def _lose(self, feed: Feed, error: Exception) -> None:
        self.feeds.remove(feed)
        said = str(error).partition("\n")[0]
        self.tell(f"{feed.sink.said}: has failed ({type(error).__name__}: {said}), and nothing more is logged there. "
                  "No result hangs on it. Logged again, it gets what it lacks.")
        with suppress(Exception):
            feed.close()


class _Stop(Exception):
    """The run was stopped: what is not whole is left."""
