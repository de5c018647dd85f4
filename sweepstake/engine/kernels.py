"""The compiled step: forward, backward and optimiser over what is computed of a pruned network, one core, no allocation.

Activations lie unit by unit with the images of a batch side by side, 64 of them a *panel*: a[unit, lane]. A panel's row is 256
bytes, aligned to 64. `Lanes(n)` is n float32 held in registers; LLVM cuts it to what the CPU has (four AVX-512 registers, eight
AVX2). All arrays are flat; a record of LAYER says where each layer's things begin.

    forward    z[r]    = b[r] + sum_j w[r, j] * x[j]            (lane by lane)
               h       = z * gain,  gain = (1 where z > 0, else slope) * dropout
    loss       d       = (softmax(z) - onehot(y)) / B           (output layer)
    backward   d_in[j] = gain[j] * sum_r w[r, j] * d[r]
               g[r, j] = sum over lanes of d[r] * x[j];   g of b[r] = sum over lanes of d[r]

A layer is *sparse* (its surviving weights in rows, and an index by columns for d_in) or *dense* (tiles of 6 x 64 weights). An input is
*lit* in an image where it is not `dark`: 0, or the pixel's commonest value where none is 0. A dense layer is given x - dark, so that what is dark
is 0 and left out, whatever its weight; what that takes is the same in every image, and is added: sum_j w[r, j] * dark[j] to z[r],
dark[j] * sum over lanes of d[r] to g[r, j]. A sparse layer waits for the cache, not for its products: where its input is images' levels
times one `unit`, it reads *levels*, two to a place, and multiplies what it has summed.
Everything is in this one file because numba's disk cache looks at the file of the function it compiled and at no other.
"""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# (An intrinsic is written with its typing context and called without; Lanes are numba's types, not Python's.)

import math
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

f32, u32, u64 = np.float32, np.uint32, np.uint64

PANEL = 64
"""Images side by side."""
FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
"""Of the CPU that numba compiles for, as the names in its cache say it: this one, or what NUMBA_CPU_FEATURES says."""
WIDE = 64 if "+avx512f" in FEATURES else 16
"""Lanes of a dense tile: 6 rows of 4 AVX-512 registers, or 6 of 2 AVX2 registers, stay in registers."""
ROWS, COLUMNS = 6, 64
TILE = ROWS * COLUMNS
ACROSS = min(WIDE, 32)
"""Columns of a tile whose gradient is held in registers at once: fewer are more often dark together."""
TALL = WIDE // ACROSS
"""Tiles, one below the other, of which they are held."""
SGD, MOMENTUM, ADAM = 0, 1, 2

LAYER = np.dtype([(name, np.int64) for name in (
    "dense", "rows", "columns", "row_tiles", "column_tiles",
    "w", "bias", "drift",       # in the parameters; drift = -1: none
    "bits",                     # dense: which weights of a tile's row are alive
    "by_row", "by_column",      # sparse: this layer's starts, in `starts`
    "chunks",                   # sparse: rows are stored chunk by chunk of columns, so that a chunk's inputs stay in the first cache
    "x", "x_panel", "x_row",    # the input's activations, the distance between its panels, and between its units: 64, or 32 as `levels`
    "z", "z_panel",             # the output's
    "turned", "turned_row",     # dense: the input image by image, and the distance between its images
    "dark",                     # dense: the inputs' values where nothing is lit, in `darks`; begins at 0 where any is other than 0
    "unit", "width",            # the output's units in the whole network: first of them in `units`, and how many there are
)])
RULE = np.dtype([("kind", np.int64), *((name, f32) for name in ("l2", "momentum", "beta1_rest", "beta2", "beta2_rest", "eps"))])
PACE = np.dtype([("rate", f32), ("second", f32), ("decay", f32)])
"""A step's own numbers: lr (Adam: over the first bias correction), 1 / sqrt(the second's), and AdamW's 1 - lr * decay."""


# Lanes: the operations on them that the kernels below are written in.

class Lanes(types.Type):
    """n float32 in registers."""

    def __init__(self, n: int):
        self.n = n
        super().__init__(name=f"Lanes({n})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes):
        super().__init__(dmm, fe_type, _vector(fe_type.n))


def _vector(n: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), n)


def _mask(indices: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), indices)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(context.make_array(array_type)(context, builder, array).data, [at]), kind.as_pointer())


def _call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic(prefer_literal=True)
def load(typing, array, at, n):
    """array[at : at + n]"""
    def code(context, builder, signature, args):
        read = builder.load(_pointer(context, builder, array, args[0], args[1], _vector(n.literal_value)))
        read.align = 4
        return read
    return Lanes(n.literal_value)(array, types.int64, n), code


@intrinsic(prefer_literal=True)
def store(typing, array, at, lanes):
    """array[at : at + n] = lanes"""
    def code(context, builder, signature, args):
        builder.store(args[2], _pointer(context, builder, array, args[0], args[1], args[2].type)).align = 4
        return context.get_dummy_value()
    return types.none(array, types.int64, lanes), code


@intrinsic
def item(typing, array, at):
    """array[at]; numba's own indexing asks first whether `at` is negative, which costs as much as the rest of a product."""
    def code(context, builder, signature, args):
        read = builder.load(builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]]))
        return builder.sext(read, ir.IntType(64)) if isinstance(array.dtype, types.Integer) else read
    return (types.int64 if isinstance(array.dtype, types.Integer) else array.dtype)(array, types.int64), code


@intrinsic(prefer_literal=True)
def widen(typing, array, at, n):
    """array[at : at + n] of bytes, as float32."""
    def code(context, builder, signature, args):
        read = builder.load(_pointer(context, builder, array, args[0], args[1], ir.VectorType(ir.IntType(8), n.literal_value)))
        read.align = 1
        return builder.uitofp(read, _vector(n.literal_value))
    return Lanes(n.literal_value)(array, types.int64, n), code


@intrinsic
def store_levels(typing, array, at, lanes):
    """64 whole numbers below 256 into 32 places: of each float32 the upper half, which is all of it, i's beside (i + 32)'s."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), 32)
        low, high = (builder.bitcast(builder.shuffle_vector(args[2], args[2], _mask(list(range(o, o + 32)))), words) for o in (0, 32))
        both = builder.or_(builder.lshr(low, ir.Constant(words, [16] * 32)), high)
        builder.store(both, _pointer(context, builder, array, args[0], args[1], words)).align = 4
        return context.get_dummy_value()
    return types.none(array, types.int64, lanes), code


@intrinsic
def load_levels(typing, array, at):
    """What `store_levels` stored, in 64 lanes."""
    def code(context, builder, signature, args):
        words = ir.VectorType(ir.IntType(32), 32)
        both = builder.load(_pointer(context, builder, array, args[0], args[1], words))
        both.align = 4
        low, high = builder.shl(both, ir.Constant(words, [16] * 32)), builder.and_(both, ir.Constant(words, [0xFFFF0000] * 32))
        return _joined(builder, [builder.bitcast(each, _vector(32)) for each in (low, high)])
    return Lanes(64)(array, types.int64), code


def _spread(builder: Any, scalar: Any, n: int) -> Any:
    blank = ir.Constant(_vector(n), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(blank, scalar, ir.Constant(ir.IntType(32), 0)), blank, _mask([0] * n))


@intrinsic(prefer_literal=True)
def fill(typing, scalar, n):
    """The scalar in every lane."""
    def code(context, builder, signature, args):
        return _spread(builder, args[0], n.literal_value)
    return Lanes(n.literal_value)(types.float32, n), code


@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once; a may be a scalar."""
    def code(context, builder, signature, args):
        first = args[0] if isinstance(a, Lanes) else _spread(builder, args[0], b.n)
        return _call(builder, f"llvm.fma.v{b.n}f32", args[1].type, [first, *args[1:]])
    return b(a if isinstance(a, Lanes) else types.float32, b, c), code


@intrinsic
def root(typing, a):
    """The square root of every lane."""
    def code(context, builder, signature, args):
        return _call(builder, f"llvm.sqrt.v{a.n}f32", args[0].type, args)
    return a(a), code


@intrinsic
def total(typing, a):
    """The sum over lanes, in one fixed order of halves."""
    def code(context, builder, signature, args):
        left, n = args[0], a.n
        while n > 1:
            n //= 2
            low, high = (builder.shuffle_vector(left, left, _mask(list(range(o, o + n)))) for o in (0, n))
            left = builder.fadd(low, high)
        return builder.extract_element(left, ir.Constant(ir.IntType(32), 0))
    return types.float32(a), code


@intrinsic(prefer_literal=True)
def part(typing, a, at, n):
    """Lanes at .. at + n."""
    def code(context, builder, signature, args):
        return builder.shuffle_vector(args[0], args[0], _mask(list(range(at.literal_value, at.literal_value + n.literal_value))))
    return Lanes(n.literal_value)(a, at, n), code


@intrinsic(prefer_literal=True)
def fold(typing, a, b, stride):
    """Lane i holds a[i] + a[i ^ stride] where the bit `stride` of i is 0, and b[i] + b[i ^ stride] where it is 1."""
    def code(context, builder, signature, args):
        pick = [a.n * bool(i & stride.literal_value) for i in range(a.n)]
        here, there = _mask([i + p for i, p in enumerate(pick)]), _mask([(i ^ stride.literal_value) + p for i, p in enumerate(pick)])
        return builder.fadd(builder.shuffle_vector(args[0], args[1], here), builder.shuffle_vector(args[0], args[1], there))
    return a(a, b, stride), code


def _interleaved(builder: Any, rows: list[Any]) -> list[Any]:
    """16 vectors of 16, turned over: four times, rows i and i + 8 lane by lane."""
    low, high = (_mask([o + i // 2 + 16 * (i % 2) for i in range(16)]) for o in (0, 8))
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
            read.append(builder.load(_pointer(context, builder, array, args[0], builder.add(begin, args[2]), kind)))
            read[-1].align = 1
        for c, turned in enumerate(_interleaved(builder, read)):
            place = builder.add(args[4], ir.Constant(ir.IntType(64), 64 * c))
            builder.store(turned, _pointer(context, builder, out, args[3], place, kind)).align = 1
        return context.get_dummy_value()
    return types.none(array, rows, types.int64, out, types.int64), code


@intrinsic
def fetch(typing, array, at):
    """Ask for the cache line of array[at], to have it in the second cache when it is read; changes no number."""
    def code(context, builder, signature, args):
        pointer = builder.bitcast(builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]]), ir.IntType(8).as_pointer())
        said = [ir.Constant(ir.IntType(32), each) for each in (0, 2, 1)]  # To read; into the second cache; data.
        _call(builder, "llvm.prefetch", ir.VoidType(), [pointer, *said])
        return context.get_dummy_value()
    return types.none(array, types.int64), code


@intrinsic
def turn_floats(typing, array, at, row, out, to, out_row):
    """out[to + out_row c + i] = array[at + row i + c] for 16 c and 16 i."""
    def code(context, builder, signature, args):
        def place(begin, stride, i):
            return builder.add(begin, builder.mul(stride, ir.Constant(ir.IntType(64), i)))

        read = [builder.load(_pointer(context, builder, array, args[0], place(args[1], args[2], i), _vector(16))) for i in range(16)]
        for each in read:
            each.align = 4
        for c, turned in enumerate(_interleaved(builder, read)):
            builder.store(turned, _pointer(context, builder, out, args[3], place(args[4], args[5], c), turned.type)).align = 4
        return context.get_dummy_value()
    return types.none(array, types.int64, types.int64, out, types.int64, types.int64), code


@intrinsic
def where_positive(typing, z, yes, no):
    """`yes` in the lanes where z > 0, else `no`."""
    def code(context, builder, signature, args):
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(args[0].type, [0.0] * z.n))
        return builder.select(positive, _spread(builder, args[1], z.n), _spread(builder, args[2], z.n))
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
def of(typing, a, i):
    """Lane i."""
    def code(context, builder, signature, args):
        return builder.extract_element(args[0], args[1])
    return types.float32(a, types.int64), code


@intrinsic
def where_alive(typing, bits, a):
    """a in the lanes whose bit is 1, else 0."""
    def code(context, builder, signature, args):
        alive = builder.bitcast(builder.trunc(args[0], ir.IntType(a.n)) if a.n < 64 else args[0], ir.VectorType(ir.IntType(1), a.n))
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


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors one behind the other."""
    while len(parts) > 1:
        n = parts[0].type.count
        parts = [builder.shuffle_vector(low, high, _mask(list(range(2 * n)))) for low, high in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


@intrinsic(prefer_literal=True)
def again(typing, a, times):
    """a's lanes, `times` times."""
    def code(context, builder, signature, args):
        return _joined(builder, [args[0]] * times.literal_value)
    return Lanes(a.n * times.literal_value)(a, times), code


@intrinsic(prefer_literal=True)
def fill_each(typing, array, at, n, stride, times):
    """array[at] in n lanes, array[at + stride] in the next, and so on."""
    def code(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        where = [builder.add(args[1], ir.Constant(ir.IntType(64), i * stride.literal_value)) for i in range(times.literal_value)]
        return _joined(builder, [_spread(builder, builder.load(builder.gep(data, [each])), n.literal_value) for each in where])
    return Lanes(n.literal_value * times.literal_value)(array, types.int64, n, stride, times), code


@intrinsic(prefer_literal=True)
def store_alive(typing, out, at, n, bits, bit, next_, shift, a):
    """Each n lanes of a, a tile apart; 0 in the lanes whose bit is 0, of bits[bit], bits[bit + next_], ... from `shift` on."""
    def code(context, builder, signature, args):
        count, words = n.literal_value, context.make_array(bits)(context, builder, args[3]).data
        for i in range(a.n // count):
            lanes = builder.shuffle_vector(args[7], args[7], _mask(list(range(count * i, count * i + count))))
            place = builder.add(args[4], builder.mul(args[5], ir.Constant(ir.IntType(64), i)))
            word = builder.lshr(builder.load(builder.gep(words, [place])), args[6])
            alive = builder.bitcast(builder.trunc(word, ir.IntType(count)), ir.VectorType(ir.IntType(1), count))
            kept = builder.select(alive, lanes, ir.Constant(lanes.type, [0.0] * count))
            to = builder.add(args[1], ir.Constant(ir.IntType(64), i * TILE))
            builder.store(kept, _pointer(context, builder, out, args[0], to, kept.type)).align = 4
        return context.get_dummy_value()
    return types.none(out, types.int64, n, bits, types.int64, types.int64, types.uint64, a), code


def _operation(python: Any, llvm: str) -> None:
    @type_callable(python)
    def _type(context):
        return lambda a, b: a if isinstance(a, Lanes) and a == b else None

    @lower_builtin(python, Lanes, Lanes)
    def _code(context, builder, signature, args):
        return getattr(builder, llvm)(*args)


for _python, _llvm in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _operation(_python, _llvm)


# Sparse layers.

@njit
def offset(layer, w, still, r):
    """b[r], and what the still inputs (the same in every image) add to it: their weights all move by one `drift`."""
    if layer.drift < 0:
        return w[layer.bias + r]
    return w[layer.bias + r] + still[2 * r] + still[2 * r + 1] * w[layer.drift + r]


@njit
def load_floats(array, at):
    return load(array, at, 64)


def _of_both(made: Any) -> Any:
    """A sparse layer's kernel for inputs that lie as floats and for those that lie as levels; a loop for each, or LLVM spills the sums."""
    of_floats, of_levels = made(load_floats), made(load_levels)

    @njit
    def of_both(layer, unit, *others):
        if layer.x_row < PANEL:
            of_levels(layer, unit, *others)
        else:
            of_floats(layer, f32(1), *others)
    return of_both


@_of_both
def sparse_forward(read):
    @njit
    def forward(layer, scale, panel, w, still, starts, places, act):
        """z[r] = b[r] + scale * sum_j w[r, j] * x[j], in two sums, for each product waits for the one before it in its sum."""
        x, z = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel
        for chunk in range(layer.chunks):
            first = layer.by_row + chunk * layer.rows
            for r in range(layer.rows):
                j, last = starts[first + r], starts[first + r + 1]
                sum_, other = load(act, z + r * PANEL, 64) if chunk else fill(f32(0), 64), fill(f32(0), 64)
                while j + 1 < last:
                    sum_ = fma(item(w, j), read(act, x + item(places, j)), sum_)
                    other = fma(item(w, j + 1), read(act, x + item(places, j + 1)), other)
                    j += 2
                if j < last:
                    sum_ = fma(item(w, j), read(act, x + item(places, j)), sum_)
                sum_ = sum_ + other
                if chunk == layer.chunks - 1:
                    sum_ = fma(scale, sum_, fill(offset(layer, w, still, r), 64))
                store(act, z + r * PANEL, sum_)
    return forward


@njit
def sparse_backward(layer, panel, w, starts, sources, targets, delta, gain):
    """d_in[j] = gain[j] * sum_r w[r, j] * d[r]"""
    x, z = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel
    for c in range(layer.columns):
        sum_ = fill(f32(0), 64)
        for i in range(starts[layer.by_column + c], starts[layer.by_column + c + 1]):
            sum_ = fma(item(w, item(sources, i)), load(delta, z + item(targets, i), 64), sum_)
        store(delta, x + c * PANEL, sum_ * load(gain, x + c * PANEL, 64))


@njit
def products(d, x):
    """d * x in 64 lanes, added up to 16."""
    sum_ = part(d, 0, 16) * part(x, 0, 16)
    sum_ = fma(part(d, 16, 16), part(x, 16, 16), sum_)
    sum_ = fma(part(d, 32, 16), part(x, 32, 16), sum_)
    return fma(part(d, 48, 16), part(x, 48, 16), sum_)


@_of_both
def sparse_gradient(read):
    @njit
    def eight_dots(d, act, x, places, j):
        """Lane i of 8: the sum over lanes of d * x[j + i]. Eight at a time, because folding them together costs as much as folding one."""
        a = fold(products(d, read(act, x + item(places, j))), products(d, read(act, x + item(places, j + 4))), 4)
        b = fold(products(d, read(act, x + item(places, j + 1))), products(d, read(act, x + item(places, j + 5))), 4)
        c = fold(products(d, read(act, x + item(places, j + 2))), products(d, read(act, x + item(places, j + 6))), 4)
        e = fold(products(d, read(act, x + item(places, j + 3))), products(d, read(act, x + item(places, j + 7))), 4)
        eight = fold(fold(a, c, 2), fold(b, e, 2), 1)
        return part(fold(eight, eight, 8), 0, 8)

    @njit
    def gradient(layer, scale, panels, starts, places, act, delta, g):
        """g[r, j] = scale * sum over lanes of d[r] * x[j]

        The last eight of a row run on into the next row's places, which that row then overwrites; the last row's, into padding.
        """
        for chunk in range(layer.chunks):
            first = layer.by_row + chunk * layer.rows
            for r in range(layer.rows):
                for panel in range(panels):
                    x = layer.x + panel * layer.x_panel
                    d = load(delta, layer.z + panel * layer.z_panel + r * PANEL, 64) * fill(scale, 64)
                    for j in range(starts[first + r], starts[first + r + 1], 8):
                        dots = eight_dots(d, act, x, places, j)
                        store(g, j, dots if panel == 0 else dots + load(g, j, 8))
        store(g, starts[layer.by_row + layer.chunks * layer.rows], fill(f32(0), 8))
    return gradient


# Dense layers: w in tiles of 6 rows x 64 columns, row by row of tiles.

@njit
def unlit(layer, w, still, darks, r):
    """What z[r] is in an image where nothing is lit."""
    base = offset(layer, w, still, r)
    if layer.dark == 0:
        at, sum_ = layer.w + r // ROWS * layer.column_tiles * TILE + r % ROWS * COLUMNS, fill(f32(0), 64)
        for tile in range(layer.column_tiles):
            sum_ = fma(load(w, at + tile * TILE, 64), load(darks, tile * COLUMNS, 64), sum_)
        base += total(sum_)
    return base


@njit
def dense_forward(layer, panel, w, still, darks, act, lit):
    """z[r] = unlit[r] + sum_k w[r, k] * (x[k] - dark[k]), six rows at a time; an input that is dark in all 64 images is left out."""
    x, z, count = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel, 0
    for k in range(layer.columns):
        lit[count] = k
        count += any_lit(load(act, x + k * PANEL, 64))
    for row_tile in range(layer.row_tiles):
        r, row = row_tile * ROWS, layer.w + row_tile * layer.column_tiles * TILE
        zero, one, two, three, four, five = (
            unlit(layer, w, still, darks, r), unlit(layer, w, still, darks, r + 1), unlit(layer, w, still, darks, r + 2),
            unlit(layer, w, still, darks, r + 3), unlit(layer, w, still, darks, r + 4), unlit(layer, w, still, darks, r + 5))
        for lane in range(0, PANEL, WIDE):
            a = fill(zero, WIDE)
            b = fill(one, WIDE)
            c = fill(two, WIDE)
            d = fill(three, WIDE)
            e = fill(four, WIDE)
            f = fill(five, WIDE)
            for n in range(count):
                k = item(lit, n)
                at, input_ = row + (k // COLUMNS) * TILE + k % COLUMNS, load(act, x + k * PANEL + lane, WIDE)
                a = fma(item(w, at), input_, a)
                b = fma(item(w, at + COLUMNS), input_, b)
                c = fma(item(w, at + 2 * COLUMNS), input_, c)
                d = fma(item(w, at + 3 * COLUMNS), input_, d)
                e = fma(item(w, at + 4 * COLUMNS), input_, e)
                f = fma(item(w, at + 5 * COLUMNS), input_, f)
            out = z + r * PANEL + lane
            store(act, out, a)
            store(act, out + PANEL, b)
            store(act, out + 2 * PANEL, c)
            store(act, out + 3 * PANEL, d)
            store(act, out + 4 * PANEL, e)
            store(act, out + 5 * PANEL, f)


@njit
def dense_backward(layer, panel, w, delta, gain):
    """d_in[k] = gain[k] * sum_r w[r, k] * d[r], four columns at a time."""
    x, z = layer.x + panel * layer.x_panel, layer.z + panel * layer.z_panel
    for k in range(0, layer.columns, 4):
        at = layer.w + k // COLUMNS * TILE + k % COLUMNS
        for lane in range(0, PANEL, WIDE):
            a = fill(f32(0), WIDE)
            b = fill(f32(0), WIDE)
            c = fill(f32(0), WIDE)
            d = fill(f32(0), WIDE)
            for r in range(layer.row_tiles * ROWS):
                here = at + r // ROWS * layer.column_tiles * TILE + r % ROWS * COLUMNS
                out = load(delta, z + r * PANEL + lane, WIDE)
                a = fma(item(w, here), out, a)
                b = fma(item(w, here + 1), out, b)
                c = fma(item(w, here + 2), out, c)
                d = fma(item(w, here + 3), out, d)
            into = x + k * PANEL + lane
            store(delta, into, a * load(gain, into, WIDE))
            store(delta, into + PANEL, b * load(gain, into + PANEL, WIDE))
            store(delta, into + 2 * PANEL, c * load(gain, into + 2 * PANEL, WIDE))
            store(delta, into + 3 * PANEL, d * load(gain, into + 3 * PANEL, WIDE))


def _tile_gradient(tiles: int) -> Any:
    @njit
    def tile_gradient(layer, row_tile, column, first, last, lit, bits, bit, turned, back, sums, height, darks, g):
        """g[r, k] = dark[k] * sum d[r] + sum over images of d[r] * (x[k] - dark[k]), of ACROSS columns and the rows of some tiles; 0 where
        the mask is. The images are lit[first : last], those in which one of these columns is lit.
        """
        rows, columns = row_tile * ROWS, layer.turned + column
        x, at = again(load(darks, layer.dark + column, ACROSS), tiles), sums + rows
        a = fill_each(back, at, ACROSS, ROWS, tiles) * x
        b = fill_each(back, at + 1, ACROSS, ROWS, tiles) * x
        c = fill_each(back, at + 2, ACROSS, ROWS, tiles) * x
        d = fill_each(back, at + 3, ACROSS, ROWS, tiles) * x
        e = fill_each(back, at + 4, ACROSS, ROWS, tiles) * x
        f = fill_each(back, at + 5, ACROSS, ROWS, tiles) * x
        for n in range(first, last):
            i = item(lit, n)
            x = again(load(turned, columns + i * layer.turned_row, ACROSS), tiles)
            at = rows + i * height
            a = fma(fill_each(back, at, ACROSS, ROWS, tiles), x, a)
            b = fma(fill_each(back, at + 1, ACROSS, ROWS, tiles), x, b)
            c = fma(fill_each(back, at + 2, ACROSS, ROWS, tiles), x, c)
            d = fma(fill_each(back, at + 3, ACROSS, ROWS, tiles), x, d)
            e = fma(fill_each(back, at + 4, ACROSS, ROWS, tiles), x, e)
            f = fma(fill_each(back, at + 5, ACROSS, ROWS, tiles), x, f)
        at, shift, next_ = column % COLUMNS, np.uint64(column % COLUMNS), layer.column_tiles * ROWS
        store_alive(g, at, ACROSS, bits, bit, next_, shift, a)
        store_alive(g, at + COLUMNS, ACROSS, bits, bit + 1, next_, shift, b)
        store_alive(g, at + 2 * COLUMNS, ACROSS, bits, bit + 2, next_, shift, c)
        store_alive(g, at + 3 * COLUMNS, ACROSS, bits, bit + 3, next_, shift, d)
        store_alive(g, at + 4 * COLUMNS, ACROSS, bits, bit + 4, next_, shift, e)
        store_alive(g, at + 5 * COLUMNS, ACROSS, bits, bit + 5, next_, shift, f)
    return tile_gradient


tile_gradient_tall, tile_gradient_one = _tile_gradient(TALL), _tile_gradient(1)


@njit
def dense_update(layer, images, w, m, v, bits, turned, delta, back, darks, tile_g, lit, ends, rule, pace):
    """The gradient of a few tiles at a time, and at once their step: gradients of a dense layer never go to memory."""
    count, height = 0, layer.z_panel // PANEL
    for column in range(0, layer.columns, ACROSS):
        for i in range(images):
            lit[count] = i
            count += any_lit(load(turned, layer.turned + i * layer.turned_row + column, ACROSS))
        ends[column // ACROSS] = count
    for i in range(0, images, 16):
        d = layer.z + i // PANEL * layer.z_panel + i % PANEL
        for r in range(0, height, 16):
            turn_floats(delta, d + r * PANEL, PANEL, back, i * height + r, height)
    sums = (images + 15) // 16 * 16 * height
    for r in range(0, height, 16):
        sum_ = fill(f32(0), 16)
        for i in range(images):
            sum_ = sum_ + load(back, i * height + r, 16)
        store(back, sums + r, sum_)
    row_tile = 0
    while row_tile < layer.row_tiles:
        tiles = TALL if layer.row_tiles - row_tile >= TALL else 1
        for tile in range(layer.column_tiles):
            number, stop = row_tile * layer.column_tiles + tile, min(tile * COLUMNS + COLUMNS, layer.columns)
            bit = layer.bits + number * ROWS
            for column in range(tile * COLUMNS, stop, ACROSS):
                first, last = ends[column // ACROSS - 1] if column else 0, ends[column // ACROSS]
                if tiles == TALL:
                    tile_gradient_tall(layer, row_tile, column, first, last, lit, bits, bit, turned, back, sums, height, darks, tile_g)
                else:
                    tile_gradient_one(layer, row_tile, column, first, last, lit, bits, bit, turned, back, sums, height, darks, tile_g)
            width = (stop - tile * COLUMNS + ACROSS - 1) // ACROSS * ACROSS
            for one in range(tiles):
                at = layer.w + (number + one * layer.column_tiles) * TILE
                if width == COLUMNS:
                    optimise(w, m, v, at, TILE, tile_g, one * TILE, rule, pace)
                else:
                    for row in range(0, TILE, COLUMNS):
                        optimise(w, m, v, at + row, width, tile_g, one * TILE + row, rule, pace)
        row_tile += tiles


# What all layers share.

@njit
def optimise(w, m, v, at, count, g, g_at, rule, pace):
    """One step of `count` parameters (a multiple of 16).

    sgd: w -= lr g.   momentum: m = mu m + g, w -= lr m.
    adam: m += (1 - b1)(g - m), v = b2 v + (1 - b2) g^2, w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
    g is the gradient + l2 * w; AdamW multiplies w by 1 - lr * decay first.
    """
    for i in range(0, count, 16):
        old = load(w, at + i, 16)
        grad = fma(rule.l2, old, load(g, g_at + i, 16))
        if rule.kind == ADAM:
            first = load(m, at + i, 16)
            first = fma(rule.beta1_rest, grad - first, first)
            second = fma(rule.beta2_rest, grad * grad, fill(rule.beta2, 16) * load(v, at + i, 16))
            store(m, at + i, first)
            store(v, at + i, second)
            move = first / fma(pace.second, root(second), fill(rule.eps, 16))
            store(w, at + i, fma(-pace.rate, move, fill(pace.decay, 16) * old))
        else:
            if rule.kind == MOMENTUM:
                grad = fma(rule.momentum, load(m, at + i, 16), grad)
                store(m, at + i, grad)
            store(w, at + i, fma(-pace.rate, grad, old))


@njit
def bias_gradient(layer, panels, delta, still, bias_alive, g):
    """g of b[r] = sum over lanes of d[r]; and of the still inputs' drift, the same times their value."""
    for r in range(layer.rows):
        sum_ = load(delta, layer.z + r * PANEL, 64)
        for panel in range(1, panels):
            sum_ = sum_ + load(delta, layer.z + panel * layer.z_panel + r * PANEL, 64)
        slope = total(sum_)
        g[layer.bias + r] = bias_alive[layer.unit + r] * slope
        if layer.drift >= 0:
            g[layer.drift + r] = still[2 * layer.row_tiles * ROWS] * slope


@njit
def mixed(x):
    """A bijection of 32 bits with no pattern left (lowbias32, Wellons 2018)."""
    x = u32(x ^ (x >> u32(16)))
    x = u32(x * u32(0x7FEB352D))
    x = u32(x ^ (x >> u32(15)))
    x = u32(x * u32(0x846CA68B))
    return u32(x ^ (x >> u32(16)))


@njit
def lowest(slope):
    """What z is at least taken for: a ReLU of minus infinity is 0, where 0 * infinity is not a number."""
    return f32(-np.inf) if slope else f32(-3.4e38)


@njit
def activate(layer, panel, slope, act, gain):
    """gain = 1 where z > 0, else slope; h = z * gain."""
    z, least = layer.z + panel * layer.z_panel, fill(lowest(slope), 64)
    for r in range(layer.rows):
        value = load(act, z + r * PANEL, 64)
        factor = where_positive(value, f32(1), slope)
        store(gain, z + r * PANEL, factor)
        store(act, z + r * PANEL, at_least(value, least) * factor)


@njit
def drop(layer, panel, key, below, units, act, gain):
    """streams.dropout_keeps: image i's unit u lives where mixed(mixed((i * width + u) ^ low) + high) < below; survivors / (1 - p)."""
    z = layer.z + panel * layer.z_panel
    low, high = u32(key & np.uint64(0xFFFFFFFF)), u32(key >> np.uint64(32))
    scale = f32(4294967296.0 / below)
    for r in range(layer.rows):
        for i in range(PANEL):
            index = u32((panel * PANEL + i) * layer.width + units[layer.unit + r])
            draw = mixed(u32(mixed(u32(index ^ low)) + high))
            factor = scale if draw < below else f32(0)
            gain[z + r * PANEL + i] *= factor
            act[z + r * PANEL + i] *= factor


@njit
def turn(layer, images, act, turned):
    """A layer's input, image by image: what the gradient of a dense layer reads."""
    for i in range(0, images, 16):
        x, row = layer.x + i // PANEL * layer.x_panel + i % PANEL, layer.turned + i * layer.turned_row
        for c in range(0, layer.columns, 16):
            turn_floats(act, x + c * PANEL, PANEL, turned, row + c, layer.turned_row)


@njit
def show(layer, chosen, first, images, pixels, act):
    """Lay out a batch: x = (level - shift[f]) * unit[f] for the inputs f that are computed, 16 of them and 64 images at a time."""
    levels, place, shift, unit, rows, block = pixels
    for panel in range(0, images, PANEL):
        x = layer.x + panel // PANEL * layer.x_panel
        for i in range(PANEL):  # Beyond the batch, its last image once more: any numbers would do, nobody's loss has them.
            rows[i] = chosen[first + min(panel + i, images - 1)] * len(place)
        for f in range(0, len(place), 16):
            if f % 64 == 0:  # The next batch's, from memory.
                for i in range(panel, min(panel + PANEL, images, len(chosen) - first - images)):
                    fetch(levels, chosen[first + images + i] * len(place) + f)
            for i in range(0, PANEL, 16):
                turn_bytes(levels, rows, f, block, i)
            for c in range(16):
                if place[f + c] >= 0:
                    level, to = widen(block, c * PANEL, 64), x + place[f + c] * layer.x_row
                    if layer.x_row < PANEL:
                        store_levels(act, to, level)
                    else:
                        store(act, to, (level - fill(shift[f + c], 64)) * fill(unit[f + c], 64))


@njit
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


@njit
def cross_entropy(layer, panel, images, labels, chosen, first, act, delta):
    """d = (softmax(z) - onehot(y)) / B; returns the summed loss, log sum_c exp(z_c) - z_y."""
    z, loss, share = layer.z + panel * layer.z_panel, 0.0, f32(1) / f32(images)
    for lane in range(0, PANEL, 16):
        begin, count = z + lane, min(max(images - panel * PANEL - lane, 0), 16)
        top = load(act, begin, 16)
        for c in range(1, layer.rows):
            top = at_least(top, load(act, begin + c * PANEL, 16))
        sum_ = fill(f32(0), 16)
        for c in range(layer.rows):
            each = exp(load(act, begin + c * PANEL, 16) - top)
            store(delta, begin + c * PANEL, each)
            sum_ = sum_ + each
        scale = where_alive(u64((1 << count) - 1), fill(share, 16) / sum_)
        for c in range(layer.rows):
            store(delta, begin + c * PANEL, load(delta, begin + c * PANEL, 16) * scale)
        for i in range(count):
            label = labels[chosen[first + panel * PANEL + lane + i]]
            loss += math.log(of(sum_, i)) + of(top, i) - act[begin + label * PANEL + i]
            delta[begin + label * PANEL + i] -= share
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def train_steps(first, last, images, order, labels, pixels, layers, w, m, v, g, tile_g, still, bias_alive, bits, starts, places,
                sources, targets, units, act, gain, delta, turned, back, darks, lit, ends, swept, rule, paces, slope, drop_keys, drop_below):
    """Steps first .. last - 1 of a round; returns the sum over steps of the mean loss."""
    panels, depth, loss, unit = (images + PANEL - 1) // PANEL, len(layers), 0.0, pixels[3][0]
    for step in range(first, last):
        pace = paces[step]
        show(layers[0], order, step * images, images, pixels, act)
        if layers[0].dense:
            turn(layers[0], images, act, turned)
        for n in range(depth):
            layer = layers[n]
            for panel in range(panels):
                if layer.dense:
                    dense_forward(layer, panel, w, still, darks, act, lit)
                else:
                    sparse_forward(layer, unit, panel, w, still, starts, places, act)
                if n + 1 < depth:
                    activate(layer, panel, slope, act, gain)
                    if drop_below < 4294967296:
                        drop(layer, panel, drop_keys[step * (depth - 1) + n], drop_below, units, act, gain)
            if n + 1 < depth and layers[n + 1].dense:
                turn(layers[n + 1], images, act, turned)
        out = layers[depth - 1]
        summed = 0.0
        for panel in range(panels):
            summed += cross_entropy(out, panel, images, labels, order, step * images, act, delta)
        loss += summed / images
        for n in range(depth - 1, -1, -1):
            layer = layers[n]
            if n > 0:
                for panel in range(panels):
                    if layer.dense:
                        dense_backward(layer, panel, w, delta, gain)
                    else:
                        sparse_backward(layer, panel, w, starts, sources, targets, delta, gain)
            if layer.dense:
                dense_update(layer, images, w, m, v, bits, turned, delta, back, darks, tile_g, lit, ends, rule, pace)
            else:
                sparse_gradient(layer, unit, panels, starts, places, act, delta, g)
            bias_gradient(layer, panels, delta, still, bias_alive, g)
        optimise(w, m, v, swept, len(w) - swept, g, swept, rule, pace)
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(count, everything, labels, pixels, layers, w, still, darks, starts, places, act, gain, lit, slope):
    """The summed loss and the number of images whose largest output is their label (the first of equals)."""
    depth, loss, correct, unit = len(layers), 0.0, 0, pixels[3][0]
    out = layers[depth - 1]
    for first in range(0, count, PANEL):
        images = min(PANEL, count - first)
        show(layers[0], everything, first, images, pixels, act)
        for n in range(depth):
            if layers[n].dense:
                dense_forward(layers[n], 0, w, still, darks, act, lit)
            else:
                sparse_forward(layers[n], unit, 0, w, still, starts, places, act)
            if n + 1 < depth:
                activate(layers[n], 0, slope, act, gain)
        for i in range(images):
            top, best = act[out.z + i], 0
            for c in range(1, out.rows):
                if act[out.z + c * PANEL + i] > top:
                    top, best = act[out.z + c * PANEL + i], c
            sum_ = 0.0
            for c in range(out.rows):
                sum_ += math.exp(act[out.z + c * PANEL + i] - top)
            label = labels[first + i]
            loss += math.log(sum_) + float(top) - float(act[out.z + label * PANEL + i])
            correct += best == label
    return loss, correct
