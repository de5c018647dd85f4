"""A kind of layer: surviving weights in rows, and an index by columns for d_in.

It waits for the cache, not for its products: rows are stored chunk by chunk of columns; and where its input is images'
levels times one `unit`, it reads *levels*, two to a place, and multiplies what it has summed.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from typing import Any

import numpy as np

from sweepstake.engine.kernels.bias import offset
from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import fill, fma, fold, part
from sweepstake.engine.kernels.memory import item, load, load_levels, store
from sweepstake.engine.kernels.placing import Placing
from sweepstake.engine.kernels.records import PANEL, f32

SWEPT = True
"""Gradients of its weights go to `g`, and all are stepped in one sweep."""

CHUNK, CHUNKED_FROM = 8192, 0.1
"""A chunk of columns, as places in a panel: 32 kB of it; and the kept fraction from which rows are cut into chunks."""


def place(placing: Placing, layer: Any, alive: np.ndarray, index: np.ndarray) -> None:
    """Rows of survivors, chunk by chunk of columns; and the same by column, as places among the rows.

    alive, index: (rows, columns), what lives and which parameter of the network each is.
    """
    width = int(layer["x_row"])
    layer["chunks"] = -(-alive.shape[1] * width // CHUNK) if alive.size and alive.mean() >= CHUNKED_FROM else 1
    rows, columns = alive.nonzero()  # (survivors,)
    run = (columns * width // CHUNK if layer["chunks"] > 1 else 0) * len(alive) + rows
    by_run = np.argsort(run, kind="stable")
    rows, columns, run = rows[by_run], columns[by_run], run[by_run]
    by_column = np.argsort(columns, kind="stable")
    # The kernel's last eight of a row may run over.
    begin = layer["w"] = placing.put(np.arange(len(rows)), index[rows, columns], len(rows) + 8)
    layer["by_row"] = placing.starts.add(begin + np.searchsorted(run, np.arange(layer["chunks"] * len(alive) + 1)))
    ends = np.searchsorted(columns[by_column], np.arange(alive.shape[1] + 1))
    layer["by_column"] = placing.starts.add(placing.sources.size + ends)
    placing.sources.add(begin + by_column)
    placing.targets.add(rows[by_column] * PANEL)
    placing.inputs.append((begin, columns * width))


@inner
def load_floats(array, at):
    return load(array, at, 64)


def _of_both(made: Any) -> Any:
    """A kernel for inputs that lie as floats, and as levels; a loop for each, or LLVM spills the sums."""
    of_floats, of_levels = made(load_floats), made(load_levels)

    @inner
    def of_both(layer, unit, *others):
        if layer.x_row < PANEL:
            of_levels(layer, unit, *others)
        else:
            of_floats(layer, f32(1), *others)
    return of_both


@_of_both
def forward(read):
    @inner
    def forward(layer, scale, panel, w, still, starts, places, act):
        """z[r] = b[r] + scale * sum_j w[r, j] * x[j]

        In two sums, for each product waits for the one before it in its sum.
        """
        x, z = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel
        for chunk in range(layer.chunks):
            first = layer.by_row + chunk * layer.rows
            for r in range(layer.rows):
                j, last = starts[first + r], starts[first + r + 1]
                sum_, other = load(act, z + r * PANEL, 64) if chunk else fill(f32(0), 64), fill(f32(0), 64)
                while j + 1 < last:
                    sum_ = fma(item(w, j), read(act, x + item(places, j)), sum_)
                    other = fma(item(w, j + 1), read(act, x + item(places, j + 1)), other)
                    j += 2
                if j < last:
                    sum_ = fma(item(w, j), read(act, x + item(places, j)), sum_)
                sum_ = sum_ + other
                if chunk == layer.chunks - 1:
                    sum_ = fma(scale, sum_, fill(offset(layer, w, still, r), 64))
                store(act, z + r * PANEL, sum_)
    return forward


@inner
def backward(layer, panel, w, starts, sources, targets, delta, gain):
    """d_in[j] = gain[j] * sum_r w[r, j] * d[r]"""
    x, z = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel
    for c in range(layer.columns):
        sum_ = fill(f32(0), 64)
        for i in range(starts[layer.by_column + c], starts[layer.by_column + c + 1]):
            sum_ = fma(item(w, item(sources, i)), load(delta, z + item(targets, i), 64), sum_)
        store(delta, x + c * PANEL, sum_ * load(gain, x + c * PANEL, 64))


@inner
def products(d, x):
    """d * x: (64,), added up to (16,)."""
    sum_ = part(d, 0, 16) * part(x, 0, 16)
    sum_ = fma(part(d, 16, 16), part(x, 16, 16), sum_)
    sum_ = fma(part(d, 32, 16), part(x, 32, 16), sum_)
    return fma(part(d, 48, 16), part(x, 48, 16), sum_)


@_of_both
def gradient(read):
    @inner
    def eight_dots(d, act, x, places, j):
        """Lane i of 8: the sum over images of d * x[j + i]. Folding eight together costs as much as folding one."""
        a = fold(products(d, read(act, x + item(places, j))), products(d, read(act, x + item(places, j + 4))), 4)
        b = fold(products(d, read(act, x + item(places, j + 1))), products(d, read(act, x + item(places, j + 5))), 4)
        c = fold(products(d, read(act, x + item(places, j + 2))), products(d, read(act, x + item(places, j + 6))), 4)
        e = fold(products(d, read(act, x + item(places, j + 3))), products(d, read(act, x + item(places, j + 7))), 4)
        eight = fold(fold(a, c, 2), fold(b, e, 2), 1)
        return part(fold(eight, eight, 8), 0, 8)

    @inner
    def gradient(layer, scale, panels, starts, places, act, delta, g):
        """g[r, j] = scale * sum over images of d[r] * x[j]

        The last eight of a row run on into the next row's places, which that row then overwrites; the last row's, into
        padding.
        """
        for chunk in range(layer.chunks):
            first = layer.by_row + chunk * layer.rows
            for r in range(layer.rows):
                for panel in range(panels):
                    x = layer.x + panel * layer.x_panel
                    d = load(delta, layer.z + panel * layer.z_panel + r * PANEL, 64) * fill(scale, 64)
                    for j in range(starts[first + r], starts[first + r + 1], 8):
                        dots = eight_dots(d, act, x, places, j)
                        store(g, j, dots if panel == 0 else dots + load(g, j, 8))
        store(g, starts[layer.by_row + layer.chunks * layer.rows], fill(f32(0), 8))
    return gradient
