"""Tiles of a sparse layer: some positions of one output, held in registers while its survivors stream past.

Each takes addresses, as `emit.address` gives them. `columns` is one of some sizes, each compiled by itself. A layer's
survivors may come in chunks: `begins` and `ends` say whether this is the first, and the last; in between the sums lie
at `kept`.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from numba import types
from numba.extending import intrinsic

from sweepstake.engine.chains import AVERAGE
from sweepstake.engine.kernels.conv.emit import BYTE, I64, INT, Emit, Sums, activated, carry, store_pooled
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.conv.sizes import LEARNT, POOLED, WIDTHS

i64, f32 = types.int64, types.float32


@intrinsic
def forward_tile(typing, columns, x, w, places, first, last, bias, slope, least, out, out_column, kept, begins, ends):
    """A row of positions: h = activation(bias + sum over survivors of w * x[place + position])."""
    def code(context, builder, signature, args):
        (columns_, x_, w_, places_, first_, last_, bias_, slope_, least_, out_, out_column_, kept_, begins_,
         ends_) = args
        e = Emit(builder)
        bias_, slope_, least_, kept_ = e.fill(bias_), e.fill(slope_), e.fill(least_), e.at(kept_)

        def tile(n):
            sums = Sums(e, 1, 1, n)
            sums.begin([bias_])
            sums.take_up(kept_, begins_)
            sums.stream(e.at(x_), None, e.at(w_), e.at(places_, INT), first_, last_)
            with builder.if_else(e.is_not(ends_, 0)) as (last, before):
                with last:
                    for c, z in enumerate(sums.values()[0]):
                        e.store(activated(e, z, slope_, least_), e.further(e.at(out_), e.times(out_column_, c)))
                with before:
                    sums.keep(kept_)

        e.where_is(columns_, WIDTHS, tile)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, f32, f32, f32, i64, i64, i64, i64, i64), code


@intrinsic
def pooled_tile(typing, columns, x, x_row, w, places, first, last, bias, slope, least, pool, out, out_column, codes,
                kept, begins, ends):
    """Two rows of positions, pooled two by two; and at `codes`, how."""
    def code(context, builder, signature, args):
        (columns_, x_, x_row_, w_, places_, first_, last_, bias_, slope_, least_, pool_, out_, out_column_, codes_,
         kept_, begins_, ends_) = args
        e = Emit(builder)
        bias_, slope_, least_, kept_ = e.fill(bias_), e.fill(slope_), e.fill(least_), e.at(kept_)
        by_average, out_, codes_ = builder.not_(e.is_not(pool_, AVERAGE)), e.at(out_), e.at(codes_, BYTE)

        def to(c):
            return e.further(out_, e.times(out_column_, c)), e.further(codes_, SIDE * c)

        def tile(n):
            sums = Sums(e, 1, 2, n)
            sums.begin([bias_])
            sums.take_up(kept_, begins_)
            sums.stream(e.at(x_), x_row_, e.at(w_), e.at(places_, INT), first_, last_)
            with builder.if_else(e.is_not(ends_, 0)) as (last, before):
                with last:
                    (z,) = sums.values()
                    fours = [(z[c], z[c + 1], z[n + c], z[n + c + 1]) for c in range(0, n, 2)]
                    store_pooled(e, by_average, fours, slope_, least_, to)
                with before:
                    sums.keep(kept_)

        e.where_is(columns_, POOLED, tile)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, f32, f32, f32, i64, i64, i64, i64, i64, i64, i64), code


@intrinsic
def input_tile(typing, columns, d, w, places, first, last, h, slope, pool, to, to_row, codes, kept, begins, ends):
    """The gradient of a row of inputs, carried back to the sums of the layer before, whose outputs lie at `h`."""
    def code(context, builder, signature, args):
        (columns_, d_, w_, places_, first_, last_, h_, slope_, pool_, to_, to_row_, codes_, kept_, begins_,
         ends_) = args
        e = Emit(builder)
        kept_, slope_ = e.at(kept_), e.fill(slope_)

        def tile(n):
            sums = Sums(e, 1, 1, n)
            sums.begin([e.fill(0)])
            sums.take_up(kept_, begins_)
            sums.stream(e.at(d_), None, e.at(w_), e.at(places_, INT), first_, last_)
            with builder.if_else(e.is_not(ends_, 0)) as (last, before):
                with last:
                    carry(e, sums.values()[0], e.at(h_), slope_, pool_, e.at(to_), to_row_, e.at(codes_, BYTE))
                with before:
                    sums.keep(kept_)

        e.where_is(columns_, WIDTHS, tile)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, f32, i64, i64, i64, i64, i64, i64, i64), code


@intrinsic
def carry_one(typing, d, h, slope, pool, to, to_row, codes):
    """The gradient of one output, where it is known already, carried back to its sums."""
    def code(context, builder, signature, args):
        d_, h_, slope_, pool_, to_, to_row_, codes_ = args
        e = Emit(builder)
        carry(e, [e.load(e.at(d_))], e.at(h_), e.fill(slope_), pool_, e.at(to_), to_row_, e.at(codes_, BYTE))
        return context.get_dummy_value()
    return types.none(i64, i64, f32, i64, i64, i64, i64), code


@intrinsic
def weight_tile(typing, columns, x, d, places, first, last, partial, bias, begins):
    """partial[k] += d * x[place of k + position], over a row of positions; at `bias`, the sum of d, at the first chunk.

    A vector a survivor: its lanes are summed once a step.
    """
    def code(context, builder, signature, args):
        columns_, x_, d_, places_, first_, last_, partial_, bias_, begins_ = args
        e = Emit(builder)
        x_, d_, places_, partial_, bias_ = e.at(x_), e.at(d_), e.at(places_, INT), e.at(partial_), e.at(bias_)

        def tile(n):
            d = [e.load(d_, c) for c in range(n)]
            with builder.if_then(e.is_not(begins_, 0)):
                e.store(e.sum([e.load(bias_), *d]), bias_)
            with e.each(first_, last_) as k:
                here = e.further(x_, builder.sext(e.item(places_, k), I64))
                to = e.further(partial_, e.times(k, SIDE))
                chains = [e.load(to)]  # Four at a time: each product waits for the one before it in its sum.
                for c in range(n):
                    value = e.load(here, c)
                    if 0 < c < 4:
                        chains.append(builder.fmul(d[c], value))
                    else:
                        chains[c % 4] = e.fma(d[c], value, chains[c % 4])
                e.store(e.sum(chains), to)

        e.where_is(columns_, LEARNT, tile)
        return context.get_dummy_value()
    return types.none(i64, i64, i64, i64, i64, i64, i64, i64, i64), code
