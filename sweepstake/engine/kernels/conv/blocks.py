"""Tiles of a dense layer: a block of outputs at a few positions, held in registers while all weights stream past.

`outputs` and `columns` are of some sizes, each compiled by itself. A place has a weight for each output of the block,
side by side. Everything else is as in `tiles`.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from numba import types
from numba.extending import intrinsic

from sweepstake.engine.chains import AVERAGE
from sweepstake.engine.kernels.conv.emit import BYTE, INT, Emit, Sums, activated, carry, store_pooled
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.conv.sizes import ACROSS, KERNEL, OUTPUTS

i64, f32 = types.int64, types.float32


@intrinsic
def forward_block(typing, outputs, columns, x, w, places, first, last, bias, slope, least, out, out_channel,
                  out_column):
    """tiles.forward_tile of a block of units, whose biases lie at `bias`."""
    def code(context, builder, signature, args):
        (outputs_, columns_, x_, w_, places_, first_, last_, bias_, slope_, least_, out_, out_channel_,
         out_column_) = args
        e = Emit(builder)
        slope_, least_ = e.fill(slope_), e.fill(least_)

        def block(m, n):
            sums = Sums(e, m, 1, n)
            sums.begin([e.fill(e.item(e.at(bias_), o)) for o in range(m)])
            sums.stream_block(e.at(x_), None, e.at(w_), e.at(places_, INT), first_, last_)
            for o, each in enumerate(sums.values()):
                channel = e.further(e.at(out_), e.times(out_channel_, o))
                for c, z in enumerate(each):
                    e.store(activated(e, z, slope_, least_), e.further(channel, e.times(out_column_, c)))

        _where_are(e, outputs_, columns_, block)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, i64, f32, f32, i64, i64, i64), code


@intrinsic
def pooled_block(typing, outputs, x, x_row, w, places, first, last, bias, slope, least, pool, out, out_channel, codes,
                 codes_channel):
    """tiles.pooled_tile of a block of units, at two by two positions."""
    def code(context, builder, signature, args):
        (outputs_, x_, x_row_, w_, places_, first_, last_, bias_, slope_, least_, pool_, out_, out_channel_, codes_,
         codes_channel_) = args
        e = Emit(builder)
        by_average, out_, codes_ = builder.not_(e.is_not(pool_, AVERAGE)), e.at(out_), e.at(codes_, BYTE)
        slope_, least_ = e.fill(slope_), e.fill(least_)

        def to(o):
            return e.further(out_, e.times(out_channel_, o)), e.further(codes_, e.times(codes_channel_, o))

        def block(m):
            sums = Sums(e, m, 2, 2)
            sums.begin([e.fill(e.item(e.at(bias_), o)) for o in range(m)])
            sums.stream_block(e.at(x_), x_row_, e.at(w_), e.at(places_, INT), first_, last_)
            store_pooled(e, by_average, sums.values(), slope_, least_, to)

        e.where_is(outputs_, OUTPUTS, block)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, i64, f32, f32, i64, i64, i64, i64, i64), code


@intrinsic
def input_block(typing, outputs, columns, d, w, places, first, last, h, h_channel, slope, pool, to, to_channel, to_row,
                codes, codes_channel):
    """tiles.input_tile of a block of inputs."""
    def code(context, builder, signature, args):
        (outputs_, columns_, d_, w_, places_, first_, last_, h_, h_channel_, slope_, pool_, to_, to_channel_, to_row_,
         codes_, codes_channel_) = args
        e = Emit(builder)
        slope_ = e.fill(slope_)

        def block(m, n):
            sums = Sums(e, m, 1, n)
            sums.begin([e.fill(0)] * m)
            sums.stream_block(e.at(d_), None, e.at(w_), e.at(places_, INT), first_, last_)
            for o, each in enumerate(sums.values()):
                carry(e, each, e.further(e.at(h_), e.times(h_channel_, o)), slope_, pool_,
                      e.further(e.at(to_), e.times(to_channel_, o)), to_row_,
                      e.further(e.at(codes_, BYTE), e.times(codes_channel_, o)))

        _where_are(e, outputs_, columns_, block)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, i64, i64, f32, i64, i64, i64, i64, i64, i64), code


@intrinsic
def weight_block(typing, outputs, x, x_row, d, d_channel, d_row, rows, columns, partial):
    """At `partial`, of each of a kernel row's weights and each output of the block: += d * x, over whole rows.

    Weight by weight, and within one output by output.
    """
    def code(context, builder, signature, args):
        outputs_, x_, x_row_, d_, d_channel_, d_row_, rows_, columns_, partial_ = args
        e = Emit(builder)
        x_, d_, partial_ = e.at(x_), e.at(d_), e.at(partial_)

        def block(m):
            sums = Sums(e, KERNEL * m, 1, 1)
            for i, (one,) in enumerate(sums.held):
                builder.store(e.load(partial_, i), one)
            with e.each(0, rows_) as row:
                x_begin, d_begin = e.further(x_, e.times(row, x_row_)), e.further(d_, e.times(row, d_row_))
                d_begins = [e.further(d_begin, e.times(d_channel_, o)) for o in range(m)]
                with e.each(0, columns_) as column:
                    at = e.times(column, SIDE)
                    values = [e.load(e.further(x_begin, at), i) for i in range(KERNEL)]
                    for o in range(m):
                        d = e.load(e.further(d_begins[o], at))
                        for i, value in enumerate(values):
                            (one,) = sums.held[i * m + o]
                            builder.store(e.fma(d, value, builder.load(one)), one)
            for i, (value,) in enumerate(sums.values()):
                e.store(value, partial_, i)

        e.where_is(outputs_, OUTPUTS, block)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, i64, i64), code


def _where_are(e, outputs, columns, block):
    """block(m, n) for each size of a block, of which the one runs that it is."""
    e.where_is(columns, ACROSS, lambda n: e.where_is(outputs, OUTPUTS, lambda m: block(m, n)))
