"""What no pruning touches, and what each round will keep: known from counts alone, before anything is trained."""

from math import prod
from typing import Any

from sweepstake.base.cell import Cell
from sweepstake.engine.masks import exact_counts, prunable, pruned_slots, ranked_together
from sweepstake.engine.network import Net, Slot
from sweepstake.engine.prune import by_size, densities, pools, protected, total_of
from sweepstake.pieces import allocation
from sweepstake.pieces.donors import donor_of

VECTORS = "biases, norms and other vectors"


def unpruned(net: Net, cell: Cell) -> dict[str, dict[str, Any]]:
    """The weight tensors that are not pruned: size, reason, and whether kept fractions count them.

    All vectors (biases, norms) are summed up as one.
    """
    cell = donor_of(cell) if cell.control == "transplant" else cell
    dying = [slot for slot in pruned_slots(net, cell) if not protected(cell, slot, net.weights[-1])]
    reached = {each.name for slot in dying for each in ranked_together(net, cell, slot)}
    left = [slot for slot in net.slots if slot.role != "statistic" and slot.name not in reached]
    tensors = {slot.name: {"size": slot.size, "why": _why(net, cell, slot), "counted": slot.role == "weight"}
            for slot in left if len(slot.shape) > 1}
    vectors = sum(slot.size for slot in left if len(slot.shape) < 2)
    return {**tensors, **({VECTORS: {"size": vectors, "why": "", "counted": False}} if vectors else {})}


def _why(net: Net, cell: Cell, slot: Slot) -> str:
    """Why a tensor is not pruned: the module that holds it, or the key of the study that leaves its layer out."""
    if slot.role != "weight":
        return type(net.module.get_submodule(slot.name.rpartition(".")[0])).__name__
    if slot not in prunable(net, cell):
        return "not in prune_layers"
    if cell.granularity == "unit" and slot is net.weights[-1]:
        return "its units are classes"
    if cell.granularity == "unit" and not slot.by_unit:
        return f"{slot.kind} without units"
    return "not in remove" if cell.remove is not None else "keeps all"


def kept_ahead(net: Net, cell: Cell) -> list[float] | None:
    """The fraction of the weights that each round will keep; None where that depends on scores.

    For single weights it never does: an allocation only shares out a total. For units it does not where the allocation
    shares by size.
    """
    if cell.control == "transplant":
        donors = kept_ahead(net, donor_of(cell))
        if donors is None:
            return None
        return [
            1.0 if cell.prune_when == "after" and round_ == 0 else kept
            for round_, kept in enumerate(donors[: cell.rounds + 1])
        ]
    piece, by_unit = allocation.get(cell.allocation.name), cell.granularity == "unit"
    shares_by_size = by_size(net, [], [], [], 0).keys() >= set(piece.takes)
    if cell.prune_biases or (by_unit and not shares_by_size):
        return None
    slots = pruned_slots(net, cell)
    sizes = {slot: slot.shape[0] if by_unit else slot.size for slot in slots}
    room, fractions = dict(sizes), list[float]()
    for done in range(cell.prune_when != "after", cell.rounds + 1 + (cell.prune_when != "after")):
        density = dict(zip(slots, densities(cell, slots, list(sizes.values()), done, net.weights[-1]), strict=True))
        for pool in pools(net, cell, slots)[1] if done else []:
            size, left = [sizes[slot] for slot in pool], [room[slot] for slot in pool]
            share = [density[slot] for slot in pool]
            total = total_of(size, left, share)
            wishes = piece(by_size(net, pool, size, share, total), cell.allocation.options) if shares_by_size else size
            room |= zip(pool, exact_counts(wishes, left, total), strict=True)
        fractions.append(_weights(net, room, by_unit) / sum(slot.size for slot in net.weights))
    return fractions


def _weights(net: Net, room: dict[Slot, int], by_unit: bool) -> int:
    """How many weights are alive where each layer keeps `room` weights, or units.

    A dead unit takes its outgoing weights with it.
    """
    if not by_unit:
        return sum(room.get(slot, slot.size) for slot in net.weights)
    feeds, total = {following: slot for slot in room if (following := net.after(slot))}, 0
    for slot in net.weights:
        columns, before = slot.shape[1], feeds.get(slot)
        if before is not None:
            columns -= (before.shape[0] - room[before]) * (columns // before.shape[0])
        total += room.get(slot, slot.shape[0]) * columns * prod(slot.shape[2:])
    return total
