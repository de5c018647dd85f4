"""One worker of ours, single-threaded, driven through `trainer_for`. Serves requests of bench/conv.py as JSON lines:

    {"do": "prepare", "model": "conv2", "kept": 0.035, "width": 1, "batch": 60, "steps": 20} -> {"trainer": ..., "multiply_adds": ...}
    {"do": "go"}                                    -> {"seconds": ...}          the steps prepared, after a few to warm up
    {"do": "about", "model": ...}                   -> {"real": true, "train": 50000, "test": 10000}
    {"do": "cell", "model": ..., "rounds": 20, "epochs": 5, "images": 720, "test": 144, "seed": 0}
        -> {"train": ..., "evaluate": ..., "seconds": ..., "kept": ..., "accuracy": ...}
    {"do": "memory", "model": ..., "steps": 20, "measure": true} -> {"mb": ..., "before_mb": ..., "bare_mb": ..., "real": true}
    {"do": "peak"}                                  -> {"fma_gflops": ..., "sgemm_gflops": ...}
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from conv_common import BATCH, DATASET, LR, first_of, images_of, masks_of, multiply_adds
from torch import nn

from sweepstake.base.cell import Cell
from sweepstake.engine.choose import trainer_for
from sweepstake.engine.images import prepare
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.train import Round, Start, Trainer
from sweepstake.pieces import model as models
from sweepstake.pieces import networks
from sweepstake.pieces.datasets import Data
from sweepstake.study.study import read_study

ORDERED = 4000
"""The steps of a cell whose steps are timed: more than anyone asks for at once."""
PUBLISHED = networks.Style(1.0, "none", "relu", 0.01, 0.0)


@models
def one(inputs, classes):
    """One 3 x 3 convolution of 64, pooled, then the classes (nobody: the layer of `two` is what it has not)."""
    return networks.convolutional(inputs, classes, [64, networks.POOL], [], PUBLISHED)


@models
def two(inputs, classes):
    """Two 3 x 3 convolutions of 64, pooled, then the classes (nobody)."""
    return networks.convolutional(inputs, classes, [64, 64, networks.POOL], [], PUBLISHED)


class Stopwatch:
    """The seconds spent in a function."""

    seconds = 0.0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any) -> Any:
            began = time.perf_counter()
            answer = function(*given)
            self.seconds += time.perf_counter() - began
            return answer

        return watched


class Ours:
    def __init__(self, folder: Path, first: int):
        self.folder, self.first = folder, first
        self.data: dict[str, tuple[Data, bool]] = {}
        self.begun = ExitStack()
        self.running: Round | None = None
        self.at = self.count = 0
        self.bare = self.peak_mb()

    def images(self, model: str) -> Data:
        if DATASET[model] not in self.data:
            self.data[DATASET[model]] = images_of(model, self.folder)
        return self.data[DATASET[model]][0]

    def about(self, model: str) -> dict[str, Any]:
        data = self.images(model)
        return {"real": self.data[DATASET[model]][1], "train": len(data.train_y), "test": len(data.test_y)}

    @staticmethod
    def cell_of(model: str, width: float = 1, batch: int = BATCH, **said: Any) -> Cell:
        named: Any = {"name": model, "width": width} if width != 1 else model
        return read_study({"dataset": DATASET[model], "model": named, "batch_size": batch, "lr": LR.get(model, 0.0002), **said},
                          name="conv").cells[0]

    def prepare(self, model: str, kept: float, steps: int, width: float = 1, batch: int = BATCH) -> dict[str, Any]:
        self.begun.close()
        cell = self.cell_of(model, width, batch, steps=ORDERED, rounds=0)
        trainer = trainer_for(cell, prepare(cell, first_of(self.images(model), self.first, self.first)))
        start = self.masked(trainer, cell, kept)
        self.running = self.begun.enter_context(trainer.begin(cell, start, 0))
        self.at, self.count = max(2, min(20, steps // 4)), steps
        self.running.advance(0, self.at, [0.0])  # Warm.
        masks = [slot.of(start.mask) for slot in trainer.net.weights]
        return {"trainer": trainer.name, "multiply_adds": multiply_adds(masks, maps_of(trainer), batch)}

    @staticmethod
    def masked(trainer: Trainer, cell: Cell, kept: float) -> Start:
        whole = first_state(trainer, cell).start
        mask = whole.mask.clone()
        for slot, of in zip(trainer.net.weights, masks_of([slot.shape for slot in trainer.net.weights], kept), strict=True):
            slot.of(mask).copy_(of)
        return Start(whole.w * mask, mask)

    def go(self) -> dict[str, float]:
        assert self.running is not None
        began = time.perf_counter()
        (loss,) = self.running.advance(self.at, self.at + self.count, [0.0])
        seconds = time.perf_counter() - began
        self.begun.close()
        return {"seconds": seconds, "loss": loss / self.count}

    def cell(self, model: str, rounds: int, epochs: float, images: int, test: int, seed: int) -> dict[str, Any]:
        cell = self.cell_of(model, epochs=epochs, rounds=rounds - 1, keep=0.8, seeds=[seed])
        prepared = prepare(cell, first_of(self.images(model), images, test))
        began = time.perf_counter()
        trainer, measuring = trainer_for(cell, prepared), Stopwatch()
        trainer.measure = measuring.of(trainer.measure)
        records = [record for record, _ in run_rounds(trainer, cell, first_state(trainer, cell))]
        return {"seconds": time.perf_counter() - began, "train": sum(r["seconds"]["train"] for r in records),
                "evaluate": sum(r["seconds"]["evaluate"] for r in records) + measuring.seconds, "steps": sum(r["steps"] for r in records),
                "kept": records[-1]["kept_fraction"], "accuracy": records[-1]["end"]["test"]["accuracy"]}

    def memory(self, model: str, steps: int, measure: bool) -> dict[str, Any]:
        cell = self.cell_of(model, steps=steps, rounds=0)
        trainer = trainer_for(cell, prepare(cell, first_of(self.images(model), self.first, self.first)))
        start, before = self.masked(trainer, cell, 0.035), self.peak_mb()
        trained = trainer.train(cell, start, 0)
        if measure:
            trainer.measure(trained.w_final)
        return {"mb": self.peak_mb(), "before_mb": before, "bare_mb": self.bare, "real": self.about(model)["real"]}

    @staticmethod
    def peak_mb() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    @staticmethod
    def peak() -> dict[str, float]:
        from conv_peak import fma_gflops, sgemm_gflops

        return {"fma_gflops": fma_gflops(), "sgemm_gflops": sgemm_gflops()}


def maps_of(trainer: Trainer) -> list[tuple[int, int, int]]:
    """(height, width, padding) of each convolution's input, in the network's order."""
    found: list[tuple[int, int, int]] = []

    def see(module: nn.Module, given: Any, _: Any) -> None:
        assert isinstance(module, nn.Conv2d)
        found.append((*given[0].shape[2:], int(module.padding[0])))

    hooks = [module.register_forward_hook(see) for module in trainer.net.module.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        trainer.net.module(torch.zeros(1, *trainer.net.inputs))
    for hook in hooks:
        hook.remove()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0, help="train on so many images alone (0: all), but in cells")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    ours = Ours(asked.data, asked.first)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(ours, request.pop("do"))(**request)), flush=True)
