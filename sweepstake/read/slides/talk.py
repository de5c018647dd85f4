"""The slides of a study, in their order: title, question, plan, figures, verdicts, and how to run it again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sweepstake.base.cell import SETS
from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.base.specs import label
from sweepstake.pieces import told
from sweepstake.read.claims import Verdict, shown, with_range
from sweepstake.read.figures import Spec
from sweepstake.read.figures.write import bitmap
from sweepstake.read.page.document import read
from sweepstake.read.publish import provenance
from sweepstake.read.slides.chart import add_chart, is_native, panels_of
from sweepstake.read.slides.deck import INNER, INSIDE, SMALLEST, TEXT, Deck, Place, cut, row_height
from sweepstake.study.study import Study

A_SLIDE = 6
"""Claims."""
PANELS = 6
"""More than these are one picture, not a slide each."""
MARKS = {"supported": "✓ supported", "contradicted": "✗ contradicted"}
CAPTION = 0.8
"""Inches below a figure."""
SCALE = 6.0
"""Pixels a pixel of a picture, which makes 300 a inch across a slide."""
LARGER = {"axis": {"labelFontSize": 14, "titleFontSize": 15}, "legend": {"labelFontSize": 14, "titleFontSize": 14},
          "header": {"labelFontSize": 15}}
"""Letters of a picture, which a slide shows a third larger."""


def write_slides(study: Study, results: Sequence[Result], path: Path | str) -> Path:
    """A PowerPoint file of whatever results there are."""
    path = Path(path)
    if path.suffix.lower() != ".pptx":
        raise UserError(f"--out {path}: slides are a PowerPoint file. Name it FILE.pptx.")
    deck, found, made = Deck(study.title), read(study, results), provenance(study, results, [], "")
    deck.opening(study.title, f"{study.name}: {_cells(made)}")
    if study.about:
        deck.slide("The question", [study.about]).text([" ".join(part.split()) for part in study.about.split("\n\n")])
    _plan(deck, study, results)
    for _, spec in found.drawn:
        _figure(deck, spec)
    for verdicts in _by_slide(found.verdicts):
        _verdicts(deck, verdicts, found.verdicts)
    _made(deck, study, made)
    return deck.save(path)


def _cells(made: dict[str, Any]) -> str:
    """How many cells there are of those that were planned, and what became of the others."""
    counts = {word: count for word, count in made["cells"].items() if word != "planned"}
    whole = f"{made['cells']['planned']:,} cells, {made['rounds']:,} trainings"
    return whole if set(counts) == {"done"} else f"{whole} ({', '.join(f'{n:,} {word}' for word, n in counts.items())})"


def _plan(deck: Deck, study: Study, results: Sequence[Result]) -> None:
    """What is fixed and what varies."""
    cell = study.planned[0].cell
    long = f"{cell.epochs:g} epochs" if cell.epochs else f"{cell.steps:,} steps"
    keeps = f", {100 * cell.keep:g} % kept in each" if isinstance(cell.keep, float) else ""
    varies = {axis: ", ".join(map(label, labels)) for axis, labels in study.axes.items()}
    fixed = {key: told(SETS[key], getattr(cell, key)) for key in ("dataset", "model", "init", "criterion", "reset")}
    rows = [*((f"{axis} (varies)", said) for axis, said in varies.items()),
            ("seeds", _numbers(study.seeds)),
            *((key, said) for key, said in fixed.items() if key not in varies),
            *([("rounds", f"{cell.rounds}{keeps}")] if "rounds" not in varies else []),
            *([("a training", long)] if not {"epochs", "steps"} & set(varies) else [])]
    widths = (3.3, INNER - 3.3)
    shown_, height = [("setting", "value")], row_height(("setting", "value"), widths)
    for name, said in rows:
        row = cut(name, widths[0] - 0.25, SMALLEST, 1), cut(said, widths[1] - 0.25, SMALLEST, 3)
        height += row_height(row, widths)
        if height > INSIDE.height:
            break
        shown_.append(row)
    deck.slide("The plan", [f"{name}: {said}" for name, said in rows]).table(shown_, widths)


def _numbers(seeds: Sequence[int]) -> str:
    """`5 (0 to 4)`."""
    run = list(seeds) == list(range(seeds[0], seeds[0] + len(seeds)))
    which = f"{seeds[0]} to {seeds[-1]}" if run else ", ".join(map(str, seeds))
    return f"{len(seeds)} ({which})" if len(seeds) > 1 else which


def _figure(deck: Deck, spec: Spec) -> None:
    """A slide a figure, and of one in panels a slide a panel, where it can be a chart."""
    title, notes = spec["title"]["text"], [" ".join(spec["title"]["subtitle"])]
    place = INSIDE._replace(height=INSIDE.height - CAPTION)
    below = Place(INSIDE.left, place.top + place.height, INSIDE.width, CAPTION)
    panels = panels_of(spec) if is_native(spec) else {}
    if panels and len(panels) <= PANELS:
        notes = [notes[0].replace("; dashed: the dense network", "")]  # A chart has it as its first point alone.
        for panel, points in panels.items():
            slide = deck.slide(f"{title}: {panel}" if panel else title, notes)
            add_chart(slide, spec, points, place)
            slide.text(notes, below, SMALLEST)
        return
    config = {**spec["config"], **{part: {**spec["config"][part], **sizes} for part, sizes in LARGER.items()}}
    bare = {**{key: value for key, value in spec.items() if key != "title"}, "config": config}
    deck.slide(title, notes).picture(bitmap(bare, SCALE), spec["description"], place).text(notes, below, SMALLEST)


def _by_slide(verdicts: Sequence[Verdict]) -> Iterator[list[Verdict]]:
    """As many as fit on a slide, and no more than six."""
    some, height = list[Verdict](), 0.0
    for verdict in verdicts:
        more = row_height(_row(verdict), WIDTHS)
        if some and (len(some) == A_SLIDE or height + more > INSIDE.height - row_height(HEAD, WIDTHS)):
            yield some
            some, height = [], 0.0
        some, height = [*some, verdict], height + more
    if some:
        yield some


WIDTHS = (2.2, 6.6, INNER - 8.8)
HEAD = ("verdict", "claim", "found")


def _row(verdict: Verdict) -> tuple[str, str, str]:
    found = with_range(*shown(verdict))
    return (MARKS.get(verdict.verdict, "? undecided"), cut(verdict.says, WIDTHS[1] - 0.25, SMALLEST, 4),
            cut(found, WIDTHS[2] - 0.25, SMALLEST, 4))


def _verdicts(deck: Deck, some: Sequence[Verdict], every: Sequence[Verdict]) -> None:
    counts = Counter(verdict.verdict for verdict in every)
    words = ", ".join(f"{counts[word]} {word}" for word in ("supported", "contradicted", "undecided") if counts[word])
    notes = [f"{verdict.claim}, {verdict.verdict}: {verdict.says} {verdict.reason}" for verdict in some]
    first, last = every.index(some[0]) + 1, every.index(some[-1]) + 1
    which = "" if len(some) == len(every) else f" (claims {first} to {last} of {len(every)})"
    deck.slide(f"{words}{which}", notes).table([HEAD, *map(_row, some)], WIDTHS)


def _made(deck: Deck, study: Study, made: dict[str, Any]) -> None:
    """What computed it, and how to do so again."""
    changes = " ".join(study.changes)
    run = " ".join(filter(None, ["sweepstake run", study.name, changes]))
    seconds = made["seconds"]["all"]
    facts = [f"{_cells(made)}, {seconds / 3600:.1f} hours of one core" if seconds >= 3600 else
             f"{_cells(made)}, {seconds:,.0f} seconds of one core"]
    facts += [_maker(each) for each in made["made_by"][:3]]
    notes = [*facts, *(_maker(each) for each in made["made_by"][3:]), f"Finished {' to '.join(made['finished'])}.",
             f"The study's text (SHA-256 {made['study_sha256']}):", study.text]
    text = INSIDE._replace(height=3.2)
    below = Place(INSIDE.left, text.top + text.height, INSIDE.width, INSIDE.height - text.height)
    slide = deck.slide("How it was made, and how to run it again", notes)
    slide.text([*facts, f"Study text: SHA-256 {made['study_sha256'][:16]}"], text, TEXT - 4)
    slide.text([f"pip install sweepstake=={made['sweepstake']}", run], below, TEXT - 4, mono=True)


def _maker(made: dict[str, Any]) -> str:
    """`20 cells: Intel Xeon, torch 2.13.0`."""
    said = [str(value) if key in ("processor", "numerics", "engine", "device") else f"{key} {value}"
            for key, value in made.items() if key != "cells" and isinstance(value, str | int | float)]
    return f"{made['cells']} cells: {', '.join(said)}"
