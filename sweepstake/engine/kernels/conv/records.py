"""What the kernels of convolutions are given."""

from typing import NamedTuple

import numpy as np

SIDE = 16
"""Images that lie side by side: a strip."""

CONV = np.dtype([(name, np.int64) for name in (
    "dense",                    # 1: every weight of the computed block; 0: its survivors alone
    "inputs", "units", "kernel",
    "height", "width",          # of its input
    "rows", "columns",          # of what is computed of its output, before the pooling
    "pool",                     # NONE, LARGEST or AVERAGE
    "x", "x_strip",             # its input, in `act`, from the border's corner; and from strip to strip
    "x_channel", "x_row",       # from channel to channel, and row to row
    "x_inside",                 # from the border's corner to the first position
    "out", "out_panel", "out_strip", "out_channel", "out_row", "out_column",  # its output, in `act`, likewise
    "averaged",                 # positions that are averaged to the input of the first linear layer; 0: not
    "mean", "mean_panel", "mean_strip", "mean_channel",  # where to, likewise
    "codes", "codes_strip", "codes_channel", "codes_row",  # how each output was pooled
    "d", "d_channel", "d_row", "d_inside",  # the gradient of its sums, in `maps`, of one strip, with its own border
    "tiles", "tile_count",                  # which tiles cover a row of its output; pooled: two rows
    "back_tiles", "back_tile_count",        # a row of its input
    "learn_tiles", "learn_tile_count",      # a row of the gradient of its sums
    "unit_blocks", "unit_block_count",      # dense: which blocks cover its units
    "input_blocks", "input_block_count",    # and its inputs
    "chunks", "back_chunks",                # sparse: of its inputs, and of its units
    "by_row", "by_column",      # sparse: where a unit's, or an input's, survivors begin is in `starts` from here on;
                                # dense: its places begin here
    "even", "back_even",        # dense: 1 where its output, and its input, are even in number both ways
    "u",                        # dense: its transformed weights, in `u`
    "w", "turned",              # dense: its first weight, among the survivors
    "bias",                     # its first bias, in all parameters
    "bias_sums",                # the bias gradients' vectors, in `partial`
    "unit",                     # its first unit, in `bias_alive`
)])


class ConvLayout(NamedTuple):
    """Where what is computed of the convolutions lies. It is only read.

    Survivors are the weights of all convolutions that have a place: those alive, and a dense layer's dead ones.
    """

    convs: np.ndarray          # CONV   (convolutions)
    tiles: np.ndarray          # int64  (tiles and blocks, 2): the first column (or unit), and how many
    starts: np.ndarray         # int64
    places: np.ndarray         # int32  (survivors): where each begins to read its input, from the output's position
    turned_places: np.ndarray  # int32  (survivors): where each begins to read the gradient, on the way back
    sources: np.ndarray        # int32  (survivors): in the order of the way back, which each is
    alive: np.ndarray          # bool   (survivors)
    bias_alive: np.ndarray     # bool   (units)
    first: int                 # the first survivor, in all parameters


class ConvRoom(NamedTuple):
    """What a step works in, besides a Room whose `act` holds the maps too."""

    codes: np.ndarray    # uint8   (strips, each pooled map)
    maps: np.ndarray     # float32 (each map of sums, with its border): gradients of one strip
    turned: np.ndarray   # float32 (survivors): weights in the order of the way back
    u: np.ndarray        # float32 (16 a kernel of dense layers): transformed weights
    spread: np.ndarray   # float32 (16, channels, 4, SIDE): transformed tiles
    products: np.ndarray  # float32 (16, channels, 4, SIDE): what comes of them
    transformed: np.ndarray  # bool (convolutions): which are computed so, in this step
    kept: np.ndarray     # float32 (channels, tile): sums of a tile from chunk to chunk
    partial: np.ndarray  # float32 (survivors + units, SIDE): gradients, a sum a lane


class Pictures(NamedTuple):
    """The images of a split, and how a batch of them is laid out: x[f] = (level - shift[f]) * unit[f]."""

    images: int         # in a batch
    order: np.ndarray   # int32   (steps * images): which image comes when
    labels: np.ndarray  # int64   (all images)
    levels: np.ndarray  # uint8   (all images, width): pixels, filled up to a multiple of 16
    place: np.ndarray   # int32   (width): of a pixel, in the first convolution's input; -1: it is not computed
    shift: np.ndarray   # float32 (width)
    unit: np.ndarray    # float32 (width)
    begins: np.ndarray  # int64   (SIDE): room for where a strip's images begin in `levels`
    block: np.ndarray   # uint8   (16, 64): room for 16 pixels of a strip's images


class Hand(NamedTuple):
    """What a pass over a layer works with."""

    layout: ConvLayout
    w: np.ndarray         # float32 (survivors)
    biases: np.ndarray    # float32 (all parameters)
    slope: np.float32     # of the activation, below 0
    least: np.float32     # what a sum is at least taken for
    act: np.ndarray
    codes: np.ndarray
    maps: np.ndarray
    turned: np.ndarray
    u: np.ndarray
    spread: np.ndarray
    products: np.ndarray
    transformed: np.ndarray
    kept: np.ndarray
    partial: np.ndarray
