"""bfloat16 in memory: the upper halves of float32, as their bits."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sweepstake.engine.kernels.llvm import Lanes, address, vector


@intrinsic(prefer_literal=True)
def load_half(typing, array, at, n):
    """array[at : at + n], the upper halves of float32, as float32."""
    def code(context, builder, signature, args):
        count = n.literal_value
        halves, words = (ir.VectorType(ir.IntType(bits), count) for bits in (16, 32))
        read = builder.load(address(context, builder, array, args[0], args[1], halves))
        read.align = 2
        upper = builder.shl(builder.zext(read, words), ir.Constant(words, [16] * count))
        return builder.bitcast(upper, vector(count))
    return Lanes(n.literal_value)(array, types.int64, n), code


@intrinsic
def store_half(typing, array, at, lanes):
    """array[at : at + n] = lanes, each rounded to the nearest bfloat16, ties to even."""
    def code(context, builder, signature, args):
        words, halves = (ir.VectorType(ir.IntType(bits), lanes.n) for bits in (32, 16))

        def all_(value):
            return ir.Constant(words, [value] * lanes.n)

        bits = builder.bitcast(args[2], words)
        even = builder.and_(builder.lshr(bits, all_(16)), all_(1))
        rounded = builder.lshr(builder.add(bits, builder.add(even, all_(0x7FFF))), all_(16))
        there = address(context, builder, array, args[0], args[1], halves)
        builder.store(builder.trunc(rounded, halves), there).align = 2
        return context.get_dummy_value()
    return types.none(array, types.int64, lanes), code


@intrinsic
def widened(typing, half):
    """One bfloat16, given as its bits, as float32."""
    def code(context, builder, signature, args):
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(args[0], word), ir.Constant(word, 16)), ir.FloatType())
    return types.float32(types.uint16), code


@intrinsic
def store_pairs(typing, array, at, low, high):
    """array[at : at + 2 n] = low and high in turns, each rounded to the nearest bfloat16."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), low.n)

        def all_(value):
            return ir.Constant(words, [value] * low.n)

        def rounded(lanes):
            bits = builder.bitcast(lanes, words)
            return builder.add(bits, builder.add(builder.and_(builder.lshr(bits, all_(16)), all_(1)), all_(0x7FFF)))

        pairs = builder.or_(builder.lshr(rounded(args[2]), all_(16)), builder.and_(rounded(args[3]), all_(0xFFFF0000)))
        builder.store(pairs, address(context, builder, array, args[0], args[1], words)).align = 2
        return context.get_dummy_value()
    return types.none(array, types.int64, low, high), code
