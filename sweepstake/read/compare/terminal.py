"""A comparison, told in a terminal: a table a pair, and a line a baseline."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from sweepstake.read import terminal
from sweepstake.read.compare.numbers import Outcome, in_short
from sweepstake.run.opened import Opened
from sweepstake.run.progress import Terminal
from sweepstake.study.compare import COMPRESSIONS

COLOURS = {"better": "green", "worse": "red", "undecided": "yellow"}


def tell_outcome(outcome: Outcome, opened: Opened, console: Terminal) -> None:
    """A pair's accuracies, and what is decided of each new method."""
    found = outcome.over_seeds("test_accuracy")
    mean, std = outcome.dense_over_seeds("accuracy")
    table = Table(title=f"{outcome.name}: test accuracy (%), mean ± std over seeds; dense {_percent(mean, std)}",
                  title_justify="left", header_style="bold")
    table.add_column("method")
    for compression in COMPRESSIONS:
        table.add_column(f"{compression}x", justify="right", no_wrap=True)
    for method in outcome.methods:
        cells = [found.get((method.label, compression)) for compression in COMPRESSIONS]
        table.add_row(method.label, *(_percent(one["mean"], one["std"]) if one else "–" for one in cells))
    console.print(table)
    for mine in outcome.asked.new:
        for other, at in in_short(outcome, mine):
            console.print(f"{mine.label} against {other}:", end=" ")
            said = [(word, ", ".join(f"{each}x" for each in sizes)) for word, sizes in at.items() if sizes]
            for number, (word, sizes) in enumerate(said):
                console.print(word, style=COLOURS[word], end=" ")
                console.print(f"at {sizes}", end="\n" if number == len(said) - 1 else "; ")
    terminal.tell_origins(opened, console)
    terminal.tell_failed(opened, opened.kept, console)


def lacking(outcomes: Sequence[Outcome]) -> list[str]:
    """The cells that failed, are missing or damaged, pair by pair: the comparison is not whole."""
    lines = list[str]()
    for outcome in outcomes:
        count = Counter(result["status"] for result in outcome.results)
        for status in ("failed", "missing", "damaged"):
            if count[status]:
                lines.append(f"{outcome.name}: {count[status]} of {len(outcome.results)} cells {status}, in no mean.")
    return lines


def lost(outcomes: Sequence[Outcome]) -> list[str]:
    """The cells that diverged, pair by pair: a result, but one without an accuracy."""
    lines = list[str]()
    for outcome in outcomes:
        if count := sum(result["status"] == "diverged" for result in outcome.results):
            lines.append(f"{outcome.name}: {count} of {len(outcome.results)} cells diverged, in no mean.")
    return lines


def _percent(mean: float | None, std: float | None) -> str:
    return "–" if mean is None else f"{100 * mean:.1f}" + ("" if std is None else f" ±{100 * std:.1f}")
