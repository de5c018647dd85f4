"""One cell among many, by values of its keys, axes and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepstake.base.cell import SETS, Ref
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.records import Result
from sweepstake.pieces import told

SHOWN = 12
"""Values of a column that are told."""


def choose(cells: Sequence[Result], where: Mapping[str, Any]) -> Result:
    """The one cell that says all of `where`; refused where several do, or none."""
    left = list(cells)
    for key, value in where.items():
        if key not in columns_of(cells):
            raise UserError(unknown(f"ticket: {key}", "axis or key of a cell", key, columns_of(cells)))
        found = _saying(cells, key, value)
        if not found:
            values = list(dict.fromkeys(_ways(each, key)[0] for each in cells))
            raise UserError(unknown(f"ticket: {key} = {text(value)}", "value", text(value), values))
        left = [each for each in left if each in found]
    said = ", ".join(f"{key} = {text(value)}" for key, value in where.items())
    if not left:
        raise UserError(f"ticket: no cell of the study has {said} together.")
    if len(left) > 1:
        raise UserError(f"ticket: {len(left)} cells{f' have {said}' if said else ' are there'}, and a ticket is of "
                        f"one. Say which: {_open(left)}.")
    return left[0]


def said(where: Sequence[str]) -> dict[str, str]:
    """`init=xavier_normal`, as the command line says it, taken apart."""
    pairs = [(key.strip(), equals, value.strip()) for key, equals, value in (each.partition("=") for each in where)]
    if wrong := [each for each, (key, equals, _) in zip(where, pairs, strict=True) if not (key and equals)]:
        raise UserError(f"--where {wrong[0]}: say key=value, as in --where init=xavier_normal.")
    keys = [key for key, _, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UserError(f"--where {twice[0]}: stands twice, and a ticket is of one cell. Say one value.")
    return {key: value for key, _, value in pairs}


def columns_of(cells: Sequence[Result]) -> list[str]:
    """What can be said of a cell: the axes of its study (`case` among them), and every key."""
    return list(dict.fromkeys(key for each in cells for key in (*each["labels"], *each["cell"])))


def text(value: Any) -> str:
    """A value as a study's labels write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _saying(cells: Sequence[Result], key: str, value: Any) -> list[Result]:
    """The cells that say the value in the most exact way in which any does: `rewind` is no rewind(step=5)."""
    wanted = text(value)
    for way in range(3):
        found = [each for each in cells if len(_ways(each, key)) > way and _same(_ways(each, key)[way], wanted)]
        if found:
            return found
    return []


def _ways(result: Result, key: str) -> list[str]:
    """How a cell says a key, the most exact first: its label, the piece with its options, the piece's name."""
    ways = [result["labels"][key]] if key in result["labels"] else []
    if key in SETS:
        piece = Ref(**result["cell"][key])
        return [*ways, told(SETS[key], piece), piece.name]
    return [*ways, text(result["cell"][key])] if key in result["cell"] else ways


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _open(cells: Sequence[Result]) -> str:
    """What these cells still differ in, with the values of each: `init = xavier_normal, zeros; seed = 0, 1`."""
    columns = {axis: list(dict.fromkeys(each["labels"][axis] for each in cells)) for axis in cells[0]["labels"]}
    columns["seed"] = [str(seed) for seed in dict.fromkeys(each["seed"] for each in cells)]
    return "; ".join(f"{column} = {', '.join(values[:SHOWN])}{', ...' if len(values) > SHOWN else ''}"
                     for column, values in columns.items() if len(values) > 1)
