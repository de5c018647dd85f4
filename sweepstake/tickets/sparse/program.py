"""What the compiled chain is told: surviving weights in slices, whole rows by address, and room for activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.errors import UserError
from sweepstake.engine.kernels.inference import SIDE, SLICE, run_chain

ROOM = SIDE + 1
"""Units beyond a layer's own: what whole blocks read past its end, and where a slice's missing rows are written."""


@dataclass(frozen=True)
class Rows:
    """The surviving weights of a matrix, row by row: float32 values, the column of each, and how many each row has."""

    values: Tensor
    columns: Tensor
    counts: Tensor
    width: int

    def checked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, columns and counts, where they describe a matrix; the kernel would read elsewhere if not."""
        values, columns, counts = (each.numpy(force=True) for each in (self.values, self.columns, self.counts))
        counts, columns = counts.astype(np.int64), columns.astype(np.int64)
        fits = len(values) == len(columns) == counts.sum() and (counts >= 0).all()
        if not fits or (len(columns) and (columns.min() < 0 or columns.max() >= self.width)):
            raise UserError(f"sparse layer: its columns and counts are not those of a matrix {self.width} wide. "
                            "The file is damaged, or is of another layer. Sparsify the module again.")
        return values.astype(np.float32), columns, counts


@dataclass(frozen=True)
class Step:
    """A layer of a chain: its weights, its bias, and the slope below 0 of what follows it; 1 where nothing does."""

    weight: Rows | Tensor
    rows: int
    columns: int
    bias: Tensor | None
    slope: float


class Program:
    """A chain ready to be called: x (images, columns) -> (images, rows), contiguous float32 on the CPU."""

    def __init__(self, steps: Sequence[Step]):
        self.columns, self.rows = steps[0].columns, steps[-1].rows
        self._arrays: list[Any] = []
        units = ROOM + max(max(step.rows, step.columns) for step in steps)
        room = [self._put(_aligned(units * SIDE, np.float32)) for _ in range(3)]
        told = [len(steps), self.columns, self.rows, *room]
        for step in steps:
            told += self._told(step)
        self._told_at = self._put(np.array(told, np.int64))

    def _put(self, array: np.ndarray) -> int:
        """Keep an array, and say where it lies."""
        self._arrays.append(array)
        return array.ctypes.data

    def _told(self, step: Step) -> list[int]:
        """What `inference.STEP` says of a layer."""
        bias = np.zeros(step.rows + SIDE, np.float32)
        if step.bias is not None:
            bias[:step.rows] = step.bias.numpy(force=True)
        slope = self._put(np.array([step.slope], np.float32))
        if isinstance(step.weight, Tensor):
            weight = step.weight.detach().contiguous()
            self._arrays.append(weight)
            return [0, step.rows, step.columns, weight.data_ptr(), 0, 0, 0, self._put(bias), slope]
        weights, places, starts, order = slices(step.weight)
        ordered = np.append(bias[:step.rows], np.float32(0))[order]
        return [1, step.rows, step.columns, *map(self._put, (weights, places, starts, order, ordered)), slope]

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.empty(len(x), self.rows)
        run_chain(self._told_at, x.data_ptr(), out.data_ptr(), len(x))
        return out


def slices(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights and their columns slice by slice, where each slice begins, and which row is where.

    Rows of about the same length share a slice; a shorter one ends in weights of 0.
    """
    values, columns, counts = rows.checked()
    order = np.argsort(-counts, kind="stable")  # (rows,)
    filled = -len(counts) % SLICE
    lengths = np.append(counts[order], np.zeros(filled, np.int64)).reshape(-1, SLICE)  # (slices, SLICE)
    starts = np.append(0, np.cumsum(lengths[:, 0] * SLICE))  # The longest comes first.
    place = np.empty(len(counts), np.int64)
    place[order] = np.arange(len(counts))
    row = np.repeat(np.arange(len(counts)), counts)  # (survivors,)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = starts[place[row] // SLICE] + nth * SLICE + place[row] % SLICE
    weights, places = _aligned(int(starts[-1]), np.float32), _aligned(int(starts[-1]), np.int32)
    weights[at], places[at] = values, columns
    return weights, places, starts.astype(np.int32), np.append(order, np.full(filled, len(counts))).astype(np.int32)


def _aligned(count: int, dtype: Any) -> np.ndarray:
    """Zeros that begin at a cache line."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(count * size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin:begin + count * size].view(dtype)
