"""A step with dense layers in the CPU's tiles: products of bfloat16, all else in float32.

Weights, moments, biases, loss and optimiser are float32, as under autocast. Activations lie unit by unit, the images of
the batch side by side in `room` places, a multiple of 64: (units, room).
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

import math

from sweepstake.engine.kernels.activations import lowest, mixed
from sweepstake.engine.kernels.cache import compiled, inner
from sweepstake.engine.kernels.halves import load_half, store_half, store_pairs, widened
from sweepstake.engine.kernels.lanes import at_least, fill, fma, total, where_alive, where_positive
from sweepstake.engine.kernels.memory import fetch, load, store, turn_bytes, widen
from sweepstake.engine.kernels.optimiser import pace_of, stepped
from sweepstake.engine.kernels.records import f32, u32, u64


@compiled(nogil=True)
def lay_out(chosen, following, levels, shift, unit, inputs, room, rows, block, by_input, by_image):
    """A batch twice, as `multiply` reads it; `following` is the next one.

    by_input: (inputs / 2, room, 2), two inputs of an image side by side.
    by_image: (room / 2, inputs, 2), two images at an input.
    Beyond the batch stands its last image once more: its deltas are 0.
    """
    width = len(shift)
    for panel in range(0, room, 64):
        for i in range(64):
            rows[i] = chosen[min(panel + i, len(chosen) - 1)] * width
        for i in range(0, 64, 2):  # What whole vectors write beyond an image's row is the next one's beginning.
            for f in range(0, width, 16):
                low = (widen(levels, rows[i] + f, 16) - load(shift, f, 16)) * load(unit, f, 16)
                high = (widen(levels, rows[i + 1] + f, 16) - load(shift, f, 16)) * load(unit, f, 16)
                store_pairs(by_image, (panel + i) * inputs + 2 * f, low, high)
        for f in range(0, width, 16):
            if f % 64 == 0:
                for i in range(panel, min(panel + 64, len(following))):
                    fetch(levels, following[i] * width + f)
            for i in range(0, 64, 16):
                turn_bytes(levels, rows, f, block, i)
            for c in range(0, 16, 2):
                low = (widen(block, c * 64, 64) - fill(shift[f + c], 64)) * fill(unit[f + c], 64)
                high = (widen(block, c * 64 + 64, 64) - fill(shift[f + c + 1], 64)) * fill(unit[f + c + 1], 64)
                store_pairs(by_input, (f + c) * room + 2 * panel, low, high)


@compiled(nogil=True)
def activate(act, gain, bias, slope, key, below, by_unit):
    """h = (z + b) * gain;  gain = (1 where z + b > 0, else slope) * dropout, as streams.dropout_keeps draws it.

    act, gain: (units, room). by_unit: (units / 2, room, 2), h once more as `multiply` reads it, two units side by side.
    """
    units, room = gain.shape
    low, high, scale = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32)), f32(4294967296.0 / below)
    flat, least = gain.ravel(), fill(lowest(slope), 16)
    for r in range(units):
        for i in range(0, room, 16):
            at = r * room + i
            z = load_half(act, at, 16) + fill(bias[r], 16)
            store(flat, at, where_positive(z, f32(1), slope))
            if below < 4294967296:
                for lane in range(16):
                    draw = mixed(u32(mixed(u32(u32((i + lane) * units + r) ^ low)) + high))
                    flat[at + lane] *= scale if draw < below else f32(0)
            h = at_least(z, least) * load(flat, at, 16)
            store_half(act, at, h)
            if r % 2:
                store_pairs(by_unit, at - room + i, load_half(act, at - room, 16), h)
            elif r == units - 1:
                store_pairs(by_unit, at + i, h, fill(f32(0), 16))


@inner
def output_forward(w, bias, x, d):
    """z = w x + b: (classes, room), where d will be."""
    (classes, room), units, flat = d.shape, len(w) // len(d), d.ravel()
    for c in range(classes):
        for i in range(0, room, 64):
            one, two, three, four = (fill(bias[c], 16), fill(bias[c], 16), fill(bias[c], 16), fill(bias[c], 16))
            for u in range(units):
                weight, at = widened(w[c * units + u]), u * room + i
                one = fma(weight, load_half(x, at, 16), one)
                two = fma(weight, load_half(x, at + 16, 16), two)
                three = fma(weight, load_half(x, at + 32, 16), three)
                four = fma(weight, load_half(x, at + 48, 16), four)
            store(flat, c * room + i, one)
            store(flat, c * room + i + 16, two)
            store(flat, c * room + i + 32, three)
            store(flat, c * room + i + 48, four)


@inner
def output_loss(labels, chosen, d):
    """z -> d = (softmax(z) - onehot(y)) / B, 0 beyond the batch; returns the summed loss, log sum_c exp(z_c) - z_y."""
    (classes, room), flat, loss, share = d.shape, d.ravel(), 0.0, f32(1) / f32(len(chosen))
    for i in range(len(chosen)):
        top, sum_, label = flat[i], f32(0), labels[chosen[i]]
        for c in range(1, classes):
            top = max(top, flat[c * room + i])
        own = flat[label * room + i]
        for c in range(classes):
            e = math.exp(flat[c * room + i] - top)
            flat[c * room + i] = e
            sum_ += e
        loss += math.log(sum_) + top - own
        for c in range(classes):
            flat[c * room + i] *= share / sum_
        flat[label * room + i] -= share
    for c in range(classes):
        for i in range(len(chosen), room):
            flat[c * room + i] = 0
    return loss


@inner
def output_gradient(x, d, g, bias_g):
    """Of w: (classes, units), and of b: (classes,)."""
    (classes, room), units, flat = d.shape, len(g) // len(d), d.ravel()
    for c in range(classes):
        sum_16 = fill(f32(0), 16)
        for i in range(0, room, 16):
            sum_16 = sum_16 + load(flat, c * room + i, 16)
        store_half(bias_g, c, fill(total(sum_16), 1))
        for u in range(units):
            sum_16 = fill(f32(0), 16)
            for i in range(0, room, 16):
                sum_16 = fma(load(flat, c * room + i, 16), load_half(x, u * room + i, 16), sum_16)
            store_half(g, c * units + u, fill(total(sum_16), 1))


@inner
def output_backward(w, d, back):
    """back = w' d: (units, room)."""
    (classes, room), units, flat = d.shape, len(w) // len(d), d.ravel()
    for u in range(units):
        for i in range(0, room, 16):
            sum_16 = fill(f32(0), 16)
            for c in range(classes):
                sum_16 = fma(widened(w[c * units + u]), load(flat, c * room + i, 16), sum_16)
            store_half(back, u * room + i, sum_16)


@compiled(nogil=True, error_model="numpy")
def output_layer(w, bias, x, labels, chosen, d, back, g, bias_g):
    """The last layer whole; returns the mean loss. Of few units: a call of torch.mm would cost more than its work."""
    output_forward(w, bias, x, d)
    loss = output_loss(labels, chosen, d)
    output_gradient(x, d, g, bias_g)
    output_backward(w, d, back)
    return loss / len(chosen)


@compiled(nogil=True)
def gate(delta, gain, g):
    """d *= gain: (units, room), and the biases' gradients: sums of d over the batch."""
    units, room = gain.shape
    flat = gain.ravel()
    for r in range(units):
        sum_ = fill(f32(0), 16)
        for i in range(r * room, (r + 1) * room, 16):
            d = load_half(delta, i, 16) * load(flat, i, 16)
            sum_ = sum_ + d
            store_half(delta, i, d)
        store_half(g, r, fill(total(sum_), 1))


@compiled(nogil=True)
def update(w, m, v, half, g, live, rule, paces, step):
    """Step `step` of the survivors, and the weights' new bfloat16 copy, in one sweep: a step waits for memory."""
    pace = pace_of(paces, step)
    for i in range(0, len(w), 16):
        grad = where_alive(u64(live[i // 16]), load_half(g, i, 16))
        new = stepped(load(w, i, 16), grad, m, v, i, rule, pace)
        store(w, i, new)
        store_half(half, i, new)
