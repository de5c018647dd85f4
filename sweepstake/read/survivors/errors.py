"""The error of given weights in a cell's network, on the cell's own images, as the engine measures it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, one_of
from sweepstake.engine import images, streams
from sweepstake.engine.build import build_net
from sweepstake.engine.network import Net
from sweepstake.engine.plain import layout_of, measure_split
from sweepstake.run.check import IMAGES
from sweepstake.run.data import data_directories, decoded_cache, load_data

SPLITS, NORMS = ("test", "train", "validation"), ("interpolated", "remeasured")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Errors:
    """Weights by name -> the error on each split: the share of its images that the network gets wrong."""

    def __init__(self, net: Net, seen: images.Images, splits: Sequence[str], norms: str):
        self.net, self.images, self.splits, self.norms = net, seen, splits, norms

    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        for slot in self.net.slots:
            slot.of(self.net.w).copy_(weights[slot.name])
        # A module that draws when it is measured draws as it did when the engine measured it.
        with _one_thread(), streams.torch_draws(0, "measure"):
            if self.norms == "remeasured":
                remeasure_norms(self.net, self.images)
            return {split: 1 - measure_split(self.net, self.images, getattr(self.images, split))["accuracy"]
                    for split in self.splits}


class Images:
    """The images of cells, each data set read once."""

    def __init__(self, data: str | Path | None):
        self.data = data
        self.read: dict[bytes, images.Images] = {}
        self.nets: dict[bytes, Net] = {}

    def errors_of(self, cell: Cell, splits: Sequence[str], norms: str) -> Errors:
        check_asked(cell, splits, norms)
        key = msgspec.json.encode([getattr(cell, name) for name in IMAGES] + [cell.split_seed])
        if key not in self.read:
            found = load_data(cell.dataset, data_directories(self.data), decoded_cache())
            self.read[key] = images.prepare(cell, found)
        seen = self.read[key]
        model = msgspec.json.encode([cell.model, cell.precision, seen.inputs, seen.classes])
        if model not in self.nets:
            self.nets[model] = build_net(cell, seen.inputs, seen.classes)
        return Errors(self.nets[model], seen, splits, norms)


def check_asked(cell: Cell, splits: Sequence[str], norms: str) -> None:
    known = SPLITS if cell.validation else SPLITS[:2]
    problems = [f'connectivity: split "{split}": say {one_of(known)}.' for split in splits if split not in known]
    if norms not in NORMS:
        problems.append(f'connectivity: norms = "{norms}": say {one_of(NORMS)}.')
    if problems:
        raise UserError(*problems)


@torch.no_grad()
def remeasure_norms(net: Net, seen: images.Images) -> None:
    """The running statistics of batch norms, as the mean over one pass of the training images."""
    norms = [module for module in net.module.modules() if isinstance(module, BATCH_NORMS)
             and module.track_running_stats]
    if not norms:
        return
    net.module.eval()
    with _averaging(norms):
        for x, _ in images.in_parts(seen.train):
            if len(x) > 1:  # One image has no variance.
                net.module(seen.batch(x, net.w.dtype, layout_of(net)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, PyTorch computes on one core: threads of batches this small wait for each other more than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _averaging(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, norms see batches and average their statistics from nothing."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()  # pyright: ignore[reportCallIssue]
        norm.momentum = None  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
