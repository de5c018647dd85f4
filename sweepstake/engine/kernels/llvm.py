"""What intrinsics are written with: a type of numba's for registers, and LLVM's instructions on vectors."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model


class Lanes(types.Type):
    """n float32 in registers; LLVM cuts them to what the CPU has: 64 are four of AVX-512, eight of AVX2."""

    def __init__(self, n: int):
        self.n = n
        super().__init__(name=f"Lanes({n})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes):
        super().__init__(dmm, fe_type, vector(fe_type.n))


def vector(n: int) -> ir.VectorType:
    """n float32."""
    return ir.VectorType(ir.FloatType(), n)


def indices(which: list[int]) -> ir.Constant:
    """What a shuffle picks."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(which)), which)


def address(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    """Of array[at], where something of that kind is read or written."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """One of LLVM's own functions."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def spread(builder: Any, scalar: Any, n: int) -> Any:
    """The scalar in every one of n lanes."""
    blank = ir.Constant(vector(n), ir.Undefined)
    first = builder.insert_element(blank, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, blank, indices([0] * n))


def joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors one behind the other."""
    while len(parts) > 1:
        n = parts[0].type.count
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [builder.shuffle_vector(low, high, indices(list(range(2 * n)))) for low, high in pairs]
    return parts[0]
