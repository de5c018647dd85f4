"""Which channels nobody needs: every weight that reads one is dead, or it is the same constant wherever it is read.

A constant is told by what the network does and not by what it happens to do: its live weights are drawn anew, too,
and what is constant then follows from the dead weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweepstake.tickets.thinning.calls import Seen, Watch
from sweepstake.tickets.thinning.inputs import Inputs
from sweepstake.tickets.thinning.structure import Reader

SAME = 16
"""How many roundings apart two values of one constant may be: sums are rounded in some order."""

LOUD = 6
"""By how much some weights are larger where they are drawn anew."""


@dataclass(frozen=True)
class Read:
    """What a reader reads, channel by channel."""

    unread: Tensor
    """Which channels have no live weight here."""
    fixed: Tensor
    """Which are the same constant for every input, and may be folded."""
    constant: Tensor
    """0 where the channel's weights are dead or the channel is no constant."""
    why_not: Mapping[int, str]
    """Why a channel that is a constant has to stay."""


def columns_alive(mask: Tensor, axis: int) -> Tensor:
    """Which positions along an axis have a live weight."""
    return mask.movedim(axis, 0).flatten(1).any(1)


def redrawn(model: nn.Module, masks: Mapping[str, Tensor], generator: torch.Generator) -> nn.Module:
    """A copy whose live weights in matrices and kernels are drawn anew; the dead are 0, and all else is as it was.

    Some are far larger than before: a unit that is silent for its bias alone speaks in one draw or another.
    """
    model = deepcopy(model)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() < 2 or not value.is_floating_point() or not value.numel():
                continue
            draw = torch.rand(value.shape, generator=generator).to(value) * 2 - 1
            noise = torch.rand(value.shape, generator=generator).to(value) - 0.5
            gain = LOUD if float(torch.rand((), generator=generator)) < 0.25 else 1
            new = gain * (value * (draw + 0.5 * draw.sign()) + noise * (0.2 * value.square().mean().sqrt() + 1e-3))
            value.copy_(new * masks[name] if name in masks else new)
    return model


def watched(model: nn.Module, runs: Sequence[Inputs]) -> dict[str, Seen]:
    """What each weight of a network was given."""
    watch = Watch({id(value): name for name, value in model.named_parameters()})
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), watch:
            for each in runs:
                each.run(model)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return watch.seen


def read(readers: Sequence[Reader], model: nn.Module, masks: Mapping[str, Tensor], runs: Sequence[Inputs],
         draws: Sequence[torch.Generator]) -> dict[Reader, Read]:
    """What each reader could go without, in the network as it is and with weights drawn anew by each of `draws`."""
    seen = watched(model, runs)
    others = [watched(redrawn(model, masks, draw), [runs[each % len(runs)]]) for each, draw in enumerate(draws)]
    parameters = dict(model.named_parameters())
    found: dict[Reader, Read] = {}
    for reader in readers:
        weight = parameters[reader.weight]
        mask = masks.get(reader.weight, torch.ones_like(weight, dtype=torch.bool))
        alive = columns_alive(mask, reader.axis)
        views = [each[reader.weight] for each in (seen, *others) if reader.weight in each]
        complete = reader.weight in seen and len(views) > len(draws)
        fixed, value, why = constants(views) if complete else (~torch.ones_like(alive), None, {})
        constant = torch.zeros(len(alive), dtype=weight.dtype)
        if value is not None:
            constant = torch.where(fixed & alive, value, 0).to(weight.dtype)
        found[reader] = Read(~alive, fixed, constant, {index: word for index, word in why.items() if alive[index]})
    return found


def constants(views: Sequence[Seen]) -> tuple[Tensor, Tensor, dict[int, str]]:
    """Which channels were the same constant in every view and may be folded, the constants, and why some may not."""
    views = [views[0], *(each for each in views[1:] if bool(torch.isfinite(each.high - each.low).all()))]
    low = torch.stack([each.low for each in views]).amin(0)
    high = torch.stack([each.high for each in views]).amax(0)
    same = (high - low) <= SAME * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
    value = (views[0].low + views[0].high) / 2
    barred = same & (value != 0) & torch.tensor(any(each.padded for each in views))
    why = {int(index): "it is a constant other than 0 that a padded convolution reads" for index in barred.nonzero()}
    return same & ~barred, value, why
