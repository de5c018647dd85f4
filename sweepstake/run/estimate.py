"""What a study will cost, before anything runs: steps, seconds and bytes, timed on this machine."""

import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

import msgspec
import numpy as np
import torch

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.images import prepare
from sweepstake.engine.masks import pruned_slots, without_units
from sweepstake.engine.train import Start, Trainer, steps_in_round
from sweepstake.pieces.datasets import Data, spec_of
from sweepstake.run.check import cannot_be_made
from sweepstake.run.data import known_size
from sweepstake.run.search import with_search
from sweepstake.run.store import Store
from sweepstake.study.plan import PROGRAM, stack_cells
from sweepstake.study.study import Planned, Study

TIMED = (1.0, 0.5, 0.2, 0.05, 0.01)
"""Kept fractions at which steps are timed; between them, the logarithms are straight."""
FEW, MANY = 4, 44
"""Steps timed at one kept fraction.

What the longer run takes more is the steps' own, without what a round begins with.
"""
NETWORKS = 20
"""Arrays as large as the weights that a worker holds at its height: starts, moments, gradients, masks, a copy saved."""


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
    worker_bytes: int | None = None
    """Of memory, beside PyTorch: the images and the network of the largest cell."""


@dataclass(frozen=True)
class _Cost:
    """Of one cell; seconds are of one core."""

    steps: int
    """In a round."""
    kept_logs: list[float]
    """Logarithms of the kept fractions at which steps were timed, rising."""
    step_seconds: list[float]
    """Of one step, at each of them."""
    measure_seconds: float
    """Of a round's measurements."""
    parameters: int

    def step_at(self, kept: float) -> float:
        """Seconds of one step at a kept fraction."""
        return float(np.interp(np.log(kept), self.kept_logs, self.step_seconds))


def estimate(study: Study, workers: int, store: Store | None = None) -> Estimate:
    """Of the cells of a study, and of the trials that its search has yet to run.

    Steps are counted; seconds come from timing some steps of every program here, at several kept fractions; disk from
    masks, curves and kept weights.
    """
    study = with_search(study)
    kept = store.glance(p.id for p in study.planned) if store else {}
    missing = [p for p in study.planned if p.id not in kept or kept[p.id].status not in ("done", "diverged")]
    stacks = stack_cells(study.planned)
    todo = {p.id for p in missing}
    steps, seconds, size, memory, unknown = 0, 0.0, 0, 0, []
    timed = dict[bytes, _Cost | None]()
    for stack in stacks:
        ours = [p for p in stack if p.id in todo]
        try:
            cost = _cost_once(ours[0], study.folder, timed) if ours else None
        except UserError as error:
            raise UserError(*(f"{study.path or study.name}: {problem}" for problem in error.problems)) from error
        except Exception as error:
            raise UserError(f"{study.path or study.name}: {cannot_be_made(ours[0].cell, error)}") from error
        if ours and cost is None:
            unknown.append(ours[0].cell.dataset.name)
        if cost:
            for cell in [p.cell for p in ours]:
                # A transplant's donor is trained too, where the store lacks it.
                sittings = 2 if cell.control == "transplant" else 1
                for round_ in range(cell.rounds + 1):
                    steps += sittings * cost.steps
                    trained = cost.steps * cost.step_at(_kept(cell, round_))
                    seconds += sittings * (trained + cost.measure_seconds + 0.05)
            points = cost.steps / (ours[0].cell.eval_every or max(1, cost.steps)) + 6
            size += int(sum(p.cell.rounds + 1 for p in ours) * (cost.parameters / 8 + 1500 + 120 * points))
            memory = max(memory, _memory(ours[0].cell, cost.parameters))
            size += sum(_weights(study, p.cell, cost.parameters) for p in ours)
    if unknown:
        why = f"the size of {', '.join(sorted(set(unknown)))} is not known"
        return Estimate(len(study.planned), len(stacks), len(missing), None, None, None, why)
    how = f"some steps of {'each program' if len(stacks) > 1 else 'the network'} timed here, whole and pruned"
    return Estimate(len(study.planned), len(stacks), len(missing), steps, seconds / workers, size, how, memory)


def _weights(study: Study, cell: Cell, parameters: int) -> int:
    """The bytes of the trained weights that a cell keeps."""
    files = {"all": cell.rounds + 1, "last": 1}.get(study.machine.save_weights or "none", 0)
    return files * parameters * (8 if cell.precision == "float64" else 4)


def _memory(cell: Cell, parameters: int) -> int:
    """A worker's images, decoded and its own part of them, and its network in all the arrays that training takes."""
    spec = spec_of(cell.dataset)
    images = 0 if spec is None else prod(spec.shape) * (spec.train + spec.test)
    return 2 * images + NETWORKS * parameters * (8 if cell.precision == "float64" else 4)


def _kept(cell: Cell, round_: int) -> float:
    """About what is left in a round; all of it, where layers go at rates of their own."""
    times = round_ + (cell.prune_when == "before")
    return max(cell.keep ** times, 1e-6) if isinstance(cell.keep, float) and cell.remove is None else 1.0


def _cost_once(planned: Planned, folder: Path, timed: dict[bytes, _Cost | None]) -> _Cost | None:
    """Timed once for the stacks that differ in how many rounds they have: what a step costs does not hang on that."""
    fields = (*(name for name in PROGRAM if name != "rounds"), "granularity", "prune_layers")
    key = msgspec.json.encode([getattr(planned.cell, name) for name in fields], order="deterministic")
    if key not in timed:
        timed[key] = _cost(planned, folder)
    return timed[key]


def _cost(planned: Planned, folder: Path) -> _Cost | None:
    """What one cell costs, timed here; nothing where the size of its data set is not known."""
    cell = planned.cell
    spec = known_size(cell.dataset, folder)
    if spec is None:
        return None
    train = min(spec.train - cell.validation, cell.subset or spec.train)
    draw = np.random.default_rng(0)

    def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
        return draw.integers(0, 256, (count, *spec.shape), dtype=np.uint8), draw.integers(0, spec.classes, count)

    few = max(200, min(cell.batch_size, 1000))
    data = Data(*noise(few), *noise(few), spec.classes)

    def of(steps: int) -> Trainer:
        short: Cell = msgspec.structs.replace(cell, steps=steps, epochs=None, subset=0, validation=0, eval_every=steps)
        return trainer_for(short, prepare(short, data))

    def timed(trainer: Trainer, kept: float) -> float:
        mask = torch.from_numpy(np.random.default_rng(0).random(trainer.net.size) < kept)
        if cell.granularity == "unit":
            units = {slot: torch.arange(slot.shape[0]) < max(1, round(kept * slot.shape[0]))
                     for slot in pruned_slots(trainer.net, cell)}
            mask = without_units(trainer.net, torch.ones_like(mask), units)
        began = time.process_time()  # Of this process: what neighbours do to the clock is not the study's cost.
        trainer.train(trainer.cell, Start(begin * mask, mask), 0)
        return time.process_time() - began

    def quickest(trainer: Trainer, kept: float) -> float:
        return min(timed(trainer, kept) for _ in range(2))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        begin = of(1).net.w.clone()
        timed(of(1), 1.0)  # The first step pays for what is compiled or loaded once.
        slow = timed(of(1), 1.0) > 0.1
        few_steps, many_steps = (1, 2) if slow else (FEW, MANY)
        short, trainer = of(few_steps), of(many_steps)
        more = [quickest(trainer, kept) - quickest(short, kept) for kept in TIMED]
        seconds = [max(1e-6, each / (many_steps - few_steps)) for each in more]
        began = time.process_time()
        trainer.measure(trainer.net.w.clone())
        image = (time.process_time() - began) / (2 * few)
    finally:
        torch.set_num_threads(threads)
    steps = steps_in_round(cell, train)
    points = 1 + (steps // cell.eval_every if cell.eval_every else -(-steps * cell.batch_size // train))
    measured = (points + 1) * (spec.test + cell.validation) + train * (2 if cell.validation else 1)
    by_kept = sorted(zip(np.log(TIMED).tolist(), seconds, strict=True))
    return _Cost(
        steps=steps,
        kept_logs=[log for log, _ in by_kept],
        step_seconds=[each for _, each in by_kept],
        measure_seconds=measured * image,
        parameters=trainer.net.size,
    )
