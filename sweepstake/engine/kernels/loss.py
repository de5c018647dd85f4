"""Softmax, cross-entropy and accuracy of the output layer."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

import math

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import at_least, fill, fma, lane, power_of_two, where_alive
from sweepstake.engine.kernels.memory import load, store
from sweepstake.engine.kernels.records import PANEL, f32, u64


@inner
def exp(x):
    """e^x to about a unit in the last place, for x <= 0; below -87, which underflows, e^-87."""
    x = at_least(x, fill(f32(-87), 16))
    # x = n log 2 + rest, n whole: 1.5 * 2^23 added has no room for a fraction.
    whole = fma(f32(1.4426950408889634), x, fill(f32(12582912), 16))
    n = whole - fill(f32(12582912), 16)
    rest = fma(f32(-1.428606765330187e-06), n, fma(f32(-0.693145751953125), n, x))
    sum_ = fma(rest, fill(f32(1 / 5040), 16), fill(f32(1 / 720), 16))
    sum_ = fma(rest, sum_, fill(f32(1 / 120), 16))
    sum_ = fma(rest, sum_, fill(f32(1 / 24), 16))
    sum_ = fma(rest, sum_, fill(f32(1 / 6), 16))
    sum_ = fma(rest, sum_, fill(f32(1 / 2), 16))
    sum_ = fma(rest, sum_, fill(f32(1), 16))
    return fma(rest, sum_, fill(f32(1), 16)) * power_of_two(whole)


@inner
def cross_entropy(layer, panel, images, labels, chosen, first, act, delta):
    """d = (softmax(z) - onehot(y)) / B of a panel; returns its summed loss, log sum_c exp(z_c) - z_y."""
    z, loss, share = layer.z + panel * layer.z_panel, 0.0, f32(1) / f32(images)
    for sixteen in range(0, PANEL, 16):
        begin, count = z + sixteen, min(max(images - panel * PANEL - sixteen, 0), 16)
        top = load(act, begin, 16)  # (16 images,)
        for c in range(1, layer.rows):
            top = at_least(top, load(act, begin + c * PANEL, 16))
        sum_ = fill(f32(0), 16)
        for c in range(layer.rows):
            each = exp(load(act, begin + c * PANEL, 16) - top)
            store(delta, begin + c * PANEL, each)
            sum_ = sum_ + each
        scale = where_alive(u64((1 << count) - 1), fill(share, 16) / sum_)  # 0 beyond the batch.
        for c in range(layer.rows):
            store(delta, begin + c * PANEL, load(delta, begin + c * PANEL, 16) * scale)
        for i in range(count):
            label = labels[chosen[first + panel * PANEL + sixteen + i]]
            loss += math.log(lane(sum_, i)) + lane(top, i) - act[begin + label * PANEL + i]
            delta[begin + label * PANEL + i] -= share
    return loss


@inner
def tally(layer, images, labels, first, act, loss, correct, top5):
    """What a panel adds to the loss, and to the images whose label has the largest output, or one of the five largest.

    Of equal outputs the first counts as larger.
    """
    for i in range(images):
        top, best = act[layer.z + i], 0
        for c in range(1, layer.rows):
            if act[layer.z + c * PANEL + i] > top:
                top, best = act[layer.z + c * PANEL + i], c
        sum_ = 0.0
        for c in range(layer.rows):
            sum_ += math.exp(act[layer.z + c * PANEL + i] - top)
        label = labels[first + i]
        own, ahead = act[layer.z + label * PANEL + i], 0
        for c in range(layer.rows):
            other = act[layer.z + c * PANEL + i]
            ahead += other > own or (other == own and c < label)
        loss += math.log(sum_) + float(top) - float(own)
        correct += best == label
        top5 += ahead < 5
    return loss, correct, top5
