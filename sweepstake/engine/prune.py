"""Score, allocate, keep the top: exact counts, ties by a seeded draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine import streams
from sweepstake.engine.network import Net, Slot
from sweepstake.pieces import allocation, criterion


def keep_top(score: Tensor, alive: Tensor, count: int, tie: Tensor) -> Tensor:
    """The mask of exactly `count` of the alive, the best by score; equal scores are ranked by `tie`, a draw.

    Not by index: thousands of exact ties are normal (weights of pixels that are always 0 never move), and "the lower
    index wins" would prune by the position in the image.
    """
    mask = torch.zeros_like(alive)
    candidates = alive.nonzero().flatten()
    if count >= len(candidates):
        return alive.clone()
    if count == 0:
        return mask
    scores = score[candidates]
    cut = torch.kthvalue(scores, len(candidates) - count + 1).values
    above, level = candidates[scores > cut], candidates[scores == cut]
    missing = count - len(above)
    mask[above] = True
    mask[level[tie[level].argsort(descending=True, stable=True)[:missing]]] = True
    return mask


def exact_counts(wishes: Sequence[float], room: Sequence[int], total: int) -> list[int]:
    """Whole counts that sum to `total` exactly and never exceed `room`; what a full layer cannot take goes to the others."""
    if total > sum(room):
        raise UserError(f"allocation: {total:,} weights are to be kept, and the layers hold only {sum(room):,}.")
    wished, full = list(map(float, wishes)), [False] * len(room)
    while True:
        free = [i for i in range(len(room)) if not full[i]]
        left = total - sum(room[i] for i in range(len(room)) if full[i])
        asked = sum(wished[i] for i in free)
        share = {i: wished[i] * left / asked if asked > 0 else left / len(free) for i in free}
        over = [i for i in free if share[i] > room[i]]
        if not over:
            break
        for i in over:
            full[i] = True
    counts = [room[i] if full[i] else floor(share[i]) for i in range(len(room))]
    by_remainder = sorted(free, key=lambda i: (floor(share[i]) - share[i], i))
    while (short := total - sum(counts)) > 0:
        for i in [i for i in by_remainder if counts[i] < room[i]][:short]:
            counts[i] += 1
    return counts


def densities(cell: Cell, slots: Sequence[Slot], rounds_done: int, output: Slot) -> list[float]:
    """The fraction of each layer's whole size that is to be left after `rounds_done` prunings."""
    keep = [cell.keep.get(slot.layer, 1.0) if isinstance(cell.keep, dict) else cell.keep for slot in slots]
    if cell.output_keep is not None:
        keep = [cell.output_keep if slot is output else k for slot, k in zip(slots, keep, strict=True)]
    return [k ** rounds_done for k in keep]


@dataclass(frozen=True)
class Pruned:
    """The next mask over all parameters, as ranked and (under a shuffle) as moved, and what was asked of each layer."""

    mask: Tensor
    ranked: Tensor
    asked: dict[str, int]


def prune(net: Net, cell: Cell, stations: dict[str, Tensor], mask: Tensor, round_: int) -> Pruned:
    """Score what is alive, share the count over the layers, keep the top of each."""
    output = net.weights[-1]
    by_unit = cell.granularity == "unit"
    slots = [slot for slot in net.prunable if not (by_unit and slot is output)]
    scores, alive, ties = {}, {}, {}
    for slot in slots:
        group = _ranked_together(net, cell, slot)
        alive[slot] = _units_alive(slot, mask) if by_unit else torch.cat([s.of(mask).flatten() for s in group])
        scores[slot] = torch.cat([score(net, cell, s, stations, mask, round_).flatten() for s in group])
        ties[slot] = streams.uniform(tuple(alive[slot].shape), cell.seed, "ties", round_, slot.name)
        if scores[slot].shape != alive[slot].shape:
            raise UserError(f'criterion = "{cell.criterion.name}": gave {scores[slot].numel():,} scores for {slot.layer}, '
                            f'expected {alive[slot].numel():,} (one a {cell.granularity}).')
        if not scores[slot][alive[slot]].isfinite().all():
            raise UserError(f'criterion = "{cell.criterion.name}": a score of {slot.layer} is not a finite number.')
        if cell.control == "invert":
            scores[slot] = -scores[slot]
    density = dict(zip(slots, densities(cell, slots, round_ + 1, output), strict=True))
    apart = [slot for slot in slots if slot is output and cell.output_keep is not None]
    counts: dict[Slot, int] = {}
    for pool in (apart, [slot for slot in slots if slot not in apart]):
        if pool:
            counts |= _allocate(cell, pool, scores, alive, ties, density)
    new, ranked = mask.clone(), mask.clone()
    for slot in slots:
        kept = keep_top(scores[slot], alive[slot], counts[slot], ties[slot])
        _write(net, cell, slot, kept, ranked, by_unit)
        if cell.control == "shuffle":
            kept = kept[torch.from_numpy(streams.permutation(len(kept), cell.seed, "shuffle", round_, slot.name))]
        _write(net, cell, slot, kept, new, by_unit)
    return Pruned(new, ranked, {slot.layer: counts[slot] for slot in slots})


def _ranked_together(net: Net, cell: Cell, slot: Slot) -> list[Slot]:
    bias = net.bias_of(slot)
    return [slot, bias] if cell.prune_biases and bias and cell.granularity == "weight" else [slot]


def score(net: Net, cell: Cell, slot: Slot, stations: dict[str, Tensor], mask: Tensor, round_: int) -> Tensor:
    """One layer's scores, from the criterion by what it takes."""
    shape = slot.shape[:1] if cell.granularity == "unit" else slot.shape
    offers = {name: (lambda flat=flat: slot.of(flat)) for name, flat in stations.items()}
    offers["alive"] = lambda: slot.of(mask)
    offers["uniform"] = lambda: streams.uniform(shape, cell.seed, "criterion", round_, slot.name)
    piece = criterion.get(cell.criterion.name)
    return piece(offers, piece.for_layer(slot.layer, cell.criterion.options))


def _allocate(cell: Cell, pool: list[Slot], scores: dict[Slot, Tensor], alive: dict[Slot, Tensor], ties: dict[Slot, Tensor],
              density: dict[Slot, float]) -> dict[Slot, int]:
    sizes = [alive[slot].numel() for slot in pool]
    room = [int(alive[slot].sum()) for slot in pool]
    total = min(round(sum(size * density[slot] for size, slot in zip(sizes, pool, strict=True))), sum(room))

    def top() -> list[int]:
        joined = keep_top(*(torch.cat([each[slot] for slot in pool]) for each in (scores, alive)), total, torch.cat([ties[s] for s in pool]))
        return [int(part.sum()) for part in joined.split(sizes)]

    wishes = allocation.get(cell.allocation.name)({
        "sizes": lambda: sizes,
        "shapes": lambda: [slot.shape for slot in pool],
        "density": lambda: [density[slot] for slot in pool],
        "total": lambda: total,
        "scores": lambda: [scores[slot] for slot in pool],
        "alive": lambda: [alive[slot] for slot in pool],
        "top": top,
    }, cell.allocation.options)
    return dict(zip(pool, exact_counts(wishes, room, total), strict=True))


def _units_alive(slot: Slot, mask: Tensor) -> Tensor:
    return slot.of(mask).flatten(1).any(dim=1)


def _write(net: Net, cell: Cell, slot: Slot, kept: Tensor, mask: Tensor, by_unit: bool) -> None:
    """Put a layer's kept weights or units into the mask; a dead unit takes its bias and its outgoing weights with it."""
    if not by_unit:
        group = _ranked_together(net, cell, slot)
        for each, part in zip(group, kept.split([s.size for s in group]), strict=True):
            each.of(mask).copy_(part.view(each.shape))
        return
    slot.of(mask)[:] = kept.view(-1, *[1] * (len(slot.shape) - 1)) & (slot.of(mask) if cell.control != "shuffle" else True)
    if bias := net.bias_of(slot):
        bias.of(mask)[:] = kept
    for norm in net.norm_of(slot):
        norm.of(mask)[:] = kept
    if following := net.after(slot):
        block = following.shape[1] // slot.shape[0]
        following.of(mask)[:, ~kept.repeat_interleave(block)] = False


