"""What remains of a pruned network, layer by layer dense or sparse: by what was measured on this machine."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.measured.timing import on_threads, timed
from sweepstake.tickets.sparse.choice import Choice, Choosing, Times
from sweepstake.tickets.sparse.layers import SparseChain, SparseLinear
from sweepstake.tickets.sparse.watching import Example

CLOSE = 1e-5
"""How far an output may be from the dense module's, of the largest there is."""


@dataclass(frozen=True)
class Sparsified:
    """A module without its dead weights, for inference on this machine's CPU.

    Its choices depend on times, so another call may choose otherwise; outputs then agree to rounding.
    """

    module: nn.Module
    choices: Mapping[str, Choice]
    """Layer -> how it is computed, and why. A run of layers stands under its first and last: `fc1..fc3`."""
    times: Times
    """The whole module, `dense` and `sparse`; nothing where the ways were given."""
    error: float
    """The largest difference of an output from the dense module's, of the largest output."""
    threads: int
    """torch's threads meanwhile. Our kernel takes one, torch's CSR as many as torch has."""

    @property
    def ways(self) -> dict[str, str]:
        """What was chosen, as `sparsify` takes it."""
        return {name: choice.chosen for name, choice in self.choices.items()}

    def to_dense(self) -> nn.Module:
        """The same in PyTorch's own layers, the dead at 0: for ONNX and torch.export, which take no sparse layers."""
        return to_dense(self.module)


def sparsify(module: nn.Module, masks: Mapping[str, Tensor], example: Any, *, threads: int | None = None,
             ways: Mapping[str, str] | None = None) -> Sparsified:
    """A copy of a module whose Linear layers hold their surviving weights alone, where that is faster here.

    `masks`: parameter -> which of its weights are alive. `example`: a tensor, a tuple of arguments, or a dict of them;
    a list is several batch sizes, each of which counts as much. `ways`: what to choose, as `Sparsified.ways` says it;
    nothing is measured then, and what it does not name is sparse. Convolutions stay dense.
    """
    check_masks(module, masks)
    examples = [Example.of(each) for each in (example if isinstance(example, list) else [example])]
    dense = copy.deepcopy(module).eval()
    with torch.no_grad(), on_threads(threads):
        for name, mask in masks.items():
            parameter = dense.get_parameter(name)
            parameter.mul_(mask.to(parameter.device))
        choosing = Choosing(copy.deepcopy(dense), masks, examples, ways)
        sparse = choosing.done()
        error = max(difference(each.through(dense), each.through(sparse)) for each in examples)
        if not error <= CLOSE:
            raise UserError(f"sparsify: an output differs by {error:.1e} of the largest, and may by {CLOSE:.0e}. "
                            "Keep this module dense: it draws at random, or its weights are not numbers.")
        times = {} if ways is not None else {
            each.images: timed({"dense": partial(each.through, dense), "sparse": partial(each.through, sparse)})
            for each in examples}
        return Sparsified(sparse, choosing.choices, times, error, torch.get_num_threads())


def to_dense(module: nn.Module) -> nn.Module:
    """A copy with PyTorch's own layers in the place of sparse ones."""
    if isinstance(module, SparseLinear | SparseChain):
        return module.to_dense()
    whole = copy.deepcopy(module)
    for path in list(_sparse_paths(whole)):
        layer = whole.get_submodule(path)
        assert isinstance(layer, SparseLinear | SparseChain)
        whole.set_submodule(path, layer.to_dense())
    return whole


def _sparse_paths(module: nn.Module, path: str = "") -> Iterator[str]:
    """Of every sparse layer that is not a part of another."""
    for name, child in module.named_children():
        here = f"{path}.{name}" if path else name
        if isinstance(child, SparseLinear | SparseChain):
            yield here
        else:
            yield from _sparse_paths(child, here)


def check_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Refuse masks that are not of this module's parameters."""
    own, problems = dict(module.named_parameters()), []
    for name, mask in masks.items():
        if name not in own:
            problems.append(f"sparsify: masks: {name} is no parameter of this module.")
        elif mask.dtype is not torch.bool or mask.shape != own[name].shape:
            problems.append(f"sparsify: masks: {name} is {mask.dtype} {tuple(mask.shape)}, and has to be torch.bool "
                            f"{tuple(own[name].shape)}.")
    if problems:
        raise UserError(*problems[:5])


def difference(one: Any, other: Any) -> float:
    """The largest difference of any tensor in two outputs, each of its own largest number."""
    pairs = zip(tensors_in(one), tensors_in(other), strict=True)
    apart = (float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in pairs if a.numel())
    return max(apart, default=0.0)


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Every floating-point tensor of an output: a tensor, or a tuple, list or dict of them."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping | tuple | list):
        for each in output.values() if isinstance(output, Mapping) else output:
            yield from tensors_in(each)
