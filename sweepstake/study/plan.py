"""Cells -> stacks: those that may share one program. How they share it is the engine's and the machine's affair."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sweepstake.study.study import Planned

PROGRAM = ("dataset", "normalise", "subset", "validation", "split_seed", "model", "optimiser", "batch_size", "epochs", "steps",
           "eval_every", "rounds", "precision")
"""The fields in which cells of one stack agree: what decides the shapes and the steps, not the numbers in them."""


@dataclass(frozen=True)
class Stack:
    """Cells that can train side by side as one program."""

    planned: tuple[Planned, ...]


def stack_cells(planned: Sequence[Planned], limit: int | None = None) -> list[Stack]:
    """Group cells by program, in the study's order; a stack holds at most `limit`."""
    groups: dict[bytes, list[Planned]] = {}
    for each in planned:
        said = {name: getattr(each.cell, name) for name in PROGRAM} | {"rewound_to": each.cell.reset.options.get("step", 0)}
        program = msgspec.json.encode(said, order="deterministic")
        groups.setdefault(program, []).append(each)
    size = limit or len(planned) or 1
    return [Stack(tuple(group[i:i + size])) for group in groups.values() for i in range(0, len(group), size)]
