"""A kind of layer: w in tiles of 6 rows x 64 columns, row by row of tiles, and a bit a weight for those alive.

It is given x - dark, so that what is dark is 0 and left out, whatever its weight. What that takes is the same in every
image, and is added: sum_j w[r, j] * dark[j] to z[r], dark[j] * sum over images of d[r] to g[r, j].
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Any, NamedTuple

import numpy as np

from sweepstake.engine.kernels.bias import offset
from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import again, any_lit, fill, fma, total
from sweepstake.engine.kernels.memory import fill_each, item, load, store, store_alive, turn_floats
from sweepstake.engine.kernels.optimiser import optimise
from sweepstake.engine.kernels.placing import Placing, up
from sweepstake.engine.kernels.records import ACROSS, COLUMNS, PANEL, ROWS, TALL, TILE, WIDE, f32

SWEPT = False
"""`learn` steps its weights at once: their gradients never go to memory."""


def place(placing: Placing, layer: Any, alive: np.ndarray, index: np.ndarray) -> None:
    """Tiles, row by row of them, and their bits. alive, index: (rows, columns)."""
    layer["x_row"] = PANEL
    tiles = _tiles(alive, layer)  # (row tiles, column tiles, ROWS, COLUMNS)
    where = np.flatnonzero(tiles)
    layer["w"] = placing.put(where, _tiles(index, layer).ravel()[where], tiles.size)
    layer["bits"] = placing.bits.add(np.packbits(tiles, axis=-1, bitorder="little").ravel().view(np.uint64))
    layer["turned"], layer["turned_row"] = placing.turned_size, layer["column_tiles"] * COLUMNS + 16
    placing.turned_size += int(up(placing.images, 16) * layer["turned_row"])


def _tiles(matrix: np.ndarray, layer: Any) -> np.ndarray:
    """A matrix padded with 0 and cut into (row tile, column tile, row, column)."""
    tall, broad = int(layer["row_tiles"]), int(layer["column_tiles"])
    filled = np.zeros((tall * ROWS, broad * COLUMNS), matrix.dtype)
    filled[:matrix.shape[0], :matrix.shape[1]] = matrix
    return np.ascontiguousarray(filled.reshape(tall, ROWS, broad, COLUMNS).transpose(0, 2, 1, 3))


@inner
def unlit(layer, w, still, darks, r):
    """What z[r] is in an image where nothing is lit."""
    base = offset(layer, w, still, r)
    if layer.dark == 0:
        at, sum_ = layer.w + r // ROWS * layer.column_tiles * TILE + r % ROWS * COLUMNS, fill(f32(0), 64)
        for tile in range(layer.column_tiles):
            sum_ = fma(load(w, at + tile * TILE, 64), load(darks, tile * COLUMNS, 64), sum_)
        base += total(sum_)
    return base


@inner
def forward(layer, panel, w, still, darks, act, lit):
    """z[r] = unlit[r] + sum_k w[r, k] * (x[k] - dark[k]), six rows at a time.

    An input that is dark in all 64 images is left out.
    """
    x, z, count = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel, 0
    for k in range(layer.columns):
        lit[count] = k
        count += any_lit(load(act, x + k * PANEL, 64))
    for row_tile in range(layer.row_tiles):
        r, row = row_tile * ROWS, layer.w + row_tile * layer.column_tiles * TILE
        zero, one = unlit(layer, w, still, darks, r), unlit(layer, w, still, darks, r + 1)
        two, three = unlit(layer, w, still, darks, r + 2), unlit(layer, w, still, darks, r + 3)
        four, five = unlit(layer, w, still, darks, r + 4), unlit(layer, w, still, darks, r + 5)
        for lane in range(0, PANEL, WIDE):
            a = fill(zero, WIDE)
            b = fill(one, WIDE)
            c = fill(two, WIDE)
            d = fill(three, WIDE)
            e = fill(four, WIDE)
            f = fill(five, WIDE)
            for n in range(count):
                k = item(lit, n)
                at, input_ = row + (k // COLUMNS) * TILE + k % COLUMNS, load(act, x + k * PANEL + lane, WIDE)
                a = fma(item(w, at), input_, a)
                b = fma(item(w, at + COLUMNS), input_, b)
                c = fma(item(w, at + 2 * COLUMNS), input_, c)
                d = fma(item(w, at + 3 * COLUMNS), input_, d)
                e = fma(item(w, at + 4 * COLUMNS), input_, e)
                f = fma(item(w, at + 5 * COLUMNS), input_, f)
            out = z + r * PANEL + lane
            store(act, out, a)
            store(act, out + PANEL, b)
            store(act, out + 2 * PANEL, c)
            store(act, out + 3 * PANEL, d)
            store(act, out + 4 * PANEL, e)
            store(act, out + 5 * PANEL, f)


@inner
def backward(layer, panel, w, delta, gain):
    """d_in[k] = gain[k] * sum_r w[r, k] * d[r], four columns at a time."""
    x, z = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel
    for k in range(0, layer.columns, 4):
        at = layer.w + k // COLUMNS * TILE + k % COLUMNS
        for lane in range(0, PANEL, WIDE):
            a = fill(f32(0), WIDE)
            b = fill(f32(0), WIDE)
            c = fill(f32(0), WIDE)
            d = fill(f32(0), WIDE)
            for r in range(layer.row_tiles * ROWS):
                here = at + r // ROWS * layer.column_tiles * TILE + r % ROWS * COLUMNS
                out = load(delta, z + r * PANEL + lane, WIDE)
                a = fma(item(w, here), out, a)
                b = fma(item(w, here + 1), out, b)
                c = fma(item(w, here + 2), out, c)
                d = fma(item(w, here + 3), out, d)
            into = x + k * PANEL + lane
            store(delta, into, a * load(gain, into, WIDE))
            store(delta, into + PANEL, b * load(gain, into + PANEL, WIDE))
            store(delta, into + 2 * PANEL, c * load(gain, into + 2 * PANEL, WIDE))
            store(delta, into + 3 * PANEL, d * load(gain, into + 3 * PANEL, WIDE))


class Hand(NamedTuple):
    """What the gradients of a layer's tiles are made from."""

    bits: np.ndarray    # uint64  (tiles, ROWS)
    darks: np.ndarray   # float32 (2 * columns)
    turned: np.ndarray  # float32 (images, turned_row): x - dark
    back: np.ndarray    # float32 (images, height): d
    sums: int           # in `back`: (height), of d over images
    height: int
    lit: np.ndarray     # int32   images
    g: np.ndarray       # float32 (TALL, TILE)


def _tile_gradient(tiles: int) -> Any:
    @inner
    def tile_gradient(layer, row_tile, column, bit, first, last, hand):
        """g[r, k] = dark[k] * sum d[r] + sum over images of d[r] * (x[k] - dark[k]); 0 where the mask is.

        Of ACROSS columns and the rows of some tiles. One of these columns is lit in the images lit[first : last].
        """
        bits, darks, turned, back = hand.bits, hand.darks, hand.turned, hand.back
        height, lit, g = hand.height, hand.lit, hand.g
        rows, columns = row_tile * ROWS, layer.turned + column
        x, at = again(load(darks, layer.dark + column, ACROSS), tiles), hand.sums + rows
        a = fill_each(back, at, ACROSS, ROWS, tiles) * x
        b = fill_each(back, at + 1, ACROSS, ROWS, tiles) * x
        c = fill_each(back, at + 2, ACROSS, ROWS, tiles) * x
        d = fill_each(back, at + 3, ACROSS, ROWS, tiles) * x
        e = fill_each(back, at + 4, ACROSS, ROWS, tiles) * x
        f = fill_each(back, at + 5, ACROSS, ROWS, tiles) * x
        for n in range(first, last):
            i = item(lit, n)
            x = again(load(turned, columns + i * layer.turned_row, ACROSS), tiles)
            at = rows + i * height
            a = fma(fill_each(back, at, ACROSS, ROWS, tiles), x, a)
            b = fma(fill_each(back, at + 1, ACROSS, ROWS, tiles), x, b)
            c = fma(fill_each(back, at + 2, ACROSS, ROWS, tiles), x, c)
            d = fma(fill_each(back, at + 3, ACROSS, ROWS, tiles), x, d)
            e = fma(fill_each(back, at + 4, ACROSS, ROWS, tiles), x, e)
            f = fma(fill_each(back, at + 5, ACROSS, ROWS, tiles), x, f)
        at, shift, next_ = column % COLUMNS, np.uint64(column % COLUMNS), layer.column_tiles * ROWS
        store_alive(g, at, ACROSS, bits, bit, next_, shift, a)
        store_alive(g, at + COLUMNS, ACROSS, bits, bit + 1, next_, shift, b)
        store_alive(g, at + 2 * COLUMNS, ACROSS, bits, bit + 2, next_, shift, c)
        store_alive(g, at + 3 * COLUMNS, ACROSS, bits, bit + 3, next_, shift, d)
        store_alive(g, at + 4 * COLUMNS, ACROSS, bits, bit + 4, next_, shift, e)
        store_alive(g, at + 5 * COLUMNS, ACROSS, bits, bit + 5, next_, shift, f)
    return tile_gradient


tile_gradient_tall, tile_gradient_one = _tile_gradient(TALL), _tile_gradient(1)


@inner
def turn(layer, images, act, turned):
    """x: (panels, columns, 64) -> turned: (images, columns)."""
    for i in range(0, images, 16):
        x, row = layer.x + i // PANEL * layer.x_panel + i % PANEL, layer.turned + i * layer.turned_row
        for c in range(0, layer.columns, 16):
            turn_floats(act, x + c * PANEL, PANEL, turned, row + c, layer.turned_row)


@inner
def turn_back(layer, images, height, delta, back):
    """d: (panels, height, 64) -> back: (images, height), and behind it its sum over images; returns where that is."""
    for i in range(0, images, 16):
        d = layer.z + i // PANEL * layer.z_panel + i % PANEL
        for r in range(0, height, 16):
            turn_floats(delta, d + r * PANEL, PANEL, back, i * height + r, height)
    sums = (images + 15) // 16 * 16 * height
    for r in range(0, height, 16):
        sum_ = fill(f32(0), 16)
        for i in range(images):
            sum_ = sum_ + load(back, i * height + r, 16)
        store(back, sums + r, sum_)
    return sums


@inner
def group(layer, images, turned, lit, ends):
    """Of each group of ACROSS columns, the images in which one is lit: lit[ends[group - 1] : ends[group]]."""
    count = 0
    for column in range(0, layer.columns, ACROSS):
        for i in range(images):
            lit[count] = i
            count += any_lit(load(turned, layer.turned + i * layer.turned_row + column, ACROSS))
        ends[column // ACROSS] = count


@inner
def update(layer, w, m, v, ends, hand, rule, pace):
    """The gradient of a few tiles at a time, and at once their step."""
    g, row_tile = hand.g, 0
    while row_tile < layer.row_tiles:
        tiles = TALL if layer.row_tiles - row_tile >= TALL else 1
        for tile in range(layer.column_tiles):
            number, stop = row_tile * layer.column_tiles + tile, min(tile * COLUMNS + COLUMNS, layer.columns)
            bit = layer.bits + number * ROWS
            for column in range(tile * COLUMNS, stop, ACROSS):
                first, last = ends[column // ACROSS - 1] if column else 0, ends[column // ACROSS]
                if tiles == TALL:
                    tile_gradient_tall(layer, row_tile, column, bit, first, last, hand)
                else:
                    tile_gradient_one(layer, row_tile, column, bit, first, last, hand)
            width = (stop - tile * COLUMNS + ACROSS - 1) // ACROSS * ACROSS
            for one in range(tiles):
                at = layer.w + (number + one * layer.column_tiles) * TILE
                if width == COLUMNS:
                    optimise(w, m, v, at, TILE, g, one * TILE, rule, pace)
                else:
                    for row in range(0, TILE, COLUMNS):
                        optimise(w, m, v, at + row, width, g, one * TILE + row, rule, pace)
        row_tile += tiles


@inner
def learn(layer, images, state, bits, darks, room, rule, pace):
    """Of all panels: x and d image by image, and with them the gradient and the step of every tile."""
    height = layer.z_panel // PANEL
    turn(layer, images, room.act, room.turned)
    group(layer, images, room.turned, room.lit, room.ends)
    sums = turn_back(layer, images, height, room.delta, room.back)
    hand = Hand(bits, darks, room.turned, room.back, sums, height, room.lit, room.tile_g)
    update(layer, state.w, state.m, state.v, room.ends, hand, rule, pace)
