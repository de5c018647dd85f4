"""The speeds we claim, each a ratio of medians from runs that alternate in one process tree: python bench/run.py --data DIR

Two workers of ours, one thread each, and the plain loop on two threads wait for requests; whoever is not asked sleeps.
Writes bench/latest.json. About a minute on two quiet cores.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
MFLOP = 1.127
"""An image's, forward and backward, of LeNet-300-100 without the gradient of its input."""
ROUNDS, EPOCHS, STEPS, CELLS = 20, 5, 1000, 88
"""prune-ready: trainings of a cell, epochs of a training, steps of an epoch, cells of the study."""
SPARSE = 15
"""The round that trains 3.5 %."""


class Worker:
    """A process that answers JSON lines."""

    def __init__(self, script: str, threads: int, *arguments: str, python: str = sys.executable):
        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
                       "PYTHONPATH": str(HERE.parent)}
        self.script = script
        self.process = subprocess.Popen([python, str(HERE / script), *arguments], env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin and self.process.stdout
        self.asked, self.answers = self.process.stdin, self.process.stdout
        self.answer()

    def ask(self, **request: Any) -> None:
        self.asked.write(json.dumps(request) + "\n")
        self.asked.flush()

    def answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            raise SystemExit(f"bench: {self.script} ended with code {self.process.wait()}")
        return json.loads(line)

    def __call__(self, **request: Any) -> dict[str, Any]:
        self.ask(**request)
        return self.answer()

    def close(self) -> None:
        self.asked.close()
        self.process.wait()


def steps(ours: Worker, plain: Worker, repeats: int) -> dict[str, Any]:
    """One step: ours sparse, ours dense, the plain loop masked and not, and this core's SGEMM, in turn."""
    seen: dict[str, list[float]] = {name: [] for name in ("sparse", "dense", "plain_sparse", "plain_dense", "gflops")}
    for _ in range(repeats):
        seen["sparse"].append(ours(do="steps", round=SPARSE, steps=1000)["seconds"] / 1000)
        seen["plain_sparse"].append(plain(kept=0.8**SPARSE, steps=150, loader=False)["seconds"] / 150)
        seen["dense"].append(ours(do="steps", round=0, steps=200)["seconds"] / 200)
        seen["gflops"].append(ours(do="sgemm")["gflops"])
        seen["plain_dense"].append(plain(kept=1, steps=150, loader=False)["seconds"] / 150)
    mid = {name: median(values) for name, values in seen.items()}
    limit = 60 * MFLOP / 1000 / mid["gflops"]
    return {
        "step_vs_own_dense": mid["dense"] / mid["sparse"], "step_vs_plain": mid["plain_sparse"] / mid["sparse"],
        "dense_vs_sgemm": limit / mid["dense"], "dense_vs_plain": mid["plain_dense"] / mid["dense"],
        "step_us": {name: 1e6 * value for name, value in mid.items() if name != "gflops"},
        "fastest_us": {name: 1e6 * min(values) for name, values in seen.items() if name != "gflops"},
        "sgemm_gflops": mid["gflops"],
    }


def whole_runs(workers: list[Worker], plain: Worker, repeats: int) -> dict[str, Any]:
    """A cell's 20 trainings on the whole machine: two of ours side by side, against the plain loop on both cores.

    Ours run every round, of one epoch, and are counted as five: five times each round's steps and its look at the test set,
    and once what a round costs beside (measuring all images, pruning, checking). The plain loop's step does not depend on
    how much is kept: an epoch without masks and one with stand for all 20 x 5, and it is charged one look at the test set
    an epoch and nothing else.
    """
    ours, indexed, loaded = [], [], []
    for _ in range(repeats):
        for worker in workers:
            worker.ask(do="cell", epochs=1, rounds=ROUNDS)
        for answer in [worker.answer() for worker in workers]:
            beside = answer["seconds"] - sum(answer["train"]) - sum(answer["evaluate"])
            # The curve of one epoch has two points, that of five has six.
            ours.append(EPOCHS * sum(answer["train"]) + (EPOCHS + 1) / 2 * sum(answer["evaluate"]) + beside)
        for loader, seconds in ((False, indexed), (True, loaded)):
            free, masked = (plain(kept=kept, steps=STEPS // 2, loader=loader) for kept in (1, 0.2))
            epoch = [2 * each["seconds"] + each["evaluate"] for each in (free, masked)]
            seconds.append(EPOCHS * (epoch[0] + (ROUNDS - 1) * epoch[1]))
    cell = median(ours)
    return {"run_vs_plain": median(indexed) / (cell / len(workers)), "run_vs_dataloader": median(loaded) / (cell / len(workers)),
            "study_minutes": CELLS * cell / len(workers) / 60,
            "cell_seconds": {"ours": cell, "plain": median(indexed), "dataloader": median(loaded)}}


def compile_seconds() -> float:
    """What the first worker on a machine waits for its kernels, once: a first round without a cache, less one with it."""
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
            done = subprocess.run([sys.executable, str(HERE / "ours.py"), "--data", ".", "--first-round"], env=environment,
                                  capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout))
    return seconds[0] - seconds[1]


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), platform.processor())
    return {"cpu": model, "cores": os.cpu_count(), "avx512": "avx512f" in info, "load": os.getloadavg()[0],
            "python": platform.python_version(), "date": datetime.now(UTC).strftime("%Y-%m-%d")}


def write(out: Path, found: dict[str, Any]) -> None:
    """Put these keys into a file of results, whose others stay."""
    before = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(before | found, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SWEEPSTAKE_DATA", "data")), help="holds mnist/")
    parser.add_argument("--repeats", type=int, default=9, help="alternations of the steps; whole runs take a third of it")
    parser.add_argument("--out", type=Path, default=HERE / "latest.json")
    asked = parser.parse_args()
    began = time.perf_counter()
    found: dict[str, Any] = {"machine": machine(), "compile_seconds": compile_seconds()}
    everyone = [Worker("ours.py", 1, "--data", str(asked.data)), Worker("ours.py", 1, "--data", str(asked.data)),
                Worker("plain.py", 2, "--data", str(asked.data), "--threads", "2")]
    *both, plain_loop = everyone
    try:
        found |= steps(both[0], plain_loop, asked.repeats)
        found |= whole_runs(both, plain_loop, max(1, asked.repeats // 3))
        found["worker_mb"] = max(worker(do="memory")["mb"] for worker in both)
    finally:
        for worker in everyone:
            worker.close()
    found["bench_seconds"] = time.perf_counter() - began
    write(asked.out, found)
    print(json.dumps(found, indent=2))
