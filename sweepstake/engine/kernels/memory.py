"""Between memory and lanes: arrays of float32, bytes and levels, read, written and turned over."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sweepstake.engine.kernels.llvm import Lanes, address, call, indices, joined, spread, vector
from sweepstake.engine.kernels.records import TILE


@intrinsic(prefer_literal=True)
def load(typing, array, at, n):
    """array[at : at + n]"""
    def code(context, builder, signature, args):
        read = builder.load(address(context, builder, array, args[0], args[1], vector(n.literal_value)))
        read.align = 4
        return read
    return Lanes(n.literal_value)(array, types.int64, n), code


@intrinsic(prefer_literal=True)
def store(typing, array, at, lanes):
    """array[at : at + n] = lanes"""
    def code(context, builder, signature, args):
        builder.store(args[2], address(context, builder, array, args[0], args[1], args[2].type)).align = 4
        return context.get_dummy_value()
    return types.none(array, types.int64, lanes), code


@intrinsic
def item(typing, array, at):
    """array[at]. numba's own indexing asks first whether `at` is negative: as long as the rest of a product."""
    def code(context, builder, signature, args):
        read = builder.load(builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]]))
        return builder.sext(read, ir.IntType(64)) if isinstance(array.dtype, types.Integer) else read
    return (types.int64 if isinstance(array.dtype, types.Integer) else array.dtype)(array, types.int64), code


@intrinsic(prefer_literal=True)
def fill_each(typing, array, at, n, stride, times):
    """array[at] in n lanes, array[at + stride] in the next, and so on."""
    def code(context, builder, signature, args):
        data, step = context.make_array(array)(context, builder, args[0]).data, stride.literal_value
        where = [builder.add(args[1], ir.Constant(ir.IntType(64), i * step)) for i in range(times.literal_value)]
        read = [builder.load(builder.gep(data, [each])) for each in where]
        return joined(builder, [spread(builder, each, n.literal_value) for each in read])
    return Lanes(n.literal_value * times.literal_value)(array, types.int64, n, stride, times), code


@intrinsic(prefer_literal=True)
def store_alive(typing, out, at, n, bits, bit, next_, shift, a):
    """Each n lanes of a, a tile apart; 0 where their bit is 0: of bits[bit], bits[bit + next_], ... from `shift` on."""
    def code(context, builder, signature, args):
        count, words = n.literal_value, context.make_array(bits)(context, builder, args[3]).data
        for i in range(a.n // count):
            lanes = builder.shuffle_vector(args[7], args[7], indices(list(range(count * i, count * i + count))))
            place = builder.add(args[4], builder.mul(args[5], ir.Constant(ir.IntType(64), i)))
            word = builder.lshr(builder.load(builder.gep(words, [place])), args[6])
            alive = builder.bitcast(builder.trunc(word, ir.IntType(count)), ir.VectorType(ir.IntType(1), count))
            kept = builder.select(alive, lanes, ir.Constant(lanes.type, [0.0] * count))
            to = builder.add(args[1], ir.Constant(ir.IntType(64), i * TILE))
            builder.store(kept, address(context, builder, out, args[0], to, kept.type)).align = 4
        return context.get_dummy_value()
    return types.none(out, types.int64, n, bits, types.int64, types.int64, types.uint64, a), code


@intrinsic(prefer_literal=True)
def widen(typing, array, at, n):
    """array[at : at + n] of bytes, as float32."""
    def code(context, builder, signature, args):
        bytes_ = ir.VectorType(ir.IntType(8), n.literal_value)
        read = builder.load(address(context, builder, array, args[0], args[1], bytes_))
        read.align = 1
        return builder.uitofp(read, vector(n.literal_value))
    return Lanes(n.literal_value)(array, types.int64, n), code


@intrinsic
def store_levels(typing, array, at, lanes):
    """64 whole numbers below 256 into 32 places: a float32's upper half, which is all of it, i's beside (i + 32)'s."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), 32)
        parts = [builder.shuffle_vector(args[2], args[2], indices(list(range(o, o + 32)))) for o in (0, 32)]
        low, high = (builder.bitcast(each, words) for each in parts)
        both = builder.or_(builder.lshr(low, ir.Constant(words, [16] * 32)), high)
        builder.store(both, address(context, builder, array, args[0], args[1], words)).align = 4
        return context.get_dummy_value()
    return types.none(array, types.int64, lanes), code


@intrinsic
def load_levels(typing, array, at):
    """What `store_levels` stored, in 64 lanes."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), 32)
        both = builder.load(address(context, builder, array, args[0], args[1], words))
        both.align = 4
        low = builder.shl(both, ir.Constant(words, [16] * 32))
        high = builder.and_(both, ir.Constant(words, [0xFFFF0000] * 32))
        return joined(builder, [builder.bitcast(each, vector(32)) for each in (low, high)])
    return Lanes(64)(array, types.int64), code


def _interleaved(builder: Any, rows: list[Any]) -> list[Any]:
    """16 vectors of 16, turned over: four times, rows i and i + 8 lane by lane."""
    low, high = (indices([o + i // 2 + 16 * (i % 2) for i in range(16)]) for o in (0, 8))
    for _ in range(4):
        rows = [builder.shuffle_vector(rows[i // 2], rows[i // 2 + 8], high if i % 2 else low) for i in range(16)]
    return rows


@intrinsic
def turn_bytes(typing, array, rows, at, out, to):
    """out[64 c + to + i] = array[rows[to + i] + at + c] for 16 c and 16 i."""
    def code(context, builder, signature, args):
        kind, from_ = ir.VectorType(ir.IntType(8), 16), context.make_array(rows)(context, builder, args[1]).data
        read = []
        for i in range(16):
            begin = builder.load(builder.gep(from_, [builder.add(args[4], ir.Constant(ir.IntType(64), i))]))
            read.append(builder.load(address(context, builder, array, args[0], builder.add(begin, args[2]), kind)))
            read[-1].align = 1
        for c, turned in enumerate(_interleaved(builder, read)):
            place = builder.add(args[4], ir.Constant(ir.IntType(64), 64 * c))
            builder.store(turned, address(context, builder, out, args[3], place, kind)).align = 1
        return context.get_dummy_value()
    return types.none(array, rows, types.int64, out, types.int64), code


@intrinsic
def turn_floats(typing, array, at, row, out, to, out_row):
    """out[to + out_row c + i] = array[at + row i + c] for 16 c and 16 i."""
    def code(context, builder, signature, args):
        def place(begin, stride, i):
            return builder.add(begin, builder.mul(stride, ir.Constant(ir.IntType(64), i)))

        read = []
        for i in range(16):
            here = address(context, builder, array, args[0], place(args[1], args[2], i), vector(16))
            read.append(builder.load(here))
            read[-1].align = 4
        for c, turned in enumerate(_interleaved(builder, read)):
            there = address(context, builder, out, args[3], place(args[4], args[5], c), turned.type)
            builder.store(turned, there).align = 4
        return context.get_dummy_value()
    return types.none(array, types.int64, types.int64, out, types.int64, types.int64), code


@intrinsic
def fetch(typing, array, at):
    """Ask for the cache line of array[at], to have it in the second cache when it is read; changes no number."""
    def code(context, builder, signature, args):
        line = address(context, builder, array, args[0], args[1], ir.IntType(8))
        said = [ir.Constant(ir.IntType(32), each) for each in (0, 2, 1)]  # To read; into the second cache; data.
        call(builder, "llvm.prefetch", ir.VoidType(), [line, *said])
        return context.get_dummy_value()
    return types.none(array, types.int64), code
