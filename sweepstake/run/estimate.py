"""What a study will cost, before anything runs: steps, seconds and bytes, timed on this machine."""

import time
from dataclasses import dataclass

import msgspec
import numpy as np

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import spec_of
from sweepstake.run.run import cannot_be_made
from sweepstake.run.store import Store
from sweepstake.study.plan import stack_cells
from sweepstake.study.study import Planned, Study

TIMED_STEPS = 30


@dataclass(frozen=True)
class Estimate:
    """Of the cells that are still to run."""

    cells: int
    stacks: int
    missing: int
    steps: int | None
    seconds: float | None
    bytes: int | None
    how: str


def estimate(study: Study, workers: int, store: Store | None = None) -> Estimate:
    """Steps are counted; seconds come from timing some dense steps of every program here; disk from masks and curves."""
    missing = [p for p in study.planned if store is None or store.status(p.id) not in ("done", "diverged")]
    stacks = stack_cells(study.planned)
    todo = {p.id for p in missing}
    steps, seconds, size, unknown = 0, 0.0, 0, []
    for stack in stacks:
        ours = [p for p in stack.planned if p.id in todo]
        try:
            cost = _cost(ours[0]) if ours else None
        except UserError as error:
            raise UserError(*(f"{study.path or study.name}: {problem}" for problem in error.problems)) from error
        except Exception as error:
            raise UserError(f"{study.path or study.name}: {cannot_be_made(ours[0].cell, error)}") from error
        if ours and cost is None:
            unknown.append(ours[0].cell.dataset.name)
        if cost:
            a_round, a_step, a_measure, weights = cost
            rounds = sum(p.cell.rounds + 1 for p in ours)
            steps += rounds * a_round
            seconds += rounds * (a_round * a_step + a_measure + 0.05)
            points = a_round / (ours[0].cell.eval_every or max(1, a_round)) + 6
            size += int(rounds * (weights / 8 + 1500 + 120 * points))
    if unknown:
        why = f"the size of {', '.join(sorted(set(unknown)))} is not known"
        return Estimate(len(study.planned), len(stacks), len(missing), None, None, None, why)
    how = f"{TIMED_STEPS} steps of {'each program' if len(stacks) > 1 else 'the whole network'} timed here"
    return Estimate(len(study.planned), len(stacks), len(missing), steps, seconds / workers, size, how)


def _cost(planned: Planned) -> tuple[int, float, float, int] | None:
    """Steps a round, seconds a step, seconds a measurement, and parameters, of one cell's whole network."""
    import torch

    from sweepstake.engine.train import Start, Trainer, prepare, steps_in_round
    from sweepstake.pieces.datasets import Data

    cell = planned.cell
    spec = spec_of(cell.dataset)
    if spec is None:
        return None
    train = min(spec.train - cell.validation, cell.subset or spec.train)
    draw = np.random.default_rng(0)

    def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
        return draw.integers(0, 256, (count, *spec.shape), dtype=np.uint8), draw.integers(0, spec.classes, count)

    few = max(200, cell.batch_size)
    short: Cell = msgspec.structs.replace(cell, steps=TIMED_STEPS, epochs=None, subset=0, validation=0, eval_every=TIMED_STEPS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = Trainer(short, prepare(short, Data(*noise(few), *noise(few), spec.classes)))
        start = Start(trainer.net.w.clone(), torch.ones_like(trainer.net.w, dtype=torch.bool))
        trainer.train(short, start, 0)
        step = trainer.train(short, start, 0).seconds["train"] / TIMED_STEPS
        began = time.perf_counter()
        trainer.measure(start.w)
        image = (time.perf_counter() - began) / (2 * few)
    finally:
        torch.set_num_threads(threads)
    steps = steps_in_round(cell, train)
    points = 1 + (steps // cell.eval_every if cell.eval_every else -(-steps * cell.batch_size // train))
    measured = (points + 1) * (spec.test + cell.validation) + train * (2 if cell.validation else 1)
    return steps, step, measured * image, trainer.net.size
