"""Masks: what of a network may die, how many are to stay, and which.

A mask is a boolean tensor over all parameters of a network, True where a parameter is alive. A `Rule` says what may
die; a `Cell` is one. Scoring, pruning and thinning all ask here.
"""

from collections.abc import Mapping, Sequence
from math import floor, isfinite
from typing import Protocol

import torch
from torch import Tensor

from sweepstake.base.errors import UserError, unknown
from sweepstake.engine.network import Net, Slot


class Rule(Protocol):
    """What may die: in which layers, single weights or whole units, with or without biases."""

    @property
    def prune_layers(self) -> Sequence[str]: ...
    @property
    def granularity(self) -> str: ...
    @property
    def prune_biases(self) -> bool: ...


# Which layers

def prunable(net: Net, rule: Rule) -> list[Slot]:
    """The weights of the layers that the rule names, in the network's order."""
    problems = list[str]()
    chosen = [named(net, word, f'prune_layers = "{word}"', problems, everything="all") for word in rule.prune_layers]
    if problems:
        raise UserError(*problems)
    return [slot for slot in net.weights if any(slot in layers for layers in chosen)]


def named(net: Net, word: str, place: str, problems: list[str], everything: str = "") -> list[Slot]:
    """The layers that a word stands for: a layer by its name, a kind (`conv`), or all. An ambiguous word is refused."""
    own = [slot for slot in net.weights if word == slot.layer or f"{word}.weight" in slot.also]
    several = [slot for slot in net.weights if word in (slot.kind, everything)]
    if own and several and own != several:
        what = "the word for all layers" if word == everything else "a kind"
        problems.append(f'{place}: "{word}" is the name of one layer of the model and also {what} '
                        f"({', '.join(slot.layer for slot in several)}). Rename that layer in the module.")
    elif not (own or several):
        known = {everything, *(name for slot in net.weights for name in (slot.kind, slot.layer))} - {""}
        problems.append(unknown(place, "layer or kind", word, known))
    return own or several


def pruned_slots(net: Net, rule: Rule) -> list[Slot]:
    """The layers whose weights, or units, can die. The units of the last layer are classes and always stay."""
    slots = prunable(net, rule)
    return [slot for slot in slots if rule.granularity != "unit" or (slot.by_unit and slot is not net.weights[-1])]


# What of a layer

def ranked_together(net: Net, rule: Rule, slot: Slot) -> list[Slot]:
    """A layer's weights, and its biases where they are ranked among them."""
    bias = net.bias_of(slot)
    return [slot, bias] if rule.prune_biases and bias and rule.granularity == "weight" else [slot]


def alive_in(net: Net, rule: Rule, slot: Slot, mask: Tensor) -> Tensor:
    """Which weights (and biases) of this layer, or which of its units, are alive, flat."""
    if rule.granularity == "unit":
        return slot.of(mask).flatten(1).any(dim=1)
    return torch.cat([s.of(mask).flatten() for s in ranked_together(net, rule, slot)])


def with_kept(net: Net, rule: Rule, mask: Tensor, kept: Mapping[Slot, Tensor]) -> Tensor:
    """The mask in which each of these layers keeps these weights, or units."""
    if rule.granularity == "unit":
        return without_units(net, mask, kept)
    new = mask.clone()
    for slot, each in kept.items():
        group = ranked_together(net, rule, slot)
        for part, lives in zip(group, each.split([s.size for s in group]), strict=True):
            part.of(new).copy_(lives.view(part.shape))
    return new


def without_units(net: Net, mask: Tensor, kept: Mapping[Slot, Tensor]) -> Tensor:
    """The mask in which exactly these units live. A dead one takes its bias, norm and outgoing weights with it."""
    new = mask.clone()
    for alive in (True, False):  # First what a shuffle brings back, then every death: a weight needs both its ends.
        for slot, units in kept.items():
            chosen = units & ~slot.of(mask).flatten(1).any(1) if alive else ~units
            slot.of(new)[chosen] = alive
            for each in (net.bias_of(slot), *net.norm_of(slot)):
                if each is not None:
                    each.of(new)[chosen] = alive
            if following := net.after(slot):
                following.of(new)[:, columns_of(chosen, following)] = alive
    return new


def columns_of(units: Tensor, reader: Slot) -> Tensor:
    """The columns in which a layer reads these units: one for each, or a block where feature maps are flattened."""
    return units.repeat_interleave(reader.shape[1] // len(units))


def units_read(reader: Slot, mask: Tensor, units: int, readers: Tensor | None = None) -> Tensor:
    """Which of the `units` before this layer have a live weight into it, or into those `readers` of its units."""
    weights = reader.of(mask) if readers is None else reader.of(mask)[readers]
    return weights.any(0).reshape(units, -1).any(1)  # (columns, height, width) or (columns,) -> (units,)


# How many, and which

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


def exact_counts(wishes: Sequence[float], room: Sequence[int], total: int, place: str = "allocation") -> list[int]:
    """Whole counts in proportion to `wishes` that sum to `total`, none above its `room`.

    What a full layer cannot take goes to the others.
    """
    if total > sum(room):
        raise UserError(f"allocation: {total:,} weights are to be kept, and the layers hold only {sum(room):,}.")
    wished, full = list(map(float, wishes)), [False] * len(room)
    if len(wished) != len(room) or not all(isfinite(wish) and wish >= 0 for wish in wished):
        raise UserError(
            f"{place}: wishes {[round(wish, 3) for wish in wished]}; "
            f"expected {len(room)} finite numbers, none below 0."
        )
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
