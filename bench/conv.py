"""How fast convolutional networks train, ours beside a plain PyTorch loop: python bench/conv.py --data DIR

Everything is timed in turns within one process tree; a figure is the median over the turns, and a ratio is one of medians. Whoever is not
asked sleeps. Conv-2 is on CIFAR-10, LeNet-5 on MNIST (uniform noise of their shape where DIR lacks them: `real`), batch 60, Adam,
float32, denormals flushed. The ways, each with the whole machine:

    ours               two processes of one thread at the same time, each with a cell of its own, driven through `trainer_for`
    plain_two_threads  bench/conv_plain.py, one process on two threads
    plain_one_thread   the same, two processes of one thread at the same time

A time is one process's. A ratio "vs" is of throughputs of the whole machine: plain_two_threads / (ours / 2), plain_one_thread / ours.

    peak     GFLOP/s of a core while the other does the same: multiply-adds in registers (fma), torch's 1024 x 1024 x 1024 (sgemm)
    steps    milliseconds of a training step where that % of each layer's weights is kept, drawn at random; biases are kept.
             mega_multiply_adds: what a step needs, in millions, counted from the mask (forward, gradient of weights and of inputs, none for
             the images'; zeros behind ReLU and pooling count as any number). gflops: twice these over ours, a core. of_fma, of_sgemm: the
             share of the core's peak; it can pass 1, as zeros need not be multiplied. vs_own_dense: ours at 100 % / ours.
    cells    seconds of a cell: 20 trainings with 80 % of each layer kept from each to the next, rewound to their init. Short: `images`
             training and `test` test images, in the data set's own proportion. Ours is the product's whole cell: the curve's point at the
             beginning and after each epoch, at the end all training and test images, pruning, checks. Plain measures the test images once
             a training, prunes by the same rule and rewinds. vs_*: of these seconds. whole_vs_*: of the same cell on all of the data set,
             by proportion: training and measuring times the images, the rest as it is. --cell-images 50000 does run it whole.
    growth   milliseconds of a step of Conv-2 over width (batch 60) and batch (width 1), at 100 and 3.5 % kept
    memory   peak MB of one of our workers (ru_maxrss) that trains on the full data set at 3.5 % and measures it; before_mb: with the data in
             memory, before training; bare_mb: the interpreter with torch and the package
    sparseprop   with --sparseprop PYTHON, an interpreter that has torch, this package's libraries and SparseProp 0.1.14. layer_ms: forward
             and both gradients of a 64 -> 64 convolution, 3 x 3, 32 x 32 maps, batch 64, 5 % kept, one thread, alone; the faster of
             SparseProp's two ways, of PyTorch's two layouts; ours is the step with that layer less the step without it, so its
             ReLU and optimiser are in. conv2_5: milliseconds of a step of Conv-2 with 5 % kept, where SparseProp swaps what it finds faster.

Writes the key `conv` of bench/latest.json, in which sections that were not asked for stay; prints what it found. About twelve minutes on
two quiet cores; --quick, which shows that all works and no more, takes one.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from run import HERE, Worker, machine, write

MODELS = ("conv2", "lenet5")
KEPT = (1, 0.5, 0.2, 0.1, 0.035, 0.014)
GROWTH = [{"width": width} for width in (0.25, 0.5, 1, 2)] + [{"batch": batch} for batch in (16, 128)]
CELL_IMAGES = {"conv2": 720, "lenet5": 4800}
"""Of 5 epochs: 60 and 400 steps a training."""
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
OURS, TWO, ONE = "ours", "plain_two_threads", "plain_one_thread"
Point = dict[str, Any]


@dataclass
class Way:
    """Processes that do the same at the same time."""

    workers: list[Worker]

    def together(self, **request: Any) -> list[dict[str, Any]]:
        for worker in self.workers:
            worker.ask(**request)
        return [worker.answer() for worker in self.workers]

    def step(self, steps: int, **point: Any) -> tuple[float, dict[str, Any]]:
        """Seconds of a step, the harmonic mean over the processes, and what the first says of itself."""
        said = self.together(do="prepare", steps=steps, **point)[0]
        rates = [steps / answer["seconds"] for answer in self.together(do="go")]
        return len(rates) / sum(rates), said


@dataclass
class Bench:
    """The ways, as they are needed, and how much is asked of each."""

    asked: argparse.Namespace
    ways: dict[str, Way] = field(default_factory=dict)

    @property
    def data(self) -> tuple[str, ...]:
        return ("--data", str(self.asked.data), *(("--first", "1200") if self.asked.quick else ()))

    def way(self, name: str) -> Way:
        if name not in self.ways:
            data = self.data
            makers: dict[str, Callable[[], list[Worker]]] = {
                OURS: lambda: [Worker("conv_ours.py", 1, *data) for _ in range(2)],
                TWO: lambda: [Worker("conv_plain.py", 2, *data, "--threads", "2")],
                ONE: lambda: [Worker("conv_plain.py", 1, *data, "--threads", "1") for _ in range(2)],
                "sparseprop": lambda: [self.sparse_worker(2)], "sparseprop_one_thread": lambda: [self.sparse_worker(1)]}
            self.ways[name] = Way(makers[name]())
        return self.ways[name]

    def sparse_worker(self, threads: int) -> Worker:
        return Worker("conv_plain.py", threads, *self.data, "--threads", str(threads), "--layout", "contiguous",
                      "--sparse", python=self.asked.sparseprop)

    def about(self, model: str) -> dict[str, Any]:
        """What a model's data set has."""
        return self.way(OURS).workers[0](do="about", model=model)

    def close(self) -> None:
        for way in self.ways.values():
            for worker in way.workers:
                worker.close()

    def in_turns(self, names: Sequence[str], points: Sequence[Point]) -> list[dict[str, Any]]:
        """Of each point, each way's median seconds a step, and what it said. A first turn finds how many steps fill a moment."""
        steps = {(number, name): 4 for number in range(len(points)) for name in names}
        seen: dict[tuple[int, str], list[float]] = {key: [] for key in steps}
        said: list[dict[str, Any]] = [{} for _ in points]
        for turn in range(0 if self.asked.quick else -1, self.asked.repeats):
            for number, point in enumerate(points):
                for name in names:
                    seconds, said[number][name] = self.way(name).step(steps[number, name], **point)
                    steps[number, name] = max(4, min(1000, round(self.asked.moment / seconds)))
                    if turn >= 0:
                        seen[number, name].append(seconds)
        return [{"said": said[number], **{name: median(seen[number, name]) for name in names}} for number in range(len(points))]


def peak(bench: Bench) -> dict[str, float]:
    """A core's, while the other does the same."""
    turns = [answer for _ in range(bench.asked.repeats) for answer in bench.way(OURS).together(do="peak")]
    return {name: median(turn[name] for turn in turns) for name in ("fma_gflops", "sgemm_gflops")}


def steps(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {"peak": peak(bench)}
    for model in MODELS:
        kept = (1, 0.035) if bench.asked.quick else KEPT
        turns = bench.in_turns((OURS, TWO, ONE), [{"model": model, "kept": each} for each in kept])
        found[model] = {"real": bench.about(model)["real"], "trainer": turns[0]["said"][OURS]["trainer"]}
        for each, turn in zip(kept, turns, strict=True):
            needed = turn["said"][OURS]["multiply_adds"]
            gflops = 2 * needed / turn[OURS] / 1e9
            found[model][f"{100 * each:g}%"] = {
                **{f"{name}_ms": 1000 * turn[name] for name in (OURS, TWO, ONE)}, **ratios(turn), "vs_own_dense": turns[0][OURS] / turn[OURS],
                "mega_multiply_adds": needed / 1e6, "gflops": gflops,
                "of_fma": gflops / found["peak"]["fma_gflops"], "of_sgemm": gflops / found["peak"]["sgemm_gflops"]}
    return found


def ratios(turn: dict[str, float], prefix: str = "") -> dict[str, float]:
    """How many times the throughput of the plain loop's ways two workers of ours have."""
    parts = {TWO: 2, ONE: 1}
    return {f"{prefix}vs_{name}": turn[name] * parts[name] / turn[OURS] for name in parts if name in turn}


def cells(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {}
    asked = bench.asked
    for model in MODELS:
        about = bench.about(model)
        whole, tests = about["train"], about["test"]
        images = min(whole, asked.cell_images or (120 if asked.quick else CELL_IMAGES[model]))
        shape = {"rounds": 3 if asked.quick else asked.cell_rounds, "epochs": asked.cell_epochs, "images": images,
                 "test": max(1, tests * images // whole)}
        seen: dict[str, list[dict[str, Any]]] = {OURS: [], TWO: [], ONE: []}
        for seed in range(max(1, asked.repeats // 2)):
            for name, answers in seen.items():
                answers += bench.way(name).together(do="cell", model=model, seed=seed, **shape)
        short = {name: median(answer["seconds"] for answer in answers) for name, answers in seen.items()}
        long = {name: median(projected(answer, whole / images) for answer in answers) for name, answers in seen.items()}
        found[model] = {"real": about["real"], **shape, **ratios(short), **ratios(long, "whole_"),
                        "seconds": {name: {part: median(answer[part] for answer in answers) for part in ("seconds", "train", "evaluate")}
                                    for name, answers in seen.items()},
                        "whole_seconds": long, "steps": seen[OURS][0]["steps"], "plain_steps": seen[TWO][0]["steps"],
                        "kept": {name: answers[0]["kept"] for name, answers in seen.items()},
                        "accuracy": {name: median(answer["accuracy"] for answer in answers) for name, answers in seen.items()}}
    return found


def projected(answer: dict[str, Any], times: float) -> float:
    """The seconds of a cell on so many times the images."""
    beside = answer["seconds"] - answer["train"] - answer["evaluate"]
    return times * (answer["train"] + answer["evaluate"]) + beside


def growth(bench: Bench) -> dict[str, Any]:
    points = [{"model": "conv2", "kept": kept, **point} for point in (GROWTH[:1] if bench.asked.quick else GROWTH) for kept in (1, 0.035)]
    turns = bench.in_turns((OURS, TWO), points)
    found: dict[str, Any] = {}
    for point, turn in zip(points, turns, strict=True):
        needed = turn["said"][OURS]["multiply_adds"]
        found[f"width {point.get('width', 1):g}, batch {point.get('batch', 60)}, {100 * point['kept']:g}%"] = {
            **{f"{name}_ms": 1000 * turn[name] for name in (OURS, TWO)}, **ratios(turn), "gflops": 2 * needed / turn[OURS] / 1e9}
    return found


def memory(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in MODELS:
        worker = Worker("conv_ours.py", 1, *bench.data)
        found[model] = worker(do="memory", model=model, steps=4 if bench.asked.quick else 40, measure=not bench.asked.quick)
        worker.close()
    return found


def sparseprop(bench: Bench) -> dict[str, Any]:
    asked = bench.asked
    kept, alone = 0.05, Way(bench.way(OURS).workers[:1])
    layers: dict[str, list[dict[str, Any]]] = {"sparseprop": [], "plain": []}
    differences = []
    for _ in range(asked.repeats):
        for name, worker in (("sparseprop", bench.way("sparseprop_one_thread").workers[0]), ("plain", bench.way(ONE).workers[0])):
            layers[name].append(worker(do="layer", kept=kept, steps=2 if asked.quick else 5))
        with_it, without = (alone.step(4 if asked.quick else 10, model=model, kept=kept, batch=64)[0] for model in ("two", "one"))
        differences.append(with_it - without)
    (turn,) = bench.in_turns(("ours", TWO, "sparseprop"), [{"model": "conv2", "kept": kept}])
    layer = {name: 1000 * median(answer["seconds"] for answer in answers) for name, answers in layers.items()}
    return {"layer_ms": {"ours_by_difference": 1000 * median(differences), **layer},
            "layer_ways_ms": {way: 1000 * median(answer["ways"][way] for answer in layers[name]) for name in layers
                              for way in layers[name][0]["ways"]},
            "conv2_5": {**{f"{name}_ms": 1000 * turn[name] for name in (OURS, TWO, "sparseprop")},
                        "vs_sparseprop": 2 * turn["sparseprop"] / turn[OURS], "sparseprop_vs_plain_two_threads": turn[TWO] / turn["sparseprop"],
                        "swapped": turn["said"]["sparseprop"]["swapped"]}}


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "steps": steps, "cells": cells, "growth": growth, "memory": memory, "sparseprop": sparseprop}


def rounded(found: Any) -> Any:
    """Four digits of every number."""
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    return float(f"{found:.4g}") if isinstance(found, float) else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEPSTAKE_DATA", "data")), help="holds mnist/ and cifar-10's files")
    parser.add_argument("--only", help="sections, with commas between (default: all; sparseprop where --sparseprop is given)")
    parser.add_argument("--quick", action="store_true", help="one turn of little")
    parser.add_argument("--repeats", type=int, help="turns of steps (default 4); cells take half of it")
    parser.add_argument("--cell-images", type=int, default=0, help="training images of a cell, in whole batches of 60 (default: a few)")
    parser.add_argument("--cell-epochs", type=int, default=5)
    parser.add_argument("--cell-rounds", type=int, default=20)
    parser.add_argument("--sparseprop", metavar="PYTHON", help="an interpreter that has SparseProp")
    parser.add_argument("--out", type=Path, default=HERE / "latest.json")
    asked = parser.parse_args()
    asked.repeats = asked.repeats or (1 if asked.quick else 4)
    asked.moment = 0.1 if asked.quick else 0.4
    sections = asked.only.split(",") if asked.only else [name for name in SECTIONS if name != "sparseprop" or asked.sparseprop]
    if unknown := [name for name in sections if name not in SECTIONS]:
        parser.error(f"--only: no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if "sparseprop" in sections and not asked.sparseprop:
        parser.error("--only sparseprop: say which interpreter has it, --sparseprop PYTHON")
    before = json.loads(asked.out.read_text()).get("conv", {}) if asked.out.exists() else {}
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found: dict[str, Any] = {"machine": {**machine(), "flags": [flag for flag in FLAGS if f" {flag}" in info]}}
    bench = Bench(asked)
    try:
        for name in sections:
            began, load = time.perf_counter(), os.getloadavg()[0]
            found[name] = SECTIONS[name](bench)
            found[name]["run"] = {"date": time.strftime("%Y-%m-%d"), "seconds": time.perf_counter() - began, "load": load, "quick": asked.quick}
    finally:
        bench.close()
    found = rounded(found)
    write(asked.out, {"conv": before | found})
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
