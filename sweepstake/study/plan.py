"""Cells -> stacks: the cells that can train side by side as one program."""

from collections.abc import Sequence

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.study.study import Planned

PROGRAM = ("dataset", "normalise", "subset", "validation", "split_seed", "model", "optimiser", "batch_size",
           "epochs", "steps", "eval_every", "rounds", "precision")
"""The fields in which the cells of a stack agree: they decide shapes and steps."""


def stack_cells(planned: Sequence[Planned]) -> list[list[Planned]]:
    """The cells of each stack, in the study's order."""
    groups: dict[bytes, list[Planned]] = {}
    for each in planned:
        groups.setdefault(program_of(each.cell), []).append(each)
    return list(groups.values())


def program_of(cell: Cell) -> bytes:
    """What the cells of a stack agree in, as a key."""
    fields = {name: getattr(cell, name) for name in PROGRAM}
    fields["rewound_to"] = cell.reset.options.get("step", 0)
    return msgspec.json.encode(fields, order="deterministic")
