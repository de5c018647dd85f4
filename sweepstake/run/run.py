"""A study -> results: what the store lacks is computed, the rest is read. Resuming is calling it again."""

import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.values import shown
from sweepstake.pieces import told
from sweepstake.pieces.datasets import spec_of
from sweepstake.run.executors import Event, in_processes
from sweepstake.run.search import search_first, settled
from sweepstake.run.store import Store
from sweepstake.study.plan import stack_cells
from sweepstake.study.study import Planned, Study

Result = dict[str, Any]


def run_study(study: Study, store: str | Path | None = None, *, data: str | Path | None = None, workers: int | None = None,
              device: str | None = None, stack: int | None = None, engine: str | None = None, retry: bool = False,
              on_event: Callable[[Event], None] = lambda _: None) -> list[Result]:
    """Compute every cell the store lacks, and return the result of each cell of the study.

    On the CPU a process a core takes one cell after another; with a `device`, or a `stack` size, cells train side by side.
    A failed cell is a result and is tried again only with `retry`. KeyboardInterrupt leaves every finished round kept.
    """
    count = worker_count(study.machine.workers if workers is None else workers)
    home = Store(store or study.machine.store or "runs")
    home.keep_study(study.name, study.text)
    from sweepstake.run.data import data_directories

    directories = data_directories(data or study.machine.data)
    device, stack = device or study.machine.device or "cpu", study.machine.stack if stack is None else stack
    if stack is not None and stack < 1:
        raise UserError(f"--stack {stack}: at least 1.")
    if device != "cpu":
        from sweepstake.run.stacks import check_device

        check_device(device)
    from sweepstake.engine.kernels.step import are_compiled
    from sweepstake.run.worker import Task, work

    text = study.text if not (study.overrides or study.quick) else f"{study.text}\n# run with: {_said_with(study)}\n"
    lacking = ("missing", "begun", *(["failed"] if retry else []))

    def heard(event: Event) -> None:
        if event["kind"] == "died" and not event["again"]:
            home.fail(event["id"], f"its worker died three times (exit code {event['code']}): killed, or out of memory", "", {})
        if event["kind"] == "failed" and event.get("killed"):
            home.fail(event["id"], event["error"], "", {})
        on_event(event)

    def compute(planned: Sequence[Planned], stage: str = "") -> None:
        """Train what the store lacks of these cells."""
        wanted = [each for each in planned if home.status(each.id) in lacking]
        if wanted:
            check_study(study, wanted, directories)
        tasks = {p.id: Task(p.id, p.cell, str(home.folder.absolute()), [str(d) for d in directories],
                            [str(Path(plugin).absolute()) for plugin in study.plugins], study.name, text,
                            engine or study.machine.engine or "fast") for p in wanted}
        on_event({"kind": "plan", "cells": len(planned), "missing": len(wanted), "rounds": {p.id: p.cell.rounds + 1 for p in wanted},
                  "stage": stage, "labels": {p.id: " · ".join([*p.labels.values(), f"seed {p.cell.seed}"]) for p in planned},
                  "begun": {p.id: home.rounds_done(p.id) for p in wanted}})
        if device != "cpu" or stack:
            from sweepstake.run.stacks import in_stacks

            in_stacks([[tasks[p.id] for p in each.planned] for each in stack_cells(wanted)], device, stack, on_event)
        else:
            if not are_compiled():
                on_event({"kind": "compiling"})
            limit = study.machine.timeout_minutes
            in_processes([(id_, msgspec.json.encode(task)) for id_, task in tasks.items()], work, count, heard,
                         timeout_seconds=limit * 60 if limit else None)

    if study.search:
        check_study(study, list(study.planned), directories)  # What waits is checked by what stands in for it.
    compute(search_first(study, home, compute, retry).planned)
    return load_results(study, home)


def worker_count(asked: int | None) -> int:
    """As many as asked, or a worker a core this process may use."""
    if asked is not None and asked < 1:
        raise UserError(f"--workers {asked}: at least 1.")
    return asked or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def load_results(study: Study, store: str | Path | Store) -> list[Result]:
    """What the store holds of a study, a result a planned cell; computes nothing."""
    home = store if isinstance(store, Store) else Store(store, create=False)
    return [_result(home, planned) for planned in settled(study, home).planned]


def _result(home: Store, planned: Planned) -> Result:
    found, failure = home.get(planned.id), home.failure(planned.id)
    return {
        "id": planned.id, "cell": msgspec.to_builtins(planned.cell), "labels": planned.labels, "seed": planned.cell.seed,
        "status": found["status"] if found else "failed" if failure else "missing",
        "rounds": found["rounds"] if found else [], "error": failure["error"] if failure and not found else None,
        "provenance": found["provenance"] if found else {},
    }


def check_study(study: Study, wanted: list[Planned], directories: list[Path] | None) -> None:
    """Everything that would fail in a worker for the study's own fault, told at once before anything runs.

    Without directories nothing is read: a data set is what its spec says, and one without a spec is passed over.
    """
    place, problems, known = study.path or study.name, dict[str, None](), dict[bytes, Any]()
    for planned in wanted:
        cell = planned.cell
        program = msgspec.json.encode([*(getattr(cell, name) for name in CHECKED), cell.seed if cell.donor else None])
        if program in known:
            continue
        known[program] = None
        try:
            images = _spec(cell) if directories is None else _images(cell, directories, known)
            if images is not None:
                _check_cell(cell, *images)
        except UserError as error:
            problems |= dict.fromkeys(f"{place}: {problem}" for problem in error.problems)
        except Exception as error:
            problems[f"{place}: {cannot_be_made(cell, error)}"] = None
    if problems:
        raise UserError(*problems)


def _spec(cell: Cell) -> tuple[tuple[int, ...], int, int] | None:
    spec = spec_of(cell.dataset)
    return (spec.shape, spec.classes, min(spec.train - cell.validation, cell.subset or spec.train)) if spec else None


IMAGES = ("dataset", "normalise", "subset", "validation")
CHECKED = (*IMAGES, "model", "init", "bias_init", "criterion", "prune_layers", "keep", "output_keep", "remove",
           "granularity", "allocation", "reset", "prune_when", "control", "donor", "rounds", "epochs", "steps", "batch_size")
"""The fields of a cell that can be wrong only once its images and its network are known."""


def _images(cell: Cell, directories: list[Path], known: dict[bytes, Any]) -> tuple[tuple[int, ...], int, int] | None:
    """The shape of an image, the classes, and how many are trained on; None where that has failed before."""
    from sweepstake.engine.train import prepare
    from sweepstake.run.data import decoded_cache, load_data

    dataset, split = msgspec.json.encode(cell.dataset), msgspec.json.encode([getattr(cell, name) for name in IMAGES])
    if dataset not in known:
        known[dataset] = None
        known[dataset] = load_data(cell.dataset, directories, decoded_cache())  # Decoded here once; workers map it.
    if split not in known:
        known[split] = None
        if known[dataset] is not None:
            images = prepare(cell, known[dataset])
            known[split] = images.inputs, images.classes, len(images.train.y)
    return known[split]


def _check_cell(cell: Cell, inputs: tuple[int, ...], classes: int, train_count: int) -> None:
    from sweepstake.engine.network import Net
    from sweepstake.engine.prune import check_pruning
    from sweepstake.engine.train import steps_in_round

    net = Net(cell, inputs, classes)
    check_pruning(net, cell)
    steps, rewind_to = steps_in_round(cell, train_count), cell.reset.options.get("step", 0)
    if not isinstance(rewind_to, int):
        raise UserError(f"reset: step = {shown(rewind_to)}: is one step for the whole network, not a table of layers.")
    if rewind_to > steps:
        raise UserError(f"reset: step = {rewind_to}: a round has only {steps:,} steps. Rewind to one of them.")


def cannot_be_made(cell: Cell, error: Exception) -> str:
    """An error of a piece (a plug-in's, or memory's) in one line, with where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{told('dataset', cell.dataset)} and {told('model', cell.model)}"
    return f"{what} cannot be made: {type(error).__name__}: {error} ({last.filename}:{last.lineno})."


def _said_with(study: Study) -> str:
    return " ".join([*(["--quick"] if study.quick else []), *(f"--set {o}" for o in study.overrides)])
