"""What is shown while cells run adds up, and fits."""

import io
import re
import sys
import types

import msgspec
import pytest
from rich.console import Console

from sweepstake.base import events
from sweepstake.base.events import Event
from sweepstake.run import progress
from sweepstake.run.progress import LineDisplay, NotebookDisplay, Quiet, Tally, TerminalDisplay, clock, display

LABELS = {"a" * 16: "init = xavier · seed 0", "b" * 16: "x" * 200}
A, B = LABELS
PLAN = events.Plan(cells=5, missing=2, rounds={A: 4, B: 4}, begun={A: 0, B: 2}, labels=LABELS)


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    now = iter(range(10**6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    made = Tally()
    made.hear(PLAN)
    return made


def hear(tally: Tally, *heard: Event) -> Tally:
    for event in heard:
        tally.hear(event)
    return tally


def test_a_plan_counts_what_is_kept_and_what_is_begun(tally: Tally):
    assert (tally.cells, tally.kept, tally.rounds_total, tally.rounds_done) == (5, 3, 8, 2)
    assert tally.line().startswith("3 of 5 cells · 2 of 8 rounds · 0.0 cells/min")
    assert tally.seconds_left() is None


def test_rounds_add_up_and_half_a_round_counts_half(tally: Tally):
    hear(tally, events.Began(A), events.Resumed(A, round=0), events.Round(A, round=0),
         events.Step(A, round=1, share=0.5))
    assert (tally.rounds_done, tally.rounds_now) == (3, 3.5)
    tally.began = -58.0  # 60 seconds at the next look.
    assert tally.seconds == pytest.approx(60, abs=2)
    assert tally.rate() == pytest.approx(1.5 / 4, rel=0.1)
    assert tally.seconds_left() == pytest.approx((8 - 3.5) * 60 / 1.5, rel=0.1)


def test_a_round_told_twice_after_a_death_counts_once(tally: Tally):
    hear(tally, events.Began(A), events.Round(A, round=0), events.Died(A, code=-9, again=True),
         events.Began(A), events.Resumed(A, round=1), events.Round(A, round=1))
    assert (tally.rounds_done, tally.failed) == (4, 0)


def test_ends_add_up_to_all(tally: Tally):
    hear(tally, events.Began(A), events.Round(A, round=0), events.Done(A, status="diverged", computed=True),
         events.Began(B), events.Died(B, code=-9, again=False))
    assert (tally.done, tally.diverged, tally.failed, tally.running) == (1, 1, 1, {})
    assert tally.line().startswith("5 of 5 cells · 8 of 8 rounds")
    assert tally.line().endswith("0:00 left · 1 failed · 1 diverged")


def test_a_busy_cell_is_not_running_here(tally: Tally):
    assert hear(tally, events.Began(A), events.Busy(A)).running == {}


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (5.4, "0:05"), (65, "1:05"), (3600, "1:00:00"), (7384, "2:03:04"), (59.6, "1:00")])
def test_a_clock_reads_as_a_clock(seconds: float, shown: str):
    assert clock(seconds) == shown


def test_lines_are_few_and_tell_every_failure(tally: Tally):
    stream = io.StringIO()
    with LineDisplay(tally, stream, seconds=1000) as shown:
        tally.began, shown.last = 0.0, 0.0
        for event in (events.Began(A), events.Round(A, round=0), events.Failed(A, error="ValueError: no"),
                      events.Died(B, code=-9, again=True), events.Died(B, code=-9, again=False)):
            shown(event)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == ["failed: init = xavier · seed 0: ValueError: no", f"died: {'x' * 200}: its worker died (exit code -9); again",
                         f"failed: {'x' * 200}: its worker died (exit code -9); given up"]
    assert len(lines) == 4
    assert lines[3].startswith("5 of 5 cells · 8 of 8 rounds")


def test_why_nothing_moves_is_told_by_every_display(capsys: pytest.CaptureFixture[str]):
    why, lines, screen = events.Waiting("no worker answers"), io.StringIO(), io.StringIO()
    LineDisplay(Tally(), lines)(why)
    TerminalDisplay(Tally(), Console(file=screen, width=80))(why)
    NotebookDisplay(Tally())(why)
    assert [lines.getvalue(), screen.getvalue().strip(), capsys.readouterr().err] == [
        "no worker answers\n", "no worker answers", "no worker answers\n"]


def test_nothing_to_do_says_nothing():
    stream = io.StringIO()
    with LineDisplay(Tally(), stream) as shown:
        shown(events.Plan(cells=3, missing=0, rounds={}, begun={}))
    assert stream.getvalue() == ""


@pytest.mark.parametrize("width", [80, 60, 40, 200])
def test_the_terminal_display_fits_its_terminal(tally: Tally, width: int):
    console = Console(width=width, force_terminal=True, record=True, file=io.StringIO(), legacy_windows=False)
    shown = TerminalDisplay(tally, console)
    hear(tally, events.Began(A), events.Step(A, round=1, share=0.5), events.Began(B),
         events.Failed("c", error="x"), events.Done("d", status="diverged"))
    console.print(shown._draw())
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 5  # The bar, the counts, the heads of columns, and a line for each of two cells.
    assert lines[2].split() == ["cell", "rounds", "kept", "accuracy"]
    assert lines[3].startswith("aaaaaa") and lines[3].rstrip().endswith("1 of 4")


def test_accuracy_so_far_is_a_mean_over_the_cells_that_have_finished_the_last_round_of_any(tally: Tally):
    assert tally.accuracy() == ""
    hear(tally, events.Round(A, 0, 1.0, 0.96), events.Round(B, 0, 1.0, 0.90))
    assert tally.accuracy() == "test accuracy so far: 93.00 % dense (mean of 2 cells)"
    hear(tally, events.Round(A, 1, 0.8, 0.97))
    assert tally.accuracy() == "test accuracy so far: 96.00 % dense, 97.00 % at 80 % kept (1 cell)"
    hear(tally, events.Round(B, 1, 0.8, 0.91))
    assert tally.accuracy() == "test accuracy so far: 93.00 % dense, 94.00 % at 80 % kept (mean of 2 cells)"


def test_where_cells_keep_other_fractions_in_a_round_its_number_is_said(tally: Tally):
    hear(tally, *(events.Round(id_, round_, kept, 0.5) for id_, levels in ((A, (1.0, 0.8)), (B, (1.0, 0.5))) for round_, kept in enumerate(levels)))
    assert tally.accuracy() == "test accuracy so far: 50.00 % dense, 50.00 % in round 1 (mean of 2 cells)"


def test_a_diverged_round_has_no_accuracy_and_spoils_no_mean(tally: Tally):
    hear(tally, events.Round(A, 0, 1.0, 0.5), events.Round(B, 0, 1.0, None))
    assert tally.accuracy() == "test accuracy so far: 50.00 % dense (1 cell)"


def test_rounds_that_were_there_before_count_in_the_accuracy_so_far(tally: Tally):
    hear(tally, msgspec.structs.replace(PLAN, so_far=[events.Round("c", 0, 1.0, 0.9), events.Round("c", 1, 0.8, 0.7)]))
    assert tally.accuracy() == "test accuracy so far: 90.00 % dense, 70.00 % at 80 % kept (1 cell)"
    assert tally.rounds_done == 2


def test_a_running_cell_shows_what_its_last_round_kept_and_came_to(tally: Tally):
    console = Console(width=80, force_terminal=True, record=True, file=io.StringIO(), legacy_windows=False)
    hear(tally, events.Began(A), events.Round(A, 0, 1.0, 0.9623), events.Round(A, 1, 0.512, 0.9501))
    console.print(TerminalDisplay(tally, console)._draw())
    lines = console.export_text().splitlines()
    assert lines[2].startswith("test accuracy so far: 96.23 % dense, 95.01 % at 51.2 % kept (1 cell)")
    assert lines[4].split()[-7:] == ["2", "of", "4", "51.2", "%", "95.01", "%"]


def test_a_log_says_the_accuracy_so_far_under_the_counts(tally: Tally):
    stream = io.StringIO()
    with LineDisplay(tally, stream, seconds=0) as shown:
        shown(events.Round(A, 0, 1.0, 0.9))
    lines = stream.getvalue().splitlines()
    assert [line.startswith("3 of 5 cells · 3 of 8 rounds") for line in lines] == [True, False] * 2
    assert lines[1::2] == ["test accuracy so far: 90.00 % dense (1 cell)"] * 2


def test_a_round_travels_as_json_with_its_numbers_and_a_diverged_one_without():
    record = {"round": 3, "kept_fraction": 0.512, "end": {"test": {"accuracy": 0.95, "loss": 0.1}}}
    assert events.decode(events.encode(events.Round.of(A, record))) == events.Round(A, 3, 0.512, 0.95)
    assert events.decode(events.encode(events.Round.of(A, {**record, "end": {}}))) == events.Round(A, 3, 0.512, None)


def test_the_terminal_is_clean_afterwards(tally: Tally):
    out = io.StringIO()
    with TerminalDisplay(tally, Console(width=80, force_terminal=True, file=out)) as shown:
        shown(events.Began(A))
    assert out.getvalue().endswith(("\x1b[2K", "\x1b[?25h\x1b[1A\x1b[2K")) or "\x1b[?25h" in out.getvalue()


def test_a_notebook_gets_a_bar_that_is_redrawn(tally: Tally, monkeypatch: pytest.MonkeyPatch):
    drawn: list[str] = []

    class Handle:
        def update(self, html: str) -> None:
            drawn.append(html)

    def show(html: str, display_id: bool) -> Handle:
        drawn.append(html)
        return Handle()

    ipython, shell = types.ModuleType("IPython"), type("ZMQInteractiveShell", (), {})()
    ipython.get_ipython = lambda: shell  # pyright: ignore[reportAttributeAccessIssue]
    ipython_display = types.ModuleType("IPython.display")
    ipython_display.HTML, ipython_display.display = str, show  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython_display)
    shown = display()
    assert isinstance(shown, NotebookDisplay)
    with shown:
        shown(PLAN)
        shown(events.Round(A, round=0))
    assert len(drawn) >= 2
    assert re.search(r'max="8" value="3\.00"', drawn[-1])
    assert "3 of 5 cells" in drawn[-1]


def test_a_pipe_gets_lines_and_a_terminal_a_live_display():
    assert isinstance(display(Console(file=io.StringIO())), LineDisplay)
    assert isinstance(display(Console(file=io.StringIO(), force_terminal=True)), TerminalDisplay)


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]):
    with Quiet() as shown:
        shown(PLAN)
    assert capsys.readouterr() == ("", "")
