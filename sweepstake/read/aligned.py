"""The tidy table for people: aligned columns, all of them or those that tell most and fit a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from sweepstake.base.text import visible
from sweepstake.read.analysis import Table

FIRST = ("seed", "round", "kept_fraction", "test_accuracy")
THEN = ("status", "validation_accuracy", "train_accuracy", "early_step", "early_test_accuracy", "test_loss",
        "alive_units", "kept", "steps")
"""Columns in the order in which they are given room, after the axes."""
LONGEST, SHORTEST = 28, 8
"""Characters of a label that is cut to fit."""
GAP = "  "


def aligned(table: Table) -> str:
    """Every column, each as wide as its longest value."""
    return _laid_out(_texts(table, table.columns))


def fitting(table: Table, axes: Sequence[str], width: int) -> str:
    """The axes, seed, round, weights remaining and accuracy, then what else holds a value and fits the width."""
    known = [each for each in (*axes, *FIRST, *THEN) if each in table.columns]
    texts = _texts(table, list(dict.fromkeys(known)))
    for axis in axes:
        texts[axis] = [_cut(text, LONGEST) for text in texts[axis]]
    chosen = {name: texts[name] for name in texts if name in axes or name in FIRST}
    longest = LONGEST
    while _width(chosen) > width and longest > SHORTEST:
        longest -= 1
        chosen |= {axis: [_cut(text, longest) for text in texts[axis]] for axis in axes}
    for name in THEN:
        values = set(texts.get(name, [])[1:])
        told = bool(values - {""}) and not (name == "status" and values == {"done"})
        if told and _width({**chosen, name: texts[name]}) <= width:
            chosen[name] = texts[name]
    return _laid_out(chosen)


def _texts(table: Table, columns: Sequence[str]) -> dict[str, list[str]]:
    """Each column's head and its values, as text."""
    places = list(map(table.columns.index, columns))
    texts: list[list[str]] = [[visible(name)] for name in columns]
    for values in table.values():
        for text, place in zip(texts, places, strict=True):
            text.append(_text(values[place]))
    return dict(zip(columns, texts, strict=True))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return visible(value)
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def _cut(text: str, longest: int) -> str:
    return text if cell_len(text) <= longest else set_cell_size(text, longest - 3) + "..."


def _width(columns: dict[str, list[str]]) -> int:
    return sum(max(map(cell_len, text)) for text in columns.values()) + len(GAP) * (len(columns) - 1)


def _laid_out(columns: dict[str, list[str]]) -> str:
    """A line a row; numbers stand at the right of their column, words at the left."""
    laid = list[list[str]]()
    for head, *values in columns.values():
        wide = max(map(cell_len, [head, *values]))
        right = all(_is_a_number(value) for value in values)
        laid.append([_padded(text, wide, right) for text in (head, *values)])
    return "\n".join(GAP.join(line).rstrip() for line in zip(*laid, strict=True)) + "\n"


def _is_a_number(text: str) -> bool:
    return not text or text.lstrip("-")[:1].isdigit()


def _padded(text: str, wide: int, right: bool) -> str:
    space = " " * (wide - cell_len(text))
    return space + text if right else text + space
