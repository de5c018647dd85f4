"""One pruning: score what is alive, share the count over the layers, keep the top of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.values import shown
from sweepstake.engine import streams
from sweepstake.engine.examples import Examples
from sweepstake.engine.masks import (
    alive_in,
    exact_counts,
    keep_top,
    named,
    pruned_slots,
    ranked_together,
    with_kept,
)
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.scores import Scorer
from sweepstake.pieces import REGISTRIES, allocation, criterion
from sweepstake.pieces.criteria import unfit
from sweepstake.pieces.donors import donor_of

Scores = Mapping[Slot, Tensor]
"""A number for everything in each layer that can die, flat: its weights (and biases), or its units."""


def densities(cell: Cell, slots: Sequence[Slot], sizes: Sequence[int], done: float, output: Slot) -> list[float]:
    """The fraction of each layer's whole size that is left after `done` prunings.

    Between the parts of a pruning with `iterations`, `done` is not whole: 2.5 is half-way through the third.
    """
    if cell.remove is not None:
        return [(size - cell.remove.get(slot.layer, 0) * done) / size for slot, size in zip(slots, sizes, strict=True)]
    return [keep_of(cell, slot, output) ** done for slot in slots]


def protected(cell: Cell, slot: Slot, output: Slot) -> bool:
    """Whether the study says that this layer keeps all. Then no allocation may take from it."""
    return slot.layer not in cell.remove if cell.remove is not None else keep_of(cell, slot, output) == 1.0


def keep_of(cell: Cell, slot: Slot, output: Slot) -> float:
    """The fraction this layer keeps in a round."""
    if cell.output_keep is not None and slot is output:
        return cell.output_keep
    return cell.keep.get(slot.layer, cell.keep.get(slot.kind, 1.0)) if isinstance(cell.keep, dict) else cell.keep


@dataclass(frozen=True)
class Pruned:
    """The result of a pruning: the new mask, and what the checks need to know of it.

    `ranked` is the mask by rank, before a shuffle moved it; `asked` is the count asked of each layer.
    """

    mask: Tensor
    ranked: Tensor
    asked: dict[str, int]
    scores: dict[str, Tensor]
    """Each layer's scores, flat, as the criterion gave them (in the last part of a pruning with `iterations`)."""
    before: Tensor | None = None
    """The mask that those scores ranked."""


def prune(
    net: Net, cell: Cell, stations: Mapping[str, Tensor], mask: Tensor, done: int, examples: Examples | None = None
) -> Pruned:
    """Score what is alive, share the count over the layers, keep the top of each.

    `done` prunings came before this one. A criterion with `iterations` prunes in so many parts, scoring anew for each;
    the density falls by the same factor in each part.
    """
    pruning = Pruning(net, cell, stations, done, examples)
    parts = cell.criterion.options.get("iterations", 1)
    ranked = before = mask
    scores, counts, kept = dict[Slot, Tensor](), dict[Slot, int](), dict[Slot, Tensor]()
    for part in range(1, parts + 1):
        before = ranked
        scores = pruning.scorer(ranked, cell.criterion.name, cell.criterion.options).scores(pruning.slots)
        order = {slot: -each for slot, each in scores.items()} if cell.control == "invert" else scores
        counts = pruning.counts(order, ranked, done + 1 if part == parts else done + part / parts)
        kept = {
            slot: keep_top(order[slot], pruning.alive(slot, ranked), counts[slot], pruning.ties[slot])
            for slot in pruning.slots
        }
        ranked = with_kept(net, cell, ranked, kept)
    new = ranked
    if cell.control == "shuffle":
        new = with_kept(net, cell, ranked, {slot: _shuffled(kept[slot], cell, done, slot) for slot in pruning.slots})
    return Pruned(new, ranked, {slot.layer: counts[slot] for slot in pruning.slots},
                  {slot.layer: scores[slot] for slot in pruning.slots}, before)


@dataclass(frozen=True)
class Pruning:
    """One pruning of a cell: the weights it looks at, how many came before it, and its draws."""

    net: Net
    cell: Cell
    stations: Mapping[str, Tensor]
    done: int
    examples: Examples | None

    @cached_property
    def slots(self) -> list[Slot]:
        return pruned_slots(self.net, self.cell)

    @cached_property
    def ties(self) -> dict[Slot, Tensor]:
        """The draw that ranks equal scores, a number for everything that can die."""
        whole = torch.ones(self.net.size, dtype=torch.bool)
        sizes = {slot: tuple(self.alive(slot, whole).shape) for slot in self.slots}
        return {
            slot: streams.uniform(size, self.cell.seed, "ties", self.done, slot.name) for slot, size in sizes.items()
        }

    @property
    def output(self) -> Slot:
        return self.net.weights[-1]

    def alive(self, slot: Slot, mask: Tensor) -> Tensor:
        return alive_in(self.net, self.cell, slot, mask)

    def scorer(self, mask: Tensor, name: str, options: Mapping[str, Any]) -> Scorer:
        return Scorer(self.net, self.cell, self.stations, mask, self.done, self.examples, name, options)

    def counts(self, order: Scores, mask: Tensor, done: float) -> dict[Slot, int]:
        """How many each layer keeps after `done` prunings (see `densities`).

        A layer that keeps all, and an output layer with its own rate, share with nobody.
        """
        cell, slots = self.cell, self.slots
        alive = {slot: self.alive(slot, mask) for slot in slots}
        fractions = densities(cell, slots, [alive[slot].numel() for slot in slots], done, self.output)
        density = dict(zip(slots, fractions, strict=True))
        whole, shared = pools(self.net, cell, slots)
        counts = {slot: int(alive[slot].sum()) for slot in whole}
        for some in shared:
            pool = Pool(self, some, order, mask, [density[slot] for slot in some])
            counts |= zip(some, pool.counts(), strict=True)
        return counts


@dataclass(frozen=True)
class Pool:
    """Layers that share one count, and what an allocation may know of them."""

    pruning: Pruning
    slots: list[Slot]
    scores: Scores
    mask: Tensor
    density: list[float]

    @cached_property
    def alive(self) -> list[Tensor]:
        return [self.pruning.alive(slot, self.mask) for slot in self.slots]

    @cached_property
    def sizes(self) -> list[int]:
        return [len(alive) for alive in self.alive]

    @cached_property
    def room(self) -> list[int]:
        """How many are alive in each layer, and so the most that it can keep."""
        return [int(alive.sum()) for alive in self.alive]

    @cached_property
    def total(self) -> int:
        return total_of(self.sizes, self.room, self.density)

    def counts(self) -> list[int]:
        """How many each layer keeps, by the cell's allocation."""
        ref = self.pruning.cell.allocation
        piece = allocation.get(ref.name)
        wishes = piece({
            **by_size(self.pruning.net, self.slots, self.sizes, self.density, self.total),
            "scores": lambda: [self.scores[slot] for slot in self.slots],
            "alive": lambda: self.alive,
            "top": self.top,
            "top_by": lambda: self.top_by,
        }, ref.options)
        return exact_counts(wishes, self.room, self.total, piece.told() if piece.source else "allocation")

    def top(self) -> list[int]:
        """How many of each layer are among the best of all."""
        return [int(part.sum()) for part in self._best(self.scores, self.alive, self.total)]

    def top_by(self, name: str, options: Mapping[str, Any], once: bool = False) -> list[int]:
        """How many each layer would keep under one ranking by another criterion, in parts if that has `iterations`.

        With `once` the ranking is of the whole network as it was drawn.
        """
        pruning, resolved = self.pruning, criterion.resolve(name, options, "allocation = like")
        under = torch.ones_like(self.mask) if once else self.mask
        living = [pruning.alive(slot, under) for slot in self.slots]
        parts, begun = resolved.get("iterations", 1), sum(int(each.sum()) for each in living)
        for part in range(1, parts + 1):
            scorer = pruning.scorer(under, name, resolved)
            scored = (scorer.at_first(under) if once else scorer).scores(self.slots)
            count = self.total if part == parts else round(begun * (self.total / begun) ** (part / parts))
            living = self._best(scored, living, count)
            under = with_kept(pruning.net, pruning.cell, under, dict(zip(self.slots, living, strict=True)))
        return [int(each.sum()) for each in living]

    def _best(self, scores: Scores, alive: Sequence[Tensor], count: int) -> list[Tensor]:
        """The `count` best of what is alive in all layers together, layer by layer."""
        score = torch.cat([scores[slot] for slot in self.slots])
        tie = torch.cat([self.pruning.ties[slot] for slot in self.slots])
        return list(keep_top(score, torch.cat(list(alive)), count, tie).split(self.sizes))


def pools(net: Net, cell: Cell, slots: Sequence[Slot]) -> tuple[list[Slot], list[list[Slot]]]:
    """The layers that keep all, and the pools that share a count: an output layer with its own rate, and the rest."""
    output = net.weights[-1]
    whole = [slot for slot in slots if protected(cell, slot, output)]
    apart = [slot for slot in slots if slot is output and cell.output_keep is not None and slot not in whole]
    rest = [slot for slot in slots if slot not in apart + whole]
    return whole, [pool for pool in (apart, rest) if pool]


def total_of(sizes: Sequence[int], room: Sequence[int], density: Sequence[float]) -> int:
    """How many the layers of a pool keep together."""
    return min(round(sum(size * share for size, share in zip(sizes, density, strict=True))), sum(room))


def by_size(net: Net, pool: Sequence[Slot], sizes: Sequence[int], density: Sequence[float],
            total: int) -> dict[str, Callable[[], Any]]:
    """The offers to an allocation that need no scores."""
    return {
        "sizes": lambda: list(sizes),
        "shapes": lambda: [slot.shape for slot in pool],
        "first": lambda: [slot is net.weights[0] for slot in pool],
        "output": lambda: [slot is net.weights[-1] for slot in pool],
        "density": lambda: list(density),
        "total": lambda: total,
    }


def transplant(net: Net, cell: Cell, donor: Tensor | None) -> Pruned:
    """The donor's mask in place of a ranking of its own."""
    if donor is None or donor.shape != net.w.shape:
        raise UserError('control = "transplant": the donor has no mask for this round, or one of another network. '
                        "A donor has the same model and at least as many rounds.")
    asked = {slot.layer: int(alive_in(net, cell, slot, donor).sum()) for slot in pruned_slots(net, cell)}
    return Pruned(donor.clone(), donor, asked, {})


def donated(net: Net, cell: Cell, donor: Tensor, round_: int) -> Tensor:
    """The mask that a transplant takes of its donor's: as it is, or moved to random places within each layer."""
    if cell.donor_mask == "as_it_is":
        return donor
    rule = donor_of(cell)
    slots = pruned_slots(net, rule)
    if rule.granularity == "unit":
        units = {slot: _shuffled(alive_in(net, rule, slot, donor), cell, round_, slot) for slot in slots}
        return with_kept(net, rule, donor, units)
    moved = donor.clone()
    for part in (part for slot in slots for part in ranked_together(net, rule, slot)):  # Weights apart from biases.
        part.of(moved).copy_(_shuffled(part.of(donor).flatten(), cell, round_, part).view(part.shape))
    return moved


def _shuffled(kept: Tensor, cell: Cell, time: int, slot: Slot) -> Tensor:
    """In another order, drawn for this time: a pruning or a round."""
    return kept[torch.from_numpy(streams.permutation(len(kept), cell.seed, "shuffle", time, slot.name))]


def check_pruning(net: Net, cell: Cell) -> None:
    """Refuse, before anything is trained, what cannot be pruned as the cell says."""
    slots, layers = pruned_slots(net, cell), {slot.layer: True for slot in net.weights}
    problems = [*_check_keep(net, cell), *_check_tables(cell, layers)]
    if not slots:
        problems.append(
            f'prune_layers = {cell.prune_layers}, granularity = "{cell.granularity}": no layer is left to prune.'
        )
    problems += [problem for place, name in _criteria(cell) if (problem := unfit(place, name, cell.granularity))]
    prunings = cell.rounds + (cell.prune_when != "after")
    for layer, lost in (cell.remove or {}).items():
        slot = next((slot for slot in slots if slot.layer == layer), None)
        if slot is None:
            known = [s.layer for s in slots]
            problems.append(
                unknown(f"remove = {{{layer} = ...}}", f"layer with {cell.granularity}s to prune", layer, known)
            )
            continue
        size = alive_in(net, cell, slot, torch.ones_like(net.w, dtype=torch.bool)).numel()
        if size - lost * prunings < 1:
            problems.append(
                f"remove = {{{layer} = {lost}}}: {prunings} prunings would take {lost * prunings:,} of the {size:,} "
                f"{cell.granularity}s of {layer}, and one must be left. "
                f"At most {(size - 1) // lost} prunings of {lost}."
            )
    if cell.prune_when == "before" and cell.reset.name == "shuffled":
        problems.append(
            'prune_when = "before" with reset = "shuffled": the survivors are shuffled once they are known, '
            'and so would not be the weights that were scored. Say prune_when = "after", or another reset.'
        )
    if (cell.control == "transplant") != (cell.donor is not None):
        problems.append('control = "transplant" needs a donor, as donor = {seed = 7}.' if cell.donor is None else
                        f'donor is for control = "transplant", not "{cell.control}". Leave it out.')
    elif cell.donor_mask != "as_it_is" and cell.control != "transplant":
        problems.append(f'donor_mask = "{cell.donor_mask}" is for control = "transplant", not "{cell.control}". '
                        'Leave it out, or name a donor: control = "transplant", donor = {}.')
    elif cell.donor_mask == "as_it_is" and cell.donor is not None and donor_of(cell) == _uncontrolled(cell):
        problems.append(
            f"donor = {shown(cell.donor)}: this cell (seed {cell.seed}) would be its own donor, "
            "and its own mask is no control. Take that seed out of seeds, or name another donor."
        )
    if problems:
        raise UserError(*problems)


def _uncontrolled(cell: Cell) -> Cell:
    return msgspec.structs.replace(cell, control="none", donor=None)


def _check_keep(net: Net, cell: Cell) -> list[str]:
    """A table of `keep` names layers and kinds that there are, each of them plainly."""
    problems = list[str]()
    for word in cell.keep if isinstance(cell.keep, dict) else {}:
        named(net, word, f"keep = {{{word} = ...}}", problems)
    return problems


def _criteria(cell: Cell) -> list[tuple[str, str]]:
    """The criteria that a cell names, each with its place: its own, and that of `allocation = "like"`."""
    liked = cell.allocation.options.get("criterion")
    return [("criterion", cell.criterion.name), *([("allocation: criterion", str(liked))] if liked is not None else [])]


OF_THE_NETWORK = ("images", "iterations", "temperature", "step")
"""Options that the engine reads once for all layers."""


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
