"""What is known of a data set's pixels: rows of bytes, those that never change, and what is dark."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sweepstake.engine.kernels.placing import padded


class Pixels:
    """A split's images as rows of bytes, a multiple of 16, and which pixels are the same in all of them."""

    def __init__(self, x: Tensor, y: Tensor):
        rows = x.flatten(1).numpy()  # (images, channels, height, width) -> (images, pixels)
        self.levels = np.ascontiguousarray(padded(rows)).ravel()
        self.labels = y.numpy()
        self.everything = np.arange(len(rows), dtype=np.int32)
        self.same, self.some = rows.min(0) == rows.max(0), rows[:1000]


@dataclass(frozen=True)
class Still:
    """Pixels that are the same in every training image: those that are `silent` (0 once normalised) teach nothing.

    A unit's weights from the `pooled` ones, all at one `value`, share one gradient, so they move as one number.
    """

    silent: np.ndarray  # bool (pixels)
    pooled: np.ndarray  # bool (pixels)
    value: float = 0.0


class Dark:
    """Each pixel's dark `level`, and its `value` there once normalised: (pixels).

    The dark level is the one that is exactly 0 once normalised, where there is one: Adam would make whole steps of what
    rounding leaves of a 0. Elsewhere (`standard`) it is the commonest of the pixel's levels in some training images.
    `order`: all pixels, those that most of these images light first, so that what is dark in a batch lies together.
    `plain`: an image is its levels times one number.
    """

    def __init__(self, x: np.ndarray, shift: np.ndarray, unit: np.ndarray):
        commonest = np.array([np.bincount(levels).argmax() for levels in x.T])
        whole = (shift == np.rint(shift)) & (shift >= 0) & (shift <= 255)
        self.level = np.where(whole, shift, commonest).astype(np.float32)
        self.order = np.argsort(-(x != self.level).sum(0), kind="stable")
        self.value = (self.level - shift) * unit
        self.plain = not shift.any() and bool((unit == unit[0]).all())
