"""What would fail in a worker for the study's own fault is told at once, before anything trains."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.cell import Cell, Ref
from sweepstake.base.errors import UserError
from sweepstake.base.records import Outlook
from sweepstake.base.text import hidden_in, visible
from sweepstake.base.values import shown
from sweepstake.engine.account import kept_ahead, unpruned
from sweepstake.engine.build import build_net
from sweepstake.engine.images import prepare
from sweepstake.engine.measure import multiply_adds, outputs_a_unit
from sweepstake.engine.network import Net
from sweepstake.engine.prune import check_pruning
from sweepstake.engine.rehearsal import rehearse
from sweepstake.engine.train import steps_in_round
from sweepstake.pieces import told
from sweepstake.pieces.datasets import check_files, located, spec_of
from sweepstake.run.data import decoded_cache, is_at_hand, load_data
from sweepstake.study.study import Planned, Study

IMAGES = ("dataset", "normalise", "subset", "validation")
CHECKED = (*IMAGES, "model", "init", "bias_init", "criterion", "prune_layers", "keep", "output_keep", "remove",
           "granularity", "allocation", "reset", "lr_schedule", "prune_biases", "prune_when", "control", "donor",
           "donor_mask", "rounds", "epochs", "steps", "batch_size")
"""The fields of a cell that can be wrong only once its images and its network are known."""


def check_study(study: Study, wanted: list[Planned], directories: list[Path] | None) -> dict[str, Outlook]:
    """Every mistake of the study that a worker would meet, told at once; or, by id, what is foreseen of each cell.

    Without directories a data set is what its spec says. One without a spec is read where its files stand in the study,
    and passed over elsewhere: `unchecked` tells so.
    """
    place = study.path or study.name
    problems, known, foreseen = dict[str, None](), dict[bytes, Any](), dict[str, Outlook]()
    for planned in wanted:
        cell = planned.cell
        program = msgspec.json.encode([*(getattr(cell, name) for name in CHECKED), cell.seed if cell.donor else None])
        if program in known:
            foreseen |= {planned.id: known[program]} if known[program] else {}
            continue
        known[program] = None
        try:
            read = directories is not None or (spec_of(cell.dataset) is None and is_at_hand(cell.dataset, study.folder))
            images = _images(cell, directories or [], study.folder, known) if read else _spec(cell)
            if images is not None:
                foreseen[planned.id] = known[program] = _check_cell(cell, *images)
        except UserError as error:
            problems |= dict.fromkeys(f"{place}: {problem}" for problem in error.problems)
        except Exception as error:
            problems[f"{place}: {cannot_be_made(cell, error)}"] = None
    if problems:
        raise UserError(*problems)
    return foreseen


def unchecked(study: Study, foreseen: Mapping[str, Outlook]) -> list[str]:
    """A line for every data set that was passed over, with how it is checked."""
    passed = {msgspec.json.encode(each.cell.dataset): each.cell.dataset
              for each in study.planned if each.id not in foreseen}
    return [line for ref in passed.values() for line in _why_unchecked(ref, study.folder)]


def _why_unchecked(ref: Ref, folder: Path) -> tuple[str, ...]:
    try:
        check_files(ref, folder)
    except UserError as error:
        return error.problems
    return (f'data set "{ref.name}": its images are not known before they are read, so no network, claim or figure on '
            "it was checked. Say --data DIR to check them.",)


def _spec(cell: Cell) -> tuple[tuple[int, ...], int, int] | None:
    spec = spec_of(cell.dataset)
    return (spec.shape, spec.classes, min(spec.train - cell.validation, cell.subset or spec.train)) if spec else None


def _images(cell: Cell, directories: list[Path], folder: Path,
            known: dict[bytes, Any]) -> tuple[tuple[int, ...], int, int] | None:
    """The shape of an image, the classes, and how many are trained on; None where that has failed before."""
    dataset, split = msgspec.json.encode(cell.dataset), msgspec.json.encode([getattr(cell, name) for name in IMAGES])
    if dataset not in known:
        known[dataset] = None
        check_files(cell.dataset, folder)
        # Decoded here once; workers map it.
        known[dataset] = load_data(located(cell.dataset, folder), directories, decoded_cache())
    if split not in known:
        known[split] = None
        if known[dataset] is not None:
            images = prepare(cell, known[dataset])
            known[split] = images.inputs, images.classes, len(images.train.y)
    return known[split]


def _check_cell(cell: Cell, inputs: tuple[int, ...], classes: int, train_count: int) -> Outlook:
    net = build_net(cell, inputs, classes)
    layers = dict.fromkeys(slot.layer for slot in net.slots)
    if problems := [f'model = "{cell.model.name}": layer {visible(layer)}: {problem}.'
                    for layer in layers if (problem := hidden_in(layer))]:
        raise UserError(*problems)
    check_pruning(net, cell)
    steps, rewind_to = steps_in_round(cell, train_count), cell.reset.options.get("step", 0)
    if not isinstance(rewind_to, int):
        raise UserError(f"reset: step = {shown(rewind_to)}: is one step for the whole network, not a table of layers.")
    if rewind_to > steps:
        raise UserError(f"reset: step = {rewind_to}: a round has only {steps:,} steps. Rewind to one of them.")
    rehearse(net, cell)
    kept = kept_ahead(net, cell)
    return Outlook(sum(slot.size for slot in net.weights), unpruned(net, cell), kept, _work(net, cell, steps, kept))


def _work(net: Net, cell: Cell, steps: int, kept: list[float] | None) -> float:
    """About the multiply-adds of all its trainings forward: enough to tell a long cell from a short one."""
    whole = multiply_adds({slot.layer: slot.size for slot in net.weights}, outputs_a_unit(net))
    return whole * steps * cell.batch_size * sum(kept or [1.0] * (cell.rounds + 1))


def cannot_be_made(cell: Cell, error: Exception) -> str:
    """An error of a piece (a plug-in's, or memory's) in one line, with where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{told('dataset', cell.dataset)} and {told('model', cell.model)}"
    return f"{what} cannot be made: {type(error).__name__}: {error} ({last.filename}:{last.lineno})."
