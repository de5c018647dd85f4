"""How much memory a stack takes on a card, and how many cells fit."""

import gc
from collections.abc import Sequence

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine.build import build_net
from sweepstake.engine.images import Images
from sweepstake.engine.network import Net
from sweepstake.engine.stand_ins import for_stacks
from sweepstake.engine.train import order_seed, steps_in_round

COPIES = 8
"""Vectors of a cell's size: weights, gradient (twice), two moments, the best and the rewound weights, one to spare."""


def stack_limit(cells: Sequence[Cell], images: Images, device: str | torch.device = "cpu",
                budget: int | None = None) -> int:
    """How many such cells fit side by side, in `budget` bytes or in 80 % of what the card has free; at least one."""
    cell = cells[0]
    net = build_net(cell, images.inputs, images.classes)
    if budget is None:
        if torch.device(device).type != "cuda":
            return len(cells)
        give_back()  # What an earlier stack had counts as free.
        budget = int(0.8 * torch.cuda.mem_get_info(torch.device(device))[0])
    splits = [images.train, images.test, *([images.validation] if images.validation else [])]
    seeds = len({order_seed(each) for each in cells})
    shared = sum(split.x.nbytes + split.y.nbytes for split in splits)
    shared += 4 * cell.batch_size * steps_in_round(cell, len(images.train.y)) * seeds
    # A step's activations and their gradients, and as much again for a piece of a measurement.
    each = 2 * copies(net) + 4 * cell.batch_size * kept_an_image(net, images.inputs)
    return max(1, min(len(cells), (budget - shared) // each))


def out_of_memory(error: Exception) -> bool:
    """Whether the card was full. CUDA's libraries and graphs say so in other words than PyTorch."""
    words = "out of memory", "ALLOC_FAILED"
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(each in str(error) for each in words)


def give_back() -> None:
    """Free the card's memory that nothing refers to."""
    gc.collect()
    torch.cuda.empty_cache()


def copies(net: Net) -> int:
    """Bytes of all vectors of a cell's size, while it trains in a stack."""
    return net.size * (COPIES * net.w.element_size() + 1)


def kept_an_image(net: Net, inputs: tuple[int, ...], images: int = 2) -> int:
    """Bytes that autograd keeps for an image, measured in a forward pass of one cell."""
    module, kept = for_stacks(net.module)[0].train(), 0
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if tensor.untyped_storage().data_ptr() in weights else tensor.nbytes
        return tensor

    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(torch.zeros(images, *inputs, dtype=net.w.dtype))
    return max(1, kept // images)
