"""How fast Conv-2 trains: ours (channels-last, bfloat16) beside plain PyTorch (float32, NCHW), alternating, on every core.

    python bench/conv2.py

One single-threaded process a core, as `sweepstake run` has it; all of them train the same way at the same time, so that they
share the memory bus. Prints one JSON line: images trained a second over all processes, medians over the repetitions.
"""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH, STEPS, REPETITIONS = 60, 12, 5


def work(barrier, answers, number):
    """One process: each way once to warm up, then in turns, every process waiting for the others before each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import numpy as np
    import torch

    from sweepstake.engine.images import prepare
    from sweepstake.engine.plain import ReferenceTrainer
    from sweepstake.engine.rounds import first_state
    from sweepstake.engine.train import keep_freed_memory
    from sweepstake.pieces.datasets import Data
    from sweepstake.study.study import read_study

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    draw = np.random.default_rng(number)
    x, y = draw.integers(0, 256, (BATCH * STEPS, 3, 32, 32), dtype=np.uint8), draw.integers(0, 10, BATCH * STEPS)

    def ours(precision):
        cell = read_study({"model": "conv2", "batch_size": BATCH, "lr": 0.0002, "steps": STEPS, "rounds": 0, "precision": precision},
                          name="conv2").cells[0]
        trainer = ReferenceTrainer(cell, prepare(cell, Data(x, y, x[:BATCH], y[:BATCH], 10)))
        start = first_state(trainer, cell).start
        return lambda: trainer.train(cell, start, 0).seconds["train"]

    def plain():
        """The loop of a tutorial, its data already in memory as floats."""
        from sweepstake.pieces.networks import Style, convolutional

        net = convolutional((3, 32, 32), 10, [64, 64, "pool"], [256, 256], Style(1.0, "none", "relu", 0.01, 0.0))
        optimiser = torch.optim.Adam(net.parameters(), lr=0.0002)
        images, labels = (torch.from_numpy(x).float() / 255 - 0.5) / 0.25, torch.from_numpy(y)

        def train():
            began = time.perf_counter()
            for at in range(0, BATCH * STEPS, BATCH):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(net(images[at:at + BATCH]), labels[at:at + BATCH]).backward()
                optimiser.step()
            return time.perf_counter() - began

        return train

    ways = {"plain_float32_nchw": plain(), "ours_float32": ours("float32"), "ours_bfloat16": ours("bfloat16")}
    for repetition in range(REPETITIONS + 1):
        for way, train in ways.items():
            barrier.wait()
            seconds = train()
            if repetition:
                answers.put((repetition, way, BATCH * STEPS / seconds))


def main():
    spawn, cores = multiprocessing.get_context("spawn"), os.cpu_count() or 1
    barrier, answers = spawn.Barrier(cores), spawn.Queue()
    processes = [spawn.Process(target=work, args=(barrier, answers, number)) for number in range(cores)]
    for process in processes:
        process.start()
    together = {}
    for _ in range(REPETITIONS * 3 * cores):
        repetition, way, rate = answers.get()
        together[way, repetition] = together.get((way, repetition), 0.0) + rate
    for process in processes:
        process.join()
    rates = {way: round(median(rate for (of, _), rate in together.items() if of == way)) for way, _ in together}
    print(json.dumps({"bench": "conv2", "unit": "images trained a second", "processes": cores, "batch": BATCH, **rates,
                      "ratio": round(rates["ours_bfloat16"] / rates["plain_float32_nchw"], 2)}))


if __name__ == "__main__":
    main()
