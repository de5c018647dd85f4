"""What holding masks costs: a step of a plain PyTorch loop with masks held over the same step without, in turns.

    python bench/hold.py

One thread, in the process's own time: what neighbours do to the clock is left out. A fifth of each matrix is alive. Prints one JSON
line: for each net and optimiser the medians in milliseconds a step, and the median of the ratios of neighbouring turns. A part of
Adam's is its own square root of zeros, which some processors take longer for: "sqrt" is that ratio. "clear" is how masks set the
dead of 300 x 784 weights to 0, and "fill" is masked_fill_.
"""

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TURNS, STEPS, BATCH = 15, 10, 64


def main():
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from sweepstake.tickets.held.masks import Masks

    torch.set_num_threads(1)
    nets = {
        "lenet-300-100": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(),
                                               nn.Linear(100, 10)),
        "four convolutions of 64": lambda: nn.Sequential(
            nn.Conv2d(1, 64, 3, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(64, 10)),
    }
    optimisers = {"momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9), "adam": lambda p: torch.optim.Adam(p, 1e-3)}
    x, y = torch.randn(BATCH, 1, 28, 28), torch.randint(0, 10, (BATCH,))
    said = {}
    for name, build in nets.items():
        for called, make in optimisers.items():
            net = build()
            masks = Masks(net, {each_name: torch.rand_like(each) < 0.2 for each_name, each in net.named_parameters() if each.dim() > 1})
            optimiser = make(net.parameters())
            taken = {"bare": [], "held": []}
            for turn in range(TURNS + 1):
                for way, spent in taken.items():
                    with masks.held(optimiser) if way == "held" else nullcontext():
                        began = time.process_time()
                        for _ in range(STEPS):
                            optimiser.zero_grad()
                            cross_entropy(net(x), y).backward()
                            optimiser.step()
                        if turn:
                            spent.append((time.process_time() - began) * 1000 / STEPS)
            ratios = [held / bare for held, bare in zip(taken["held"], taken["bare"], strict=True)]
            said[f"{name}, {called}"] = {**{way: round(median(spent), 3) for way, spent in taken.items()}, "ratio": round(median(ratios), 3)}
    weights, alive = torch.randn(300, 784), torch.rand(300, 784) < 0.2
    masks, dead = Masks(layer := nn.Linear(784, 300), {"weight": alive}), ~alive
    square, whole = weights.square() * alive, weights.square()
    ways = {"clear": masks.apply, "fill": lambda: layer.weight.data.masked_fill_(dead, 0), "sqrt": square.sqrt, "sqrt, whole": whole.sqrt}
    taken = {way: [] for way in ways}
    for _ in range(TURNS):
        for way, spent in taken.items():
            began = time.process_time()
            for _ in range(STEPS):
                ways[way]()
            spent.append(time.process_time() - began)
    for way, other in (("fill", "clear"), ("sqrt", "sqrt, whole")):
        ratios = [one / base for one, base in zip(taken[way], taken[other], strict=True)]
        said[f"{way} / {other}"] = round(median(ratios), 2)
    print(json.dumps({"threads": 1, "batch": BATCH, "load": os.getloadavg()[0], "turns": TURNS, **said}))


if __name__ == "__main__":
    main()
