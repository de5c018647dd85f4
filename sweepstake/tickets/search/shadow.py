"""A copy of a user's module on which the engine prunes, scores and resets; the module itself is never touched by it.

The copy's values are one flat vector in float32 (or float64) on the CPU; half precision fits into it exactly.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import is_pruned

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.build import drawn
from sweepstake.engine.examples import Chosen, Examples
from sweepstake.engine.network import Net, read_norms
from sweepstake.tickets.names import tensors_by_name


def check(place: str, model: nn.Module) -> None:
    """Refuse what no copy for pruning can be made of."""
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UserError(f"{place}: a {type(model).__name__} was given. Give a module, torch.nn.Module.")
    if isinstance(model, torch.jit.ScriptModule):
        raise UserError(f"{place}: {type(model).__name__} is of TorchScript. Give the module that it was made of.")
    if is_pruned(model):
        raise UserError(f"{place}: torch.nn.utils.prune is at work in {type(model).__name__}. Make its masks "
                        'final first, by torch.nn.utils.prune.remove(layer, "weight").')
    strange = [name for name, each in tensors_by_name(model).items()
               if is_lazy(each) or each.is_meta or each.is_sparse or each.is_complex()]
    if strange:
        raise UserError(f"{place}: {strange[0]} is not a plain tensor of numbers that are there. "
                        "Put one batch through a lazy module first; sparse and complex weights are not pruned.")


def shadow(place: str, model: nn.Module, cell: Cell, examples: Examples | None = None) -> Net:
    """The module's copy as the engine takes networks: it begins from the weights that it has."""
    check(place, model)
    net = Net.of(_copied(place, model), (), 0)
    net.given = net.w.clone()
    net.as_built = cell.seed, [(slot, slot.of(net.w).clone()) for slot in net.slots if not drawn(slot)]
    if cell.granularity == "unit" and examples is not None:
        given, _ = next(iter(_some(examples).parts(2, net.w.dtype)))
        _, net.norms = read_norms(net, *given.args, **(given.kwargs or {}))
    return net


def _some(examples: Examples) -> Chosen:
    return examples.choose(2, lambda count: torch.arange(count).numpy())


def _copied(place: str, model: nn.Module) -> nn.Module:
    wide = torch.float64 if any(each.dtype == torch.float64 for each in tensors_by_name(model).values()) \
        else torch.float32
    try:
        return deepcopy(model).to("cpu", wide)
    except Exception as error:
        raise UserError(f"{place}: {type(model).__name__} cannot be copied ({type(error).__name__}: {error}). "
                        "Give the module itself, before it is wrapped or traced.") from error


@torch.no_grad()
def flat_of(net: Net, model: nn.Module) -> Tensor:
    """The module's values as the net's flat vector."""
    flat, own = torch.empty_like(net.w), _fitting(net, model)
    for slot in net.slots:
        slot.of(flat).copy_(own[slot.name])
    return flat


@torch.no_grad()
def put(net: Net, model: nn.Module, flat: Tensor) -> None:
    """Write a flat vector into the module's own tensors."""
    own = _fitting(net, model)
    for slot in net.slots:
        own[slot.name].copy_(slot.of(flat))


def _fitting(net: Net, model: nn.Module) -> dict[str, Tensor]:
    """The module's tensors by name; refused where one has another shape by now, such as a buffer that grows."""
    own = tensors_by_name(model)
    for slot in net.slots:
        shape = tuple(own[slot.name].shape) if slot.name in own else "none"
        if shape != slot.shape:
            raise UserError(f"{type(model).__name__}: {slot.name} had the shape {slot.shape} at first, and has "
                            f"{shape} by now. A buffer may change its values, and not its shape. Keep this one in a "
                            "plain attribute.")
    return own


def masks_of(net: Net, mask: Tensor) -> dict[str, Tensor]:
    """Parameter -> which of it is alive: every weight of a layer, and whatever else has dead in it."""
    return {slot.name: slot.of(mask).contiguous() for slot in net.slots
            if slot.role != "statistic" and (slot.role == "weight" or not bool(slot.of(mask).all()))}
