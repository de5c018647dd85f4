"""A dense convolution of 3 x 3 whose outputs are even in number both ways: by Winograd's transforms.

Four tiles of 2 x 2 outputs at a time: their inputs are transformed, 16 products of matrices taken, and what comes of
them transformed back, all within the second cache. It takes 16 products where the plain sum takes 36.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.conv.emit import address
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.conv.transforms import TILES, back_tile, output_tile, product_block, spread_tile
from sweepstake.engine.kernels.conv.where import code_at, input_at, output_at
from sweepstake.engine.kernels.records import f32

ELEMENTS = 16
"""Of a transformed tile."""


@inner
def transform(w, at, outputs, inputs, blocks, first, count, u, to):
    """G w G' of every kernel: (elements, blocks of outputs, inputs, outputs of a block)."""
    half, step = f32(0.5), outputs * inputs
    for b in range(first, first + count):
        begin, size = blocks[b, 0], blocks[b, 1]
        for k in range(inputs):
            for o in range(size):
                here, there = at + (begin * inputs + k * size) * 9 + o, to + begin * inputs + k * size + o
                for x in range(3):  # G w, a column at a time, into the first three elements of each row of four.
                    a, b_, c = w[here + x * size], w[here + (3 + x) * size], w[here + (6 + x) * size]
                    u[there + x * step] = a
                    u[there + (4 + x) * step] = half * (a + b_ + c)
                    u[there + (8 + x) * step] = half * (a - b_ + c)
                    u[there + (12 + x) * step] = c
                for y in range(4):  # (G w) G', a row at a time.
                    row = there + 4 * y * step
                    a, b_, c = u[row], u[row + step], u[row + 2 * step]
                    u[row + step] = half * (a + b_ + c)
                    u[row + 2 * step] = half * (a - b_ + c)
                    u[row + 3 * step] = c


@inner
def _multiply(conv_u, inputs, outputs, first, count, hand):
    """The 16 products, each of (inputs, tiles) by (inputs, outputs)."""
    blocks = hand.layout.tiles
    for element in range(ELEMENTS):
        x, w = element * inputs * (TILES * SIDE), conv_u + element * inputs * outputs
        to = element * outputs * (TILES * SIDE)
        for b in range(first, first + count):
            begin, size = blocks[b, 0], blocks[b, 1]
            product_block(size, address(hand.spread, x), address(hand.u, w + begin * inputs), inputs,
                          address(hand.products, to + begin * (TILES * SIDE)))


@inner
def forward(conv, strip, hand):
    """act: the input of a strip -> its output, activated and pooled."""
    across, inputs, units = conv.columns // 2, conv.inputs, conv.units
    tiles = conv.rows // 2 * across
    for first in range(0, tiles, TILES):
        many = min(TILES, tiles - first)
        for channel in range(inputs):
            for t in range(many):
                row, column = (first + t) // across * 2, (first + t) % across * 2
                x = input_at(conv, strip, row, column) + channel * conv.x_channel
                spread_tile(address(hand.act, x), conv.x_row, address(hand.spread, (channel * TILES + t) * SIDE),
                            inputs * (TILES * SIDE))
        _multiply(conv.u, inputs, units, conv.unit_blocks, conv.unit_block_count, hand)
        pooled = 1 if conv.pool == 0 else 2
        for unit in range(units):
            for t in range(many):
                row, column = (first + t) // across * 2 // pooled, (first + t) % across * 2 // pooled
                out = output_at(conv, strip, row, column) + unit * conv.out_channel
                code = code_at(conv, strip, row, column) + unit * conv.codes_channel
                output_tile(address(hand.products, (unit * TILES + t) * SIDE), units * (TILES * SIDE),
                            hand.biases[conv.bias + unit], hand.slope, hand.least, conv.pool, address(hand.act, out),
                            conv.out_row, conv.out_column, address(hand.codes, code))


@inner
def backward(conv, before, strip, hand):
    """maps: the gradient of its sums -> the gradient of the sums of the layer before."""
    across, inputs, units = conv.width // 2, conv.inputs, conv.units
    tiles, pooled = conv.height // 2 * across, 1 if before.pool == 0 else 2
    for first in range(0, tiles, TILES):
        many = min(TILES, tiles - first)
        for unit in range(units):
            for t in range(many):
                row, column = (first + t) // across * 2, (first + t) % across * 2
                d = conv.d + row * conv.d_row + column * SIDE + unit * conv.d_channel
                spread_tile(address(hand.maps, d), conv.d_row, address(hand.spread, (unit * TILES + t) * SIDE),
                            units * (TILES * SIDE))
        _multiply(conv.u, units, inputs, conv.input_blocks, conv.input_block_count, hand)
        for channel in range(inputs):
            for t in range(many):
                row, column = (first + t) // across * 2, (first + t) % across * 2
                h = input_at(conv, strip, row, column) + conv.x_inside + channel * conv.x_channel
                to = before.d + before.d_inside + pooled * (row * before.d_row + column * SIDE)
                code = code_at(before, strip, row, column) + channel * before.codes_channel
                back_tile(address(hand.products, (channel * TILES + t) * SIDE), inputs * (TILES * SIDE),
                          address(hand.act, h), conv.x_row, hand.slope, before.pool,
                          address(hand.maps, to + channel * before.d_channel), before.d_row, address(hand.codes, code),
                          before.codes_row)
