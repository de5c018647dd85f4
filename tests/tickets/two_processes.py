"""One of two processes that train one net together: python two_processes.py RANK FOLDER. Writes what it ends with."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from sweepstake.tickets.held.masks import Masks
from tests.tickets.loops import random_masks, small_net, train


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "meeting"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    # Each begins with weights and masks of its own, as a script does that sets no seed.
    net = small_net(seed=rank)
    masks = Masks(net, random_masks(net, seed=rank))
    masks.share()
    model = DistributedDataParallel(net)
    for held in (False, True):
        optimiser = AdamW(model.parameters(), 1e-2)
        if held:
            masks.reset("rewind")
            with masks.held(optimiser):
                train(model, optimiser, 4, first=10 * rank)
            masks.apply(model)
        else:
            train(model, optimiser, 2, first=10 * rank)
        torch.save({"masks": masks.alive, "weights": {name: each.detach() for name, each in net.named_parameters()}, "w_init": masks.w_init,
                    "grads": {name: each.grad for name, each in net.named_parameters()}}, folder / f"{rank}-{held}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
