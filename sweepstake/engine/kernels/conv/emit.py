"""What the tiles are written with: LLVM's instructions on 16 lanes, and the streaming of survivors past registers."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sweepstake.engine.chains import AVERAGE, LARGEST, NONE
from sweepstake.engine.kernels.conv.records import SIDE
from sweepstake.engine.kernels.llvm import call, spread, vector

I64, LANES, BYTES = ir.IntType(64), vector(SIDE), ir.VectorType(ir.IntType(8), SIDE)
FLOAT, BYTE, INT = ir.FloatType(), ir.IntType(8), ir.IntType(32)


@intrinsic
def address(typing, array, at):
    """Of array[at], as a whole number: the tiles are told where things lie by such."""
    def code(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.ptrtoint(builder.gep(data, [args[1]]), I64)
    return types.int64(array, types.int64), code


class Emit:
    """Instructions on lanes: one image a lane. Methods give values, which are registers once compiled."""

    def __init__(self, builder):
        self.builder = builder

    # Memory

    def at(self, address, kind=FLOAT):
        """A pointer to what lies at an address."""
        return self.builder.inttoptr(address, kind.as_pointer())

    def further(self, pointer, elements):
        return self.builder.gep(pointer, [self.whole(elements)])

    def load(self, pointer, vectors=0):
        """16 numbers, so many vectors behind the pointer."""
        read = self.builder.load(self._vector(pointer, vectors))
        read.align = 4
        return read

    def store(self, value, pointer, vectors=0):
        self.builder.store(value, self._vector(pointer, vectors)).align = 4

    def load_bytes(self, pointer, vectors=0):
        read = self.builder.load(self._vector(pointer, vectors, BYTES))
        read.align = 1
        return read

    def store_bytes(self, value, pointer, vectors=0):
        self.builder.store(value, self._vector(pointer, vectors, BYTES)).align = 1

    def _vector(self, pointer, vectors, kind=LANES):
        return self.builder.gep(self.builder.bitcast(pointer, kind.as_pointer()), [ir.Constant(I64, vectors)])

    def item(self, pointer, at):
        return self.builder.load(self.further(pointer, at))

    # Numbers

    def whole(self, n):
        return ir.Constant(I64, n) if isinstance(n, int) else n

    def add(self, a, b):
        return self.builder.add(self.whole(a), self.whole(b))

    def times(self, a, b):
        return self.builder.mul(self.whole(a), self.whole(b))

    def is_not(self, a, n):
        return self.builder.icmp_signed("!=", a, ir.Constant(a.type, n))

    # Lanes

    def fill(self, scalar):
        return ir.Constant(LANES, [float(scalar)] * SIDE) if isinstance(scalar, int | float) else \
            spread(self.builder, scalar, SIDE)

    def bytes(self, n):
        return ir.Constant(BYTES, [n] * SIDE)

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        return call(self.builder, f"llvm.fma.v{SIDE}f32", LANES, [a, b, c])

    def positive(self, a):
        return self.builder.fcmp_ordered(">", a, self.fill(0))

    def where(self, condition, yes, no):
        return self.builder.select(condition, yes, no)

    def sum(self, parts):
        """Of several vectors, by pairs."""
        while len(parts) > 1:
            pairs = [parts[i:i + 2] for i in range(0, len(parts), 2)]
            parts = [self.builder.fadd(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        return parts[0]

    # Control

    def where_is(self, size, sizes, emit):
        """emit(n) for each n of the sizes, of which the one runs that `size` is."""
        builder = self.builder
        none, end = builder.append_basic_block(), builder.append_basic_block()
        choice = builder.switch(size, none)
        for n in sizes:
            block = builder.append_basic_block()
            choice.add_case(self.whole(n), block)
            builder.position_at_end(block)
            emit(n)
            builder.branch(end)
        builder.position_at_end(none)
        builder.unreachable()
        builder.position_at_end(end)

    def each(self, first, last):
        """A loop: `with e.each(first, last) as i`."""
        return _Loop(self.builder, self.whole(first), self.whole(last))


class _Loop:
    def __init__(self, builder, first, last):
        self.loop = cgutils.for_range_slice(builder, first, last, ir.Constant(I64, 1), I64, inc=True)

    def __enter__(self):
        return self.loop.__enter__()[0]

    def __exit__(self, *raised):
        return self.loop.__exit__(*raised)


class Sums:
    """The sums of a tile, in registers: outputs x rows x columns of positions."""

    def __init__(self, e, outputs, rows, columns):
        self.e, self.rows, self.columns = e, rows, columns
        self.held = [[cgutils.alloca_once(e.builder, LANES) for _ in range(rows * columns)] for _ in range(outputs)]

    def begin(self, values):
        """One value an output."""
        for value, each in zip(values, self.held, strict=True):
            for one in each:
                self.e.builder.store(value, one)

    def stream(self, x, x_row, w, places, first, last):
        """To each output's sums add w[k] * x[places[k] + position], over the survivors k = first .. last - 1."""
        self._stream(first, last, self._placed(x, places), x_row, lambda k: self.e.further(w, k))

    def stream_block(self, x, x_row, w, places, first, last):
        """The same, where a place has a weight for each output, side by side, and `w` is the first place's."""
        builder, outputs = self.e.builder, len(self.held)
        self._stream(first, last, self._placed(x, places), x_row,
                     lambda k: self.e.further(w, self.e.times(builder.sub(k, first), outputs)))

    def stream_matrix(self, x, w, inputs):
        """The same of a matrix: x is (inputs, columns), w is (inputs, outputs)."""
        e, outputs, wide = self.e, len(self.held), self.columns * SIDE
        self._stream(e.whole(0), inputs, lambda k: e.further(x, e.times(k, wide)), None,
                     lambda k: e.further(w, e.times(k, outputs)))

    def _placed(self, x, places):
        return lambda k: self.e.further(x, self.e.builder.sext(self.e.item(places, k), I64))

    def _stream(self, first, last, x_of, x_row, weights_of):
        e, builder = self.e, self.e.builder
        with e.each(first, last) as k:
            here = x_of(k)
            values = []
            for row in range(self.rows):
                begin = e.further(here, e.times(x_row, row)) if row else here
                values += [e.load(begin, c) for c in range(self.columns)]
            weights = weights_of(k)
            for o, each in enumerate(self.held):
                weight = e.fill(e.item(weights, o))
                for value, one in zip(values, each, strict=True):
                    builder.store(e.fma(weight, value, builder.load(one)), one)

    def values(self):
        """What they come to: a list an output."""
        return [[self.e.builder.load(one) for one in each] for each in self.held]

    def take_up(self, kept, begins):
        """Of one output: go on from what was kept, unless the chunk is the first."""
        with self.e.builder.if_then(self.e.builder.not_(self.e.is_not(begins, 0))):
            for i, one in enumerate(self.held[0]):
                self.e.builder.store(self.e.load(kept, i), one)

    def keep(self, kept):
        for i, value in enumerate(self.values()[0]):
            self.e.store(value, kept, i)


def activated(e, z, slope, least):
    """(Leaky) ReLU. Minus infinity is taken for `least`, since 0 * infinity is not a number."""
    z = e.where(e.builder.fcmp_ordered("<", z, least), least, z)
    return e.where(e.positive(z), z, e.builder.fmul(z, slope))


def largest(e, four, slope, least):
    """The largest of four sums, activated; and which it is, the first of equals. PyTorch keeps what is no number."""
    best, which = four[0], e.bytes(0)
    for i in range(1, 4):
        larger = e.builder.fcmp_ordered(">", four[i], best)
        larger = e.builder.or_(larger, e.builder.fcmp_unordered("uno", four[i], four[i]))
        best, which = e.where(larger, four[i], best), e.where(larger, e.bytes(i), which)
    return activated(e, best, slope, least), which


def average(e, four, slope, least):
    """The mean of four sums, each activated; and a bit for each sum that is above 0."""
    each, which = [activated(e, z, slope, least) for z in four], e.bytes(0)
    for i, z in enumerate(four):
        which = e.builder.or_(which, e.where(e.positive(z), e.bytes(1 << i), e.bytes(0)))
    return e.builder.fmul(e.sum(each), e.fill(0.25)), which


def store_pooled(e, by_average, fours, slope, least, to):
    """Pool each four, store it and how it was pooled. to(i): where, (in act, in codes)."""
    with e.builder.if_else(by_average) as (yes, no):
        for branch, pool in ((yes, average), (no, largest)):
            with branch:
                for i, four in enumerate(fours):
                    value, how = pool(e, four, slope, least)
                    place, code = to(i)
                    e.store(value, place)
                    e.store_bytes(how, code)


def carry(e, gradients, h, slope, pool, to, to_row, codes):
    """Gradients of adjacent outputs of a layer -> gradients of the sums they were made of, which are stored.

    h: where those outputs lie. codes: where it is said how they were pooled. to, to_row: where their sums' gradients
    go, and from their row to the next.
    """
    builder = e.builder
    gradients = [(d, e.load(h, c)) for c, d in enumerate(gradients)]
    lower = e.further(to, to_row)
    plain = builder.not_(e.is_not(pool, NONE))
    by_average = builder.not_(e.is_not(pool, AVERAGE))
    with builder.if_else(plain) as (none, pooled):
        with none:
            for c, (d, value) in enumerate(gradients):
                e.store(e.where(e.positive(value), d, builder.fmul(d, slope)), to, c)
        with pooled, builder.if_else(by_average) as (of_average, of_largest):
            with of_average:
                for c, (d, _) in enumerate(gradients):
                    quarter = builder.fmul(d, e.fill(0.25))
                    low, how = builder.fmul(quarter, slope), e.load_bytes(codes, c)
                    for i in range(4):
                        bit = builder.icmp_unsigned("!=", builder.and_(how, e.bytes(1 << i)), e.bytes(0))
                        e.store(e.where(bit, quarter, low), lower if i > 1 else to, 2 * c + i % 2)
            with of_largest:
                for c, (d, value) in enumerate(gradients):
                    d, how = e.where(e.positive(value), d, builder.fmul(d, slope)), e.load_bytes(codes, c)
                    for i in range(4):
                        chosen = builder.icmp_unsigned("==", how, e.bytes(i))
                        e.store(e.where(chosen, d, e.fill(0)), lower if i > 1 else to, 2 * c + i % 2)


assert (NONE, LARGEST, AVERAGE) == (0, 1, 2)
