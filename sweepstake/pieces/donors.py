"""Donors: the cell whose masks a transplant takes, named by the fields in which it differs from the receiver."""

from typing import Any

import msgspec

from sweepstake.base.cell import SETS, Cell, Ref
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.values import convert
from sweepstake.pieces import REGISTRIES

OF_THE_DATA = ("dataset", "normalise", "subset", "validation", "split_seed", "model", "precision", "donor",
               "donor_mask")
"""Fields in which a donor cannot differ: its masks would not fit, or it would have seen other images.

A donor has no donor of its own.
"""


def donor_of(cell: Cell) -> Cell:
    """The cell whose masks a transplant takes: this cell, with the fields that `donor` names replaced."""
    fields = {field.name: field for field in msgspec.structs.fields(Cell)}
    problems, changed = list[str](), dict[str, Any]()
    for key, value in (cell.donor or {}).items():
        if key not in fields:
            problems.append(unknown(f"donor: {key}", "field", key, fields, lists="`sweepstake pieces study`"))
        elif key in OF_THE_DATA:
            problems.append(f"donor: {key}: a donor has the same data and model. Take {key} out.")
        else:
            try:
                type_ = fields[key].type
                changed[key] = _resolved(key, value) if key in SETS else convert(value, type_, f"donor: {key}")
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(*problems)
    return msgspec.structs.replace(cell, **{"control": "none", "donor": None, "donor_mask": "as_it_is", **changed})


def _resolved(key: str, value: Any) -> Ref:
    given: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
    flat = {option: each for option, each in given.items() if option not in ("name", "version", "source")}
    registry = REGISTRIES[SETS[key]]
    return registry.ref(given["name"], given.get("options", flat), f"donor: {key}")
