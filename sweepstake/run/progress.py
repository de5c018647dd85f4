"""What is shown while cells run: a live display in a terminal, a bar in a notebook, a line a cell elsewhere."""

import statistics
import sys
import time
from collections.abc import Mapping
from html import escape
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from sweepstake.base import events
from sweepstake.base.events import Event, Round
from sweepstake.base.text import visible


class Terminal(Console):
    """What people read: on stderr, where text is only text, whatever it holds.

    Styles are said beside it, never in it.
    """

    def __init__(self, **how: Any):
        said = {"stderr": True, "soft_wrap": not sys.stderr.isatty(), **how}
        super().__init__(**said, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(visible(text), **how)


SAME_LEVEL = 1.02
"""Kept fractions whose ratio is no more than this are one level."""


WIDE = 60
"""Columns of a terminal from which on a running cell has a bar."""


class Tally:
    """What every display shows: cells, rounds, rate, time left and accuracy so far, from the events of a run."""

    def __init__(self):
        self.labels: dict[str, str] = {}
        self.began, self.training = time.monotonic(), False
        self.cells = self.kept = self.done = self.failed = self.diverged = 0
        self.rounds_total = self.rounds_before = 0
        self.finished: dict[str, int] = {}
        self.running: dict[str, tuple[int, float]] = {}
        self.rounds: dict[str, int] = {}
        self.told: dict[str, dict[int, Round]] = {}
        """Each finished round of each cell, with its numbers."""
        self.compiling, self.stage = False, ""

    def hear(self, event: Event) -> None:
        match event:
            case events.Plan():
                self._plan(event)
            case events.Compiling():
                self.compiling = not self.training
            case events.Began(id_):
                self.running[id_] = (self.finished.get(id_, 0), 0.0)
            case events.Resumed(id_, round_):
                if not self.training:
                    self.training, self.compiling = True, False
                    self.began = time.monotonic()  # Loading libraries is no part of the rate.
                self.finished[id_] = round_
                self.running[id_] = (round_, 0.0)
            case events.Step(id_, round_, share):
                self.running[id_] = (round_, share)
            case events.Round(id_, round_):
                self.told.setdefault(id_, {})[round_] = event
                self.finished[id_] = round_ + 1
                self.running[id_] = (round_ + 1, 0.0)
            case events.Busy(id_) | events.Died(id_, again=True):
                self.running.pop(id_, None)
            case events.Done(id_, status):
                self._end(id_)
                self.done += 1
                self.diverged += status == "diverged"
            case events.Failed(id_) | events.Died(id_):
                self._end(id_)
                self.failed += 1
            case _:
                pass

    def _plan(self, plan: events.Plan) -> None:
        self.labels |= plan.labels
        self.stage, self.training, self.done, self.failed, self.diverged = plan.stage, False, 0, 0, 0
        self.cells, self.kept = plan.cells, plan.cells - plan.missing
        self.rounds = dict(plan.rounds)
        self.rounds_total = sum(self.rounds.values())
        self.finished = dict(plan.begun)
        self.rounds_before = self.rounds_done
        self.told = {}
        for each in plan.so_far:
            self.told.setdefault(each.id, {})[each.round] = each

    def _end(self, id_: str) -> None:
        self.running.pop(id_, None)
        self.finished[id_] = self.rounds.get(id_, 0)  # What a diverged or failed cell leaves out will not be run.

    @property
    def rounds_done(self) -> int:
        return sum(self.finished.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def rounds_now(self) -> float:
        return self.rounds_done + sum(share for _, share in self.running.values())

    def rate(self) -> float:
        """Cells a minute, from rounds done in this run."""
        fresh = self.rounds_now - self.rounds_before
        a_cell = self.rounds_total / max(1, len(self.rounds))
        return 60 * fresh / a_cell / self.seconds if self.seconds > 0 and a_cell else 0.0

    def seconds_left(self) -> float | None:
        fresh = self.rounds_now - self.rounds_before
        return (self.rounds_total - self.rounds_now) * self.seconds / fresh if fresh >= 1 else None

    def line(self) -> str:
        if self.compiling:
            return f"0 of {self.cells} cells · compiling the kernels, once for this machine ..."
        left = self.seconds_left()
        bad = "".join(f" · {n} {word}" for n, word in ((self.failed, "failed"), (self.diverged, "diverged")) if n)
        stage = f"{self.stage} · " if self.stage else ""
        return (f"{stage}{self.kept + self.done + self.failed} of {self.cells} cells · "
                f"{self.rounds_done} of {self.rounds_total} rounds · "
                f"{self.rate():.1f} cells/min · {'' if left is None else clock(left) + ' left'}{bad}").rstrip(" ·")


    def accuracy(self) -> str:
        """The mean test accuracy so far: of round 0, and of the last round that any cell has finished.

        Both are of the same cells, those that have finished that round. Empty before the first round.
        """
        found = accuracy_so_far(self.told)
        return f"test accuracy so far: {found}" if found else ""

    def last(self, id_: str) -> Round | None:
        """The last round that a cell has finished."""
        rounds = self.told.get(id_)
        return rounds[max(rounds)] if rounds else None


def accuracy_so_far(told: Mapping[str, Mapping[int, Round]]) -> str:
    """`96.23 % dense, 94.10 % at 3.52 % kept (mean of 12 cells)`: of those that have finished the last round of any."""
    last = max((max(rounds) for rounds in told.values()), default=0)
    cells = [(rounds[0], rounds[last]) for rounds in told.values() if 0 in rounds and last in rounds]
    pairs = [(first.accuracy, now.accuracy) for first, now in cells
             if first.accuracy is not None and now.accuracy is not None]
    if not pairs:
        return ""
    means = [percent(statistics.fmean(column)) for column in zip(*pairs, strict=True)]
    places = [_place([first for first, _ in cells]), _place([now for _, now in cells])]
    shown = [f"{mean} {place}" for mean, place in zip(means, places, strict=True)][:1 + (last > 0)]
    return f"{', '.join(shown)} ({'1 cell' if len(pairs) == 1 else f'mean of {len(pairs)} cells'})"


def _place(rounds: list[Round]) -> str:
    """Where a round stands: `dense`, `at 3.52 % kept`, or its number where cells keep different fractions in it."""
    kept = [each.kept for each in rounds if each.kept is not None]
    if not kept or max(kept) > SAME_LEVEL * min(kept):
        return f"in round {rounds[0].round}"
    return "dense" if min(kept) == 1 else f"at {share(kept[0])} kept"


def numbers_of(round_: Round) -> str:
    """What a finished round kept and came to, as the end of a line."""
    return f", {share(round_.kept or 0.0)} kept, test accuracy {percent(round_.accuracy)}"


def percent(value: float | None) -> str:
    """An accuracy: 96.23 %; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.2f} %"


def share(kept: float) -> str:
    """A kept fraction, to three digits that mean something: 100 %, 51.2 %, 3.52 %."""
    return f"{100 * kept:.3g} %"


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def told_at_once(event: Event) -> str:
    """A line beside the bar: of a damaged file and what is done about it, or of why nothing moves."""
    match event:
        case events.Damaged(error, then):
            return f"{error}; {then}."
        case events.Waiting(why):
            return why
        case _:
            return ""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        pass


class TerminalDisplay:
    """A bar over all rounds, the counts, accuracy so far, and a line for each cell that is running now."""

    def __init__(self, tally: Tally, console: Console):
        self.tally, self.console = tally, console
        self.live = Live(console=console, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def __enter__(self) -> "TerminalDisplay":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        self.tally.hear(event)
        if line := told_at_once(event):
            self.console.print(Text(line, style="yellow"), soft_wrap=True)

    def _draw(self) -> RenderableType:
        tally, above = self.tally, Table.grid()
        above.add_row(ProgressBar(max(1, tally.rounds_total), tally.rounds_now, width=min(60, self.console.width)))
        above.add_row(Text(visible(tally.line()), no_wrap=True, overflow="ellipsis"))
        if said := tally.accuracy():
            above.add_row(Text(said, no_wrap=True, overflow="ellipsis"))
        return Group(above, *([self._cells()] if tally.running else []))

    def _cells(self) -> RenderableType:
        """Each running cell: how far it is, and the numbers of its last finished round."""
        tally, wide = self.tally, self.console.width >= WIDE
        bar = [Column(no_wrap=True)] if wide else []
        table = Table(Column("cell", no_wrap=True), Column(), *bar,
                      *(Column(head, no_wrap=True, justify="right") for head in ("rounds", "kept", "accuracy")),
                      box=None, pad_edge=False, header_style="dim")
        for id_, (round_, part) in sorted(tally.running.items()):
            total, last = tally.rounds.get(id_, 1), tally.last(id_)
            table.add_row(Text(id_[:6], style="dim"),
                          Text(visible(tally.labels.get(id_, "")), overflow="ellipsis", no_wrap=True),
                          *([ProgressBar(total, round_ + part, width=16)] if wide else []), f"{round_} of {total}",
                          *(("", "") if last is None else (share(last.kept or 0.0), percent(last.accuracy))))
        return table


class LineDisplay:
    """For a pipe or a log: every failure; at most every `seconds` as rounds end, and at the end, how far it is."""

    def __init__(self, tally: Tally, stream: TextIO, seconds: float = 5.0):
        self.tally, self.stream, self.seconds, self.last, self.told = tally, stream, seconds, 0.0, ""

    def __enter__(self) -> "LineDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        if self.told:
            self._say_how_far()

    def __call__(self, event: Event) -> None:
        self.tally.hear(event)
        match event:
            case events.Failed(id_, error):
                self._say(f"failed: {self._label(id_)}: {error}")
            case events.Died(id_, code, again):
                word, then = ("died", "again") if again else ("failed", "given up")
                self._say(f"{word}: {self._label(id_)}: its worker died (exit code {code}); {then}")
            case events.Damaged() | events.Waiting():
                self._say(told_at_once(event))
            case events.Round() | events.Done() if time.monotonic() - self.last > self.seconds:
                self.last = time.monotonic()
                self._say_how_far()
            case _:
                pass

    def _label(self, id_: str) -> str:
        return self.tally.labels.get(id_, id_)

    def _say_how_far(self) -> None:
        if (line := visible(self.tally.line())) != self.told:
            self._say(line)
            if said := self.tally.accuracy():
                print(said, file=self.stream, flush=True)

    def _say(self, line: str) -> None:
        line = visible(line)
        if line != self.told:
            print(line, file=self.stream, flush=True)
        self.told = line


class NotebookDisplay:
    """A bar of plain HTML that is redrawn in place; needs no widgets."""

    def __init__(self, tally: Tally):
        self.tally, self.last, self.handle = tally, 0.0, None

    def __enter__(self) -> "NotebookDisplay":
        from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

        self.html, self.handle = HTML, display(HTML(self._draw()), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._show()

    def __call__(self, event: Event) -> None:
        self.tally.hear(event)
        if line := told_at_once(event):
            print(line, file=sys.stderr)
        if time.monotonic() - self.last > 0.3:
            self._show()

    def _show(self) -> None:
        self.last = time.monotonic()
        if self.handle is not None:
            self.handle.update(self.html(self._draw()))

    def _draw(self) -> str:
        tally = self.tally
        share = f'max="{max(1, tally.rounds_total)}" value="{tally.rounds_now:.2f}"'
        return (f'<progress style="width:24em" {share}></progress> '
                f"<span>{escape(visible(tally.line()))}</span><br><span>{escape(tally.accuracy())}</span>")


class Downloads:
    """A bar for every file that is fetched."""

    def __init__(self, console: Console):
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self.bars = Progress(*columns, console=console)
        self.of_file: dict[str, TaskID] = {}

    def __enter__(self) -> "Downloads":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, file: str, done: int, total: int) -> None:
        if file not in self.of_file:
            self.of_file[file] = self.bars.add_task(file, total=total)
        self.bars.update(self.of_file[file], completed=done)


class Counted:
    """A bar over many things that are done one after another; in a log a line at most every `seconds`."""

    def __init__(self, what: str, console: Console, seconds: float = 5.0):
        self.what, self.console, self.seconds, self.last = what, console, seconds, time.monotonic()
        columns = BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn()
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task(what, total=None)

    def __enter__(self) -> "Counted":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, total=total)
        elif time.monotonic() - self.last > self.seconds:
            self.last = time.monotonic()
            self.console.print(f"{done:,} of {total:,} {self.what}")


def display(console: Console | None = None) -> Any:
    """The display that fits where we are."""
    tally = Tally()
    if "IPython" in sys.modules and _in_notebook():
        return NotebookDisplay(tally)
    console = console or Terminal()
    return TerminalDisplay(tally, console) if console.is_terminal else LineDisplay(tally, sys.stderr)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
