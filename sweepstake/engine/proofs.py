"""Each round checks its own claims: counts, zeros, resets, controls. A check that fails ends the cell, by name."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl
from sweepstake.engine.masks import alive_in, prunable, ranked_together
from sweepstake.engine.network import Net
from sweepstake.engine.prune import Pruned
from sweepstake.pieces import reset


def counts_are_exact(net: Net, cell: Cell, asked: dict[str, int], mask: Tensor) -> str:
    """Every layer keeps exactly as many weights (or units) as it was asked to."""
    # Behind a layer without units, no unit has a live weight.
    emptied = cell.granularity == "unit" and 0 in asked.values()
    for slot in prunable(net, cell):
        if slot.layer in asked and not emptied:
            left = int(alive_in(net, cell, slot, mask).sum())
            if left != asked[slot.layer]:
                raise BrokenControl(
                    f"{slot.layer} keeps {left:,} {cell.granularity}s where {asked[slot.layer]:,} were asked"
                )
    return "exact"


def the_dead_are_zero(w: Tensor, mask: Tensor) -> float:
    """Pruned weights are exactly 0 after training. Returns the largest of them, which is 0."""
    largest = float(w.masked_fill(mask, 0).abs().max())
    if largest != 0.0:
        raise BrokenControl(f"a pruned weight is {largest!r} after training, not 0")
    return largest


def reset_is_what_it_says(net: Net, cell: Cell, w: Tensor, mask: Tensor, sources: Mapping[str, Tensor],
                          w_init: Tensor) -> dict[str, float | str]:
    """The survivors are what the reset's `source` says.

    w_step, w_final: those weights, bit for bit. fresh, resampled: a new draw that does not follow the old weights.
    shuffled: the old values in other places. same_signs, constant_signed: other magnitudes under the old signs.
    """
    kind = reset.get(cell.reset.name).traits.get("source", "unchecked")
    proof: dict[str, float | str] = {"reset": kind}
    if kind in sources:
        if not torch.equal(w.masked_fill(~mask, 0), sources[kind].masked_fill(~mask, 0)):
            furthest = float((w - sources[kind])[mask].abs().max())
            raise BrokenControl(f"reset = {cell.reset.name}: survivors differ from their source by {furthest!r}")
        return proof
    for slot in net.weights:
        alive, whole = slot.of(mask), slot.of(w_init)
        now, first = slot.of(w)[alive], whole[alive]
        broken = _broken(kind, now, first, whole)
        if broken:
            raise BrokenControl(f"reset = {cell.reset.name}: {slot.layer} {broken}")
        if kind in DRAWN and len(now) >= 100:
            old, new = (first.abs(), now.abs()) if kind == "same_signs" else (first, now)
            if float(old.std()) == 0 or float(new.std()) == 0:
                continue
            correlation = float(torch.corrcoef(torch.stack([new.double(), old.double()]))[0, 1])
            proof[f"correlation.{slot.layer}"] = correlation
            # 6 standard deviations of the correlation of independent draws.
            if abs(correlation) > 6 / len(now) ** 0.5:
                raise BrokenControl(
                    f"reset = {cell.reset.name}: {slot.layer} follows its old weights (correlation {correlation:.3f})"
                )
    return proof


DRAWN = ("fresh", "shuffled", "resampled", "same_signs")
"""Sources that are a draw: the new weights must not correlate with the old."""


def _broken(kind: str, now: Tensor, first: Tensor, whole: Tensor) -> str:
    if kind == "shuffled" and not np.array_equal(_sorted(now), _sorted(first)):
        return "does not hold the same values any more"
    if kind == "resampled":
        known, held = _sorted(whole), _sorted(now)
        if not np.array_equal(known[np.searchsorted(known, held).clip(max=len(known) - 1)], held):
            return "holds a value its init did not"
    if kind in ("same_signs", "constant_signed") and not torch.equal(now.sign()[first != 0], first.sign()[first != 0]):
        return "has other signs than its init"
    if kind == "constant_signed":
        sizes = now[first != 0].abs()
        if len(sizes) and float(sizes.min()) != float(sizes.max()):
            return "has more than one magnitude"
    return ""


def _sorted(values: Tensor) -> np.ndarray:
    # NumPy's sort: ten times torch's on one core, and a proof is made every round.
    return np.sort(values.flatten().cpu().numpy())


def shuffle_moved(net: Net, cell: Cell, before: Tensor, after: Tensor) -> str:
    """A shuffled mask differs from the one it shuffles, and keeps its counts."""
    for slot in prunable(net, cell):
        moved = ranked_together(net, cell, slot)  # With its biases, where those are pruned among its weights.
        was, now = (sum(int(each.of(mask).sum()) for each in moved) for mask in (before, after))
        if was != now:
            raise BrokenControl(f"control = shuffle: {slot.layer} keeps {now:,}, the mask it shuffles {was:,}")
    if torch.equal(before, after) and bool((~before).any()) and int(before.sum()) > 100:
        raise BrokenControl("control = shuffle: the mask did not change")
    return "moved"


def mask_is_the_donors_moved(net: Net, mask: Tensor, donor: Tensor, drawn: Tensor) -> str:
    """A donor's mask that was shuffled: each layer's count, in other places, and those of the draw."""
    control = 'control = transplant, donor_mask = "shuffled"'
    for slot in net.weights:
        now, was = int(slot.of(mask).sum()), int(slot.of(donor).sum())
        if now != was:
            raise BrokenControl(f"{control}: {slot.layer} keeps {now:,}, the donor's mask {was:,}")
    if torch.equal(mask, donor) and bool((~donor).any()) and int(donor.sum()) > 100:
        raise BrokenControl(f"{control}: the mask is the donor's, in no other places")
    if not torch.equal(mask, drawn):
        raise BrokenControl(f"{control}: {int((mask != drawn).sum()):,} places differ from the draw")
    return "the donor's, moved"


def invert_keeps_the_lowest(net: Net, cell: Cell, was: Tensor, pruned: Pruned) -> str:
    """Under `invert` no weight that stays scores above one that goes, in any layer."""
    for slot in prunable(net, cell):
        if slot.layer in pruned.scores:
            before = alive_in(net, cell, slot, was if pruned.before is None else pruned.before)
            after = alive_in(net, cell, slot, pruned.mask)
            stays, goes = pruned.scores[slot.layer][after], pruned.scores[slot.layer][before & ~after]
            if len(stays) and len(goes) and float(stays.max()) > float(goes.min()):
                raise BrokenControl(f"control = invert: {slot.layer} keeps a score of {float(stays.max())!r} "
                                    f"and lets {float(goes.min())!r} go")
    return "lowest"


def mask_is_the_donors(mask: Tensor, donor: Tensor) -> str:
    """A transplanted mask is the donor's, bit for bit."""
    if not torch.equal(mask, donor):
        raise BrokenControl(f"control = transplant: {int((mask != donor).sum()):,} places differ from the donor's mask")
    return "the donor's"
