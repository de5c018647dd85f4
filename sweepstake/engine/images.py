"""A data set as a cell uses it: training, validation and test images in memory, and their normalisation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell, Scaling
from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.pieces.datasets import Data, too_few


@dataclass(frozen=True)
class Split:
    """Some images and their labels: uint8 and int64, never copied as floats."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Images:
    """What a cell trains on and is measured on. Normalised is (x - shift) / scale, with a number for each channel."""

    train: Split
    validation: Split | None
    test: Split
    shift: Tensor
    scale: Tensor
    inputs: tuple[int, ...]
    classes: int

    def batch(self, x: Tensor, dtype: torch.dtype, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
        return x.to(dtype, memory_format=layout).sub_(self.shift.to(dtype)).div_(self.scale.to(dtype))


def prepare(cell: Cell, data: Data) -> Images:
    """The images of a cell: validation held out, the subset taken, normalised by the training images that are left."""
    count = len(data.train_y)
    if problem := too_few(cell.dataset.name, count, cell.validation, cell.subset):
        raise UserError(problem)
    order = streams.permutation(count, cell.split_seed, "split") if cell.validation or cell.subset else np.arange(count)
    held, rest = order[:cell.validation], order[cell.validation:]
    chosen = np.sort(rest[:cell.subset] if cell.subset else rest)
    train = _split(data.train_x, data.train_y, chosen)
    shift, scale = _normalisation(cell, train.x)
    return Images(train, _split(data.train_x, data.train_y, np.sort(held)) if cell.validation else None,
                  _split(data.test_x, data.test_y, None), shift, scale, tuple(data.train_x.shape[1:]), data.classes)


def _split(x: np.ndarray, y: np.ndarray, chosen: np.ndarray | None) -> Split:
    whole = chosen is None or len(chosen) == len(y)
    x, y = (x, y) if whole else (x[chosen], y[chosen])
    return Split(torch.from_numpy(x if x.flags.writeable else x.copy()), torch.from_numpy(np.ascontiguousarray(y)))


def _normalisation(cell: Cell, x: Tensor) -> tuple[Tensor, Tensor]:
    channels = x.shape[1]
    if isinstance(cell.normalise, Scaling):
        mean, std = cell.normalise.mean, cell.normalise.std
        if not len(mean) == len(std) == channels:
            raise UserError(
                f"normalise: {len(mean)} means and {len(std)} standard deviations; "
                f"{cell.dataset.name} has {channels} channel(s)."
            )
        mean, std = [m * 255 for m in mean], [s * 255 for s in std]
    elif cell.normalise == "standard":
        # From the histogram: exact, and no float copy of the images.
        counts = torch.stack([torch.bincount(x[:, c].flatten(), minlength=256) for c in range(channels)]).double()
        levels = torch.arange(256, dtype=torch.float64)
        mean = (counts @ levels / counts.sum(1)).tolist()
        std = [max(1e-6, float((c @ (levels - m) ** 2 / c.sum()).sqrt())) for c, m in zip(counts, mean, strict=True)]
    else:
        mean, std = [0.0] * channels, [255.0 if cell.normalise == "unit" else 1.0] * channels
    as_channels = (1, channels, 1, 1)
    return (torch.tensor(mean, dtype=torch.float64).view(as_channels),
            torch.tensor(std, dtype=torch.float64).view(as_channels))


def in_parts(split: Split, size: int = 250) -> Iterator[tuple[Tensor, Tensor]]:
    """A split in parts of `size` images."""
    return zip(split.x.split(size), split.y.split(size), strict=True)
