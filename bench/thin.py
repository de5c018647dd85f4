"""What dead channels save: milliseconds a step of Conv-2 on images of CIFAR-10's shape, masked and thinned, in turns.

    python bench/thin.py [bfloat16]

One thread, in the process's own time: what neighbours do to the clock is left out. So is making the smaller network, once a round,
which is printed beside. Of each hidden layer the first units are alive; the plain trainer masks the others, the thinned one leaves them
out. Prints one JSON line: medians.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH, STEPS, REPETITIONS, SHARES = 60, 5, 5, (1.0, 0.5, 0.25, 0.1)


def main(precision="float32"):
    import numpy as np
    import torch

    from sweepstake.engine.images import prepare
    from sweepstake.engine.masks import without_units
    from sweepstake.engine.plain import ReferenceTrainer
    from sweepstake.engine.rounds import first_state
    from sweepstake.engine.thin import ThinTrainer
    from sweepstake.engine.train import Start, keep_freed_memory
    from sweepstake.pieces.datasets import Data
    from sweepstake.study.study import read_study

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (BATCH * STEPS, 3, 32, 32), dtype=np.uint8), draw.integers(0, 10, BATCH * STEPS)
    said = {"model": "conv2", "batch_size": BATCH, "lr": 0.0002, "rounds": 0, "precision": precision}
    cells = [read_study({**said, "steps": steps}, name="thin").cells[0] for steps in (0, STEPS)]
    images = prepare(cells[0], Data(x, y, x[:1], y[:1], 10))
    trainers = {way: [kind(cell, images) for cell in cells] for way, kind in (("plain", ReferenceTrainer), ("thinned", ThinTrainer))}
    net, begin = trainers["plain"][0].net, first_state(trainers["plain"][0], cells[0]).start
    load = os.getloadavg()[0]

    def start(share):
        alive = {slot: torch.arange(slot.shape[0]) < round(share * slot.shape[0]) for slot in net.weights[:-1]}
        mask = without_units(net, begin.mask, alive)
        return Start(begin.w * mask, mask)

    starts = {share: start(share) for share in SHARES}
    taken = {(share, way): ([], []) for share in SHARES for way in trainers}
    for repetition in range(REPETITIONS + 1):
        for (share, way), spent in taken.items():
            for cell, trainer, seconds in zip(cells, trainers[way], spent, strict=True):
                began = time.process_time()
                trainer.train(cell, starts[share], 0)
                if repetition:
                    seconds.append((time.process_time() - began) * 1000)
    medians = {f"{share:.0%}": {way: round((median(taken[share, way][1]) - median(taken[share, way][0])) / STEPS, 1) for way in trainers}
               | {"round": round(median(taken[share, "thinned"][0]) - median(taken[share, "plain"][0]))} for share in SHARES}
    print(json.dumps({"bench": "thin", "unit": "ms a step", "precision": precision, "load": [round(load, 1), round(os.getloadavg()[0], 1)],
                      "channels": medians}))


if __name__ == "__main__":
    main(*sys.argv[1:])
