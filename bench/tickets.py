"""A pruned network as a sparse module against PyTorch's dense one, on one core: python bench/tickets.py [--quick]

LeNet-300-100 at 3.5 % kept, the largest weights of each layer: bytes on disk, and microseconds a call at batch 1 and 64.
Then how many times as fast `ours` and torch's `csr` are as dense, over kept fraction and batch size, for three networks.
Calls alternate; each figure is a median of the thread's processor time. Prints one JSON. Two minutes; --quick leaves the three networks out.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sweepstake.pieces.networks import MLP
from sweepstake.tickets.measured.timing import timed
from sweepstake.tickets.sparse.sparsify import Sparsified, sparsify

KEPT = 0.8**15
NETWORKS = {"LeNet-300-100": [784, 300, 100, 10], "wide MLP": [1024, 1024, 1024], "Linear 768 x 3072": [768, 3072]}
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.035, 0.014)
BATCHES = (1, 8, 64, 256)
FIRST = ("import time, torch; from torch import nn; from sweepstake.tickets.sparse.layers import SparseLinear;"
         "layer, x = SparseLinear.of(nn.Linear(8, 8)), torch.ones(1, 8); began = time.perf_counter(); layer(x);"
         "print(time.perf_counter() - began)")


def network(sizes: list[int]) -> nn.Module:
    """Drawn as PyTorch draws it, from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLP(sizes, nn.ReLU(), 0.0).eval() if len(sizes) > 2 else nn.Linear(sizes[0], sizes[1]).eval()


def largest(net: nn.Module, kept: float) -> dict[str, Tensor]:
    """The masks of the largest weights of each layer."""
    masks = {}
    for name, weight in net.named_parameters():
        if weight.dim() == 2:
            alive = weight.detach().abs().flatten().topk(max(1, round(kept * weight.numel()))).indices
            masks[name] = torch.zeros(weight.numel(), dtype=torch.bool).index_fill_(0, alive, True).view_as(weight)
    return masks


def batch(images: int, columns: int) -> Tensor:
    return torch.randn(images, columns, generator=torch.Generator().manual_seed(images))


def lenet() -> dict[str, Any]:
    """Disk, latency and outputs of LeNet-300-100 at 3.5 %, in both of PyTorch's modes without gradients."""
    sizes = NETWORKS["LeNet-300-100"]
    net, inputs = network(sizes), [batch(images, sizes[0]) for images in (1, 64)]
    began = time.perf_counter()
    made = sparsify(net, largest(net, KEPT), inputs)
    took = time.perf_counter() - began
    calls = {f"{way} {len(x)}": partial(one, x) for x in inputs for way, one in (("dense", net), ("sparse", made.module))}
    with torch.no_grad():
        times = {"no_grad": timed(calls, turns=31)}
    with torch.inference_mode():
        times["inference_mode"] = timed(calls, turns=31)
    faster = {mode: {len(x): round(taken[f"dense {len(x)}"] / taken[f"sparse {len(x)}"], 1) for x in inputs}
              for mode, taken in times.items()}
    on_disk = {"dense": on_disk_bytes(net), "sparse": on_disk_bytes(made.module)}
    return {"kept": round(KEPT, 4), "faster": faster, "us": times, "bytes": on_disk,
            "smaller": round(on_disk["dense"] / on_disk["sparse"], 1), "error": made.error, "ways": made.ways,
            "sparsify_seconds": round(took, 1)}


def on_disk_bytes(module: nn.Module) -> int:
    with tempfile.TemporaryDirectory() as folder:
        save_file(module.state_dict(), str(Path(folder, "weights.safetensors")))
        return Path(folder, "weights.safetensors").stat().st_size


def everywhere(net: nn.Module, masks: dict[str, Tensor], x: Tensor, way: str) -> nn.Module:
    """All layers in one way, whatever is faster."""
    made: Sparsified = sparsify(net, masks, x, ways={})
    if way == "ours":
        return made.module
    ways = {name: "separate" if ".." in name else way for name in made.choices}
    return sparsify(net, masks, x, ways=ways).module


def curve(sizes: list[int]) -> dict[str, Any]:
    """Kept fraction -> batch size -> how many times as fast as dense; and at which fractions each is faster."""
    net, found = network(sizes), {}
    for share in SHARES:
        masks, x = largest(net, share), batch(1, sizes[0])
        ways = {way: everywhere(net, masks, x, way) for way in ("ours", "csr")}
        found[f"{share:.1%}"] = row = {}
        for images in BATCHES:
            x = batch(images, sizes[0])
            with torch.no_grad():
                taken = timed({"dense": partial(net, x), **{way: partial(made, x) for way, made in ways.items()}})
            row[images] = {"dense_us": taken["dense"], **{way: round(taken["dense"] / taken[way], 2) for way in ways}}
    faster = {way: {images: [share for share, row in found.items() if row[images][way] > 1] for images in BATCHES}
              for way in ("ours", "csr")}
    return {"faster_at": faster, "times_as_fast": found}


def compile_seconds() -> float:
    """A first call without numba's cache, less one with it."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(Path(__file__).parents[1])}
        first, second = (float(subprocess.run([sys.executable, "-c", FIRST], env=environment, capture_output=True,
                                              text=True, check=True).stdout) for _ in range(2))
    return round(first - second, 1)


def cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main(quick: bool) -> None:
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    said: dict[str, Any] = {"bench": "tickets", "cpu": cpu(), "avx512": "AVX512" in torch.backends.cpu.get_cpu_capability(),
                            "threads": torch.get_num_threads(), "torch": torch.__version__}
    said |= {"compile_seconds": compile_seconds(), "lenet": lenet()}
    if not quick:
        said["curves"] = {name: curve(sizes) for name, sizes in NETWORKS.items()}
    print(json.dumps({**said, "load": [round(load, 1), round(os.getloadavg()[0], 1)]}))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
