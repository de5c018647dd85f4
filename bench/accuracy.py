"""Whether engines and precisions end at the same test accuracy: python bench/accuracy.py --data DIR. Prints a Markdown table.

The same cells (seeds, data order, init) run by the product's own run_study; differences are paired by seed, with Student's 95 %
interval (sweepstake.read.statistics). LeNet-300-100 on a subset of MNIST, pruned by halves. About a minute on two cores. Our own
bfloat16 only where the CPU has AMX: elsewhere such cells are the reference trainer's.

With `--model lenet5`, and `--model conv2` (on CIFAR-10), the same of the kernels of convolutions, in float32 alone; two minutes of the one,
many of the other.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweepstake.engine.kernels.amx import has_amx
from sweepstake.read.results import run_study
from sweepstake.read.statistics import mean, paired_differences, t_interval
from sweepstake.study.study import read_study

RUNS = {"fast": ("float32", "fast"), "reference": ("float32", "reference"),
        **({"fast bf16": ("bfloat16", "fast")} if has_amx() else {}), "reference bf16": ("bfloat16", "reference")}
MODELS = {"lenet-300-100": ("LeNet-300-100", "mnist", "mlp"), "lenet5": ("LeNet-5", "mnist", "lenet5"), "conv2": ("Conv-2", "cifar10", "conv2")}
PAIRS = [pair for pair in (("fast", "reference"), ("fast bf16", "fast"), ("reference bf16", "reference")) if {*pair} <= {*RUNS}]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEPSTAKE_DATA", "data")), help="holds mnist/")
    ask.add_argument("--model", choices=MODELS, default="lenet-300-100")
    ask.add_argument("--seeds", type=int, default=10)
    ask.add_argument("--subset", type=int, default=10_000)
    ask.add_argument("--epochs", type=float, default=2)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--workers", type=int, default=2)
    said = ask.parse_args()

    began = time.perf_counter()
    network, dataset, model = MODELS[said.model]
    runs = RUNS if model == "mlp" else {name: RUNS[name] for name in ("fast", "reference")}
    pairs = [pair for pair in PAIRS if {*pair} <= {*runs}]
    accuracy: dict[str, dict[int, dict[int, float]]] = {}
    kept: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (precision, engine) in runs.items():
            study = read_study({"dataset": dataset, "model": model, "subset": said.subset, "epochs": said.epochs, "rounds": said.rounds, "keep": 0.5,
                                "normalise": "unit", "batch_size": 60, "lr": 0.0012, "seeds": said.seeds, "precision": precision},
                               name=name.replace(" ", "-"))
            rows = run_study(study, Path(folder) / study.name, data=said.data, workers=said.workers, engine=engine, progress=False).rows()
            accuracy[name] = {}
            for row in rows:
                accuracy[name].setdefault(row["round"], {})[row["seed"]] = 100 * row["test_accuracy"]
                kept[row["round"]] = 100 * row["kept_fraction"]
    print(f"{network}, {said.subset:,} images of {dataset}, {said.epochs:g} epochs a round, {said.seeds} seeds; test accuracy in %, "
          f"differences paired by seed with 95 % t intervals; load {os.getloadavg()[0]:.1f}, {time.perf_counter() - began:.0f} s in all\n")
    print("| kept % |", " | ".join([*runs, *(f"{a} - {b}" for a, b in pairs)]), "|")
    print("|---:" * (1 + len(runs) + len(pairs)) + "|")
    for round_ in sorted(kept):
        cells = [f"{mean([*accuracy[name][round_].values()]):.2f}" for name in runs]
        for this, than in pairs:
            gains = list(paired_differences(accuracy[this][round_], accuracy[than][round_]).values())
            low, high = t_interval(gains) or (float("nan"), float("nan"))
            cells.append(f"{mean(gains):+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"| {kept[round_]:.3g} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
