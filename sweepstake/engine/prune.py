"""Score, allocate, keep the top: exact counts, ties by a seeded draw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite
from typing import Any

import msgspec
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.values import shown
from sweepstake.engine import streams
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.scores import Scorer, alive_in, ranked_together, without_units
from sweepstake.engine.train import Images
from sweepstake.pieces import REGISTRIES, allocation, criterion
from sweepstake.pieces.donors import donor_of


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
    if len(wished) != len(room) or not all(isfinite(wish) and wish >= 0 for wish in wished):
        raise UserError(f"allocation: wishes {[round(wish, 3) for wish in wished]}; expected {len(room)} finite numbers, none below 0.")
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


def densities(cell: Cell, slots: Sequence[Slot], sizes: Sequence[int], done: float, output: Slot) -> list[float]:
    """The fraction of each layer's whole size that is to be left after `done` prunings (in the midst of one, a broken number)."""
    if cell.remove is not None:
        return [(size - cell.remove.get(slot.layer, 0) * done) / size for slot, size in zip(slots, sizes, strict=True)]
    return [keep_of(cell, slot, output) ** done for slot in slots]


def protected(cell: Cell, slot: Slot, output: Slot) -> bool:
    """Whether this layer was asked to lose nothing: then no sharing may take from it."""
    return slot.layer not in cell.remove if cell.remove is not None else keep_of(cell, slot, output) == 1.0


def keep_of(cell: Cell, slot: Slot, output: Slot) -> float:
    """The fraction this layer keeps in a round."""
    if cell.output_keep is not None and slot is output:
        return cell.output_keep
    return cell.keep.get(slot.layer, cell.keep.get(slot.kind, 1.0)) if isinstance(cell.keep, dict) else cell.keep


MakeScorer = Callable[[Tensor, str, Mapping[str, Any]], Scorer]
"""(mask, criterion, options) -> its scores at this pruning."""


@dataclass(frozen=True)
class Pruned:
    """The next mask over all parameters, as ranked and (under a shuffle) as moved, the last scores, and what was asked of each layer."""

    mask: Tensor
    ranked: Tensor
    asked: dict[str, int]
    scores: dict[str, Tensor]
    """Of each layer, flat, as the criterion gave them; of a pruning in parts, those of the last."""
    before: Tensor | None = None
    """The mask that those scores ranked."""


def pruned_slots(net: Net, cell: Cell) -> list[Slot]:
    """The layers whose weights, or units, can die: outputs are classes, not units."""
    return [slot for slot in net.prunable(cell) if not (cell.granularity == "unit" and slot is net.weights[-1])]


def prune(net: Net, cell: Cell, stations: Mapping[str, Tensor], mask: Tensor, done: int, images: Images | None = None) -> Pruned:
    """Score what is alive, share the count over the layers, keep the top of each; `done` prunings came before this one.

    A criterion with `iterations` does the same in as many parts, the density falling by the same factor in each.
    """
    slots = pruned_slots(net, cell)
    ties = {slot: streams.uniform(tuple(alive_in(net, cell, slot, mask).shape), cell.seed, "ties", done, slot.name) for slot in slots}
    parts = cell.criterion.options.get("iterations", 1)

    def scorer(under: Tensor, name: str, options: Mapping[str, Any]) -> Scorer:
        return Scorer(net, cell, stations, under, done, images, name, options)

    ranked, before, scores, counts, kept = mask, mask, {}, {}, {}
    for part in range(1, parts + 1):
        before, alive = ranked, {slot: alive_in(net, cell, slot, ranked) for slot in slots}
        scores = scorer(ranked, cell.criterion.name, cell.criterion.options).scores(slots)
        order = {slot: -each for slot, each in scores.items()} if cell.control == "invert" else scores
        counts = _share(net, cell, slots, order, alive, ties, done + 1 if part == parts else done + part / parts, scorer, ranked)
        kept = {slot: keep_top(order[slot], alive[slot], counts[slot], ties[slot]) for slot in slots}
        ranked = _with_kept(net, cell, ranked, kept)
    new = ranked
    if cell.control == "shuffle":
        new = _with_kept(net, cell, ranked, {slot: _shuffled(kept[slot], cell, done, slot) for slot in slots})
    return Pruned(new, ranked, {slot.layer: counts[slot] for slot in slots}, {slot.layer: scores[slot] for slot in slots}, before)


def transplant(net: Net, cell: Cell, donor: Tensor | None) -> Pruned:
    """The donor's mask in place of a ranking of its own."""
    if donor is None or donor.shape != net.w.shape:
        raise UserError('control = "transplant": the donor has no mask for this round, or one of another network. '
                        "A donor has the same model and at least as many rounds.")
    asked = {slot.layer: int(alive_in(net, cell, slot, donor).sum()) for slot in pruned_slots(net, cell)}
    return Pruned(donor.clone(), donor, asked, {})


def _shuffled(kept: Tensor, cell: Cell, done: int, slot: Slot) -> Tensor:
    return kept[torch.from_numpy(streams.permutation(len(kept), cell.seed, "shuffle", done, slot.name))]


def _share(net: Net, cell: Cell, slots: list[Slot], scores: dict[Slot, Tensor], alive: dict[Slot, Tensor], ties: dict[Slot, Tensor],
           done: float, scorer: MakeScorer, mask: Tensor) -> dict[Slot, int]:
    """How many each layer keeps. A layer that keeps all, and an output layer with its own rate, share with nobody."""
    density = dict(zip(slots, densities(cell, slots, [alive[slot].numel() for slot in slots], done, net.weights[-1]), strict=True))
    whole, shared = pools(net, cell, slots)
    counts = {slot: int(alive[slot].sum()) for slot in whole}
    for pool in shared:
        counts |= _allocate(net, cell, pool, scores, alive, ties, density, scorer, mask)
    return counts


def pools(net: Net, cell: Cell, slots: Sequence[Slot]) -> tuple[list[Slot], list[list[Slot]]]:
    """The layers that keep all, and those that share a count: an output layer with its own rate by itself, and the rest."""
    output = net.weights[-1]
    whole = [slot for slot in slots if protected(cell, slot, output)]
    apart = [slot for slot in slots if slot is output and cell.output_keep is not None and slot not in whole]
    rest = [slot for slot in slots if slot not in apart + whole]
    return whole, [pool for pool in (apart, rest) if pool]


def total_of(sizes: Sequence[int], room: Sequence[int], density: Sequence[float]) -> int:
    """How many the layers of a pool keep together."""
    return min(round(sum(size * share for size, share in zip(sizes, density, strict=True))), sum(room))


def _allocate(net: Net, cell: Cell, pool: list[Slot], scores: dict[Slot, Tensor], alive: dict[Slot, Tensor], ties: dict[Slot, Tensor],
              density: dict[Slot, float], scorer: MakeScorer, mask: Tensor) -> dict[Slot, int]:
    sizes = [alive[slot].numel() for slot in pool]
    room = [int(alive[slot].sum()) for slot in pool]
    total = total_of(sizes, room, [density[slot] for slot in pool])

    def top() -> list[int]:
        best, living, tie = (torch.cat([each[slot] for slot in pool]) for each in (scores, alive, ties))
        joined = keep_top(best, living, total, tie)
        return [int(part.sum()) for part in joined.split(sizes)]

    def top_by(name: str, options: Mapping[str, Any], once: bool = False) -> list[int]:
        """What another criterion would leave of each layer, pruning as it prunes: in parts, if it has iterations."""
        resolved = criterion.resolve(name, options, "allocation = like")
        under = torch.ones_like(mask) if once else mask
        living = {slot: alive_in(net, cell, slot, under) for slot in pool}
        parts, begun = resolved.get("iterations", 1), sum(int(each.sum()) for each in living.values())
        tie = torch.cat([ties[slot] for slot in pool])
        for part in range(1, parts + 1):
            scored = scorer(under, name, resolved)
            best = (scored.at_first(under) if once else scored).scores(pool)
            count = total if part == parts else round(begun * (total / begun) ** (part / parts))
            joined = keep_top(*(torch.cat([each[slot] for slot in pool]) for each in (best, living)), count, tie)
            living = dict(zip(pool, joined.split(sizes), strict=True))
            under = _with_kept(net, cell, under, living)
        return [int(living[slot].sum()) for slot in pool]

    wishes = allocation.get(cell.allocation.name)({
        **by_size(net, pool, sizes, [density[slot] for slot in pool], total),
        "scores": lambda: [scores[slot] for slot in pool],
        "alive": lambda: [alive[slot] for slot in pool],
        "top": top,
        "top_by": lambda: top_by,
    }, cell.allocation.options)
    return dict(zip(pool, exact_counts(wishes, room, total), strict=True))


def by_size(net: Net, pool: Sequence[Slot], sizes: Sequence[int], density: Sequence[float], total: int) -> dict[str, Callable[[], Any]]:
    """What an allocation is offered that no score is needed for."""
    return {
        "sizes": lambda: list(sizes),
        "shapes": lambda: [slot.shape for slot in pool],
        "first": lambda: [slot is net.weights[0] for slot in pool],
        "output": lambda: [slot is net.weights[-1] for slot in pool],
        "density": lambda: list(density),
        "total": lambda: total,
    }


def _with_kept(net: Net, cell: Cell, mask: Tensor, kept: Mapping[Slot, Tensor]) -> Tensor:
    """The mask with each layer's kept weights, or units, in it."""
    if cell.granularity == "unit":
        return without_units(net, mask, kept)
    new = mask.clone()
    for slot, each in kept.items():
        group = ranked_together(net, cell, slot)
        for part, lives in zip(group, each.split([s.size for s in group]), strict=True):
            part.of(new).copy_(lives.view(part.shape))
    return new


def check_pruning(net: Net, cell: Cell) -> None:
    """All that cannot be pruned as said, before anything is trained."""
    slots, layers = pruned_slots(net, cell), {slot.layer: True for slot in net.weights}
    problems = [*_check_tables(cell, layers)]
    if not slots:
        problems.append(f"prune_layers = {cell.prune_layers}, granularity = \"{cell.granularity}\": no layer is left to prune.")
    for name, piece, allowed in _criteria(cell):
        if allowed not in ("any", cell.granularity):
            known = [n for n, p in criterion.pieces.items() if p.traits.get("granularity", "any") in ("any", cell.granularity)]
            problems.append(f'{name} = "{piece}": scores a {allowed}, and granularity = "{cell.granularity}". '
                            f"For a {cell.granularity}: {', '.join(sorted(known))}.")
    prunings = cell.rounds + (cell.prune_when != "after")
    for layer, lost in (cell.remove or {}).items():
        slot = next((slot for slot in slots if slot.layer == layer), None)
        if slot is None:
            known = [s.layer for s in slots]
            problems.append(unknown(f"remove = {{{layer} = ...}}", f"layer with {cell.granularity}s to prune", layer, known))
            continue
        size = alive_in(net, cell, slot, torch.ones_like(net.w, dtype=torch.bool)).numel()
        if size - lost * prunings < 1:
            problems.append(f"remove = {{{layer} = {lost}}}: {prunings} prunings would take {lost * prunings:,} of the {size:,} "
                            f"{cell.granularity}s of {layer}, and one must be left. At most {(size - 1) // lost} prunings of {lost}.")
    if cell.prune_when == "before" and cell.reset.name == "shuffled":
        problems.append('prune_when = "before" with reset = "shuffled": the survivors are shuffled once they are known, and so would not '
                        'be the weights that were scored. Say prune_when = "after", or another reset.')
    if (cell.control == "transplant") != (cell.donor is not None):
        problems.append('control = "transplant" needs a donor, as donor = {seed = 7}.' if cell.donor is None else
                        f'donor is for control = "transplant", not "{cell.control}". Leave it out.')
    elif cell.donor is not None and donor_of(cell) == msgspec.structs.replace(cell, control="none", donor=None):
        problems.append(f"donor = {shown(cell.donor)}: this cell (seed {cell.seed}) would be its own donor, and its own mask is no control. "
                        "Take that seed out of seeds, or name another donor.")
    if problems:
        raise UserError(*problems)


def _criteria(cell: Cell) -> list[tuple[str, str, str]]:
    named = [("criterion", cell.criterion.name)]
    if "criterion" in cell.allocation.options:
        named.append(("allocation: criterion", str(cell.allocation.options["criterion"])))
    return [(place, name, criterion.get(name, f'{place} = "{name}"').traits.get("granularity", "any")) for place, name in named]


OF_THE_NETWORK = ("images", "iterations", "temperature", "step")
"""Options the engine reads once for all layers."""


def _check_tables(cell: Cell, layers: Mapping[str, bool]) -> list[str]:
    """Per-layer tables of options: every layer in them exists, and the option is one a layer."""
    problems: list[str] = []
    for field in ("init", "bias_init", "criterion", "reset"):
        ref = getattr(cell, field)
        piece = REGISTRIES["init" if field == "bias_init" else field].get(ref.name)
        for option, value in ref.options.items():
            if not isinstance(value, dict) or piece.options[option].takes_a_table():
                continue
            if option in OF_THE_NETWORK or piece.traits.get("joint"):
                problems.append(f"{field}: {option} is one number for the network, not a table of layers.")
            problems += [unknown(f"{field}: {option} = {{{layer} = ...}}", "layer", layer, layers)
                         for layer in value if layer not in layers]
    return problems
