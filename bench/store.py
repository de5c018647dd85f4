"""How large a store may grow: 100,000 cells of made-up results put into one and read back: python bench/store.py

A study of digits is planned and one cell of it is trained. Every other cell gets that cell's records, with numbers of its own, and its masks; they
are put by the store's own functions as a run does: begun, a state a round, the end. This is timed over the first 2,000 cells; the rest are copies of
an ended one under their own names and seals. Then each command runs as a user would run it. Of each the time on the clock and the processor's (which
neighbours change less), and the memory at its highest. What flushing to the disk costs is measured on a few cells, by one writer and by eight at
once. Prints one JSON and puts it into bench/latest.json as `store`. Needs 3 GB in --folder; minutes.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import msgspec
from run import machine, write

from sweepstake.run.sealed import Seal, seal_json, seal_of

HERE = Path(__file__).resolve().parent
STUDY = """title = "Many cells"
dataset = "digits"
model = {{name = "mlp", hidden = [300, 100]}}
validation = 200
epochs = 6
rounds = {rounds}
lr = [0.0002, 0.0004, 0.0006, 0.0008, 0.001, 0.0012, 0.0014, 0.0016, 0.0018, 0.002]
seeds = {seeds}
"""
LEVELS = 10
"""Values of its axis."""
FLUSHED, WRITERS = 80, 8
"""Cells, and writers at once, with which flushing is measured."""
TIMED = 2000
"""Cells whose every round is put, and timed. The others are copies of an ended one."""


def study_in(folder: Path, cells: int, rounds: int) -> Path:
    """The study's file."""
    path = folder / f"many-{cells}-{rounds}.toml"
    path.write_text(STUDY.format(rounds=rounds, seeds=max(1, cells // LEVELS)))
    return path


def pattern(folder: Path, rounds: int) -> None:
    """A store with one trained cell of the study."""
    from sweepstake.run.run import run_study
    from sweepstake.study.study import load_study

    study = load_study(study_in(folder, LEVELS, rounds), overrides=["lr=0.001"])
    (result,) = run_study(study, folder / "pattern", workers=1, engine="reference")
    assert result["status"] == "done", result


def ingest(path: Path, pattern: Path, into: Path, first: int, count: int) -> dict[str, Any]:
    """Put so many cells of the study into a store, as a run puts them; what is put is made up before, and not timed."""
    import torch

    from sweepstake.run.store import Store
    from sweepstake.study.study import load_study

    trained = Store(pattern, create=False)
    (id_,) = trained.ids()
    result, packed, layout = trained.get(id_) or {}, trained._masks_file(id_).tensors, trained.layout(id_) or ""
    size, masks = int(packed.pop("size")), packed
    store, study = Store(into), load_study(path)
    store.keep_study(study.name, study.text)
    draw = torch.Generator().manual_seed(first)
    state = {"w": torch.randn(size, generator=draw), "alive": torch.ones(size, dtype=torch.bool)}
    planned = study.planned[first:first + count]
    made_up = [[record_like(record, each.cell.seed) for record in result["rounds"]] for each in planned]
    clock, used = time.perf_counter(), time.process_time()
    for each, records in zip(planned, made_up, strict=True):
        store.begin(each.id, each.cell)
        for round_ in range(len(records)):
            tensors = {**state, **{f"mask.round.{r}": masks[f"round.{r}"] for r in range(round_ + 1)}}
            store.save_state(each.id, records[:round_ + 1], tensors, {"round": round_ + 1, "asked": {}, "proofs": {}, "seconds": 1.0})
        made = {**result["provenance"], "study": study.name, "study_text": study.text}
        store.finish(each.id, "done", records, {**masks, "size": torch.tensor(size)}, made, layout=layout)
    seconds, processor = time.perf_counter() - clock, time.process_time() - used
    return {"seconds": seconds, "processor_seconds": processor, "rounds": len(planned) * len(result["rounds"])}


def fill(path: Path, into: Path, first: int) -> dict[str, Any]:
    """The rest of the study's cells, as an ended one of them lies there, under their own names and seals."""
    from sweepstake.run.store import Store
    from sweepstake.study.study import load_study

    store, study = Store(into), load_study(path)
    like = study.planned[0].id
    ended, _ = store.files(like)
    masks, result = ended["masks"], ended["result"]
    assert masks.seal and result.seal
    for each in study.planned[first:]:
        packed = resealed(masks.content, masks.seal, each.id)
        named = result.content.replace(masks.seal.sha256.encode(), seal_of(packed).sha256.encode())
        asked = seal_json("cell", each.id, msgspec.to_builtins(each.cell, order="deterministic"), lines=True)
        store.take(each.id, {"cell": asked, "masks": packed, "result": resealed(named, result.seal, each.id)})
    return {"cells": len(study.planned) - first}


def resealed(content: bytes, seal: Seal, id_: str) -> bytes:
    """A file as another cell's: docs/results.md says how a seal is made."""
    blank = hashlib.sha256(f"{seal.kind} {id_}".encode()).hexdigest().encode()
    opened = content.replace(seal.sha256.encode(), blank, 1).replace(seal.id.encode(), id_.encode(), 1)
    return opened.replace(blank, hashlib.sha256(opened).hexdigest().encode(), 1)


def record_like(record: dict[str, Any], seed: int) -> dict[str, Any]:
    """A round's record with losses and accuracies of its own, of the same shape."""
    move = 1 + (seed * 2654435761 % 2**32) / 2**36

    def moved(split: dict[str, Any] | None) -> dict[str, Any] | None:
        return split and {**split, "loss": split["loss"] * move, "accuracy": split["accuracy"] / move}

    end = {split: moved(measured) for split, measured in record["end"].items()}
    early = record["early"] and {**record["early"], **{split: moved(record["early"][split]) for split in end}}
    curve = {name: values if name == "step" else [None if value is None else value * move for value in values]
             for name, values in record["curve"].items()}
    return {**record, "end": end, "early": early, "curve": curve}


def plan(path: Path) -> dict[str, Any]:
    """Read the study: its cells and their ids."""
    from sweepstake.study.study import load_study

    clock, used = time.perf_counter(), time.process_time()
    study = load_study(path)
    return {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - used, "cells": len(study.planned)}


def measured(*words: object) -> dict[str, Any]:
    """A command of Python, run: its time on the clock and the processor's, its memory at the highest, the last line that it printed.

    This process stays small, for Linux counts the memory of who starts a command to the command.
    """
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        pid = os.posix_spawn(sys.executable, [sys.executable, *map(str, words)], {**os.environ, "PYTHONPATH": str(HERE.parent)},
                             file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 1)])
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - began
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"bench: {' '.join(map(str, words))} ended with code {os.waitstatus_to_exitcode(status)}")
        said.seek(0)
        lines = said.read().decode().splitlines()
    return {"seconds": seconds, "processor_seconds": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024, "said": lines[-1] if lines else ""}


def phase(name: str, *words: object, flush: bool = True) -> dict[str, Any]:
    """A part of this bench in a process of its own."""
    return json.loads(measured(HERE / "store.py", "--phase", name, *words, *([] if flush else ["--no-flush"]))["said"])


def flushing(path: Path, trained: Path, folder: Path) -> dict[str, Any]:
    """Rounds a second with and without flushing to this folder's disk, by one writer and by several at once."""
    found = dict[str, Any]()
    for name, flush, writers in (("not_flushed", False, 1), ("flushed", True, 1), (f"flushed_by_{WRITERS}", True, WRITERS)):
        with scratch(folder) as into:
            began, share, pids = time.perf_counter(), FLUSHED // writers, list[int]()
            for writer in range(writers):
                pids.append(os.fork())
                if not pids[-1]:
                    if not flush:
                        os.fsync = lambda _: None
                    took = flush_seconds() if flush else []
                    said = {**ingest(path, trained, into, writer * share, share), "took": took}
                    (into / f"took.{writer}").write_text(json.dumps(said))
                    os._exit(0)
            assert not any(os.waitpid(pid, 0)[1] for pid in pids), "a writer failed"
            said = [json.loads((into / f"took.{writer}").read_text()) for writer in range(writers)]
            found[name] = {"rounds_a_second": sum(each["rounds"] for each in said) / max(each["seconds"] for each in said),
                           "processor_us_a_round": 1e6 * sum(each["processor_seconds"] for each in said) / sum(each["rounds"] for each in said),
                           "clock_seconds": time.perf_counter() - began}
            if took := [seconds for each in said for seconds in each["took"]]:
                found[name] |= {"flush_ms": 1000 * median(took), "flushes_a_cell": len(took) / sum(share for _ in said)}
    return found


def flush_seconds() -> list[float]:
    """How long each flush takes from now on, in a list that grows."""
    took, flush = list[float](), os.fsync

    def fsync(file: int) -> None:
        began = time.perf_counter()
        flush(file)
        took.append(time.perf_counter() - began)

    os.fsync = fsync
    return took


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=folder)) / "runs"
    try:
        yield made
    finally:
        shutil.rmtree(made.parent)


def room(store: Path, sample: int = 1000) -> dict[str, float]:
    """Bytes and files of a cell, over some of them."""
    folders = [each for each, _ in zip((store / "cells").iterdir(), range(sample), strict=False)]
    files = [path for folder in folders for path in (*folder.iterdir(), folder)]
    stats = [path.stat() for path in files]
    return {"bytes": sum(each.st_size for path, each in zip(files, stats, strict=True) if path.is_file()) / len(folders),
            "bytes_on_disk": 512 * sum(each.st_blocks for each in stats) / len(folders), "inodes": len(files) / len(folders)}


def every(folder: Path, disk: Path, cells: int, rounds: int) -> dict[str, Any]:
    """All that is measured."""
    path, trained, store = study_in(folder, cells, rounds), folder / "pattern", folder / "runs"
    measured(HERE / "store.py", "--phase", "pattern", folder, rounds)
    found: dict[str, Any] = {"machine": machine(), "cells": cells, "rounds_a_cell": rounds + 1}
    found["flushing"] = phase("flushing", path, trained, disk)
    timed = min(cells, TIMED)
    put = phase("ingest", path, trained, store, 0, timed, flush=False)
    phase("fill", path, store, timed, flush=False)
    found["ingest"] = {"rounds_a_second": put["rounds"] / put["seconds"], "rounds_a_processor_second": put["rounds"] / put["processor_seconds"]}
    found["plan"] = phase("plan", path)
    found["a_cell"] = room(store)
    for name, words in (("status", ["status", path]), ("results", ["results", path, "--out", folder / "table.csv"])):
        found[name] = measured("-m", "sweepstake", *words, "--store", store)
    found["table_mb"] = (folder / "table.csv").stat().st_size / 1e6
    return found


def run_phase(name: str, *words: str) -> None:
    match name:
        case "pattern":
            said = pattern(Path(words[0]), int(words[1]))
        case "flushing":
            path, trained, disk = map(Path, words)
            said = flushing(path, trained, disk)
        case "ingest":
            path, trained, into, first, count = words
            said = ingest(Path(path), Path(trained), Path(into), int(first), int(count))
        case "fill":
            path, into, first = words
            said = fill(Path(path), Path(into), int(first))
        case _:
            said = plan(Path(words[0]))
    print(json.dumps(said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1, help="prunings of a cell (default: 1, so two trainings)")
    parser.add_argument("--folder", type=Path, help="where the large store is put (default: a temporary folder; /dev/shm spares the disk)")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="where flushing is measured")
    parser.add_argument("--keep", action="store_true", help="leave the folder as it is then")
    parser.add_argument("--out", type=Path, default=HERE / "latest.json")
    parser.add_argument("--phase", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--no-flush", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.no_flush:
        os.fsync = lambda _: None
    if asked.phase:
        run_phase(*asked.phase)
        return
    folder = Path(tempfile.mkdtemp(prefix="sweepstake-store-", dir=asked.folder))
    try:
        found = every(folder, asked.disk, asked.cells, asked.rounds)
    finally:
        if asked.keep:
            print(folder, file=sys.stderr)
        else:
            shutil.rmtree(folder)
    write(asked.out, {"store": found})
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
