"""A study -> results: what the store lacks is computed, the rest is read. Resuming is calling it again."""

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.text import hidden_in, visible
from sweepstake.base.values import shown
from sweepstake.pieces import check_not_loading, told
from sweepstake.pieces.datasets import spec_of
from sweepstake.run.executors import Event, in_processes
from sweepstake.run.search import search_first, settled
from sweepstake.run.store import Store
from sweepstake.study.plan import stack_cells
from sweepstake.study.study import Planned, Study

Result = dict[str, Any]


@dataclass(frozen=True)
class Foreseen:
    """What is known of a cell before it trains: its weights, those no pruning touches, and the fraction each round keeps, if known."""

    weights: int
    unpruned: dict[str, dict[str, Any]]
    kept: list[float] | None


def run_study(study: Study, store: str | Path | None = None, *, data: str | Path | None = None, workers: int | None = None,
              device: str | None = None, stack: int | None = None, engine: str | None = None, retry: bool = False,
              on_event: Callable[[Event], None] = lambda _: None) -> list[Result]:
    """Compute every cell the store lacks, and return the result of each cell of the study.

    On the CPU a process a core takes one cell after another; with a `device`, or a `stack` size, cells train side by side.
    A failed cell is a result and is tried again only with `retry`. KeyboardInterrupt leaves every finished round kept.
    """
    check_not_loading("run_study")
    count = worker_count(study.machine.workers if workers is None else workers)
    home = Store(study.store_folder(store))
    if problem := hidden_in(str(home.folder.absolute())):
        raise UserError(f"{visible(home.folder.absolute())} (the store): {problem}.")
    home.clear_abandoned()
    if damage := home.keep_study(study.name, study.text):
        on_event({"kind": "damaged", "error": str(damage), "then": "it is written again"})
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
    lacking = ("missing", "begun", "damaged", *(["failed"] if retry else []))

    def heard(event: Event) -> None:
        if event["kind"] == "stopped":
            raise UserError(event["error"])
        if event["kind"] == "died" and not event["again"]:
            home.fail(event["id"], f"its worker died three times (exit code {event['code']}): killed, or out of memory", "", {})
        if event["kind"] == "failed" and event.get("killed"):
            home.fail(event["id"], event["error"], "", {})
        on_event(event)

    def compute(planned: Sequence[Planned], stage: str = "") -> None:
        """Train what the store lacks of these cells."""
        kept = {each.id: home.look(each.id) for each in planned}
        for id_, each in kept.items():
            for damage in each.damage:
                on_event({"kind": "damaged", "id": id_, "error": str(damage), "then": "its cell is computed again"})
        wanted = [each for each in planned if kept[each.id].status in lacking]
        if wanted and study.search:
            check_study(study, wanted, directories)  # Trials, and the cells that a value was found for.
        tasks = {p.id: Task(p.id, p.cell, str(home.folder.absolute()), [str(d) for d in directories],
                            [str(Path(plugin).absolute()) for plugin in study.plugins], study.name, text,
                            engine or study.machine.engine or "fast") for p in wanted}
        on_event({"kind": "plan", "cells": len(planned), "missing": len(wanted), "rounds": {p.id: p.cell.rounds + 1 for p in wanted},
                  "stage": stage, "labels": {p.id: " · ".join([*p.labels.values(), f"seed {p.cell.seed}"]) for p in planned},
                  "begun": {p.id: 0 if kept[p.id].damage else kept[p.id].rounds_done for p in wanted}})
        if device != "cpu" or stack:
            from sweepstake.run.stacks import in_stacks

            in_stacks([[tasks[p.id] for p in each.planned] for each in stack_cells(wanted)], device, stack, on_event)
        else:
            if not are_compiled():
                on_event({"kind": "compiling"})
            limit = study.machine.timeout_minutes
            in_processes([(id_, msgspec.json.encode(task)) for id_, task in tasks.items()], work, count, heard,
                         timeout_seconds=limit * 60 if limit else None)

    if any(home.status(each.id) in lacking for each in settled(study, home).planned):  # What waits is checked by what stands in for it.
        on_event({"kind": "foreseen", "cells": check_study(study, list(study.planned), directories)})
    compute(search_first(study, home, compute, retry, on_event).planned)
    return load_results(study, home)


def worker_count(asked: int | None) -> int:
    """As many as asked, or a worker a core this process may use."""
    if asked is not None and asked < 1:
        raise UserError(f"--workers {asked}: at least 1.")
    return asked or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def load_results(study: Study, store: str | Path | Store | None = None, *, begun: bool = False) -> list[Result]:
    """What the store holds of a study, a result a planned cell; computes nothing.

    With `begun` a begun cell is told as one, with the rounds that it has finished; otherwise it is missing.
    """
    home = store if isinstance(store, Store) else Store(study.store_folder(store), create=False)
    return [_result(home, planned, begun) for planned in settled(study, home).planned]


def _result(home: Store, planned: Planned, begun: bool) -> Result:
    kept = home.look(planned.id)
    state = home.load_state(planned.id) if begun and kept.status == "begun" else None
    found, error = kept.result, "\n".join(map(str, kept.damage)) or (kept.failure or {}).get("error")
    return {
        "id": planned.id, "cell": msgspec.to_builtins(planned.cell), "labels": planned.labels, "seed": planned.cell.seed,
        "status": "missing" if kept.status == "begun" and not state else kept.status,
        "rounds": found["rounds"] if found else state[0] if state else [], "error": None if found else error,
        "provenance": found["provenance"] if found else {},
    }


def damaged(study: Study, found: Sequence[Result]) -> list[str]:
    """Every damaged file of a study, a line each: whose it is, and what to do."""
    again = "It is not read; `sweepstake run` computes its cell again."
    lines = [f"{file}. {again}" for each in found if each["status"] == "damaged" for file in each["error"].splitlines()]
    searched = (study.searched or {}).get("damaged")
    return [*lines, *([f"{searched}. Its trials are found again from their cells; `sweepstake run` writes it again."] if searched else [])]


def check_study(study: Study, wanted: list[Planned], directories: list[Path] | None) -> dict[str, Foreseen]:
    """Everything that would fail in a worker for the study's own fault, told at once before anything runs; and, by id, what is foreseen.

    Without directories nothing is read: a data set is what its spec says, and one without a spec is passed over.
    """
    place, problems, known, foreseen = study.path or study.name, dict[str, None](), dict[bytes, Any](), dict[str, Foreseen]()
    for planned in wanted:
        cell = planned.cell
        program = msgspec.json.encode([*(getattr(cell, name) for name in CHECKED), cell.seed if cell.donor else None])
        if program in known:
            foreseen |= {planned.id: known[program]} if known[program] else {}
            continue
        known[program] = None
        try:
            images = _spec(cell) if directories is None else _images(cell, directories, known)
            if images is not None:
                foreseen[planned.id] = known[program] = _check_cell(cell, *images)
        except UserError as error:
            problems |= dict.fromkeys(f"{place}: {problem}" for problem in error.problems)
        except Exception as error:
            problems[f"{place}: {cannot_be_made(cell, error)}"] = None
    if problems:
        raise UserError(*problems)
    return foreseen


def _spec(cell: Cell) -> tuple[tuple[int, ...], int, int] | None:
    spec = spec_of(cell.dataset)
    return (spec.shape, spec.classes, min(spec.train - cell.validation, cell.subset or spec.train)) if spec else None


IMAGES = ("dataset", "normalise", "subset", "validation")
CHECKED = (*IMAGES, "model", "init", "bias_init", "criterion", "prune_layers", "keep", "output_keep", "remove",
           "granularity", "allocation", "reset", "lr_schedule", "prune_biases", "prune_when", "control", "donor", "rounds", "epochs", "steps",
           "batch_size")
"""The fields of a cell that can be wrong only once its images and its network are known."""


def _images(cell: Cell, directories: list[Path], known: dict[bytes, Any]) -> tuple[tuple[int, ...], int, int] | None:
    """The shape of an image, the classes, and how many are trained on; None where that has failed before."""
    from sweepstake.engine.images import prepare
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


def _check_cell(cell: Cell, inputs: tuple[int, ...], classes: int, train_count: int) -> Foreseen:
    from sweepstake.engine.account import kept_ahead, unpruned
    from sweepstake.engine.build import build_net
    from sweepstake.engine.prune import check_pruning
    from sweepstake.engine.rehearsal import rehearse
    from sweepstake.engine.train import steps_in_round

    net = build_net(cell, inputs, classes)
    if problems := [f'model = "{cell.model.name}": layer {visible(layer)}: {problem}.' for layer in dict.fromkeys(slot.layer for slot in net.slots)
                    if (problem := hidden_in(layer))]:
        raise UserError(*problems)
    check_pruning(net, cell)
    steps, rewind_to = steps_in_round(cell, train_count), cell.reset.options.get("step", 0)
    if not isinstance(rewind_to, int):
        raise UserError(f"reset: step = {shown(rewind_to)}: is one step for the whole network, not a table of layers.")
    if rewind_to > steps:
        raise UserError(f"reset: step = {rewind_to}: a round has only {steps:,} steps. Rewind to one of them.")
    rehearse(net, cell)
    return Foreseen(sum(slot.size for slot in net.weights), unpruned(net, cell), kept_ahead(net, cell))


def cannot_be_made(cell: Cell, error: Exception) -> str:
    """An error of a piece (a plug-in's, or memory's) in one line, with where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{told('dataset', cell.dataset)} and {told('model', cell.model)}"
    return f"{what} cannot be made: {type(error).__name__}: {error} ({last.filename}:{last.lineno})."


def _said_with(study: Study) -> str:
    return " ".join([*(["--quick"] if study.quick else []), *(f"--set {o}" for o in study.overrides)])
