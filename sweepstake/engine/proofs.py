"""Controls prove themselves: each round checks that what it claims to be, it is. A broken control fails its cell, by name."""

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl
from sweepstake.engine.network import Net
from sweepstake.pieces import reset


def counts_are_exact(net: Net, cell: Cell, asked: dict[str, int], mask: Tensor) -> str:
    """Every layer keeps exactly as many weights (or units) as it was asked to."""
    for slot in net.prunable:
        if slot.layer in asked:
            alive = slot.of(mask)
            if cell.granularity == "unit":
                left = int(alive.flatten(1).any(1).sum())
            else:
                bias = net.bias_of(slot)
                left = int(alive.sum()) + (int(bias.of(mask).sum()) if cell.prune_biases and bias else 0)
            if left != asked[slot.layer] and cell.granularity == "weight":
                raise BrokenControl(f"{slot.layer} keeps {left:,} where {asked[slot.layer]:,} were asked")
    return "exact"


def the_dead_are_zero(w: Tensor, mask: Tensor) -> float:
    """Pruned weights are exactly 0 after training: no moment and no decay revived one. Returns the largest."""
    largest = float(w[~mask].abs().max()) if bool((~mask).any()) else 0.0
    if largest != 0.0:
        raise BrokenControl(f"a pruned weight is {largest!r} after training, not 0")
    return largest


def reset_is_what_it_says(net: Net, cell: Cell, w: Tensor, mask: Tensor, source: Tensor, w_init: Tensor) -> dict[str, float | str]:
    """Survivors equal their source bit for bit (rewind, none), or are a new draw that does not follow the old one (fresh),
    or the old values in other places (shuffled)."""
    kind = reset.get(cell.reset.name).traits.get("source", "unchecked")
    proof: dict[str, float | str] = {"reset": kind}
    if kind == "exact" and not torch.equal(w[mask], source[mask]):
        raise BrokenControl(f"reset = {cell.reset.name}: survivors differ from their source by {float((w - source)[mask].abs().max())!r}")
    for slot in net.weights:
        alive = slot.of(mask)
        now, first = slot.of(w)[alive], slot.of(w_init)[alive]
        if kind == "shuffled" and not torch.equal(now.sort().values, first.sort().values):
            raise BrokenControl(f"reset = {cell.reset.name}: {slot.layer} does not hold the same values any more")
        if kind in ("fresh", "shuffled") and len(now) >= 100 and float(first.std()) > 0 and float(now.std()) > 0:
            correlation = float(torch.corrcoef(torch.stack([now.double(), first.double()]))[0, 1])
            proof[f"correlation.{slot.layer}"] = correlation
            # 6 standard deviations of the correlation of independent draws.
            if abs(correlation) > 6 / len(now) ** 0.5:
                raise BrokenControl(f"reset = {cell.reset.name}: {slot.layer} follows its old weights (correlation {correlation:.3f})")
    return proof


def shuffle_moved(net: Net, before: Tensor, after: Tensor) -> str:
    """A shuffled mask differs from the one it shuffles, and keeps its counts."""
    for slot in net.prunable:
        was, now = slot.of(before), slot.of(after)
        if int(was.sum()) != int(now.sum()):
            raise BrokenControl(f"control = shuffle: {slot.layer} keeps {int(now.sum()):,}, the mask it shuffles {int(was.sum()):,}")
    if torch.equal(before, after) and bool((~before).any()) and int(before.sum()) > 100:
        raise BrokenControl("control = shuffle: the mask did not change")
    return "moved"
