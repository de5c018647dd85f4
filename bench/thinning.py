"""What a thinned network saves: the latency of Conv-2 on images of CIFAR-10's shape, whole and without half its channels.

    python bench/thinning.py

Half of the channels and units of each hidden layer are dead, with their biases. Beside stands Torch-Pruning used
directly: its own cuts of the same channels from a copy. One thread, the three in turns, medians of wall-clock
milliseconds; prints one JSON line.
"""

import json
import os
import sys
import time
from copy import deepcopy
from itertools import permutations
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCHES, REPETITIONS = {1: 60, 64: 15}, 7
ORDERS = list(permutations(("whole", "thinned", "torch_pruning")))


def main():
    import torch
    from torch import nn

    from sweepstake.pieces.models import conv2
    from sweepstake.tickets.thin import thin

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    whole = conv2((3, 32, 32), 10).eval()
    layers = [name for name, part in whole.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)][:-1]
    parameters, masks, dead = dict(whole.named_parameters()), {}, {}
    for name in layers:
        units = len(parameters[f"{name}.bias"])
        dead[name] = torch.randperm(units, generator=generator)[:units // 2].sort().values
        for own in ("weight", "bias"):
            masks[f"{name}.{own}"] = torch.ones_like(parameters[f"{name}.{own}"], dtype=torch.bool)
            masks[f"{name}.{own}"][dead[name]] = False
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)
    example = torch.randn(2, 3, 32, 32, generator=generator)
    began = time.perf_counter()
    result = thin(whole, masks, example)
    took = time.perf_counter() - began
    networks = {"whole": whole, "thinned": result.module, "torch_pruning": pruned(whole, dead, example)}
    milliseconds = {}
    with torch.inference_mode():
        for batch, runs in BATCHES.items():
            images = torch.randn(batch, 3, 32, 32, generator=generator)
            spent = {name: [] for name in networks}
            for turn in range(REPETITIONS * runs + 3):
                for name in ORDERS[turn % len(ORDERS)]:  # Whoever comes after the whole one finds a cold cache.
                    began = time.perf_counter()
                    networks[name](images)
                    spent[name].append((time.perf_counter() - began) * 1000)
            milliseconds[batch] = {name: median(each[3:]) for name, each in spent.items()}
    print(json.dumps({
        "bench": "thinning", "unit": "ms a batch", "milliseconds": milliseconds, "seconds_to_thin": round(took, 1),
        "times_faster": {batch: round(each["whole"] / each["thinned"], 2) for batch, each in milliseconds.items()},
        "times_faster_than_torch_pruning": {
            batch: round(each["torch_pruning"] / each["thinned"], 2) for batch, each in milliseconds.items()},
        "parameters": {name: sum(each.numel() for each in network.parameters()) for name, network in networks.items()},
        "largest_difference": result.largest_difference, "load": round(os.getloadavg()[0], 1)}))


def pruned(whole, dead, example):
    """A copy that Torch-Pruning cuts the same channels from."""
    import torch_pruning

    copy = deepcopy(whole)
    graph = torch_pruning.DependencyGraph().build_dependency(copy, example)
    for name, units in dead.items():
        layer = copy.get_submodule(name)
        pruner = graph.get_pruner_of_module(layer)
        assert pruner is not None
        prune = pruner.prune_out_channels
        graph.get_pruning_group(layer, prune, units.tolist()).prune()
    return copy.eval()


if __name__ == "__main__":
    main()
