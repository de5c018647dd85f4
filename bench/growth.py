"""What a step costs as networks are pruned, widen and see larger batches, and a run as cells are added: python bench/growth.py --data DIR

One core; LeNet-300-100 on MNIST, batches of 60, Adam, random masks; medians of alternations, this core's SGEMM among them. Cells
run as the product runs them, on two workers. bfloat16 only where the CPU has AMX. Prints Markdown tables and writes docs/growth.svg. About
a minute.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from sweepstake.engine.build import draw_init
from sweepstake.engine.compiled import KernelRound, flushed_denormals
from sweepstake.engine.fast import FastRound, FastTrainer
from sweepstake.engine.half import HalfRound, HalfTrainer
from sweepstake.engine.images import prepare
from sweepstake.engine.kernels.amx import has_amx
from sweepstake.engine.train import Start
from sweepstake.pieces.datasets import dataset, find_files
from sweepstake.read.figures import PALETTE, SHAPES, framed, to_svg
from sweepstake.read.results import run_study
from sweepstake.study.study import read_study

KEPT, WIDTHS, BATCHES, CELLS = (1, 0.5, 0.2, 0.1, 0.035, 0.01), (0.25, 0.5, 1, 2, 4), (15, 30, 60, 120, 240), (1, 2, 4, 8)
SPARSE = 0.035
Point = tuple[str, float, float, int]
"""Precision, kept fraction, width, batch size."""


def points() -> list[Point]:
    found = [("float32", kept, 1, 60) for kept in KEPT]
    for kind, kept in (("float32", 1), ("float32", SPARSE), *([("bfloat16", 1)] if has_amx() else [])):
        found += [(kind, kept, width, 60) for width in WIDTHS] + [(kind, kept, 1, batch) for batch in BATCHES]
    return list(dict.fromkeys(found))


def run_of(point: Point, data: Any) -> KernelRound:
    precision, kept, width, batch = point
    cell = read_study({"dataset": "mnist", "normalise": "unit", "subset": 10_000, "batch_size": batch, "steps": 20_000, "rounds": 0,
                       "model": {"name": "mlp", "hidden": [round(300 * width), round(100 * width)]}, "precision": precision},
                      name="growth").cells[0]
    half = HalfTrainer(cell, prepare(cell, data)) if precision == "bfloat16" else None
    trainer = half or FastTrainer(cell, prepare(cell, data))
    w = draw_init(trainer.net, cell, "init")
    mask = torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < kept
    for slot in trainer.net.slots:
        if slot.role == "bias":
            slot.of(mask)[:] = True
    start = Start(w * mask, mask)
    return HalfRound(half, cell, start, 0) if half else FastRound(trainer, cell, start, 0)


def steps(data: Any, repeats: int) -> tuple[dict[Point, float], float]:
    """Seconds a step at every point, and the core's SGEMM peak in GFLOP/s, all by turns."""
    runs, done, count = {point: run_of(point, data) for point in points()}, dict.fromkeys(points(), 0), dict[Point, int]()
    seen: dict[Point, list[float]] = {point: [] for point in runs}
    a, b, c = (torch.ones(1024, 1024) for _ in range(3))
    peak = []
    with flushed_denormals():
        for repeat in range(-1, repeats):
            began = time.perf_counter()
            for _ in range(4):
                torch.mm(a, b, out=c)
            peak.append(4 * 2 * 1024**3 / (time.perf_counter() - began) / 1e9)
            for point, run in runs.items():
                run.steps(done[point], done[point] + 5)  # Its own arrays back in the caches.
                began, more = time.perf_counter(), count.get(point, 20)
                run.steps(done[point] + 5, done[point] + 5 + more)
                seconds = (time.perf_counter() - began) / more
                done[point] += 5 + more
                count[point] = max(10, min(400, round(0.03 / seconds)))
                if repeat >= 0:
                    seen[point].append(seconds)
    return {point: median(values) for point, values in seen.items()}, median(peak)


def cells(data: Path, repeats: int, workers: int) -> dict[int, float]:
    """Seconds of a whole run_study: cells of four rounds, an epoch of 10,000 images each; median of runs from nothing."""
    seen: dict[int, list[float]] = {count: [] for count in CELLS}
    for repeat in range(-1, repeats):
        for count in CELLS if repeat >= 0 else (1,):
            study = read_study({"dataset": "mnist", "subset": 10_000, "normalise": "unit", "epochs": 1, "rounds": 3, "keep": 0.33,
                                "seeds": count}, name="growth")
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                rows = run_study(study, folder, data=data, workers=workers, engine="fast", progress=False).rows()
                assert len(rows) == 4 * count
                if repeat >= 0:
                    seen[count].append(time.perf_counter() - began)
    return {count: median(values) for count, values in seen.items()}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, tuple("---:" for _ in head), *rows)) + "\n"


def drawn(seconds: dict[Point, float], whole: dict[int, float]) -> dict[str, Any]:
    """Four panels: microseconds a step over kept fraction, width and batch size; seconds of a run over cells."""
    names = {("float32", 1): "float32, all kept", ("float32", SPARSE): "float32, 3.5 % kept", ("bfloat16", 1): "bfloat16, all kept"}
    domain = [*(name for key, name in names.items() if (*key, 1, 60) in seconds), "float32, as kept", "float32, a run"]
    panels = []
    for title, at, y in (("kept (%)", 1, "step"), ("width (of 300-100)", 2, "step"), ("batch size", 3, "step"), ("cells, two workers", 0, "run")):
        if at == 0:
            values = [{"x": count, "y": each, "group": "float32, a run"} for count, each in whole.items()]
        elif at == 1:
            values = [{"x": 100 * kept, "y": 1e6 * seconds["float32", kept, 1, 60], "group": "float32, as kept"} for kept in KEPT]
        else:
            values = [{"x": point[at], "y": 1e6 * each, "group": names[point[0], point[1]]} for point, each in seconds.items()
                      if point[:2] in names and point[5 - at] == (60, 1)[at - 2]]
        scale = {"type": "log", "nice": False} if at else {"zero": True}
        ticks = sorted({value["x"] for value in values})
        panels.append({"width": 230, "height": 190, "data": {"values": values}, "mark": {"type": "line", "point": {"size": 45}, "strokeWidth": 1.8},
                       "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": title, "scale": scale, "axis": {"values": ticks, "grid": False, "format": "~g"}},
            "y": {"field": "y", "type": "quantitative", "title": "microseconds a step" if y == "step" else "seconds a run", "scale": scale,
                  "axis": {"format": "~g", "tickCount": 5}},
            "color": {"field": "group", "type": "nominal", "scale": {"domain": domain, "range": list(PALETTE[:len(domain)])},
                      "legend": {"title": None, "columns": 3}},
            "shape": {"field": "group", "type": "nominal", "scale": {"domain": domain, "range": list(SHAPES[:len(domain)])}, "legend": None},
        }})
    return framed("What a step and a run cost", ["LeNet-300-100 on MNIST, one core a worker; medians of alternations."], [],
                  {"columns": 2, "concat": panels})


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEPSTAKE_DATA", "data")), help="holds mnist/")
    ask.add_argument("--repeats", type=int, default=9)
    ask.add_argument("--workers", type=int, default=2)
    ask.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "growth.svg")
    said = ask.parse_args()
    torch.set_num_threads(1)
    began, before = time.perf_counter(), os.getloadavg()[0]
    data = dataset.get("mnist")({"files": lambda: find_files([said.data])}, {})
    seconds, peak = steps(data, said.repeats)
    whole = cells(said.data, max(1, said.repeats // 3), said.workers)

    def us(*point: Any) -> str:
        return f"{1e6 * seconds[point]:,.0f}"

    def row(width: float, batch: int) -> tuple[str, ...]:
        dense, sparse = seconds["float32", 1, width, batch], seconds["float32", SPARSE, width, batch]
        half = seconds.get(("bfloat16", 1, width, batch))
        return (f"{1e6 * dense:,.0f}", f"{1e6 * sparse:,.0f}", f"{dense / sparse:.1f}x",
                *([f"{1e6 * half:,.0f}", f"{dense / half:.2f}x"] if half else []))

    head = ("float32, all kept", "float32, 3.5 % kept", "times", *(("bfloat16, all kept", "float32 / bfloat16") if has_amx() else ()))
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), platform.processor())
    print(f"{cpu}, {os.cpu_count()} cores, AMX {'amx_bf16' in info}; {time.strftime('%Y-%m-%d')}; load {before:.1f} before, "
          f"{os.getloadavg()[0]:.1f} after; SGEMM {peak:.0f} GFLOP/s a core; {time.perf_counter() - began:.0f} s in all\n")
    print("Microseconds a step.\n")
    print(table(("kept %", "float32"), [(f"{100 * kept:g}", us("float32", kept, 1, 60)) for kept in KEPT]))
    print(table(("width", *head), [(f"{width:g}", *row(width, 60)) for width in WIDTHS]))
    print(table(("batch size", *head), [(f"{batch}", *row(1, batch)) for batch in BATCHES]))
    print(f"Seconds of a run on {said.workers} workers: four rounds of an epoch of 10,000 images a cell, from an empty store.\n")
    print(table(("cells", "seconds", "seconds a cell"), [(f"{count}", f"{each:.1f}", f"{each / count:.2f}") for count, each in whole.items()]))
    to_svg(drawn(seconds, whole), said.out)


if __name__ == "__main__":
    main()
