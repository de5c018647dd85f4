"""Operations on lanes: numbers held in registers, all of them at once."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, type_callable

from sweepstake.engine.kernels.llvm import Lanes, call, indices, joined, spread


@intrinsic(prefer_literal=True)
def fill(typing, scalar, n):
    """The scalar in every lane."""
    def code(context, builder, signature, args):
        return spread(builder, args[0], n.literal_value)
    return Lanes(n.literal_value)(types.float32, n), code


@intrinsic(prefer_literal=True)
def again(typing, a, times):
    """a's lanes, `times` times."""
    def code(context, builder, signature, args):
        return joined(builder, [args[0]] * times.literal_value)
    return Lanes(a.n * times.literal_value)(a, times), code


@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once; a may be a scalar."""
    def code(context, builder, signature, args):
        first = args[0] if isinstance(a, Lanes) else spread(builder, args[0], b.n)
        return call(builder, f"llvm.fma.v{b.n}f32", args[1].type, [first, *args[1:]])
    return b(a if isinstance(a, Lanes) else types.float32, b, c), code


@intrinsic
def root(typing, a):
    """The square root of every lane."""
    def code(context, builder, signature, args):
        return call(builder, f"llvm.sqrt.v{a.n}f32", args[0].type, args)
    return a(a), code


@intrinsic
def total(typing, a):
    """The sum over lanes, in one fixed order of halves."""
    def code(context, builder, signature, args):
        left, n = args[0], a.n
        while n > 1:
            n //= 2
            low, high = (builder.shuffle_vector(left, left, indices(list(range(o, o + n)))) for o in (0, n))
            left = builder.fadd(low, high)
        return builder.extract_element(left, ir.Constant(ir.IntType(32), 0))
    return types.float32(a), code


@intrinsic(prefer_literal=True)
def part(typing, a, at, n):
    """Lanes at .. at + n."""
    def code(context, builder, signature, args):
        first, count = at.literal_value, n.literal_value
        return builder.shuffle_vector(args[0], args[0], indices(list(range(first, first + count))))
    return Lanes(n.literal_value)(a, at, n), code


@intrinsic(prefer_literal=True)
def fold(typing, a, b, stride):
    """Lane i holds a[i] + a[i ^ stride] where the bit `stride` of i is 0, and b[i] + b[i ^ stride] where it is 1."""
    def code(context, builder, signature, args):
        pick = [a.n * bool(i & stride.literal_value) for i in range(a.n)]
        here = indices([i + p for i, p in enumerate(pick)])
        there = indices([(i ^ stride.literal_value) + p for i, p in enumerate(pick)])
        return builder.fadd(*(builder.shuffle_vector(args[0], args[1], each) for each in (here, there)))
    return a(a, b, stride), code


@intrinsic
def where_positive(typing, z, yes, no):
    """`yes` in the lanes where z > 0, else `no`."""
    def code(context, builder, signature, args):
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(args[0].type, [0.0] * z.n))
        return builder.select(positive, spread(builder, args[1], z.n), spread(builder, args[2], z.n))
    return z(z, types.float32, types.float32), code


@intrinsic
def at_least(typing, a, least):
    """The larger of the two in every lane; not a number where a is not one."""
    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[1], args[0])
    return a(a, a), code


@intrinsic
def power_of_two(typing, whole):
    """2^n, for whole = n + 1.5 * 2^23."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), whole.n)
        shifted = builder.shl(builder.bitcast(args[0], words), ir.Constant(words, [23] * whole.n))
        return builder.bitcast(builder.add(shifted, ir.Constant(words, [127 << 23] * whole.n)), args[0].type)
    return whole(whole), code


@intrinsic
def lane(typing, a, i):
    """Lane i."""
    def code(context, builder, signature, args):
        return builder.extract_element(args[0], args[1])
    return types.float32(a, types.int64), code


@intrinsic
def where_alive(typing, bits, a):
    """a in the lanes whose bit is 1, else 0."""
    def code(context, builder, signature, args):
        first = builder.trunc(args[0], ir.IntType(a.n)) if a.n < 64 else args[0]
        alive = builder.bitcast(first, ir.VectorType(ir.IntType(1), a.n))
        return builder.select(alive, args[1], ir.Constant(args[1].type, [0.0] * a.n))
    return a(types.uint64, a), code


@intrinsic
def any_lit(typing, a):
    """1 where a lane is other than 0, else 0."""
    def code(context, builder, signature, args):
        lit = builder.fcmp_unordered("!=", args[0], ir.Constant(args[0].type, [0.0] * a.n))
        bits = builder.bitcast(lit, ir.IntType(a.n))
        return builder.zext(builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(a.n), 0)), ir.IntType(64))
    return types.int64(a), code


def _operation(python: Any, llvm: str) -> None:
    @type_callable(python)
    def _type(context):
        return lambda a, b: a if isinstance(a, Lanes) and a == b else None

    @lower_builtin(python, Lanes, Lanes)
    def _code(context, builder, signature, args):
        return getattr(builder, llvm)(*args)


_operation(operator.add, "fadd")
_operation(operator.sub, "fsub")
_operation(operator.mul, "fmul")
_operation(operator.truediv, "fdiv")
