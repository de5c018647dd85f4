"""A sparse convolution: an output's survivors stream past a tile of its positions.

One load and one multiply-add a survivor and 16 images. Where many survive, they come chunk by chunk of input channels,
so that the rows of a chunk stay in the first cache.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.conv.emit import address
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.conv.tiles import forward_tile, input_tile, pooled_tile, weight_tile
from sweepstake.engine.kernels.conv.where import code_at, input_at, output_at


@inner
def row_of(conv, strip, row, column, columns, hand):
    """Every unit's outputs at `columns` positions of a row, from `column` on."""
    layout, starts = hand.layout, hand.layout.starts
    x, out = input_at(conv, strip, row, column), output_at(conv, strip, row, column)
    for chunk in range(conv.chunks):
        for unit in range(conv.units):
            at = conv.by_row + chunk * conv.units + unit
            forward_tile(columns, address(hand.act, x), address(hand.w, 0), address(layout.places, 0), starts[at],
                         starts[at + 1], hand.biases[conv.bias + unit], hand.slope, hand.least,
                         address(hand.act, out + unit * conv.out_channel), conv.out_column,
                         address(hand.kept, unit * (columns * SIDE)), int(chunk == 0),
                         int(chunk == conv.chunks - 1))


@inner
def two_rows(conv, strip, row, column, columns, hand):
    """Every unit's outputs at these positions of two rows, pooled."""
    layout, starts = hand.layout, hand.layout.starts
    x, out = input_at(conv, strip, row, column), output_at(conv, strip, row // 2, column // 2)
    code = code_at(conv, strip, row // 2, column // 2)
    for chunk in range(conv.chunks):
        for unit in range(conv.units):
            at = conv.by_row + chunk * conv.units + unit
            pooled_tile(columns, address(hand.act, x), conv.x_row, address(hand.w, 0), address(layout.places, 0),
                        starts[at], starts[at + 1], hand.biases[conv.bias + unit], hand.slope, hand.least,
                        conv.pool, address(hand.act, out + unit * conv.out_channel), conv.out_column,
                        address(hand.codes, code + unit * conv.codes_channel),
                        address(hand.kept, unit * (2 * columns * SIDE)), int(chunk == 0),
                        int(chunk == conv.chunks - 1))


@inner
def back_row(conv, before, strip, row, column, columns, hand):
    """Every input's gradient at these positions, carried back to the sums of the layer before."""
    layout, starts = hand.layout, hand.layout.starts
    d, h = conv.d + row * conv.d_row + column * SIDE, input_at(conv, strip, row, column) + conv.x_inside
    pooled = 1 if before.pool == 0 else 2
    to = before.d + before.d_inside + pooled * (row * before.d_row + column * SIDE)
    code = code_at(before, strip, row, column)
    for chunk in range(conv.back_chunks):
        for channel in range(conv.inputs):
            at = conv.by_column + chunk * conv.inputs + channel
            input_tile(columns, address(hand.maps, d), address(hand.turned, 0), address(layout.turned_places, 0),
                       starts[at], starts[at + 1], address(hand.act, h + channel * conv.x_channel), hand.slope,
                       before.pool, address(hand.maps, to + channel * before.d_channel), before.d_row,
                       address(hand.codes, code + channel * before.codes_channel),
                       address(hand.kept, channel * (columns * SIDE)), int(chunk == 0),
                       int(chunk == conv.back_chunks - 1))


@inner
def learn_row(conv, strip, row, column, columns, hand):
    """What these positions add to the gradient of every survivor and bias."""
    layout, starts = hand.layout, hand.layout.starts
    x, d = input_at(conv, strip, row, column), conv.d + conv.d_inside + row * conv.d_row + column * SIDE
    for chunk in range(conv.chunks):
        for unit in range(conv.units):
            at = conv.by_row + chunk * conv.units + unit
            weight_tile(columns, address(hand.act, x), address(hand.maps, d + unit * conv.d_channel),
                        address(layout.places, 0), starts[at], starts[at + 1], address(hand.partial, 0),
                        address(hand.partial, conv.bias_sums + unit * SIDE), int(chunk == 0))


@inner
def forward(conv, strip, hand):
    """act: the input of a strip -> its output, activated and pooled."""
    tiles, first = hand.layout.tiles, conv.tiles
    for row in range(0, conv.rows, 1 if conv.pool == 0 else 2):
        for t in range(first, first + conv.tile_count):
            if conv.pool == 0:
                row_of(conv, strip, row, tiles[t, 0], tiles[t, 1], hand)
            else:
                two_rows(conv, strip, row, tiles[t, 0], tiles[t, 1], hand)


@inner
def backward(conv, before, strip, hand):
    """maps: the gradient of its sums -> the gradient of the sums of the layer before."""
    tiles, first = hand.layout.tiles, conv.back_tiles
    for row in range(conv.height):
        for t in range(first, first + conv.back_tile_count):
            back_row(conv, before, strip, row, tiles[t, 0], tiles[t, 1], hand)


@inner
def learn(conv, strip, hand):
    """To the partial sums of its weights' gradients add a strip's."""
    tiles, first = hand.layout.tiles, conv.learn_tiles
    for row in range(conv.rows):
        for t in range(first, first + conv.learn_tile_count):
            learn_row(conv, strip, row, tiles[t, 0], tiles[t, 1], hand)
