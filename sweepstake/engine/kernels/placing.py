"""Arrays that survivors are put into, layer after layer."""

from typing import Any

import numpy as np


def up(n: int, to: int) -> int:
    """n, or the next multiple."""
    return -(-n // to) * to


def aligned(size: int) -> np.ndarray:
    """float32 zeros from a 64-byte boundary: a row of a panel off it costs twice the time."""
    raw = np.zeros(size + 16, np.float32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip:skip + size]


def padded(rows: np.ndarray) -> np.ndarray:
    """Rows filled up with 0 to a multiple of 16; no copy where they are one."""
    short = -rows.shape[-1] % 16
    return np.pad(rows, [*[(0, 0)] * (rows.ndim - 1), (0, short)]) if short else rows


class Joined:
    """Arrays put one behind the other."""

    def __init__(self, kind: Any):
        self.kind, self.parts, self.size = kind, [np.zeros(0, kind)], 0

    def add(self, part: np.ndarray) -> int:
        """Where it begins."""
        self.parts.append(part.astype(self.kind, copy=False))
        self.size += len(part)
        return self.size - len(part)

    def whole(self) -> np.ndarray:
        return np.concatenate(self.parts)


class Placing:
    """Where survivors go as a plan is made: into the parameters, and into what each kind of layer finds them by."""

    def __init__(self, images: int):
        self.images = images  # In a batch.
        self.size = self.turned_size = 0
        self.at, self.of = Joined(np.int32), Joined(np.int32)
        self.bits, self.starts = Joined(np.uint64), Joined(np.int64)
        self.sources, self.targets = Joined(np.int32), Joined(np.int32)
        # Of sparse layers: where the weights begin, and where each one's input lies.
        self.inputs: list[tuple[int, np.ndarray]] = []

    def put(self, where: np.ndarray, of: np.ndarray, room: int) -> int:
        """Survivors `of` the network go to `where` from here on, in `room` places."""
        begin, self.size = self.size, self.size + room
        self.at.add(begin + where)
        self.of.add(of)
        return begin

    def places(self, size: int) -> np.ndarray:
        """int32 (size): of each sparse weight, where its input lies in x."""
        made = np.zeros(size, np.int32)
        for begin, inputs in self.inputs:
            made[begin:begin + len(inputs)] = inputs
        return made
