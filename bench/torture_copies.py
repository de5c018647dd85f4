"""Copies of one command on one store, killed, frozen and restarted at random moments: is the table what one run gives?

    python bench/torture_copies.py --trials 60                 four copies on a folder of this disk
    python bench/torture_copies.py --trials 60 --folder DIR    on a folder of another file system
    python bench/torture_copies.py --trials 60 --no-flock      where flock fails, as on many network folders

Each trial has a seed of its own. Four copies begin; at moments drawn by lot a copy is killed (SIGKILL), or frozen for
longer than a claim lives and then woken, or told to end (SIGTERM); another takes its place. Then the table must equal
an undisturbed run's byte for byte, no cell may be missing, no claim may be left, and a cell that was computed to its
end twice must be one that a frozen copy held. Prints a line a trial, and what all of them come to as JSON.
"""

import argparse
import fcntl
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sweepstake.base.events import Done, Event
from sweepstake.read.analysis import tidy, to_csv
from sweepstake.run import run as run_module
from sweepstake.run.claims import BEATS_MISSED, Claims
from sweepstake.run.opened import load_results
from sweepstake.run.run import run_study
from sweepstake.run.store import Store
from sweepstake.study.study import Study, load_study

COPIES = 4
BEAT_SECONDS = 0.05
STUDY = """
model = {name = "mlp", hidden = [8]}
init = ["xavier_normal", "kaiming_normal", "xavier_uniform"]
seeds = 4
steps = 60
rounds = 4
"""


@dataclass
class Trial:
    """What happened in one."""

    seed: int
    killed: int = 0
    frozen: int = 0
    ended: int = 0
    twice: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list[str])


def copy(study: Study, store: Path, log: Path) -> int:
    """A copy of the command in a process of its own, which is forked so that it need not import anything."""
    if child := os.fork():
        return child
    os.setsid()
    code = 0
    try:
        with log.open("a") as said:
            def hear(event: Event) -> None:
                if isinstance(event, Done) and event.computed:
                    said.write(f"{event.id}\n")
                    said.flush()

            from sweepstake.run.stopping import stoppable

            with stoppable():
                run_study(study, store, stack=1, on_event=hear)
    except KeyboardInterrupt:
        code = 143
    except BaseException as error:
        print(f"a copy failed: {type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    finally:
        os._exit(code)


def run_trial(seed: int, study: Study, table: str, folder: Path) -> Trial:
    """Copies disturbed until enough has happened, then left alone until the last has ended."""
    draw, trial, began = random.Random(seed), Trial(seed), time.monotonic()
    store = folder / f"trial-{seed}"
    logs, running = list[Path](), dict[int, Path]()

    def start() -> None:
        log = folder / f"log-{seed}-{len(logs)}"
        log.touch()
        logs.append(log)
        running[copy(study, store, log)] = log

    frozen = set[Path]()
    for _ in range(COPIES):
        start()
    for _ in range(draw.randint(3, 8)):
        time.sleep(draw.uniform(0.02, 0.6))
        running = {pid: log for pid, log in running.items() if _runs(pid, trial)}
        if not running:
            break
        pid = draw.choice(sorted(running))
        match draw.choice(["kill", "freeze", "end"]):
            case "kill":
                trial.killed += 1
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                running.pop(pid)
                start()
            case "freeze":
                trial.frozen += 1
                frozen.add(running[pid])
                os.kill(pid, signal.SIGSTOP)
                time.sleep(BEATS_MISSED * BEAT_SECONDS * draw.uniform(0.5, 4))
                os.kill(pid, signal.SIGCONT)
            case _:
                trial.ended += 1
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
                running.pop(pid)
                start()
    for pid in running:
        if (code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) != 0:
            trial.wrong.append(f"a copy ended with {code}")
    _judge(trial, study, store, table, {log: Counter(log.read_text().split()) for log in logs}, frozen)
    trial.seconds = round(time.monotonic() - began, 2)
    if not trial.wrong:
        shutil.rmtree(store)
    return trial


def _runs(pid: int, trial: Trial) -> bool:
    """Whether a copy has not come to its end."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if found and (code := os.waitstatus_to_exitcode(status)) != 0:
        trial.wrong.append(f"a copy ended with {code}")
    return not found


def _judge(trial: Trial, study: Study, store: Path, table: str, logs: dict[Path, Counter[str]], frozen: set[Path]) -> None:
    results = load_results(study, store)
    statuses = Counter(each["status"] for each in results)
    if statuses != {"done": len(study.planned)}:
        trial.wrong.append(f"not all cells are done: {dict(statuses)}")
    elif to_csv(tidy(results)) != table:
        trial.wrong.append("another table than an undisturbed run's")
    if left := Store(store).holders():
        trial.wrong.append(f"claims are left of {', '.join(left)}")
    for id_ in {id_ for log in logs.values() for id_ in log}:
        by = [log for log, ids in logs.items() if ids[id_]]
        if sum(logs[log][id_] for log in by) > 1:
            trial.twice += 1
            if not frozen & set(by):
                trial.wrong.append(f"{id_} was computed twice, and no copy that held it was frozen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first trial")
    parser.add_argument("--folder", type=Path, help="where the stores lie (default: a temporary folder)")
    parser.add_argument("--no-flock", action="store_true", help="flock fails, as where a file system has none")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run_module.Claims = partial(Claims, beat_seconds=BEAT_SECONDS)  # pyright: ignore[reportAttributeAccessIssue]
    if asked.no_flock:
        fcntl.flock = _no_locks
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        (folder / "torture.toml").write_text(STUDY)
        study = load_study(str(folder / "torture.toml"))
        # In a process of its own, too: one that has called autograd cannot be forked.
        os.waitpid(copy(study, folder / "undisturbed", folder / "log"), 0)
        table = to_csv(tidy(load_results(study, folder / "undisturbed")))
        trials = list[Trial]()
        for seed in range(asked.first, asked.first + asked.trials):
            trials.append(run_trial(seed, study, table, folder))
            print(trials[-1], flush=True)
    wrong = [trial.seed for trial in trials if trial.wrong]
    told = {"trials": len(trials), "wrong": wrong, "cells": len(study.planned) * len(trials)}
    told |= {name: sum(getattr(trial, name) for trial in trials) for name in ("killed", "frozen", "ended", "twice")}
    print(json.dumps(told))
    sys.exit(bool(wrong))


def _no_locks(*_: Any) -> None:
    raise OSError(37, "No locks available")


if __name__ == "__main__":
    main()
