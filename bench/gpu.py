"""The shipped prune-ready study on a GPU: all its cells as stacks, against the same steps one cell at a time in plain PyTorch.

    python bench/gpu.py              prints one JSON line; on a machine without CUDA, one line that says so
    python bench/gpu.py --whole      also runs every round of every cell, prunings included, instead of a sample of steps

Images are noise of MNIST's shape and number: what a step costs does not depend on what they show. Seconds of the whole
training are extrapolated from medians of a sample of steps, the two sides by turns; `--whole` measures them.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parent.parent))

from sweepstake.base.cell import Cell
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.memory import stack_limit
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state
from sweepstake.engine.side_by_side import run_stack, train_in_stacks
from sweepstake.engine.stacked import StackTrainer
from sweepstake.engine.train import Start, steps_in_round
from sweepstake.pieces.datasets import Data
from sweepstake.study.study import load_study


def images_like_mnist(train: int, test: int) -> Data:
    draw = np.random.default_rng(0)

    def some(count: int) -> tuple[np.ndarray, np.ndarray]:
        return draw.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8), draw.integers(0, 10, count)

    return Data(*some(train), *some(test), 10)


def in_stacks(cells: list[Cell], images: Images, device: str, limit: int, steps: int) -> Iterator[float]:
    """Seconds of training for `steps` steps of every cell, again and again; set-up and recording come before the clock."""
    sample = [msgspec.structs.replace(cell, epochs=None, steps=steps, eval_every=0) for cell in cells]
    stacks = [StackTrainer(sample[i:i + limit], images, device) for i in range(0, len(sample), limit)]
    first = ReferenceTrainer(sample[0], images)
    starts = [[first_state(first, cell).start for cell in stack.cells] for stack in stacks]
    while True:
        yield sum(trained.seconds["train"] for stack, start in zip(stacks, starts, strict=True) for trained in stack.train(start, 0))


def one_at_a_time(images: Images, cell: Cell, device: str, steps: int) -> Iterator[float]:
    """Seconds of `steps` steps of one cell as a competent user writes them: data on the device, masks multiplied, Adam fused."""
    x = images.batch(images.train.x, torch.float32).flatten(1).to(device)
    y = images.train.y.to(device)
    module = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)).to(device)
    masks = [torch.ones_like(p) for p in module.parameters()]
    adam = torch.optim.Adam(module.parameters(), lr=cell.lr, fused=True)

    def step(chosen: torch.Tensor) -> None:
        adam.zero_grad()
        cross_entropy(module(x[chosen]), y[chosen]).backward()
        for parameter, mask in zip(module.parameters(), masks, strict=True):
            parameter.grad.mul_(mask)  # pyright: ignore[reportOptionalMemberAccess]
        adam.step()

    while True:
        order = torch.randint(len(y), (steps, cell.batch_size), device=device)
        for chosen in order[:10]:
            step(chosen)
        wait(device)
        began = time.perf_counter()
        for chosen in order:
            step(chosen)
        wait(device)
        yield time.perf_counter() - began


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def agreement(cells: list[Cell], images: Images, device: str, steps: int = 50) -> float:
    """|w - w'| / |w'| of a whole network, w' being `train.Trainer`'s on the CPU after 50 steps; the largest of four cells.

    Not weight by weight: where a gradient is all rounding, Adam takes whole steps of either sign.
    """
    some = [msgspec.structs.replace(cell, epochs=None, steps=steps, eval_every=0) for cell in cells[::max(1, len(cells) // 3)]]
    first, starts = ReferenceTrainer(some[0], images), list[Start]()
    for cell, density in zip(some, [1.0, 0.3, 0.05, 0.01], strict=False):
        w = first_state(first, cell).start.w
        mask = torch.rand(w.shape, generator=torch.Generator().manual_seed(cell.seed)) < density
        starts.append(Start(w * mask, mask))
    stack = StackTrainer(some[:len(starts)], images, device)
    pairs = zip(some, starts, stack.train(starts, 0), strict=False)
    return max(float((a.w_final - b.w_final).norm() / b.w_final.norm())
               for cell, start, a in pairs for b in [ReferenceTrainer(cell, images).train(cell, start, 0)])


def whole_study(cells: list[Cell], images: Images, device: str, limit: int) -> dict[str, float]:
    """Every round of every cell, for real: seconds of training, of measuring, and of everything."""
    first = ReferenceTrainer(cells[0], images)
    states = [first_state(first, cell) for cell in cells]
    began, spent, count = time.perf_counter(), {"train": 0.0, "evaluate": 0.0}, 0
    for _, record, state in train_in_stacks(cells, states, [""] * len(cells), limit,
                                            lambda c, s, n: run_stack(StackTrainer(c, images, device), c, s, n)):
        if state is None or isinstance(record, Exception):
            raise RuntimeError(record)
        for key in spent:
            spent[key] += record["seconds"][key]
        count += 1
    seconds = time.perf_counter() - began
    return {"rounds": count, "train_seconds": spent["train"], "curve_seconds": spent["evaluate"], "all_seconds": seconds}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu runs the same code, to see that it runs: no figure to claim")
    parser.add_argument("--cells", type=int, default=0, help="only so many of the study's cells (0: all 88)")
    parser.add_argument("--steps", type=int, default=1000, help="steps in a sample")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each side, by turns")
    parser.add_argument("--images", type=int, default=60_000, help="training images; tests are a sixth of them")
    parser.add_argument("--whole", action="store_true", help="also run every round of every cell")
    given = parser.parse_args(argv)
    if given.device != "cpu" and not torch.cuda.is_available():
        print("bench/gpu.py: no CUDA device on this machine, so nothing was measured.")
        return 0
    cells = load_study("prune-ready").cells
    cells = cells[::max(1, len(cells) // given.cells)][:given.cells] if given.cells else cells
    images = prepare(cells[0], images_like_mnist(given.images, given.images // 6))
    limit = stack_limit(cells, images, given.device)
    stacked, plain = in_stacks(cells, images, given.device, limit, given.steps), one_at_a_time(images, cells[0], given.device, given.steps)
    for side in (stacked, plain):
        next(side)  # Warm-up.
    sides = [(next(stacked), next(plain)) for _ in range(given.repeats)]
    ours, theirs = (median(side) / given.steps for side in zip(*sides, strict=True))
    steps = steps_in_round(cells[0], given.images) * (cells[0].rounds + 1)
    said = {
        "card": torch.cuda.get_device_name() if given.device != "cpu" else "none: CPU, not a figure to claim",
        "torch": torch.__version__, "cells": len(cells), "stack": limit, "steps_a_cell": steps, "extrapolated_from_steps": given.steps,
        "step_of_all_us": round(ours * 1e6, 1), "plain_step_of_one_us": round(theirs * 1e6, 1),
        "train_seconds": round(ours * steps, 2), "plain_train_seconds": round(theirs * steps * len(cells), 2),
        "times_plain": round(theirs * len(cells) / ours, 2), "off_cpu_after_50_steps": agreement(cells, images, given.device),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3) if given.device != "cpu" else None,
        "whole": whole_study(cells, images, given.device, limit) if given.whole else None,
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
