"""LFE scoring of unit masks, grouped as the engine does it against mask by mask: `python bench/lfe.py`. Prints one JSON line.

Alternating, one process; seconds are medians. 1,000 masks of LeNet-300-100 on 2,000 random images of MNIST's shape; with
`--wide`, one removal step of Wide-LeNet (3010-1010). Mask by mask only `singly` masks are evaluated; their time is extrapolated.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sweepstake.engine.build import build_net, draw_init
from sweepstake.engine.examples import OfImages
from sweepstake.engine.images import prepare
from sweepstake.engine.masks import pruned_slots
from sweepstake.engine.scores import Scorer
from sweepstake.pieces.datasets import Data
from sweepstake.study.study import read_study


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--hidden", type=int, nargs="+", default=[300, 100])
    ask.add_argument("--masks", type=int, default=1000)
    ask.add_argument("--images", type=int, default=2000)
    ask.add_argument("--singly", type=int, default=50, help="masks evaluated mask by mask; the rest is in proportion")
    ask.add_argument("--times", type=int, default=5)
    ask.add_argument("--threads", type=int, default=1)
    ask.add_argument("--wide", action="store_true", help="Wide-LeNet: --hidden 3010 1010 --masks 100 --singly 3 --times 3")
    said = ask.parse_args()
    if said.wide:
        said.hidden, said.masks, said.singly, said.times = [3010, 1010], 100, 3, 3
    torch.set_num_threads(said.threads)

    cell = read_study({"model": {"name": "mlp", "hidden": said.hidden}, "init": "normal", "normalise": "unit", "steps": 0, "granularity": "unit",
                       "criterion": {"name": "lfe", "masks": said.masks, "images": said.images}}, name="lfe").cells[0]
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (said.images + 10, 1, 28, 28)).astype(np.uint8), draw.integers(0, 10, said.images + 10)
    images = prepare(cell, Data(x, y, x[:10], y[:10], 10))
    net = build_net(cell, images.inputs, images.classes)
    w = draw_init(net, cell, "init")
    slots = pruned_slots(net, cell)
    scorer = Scorer(net, cell, {"w_init": w, "w_start": w, "w_final": w}, torch.ones_like(w, dtype=torch.bool), 0, OfImages(images),
                    "lfe", cell.criterion.options)
    on = torch.from_numpy(draw.random((said.masks, sum(slot.shape[0] for slot in slots))) < 0.5)
    few, each = on[:said.singly], [slot.shape[0] for slot in slots]

    @torch.no_grad()
    def singly() -> torch.Tensor:
        split = dict(zip(slots, few.split(each, dim=1), strict=True))
        return sum((scorer._losses_of_any(split, len(few), *part) for part in scorer._parts()), torch.zeros(())) / scorer.chosen.count

    seconds: dict[str, list[float]] = {"score": [], "losses": [], "singly": []}
    for _ in range(said.times):
        for name, work in (("score", lambda: scorer.scores(slots)), ("losses", lambda: scorer.losses(slots, on)), ("singly", singly)):
            began = time.perf_counter()
            work()
            seconds[name].append((time.perf_counter() - began) * (said.masks / said.singly if name == "singly" else 1))
    worst = float((scorer.losses(slots, few) - singly()).abs().max())
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    json.dump({**vars(said), "cores": os.cpu_count(), **{f"{k}_seconds": round(v, 3) for k, v in medians.items()},
               "singly_over_score": round(medians["singly"] / medians["score"], 1), "largest_difference": worst}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
