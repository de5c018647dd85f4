"""Where the survivors of convolutions lie, and where each reads."""

import numpy as np

from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.conv.sizes import OUTPUTS, cover
from sweepstake.engine.kernels.placing import Joined

CHUNK = 26_000
"""Bytes that a chunk's rows may take of the first cache."""
CHUNKED_FROM = 0.15
"""Kept fraction from which a sparse layer's survivors come in chunks."""


class Survivors:
    """Of all convolutions, put one behind the other."""

    def __init__(self):
        self.count = 0
        self.starts, self.tiles = Joined(np.int64), Joined(np.int64)
        self.places, self.turned_places, self.sources = Joined(np.int32), Joined(np.int32), Joined(np.int32)
        self.of, self.alive = Joined(np.int32), Joined(np.bool_)

    def add_tiles(self, conv: np.void, name: str, count: int, sizes: tuple[int, ...]) -> None:
        """Tiles, or blocks, that cover `count`; the layer's record says which."""
        some = cover(count, sizes)
        conv[f"{name}s"], conv[f"{name}_count"] = self.tiles.size // 2, len(some)
        self.tiles.add(np.array(some, np.int64).ravel())

    def _put(self, places: np.ndarray, turned: np.ndarray, sources: np.ndarray, of: np.ndarray,
             alive: np.ndarray) -> None:
        self.places.add(places)
        self.turned_places.add(turned)
        self.sources.add(self.count + sources)
        self.of.add(of)
        self.alive.add(alive)
        self.count += len(of)

    def put_sparse(self, conv: np.void, alive: np.ndarray, index: np.ndarray) -> None:
        """Those alive, chunk by chunk of inputs, and within one unit by unit; on the way back the other way round.

        alive, index: (units, inputs, kernel, kernel), what lives and which parameter of the network each is.
        """
        kernel, kept = alive.shape[2], alive.mean() if alive.size else 0.0
        columns, turned_columns = int(conv["columns"]), int(conv["width"])
        tall, broad = (kernel + 1, min(8, columns)) if conv["pool"] else (kernel, min(16, columns))
        chunk = _channels(tall, broad + kernel - 1) if kept >= CHUNKED_FROM else max(1, alive.shape[1])
        back_chunk = max(1, alive.shape[0])
        if kept >= CHUNKED_FROM:
            back_chunk = _channels(kernel, min(16, turned_columns) + kernel - 1)
        unit, channel, y, x = alive.nonzero()
        order = np.lexsort((x, y, channel, unit, channel // chunk))
        unit, channel, y, x = unit[order], channel[order], y[order], x[order]
        turned_y, turned_x = kernel - 1 - y, kernel - 1 - x
        turned = np.lexsort((turned_x, turned_y, unit, channel, unit // back_chunk))
        conv["chunks"], conv["by_row"] = self._starts(alive.shape[1], chunk, alive.shape[0], channel, unit)
        conv["back_chunks"], conv["by_column"] = self._starts(
            alive.shape[0], back_chunk, alive.shape[1], unit[turned], channel[turned])
        places = channel * conv["x_channel"] + y * conv["x_row"] + x * SIDE
        turned_places = unit * conv["d_channel"] + turned_y * conv["d_row"] + turned_x * SIDE
        self._put(places, turned_places[turned], turned, index[unit, channel, y, x], np.ones(len(unit), bool))

    def _starts(self, read: int, chunk: int, rows: int, column: np.ndarray, row: np.ndarray) -> tuple[int, int]:
        """(how many chunks, where their rows' starts are), of survivors sorted by chunk of columns, then by row."""
        chunks = max(1, -(-read // chunk))
        ends = np.searchsorted(column // chunk * rows + row, np.arange(chunks * rows + 1))
        return chunks, self.starts.add(self.count + ends)

    def put_dense(self, conv: np.void, alive: np.ndarray, index: np.ndarray) -> None:
        """All, block by block of units: a place's weights of the block's units lie side by side."""
        units, inputs, kernel, _ = alive.shape
        self.add_tiles(conv, "unit_block", units, OUTPUTS)
        self.add_tiles(conv, "input_block", inputs, OUTPUTS)
        conv["w"] = conv["turned"] = conv["by_row"] = conv["by_column"] = self.count
        numbers = np.arange(alive.size).reshape(alive.shape)
        own = _blocks(numbers.reshape(units, -1))  # Which weight is where.
        where = np.empty_like(own)
        where[own] = np.arange(len(own))
        turned = numbers.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1].reshape(inputs, -1)
        places = _grid(inputs, kernel, conv["x_channel"], conv["x_row"])
        turned_places = _grid(units, kernel, conv["d_channel"], conv["d_row"])
        size = alive.size
        self._put(_filled(places, size), _filled(turned_places, size), where[_blocks(turned)],
                  index.ravel()[own], alive.ravel()[own])


def _channels(rows: int, columns: int) -> int:
    """How many channels' rows a chunk holds."""
    return max(1, CHUNK // (rows * columns * SIDE * 4))


def _blocks(matrix: np.ndarray) -> np.ndarray:
    """(outputs, places) -> block by block of outputs, place by place, output by output."""
    parts = [matrix[at:at + size].T.ravel() for at, size in cover(len(matrix), OUTPUTS)]
    return np.concatenate([np.zeros(0, matrix.dtype), *parts])


def _grid(channels: int, kernel: int, of_channel: int, of_row: int) -> np.ndarray:
    """Of each channel and each place of a kernel, where it is read."""
    side = np.arange(kernel)
    return (np.arange(channels)[:, None, None] * of_channel + side[:, None] * of_row + side * SIDE).ravel()


def _filled(places: np.ndarray, size: int) -> np.ndarray:
    return np.pad(places, (0, size - len(places)))
