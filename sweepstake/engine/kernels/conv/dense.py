"""A dense convolution of 3 x 3: blocks of outputs, so that what is loaded once is multiplied several times.

Dead weights are 0 and are computed with. It runs near the core's peak, where a sparse one waits for the caches.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.conv.blocks import forward_block, input_block, pooled_block, weight_block
from sweepstake.engine.kernels.conv.emit import address
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.conv.sizes import ACROSS, KERNEL
from sweepstake.engine.kernels.conv.where import code_at, input_at, output_at
from sweepstake.engine.kernels.memory import load, store

ROWS = 2
"""Rows whose gradients of weights are summed in one go: sums are taken up and put away between."""
EACH, FOUR = ACROSS[1], ACROSS[0]


@inner
def deep_of(conv):
    """Weights of a unit."""
    return conv.inputs * (KERNEL * KERNEL)


@inner
def row_of(conv, strip, row, column, columns, unit, outputs, hand):
    """The outputs of a block of units at `columns` positions of a row, from `column` on."""
    layout, x = hand.layout, input_at(conv, strip, row, column)
    out = output_at(conv, strip, row, column) + unit * conv.out_channel
    deep, first = deep_of(conv), conv.by_row
    forward_block(outputs, columns, address(hand.act, x), address(hand.w, conv.w + unit * deep),
                  address(layout.places, 0), first, first + deep, address(hand.biases, conv.bias + unit),
                  hand.slope, hand.least, address(hand.act, out), conv.out_channel, conv.out_column)


@inner
def two_rows(conv, strip, row, column, unit, outputs, hand):
    """The outputs of a block of units at two by two positions, pooled."""
    layout, x = hand.layout, input_at(conv, strip, row, column)
    out = output_at(conv, strip, row // 2, column // 2) + unit * conv.out_channel
    code = code_at(conv, strip, row // 2, column // 2) + unit * conv.codes_channel
    deep, first = deep_of(conv), conv.by_row
    pooled_block(outputs, address(hand.act, x), conv.x_row, address(hand.w, conv.w + unit * deep),
                 address(layout.places, 0), first, first + deep, address(hand.biases, conv.bias + unit), hand.slope,
                 hand.least, conv.pool, address(hand.act, out), conv.out_channel, address(hand.codes, code),
                 conv.codes_channel)


@inner
def back_row(conv, before, strip, row, column, columns, channel, outputs, hand):
    """The gradients of a block of inputs at these positions, carried back to the sums of the layer before."""
    layout, d = hand.layout, conv.d + row * conv.d_row + column * SIDE
    h = input_at(conv, strip, row, column) + conv.x_inside + channel * conv.x_channel
    pooled = 1 if before.pool == 0 else 2
    to = before.d + before.d_inside + pooled * (row * before.d_row + column * SIDE) + channel * before.d_channel
    code = code_at(before, strip, row, column) + channel * before.codes_channel
    deep, first = conv.units * (KERNEL * KERNEL), conv.by_column
    input_block(outputs, columns, address(hand.maps, d), address(hand.turned, conv.turned + channel * deep),
                address(layout.turned_places, 0), first, first + deep, address(hand.act, h), conv.x_channel,
                hand.slope, before.pool, address(hand.maps, to), before.d_channel, before.d_row,
                address(hand.codes, code), before.codes_channel)


@inner
def learn_rows(conv, strip, row, unit, outputs, hand):
    """The gradients of a block's weights, over some rows."""
    x, deep = input_at(conv, strip, row, 0), deep_of(conv)
    d = conv.d + conv.d_inside + unit * conv.d_channel + row * conv.d_row
    rows = min(ROWS, conv.rows - row)
    for k in range(0, deep, KERNEL):  # A row of a kernel.
        channel, y = k // (KERNEL * KERNEL), k // KERNEL % KERNEL
        here = x + channel * conv.x_channel + y * conv.x_row
        partial = (conv.w + unit * deep + k * outputs) * SIDE
        weight_block(outputs, address(hand.act, here), conv.x_row, address(hand.maps, d), conv.d_channel,
                     conv.d_row, rows, conv.columns, address(hand.partial, partial))


@inner
def forward(conv, strip, hand):
    """act: the input of a strip -> its output, activated and pooled."""
    blocks, first = hand.layout.tiles, conv.unit_blocks
    for row in range(0, conv.rows, 1 if conv.pool == 0 else 2):
        column = 0
        while column < conv.columns:
            width = 2 if conv.pool else FOUR if column + FOUR <= conv.columns else EACH
            for b in range(first, first + conv.unit_block_count):
                unit, outputs = blocks[b, 0], blocks[b, 1]
                if conv.pool:
                    two_rows(conv, strip, row, column, unit, outputs, hand)
                else:
                    row_of(conv, strip, row, column, width, unit, outputs, hand)
            column += width


@inner
def backward(conv, before, strip, hand):
    """maps: the gradient of its sums -> the gradient of the sums of the layer before."""
    blocks, first = hand.layout.tiles, conv.input_blocks
    for row in range(conv.height):
        column = 0
        while column < conv.width:
            width = FOUR if column + FOUR <= conv.width else EACH
            for b in range(first, first + conv.input_block_count):
                back_row(conv, before, strip, row, column, width, blocks[b, 0], blocks[b, 1], hand)
            column += width


@inner
def learn(conv, strip, hand):
    """To the partial sums of its weights' gradients add a strip's."""
    blocks, first = hand.layout.tiles, conv.unit_blocks
    for b in range(first, first + conv.unit_block_count):
        for row in range(0, conv.rows, ROWS):
            learn_rows(conv, strip, row, blocks[b, 0], blocks[b, 1], hand)
    for unit in range(conv.units):
        at = conv.bias_sums + unit * SIDE
        sum_ = load(hand.partial, at, SIDE)
        for row in range(conv.rows):
            here = conv.d + conv.d_inside + unit * conv.d_channel + row * conv.d_row
            for column in range(conv.columns):
                sum_ = sum_ + load(hand.maps, here + column * SIDE, SIDE)
        store(hand.partial, at, sum_)
