"""The structure of a network as torch-kirigami sees it: exact for every element, on a graph of torch calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn import functional as F

from sweepstake.base.errors import UserError
from sweepstake.tickets.thinning.calls import CONV, LINEAR, READS, TRANSPOSED, argument
from sweepstake.tickets.thinning.captured import by_dynamo
from sweepstake.tickets.thinning.inputs import Inputs
from sweepstake.tickets.thinning.structure import NoStructure, Reader, Site, Together

REWRITES = ("changed_arguments", "argument_provenance", "argument_layout", "partitioned_constraint")
"""What the library asks of who rewrites the graph's own calls. The network's forward computes these anew."""
BLOCKS = ("unsupported_layout", "unbalanced_groups", "unbalanced_blocks", "empty_partition")
"""What it says where part of a block would go."""

PARTS = 64
"""Into how many pieces a tensor may fall, or as many as the longest axis of a weight."""

LAYERS = {nn.Linear: LINEAR, nn.Conv1d: CONV, nn.Conv2d: CONV, nn.Conv3d: CONV, nn.ConvTranspose1d: TRANSPOSED,
          nn.ConvTranspose2d: TRANSPOSED, nn.ConvTranspose3d: TRANSPOSED}


def _last(operation: Any, dims: int) -> range:
    own = operation.module
    shape = own.normalized_shape if own is not None else operation.argument("normalized_shape", 1)
    return range(dims - len(shape), dims)


MIXING: dict[Any, Callable[[Any, int], range]] = {
    F.layer_norm: _last, F.rms_norm: _last, nn.LayerNorm: _last, nn.RMSNorm: _last,
    F.group_norm: lambda operation, dims: range(1, 2), nn.GroupNorm: lambda operation, dims: range(1, 2),
}
"""Norms -> over which axes they compute: their numbers move when part of these goes."""


def traced(model: nn.Module, inputs: Inputs) -> Kirigami:
    return Kirigami(model, inputs, "torch-kirigami on torch.fx", {})


def compiled(model: nn.Module, inputs: Inputs) -> Kirigami:
    captured = by_dynamo(model, inputs)
    return Kirigami(captured.module, Inputs(captured.inputs, {}), "torch-kirigami on TorchDynamo", captured.names)


def library() -> Any:
    try:
        import torch_kirigami
    except ImportError as missing:
        raise UserError('thin: torch-kirigami is missing. Say: pip install "sweepstake[thin]"') from missing
    return torch_kirigami


class Kirigami:
    """A dependency graph of torch-kirigami."""

    def __init__(self, module: nn.Module, inputs: Inputs, name: str, names: Mapping[str, str]):
        self.followed_by, self.names = name, names
        self.paths = {name: path for path, name in names.items()}
        kirigami = library()
        from sweepstake.tickets.thinning.rules import registry

        self.parts = max([PARTS, *(max(value.shape, default=0) for value in module.parameters())])
        try:
            with warnings.catch_warnings(), self.limit():
                warnings.simplefilter("ignore")
                self.graph = kirigami.DependencyGraph.build(module, args=inputs.args, kwargs=inputs.kwargs,
                                                            operators=registry())
        except Exception as problem:
            raise NoStructure(f"torch-kirigami: {str(problem).strip().splitlines()[0]}") from problem
        self.operations = list(self.graph.operations())
        self.own = {ref.id: ref for ref in self.graph.values() if ref.kind in ("parameter", "buffer")}
        self.readers = list(dict.fromkeys(reader for each in self.operations if (reader := self.reader(each))))

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Inside, the library gives up on a tensor in too many pieces: its time is their number squared."""
        settings = library().config
        before = settings.max_parts
        settings.max_parts = self.parts
        try:
            yield
        finally:
            settings.max_parts = before

    def reader(self, operation: Any) -> Reader | None:
        """The weight that sums over channels in a call, of a module or of a function."""
        module = operation.module
        if module is not None:
            reads = LAYERS.get(type(module))
            weight, groups = operation.bindings.get("weight"), getattr(module, "groups", 1)
        else:
            reads = READS.get(operation.node.target)
            weight = argument(reads.weight, operation.args, operation.kwargs) if reads else None
            groups = argument(reads.groups, operation.args, operation.kwargs, 1) if reads else 1
        if reads is None or weight is None or groups != 1 or getattr(weight, "kind", "") != "parameter":
            return None
        return Reader(self.name(weight), reads.axis % len(weight.shape))

    def name(self, reference: Any) -> str:
        """A parameter's or buffer's name in the network."""
        return self.names.get(reference.paths[0], reference.paths[0])

    def together(self, site: Site, indices: Iterable[int]) -> Together:
        name, axis = site
        reference = self.graph.parameter(self.paths.get(name, name))
        with self.limit():
            impact = self.graph.propagate(remove=[reference.axis(axis).select(sorted(indices))])
        sites, part = dict[Site, set[int]](), ""
        for selection in impact.selections.values():
            if selection.tensor.id not in self.own or not selection.tensor.paths:
                continue
            cut, complete = _axes(selection)
            part = part if complete else f"part of {self.name(selection.tensor)} would have to go"
            sites |= {(self.name(selection.tensor), each): found for each, found in cut.items()}
        problem, blocks = self.problem(impact)
        return Together(sites, problem or part, blocks or (bool(part) and not problem))

    def problem(self, impact: Any) -> tuple[str, bool]:
        for ref in impact.interfaces:
            return f"it is an {'input' if ref.kind == 'input' else 'output'} of the network", False
        if mixed := self.mixed(impact):
            return mixed, False
        told = [each for each in impact.diagnostics if each.code not in REWRITES]
        other = [each for each in told if each.code not in BLOCKS]
        if other:
            return f"{self.followed_by.split()[0]} says: {other[0].message}", False
        return (f"{self.followed_by.split()[0]} says: {told[0].message}", True) if told else ("", False)

    def mixed(self, impact: Any) -> str:
        """Which norm computes with the other channels of what would go, in words."""
        for operation in self.operations:
            kind = type(operation.module) if operation.module is not None else operation.node.target
            if kind not in MIXING:
                continue
            value = argument(0, operation.args, operation.kwargs)
            chosen = impact.selections.get(value.id)
            over = MIXING[kind](operation, len(value.shape))
            if chosen is not None and any(chosen.regions and set(region.axes[axis]) != set(range(value.shape[axis]))
                                          for region in chosen.regions for axis in over):
                return f"a {kind.__name__.replace('_', ' ')} computes with it"
        return ""


def _axes(selection: Any) -> tuple[dict[int, set[int]], bool]:
    """The positions along each axis that are selected across all others, and whether they are all of the selection."""
    shape = selection.tensor.shape
    cut = {axis: set(found) for axis in range(len(shape)) if (found := selection.fully_selected_indices(axis))}
    whole, left = 1, 1
    for axis, size in enumerate(shape):
        whole, left = whole * size, left * (size - len(cut.get(axis, ())))
    return cut, whole - left == selection.count
