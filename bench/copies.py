"""Many copies of one command on one store: what sharing costs a cell, and how training scales over workers and copies.

    python bench/copies.py                      1,000 cells by 16 copies: overhead of the queue a cell, and the table
    python bench/copies.py --scaling DATA       prune-ready's cells in full: one alone, and two at once in three ways (quiet machine)

Add `--rounds 2 --repeats 6` for the first rounds alone, so often that a noisy machine shows in the spread.

The overhead is the time that taking and ending cells costs: on the clock where one process is alone, of the processor
where more copies than cores contend. Prints one JSON and keeps it
in bench/latest.json under `copies`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from sweepstake.read.analysis import tidy, to_csv
from sweepstake.run.opened import load_results
from sweepstake.run.queue import Queue
from sweepstake.run.run import run_study
from sweepstake.run.settings import Task
from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study

LATEST = Path(__file__).parent / "latest.json"
TINY = """
model = {{name = "mlp", hidden = [4]}}
seeds = {cells}
subset = 60
steps = 1
rounds = 0
"""

FULL = """
dataset = "mnist"
model = {name = "mlp", hidden = [300, 100]}
init = "xavier_normal"
seeds = 2
optimiser = "adam"
lr = 0.0012
batch_size = 60
epochs = 5
rounds = 20
keep = 0.8
eval_every = 100
validation = 5000
"""
"""Two cells like prune-ready's."""


def in_a_copy(work: Callable[[], dict[str, Any]], log: Path) -> int:
    """Do something in a forked process, which writes what it found."""
    if child := os.fork():
        return child
    code = 1
    try:
        log.write_text(json.dumps(work()))
        code = 0
    finally:
        os._exit(code)


def timed_queue() -> dict[str, Any]:
    """Time each call of a queue's `take` and `end` from now on."""
    spent = {"seconds": 0.0, "cpu": 0.0, "taken": 0}

    def timed(name: str) -> None:
        method = getattr(Queue, name)

        @wraps(method)
        def wrapped(self: Queue, *given: Any) -> Any:
            began, cpu = time.perf_counter(), time.thread_time()
            try:
                found = method(self, *given)
            finally:
                spent["seconds"] += time.perf_counter() - began
                spent["cpu"] += time.thread_time() - cpu
            spent["taken"] += isinstance(found, Task)
            return found

        setattr(Queue, name, wrapped)

    timed("take")
    timed("end")
    return spent


def overhead(cells: int, copies: int) -> dict[str, Any]:
    """Cells of no work to speak of by many copies, and by one process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiny.toml").write_text(TINY.format(cells=cells))
        study = load_study(str(folder / "tiny.toml"))

        def run(store: Path) -> dict[str, Any]:
            spent, began = timed_queue(), time.perf_counter()
            run_study(study, store, stack=1)
            return {**spent, "wall": time.perf_counter() - began}

        alone = _run_all(1, lambda: run(folder / "alone"), folder)
        shared = _run_all(copies, lambda: run(folder / "shared"), folder)
        same = _table(study, folder / "alone") == _table(study, folder / "shared")
        taken = sum(each["taken"] for each in shared)
        return {
            "cells": cells,
            "copies": copies,
            "same_table": same,
            "taken": taken,
            "claims_left": len(Store(folder / "shared").holders()),
            "ms_a_cell_alone": 1000 * alone[0]["seconds"] / cells,
            "cpu_ms_a_cell_alone": 1000 * alone[0]["cpu"] / cells,
            "cpu_ms_a_cell_shared": 1000 * sum(each["cpu"] for each in shared) / cells,
            "wall_alone": alone[0]["wall"],
            "wall_shared": max(each["wall"] for each in shared),
        }


def _run_all(copies: int, work: Callable[[], dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    logs = [folder / f"log.{copies}.{number}" for number in range(copies)]
    children = [in_a_copy(work, log) for log in logs]
    for child in children:
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise SystemExit("a copy failed")
    return [json.loads(log.read_text()) for log in logs]


def _table(study: Study, store: Path) -> str:
    return to_csv(tidy(load_results(study, store)))


def scaling(data: str, rounds: int, repeats: int) -> dict[str, Any]:
    """Cells like prune-ready's: one alone, then two at once by workers of one run, by copies on one store, and by runs with a store each.

    The last says what the machine gives two processes that share nothing of ours: its cores may share a clock, a cache or a memory.
    """
    seconds: dict[str, list[float]] = {"alone": [], "two workers": [], "two copies": [], "two stores": []}
    for repeat in range(repeats + 1):  # The first compiles kernels, and is not counted.
        for name, kept in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                taken = _seconds_a_cell(name, data, rounds if repeat else 0, Path(folder))
                if repeat:
                    kept.append(taken)
                print(name, f"{taken:.1f} s a cell", file=sys.stderr, flush=True)

    def ratio(of: str, to: str) -> float:
        """The median over repeats, each of which ran both within minutes."""
        return statistics.median(a / b for a, b in zip(seconds[of], seconds[to], strict=True))

    return {"rounds": rounds, "seconds_a_cell": seconds, "workers_2": ratio("alone", "two workers"), "copies_2": ratio("alone", "two copies"),
            "stores_2": ratio("alone", "two stores"), "stores_to_workers": ratio("two stores", "two workers"),
            "workers_to_copies": ratio("two workers", "two copies"), "stores_to_copies": ratio("two stores", "two copies")}


def _seconds_a_cell(how: str, data: str, rounds: int, folder: Path) -> float:
    """From when a cell was begun until its result is kept: starting the command counts nowhere."""
    (folder / "full.toml").write_text(FULL)
    stores = [folder / f"runs.{number}" for number in ([0, 1] if how == "two stores" else [0, 0] if how == "two copies" else [0])]
    running = list[subprocess.Popen[bytes]]()
    for number, store in enumerate(stores):
        seeds = {"alone": "1", "two stores": f"[{number}]"}.get(how, "2")
        command = [sys.executable, "-m", "sweepstake", "run", str(folder / "full.toml"), "--data", data, "--store", str(store),
                   "--out", str(folder / f"report.{number}"), "--workers", "2" if how == "two workers" else "1",
                   "--set", f"rounds={rounds}", "--set", f"seeds={seeds}"]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for each in running:
        if each.wait():
            raise SystemExit(f"{how}: a run ended with {each.returncode}")
    cells = [cell for store in set(stores) for cell in (store / "cells").iterdir()]
    return statistics.mean((cell / "result.json").stat().st_mtime - (cell / "cell.json").stat().st_mtime for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--copies", type=int, default=16)
    parser.add_argument("--scaling", metavar="DATA", help="measure scaling instead, with MNIST in this folder")
    parser.add_argument("--rounds", type=int, default=20, help="of each of prune-ready's cells, after the first")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {"scaling": scaling(asked.scaling, asked.rounds, asked.repeats)} if asked.scaling else {"queue": overhead(asked.cells, asked.copies)}
    print(json.dumps(found, indent=1))
    latest = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    latest["copies"] = {**latest.get("copies", {}), **found, "machine": machine}
    LATEST.write_text(json.dumps(latest, indent=1) + "\n")


if __name__ == "__main__":
    main()
