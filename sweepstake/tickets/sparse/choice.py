"""How each Linear layer, and each run of layers, is computed: the candidates, their times, and the fastest in place."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import log
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError, one_of, unknown
from sweepstake.tickets.measured.timing import timed
from sweepstake.tickets.sparse.layers import SparseChain, SparseLinear
from sweepstake.tickets.sparse.runs import Run, runs_of
from sweepstake.tickets.sparse.watching import Example, watch

Times = Mapping[int, Mapping[str, float]]
"""Images in an example -> way -> median microseconds a call."""
LAYER, RUN = ("ours", "dense", "csr", "whole"), ("chain", "separate")
ALONE, CHAINED = ("ours", "dense", "csr"), ("ours", "whole")
"""The ways of a layer alone, and of one in a chain. The first holds where ways are given and the layer is not named."""
AS_GOOD = 1.05
"""What a repeated measurement of the same easily differs by. Ours comes first: it is the smaller on disk."""
IN_CHAIN = {"ours": "ours", "whole": "dense"}
"""Which of the layer's candidates a chain computes in that way."""


@dataclass(frozen=True)
class Choice:
    """How a layer or a run of layers is computed, and the times of all ways.

    A layer: `dense`, PyTorch's; `csr`, torch's sparse matrix; `ours`, our kernel over surviving weights; within a chain
    also `whole`, our kernel over all weights. A run: `chain`, one compiled call; `separate`, its layers one by one.
    """

    chosen: str
    times: Times = field(default_factory=dict[int, Mapping[str, float]])
    """What was measured; nothing where the way was given."""


class Choosing:
    """A module on its way from dense to sparse."""

    def __init__(self, module: nn.Module, masks: Mapping[str, Tensor], examples: Sequence[Example],
                 ways: Mapping[str, str] | None):
        self.module, self.masks, self.ways = module, masks, ways
        self.choices: dict[str, Choice] = {}
        self.seen = watch(module, examples)
        self.runs = [run for run in runs_of(module) if self._is_one(run)]
        in_runs = {path for run in self.runs for path in run.paths}
        self.layers: dict[str, nn.Linear] = {
            path: layer for path, layer in module.named_modules() if isinstance(layer, nn.Linear)
            and (weight_of(path) in masks or path in in_runs) and self._is_replaceable(path)}

    def done(self) -> nn.Module:
        """The module with every layer and run computed as was chosen."""
        self._check_ways()
        in_runs = {path for run in self.runs for path in run.paths}
        for path in self.layers.keys() - in_runs:
            candidates = self._candidates(path)
            times = self._times(candidates, self.seen[path].inputs)
            way = self._pick(path, times, ALONE)
            self.choices[path] = Choice(way, times)
            self._put(path, candidates[way])
        for run in self.runs:
            self._run(run)
        return self.module

    def _check_ways(self) -> None:
        """Refuse ways that do not exist or do not go together, and those of layers that cannot be replaced."""
        ways = self.ways or {}
        known = {**dict.fromkeys(self.layers, LAYER), **{run.name: RUN for run in self.runs}}
        for run in self.runs:
            if run.name in ways:
                known.update(dict.fromkeys(run.paths, CHAINED if ways[run.name] == "chain" else ALONE))
        problems = [unknown(f"sparsify: ways: {name}", "layer that can be sparse", name, known) if name not in known
                    else f'sparsify: ways: {name} = "{way}". Say {one_of(known[name])}.'
                    for name, way in ways.items() if name not in known or way not in known[name]]
        if problems:
            raise UserError(*problems)

    def _is_replaceable(self, path: str) -> bool:
        """Whether it is a float32 nn.Linear on the CPU that the examples reach, its weight its own."""
        layer = self.module.get_submodule(path)
        if type(layer) is not nn.Linear or layer.weight.dtype is not torch.float32 or not layer.weight.is_cpu:
            return False
        holders = [each for _, each in self.module.named_parameters(remove_duplicate=False) if each is layer.weight]
        return len(holders) == 1 and bool(self.seen[path].inputs)

    def _is_one(self, run: Run) -> bool:
        """Whether its layers can be replaced, some are pruned, and they were called only as its container was."""
        return (all(self._is_replaceable(path) and self.seen[path].calls == self.seen[run.container].calls
                    for path in run.paths) and any(weight_of(path) in self.masks for path in run.paths))

    def _candidates(self, path: str) -> dict[str, Any]:
        """A layer in all its ways, but for `whole`."""
        dense = self.layers[path]
        ours = SparseLinear.of(dense, self.masks.get(weight_of(path)))
        csr = SparseLinear(ours.rows, ours.bias, "csr")
        candidates: dict[str, Any] = {"dense": dense, "ours": ours}
        with suppress(*() if (self.ways or {}).get(path) == "csr" else (RuntimeError,)):  # Some torch has no MKL.
            csr(next(iter(self.seen[path].inputs.values())))
            candidates["csr"] = csr
        return candidates

    def _times(self, candidates: Mapping[str, nn.Module], inputs: Mapping[int, Tensor]) -> Times:
        """Of every way in every example; nothing where the ways are given."""
        if self.ways is not None:
            return {}
        return {images: timed({way: partial(made, x) for way, made in candidates.items()})
                for images, x in inputs.items()}

    def _pick(self, name: str, times: Times, among: Sequence[str]) -> str:
        """The fastest of these over all examples, each of which counts as much; an earlier one where that is as good.

        Where ways are given, what is given, or the first.
        """
        if self.ways is not None:
            given = self.ways.get(name)
            return given if given is not None and given in among else among[0]
        means = {way: fmean(log(taken[way]) for taken in times.values())
                 for way in among if all(way in taken for taken in times.values())}
        return next(way for way, mean in means.items() if mean <= min(means.values()) + log(AS_GOOD))

    def _run(self, run: Run) -> None:
        """A run as one chain, or its layers one by one."""
        times, alone, chained = {}, {}, {}
        for path, slope in zip(run.paths, run.slopes, strict=True):
            candidates = self._candidates(path)
            whole = SparseChain([("whole", self.layers[path], slope)])
            times[path] = self._times({**candidates, "whole": whole}, self.seen[path].inputs)
            alone[path] = self._pick(path, times[path], ALONE)
            chained[path] = self._pick(path, times[path], CHAINED)
            alone[path, "layer"] = candidates[alone[path]]
            chained[path, "layer"] = candidates[IN_CHAIN[chained[path]]]
        layers = [chained[path, "layer"] for path in run.paths]
        chain = SparseChain(zip(run.layers, layers, run.slopes, strict=True), run.flatten)
        separate = self._separate(run, {path: alone[path, "layer"] for path in run.paths})
        seen = self.seen[run.container if run.whole else run.path(run.children[0])]
        times[run.name] = self._times({"chain": chain, "separate": separate}, seen.inputs)
        way = self._pick(run.name, times[run.name], RUN)
        for path in run.paths:
            self.choices[path] = Choice((chained if way == "chain" else alone)[path], times[path])
        self.choices[run.name] = Choice(way, times[run.name])
        if way == "chain":
            self._put_run(run, chain)
        else:
            for path in run.paths:
                self._put(path, alone[path, "layer"])

    def _separate(self, run: Run, layers: Mapping[str, nn.Module]) -> nn.Module:
        """The run's container with these layers, and with nothing beyond the run."""
        container = self.module.get_submodule(run.container)
        made = copy.copy(container)
        made._modules = {name: layers.get(run.path(name), container._modules[name]) for name in run.children}
        return made

    def _put(self, path: str, layer: nn.Module) -> None:
        if path:
            self.module.set_submodule(path, layer)
        else:
            self.module = layer

    def _put_run(self, run: Run, chain: SparseChain) -> None:
        """The chain in the place of its container, or of the run's first child; the others go."""
        if run.whole:
            self._put(run.container, chain)
            return
        children = self.module.get_submodule(run.container)._modules
        kept = [(name, chain if name == run.children[0] else child) for name, child in children.items()
                if name == run.children[0] or name not in run.children]
        children.clear()
        children.update(kept)


def weight_of(path: str) -> str:
    """The name of a layer's weight."""
    return f"{path}.weight" if path else "weight"
