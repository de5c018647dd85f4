"""The structure of a network as Torch-Pruning sees it: channels of modules, on the graph that autograd records."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.thinning.inputs import Inputs, floats
from sweepstake.tickets.thinning.structure import NoStructure, Reader, Site, Sites, Together

CONVS = nn.modules.conv._ConvNd
MIXING = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Norms over channels: their numbers move with every channel that goes."""


def library() -> Any:
    try:
        import torch_pruning
    except ImportError as missing:
        raise UserError('thin: torch-pruning is missing. Say: pip install "sweepstake[thin]"') from missing
    return torch_pruning


def traced(model: nn.Module, inputs: Inputs) -> DepGraph:
    return DepGraph(model, inputs)


class DepGraph:
    """A dependency graph of Torch-Pruning."""

    followed_by = "torch-pruning"

    def __init__(self, model: nn.Module, inputs: Inputs):
        graph = library().DependencyGraph()
        try:
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")
                self.graph = graph.build_dependency(model, None, verbose=False,
                                                    forward_fn=lambda model, _: floats(inputs.run(model)))
        except Exception as problem:
            words = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
            raise NoStructure(f"torch-pruning: {words}") from problem
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        self.shapes = {name: tuple(value.shape) for name, value in [*model.named_parameters(), *model.named_buffers()]}
        self.parameters = {id(value): name for name, value in model.named_parameters()}
        self.first = {name: self.parameters[id(value)]
                      for name, value in model.named_parameters(remove_duplicate=False)}
        self.readers = [Reader(self.weight(module), 0 if getattr(module, "transposed", False) else 1)
                        for module in self.graph.module2node
                        if isinstance(module, nn.Linear) or (isinstance(module, CONVS) and module.groups == 1)]

    def weight(self, module: nn.Module) -> str:
        return self.parameters[id(module.weight)]

    def together(self, site: Site, indices: Iterable[int]) -> Together:
        module = self.model.get_submodule(site[0].rpartition(".")[0])
        pruner = self.graph.get_pruner_of_module(module)
        inward = site[1] == (0 if getattr(module, "transposed", False) else 1)
        prune = pruner.prune_in_channels if inward else pruner.prune_out_channels
        sites: Sites = {}
        try:
            group = self.graph.get_pruning_group(module, prune, sorted(indices))
        except Exception as problem:
            return Together(sites, f"torch-pruning says: {problem}")
        for dependency, positions in group:
            if problem := self.part(sites, dependency, positions):
                return Together(sites, problem)
        return Together(sites, "" if len(sites) > 1 else "it is an input of the network")

    def part(self, sites: Sites, dependency: Any, positions: Any) -> str:
        """Adds what one module loses; or says why it cannot lose it."""
        target = dependency.target.module
        if type(target).__name__ == "_OutputOp":
            return "it is an output of the network"
        if isinstance(target, MIXING):
            return f"{self.names[target]} computes with it"
        if isinstance(target, nn.Parameter):
            self.add(sites, self.parameters[id(target)], dependency.target.pruning_dim, positions)
        elif target in self.names:
            pruner = self.graph.get_pruner_of_module(target)
            if not self.layer(sites, target, dependency.handler == pruner.prune_out_channels, positions):
                return f"{self.names[target]} ({type(target).__name__}) cannot be cut"
        return ""

    def layer(self, sites: Sites, layer: nn.Module, out: bool, positions: Any) -> bool:
        """Adds what of a layer goes; False where its kind is not known."""
        name = self.names[layer]
        if isinstance(layer, nn.Linear | CONVS):
            if getattr(layer, "groups", 1) != 1 and layer.groups != layer.in_channels:  # pyright: ignore
                return False
            depthwise = getattr(layer, "groups", 1) != 1
            axis = 0 if out or depthwise else 1
            if getattr(layer, "transposed", False) and not depthwise:
                axis = 1 - axis
            self.add(sites, f"{name}.weight", axis, positions)
            if out or depthwise:
                self.add(sites, f"{name}.bias", 0, positions)
            return True
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            for own in ("weight", "bias", "running_mean", "running_var"):
                self.add(sites, f"{name}.{own}", 0, positions)
            return True
        if isinstance(layer, nn.PReLU):
            if layer.num_parameters > 1:
                self.add(sites, f"{name}.weight", 0, positions)
            return True
        if isinstance(layer, nn.Embedding):
            self.add(sites, f"{name}.weight", 1, positions)
            return True
        return not list(layer.parameters(recurse=False))

    def add(self, sites: Sites, name: str, axis: int, positions: Iterable[int]) -> None:
        name = self.first.get(name, name)
        if name in self.shapes:
            axis %= len(self.shapes[name])
            sites.setdefault((name, axis), set()).update(int(each) for each in positions)
