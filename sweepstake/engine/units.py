"""Which inputs and units of a plain chain of layers have to be computed under a mask; the rest change no number."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweepstake.engine.masks import columns_of, units_read
from sweepstake.engine.network import Net, Slot


@dataclass(frozen=True)
class After:
    """What stands between a layer and the next: a ReLU, whose slope at 0 is 0, and norms, by name."""

    relu: bool
    norms: tuple[str, ...] = ()


def computed_units(net: Net, w: Tensor, mask: Tensor, after: Sequence[After],
                   inputs: Tensor, moves: bool) -> list[Tensor]:
    """The inputs and the units of each layer that can be other than 0 and have something alive that reads them.

    `inputs` are the inputs that can be other than 0. A unit without live inputs stays at 0 if its bias and its norm are
    dead. Under ReLU, whose slope at 0 is 0, it also stays if its bias is 0, unless moments from an earlier round
    (`moves`) move it. A unit that nothing reads gets no gradient; before a norm it is computed all the same, since the
    norm's statistics follow it.
    """
    live = [inputs]  # (units of the layer before,) and, last, (classes,)
    for slot, following in zip(net.weights, after, strict=True):
        fed = slot.of(mask)[:, columns_of(live[-1], slot)].flatten(1).any(1)
        live.append(fed | ~_stays_at_0(net, slot, w, mask, following, moves))
    live[-1] = torch.ones_like(live[-1])
    kept = [live[-1]]
    for n in range(len(net.weights) - 1, -1, -1):
        read = units_read(net.weights[n], mask, len(live[n]), kept[0])
        followed = n > 0 and bool(after[n - 1].norms)
        kept.insert(0, live[n] & (read | followed))
    return kept


def _stays_at_0(net: Net, slot: Slot, w: Tensor, mask: Tensor, after: After, moves: bool) -> Tensor:
    """The units of a layer that are 0 for as long as nothing feeds them."""
    stays = torch.ones(slot.shape[0], dtype=torch.bool)
    if bias := net.bias_of(slot):
        still = after.relu and not moves and not after.norms
        stays &= ~bias.of(mask) | ((bias.of(w) == 0) & still)
    owned = {each.name: each for each in net.slots}
    for name in after.norms:
        affine = [owned[each].of(mask) for each in (f"{name}.weight", f"{name}.bias") if each in owned]
        stays &= ~(affine[0] | affine[1]) if len(affine) == 2 else False
    return stays
