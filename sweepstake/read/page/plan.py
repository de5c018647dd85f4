"""The plan of a study as a drawing: its axes, the cells that they come to, and the rounds of a cell."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sweepstake.base.specs import label
from sweepstake.read import analysis, figures
from sweepstake.read.analysis import StudyLike

Results = Sequence[Mapping[str, Any]]

WIDE, NARROW = 880, 330
"""Two drawings, of which the page shows the one that fits."""
CHARACTER, LINE, PAD, GAP = 7.2, 18, 10, 30
LABELS, LONGEST, BARS = 6, 34, 120
"""Labels of an axis that are named, characters of a line, bars of rounds that are drawn."""


class Plan(NamedTuple):
    """What is drawn, in words."""

    axes: list[tuple[str, list[str]]]
    """Seeds among them."""
    cells: int
    steps: list[tuple[str, str]]
    """The parts of a round, in their order, and what each does."""
    rounds: int
    """After round 0."""
    kept: list[float]
    """What a round trains, as far as it is known, the most of all cells."""
    less: list[float]
    """The least of all cells."""


def plan(study: StudyLike, results: Results) -> Plan:
    """The plan, from the study's axes and the cells that were asked for."""
    seeds = list(dict.fromkeys(str(result["seed"]) for result in results))
    axes = [(axis, list(map(label, labels))) for axis, labels in study.axes.items()]
    cells = [result["cell"] for result in results if result["cell"]]
    rounds = max([max(each["rounds"] for each in cells) if cells else 0,
                  *(result["rounds"][-1]["round"] for result in results if result["rounds"])], default=0)
    spans = [_kept(results, cells, round_) for round_ in range(rounds + 1)]
    known = [span for span in spans if span is not None]
    return Plan([*axes, ("seed", seeds)], len(results), _steps(cells, rounds), rounds,
                [most for _, most in known], [least for least, _ in known])


def _kept(results: Results, cells: Sequence[Mapping[str, Any]], round_: int) -> tuple[float, float] | None:
    """The least and the most that a round trains: measured, or else as `keep` says it."""
    found = [result["rounds"][round_]["kept_fraction"] for result in results if len(result["rounds"]) > round_]
    if not found:
        found = [each["keep"] ** (round_ + (each["prune_when"] != "after")) for each in cells
                 if isinstance(each["keep"], float) and not each["remove"] and each["rounds"] >= round_]
    return (min(found), max(found)) if found else None


def _steps(cells: Sequence[Mapping[str, Any]], rounds: int) -> list[tuple[str, str]]:
    """Train, measure, prune, reset: each with what the cells say of it."""
    long = _either(cells, lambda each: f"{each['epochs']:g} epoch{'s' * (each['epochs'] != 1)}" if each["epochs"]
                   else f"{each['steps']:,} steps")
    steps = [("train", long), ("measure", "loss and accuracy")]
    if not rounds:
        return steps
    pruned = _either(cells, lambda each: each["criterion"]["name"])
    share = _either(cells, _share)
    return [*steps, ("prune", ", ".join(filter(None, [pruned and f"by {pruned}", share]))),
            ("reset", _either(cells, lambda each: each["reset"]["name"]))]


def _share(cell: Mapping[str, Any]) -> str:
    if isinstance(cell["keep"], float) and not cell["remove"]:
        return f"keep {figures.percent(100 * cell['keep'])}"
    return "each layer its own share"


def _either(cells: Sequence[Mapping[str, Any]], of: Any) -> str:
    """What all cells say, or the few things that they say."""
    found = list(dict.fromkeys(of(each) for each in cells))
    return " or ".join(found) if len(found) < 4 else f"{found[0]} or {len(found) - 1} others"


def in_words(found: Plan) -> str:
    """The drawing in sentences: its text alternative, and its caption."""
    product = " × ".join(f"{len(labels)} {axis}{'' if len(labels) == 1 else 's'}" for axis, labels in found.axes)
    cells = f"{found.cells:,} cell{'s' * (found.cells != 1)}"
    first = ", ".join(f"{what} ({how})" if how else what for what, how in found.steps)
    loop = f"Each cell does this {found.rounds + 1} times: {first}." if found.rounds else f"Each cell: {first}."
    kept = f" Of the weights, rounds train {_span(found)}." if found.kept else ""
    return f"{product}: {cells}. {loop}{kept}"


def _span(found: Plan) -> str:
    shown = analysis.levels(found.less, 5)
    levels = [figures.percent(100 * level) for level in shown]
    return f"{', '.join(levels[:-1])} and {levels[-1]}" if len(levels) > 1 else levels[0]


# The drawing

class Pen:
    """Shapes of an SVG, and how far down they go. All text is escaped."""

    def __init__(self, width: int):
        self.width, self.y, self.parts = width, 4.0, list[str]()

    def box(self, x: float, width: float, lines: Sequence[str], kind: str = "") -> float:
        """A box with a bold first line; returns its height."""
        height = LINE * len(lines) + PAD
        self.parts.append(f'<rect class="{kind}" x="{x:.0f}" y="{self.y:.0f}" width="{width:.0f}" '
                          f'height="{height:.0f}" rx="6"/>')
        for number, line in enumerate(lines):
            self.text(x + PAD, self.y + LINE * (number + 1) - 1, line, "head" if number == 0 else "")
        return height

    def text(self, x: float, y: float, said: str, kind: str = "", anchor: str = "start") -> None:
        from markupsafe import escape

        self.parts.append(f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(said)}</text>')

    def arrow(self, *points: tuple[float, float]) -> None:
        at = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        self.parts.append(f'<polyline points="{at}" marker-end="url(#plan-tip-{self.width})"/>')

    def down(self) -> None:
        """An arrow from one part of the plan to the next."""
        self.arrow((20, self.y + 3), (20, self.y + 23))
        self.y += GAP

    def whole(self) -> str:
        head = (f'<marker id="plan-tip-{self.width}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
                'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8Z"/></marker>')
        height = self.y + 4
        return (f'<svg class="plan" viewBox="-1 -1 {self.width + 2} {height:.0f}" width="{self.width + 2}" '
                f'height="{height:.0f}" aria-hidden="true" focusable="false"><defs>{head}</defs>'
                f'{"".join(self.parts)}</svg>')


def svg(found: Plan, width: int) -> str:
    """The axes, times each other, the cells, the loop of rounds, and a bar for what each round trains."""
    pen = Pen(width)
    _axes(pen, found)
    pen.down()
    cells = f"{found.cells:,} cell{'s' * (found.cells != 1)}"
    pen.y += pen.box(0, min(width, 300), [cells, "every combination, one training each" if not found.rounds else
                                          "every combination, a network each"], "cells") + 3
    pen.down()
    _loop(pen, found)
    if len(found.kept) > 1:
        pen.down()
        _bars(pen, found)
    return pen.whole()


def _axes(pen: Pen, found: Plan) -> None:
    x = row = 0.0
    for number, (axis, labels) in enumerate(found.axes):
        lines = _lines(axis, labels)
        width = max(map(len, lines)) * CHARACTER + 2 * PAD
        if x and x + 24 + width > pen.width:
            pen.y, x, row = pen.y + row + 6, 0.0, 0.0
        if number:
            pen.text(x + 12, pen.y + LINE, "×", "head", "middle")
            x += 24
        row = max(row, pen.box(x, width, lines))
        x += width
    pen.y += row


def _lines(axis: str, labels: Sequence[str]) -> list[str]:
    if axis == "seed":
        return [f"{len(labels)} seed{'s' * (len(labels) != 1)}", _cut(", ".join(labels), 20)]
    more = len(labels) - LABELS
    shown = labels if more <= 1 else labels[:LABELS]
    return [f"{axis}: {len(labels)}", *(_cut(one) for one in shown), *([f"and {more} more"] if more > 1 else [])]


def _cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most - 1]}…"


def _loop(pen: Pen, found: Plan) -> None:
    """The parts of a round, side by side or one below the other, and the way back."""
    pen.text(0, pen.y + 14, f"Rounds 0 to {found.rounds} of each cell" if found.rounds else "Each cell", "head")
    pen.y += 24
    boxes = [[what, *_wrapped(how, 22)] for what, how in found.steps]
    aside = pen.width >= WIDE
    if aside:
        width = (pen.width - 30 * (len(boxes) - 1)) / len(boxes) if len(boxes) > 2 else 200
        tall = max(map(len, boxes))
        boxes = [[*lines, *[""] * (tall - len(lines))] for lines in boxes]
        height = 0.0
        for number, lines in enumerate(boxes):
            x = number * (width + 30)
            height = pen.box(x, width, lines, "step")
            if number:
                pen.arrow((x - 28, pen.y + height / 2), (x - 3, pen.y + height / 2))
        bottom, last = pen.y + height, (len(boxes) - 1) * (width + 30) + width / 2
        pen.y = bottom
        if found.rounds:
            pen.arrow((last, bottom + 2), (last, bottom + 20), (width / 2, bottom + 20), (width / 2, bottom + 3))
            pen.text(pen.width / 2, bottom + 36, _again(found), "soft", "middle")
            pen.y += 40
        return
    width, top = pen.width - 70, pen.y
    middles = []
    for number, lines in enumerate(boxes):
        if number:
            pen.arrow((20, pen.y + 2), (20, pen.y + 17))
            pen.y += 20
        height = pen.box(0, width, lines, "step")
        middles.append(pen.y + height / 2)
        pen.y += height
    if found.rounds:
        side = width + 22
        pen.arrow((width + 2, middles[-1]), (side, middles[-1]), (side, middles[0]), (width + 3, middles[0]))
        pen.text(side + 6, (top + pen.y) / 2, f"{found.rounds} ×", "soft")
        pen.y += 4


def _wrapped(text: str, most: int) -> list[str]:
    """In lines that fit a box."""
    import textwrap

    return textwrap.wrap(text.replace(" %", "\u00a0%"), most)[:4] if text else []


def _again(found: Plan) -> str:
    return f"{found.rounds} time{'s' * (found.rounds != 1)} more, each with fewer weights"


def _bars(pen: Pen, found: Plan) -> None:
    """What each round trains, as a bar; the pale part where some cells keep more than others."""
    pen.text(0, pen.y + 14, "Weights that each round trains", "head")
    pen.y += 24
    kept, less, high = found.kept[:BARS], found.less[:BARS], 70
    step = min(52.0, pen.width / len(kept))
    told = {round(place * (len(kept) - 1) / max(1, count - 1))
            for count in [max(2, min(len(kept), int(step * len(kept) // 48)))] for place in range(count)}
    for number, (most, least) in enumerate(zip(kept, less, strict=True)):
        x = number * step
        for share, kind in ((most, "most"), (least, "bar")):
            tall = max(1.0, high * share)
            pen.parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{pen.y + 16 + high - tall:.1f}" '
                             f'width="{0.8 * step:.1f}" height="{tall:.1f}"/>')
        if number in told:
            ends = step <= 40 and number > len(kept) / 2
            at, anchor = (x + 0.4 * step, "middle") if step > 40 else (x + 0.8 * step, "end") if ends else (x, "start")
            pen.text(at, pen.y + 12 + high - max(1.0, high * most), figures.percent(100 * least), "small", anchor)
    pen.y += high + 18
