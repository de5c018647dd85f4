"""The sizes that tiles and blocks are compiled for."""

from collections.abc import Sequence

from sweepstake.engine.kernels.records import WIDE

KERNEL = 3
"""The side of a dense layer's kernels."""
REGISTERS_OF_512_BITS = WIDE == 64
WIDTHS = (16, 14, 12, 10, 8, 4, 2, 1) if REGISTERS_OF_512_BITS else (6, 4, 2, 1)
"""Positions of a row that a tile has: as many as registers hold."""
POOLED = (14, 12, 10, 8, 4, 2) if REGISTERS_OF_512_BITS else (2,)
"""The same of two rows."""
LEARNT = (16, 14, 12, 10, 8, 4, 2, 1)
"""Positions of a row whose part of a weight's gradient is summed at once. The same on every CPU: another width would
sum in another order. Of the other sizes no sum's order depends."""
OUTPUTS = (6, 4, 1) if REGISTERS_OF_512_BITS else (1,)
"""Outputs of a dense block."""
ACROSS = (4, 1)
"""And its positions."""


def cover(count: int, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """(first, size) of the fewest tiles of these sizes that cover `count`, the largest first.

    One of them is 1, or 2 where the count is even.
    """
    fewest: dict[int, list[int]] = {0: []}
    for n in range(1, count + 1):
        options = [[*fewest[n - size], size] for size in sizes if n - size in fewest]
        if options:
            fewest[n] = min(options, key=len)
    chosen = sorted(fewest[count], reverse=True)
    return [(sum(chosen[:i]), size) for i, size in enumerate(chosen)]
