"""A batch laid out from rows of bytes."""

# pyright: basic, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from sweepstake.engine.kernels.cache import inner
from sweepstake.engine.kernels.lanes import fill
from sweepstake.engine.kernels.memory import fetch, store, store_levels, turn_bytes, widen
from sweepstake.engine.kernels.records import PANEL


@inner
def show(layer, batches, first, images, act):
    """order[first : first + images] -> the first layer's x: (panels, inputs, 64), or levels, two to a place.

    64 images and 16 pixels at a time, of which those that are inputs are kept. The batch that follows is fetched.
    """
    chosen, levels, place, shift, unit = batches.order, batches.levels, batches.place, batches.shift, batches.unit
    begins, block = batches.begins, batches.block
    for panel in range(0, images, PANEL):
        x = layer.x + panel // PANEL * layer.x_panel
        for i in range(PANEL):  # Beyond the batch, its last image once more: any numbers would do, no loss has them.
            begins[i] = chosen[first + min(panel + i, images - 1)] * len(place)
        for f in range(0, len(place), 16):
            if f % 64 == 0:  # The next batch's, from memory.
                for i in range(panel, min(panel + PANEL, images, len(chosen) - first - images)):
                    fetch(levels, chosen[first + images + i] * len(place) + f)
            for i in range(0, PANEL, 16):
                turn_bytes(levels, begins, f, block, i)  # (16 images, 16 pixels) -> (16 pixels, 16 images)
            for c in range(16):
                if place[f + c] >= 0:
                    level, to = widen(block, c * PANEL, 64), x + place[f + c] * layer.x_row  # (64 images,)
                    if layer.x_row < PANEL:
                        store_levels(act, to, level)
                    else:
                        store(act, to, (level - fill(shift[f + c], 64)) * fill(unit[f + c], 64))
