"""One pruning of anybody's module: `ss.prune(model, keep=0.2)` chooses the masks and gives a handle on them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.account import VECTORS, unpruned
from sweepstake.engine.examples import Loss, OfBatches
from sweepstake.engine.network import Net
from sweepstake.engine.prune import check_pruning
from sweepstake.engine.prune import prune as chosen
from sweepstake.engine.rounds import reset
from sweepstake.engine.train import Trained
from sweepstake.run.layout import by_name, flat_of
from sweepstake.tickets.held.kept import About
from sweepstake.tickets.held.masks import Masks
from sweepstake.tickets.names import misfits, tensors_by_name, unwrapped
from sweepstake.tickets.search import shadow
from sweepstake.tickets.search.wanted import cell_of, listed

Piece = str | Mapping[str, Any]
"""A piece by its name, or a table of its name and options."""


def prune(model: nn.Module, keep: float | Mapping[str, float] = 0.2, *, criterion: Piece = "magnitude",
          allocation: Piece = "global", granularity: str = "weight", layers: str | Sequence[str] = "all",
          prune_biases: bool = False, data: Iterable[Any] | None = None, loss: Loss | None = None, seed: int = 0,
          under: Masks | None = None) -> Masks:
    """Choose which weights of a module stay, set the others to 0, and give the masks.

        masks = ss.prune(model, keep=0.2)
        with masks.held(optimiser):
            train(model)

    `keep` is the fraction of all prunable weights that stays, or a table of layers or kinds. `layers` are kinds or
    names of layers. A criterion that takes gradients needs `data`, batches of (inputs, labels), and a `loss` of
    (output, labels) where it is not cross-entropy. `under`: masks of before, of which nothing comes back to life.
    The pieces are those of studies: `sweepstake pieces criterion` lists them, and your own work too.
    """
    place = "prune"
    shadow.check(place, model)
    model = unwrapped(model)
    cell = cell_of(place, model, keep=dict(keep) if isinstance(keep, Mapping) else keep, criterion=criterion,
                   allocation=allocation, granularity=granularity, prune_layers=listed(layers),
                   prune_biases=prune_biases, seed=seed, rounds=1)
    examples = None if data is None else OfBatches(data, loss)
    net = shadow.shadow(place, model, cell, examples)
    check_pruning(net, cell)
    if under is not None and (wrong := misfits(tensors_by_name(model), _shapes(under))):
        raise UserError("prune: under has the masks of another module.", *wrong)
    before = torch.ones_like(net.w, dtype=torch.bool) if under is None else _mask_of(net, under)
    scored = {"w_init": net.w if under is None else flat_of(net.slots, _floats(net, under.w_init)), "w_start": net.w,
              "w_final": net.w * before}
    pruned = chosen(net, cell, scored, before, 0, examples)
    if not any(slot.of(pruned.mask).any() for slot in net.weights):
        raise UserError(f"prune: keep = {keep} leaves none of the weights. Keep more.")
    return Masks(model, _masks(net, cell, pruned.mask), w_init=None if under is None else under.w_init,
                 about=about(net, cell), resets=resets_of(net, cell))


def _masks(net: Net, cell: Cell, mask: Tensor) -> dict[str, Tensor]:
    """The masks of what can be pruned; what cannot is told in the report, with the reason. All whole: every mask."""
    masks, whole = shadow.masks_of(net, mask), unpruned(net, cell)
    chosen = {name: each for name, each in masks.items() if name not in whole or not each.all()}
    return chosen or masks


def _shapes(masks: Masks) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in masks.w_init.items() if value.is_floating_point()}


def about(net: Net, cell: Cell) -> dict[str, About]:
    """Every parameter's kind, and why it is not pruned."""
    why = unpruned(net, cell)
    vectors = why.get(VECTORS, {}).get("why", "")
    return {slot.name: About(slot.kind, why.get(slot.name, {}).get("why", vectors)) for slot in net.slots}


class resets_of:
    """Makes the values of any reset of the open set, for `Masks.reset`."""

    def __init__(self, net: Net, cell: Cell):
        self.net, self.cell = net, cell

    def __call__(self, masks: Masks, which: str, options: Mapping[str, Any]) -> Mapping[str, Tensor]:
        if options.get("step"):
            raise UserError("masks.reset: the weights at a step of training are not kept here. "
                            "Keep them in your loop, and say masks.reset_to(values); or use find_ticket.")
        cell = cell_of("masks.reset", masks.model, reset={"name": which, **options}, seed=self.cell.seed,
                       init={"name": self.cell.init.name, **self.cell.init.options})
        w_init = flat_of(self.net.slots, _floats(self.net, masks.w_init))
        w_final = shadow.flat_of(self.net, masks.model)
        stations = {"w_init": w_init, "w_step": w_init, "w_start": w_init, "w_final": w_final}
        trained = Trained(w_final, None, None, None, [], {}, 0, {})
        start = reset(self.net, cell, stations, _mask_of(self.net, masks), 0, trained)
        return by_name(self.net.slots, start.w)


def _mask_of(net: Net, masks: Masks) -> Tensor:
    mask = torch.ones_like(net.w, dtype=torch.bool)
    for slot in net.slots:
        if slot.name in masks.alive:
            slot.of(mask).copy_(masks.alive[slot.name])
    return mask


def _floats(net: Net, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {slot.name: values[slot.name].to("cpu", net.w.dtype) for slot in net.slots}

