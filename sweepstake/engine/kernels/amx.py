"""The CPU's own tiles (AMX): eight of 16 rows of 64 bytes, and the product of two matrices in them."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false

import ctypes
import sys
from functools import cache

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sweepstake.engine.kernels.cache import compiled
from sweepstake.engine.kernels.halves import store_half
from sweepstake.engine.kernels.llvm import address, call
from sweepstake.engine.kernels.memory import load


@cache
def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16, and Linux, asked for it, lets this process."""
    features = llvmlite.binding.get_host_cpu_features()
    if not (sys.platform == "linux" and features.get("amx-tile") and features.get("amx-bf16")):
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


def _amx(builder, name, arguments):
    call(builder, f"llvm.x86.{name}", ir.VoidType(), arguments)


def _byte(value):
    return ir.Constant(ir.IntType(8), value)


@intrinsic(prefer_literal=True)
def tile_zero(typing, tile):
    """tile = 0"""
    def code(context, builder, signature, args):
        _amx(builder, "tilezero", [_byte(tile.literal_value)])
        return context.get_dummy_value()
    return types.none(tile), code


@intrinsic(prefer_literal=True)
def tile_load(typing, tile, array, at, stride):
    """tile = 16 rows of 64 bytes of the array, the first from element `at`, `stride` bytes apart."""
    def code(context, builder, signature, args):
        begin = address(context, builder, array, args[1], args[2], ir.IntType(8))
        _amx(builder, "tileloadd64", [_byte(tile.literal_value), begin, args[3]])
        return context.get_dummy_value()
    return types.none(tile, array, types.int64, types.int64), code


@intrinsic(prefer_literal=True)
def tile_store(typing, tile, array, at, stride):
    """16 rows of 64 bytes of the array = tile."""
    def code(context, builder, signature, args):
        begin = address(context, builder, array, args[1], args[2], ir.IntType(8))
        _amx(builder, "tilestored64", [_byte(tile.literal_value), begin, args[3]])
        return context.get_dummy_value()
    return types.none(tile, array, types.int64, types.int64), code


@intrinsic(prefer_literal=True)
def tile_multiply(typing, into, a, b):
    """into += a @ b, 16 x 32 by 32 x 16."""
    def code(context, builder, signature, args):
        _amx(builder, "tdpbf16ps", [_byte(each.literal_value) for each in (into, a, b)])
        return context.get_dummy_value()
    return types.none(into, a, b), code


@intrinsic
def tiles_begin(typing, array):
    """The tiles' shapes, from 64 bytes of the array."""
    def code(context, builder, signature, args):
        pointer = context.make_array(array)(context, builder, args[0]).data
        _amx(builder, "ldtilecfg", [builder.bitcast(pointer, ir.IntType(8).as_pointer())])
        return context.get_dummy_value()
    return types.none(array), code


@intrinsic
def tiles_end(typing):
    """Tiles hold nothing any more, and cost nothing at a change of process."""
    def code(context, builder, signature, args):
        _amx(builder, "tilerelease", [])
        return context.get_dummy_value()
    return types.none(), code


@compiled(nogil=True)
def multiply(a, a_row, b, b_row, out, rows, columns, depth, shapes, block):
    """out = a @ b in tiles of 16 x 16 float32, 2 x 2 at a time, rounded once.

    a: (rows, depth) bfloat16, row r from r * a_row on. b: (depth / 2, b_row, 2), pairs of its rows side by side, and 0
    beyond the depth. out: (rows, columns). What is read of `a` beyond its rows and of b beyond its columns is not kept.
    """
    tiles_begin(shapes)
    for r in range(0, rows, 32):
        for c in range(0, columns, 32):
            tile_zero(0)
            tile_zero(1)
            tile_zero(2)
            tile_zero(3)
            for k in range(0, depth, 32):
                tile_load(4, a, r * a_row + k, 2 * a_row)
                tile_load(5, a, (r + 16) * a_row + k, 2 * a_row)
                tile_load(6, b, k * b_row + 2 * c, 4 * b_row)
                tile_load(7, b, k * b_row + 2 * c + 32, 4 * b_row)
                tile_multiply(0, 4, 6)
                tile_multiply(1, 4, 7)
                tile_multiply(2, 5, 6)
                tile_multiply(3, 5, 7)
            tile_store(0, block, 0, 128)
            tile_store(1, block, 16, 128)
            tile_store(2, block, 512, 128)
            tile_store(3, block, 528, 128)
            width = min(32, columns - c)
            for row in range(min(32, rows - r)):
                at = (r + row) * columns + c
                for i in range(0, width - 15, 16):
                    store_half(out, at + i, load(block, row * 32 + i, 16))
                for i in range(width // 16 * 16, width):
                    store_half(out, at + i, load(block, row * 32 + i, 1))
    tiles_end()
