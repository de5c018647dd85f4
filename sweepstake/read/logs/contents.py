"""What a logger gets of a cell: its settings, its learning curves, each round's numbers, its masks and its weights."""

from collections.abc import Iterator
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import asdict

from sweepstake.base.cell import SETS, Ref
from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.base.values import shown
from sweepstake.pieces import told
from sweepstake.read.analysis import MEASURED, curves, tidy
from sweepstake.read.logs.contract import Arrays, Run, Setting, Values
from sweepstake.run.opened import Opened
from sweepstake.study.study import Planned

if TYPE_CHECKING:
    from torch import Tensor

    from sweepstake.tickets.of_study.finished import Finished

LARGEST_SIDE = 256
"""Pixels of a mask's picture, the longer way."""
OF_A_ROUND = ("kept_fraction", "alive_units", *(name for name in MEASURED if name != "diverged"))
"""Columns of the tidy table."""


def run_of(study: str, planned: Planned, result: Result) -> Run:
    """The cell as a run."""
    name = ", ".join([*planned.labels.values(), f"seed {planned.cell.seed}"])
    finished = result["provenance"].get("finished", "")
    return Run(planned.id, study, name, {**settings_of(planned), "id": planned.id, "study": study}, str(finished))


def settings_of(planned: Planned) -> dict[str, Setting]:
    """Every key of a cell that says something: numbers as they are, a piece as the study's tables write it."""
    said = {key: _setting(key, value) for key, value in asdict(planned.cell).items() if value is not None}
    return {**said, **{axis: label for axis, label in planned.labels.items() if axis in SETS or axis not in said}}


def _setting(key: str, value: object) -> Setting:
    if isinstance(value, Ref):
        return told(SETS[key], value)
    return value if isinstance(value, bool | int | float | str) else shown(value)


def steps_of(result: Result, from_round: int = 0) -> Iterator[tuple[int, Values]]:
    """The points of its learning curves, from a round on.

    Steps are counted over all rounds. A round's first point, before it trains, stands one step after the last of the
    round before: two numbers at one step are one too many for a logger.
    """
    began = 0
    for round_, points in groupby(curves([result]), lambda point: point["round"]):
        steps = list(points)
        first = steps[0]["step"]
        if round_ >= from_round:
            yield from ((began + point["step"] - first, _curve(point)) for point in steps)
        began += steps[-1]["step"] - first + 1


def _curve(point: dict[str, float]) -> Values:
    """`train/loss` of a column `train_loss`, where there is a number."""
    splits = {f"{split}_{measure}": f"{split}/{measure}" for split in ("train", "validation", "test")
              for measure in ("loss", "accuracy")}
    return {tag: point[column] for column, tag in splits.items() if point.get(column) is not None}


def rounds_of(result: Result, from_round: int = 0) -> Iterator[tuple[int, Values]]:
    """Each round's numbers, from a round on: as the tidy table has them, its seconds, and what each layer keeps."""
    rounds = result["rounds"][from_round:]
    for record, row in zip(rounds, tidy([{**result, "rounds": rounds}]), strict=True):
        values = {f"round/{name}": row[name] for name in OF_A_ROUND if row[name] is not None}
        sizes = record["size_by_layer"]
        layers = {f"kept/{layer}": kept / sizes[layer] for layer, kept in record["kept_by_layer"].items()}
        yield record["round"], {**values, "round/seconds": sum(record["seconds"].values()), **layers}


def weights_of(opened: Opened, result: Result) -> Iterator[tuple[int, Arrays, Arrays]]:
    """Of each round of a finished cell: the survivors' values by layer, and a picture of each mask.

    Values are those that the round began with, where a draw or kept weights give them again, and those it ended with,
    where they were kept.
    """
    from sweepstake.run.layout import by_name  # These two with PyTorch, which commands without loggers do without.
    from sweepstake.tickets.of_study.finished import Finished

    cell = Finished(opened.study, opened.store, result)
    try:
        slots, every = [slot for slot in cell.slots if slot.role == "weight"], cell.masks
    except UserError:  # No masks, or images whose shape nobody knows: the numbers are logged all the same.
        yield from ((record["round"], {}, {}) for record in result["rounds"])
        return
    for round_, mask in enumerate(every):
        masks = by_name(slots, mask)
        values = {f"{when}/{name}": _finite(tensors[name][alive])
                  for when, tensors in _values(opened, cell, round_).items()
                  for name, alive in masks.items() if name in tensors}
        values = {name: each for name, each in values.items() if len(each)}
        pictures = {f"mask/{name}": picture(alive) for name, alive in masks.items() if alive.dim() > 1}
        yield round_, values, pictures


def _values(opened: Opened, cell: "Finished", round_: int) -> "dict[str, dict[str, Tensor]]":
    """A round's weights by when they were had: `initial` and `trained`, as far as they are known."""
    from sweepstake.tickets.of_study.finished import ticket_of

    try:
        ticket = ticket_of(opened.study, opened.store, cell.result, round_)
        return {"initial": dict(ticket.initial), "trained": dict(ticket.trained or {})}
    except UserError:
        pass
    try:
        return {"trained": cell.weights(round_) or {}}
    except UserError:
        return {}


def _finite(values: "Tensor") -> np.ndarray:
    """Without what a diverged round left: no histogram holds it."""
    return values[values.isfinite()].float().numpy()


def picture(alive: "Tensor") -> np.ndarray:
    """A mask as a grey picture: a row an output, white where all is alive.

    A large one is scaled down: each pixel is the share alive of a square of weights.
    """
    whole = alive.reshape(len(alive), -1).numpy().astype(np.float32)
    side = ceil(max(whole.shape) / LARGEST_SIDE)
    rows, columns = (np.arange(0, size, side) for size in whole.shape)
    alive_in = np.add.reduceat(np.add.reduceat(whole, rows, axis=0), columns, axis=1)
    ones = np.outer(*(np.diff([*starts, size]) for starts, size in zip((rows, columns), whole.shape, strict=True)))
    return np.rint(255 * alive_in / ones).astype(np.uint8)
