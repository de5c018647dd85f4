"""The loop bench/conv.py compares with: LeNet-5 or Conv-2, masked, as a tutorial has it, written with care.

float32, channels-last, images normalised once and held in memory as floats, fused Adam, weights multiplied by their mask after each
step. Serves requests as JSON lines:

    {"do": "prepare", "model": "conv2", "kept": 0.035, "width": 1, "batch": 60, "steps": 20} -> {"multiply_adds": 0}
    {"do": "go"}                                    -> {"seconds": ...}          the steps prepared, after a few to warm up
    {"do": "cell", "model": ..., "rounds": 20, "epochs": 5, "images": 720, "test": 144, "seed": 0}
        -> {"train": ..., "evaluate": ..., "seconds": ..., "kept": ..., "accuracy": ...}
    {"do": "layer", "kept": 0.05, "steps": 5}       -> {"seconds": ...}          a 64 -> 64 convolution alone, both ways

With `--sparse`, under an interpreter that has SparseProp, layers are its own: of a network those that it finds faster so, by its own
`swap_modules_with_sparse`; and Adam steps what they hold, so that no mask is needed. It finds none where more than 20 % is kept.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from conv_common import BATCH, DATASET, LR, first_of, images_of, masks_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Masks = list[tuple[Tensor, Tensor]]
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def network_of(model: str, width: float) -> nn.Sequential:
    """The published networks, layer for layer."""
    def wide(units: int) -> int:
        return max(1, round(units * width))

    if model == "lenet5":
        a, b, c, d = map(wide, (6, 16, 120, 84))
        return nn.Sequential(nn.Conv2d(1, a, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Flatten(), nn.Linear(b * 25, c), nn.ReLU(), nn.Linear(c, d), nn.ReLU(), nn.Linear(d, 10))
    plan = {"conv2": [64], "conv4": [64, 128], "conv6": [64, 128, 256]}[model]
    layers: list[nn.Module] = []
    into, side = 3, 32
    for units in map(wide, plan):
        layers += [nn.Conv2d(into, units, 3, padding=1), nn.ReLU(), nn.Conv2d(units, units, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        into, side = units, side // 2
    hidden = wide(256)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(into * side * side, hidden), nn.ReLU(),
                         nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def laid(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    return module.to(memory_format=layout)  # pyright: ignore[reportCallIssue]


def weights_of(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.dim() > 1]


class Plain:
    def __init__(self, folder: Path, layout: str, sparse: bool, first: int):
        self.folder, self.layout, self.sparse, self.first = folder, LAYOUTS[layout], sparse, first
        self.held: dict[tuple[str, int, int], tuple[Tensor, ...]] = {}

    def images(self, model: str, train: int = 0, test: int = 0) -> tuple[Tensor, ...]:
        key = (DATASET[model], train, test)
        if key not in self.held:
            self.held.clear()
            data = first_of(images_of(model, self.folder)[0], train or self.first, test or self.first)
            x, test_x = (torch.from_numpy(each.copy()).float() for each in (data.train_x, data.test_x))
            mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
            x, test_x = (each.sub_(mean).div_(std).contiguous(memory_format=self.layout) for each in (x, test_x))
            self.held[key] = x, torch.from_numpy(data.train_y.copy()).long(), test_x, torch.from_numpy(data.test_y.copy()).long()
        return self.held[key]

    def made(self, model: str, width: float, kept: float, batch: int, seed: int = 0) -> tuple[nn.Module, Masks]:
        torch.manual_seed(seed)
        network: nn.Module = laid(network_of(model, width), self.layout)
        weights = weights_of(network)
        masks: Masks = [(w, mask.float().contiguous(memory_format=self.layout) if w.dim() == 4 else mask.float())
                 for w, mask in zip(weights, masks_of([w.shape for w in weights], kept), strict=True) if kept < 1]
        masked(masks)
        return (self.swapped(network, (batch, *self.images(model)[0].shape[1:])), []) if self.sparse else (network, masks)

    @staticmethod
    def swapped(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        from sparseprop.utils import swap_modules_with_sparse  # pyright: ignore[reportMissingImports]

        with contextlib.redirect_stdout(sys.stderr):
            return swap_modules_with_sparse(network, shape)

    def prepare(self, model: str, kept: float, steps: int, width: float = 1, batch: int = BATCH) -> dict[str, Any]:
        x, y, *_ = self.images(model)
        network, masks = self.made(model, width, kept, batch)
        optimiser = torch.optim.Adam(network.parameters(), lr=LR[model], fused=True)
        warm = max(2, min(20, steps // 4))
        order = torch.randperm(len(x)).repeat(1 + (warm + steps) * batch // len(x)).split(batch)
        self.work = lambda chosen: [step(network, optimiser, masks, self.batch(x, each), y[each]) for each in chosen]
        self.work(order[:warm])
        self.chosen = order[warm:warm + steps]
        swapped = [str(module) for module in network.modules() if type(module).__module__.startswith("sparseprop")]
        return {"multiply_adds": 0, "swapped": swapped}

    def go(self) -> dict[str, float]:
        began = time.perf_counter()
        self.work(self.chosen)
        return {"seconds": time.perf_counter() - began}

    def batch(self, x: Tensor, chosen: Tensor) -> Tensor:
        return x[chosen].contiguous(memory_format=self.layout)

    def cell(self, model: str, rounds: int, epochs: int, images: int, test: int, seed: int) -> dict[str, Any]:
        """Iterative magnitude pruning: each round trains, measures the test set once, keeps 80 % of each layer, rewinds."""
        x, y, test_x, test_y = self.images(model, images, test)
        began, train, evaluate, taken, accuracy = time.perf_counter(), 0.0, 0.0, 0, 0.0
        network, _ = self.made(model, 1, 1, BATCH, seed)
        weights = weights_of(network)
        first = {name: value.clone() for name, value in network.state_dict().items()}
        masks: Masks = []
        for round_ in range(rounds):
            here = time.perf_counter()
            optimiser = torch.optim.Adam(network.parameters(), lr=LR[model], fused=True)
            for _ in range(epochs):
                for chosen in torch.randperm(len(x)).split(BATCH):
                    step(network, optimiser, masks, self.batch(x, chosen), y[chosen])
                    taken += 1
            trained = time.perf_counter()
            accuracy = self.accuracy(network, test_x, test_y)
            train, evaluate = train + trained - here, evaluate + time.perf_counter() - trained
            if round_ < rounds - 1:
                masks = pruned(weights, 0.8 ** (round_ + 1))
                network.load_state_dict(first)
                masked(masks)
        alive, size = sum(int(mask.sum()) for _, mask in masks), sum(w.numel() for w in weights)
        return {"seconds": time.perf_counter() - began, "train": train, "evaluate": evaluate, "steps": taken,
                "kept": alive / size if masks else 1.0, "accuracy": accuracy}

    @torch.no_grad()
    def accuracy(self, network: nn.Module, x: Tensor, y: Tensor) -> float:
        right = sum(int((network(part).argmax(1) == of).sum()) for part, of in zip(x.split(250), y.split(250), strict=True))
        return right / len(y)

    def layer(self, kept: float, steps: int) -> dict[str, Any]:
        """Forward and both gradients of a 64 -> 64 convolution, 3 x 3, on 64 maps of 32 x 32: the fastest way of those asked for."""
        torch.manual_seed(0)
        conv = nn.Conv2d(64, 64, 3, padding=1)
        masked([(conv.weight, masks_of([conv.weight.shape], kept)[0].float())])
        x, grad = torch.randn(64, 64, 32, 32), torch.randn(64, 64, 32, 32)
        ways: dict[str, tuple[nn.Module, torch.memory_format]] = {"contiguous": (conv, torch.contiguous_format)}
        if self.sparse:
            from sparseprop.modules import SparseConv2d  # pyright: ignore[reportMissingImports]

            ways = {name: (SparseConv2d.from_dense(conv, vectorizing_over_on=name == "over_width"), torch.contiguous_format)
                    for name in ("over_batch", "over_width")}
        else:
            ways["channels_last"] = (laid(nn.Conv2d(64, 64, 3, padding=1), torch.channels_last), torch.channels_last)
        seconds = {name: timed(module, x.contiguous(memory_format=layout), grad.contiguous(memory_format=layout), steps)
                   for name, (module, layout) in ways.items()}
        return {"seconds": min(seconds.values()), "ways": seconds}


def timed(layer: nn.Module, x: Tensor, grad: Tensor, steps: int) -> float:
    x.requires_grad_()
    spent = []
    for _ in range(steps + 1):
        layer.zero_grad()
        x.grad = None
        began = time.perf_counter()
        layer(x).backward(grad)
        spent.append(time.perf_counter() - began)
    return sum(spent[1:]) / steps


def step(network: nn.Module, optimiser: torch.optim.Optimizer, masks: Masks, x: Tensor, y: Tensor) -> None:
    optimiser.zero_grad()
    cross_entropy(network(x), y).backward()
    optimiser.step()
    masked(masks)


@torch.no_grad()
def masked(masks: Masks) -> None:
    for parameter, mask in masks:
        parameter.mul_(mask)


def pruned(weights: list[nn.Parameter], kept: float) -> Masks:
    """Of each layer the largest weights. What is dead is 0, and so among the smallest."""
    masks = []
    for w in weights:
        size = w.detach().abs()
        least = size.flatten().kthvalue(max(1, round((1 - kept) * w.numel()))).values
        masks.append((w, (size > least).float()))
    return masks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=[*LAYOUTS], default="channels_last")
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--first", type=int, default=0, help="hold so many images alone (0: all)")
    asked = parser.parse_args()
    torch.set_flush_denormal(True)  # Before there are threads, which take it from this one.
    torch.set_num_threads(asked.threads)
    plain = Plain(asked.data, asked.layout, asked.sparse, asked.first)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(plain, request.pop("do"))(**request)), flush=True)
