"""A criterion tried out: a few steps on the cell's own images, then one pruning, kept nowhere.

Stand-ins cannot tell whether scores are finite numbers; a short training can, in seconds.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.images import prepare
from sweepstake.engine.rounds import Setting, finish_round, first_state
from sweepstake.pieces.datasets import Data, located
from sweepstake.run.data import decoded_cache, load_data

STEPS = 20
TESTED = 100
"""Test images, which the curve is measured on; no pruning sees them."""


def try_out(cell: Cell, directories: Sequence[Path], folder: Path = Path()) -> None:
    """Train a few steps and prune; a UserError where the criterion's scores cannot be used."""
    short: Cell = msgspec.structs.replace(cell, steps=STEPS, epochs=None, eval_every=STEPS, validation=0)
    data = load_data(located(cell.dataset, folder), list(directories), decoded_cache())
    few = Data(data.train_x, data.train_y, data.test_x[:TESTED], data.test_y[:TESTED], data.classes)
    trainer = trainer_for(short, prepare(short, few))
    begun = first_state(trainer, short)  # Prunes here, where it prunes before training.
    if short.rounds:
        trained = trainer.train(short, begun.start, 0)
        finish_round(Setting.of(trainer, short), begun, trained, lambda _: {})
