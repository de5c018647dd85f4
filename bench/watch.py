"""How soon a round is on the live page, and what the server takes: python bench/watch.py --cells 2000

One cell of a study of digits is trained, and a store is filled with results of the same shape, each with numbers of its own. One cell a level is
only begun. `sweepstake watch` serves the store as a user would call it. Then, every few seconds, a begun cell gets its next round by the store's own
functions. Measured is how long it takes until the server tells of the round, and, where there is a Chromium, until the page's count says so and until
the point of the chart is of one seed more; and how often the whole page was made. Prints one JSON and puts it into bench/latest.json as `watch`.

With --updates N, instead: so many times a round more in a store of 4 cells, each followed by a look and a page, and the memory of the process.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from run import machine, write
from store import LEVELS, measured, record_like, study_in

HERE = Path(__file__).resolve().parent
WAITING = b'id="waiting"'
"""In what is shown until the first page is made."""
BEGUN = 5
"""Rounds that a begun cell has at first."""


def fill(folder: Path, cells: int, rounds: int) -> None:
    """The store: all cells done, but for the last of each level."""
    import torch

    from sweepstake.run.store import Store
    from sweepstake.study.study import load_study

    pattern = Store(folder / "pattern", create=False)
    (trained,) = pattern.ids()
    result = pattern.look(trained).result or {}
    packed = pattern._masks_file(trained).tensors
    masks = {**packed, "size": torch.tensor(int(packed["size"]))}
    study, store = load_study(study_in(folder, cells, rounds)), Store(folder / "runs")
    for place, each in enumerate(study.planned):
        records = [record_like(record, place) for record in result["rounds"]]
        store.begin(each.id, each.cell)
        if each.cell.seed == study.seeds[-1]:
            store.save_state(each.id, records[:BEGUN], {"w": torch.zeros(1)}, {})
        else:
            store.finish(each.id, "done", records, masks, {**result["provenance"], "study": study.name, "study_text": study.text}, layout="[]")


def follow(folder: Path, cells: int, rounds: int, updates: int, pause: float) -> dict[str, Any]:
    """A server of the store, rounds that are put there, and how long each took to be told and seen."""
    import torch

    from sweepstake.run.store import Store
    from sweepstake.study.study import load_study

    path = study_in(folder, cells, rounds)
    study, store = load_study(path), Store(folder / "runs")
    late = [each for each in study.planned if each.cell.seed == study.seeds[-1]]
    began = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "sweepstake", "watch", str(path), "--store", str(store.folder), "--no-open"],
                              env={**os.environ, "PYTHONPATH": str(HERE.parent)}, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    address = server.stdout.readline().strip()
    with ExitStack() as stack:
        stack.callback(server.wait)
        stack.callback(server.send_signal, signal.SIGINT)
        while WAITING in (whole := read(address)):
            time.sleep(0.05)
        found: dict[str, Any] = {"machine": machine(), "cells": len(study.planned), "rounds_a_cell": rounds + 1, "page_mb": len(whole) / 1e6,
                                 "first_page_seconds": time.perf_counter() - began}
        page = chromium(stack, address)
        told, counted, drawn = list[float](), list[float](), list[float]()
        first, cpu = state_of(address), used(server.pid)
        began = time.perf_counter()
        for number in range(updates):
            time.sleep(pause)
            each, has = late[number % LEVELS], BEGUN + 1 + number // LEVELS
            records = [record_like(record, study.planned.index(each)) for record in (store.look(study.planned[0].id).result or {})["rounds"][:has]]
            seen = state_of(address)["rounds"]
            put = time.perf_counter()
            store.save_state(each.id, records, {"w": torch.zeros(1)}, {})
            while state_of(address)["rounds"] == seen:
                time.sleep(0.05)
            told.append(time.perf_counter() - put)
            if page is not None:
                wait = {"timeout": 120_000, "polling": 50}
                page.wait_for_function("said => document.getElementById('live').textContent.includes(said)", arg=f" {seen + 1:,} of ", **wait)
                counted.append(time.perf_counter() - put)
                page.wait_for_function(POINTS, arg=[f"{each.labels['lr']}, ", f", {len(study.seeds)} seeds", has], **wait)
                drawn.append(time.perf_counter() - put)
        seconds, last = time.perf_counter() - began, state_of(address)
        found |= {"updates": updates, "told_seconds": spread(told), "seen_seconds": spread(counted), "drawn_seconds": spread(drawn),
                  "seconds_a_page": seconds / max(1, last["version"] - first["version"]), "cores_used": (used(server.pid) - cpu) / seconds,
                  "mb": status_of(server.pid, "VmRSS"), "mb_at_most": status_of(server.pid, "VmHWM")}
    return found


POINTS = """([group, end, count]) => [...document.querySelectorAll("#main-figure svg [aria-label]")].map(each => each.getAttribute("aria-label"))
  .filter(told => told.startsWith(group) && told.endsWith(end)).length === count"""
"""Whether so many points of a group are of so many seeds."""


def read(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        return answer.read()


def state_of(address: str) -> dict[str, Any]:
    return json.loads(read(f"{address}changes"))


def chromium(stack: ExitStack, address: str) -> Any:
    """The page in a browser; None where there is none."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        return None
    from playwright.sync_api import sync_playwright

    page = stack.enter_context(sync_playwright()).chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"]).new_page()
    page.goto(address, timeout=300_000)
    page.wait_for_function("document.querySelectorAll('figure svg').length > 0", timeout=300_000)
    return page


def spread(seconds: list[float]) -> dict[str, float] | None:
    return {"median": median(seconds), "most": max(seconds)} if seconds else None


def used(pid: int) -> float:
    """Seconds of a processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_of(pid: int, name: str) -> float:
    """Memory of a process, in MB: what it has (VmRSS), or had at most (VmHWM)."""
    return int(re.findall(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


def grow(folder: Path, updates: int) -> dict[str, Any]:
    """The memory after each tenth of so many updates of a small store, by this process, which reads and makes as the server does."""
    import msgspec
    import torch

    from sweepstake.read.watch import Watched
    from sweepstake.run.store import Store
    from sweepstake.study.study import load_study

    study, store = load_study(study_in(folder, 2 * LEVELS, 1), overrides=["lr=[0.001, 0.002]"]), Store(folder / "grown")
    pattern = Store(folder / "pattern", create=False)
    records = (pattern.look(pattern.ids()[0]).result or {})["rounds"]
    watched, memory = Watched(study, store.folder, "nonce"), list[float]()
    for number in range(updates):
        each = study.planned[number % len(study.planned)]
        if store.asked(each.id) is None:
            store.begin(each.id, each.cell)
        store.save_state(each.id, [record_like(record, number) for record in records[:1 + number // 4 % 2]], {"w": torch.zeros(1)}, {})
        watched.look()
        msgspec.json.encode(watched.state_for(watched.made.version, 0))
        watched.make()
        if (number + 1) % (updates // 10) == 0:
            memory.append(status_of(os.getpid(), "VmRSS"))
    return {"updates": updates, "pages": watched.made.version, "mb_after_each_tenth": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15, help="prunings of a cell (default: 15, so 16 trainings)")
    parser.add_argument("--puts", type=int, default=20, help="rounds that are put while it is watched")
    parser.add_argument("--pause", type=float, default=2.5, help="seconds between them")
    parser.add_argument("--updates", type=int, default=0, help="measure memory over so many updates instead")
    parser.add_argument("--folder", type=Path, help="a folder that stays, and is used again")
    parser.add_argument("--out", type=Path, default=HERE / "latest.json")
    asked = parser.parse_args()
    os.fsync = lambda _: None
    with ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sweepstake-watch-")))
        folder.mkdir(parents=True, exist_ok=True)
        rounds = 1 if asked.updates else asked.rounds
        if not (folder / "pattern").exists():
            measured(HERE / "store.py", "--phase", "pattern", folder, rounds)
        if asked.updates:
            found = {"watch_memory": grow(folder, asked.updates)}
        else:
            if not (folder / "runs").exists():
                fill(folder, asked.cells, rounds)
            found = {"watch": follow(folder, asked.cells, rounds, asked.puts, asked.pause)}
    write(asked.out, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
