"""A chain of layers, forward alone, in one call: of surviving weights in slices of rows, or of whole rows.

A slice is `SLICE` rows of about the same length, side by side: weight j of each, then weight j + 1 of each. A shorter
row ends in weights of 0. Images go one by one, or 16 side by side as a *panel*: (units, 16). In slices both add up in
the same order, so an image's outputs do not depend on how many come with it.

Everything is told by address, for numba takes longer to look at an array than at a number.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sweepstake.engine.kernels.activations import lowest
from sweepstake.engine.kernels.cache import are_warm, compiled, inner
from sweepstake.engine.kernels.lanes import at_least, fill, fma, lane, total, where_positive
from sweepstake.engine.kernels.llvm import Lanes, vector
from sweepstake.engine.kernels.memory import item, load, store, turn_floats
from sweepstake.engine.kernels.records import f32

SLICE = 8
"""Rows side by side."""
SIDE = 16
"""Images of a panel."""
FEW = 3
"""Below so many images, they go one by one."""

STEP = ("sliced", "rows", "columns", "weights", "places", "starts", "order", "bias", "slope")
"""What is told of a layer, in int64: addresses from `weights` on; of whole rows, only those of weights, bias, slope."""
HEAD = ("steps", "columns", "rows", "padded", "first", "second")
"""What is told of a chain, before its steps: how many; its inputs and outputs; and the addresses of its room."""


def _array_at(dtype):
    array = types.Array(dtype, 1, "C")

    @intrinsic
    def array_at(typing, address):
        """An array that begins there; its length is not known."""
        def code(context, builder, signature, args):
            made = context.make_array(array)(context, builder)
            made.data = builder.inttoptr(args[0], made.data.type)
            return made._getvalue()
        return array(types.int64), code
    return array_at


floats, ints, words = _array_at(types.float32), _array_at(types.int32), _array_at(types.int64)


@intrinsic(prefer_literal=True)
def gather(typing, array, places, at, n):
    """array[places[at]], ..., array[places[at + n - 1]]: a load each, as fast as the CPU's own gathering, or faster."""
    def code(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        index = context.make_array(places)(context, builder, args[1]).data
        lanes = ir.Constant(vector(n.literal_value), ir.Undefined)
        for i in range(n.literal_value):
            place = builder.load(builder.gep(index, [builder.add(args[2], ir.Constant(ir.IntType(64), i))]))
            value = builder.load(builder.gep(data, [builder.sext(place, ir.IntType(64))]))
            lanes = builder.insert_element(lanes, value, ir.Constant(ir.IntType(32), i))
        return lanes
    return Lanes(n.literal_value)(array, places, types.int64, n), code


@inner
def active(z, slope, least):
    return at_least(z, least) * where_positive(z, f32(1), slope)


@inner
def sliced_one(step, at, x, z):
    """z[r] = active(b[r] + sum_j w[r, j] * x[j]) of one image."""
    rows, w, places = step[at + 1], floats(step[at + 3]), ints(step[at + 4])
    starts, order, bias, slope = ints(step[at + 5]), ints(step[at + 6]), floats(step[at + 7]), floats(step[at + 8])[0]
    least = fill(lowest(slope), SLICE)
    for r in range(0, rows, SLICE):
        sum_ = load(bias, r, SLICE)
        for j in range(item(starts, r // SLICE), item(starts, r // SLICE + 1), SLICE):
            sum_ = fma(load(w, j, SLICE), gather(x, places, j, SLICE), sum_)
        sum_ = active(sum_, slope, least)
        for i in range(SLICE):
            z[item(order, r + i)] = lane(sum_, i)


@inner
def sliced_panel(step, at, x, z):
    """The same of 16 images."""
    rows, w, places = step[at + 1], floats(step[at + 3]), ints(step[at + 4])
    starts, order, bias, slope = ints(step[at + 5]), ints(step[at + 6]), floats(step[at + 7]), floats(step[at + 8])[0]
    least = fill(lowest(slope), SIDE)
    for r in range(0, rows, SLICE):
        first, last = item(starts, r // SLICE), item(starts, r // SLICE + 1)
        for half in range(0, SLICE, 4):
            a = fill(item(bias, r + half), SIDE)
            b = fill(item(bias, r + half + 1), SIDE)
            c = fill(item(bias, r + half + 2), SIDE)
            d = fill(item(bias, r + half + 3), SIDE)
            for j in range(first + half, last, SLICE):
                a = fma(item(w, j), load(x, item(places, j) * SIDE, SIDE), a)
                b = fma(item(w, j + 1), load(x, item(places, j + 1) * SIDE, SIDE), b)
                c = fma(item(w, j + 2), load(x, item(places, j + 2) * SIDE, SIDE), c)
                d = fma(item(w, j + 3), load(x, item(places, j + 3) * SIDE, SIDE), d)
            store(z, item(order, r + half) * SIDE, active(a, slope, least))
            store(z, item(order, r + half + 1) * SIDE, active(b, slope, least))
            store(z, item(order, r + half + 2) * SIDE, active(c, slope, least))
            store(z, item(order, r + half + 3) * SIDE, active(d, slope, least))


@inner
def whole_one(step, at, x, z):
    """z[r] = active(b[r] + sum_k w[r, k] * x[k]) of one image, in 64 sums."""
    rows, columns, w = step[at + 1], step[at + 2], floats(step[at + 3])
    bias, slope = floats(step[at + 7]), floats(step[at + 8])[0]
    blocks, least = columns // 64 * 64, fill(lowest(slope), 1)
    for r in range(rows):
        row = r * columns
        many, rest = fill(f32(0), 64), fill(item(bias, r), 1)
        for k in range(0, blocks, 64):
            many = fma(load(w, row + k, 64), load(x, k, 64), many)
        for k in range(blocks, columns):
            rest = fma(load(w, row + k, 1), load(x, k, 1), rest)
        store(z, r, active(fill(total(many), 1) + rest, slope, least))


@inner
def whole_panel(step, at, x, z):
    """The same of 16 images, four rows at a time."""
    rows, columns, w = step[at + 1], step[at + 2], floats(step[at + 3])
    bias, slope = floats(step[at + 7]), floats(step[at + 8])[0]
    least, fours = fill(lowest(slope), SIDE), rows // 4 * 4
    for r in range(0, fours, 4):
        first = r * columns
        second, third, fourth = first + columns, first + 2 * columns, first + 3 * columns
        a = fill(item(bias, r), SIDE)
        b = fill(item(bias, r + 1), SIDE)
        c = fill(item(bias, r + 2), SIDE)
        d = fill(item(bias, r + 3), SIDE)
        for k in range(columns):
            input_ = load(x, k * SIDE, SIDE)
            a = fma(item(w, first + k), input_, a)
            b = fma(item(w, second + k), input_, b)
            c = fma(item(w, third + k), input_, c)
            d = fma(item(w, fourth + k), input_, d)
        store(z, r * SIDE, active(a, slope, least))
        store(z, (r + 1) * SIDE, active(b, slope, least))
        store(z, (r + 2) * SIDE, active(c, slope, least))
        store(z, (r + 3) * SIDE, active(d, slope, least))
    for r in range(fours, rows):
        a = fill(item(bias, r), SIDE)
        for k in range(columns):
            a = fma(item(w, r * columns + k), load(x, k * SIDE, SIDE), a)
        store(z, r * SIDE, active(a, slope, least))


@inner
def turn(x, first, row, columns, panel):
    """x[first + row i + c] -> panel[16 c + i] for 16 images."""
    blocks = columns // SIDE * SIDE
    for c in range(0, blocks, SIDE):
        turn_floats(x, first + c, row, panel, c * SIDE, SIDE)
    for c in range(blocks, columns):
        for i in range(SIDE):
            panel[c * SIDE + i] = item(x, first + row * i + c)


@inner
def turn_back(panel, columns, images, z, first):
    """panel[16 c + i] -> z[first + columns i + c] for the first of 16 images."""
    blocks = columns // SIDE * SIDE if images == SIDE else 0
    for c in range(0, blocks, SIDE):
        turn_floats(panel, c * SIDE, SIDE, z, first + c, columns)
    for i in range(images):
        for c in range(blocks, columns):
            z[first + i * columns + c] = item(panel, c * SIDE + i)


@compiled(error_model="numpy", _nrt=False)
def run_chain(told, x_at, z_at, images):
    """x: (images, columns) -> z: (images, rows), float32. It keeps Python's lock: one at a time uses a chain's room."""
    head, x, z = words(told), floats(x_at), floats(z_at)
    steps, columns, rows, padded = head[0], head[1], head[2], floats(head[3])
    if images < FEW:
        for image in range(images):
            here, there = floats(x_at + 4 * image * columns), floats(head[4])
            for n in range(steps):
                at = 6 + 9 * n
                if head[at]:
                    sliced_one(head, at, here, there)
                else:
                    whole_one(head, at, here, there)
                here, there = there, floats(head[5 - n % 2])
            for r in range(rows):
                z[image * rows + r] = item(here, r)
        return
    for begin in range(0, images, SIDE):
        count = min(SIDE, images - begin)
        here, there = floats(head[4]), floats(head[5])
        if count == SIDE:
            turn(x, begin * columns, columns, columns, here)
        else:
            for i in range(count * columns):
                padded[i] = item(x, begin * columns + i)
            turn(padded, 0, columns, columns, here)
        for n in range(steps):
            at = 6 + 9 * n
            if head[at]:
                sliced_panel(head, at, here, there)
            else:
                whole_panel(head, at, here, there)
            here, there = there, here
        turn_back(here, rows, count, z, begin * rows)


def are_compiled() -> bool:
    """Whether the disk holds this as it is now, for this CPU."""
    return are_warm(run_chain)
