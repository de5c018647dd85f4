"""A smaller network without a ticket's dead units, proven to give the same outputs.

A unit, channel or attention head is dead where nothing alive reads it, or where it is the same constant for every
input: that constant moves into the biases of its readers. `thin` cuts dead units out until none is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.thinning.cut import owner, with_biases
from sweepstake.tickets.thinning.dead import columns_alive
from sweepstake.tickets.thinning.equal import Unequal
from sweepstake.tickets.thinning.inputs import Inputs
from sweepstake.tickets.thinning.libraries import structures
from sweepstake.tickets.thinning.rounds import Network, Thinning
from sweepstake.tickets.thinning.structure import NoStructure

ENDS = ("it is an input of the network", "it is an output of the network")

@dataclass(frozen=True)
class Thinned:
    """A smaller network that gives what the whole one gives under its masks."""

    module: nn.Module
    """The smaller network, in the mode of the one given; what is dead in it is 0."""
    masks: Mapping[str, Tensor]
    """Which of the weights that stayed are alive, in the smaller network's names and shapes."""
    removed: Mapping[str, tuple[int, int]]
    """Layer -> how many of how many of its units are gone."""
    kept_back: Mapping[str, str]
    """Layer that reads units which could have gone -> why they stayed."""
    largest_difference: float
    """The largest |whole - small| over the largest |whole| of the same output tensor, in eval mode."""
    parameters_before: int
    parameters_after: int
    followed_by: str = ""
    """Whose dependency graph was followed."""

    def __str__(self) -> str:
        return self.report()

    def report(self) -> str:
        """What went, what stayed and why, and how equal the outputs are, line by line."""
        share = self.parameters_after / max(1, self.parameters_before)
        lines = [f"{self.parameters_before:,} parameters became {self.parameters_after:,} ({share:.1%}); "
                 f"outputs differ by at most {self.largest_difference:.1e} of their size."]
        lines += [f"  {layer}: {gone:,} of {units:,} units removed" for layer, (gone, units) in self.removed.items()]
        lines += [f"  {layer}: dead units stay: {reason}" for layer, reason in self.kept_back.items()]
        return "\n".join(lines)


def thin(model: nn.Module, masks: Mapping[str, Tensor], example: Any) -> Thinned:
    """The network without its dead units, equal to the whole one under its masks; the one given is left as it was.

    `example` is what the forward takes: a tensor, a tuple of arguments, or a dictionary of keyword arguments. Equal
    outputs are proven in eval mode on it and on three random inputs of its shapes. What cannot be proven stays.
    """
    masks, inputs = checked(model, masks), Inputs.of(example)
    whole = prepared(model, masks)
    best: Thinned | None = None
    problems: list[str] = []
    for structure in structures(whole.module, inputs):
        if isinstance(structure, NoStructure):
            problems.append(str(structure))
            continue
        found = Thinning(replace(whole, module=deepcopy(whole.module)), structure, inputs)
        found.run()
        result = finished(found, model)
        if best is None or result.parameters_after < best.parameters_after:
            best = result
        if not stayed(best) or (best.removed and not troubled(best)):
            return best
    if best is None:
        raise UserError(*[f"thin: {type(model).__name__} cannot be followed. {each}" for each in problems])
    if not best.removed and stayed(best):
        raise UserError(*[f"thin: {layer} has dead units that cannot be removed: {why}."
                          for layer, why in stayed(best).items()])
    return best


def stayed(result: Thinned) -> dict[str, str]:
    """What was kept back inside the network; its inputs and outputs stay in any case."""
    return {layer: why for layer, why in result.kept_back.items() if why not in ENDS}


def troubled(result: Thinned) -> bool:
    """Whether a library's graph stood in the way, so that another one may do better."""
    words = (" says: ", "would", "does not run", "no library sees")
    return any(word in why for why in result.kept_back.values() for word in words)


def checked(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks by the parameters' first names; a mask that does not fit is a user's mistake."""
    first = {id(value): name for name, value in model.named_parameters()}
    own = {name: (first[id(value)], value) for name, value in model.named_parameters(remove_duplicate=False)}
    problems = [f"thin: {name} is not a parameter of this module." for name in masks if name not in own]
    problems += [f"thin: the mask of {name} has shape {tuple(mask.shape)}, and the parameter "
                 f"{tuple(own[name][1].shape)}."
                 for name, mask in masks.items() if name in own and mask.shape != own[name][1].shape]
    problems += [f"thin: the mask of {name} is of {mask.dtype}. A mask is boolean, True where a weight is alive."
                 for name, mask in masks.items() if mask.dtype != torch.bool]
    if problems:
        raise UserError(*problems)
    return {own[name][0]: mask.detach().clone() for name, mask in masks.items()}


def prepared(model: nn.Module, masks: Mapping[str, Tensor]) -> Network:
    """A copy in eval mode, the dead at 0, in which every layer has a bias to fold constants into."""
    module = deepcopy(model).eval()
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.requires_grad_(value.is_floating_point() or value.is_complex()).grad = None
            if name in masks:
                value.copy_(torch.where(masks[name], value, 0))
    return Network(module, masks, with_biases(module))


def finished(thinning: Thinning, model: nn.Module) -> Thinned:
    """What came of a network: checked once more, in the mode of the one given."""
    try:
        small, difference = thinning.finished()
    except Unequal as problem:
        raise UserError(f"thin: {type(model).__name__} cannot be thinned: {problem}.") from problem
    like(small, model)
    before, after = (sum(each.numel() for each in module.parameters()) for module in (model, small))
    masks, back = thinning.network.masks, kept_back(thinning, model, thinning.network)
    return Thinned(small, masks, removed_units(model, small), back, difference, before, after,
                   thinning.structure.followed_by)


def like(small: nn.Module, model: nn.Module) -> None:
    """The mode, and which parameters take gradients, as in the network given."""
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in small.named_modules():
        module.training = modes.get(name, model.training)
    takes = {name: value.requires_grad for name, value in model.named_parameters()}
    for name, value in small.named_parameters():
        value.requires_grad_(takes.get(name, takes.get(name.replace("bias", "weight"), True)))


def removed_units(model: nn.Module, small: nn.Module) -> dict[str, tuple[int, int]]:
    """Layer -> how many of how many units are gone, of every layer that lost some."""
    found: dict[str, tuple[int, int]] = {}
    for name, layer in model.named_modules():
        axis = out_axis(layer)
        if axis is not None:
            units, now = (each.get_parameter("weight").shape[axis] for each in (layer, small.get_submodule(name)))
            if now < units:
                found[name] = (units - now, units)
    return found


def out_axis(layer: Any) -> int | None:
    """Along which axis of a layer's weight its units stand."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        return 1 if layer.transposed else 0
    if type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):
        return 1
    return 0 if isinstance(layer, nn.Linear) else None


def kept_back(thinning: Thinning, model: nn.Module, network: Network) -> dict[str, str]:
    """Layer -> why dead units of it, or that it reads, stayed."""
    root = f"the network ({type(model).__name__})"
    found = {layer or root: why for layer, why in thinning.kept_back().items()}
    followed = {reader.weight for reader in thinning.structure.readers}
    for name, mask in network.masks.items():
        layer, _ = owner(model, name)
        if mask.dim() < 2 or name in followed or isinstance(layer, nn.Embedding):
            continue
        dead = any(not bool(columns_alive(mask, axis).all()) for axis in (0, 1))
        if dead and (out_axis(layer) is None or getattr(layer, "groups", 1) == 1):
            kind = type(layer).__name__
            found.setdefault(name.rpartition(".")[0] or root, f"no library sees what a {kind} does there")
    return found
