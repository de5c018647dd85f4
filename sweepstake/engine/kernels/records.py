"""What the kernels are given: sizes, where each layer's things begin, and arrays, in records.

A record is a NamedTuple of arrays and numbers: to the compiler each field is a value of its own.
"""

from typing import NamedTuple

import numpy as np
from numba.core.registry import cpu_target

f32, u32, u64 = np.float32, np.uint32, np.uint64

PANEL = 64
"""Images side by side."""
_MACHINE = cpu_target.target_context.codegen().magic_tuple()  # pyright: ignore[reportAttributeAccessIssue]
FEATURES = _MACHINE[2].split(",")
"""Of the CPU that numba compiles for, as the names in its cache say it: this one, or what NUMBA_CPU_FEATURES says."""
WIDE = 64 if "+avx512f" in FEATURES else 16
"""Lanes of a dense tile: 6 rows of 4 AVX-512 registers, or 6 of 2 AVX2 registers, stay in registers."""
ROWS, COLUMNS = 6, 64
TILE = ROWS * COLUMNS
ACROSS = min(WIDE, 32)
"""Columns of a tile whose gradient is held in registers at once: fewer are more often dark together."""
TALL = WIDE // ACROSS
"""Tiles, one below the other, of which they are held."""

LAYER = np.dtype([(name, np.int64) for name in (
    "kind",                     # its place in kinds.KINDS
    "rows", "columns", "row_tiles", "column_tiles",
    "w", "bias", "drift",       # in the parameters; drift = -1: none
    "bits",                     # dense: which weights of a tile's row are alive
    "by_row", "by_column",      # sparse: this layer's starts, in `starts`
    "chunks",                   # sparse: of columns, so that a chunk's inputs stay in the first cache
    "x", "x_panel", "x_row",    # the input's activations; from panel to panel, and unit to unit: 64, or 32 as `levels`
    "z", "z_panel",             # the output's
    "turned", "turned_row",     # dense: the input image by image; from image to image
    "dark",                     # dense: the inputs' dark values, in `darks`; begins at 0 where any is other than 0
    "unit", "width",            # the output's units in the whole network: the first in `units`, and how many there are
)])


class Batches(NamedTuple):
    """The images of a split, and how a batch of them is laid out: x[f] = (level - shift[f]) * unit[f]."""

    images: int         # in a batch
    order: np.ndarray   # int32   (steps * images): which image comes when
    labels: np.ndarray  # int64   (all images)
    levels: np.ndarray  # uint8   (all images, width): pixels, filled up to a multiple of 16
    place: np.ndarray   # int32   (width): the input that a pixel is, or -1: it is not computed
    shift: np.ndarray   # float32 (width)
    unit: np.ndarray    # float32 (width)
    begins: np.ndarray  # int64   (PANEL): room for where a panel's images begin in `levels`
    block: np.ndarray   # uint8   (16, PANEL): room for 16 pixels of a panel's images


class Layout(NamedTuple):
    """Where what is computed of a network lies. It is only read."""

    layers: np.ndarray      # LAYER   (layers)
    units: np.ndarray       # int64   (units of all layers): which of its layer's each is
    bias_alive: np.ndarray  # float32 (units of all layers): 1, or 0 where a bias is pruned
    still: np.ndarray       # float32 (2 * rows + 1): see bias.offset; the last is the still inputs' value
    darks: np.ndarray       # float32 (2 * columns): of the first layer's inputs; 0 for the others'
    bits: np.ndarray        # uint64  (dense tiles, ROWS): a bit a weight
    starts: np.ndarray      # int64   where a sparse row, or column, begins
    places: np.ndarray      # int32   (survivors): of a sparse weight's input, in x
    sources: np.ndarray     # int32   (survivors by column): of a sparse weight, in w
    targets: np.ndarray     # int32   (survivors by column): of a sparse weight's output, in z
    swept: int              # parameters from here on are stepped in one sweep


class State(NamedTuple):
    """Parameters in the layout's order; the arrays that an optimiser does not have are empty."""

    w: np.ndarray  # float32 (size)
    m: np.ndarray  # float32 (size): the first moment, or the momentum
    v: np.ndarray  # float32 (size): the second moment
    g: np.ndarray  # float32 (size + 8): the gradient


class Room(NamedTuple):
    """What a step works in."""

    act: np.ndarray     # float32 (each layer's panels, units, PANEL): x, z and h, each layer's behind the one's before
    gain: np.ndarray    # float32 as `act`: dh / dz
    delta: np.ndarray   # float32 as `act`: dloss / dz
    turned: np.ndarray  # float32 (images, columns + 16): dense layers' inputs, image by image
    back: np.ndarray    # float32 (images + 1, units): a dense layer's delta, image by image, and its sum
    tile_g: np.ndarray  # float32 (TALL, TILE): the gradient of the tiles in hand
    lit: np.ndarray     # int32   inputs, or images, that are lit
    ends: np.ndarray    # int64   (columns / ACROSS): where the images of each group of columns end in `lit`
