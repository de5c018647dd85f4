"""What many tests need: a cell in one line, tiny images, a folder of IDX files."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from sweepstake.base.cell import PIECE_DEFAULTS, SETS, Cell, Ref
from sweepstake.engine.images import prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, masks_of, run_rounds
from sweepstake.pieces import REGISTRIES
from sweepstake.pieces.datasets import Data
from sweepstake.pieces.donors import donor_of


def ref(set_: str, name: str, **options: Any) -> Ref:
    """A piece with its options resolved, as a study file would."""
    return REGISTRIES[set_].ref(name, options, set_)


def make_cell(**changes: Any) -> Cell:
    """A small cell on 8 x 8 digits; a piece is given by name, by Ref, or as (name, options)."""
    fields: dict[str, Any] = {**PIECE_DEFAULTS, "steps": 20, "rounds": 2, **changes}
    if fields.get("epochs") is not None:
        fields.pop("steps") if "steps" not in changes else None
    for key, set_ in SETS.items():
        given = fields[key]
        if isinstance(given, str):
            fields[key] = ref(set_, given)
        elif isinstance(given, tuple):
            fields[key] = ref(set_, given[0], **given[1])
    return Cell(**fields)


def is_near(apart: Callable[[int], float], below: float, seeds: int = 3) -> bool:
    """Whether the median of so many seeds is below a bound: rounding may decide on which side of ReLU's edge a unit stands, or which input of a
    pool is the largest. No seed is tried once the others have decided.
    """
    near, most = 0, seeds // 2 + 1
    for seed in range(seeds):
        found = apart(seed)
        assert not np.isnan(found)
        near += found < below
        if near == most or near + seeds - 1 - seed < most:
            break
    return near == most


def tiny_images(train: int = 64, test: int = 32, shape: tuple[int, ...] = (1, 8, 8), classes: int = 10, seed: int = 0) -> Data:
    """Noise with a class's brightness in it: enough to learn from."""
    draw = np.random.default_rng(seed)

    def some(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = draw.integers(0, classes, count)
        x = draw.integers(0, 128, (count, *shape)) + 12 * y.reshape(-1, *[1] * len(shape))
        return x.clip(0, 255).astype(np.uint8), y.astype(np.int64)

    return Data(*some(train), *some(test), classes)


def run_cell(cell: Cell, data: Data, trainer: ReferenceTrainer | None = None) -> list[dict[str, Any]]:
    """Every round's record of one cell."""
    trainer = trainer or ReferenceTrainer(cell, prepare(cell, data))
    donor = masks_of_donor(trainer, cell)
    return [record for record, _ in run_rounds(trainer, cell, first_state(trainer, cell, donor), donor_masks=donor)]


def masks_of_donor(trainer: Any, cell: Cell) -> dict[int, Tensor] | None:
    """The masks that a transplant takes, by running its donor."""
    if cell.control != "transplant" or cell.donor is None:
        return None
    donor = donor_of(cell)
    return masks_of(ReferenceTrainer(donor, trainer.images), donor)
