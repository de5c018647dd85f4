"""No bit moves in silence: cells of every trainer, trained in a process for a CPU said in advance, and their hashes by version.

`PYTHONPATH=. python tests/engine/test_numerics.py --write` adds the hashes of what is new: a trainer, a version, or, when the libraries are
others, all of them.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sweepstake.base.cell import Cell
from sweepstake.engine import numerics
from sweepstake.engine.conv import ConvTrainer
from sweepstake.engine.fast import FastTrainer
from sweepstake.engine.half import HalfTrainer
from sweepstake.engine.images import Images, prepare
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.engine.side_by_side import run_stack
from sweepstake.engine.stacked import StackTrainer
from sweepstake.engine.thin import ThinTrainer
from sweepstake.engine.train import Trained
from tests.helpers import make_cell, tiny_images

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "numerics.json"
COMMAND = "`PYTHONPATH=. python tests/engine/test_numerics.py --write`"
RULE = f"its bits moved. Raise its version in sweepstake/engine/numerics.py and run {COMMAND}, or revert."
RUN = f"Run {COMMAND}."
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


# In the process that trains

class Hash:
    """SHA-256 of all that a cell's rounds came to."""

    def __init__(self):
        self.sha = hashlib.sha256()

    def add(self, *tensors: Any) -> None:
        for tensor in tensors:
            if tensor is not None:
                self.sha.update(tensor.numpy().tobytes())

    def trained(self, each: Trained) -> None:
        self.add(each.w_final, each.w_early, each.w_step, *each.moments)
        self.sha.update(json.dumps(each.curve).encode())

    def rounds(self, finished: Iterator[tuple[dict[str, Any], Any]]) -> None:
        for record, state in finished:
            self.add(state.start.w, state.start.mask)
            self.sha.update(json.dumps([record["end"], record["early"], record["alive_units"]]).encode())

    def __str__(self) -> str:
        return self.sha.hexdigest()[:16]


def listening(trainer: Any, heard: Callable[[Any], None]) -> Any:
    """A trainer whose every round is heard before it goes on."""
    train = trainer.train

    def told(*given: Any) -> Any:
        found = train(*given)
        for each in found if isinstance(found, list) else [found]:
            heard(each)
        return found

    trainer.train = told
    return trainer


MLP = ("mlp", {"hidden": [40, 24]})
BASE: dict[str, Any] = {"steps": 12, "rounds": 3, "keep": 0.5, "batch_size": 50, "eval_every": 5, "validation": 30, "lr": 0.01}
MLPS: dict[str, dict[str, Any]] = {
    "adam": {"model": MLP},
    "sgd": {"model": ("mlp", {"hidden": [40, 24], "activation": "leaky_relu", "slope": 0.1}), "optimiser": "sgd", "momentum": 0.9,
            "weight_decay": 0.01, "normalise": "unit", "batch_size": 130, "keep": 0.3},
    "adamw": {"model": ("mlp", {"hidden": [40, 24], "dropout": 0.3}), "optimiser": "adamw", "weight_decay": 0.1, "lr_schedule": "cosine",
              "optimiser_state": "kept", "reset": ("rewind", {"step": 3}), "prune_biases": True, "bias_init": ("normal", {"std": 0.1})},
    "one layer": {"model": ("mlp", {"hidden": []}), "optimiser": "sgd", "batch_size": 7, "keep": 0.4},
}
"""Dense layers at first, sparse ones later, by every optimiser; widths and batches that fill no tile and no panel."""
CONVS: dict[str, dict[str, Any]] = {
    "conv": {"model": ("conv2", {"width": 0.125}), "batch_size": 20},
    "conv, norm": {"model": ("conv2", {"width": 0.125, "norm": "batch", "dropout": 0.2}), "optimiser": "sgd", "momentum": 0.9,
                   "batch_size": 20},
}
CHAINS: dict[str, dict[str, Any]] = {
    "adam": {"model": ("conv2", {"width": 0.125}), "batch_size": 20},
    "sgd": {"model": ("conv4", {"width": 0.1, "activation": "leaky_relu", "slope": 0.1}), "optimiser": "sgd", "momentum": 0.9,
            "weight_decay": 0.01, "normalise": "unit", "batch_size": 70, "keep": 0.3},
    "adamw": {"model": ("vgg11", {"width": 0.0625, "norm": "none", "dropout": 0.3}), "optimiser": "adamw", "weight_decay": 0.1,
              "lr_schedule": "cosine", "optimiser_state": "kept", "reset": ("rewind", {"step": 3}), "prune_biases": True,
              "bias_init": ("normal", {"std": 0.1})},
    "kernels of 5": {"model": ("lenet5", {"dropout": 0.2}), "optimiser": "sgd", "batch_size": 7, "keep": 0.4},
    "units": {"model": ("lenet5", {"width": 2.0}), "granularity": "unit", "criterion": "unit_l2", "output_keep": 1.0, "keep": 0.6},
}
"""The same of convolutions, with every kernel size and padding there is in a model of ours; channels that fill no tile."""
UNITS: dict[str, Any] = {"granularity": "unit", "criterion": "unit_l2", "output_keep": 1.0}


def images(cell: Cell) -> Images:
    """Noise of 16 x 16 with two rows of it black, and digits of brightness in it: more inputs than a chunk of columns holds."""
    data = tiny_images(330, 70, shape=(1, 16, 16))
    data.train_x[:, :, :2] = 0
    data.train_x[:, :, 5, 5] = 7
    return prepare(cell, data)


def one(kind: Any, **changes: Any) -> str:
    """A cell, trained by itself."""
    cell, said = make_cell(**{**BASE, **changes}), Hash()
    trainer = listening(kind(cell, images(cell)), said.trained)
    said.rounds(run_rounds(trainer, cell, first_state(trainer, cell)))
    return str(said)


def two(**changes: Any) -> str:
    """Two cells, trained side by side."""
    cells, said = [make_cell(**{**BASE, **changes, "seed": seed}) for seed in (0, 1)], Hash()
    seen = images(cells[0])
    plain = ReferenceTrainer(cells[0], seen)
    trainer = listening(StackTrainer(cells, seen), said.trained)
    said.rounds((record, state) for _, record, state in run_stack(trainer, cells, [first_state(plain, cell) for cell in cells]))
    return str(said)


def by_kernels() -> dict[str, dict[str, str]]:
    return {"fast": {name: one(FastTrainer, **changes) for name, changes in MLPS.items()},
            "conv": {name: one(ConvTrainer, **changes) for name, changes in CHAINS.items()}}


def by_torch() -> dict[str, dict[str, str]]:
    return {"reference": {name: one(ReferenceTrainer, **changes) for name, changes in {**MLPS, **CONVS}.items()},
             "thin": {name: one(ThinTrainer, **UNITS, **changes) for name, changes in CONVS.items()},
             "stacked": {name: two(**changes) for name, changes in {**MLPS, **CONVS}.items()}}


def by_tiles() -> dict[str, dict[str, str]]:
    return {"half": {name: one(HalfTrainer, precision="bfloat16", **MLPS[name]) for name in ("adam", "sgd", "adamw")}}


class Target(NamedTuple):
    """What is trained, and under which variables."""

    train: Callable[[], dict[str, dict[str, str]]]
    said: dict[str, str]
    needs: tuple[str, ...]
    """The flags, as Linux names them, of a CPU that runs it."""


AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}
AMX = {"NUMBA_CPU_NAME": "sapphirerapids", "NUMBA_CPU_FEATURES": "+amx-tile,+amx-bf16"}
LIBRARIES = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""PyTorch, MKL and oneDNN as on any CPU with AVX2: each gives other bits with AVX-512."""
TARGETS = {
    "fast": Target(by_kernels, {}, ("avx2", "fma")),  # The kernels give the same bits on every CPU that has both.
    "fast, as with AVX2 alone": Target(by_kernels, AVX2, ("avx2", "fma")),
    "half": Target(by_tiles, {**AMX, **LIBRARIES}, ("amx_tile", "amx_bf16")),
    "torch": Target(by_torch, LIBRARIES, ("avx2", "fma")),
}


def trained(target: str) -> dict[str, dict[str, str]]:
    """What a worker would do, here."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.backends.mkldnn.enabled = False  # oneDNN cuts its blocks for the caches of this machine.
    return TARGETS[target].train()


# In the process that asks

def hashes(target: str) -> dict[str, dict[str, str]]:
    """Trainer -> case -> hash, by a process of its own."""
    said = {**dict.fromkeys(THREADS, "1"), **TARGETS[target].said, "PYTHONPATH": str(ROOT)}
    if "NUMBA_CPU_NAME" in said:  # Machine code for another CPU is kept apart.
        said["NUMBA_CACHE_DIR"] = str(Path(__file__).parent / "__pycache__" / "numerics")
    done = subprocess.run([sys.executable, __file__, "--train", target], env={**os.environ, **said}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def libraries() -> dict[str, str]:
    return {name: version(name).partition("+")[0] for name in ("torch", "numpy", "numba", "llvmlite")}


def cpu() -> dict[str, str]:
    """What Linux says of it; nothing elsewhere."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in lines}


def cannot(target: str) -> str:
    """Why these hashes cannot be compared here; nothing where they can."""
    lacks = set(TARGETS[target].needs) - set(cpu().get("flags", "").split())
    if lacks:
        return f"this CPU has no {', '.join(sorted(lacks))}"
    golden, here = json.loads(GOLDEN.read_text())["libraries"], libraries()
    others = [f"{name} {here[name]}, not {golden[name]}" for name in golden if here[name] != golden[name]]
    return f"the hashes are of other libraries: here is {'; '.join(others)}" if others else ""


@pytest.mark.parametrize("target", [
    pytest.param(target, marks=[pytest.mark.long] if "alone" in target else []) for target in TARGETS])
def test_no_bit_of_a_trainer_moves_unless_its_version_is_raised(target: str):
    """On other vendors' CPUs the hashes of PyTorch's trainers are not known to hold, and are not held."""
    if why := cannot(target):
        pytest.skip(why)
    golden, found = json.loads(GOLDEN.read_text()), hashes(target)
    known = {trainer: golden["hashes"].get(trainer, {}).get(str(numerics.VERSIONS[trainer])) for trainer in found}
    if found != known and target in ("torch", "half") and cpu().get("vendor_id") not in golden["vendors"]:
        pytest.skip(f"the hashes were made on {' and '.join(golden['vendors'])}, and PyTorch's libraries give other bits here")
    for trainer, cases in found.items():
        if known[trainer] is None:
            pytest.skip(f"{numerics.of(trainer)} has no hashes yet. {RUN}") if target == "half" else pytest.fail(f"{numerics.of(trainer)}: {RUN}")
        moved = [case for case in cases if cases[case] != known[trainer].get(case)]
        assert not moved, f"{numerics.of(trainer)}: {', '.join(moved)}: {RULE}"


def test_every_trainer_has_a_version_and_every_version_is_a_trainers():
    kinds = [ReferenceTrainer, ConvTrainer, FastTrainer, HalfTrainer, ThinTrainer]
    assert sorted(numerics.VERSIONS) == sorted([*(kind.name for kind in kinds), StackTrainer.name])


def write() -> None:
    """Add the hashes of new versions, and all anew where the libraries are others; refuse to change one whose version stands."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    kept = golden["hashes"] if golden.get("libraries") == libraries() else {}
    vendors = golden["vendors"] if kept else []
    for target in TARGETS:
        if set(TARGETS[target].needs) - set(cpu().get("flags", "").split()):
            print(f"{target}: not here, for want of {', '.join(TARGETS[target].needs)}")
            continue
        for trainer, cases in hashes(target).items():
            versions, now = kept.setdefault(trainer, {}), str(numerics.VERSIONS[trainer])
            if versions.setdefault(now, cases) != cases:
                sys.exit(f"{numerics.of(trainer)}: {RULE}")
    made = {"libraries": libraries(), "vendors": sorted({*vendors, cpu()["vendor_id"]}), "hashes": dict(sorted(kept.items()))}
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--train", target]:
            print(json.dumps(trained(target)))
        case ["--write"]:
            write()
        case _:
            sys.exit("usage: python tests/engine/test_numerics.py --write")
