"""The passes over all convolutions: forward, back, and the gradients of their parameters."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false

from sweepstake.engine.kernels.activations import lowest
from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.conv import dense, sparse, winograd
from sweepstake.engine.kernels.conv.emit import address
from sweepstake.engine.kernels.conv.records import SIDE, Hand
from sweepstake.engine.kernels.conv.tiles import carry_one
from sweepstake.engine.kernels.conv.where import code_at, mean_at, output_at
from sweepstake.engine.kernels.lanes import fill, total
from sweepstake.engine.kernels.memory import load, store, turn_bytes, widen
from sweepstake.engine.kernels.records import f32


@inner
def hand_of(layout, w, room, act, slope):
    return Hand(layout, w[layout.first:], w, slope, lowest(slope), act, room.codes, room.maps, room.turned, room.u,
                room.spread, room.products, room.transformed, room.kept, room.partial)


@inner
def show(conv, pictures, first, images, act):
    """order[first : first + images] -> the first convolution's input.

    16 images and 16 pixels at a time, of which those that are inputs are kept.
    """
    place, shift, unit, begins, block = pictures.place, pictures.shift, pictures.unit, pictures.begins, pictures.block
    for strip in range((images + SIDE - 1) // SIDE):
        x = conv.x + strip * conv.x_strip
        for i in range(SIDE):  # Beyond the batch, its last image once more: any numbers would do, no loss has them.
            begins[i] = pictures.order[first + min(strip * SIDE + i, images - 1)] * len(place)
        for f in range(0, len(place), 16):
            turn_bytes(pictures.levels, begins, f, block, 0)
            for c in range(16):
                if place[f + c] >= 0:
                    level = widen(block, c * 64, SIDE)
                    store(act, x + place[f + c], (level - fill(shift[f + c], SIDE)) * fill(unit[f + c], SIDE))


@inner
def _no_bias_is_0(conv, hand):
    """Where one is, a sum over zeros is 0 exactly, which ReLU's slope asks for, and transforms would round it off 0."""
    zeros = 0
    for unit in range(conv.units):
        zeros += hand.biases[conv.bias + unit] == 0
    return zeros == 0


@inner
def forward(strips, hand):
    """The input of the first convolution -> the input of the first linear layer."""
    convs = hand.layout.convs
    for n in range(len(convs)):
        conv = convs[n]
        hand.transformed[n] = conv.even and _no_bias_is_0(conv, hand)
        if hand.transformed[n]:
            winograd.transform(hand.w, conv.w, conv.units, conv.inputs, hand.layout.tiles, conv.unit_blocks,
                               conv.unit_block_count, hand.u, conv.u)
    for strip in range(strips):
        for n in range(len(convs)):
            if hand.transformed[n]:
                winograd.forward(convs[n], strip, hand)
            elif convs[n].dense:
                dense.forward(convs[n], strip, hand)
            else:
                sparse.forward(convs[n], strip, hand)
        last = convs[len(convs) - 1]
        if last.averaged:
            _average(last, strip, hand.act)


@inner
def _average(conv, strip, act):
    """Each unit's mean over the positions of its output."""
    for unit in range(conv.units):
        at, sum_ = output_at(conv, strip, 0, 0) + unit * conv.out_channel, fill(f32(0), SIDE)
        for i in range(conv.averaged):
            sum_ = sum_ + load(act, at + i * SIDE, SIDE)
        store(act, mean_at(conv, strip, unit), sum_ * fill(f32(1 / conv.averaged), SIDE))


@inner
def _carry_back(conv, strip, delta, hand):
    """The gradient of the first linear layer's input -> the gradient of the last convolution's sums."""
    pooled = 1 if conv.pool == 0 else 2
    for unit in range(conv.units):
        mean = mean_at(conv, strip, unit)
        if conv.averaged:  # Each position has its share.
            store(delta, mean, load(delta, mean, SIDE) * fill(f32(1 / conv.averaged), SIDE))
        for row in range(conv.rows // pooled):
            for column in range(conv.columns // pooled):
                here = output_at(conv, strip, row, column) + unit * conv.out_channel
                to = conv.d + conv.d_inside + unit * conv.d_channel + pooled * (row * conv.d_row + column * SIDE)
                code = code_at(conv, strip, row, column) + unit * conv.codes_channel
                d = mean if conv.averaged else here
                carry_one(address(delta, d), address(hand.act, here), hand.slope, conv.pool, address(hand.maps, to),
                          conv.d_row, address(hand.codes, code))


@inner
def backward(strips, delta, hand):
    """The gradient of the first linear layer's input -> `partial`, the sums of all gradients of parameters.

    Strip by strip, so that a strip's gradients stay in the caches.
    """
    convs = hand.layout.convs
    for strip in range(strips):
        _carry_back(convs[len(convs) - 1], strip, delta, hand)
        for n in range(len(convs) - 1, -1, -1):
            conv = convs[n]
            if conv.dense:
                dense.learn(conv, strip, hand)
            else:
                sparse.learn(conv, strip, hand)
            if n > 0 and conv.back_even:
                winograd.backward(conv, convs[n - 1], strip, hand)
            elif n > 0 and conv.dense:
                dense.backward(conv, convs[n - 1], strip, hand)
            elif n > 0:
                sparse.backward(conv, convs[n - 1], strip, hand)


@inner
def prepare(hand):
    """Before a step's way back: weights in its order, and transformed; and sums of 0."""
    for k in range(0, len(hand.partial), SIDE):
        store(hand.partial, k, fill(f32(0), SIDE))
    sources = hand.layout.sources
    for k in range(len(sources)):
        hand.turned[k] = hand.w[sources[k]]
    convs = hand.layout.convs
    for n in range(1, len(convs)):
        conv = convs[n]
        if conv.back_even:
            winograd.transform(hand.turned, conv.turned, conv.inputs, conv.units, hand.layout.tiles, conv.input_blocks,
                               conv.input_block_count, hand.u, conv.u)


@inner
def gradients(hand, g):
    """g of all parameters of the convolutions: the lanes of their sums added up, and 0 for what is pruned."""
    layout, convs = hand.layout, hand.layout.convs
    for k in range(len(layout.sources)):
        g[layout.first + k] = total(load(hand.partial, k * SIDE, SIDE)) if layout.alive[k] else f32(0)
    for n in range(len(convs)):
        conv = convs[n]
        for unit in range(conv.units):
            slope = total(load(hand.partial, conv.bias_sums + unit * SIDE, SIDE))
            g[conv.bias + unit] = slope if layout.bias_alive[conv.unit + unit] else f32(0)
