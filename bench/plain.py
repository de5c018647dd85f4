"""The loop we are compared with: LeNet-300-100 on MNIST, masked, as a competent user of PyTorch writes it.

Images normalised once and held in memory, fused Adam, gradients masked (weights begin masked, so they stay so), all cores.
`loader` reads the same tensors through a DataLoader instead. Serves requests as JSON lines, for bench/run.py to alternate:

    {"kept": 0.035, "steps": 200, "loader": false} -> {"seconds": ..., "evaluate": ...}
"""

import argparse
import json
import sys
import time
from itertools import chain, repeat
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from sweepstake.pieces.datasets import MNIST_FILES, find_files, read_idx

BATCH = 60


class Plain:
    def __init__(self, data: Path):
        files = find_files([data])("mnist", MNIST_FILES)
        x, self.y, test_x, self.test_y = (torch.from_numpy(read_idx(files[name]).copy()) for name in MNIST_FILES)
        mean, std = x.float().mean(), x.float().std()
        self.x, self.test_x = ((images.float().flatten(1) - mean) / std for images in (x, test_x))
        self.y, self.test_y = self.y.long(), self.test_y.long()

    def train(self, kept: float, steps: int, loader: bool) -> dict[str, float]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
        masks = [(p, (torch.rand_like(p) < kept).float()) for p in network.parameters() if p.dim() == 2 and kept < 1]
        with torch.no_grad():
            for parameter, mask in masks:
                parameter.mul_(mask)
        optimiser = torch.optim.Adam(network.parameters(), lr=0.0012, fused=True)
        batches = chain.from_iterable(map(self.loaded if loader else self.indexed, repeat(None)))
        for x, y in (next(batches) for _ in range(20)):  # Warm.
            self.step(network, optimiser, masks, x, y)
        began = time.perf_counter()
        for _ in range(steps):
            self.step(network, optimiser, masks, *next(batches))
        trained = time.perf_counter()
        self.accuracy(network)
        return {"seconds": trained - began, "evaluate": time.perf_counter() - trained}

    @staticmethod
    def step(network: nn.Module, optimiser: torch.optim.Optimizer, masks: list[tuple[nn.Parameter, Tensor]], x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        cross_entropy(network(x), y).backward()
        for parameter, mask in masks:
            assert parameter.grad is not None
            parameter.grad.mul_(mask)
        optimiser.step()

    def indexed(self, _):
        order = torch.randperm(len(self.x))
        return ((self.x[chosen], self.y[chosen]) for chosen in order.split(BATCH))

    def loaded(self, _):
        return iter(DataLoader(TensorDataset(self.x, self.y), batch_size=BATCH, shuffle=True))

    @torch.no_grad()
    def accuracy(self, network: nn.Module) -> float:
        return float((network(self.test_x).argmax(1) == self.test_y).float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    plain = Plain(asked.data)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(plain.train(**json.loads(line))), flush=True)
