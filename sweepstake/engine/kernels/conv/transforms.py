"""Winograd's transforms: a tile of 2 x 2 outputs of a 3 x 3 kernel by 16 products where there were 36.

    Y = A' [ (G w G') * (B' x B) ] A        x: 4 x 4 inputs, w: 3 x 3, Y: 2 x 2, * element by element

F(2 x 2, 3 x 3) of Lavin & Gray (2016). Summed over channels, each of the 16 elements is a product of two matrices.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from numba import types
from numba.extending import intrinsic

from sweepstake.engine.chains import AVERAGE, NONE
from sweepstake.engine.kernels.conv.emit import BYTE, Emit, Sums, activated, carry, store_pooled
from sweepstake.engine.kernels.conv.sizes import OUTPUTS

TILES = 4
"""Transformed at a time."""

i64, f32 = types.int64, types.float32


def _four(e, a, b, c, d):
    """B' of a column."""
    return e.builder.fsub(a, c), e.builder.fadd(b, c), e.builder.fsub(c, b), e.builder.fsub(b, d)


def _two(e, a, b, c, d):
    """A' of a column."""
    add, sub = e.builder.fadd, e.builder.fsub
    return add(add(a, b), c), sub(sub(b, c), d)


@intrinsic
def spread_tile(typing, x, x_row, to, step):
    """B' x B of 4 x 4 positions; its 16 elements go to `to`, `step` numbers apart."""
    def code(context, builder, signature, args):
        x_, x_row_, to_, step_ = args
        e = Emit(builder)
        rows = [e.further(e.at(x_), e.times(x_row_, r)) for r in range(4)]
        columns = [_four(e, *(e.load(row, c) for row in rows)) for c in range(4)]
        for r in range(4):
            for c, value in enumerate(_four(e, *(column[r] for column in columns))):
                e.store(value, e.further(e.at(to_), e.times(step_, 4 * r + c)))
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64), code


@intrinsic
def product_block(typing, outputs, x, w, inputs, to):
    """(outputs, tiles) = w' x: x is (inputs, tiles), w is (inputs, outputs)."""
    def code(context, builder, signature, args):
        outputs_, x_, w_, inputs_, to_ = args
        e = Emit(builder)

        def block(m):
            sums = Sums(e, m, 1, TILES)
            sums.begin([e.fill(0)] * m)
            sums.stream_matrix(e.at(x_), e.at(w_), inputs_)
            for o, each in enumerate(sums.values()):
                for c, value in enumerate(each):
                    e.store(value, e.at(to_), o * TILES + c)

        e.where_is(outputs_, OUTPUTS, block)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64), code


def _gathered(e, elements, step):
    """A' M A: the 2 x 2 outputs, row by row."""
    rows = []
    for r in range(4):
        begin = e.further(elements, e.times(step, 4 * r))
        rows.append(_two(e, *(e.load(e.further(begin, e.times(step, c))) for c in range(4))))
    left, right = (_two(e, *(row[c] for row in rows)) for c in range(2))
    return left[0], right[0], left[1], right[1]


@intrinsic
def output_tile(typing, elements, step, bias, slope, least, pool, out, out_row, out_column, codes):
    """The 2 x 2 outputs of a unit, with its bias: activated, and pooled to one where they are pooled."""
    def code(context, builder, signature, args):
        elements_, step_, bias_, slope_, least_, pool_, out_, out_row_, out_column_, codes_ = args
        e = Emit(builder)
        bias_ = e.fill(bias_)
        four = [builder.fadd(z, bias_) for z in _gathered(e, e.at(elements_), step_)]
        slope_, least_ = e.fill(slope_), e.fill(least_)
        by_average = builder.not_(e.is_not(pool_, AVERAGE))
        with builder.if_else(e.is_not(pool_, NONE)) as (pooled, plain):
            with pooled:
                store_pooled(e, by_average, [four], slope_, least_, lambda _: (e.at(out_), e.at(codes_, BYTE)))
            with plain:
                for i, z in enumerate(four):
                    place = e.add(e.times(out_row_, i // 2), e.times(out_column_, i % 2))
                    e.store(activated(e, z, slope_, least_), e.further(e.at(out_), place))
        return context.get_dummy_value()
    return types.none(i64, i64, f32, f32, f32, i64, i64, i64, i64, i64), code


@intrinsic
def back_tile(typing, elements, step, h, h_row, slope, pool, to, to_row, codes, codes_row):
    """The gradients of 2 x 2 inputs, carried back to the sums of the layer before."""
    def code(context, builder, signature, args):
        elements_, step_, h_, h_row_, slope_, pool_, to_, to_row_, codes_, codes_row_ = args
        e = Emit(builder)
        d, slope_ = _gathered(e, e.at(elements_), step_), e.fill(slope_)
        lower = e.where(e.is_not(pool_, NONE), e.times(to_row_, 2), to_row_)
        carry(e, d[:2], e.at(h_), slope_, pool_, e.at(to_), to_row_, e.at(codes_, BYTE))
        carry(e, d[2:], e.further(e.at(h_), h_row_), slope_, pool_, e.further(e.at(to_), lower), to_row_,
              e.further(e.at(codes_, BYTE), codes_row_))
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, f32, i64, i64, i64, i64, i64), code

