"""One worker of ours, single-threaded, on the same network and data as bench/plain.py. Serves requests as JSON lines:

    {"do": "steps", "round": 15, "steps": 200} -> {"seconds": ..., "kept": ...}    the masks of a real cell, pruned after 100 steps a round
    {"do": "cell", "epochs": 1, "rounds": 20}  -> {"train": [...], "evaluate": [...], "seconds": ..., "kept": [...]}
    {"do": "sgemm"}                            -> {"gflops": ...}                  this core's peak, 1024 x 1024 x 1024, single precision
    {"do": "memory"}                           -> {"mb": ...}
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import torch

from sweepstake.engine.compiled import flushed_denormals
from sweepstake.engine.fast import FastRound, FastTrainer
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.pieces.datasets import dataset, find_files
from sweepstake.study.study import load_study

LENET = msgspec.structs.replace(load_study("prune-ready").cells[0], steps=100, epochs=None)
"""prune-ready's first cell (LeNet-300-100, batches of 60, Adam at 0.0012, keep 0.8, 20 trainings), of 100 steps a training, not 5 epochs."""


class Ours:
    def __init__(self, data: Path):
        self.images: Images = prepare(LENET, dataset.get("mnist")({"files": lambda: find_files([data])}, {}))
        trainer = FastTrainer(LENET, self.images)
        first = first_state(trainer, LENET)
        self.starts = [first.start, *(state.start for _, state in run_rounds(trainer, LENET, first))]
        self.stepper = FastTrainer(msgspec.structs.replace(LENET, steps=5000), self.images)
        self.runs: dict[int, FastRound] = {}

    def steps(self, round: int, steps: int) -> dict[str, float]:
        if round not in self.runs:
            self.runs[round] = FastRound(self.stepper, LENET, self.starts[round], round)
        with flushed_denormals():
            self.runs[round].steps(0, 20)
            began = time.perf_counter()
            self.runs[round].steps(20, 20 + steps)
        return {"seconds": time.perf_counter() - began, "kept": float(self.starts[round].mask.float().mean())}

    def cell(self, epochs: float, rounds: int) -> dict[str, Any]:
        cell = msgspec.structs.replace(LENET, steps=None, epochs=epochs, rounds=rounds - 1)
        began = time.perf_counter()
        trainer = FastTrainer(cell, self.images)
        records = [record for record, _ in run_rounds(trainer, cell, first_state(trainer, cell))]
        return {"train": [r["seconds"]["train"] for r in records], "evaluate": [r["seconds"]["evaluate"] for r in records],
                "seconds": time.perf_counter() - began, "kept": [r["kept_fraction"] for r in records],
                "accuracy": records[-1]["end"]["test"]["accuracy"]}

    def sgemm(self) -> dict[str, float]:
        a, b, c = (torch.ones(1024, 1024) for _ in range(3))
        torch.mm(a, b, out=c)
        began = time.perf_counter()
        for _ in range(8):
            torch.mm(a, b, out=c)
        return {"gflops": 8 * 2 * 1024**3 / (time.perf_counter() - began) / 1e9}

    def memory(self) -> dict[str, float]:
        return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first-round", action="store_true", help="train one round on the package's digits, say its seconds, and end")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.first_round:
        began = time.perf_counter()
        trainer = FastTrainer(LENET, prepare(LENET, dataset.get("digits")({}, {})))
        next(run_rounds(trainer, LENET, first_state(trainer, LENET)))
        print(time.perf_counter() - began)
        sys.exit()
    ours = Ours(asked.data)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(ours, request.pop("do"))(**request)), flush=True)
