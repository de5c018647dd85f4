"""What both sides of bench/conv.py share: the images, the masks, and how many multiply-adds a step needs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import Data, dataset, find_files

DATASET = {"conv2": "cifar10", "conv4": "cifar10", "conv6": "cifar10", "lenet5": "mnist", "one": "cifar10", "two": "cifar10"}
SHAPE = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28)}
LR = {"conv2": 0.0002, "lenet5": 0.0012}
BATCH = 60


def images_of(model: str, folder: Path) -> tuple[Data, bool]:
    """A model's data set, and whether it is the real one: where the folder has no such files, uniform noise of its shape."""
    name = DATASET[model]
    try:
        return dataset.get(name)({"files": lambda: find_files([folder])}, {}), True
    except UserError:
        draw, counts = np.random.default_rng(0), (10_000, 2_000)
        x, test_x = (draw.integers(0, 256, (count, *SHAPE[name]), dtype=np.uint8) for count in counts)
        y, test_y = (draw.integers(0, 10, count) for count in counts)
        return Data(x, y, test_x, test_y, 10), False


def first_of(data: Data, train: int, test: int) -> Data:
    """The first images alone; 0 for all of them."""
    return Data(data.train_x[:train or None], data.train_y[:train or None], data.test_x[:test or None], data.test_y[:test or None], data.classes)


def masks_of(shapes: Iterable[Sequence[int]], kept: float) -> list[Tensor]:
    """A random mask for each weight tensor: of each, exactly that fraction (rounded) is kept. The same for everyone."""
    masks = []
    for number, shape in enumerate(shapes):
        flat = torch.zeros(int(np.prod(shape)), dtype=torch.bool)
        order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(number))
        flat[order[:max(1, round(kept * len(flat)))]] = True
        masks.append(flat.view(*shape))
    return masks


def multiply_adds(masks: Sequence[Tensor], maps: Sequence[tuple[int, int, int]], batch: int) -> int:
    """Of a step: each live weight's products with the pixels that it sees, in the forward pass and in both gradients.

    `maps` has (height, width, padding) of each convolution's input. A weight sees no padding. Nobody needs the gradient of
    the first layer's input. Zeros behind a ReLU or a pooling are counted as any number.
    """
    needed, convolutions = 0, iter(maps)
    for number, mask in enumerate(masks):
        if mask.dim() == 4:
            height, width, padding = next(convolutions)
            down, across = (torch.tensor([seen(side, kernel, padding, at) for at in range(kernel)])
                            for side, kernel in zip((height, width), mask.shape[2:], strict=True))
            forward = int((mask.sum((0, 1)) * down[:, None] * across).sum())
        else:
            forward = int(mask.sum())
        needed += forward * (3 if number else 2)
    return batch * needed


def seen(side: int, kernel: int, padding: int, at: int) -> int:
    """How many pixels of a row a kernel's column `at` meets inside the image, at stride 1."""
    outputs = side + 2 * padding - kernel + 1
    return sum(0 <= o + at - padding < side for o in range(outputs))
