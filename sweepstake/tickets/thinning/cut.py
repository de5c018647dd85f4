"""The cut: constants go into the readers' biases, then every parameter and buffer loses its dead positions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.tickets.thinning.dead import Read
from sweepstake.tickets.thinning.structure import Reader, Site, Sites

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that a parameter or buffer is of, and its name there."""
    path, _, own = name.rpartition(".")
    return model.get_submodule(path), own


def with_biases(model: nn.Module) -> list[str]:
    """Gives each layer that lacks one a bias of 0; the names of those made."""
    made: list[str] = []
    for name, layer in model.named_modules():
        if isinstance(layer, LAYERS) and layer.bias is None and isinstance(layer._parameters.get("weight"), Tensor):
            out = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            layer.bias = nn.Parameter(layer.weight.new_zeros(out), layer.weight.requires_grad)
            made.append(f"{name}.bias" if name else "bias")
    return made


def without_biases(model: nn.Module, made: Iterable[str]) -> None:
    """Takes the biases away again that nothing was folded into."""
    for name in made:
        layer, own = owner(model, name)
        if not bool(getattr(layer, own).any()):
            setattr(layer, own, None)


def fold(model: nn.Module, reads: Mapping[Reader, Read], sites: Sites) -> None:
    """Adds what the channels to be cut add to their readers' sums, a constant, to the readers' biases."""
    for reader, read in reads.items():
        cut = sorted(sites.get(reader.site, ()))
        if not cut or not bool(read.constant[cut].any()):
            continue
        layer, own = owner(model, reader.weight)
        weight = getattr(layer, own).detach().movedim(reader.axis, 0)[cut]
        added = torch.tensordot(read.constant[cut].double(), weight.double(), 1)
        bias = getattr(layer, own.replace("weight", "bias"), None)
        if bias is None or (added.dim() and added.shape[0] != len(bias)):
            raise ValueError(f"{reader.weight} has no bias to fold a constant into")
        with torch.no_grad():
            bias.add_((added.flatten(1).sum(1) if added.dim() > 1 else added).to(bias))


def cut(model: nn.Module, sites: Sites) -> None:
    """Cuts these positions out of every parameter and buffer, wherever it stands, and the sizes that modules keep."""
    before = {name: tuple(value.shape) for name, value in tensors(model)}
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for own, value in [*module._parameters.items(), *module._buffers.items()]:
            if value is not None:
                places.setdefault(id(value), []).append((module, own))
    named = dict(tensors(model))
    for name in {name for name, _ in sites}:
        old = named[name]
        new = cut_tensor(old.detach(), name, sites)
        fresh = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        for module, own in places[id(old)]:
            (module._parameters if isinstance(old, nn.Parameter) else module._buffers)[own] = fresh  # pyright: ignore
    resize(model, before)


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def cut_tensor(value: Tensor, name: str, sites: Sites) -> Tensor:
    for axis in range(value.dim()):
        if gone := sites.get((name, axis)):
            value = value.index_select(axis, left(value.shape[axis], gone))
    return value.clone(memory_format=torch.contiguous_format)


def left(size: int, gone: set[int]) -> Tensor:
    return torch.tensor([index for index in range(size) if index not in gone], dtype=torch.int64)


def resize(model: nn.Module, before: Mapping[str, tuple[int, ...]]) -> None:
    """Tells torch's modules the sizes of what they hold now."""
    for name, layer in model.named_modules():
        weight = layer._parameters.get("weight", None)
        buffer = layer._buffers.get("running_mean", None)
        held = weight if weight is not None else buffer
        key = f"{name}.{'weight' if weight is not None else 'running_mean'}".lstrip(".")
        if held is not None and key in before and before[key] != tuple(held.shape):
            resized(layer, before[key], tuple(held.shape))


def resized(layer: Any, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = new
    elif isinstance(layer, nn.modules.conv._ConvNd):
        first, second = new[0], new[1]
        if layer.groups > 1:
            layer.groups = layer.groups * new[0] // old[0]
        if layer.transposed:
            layer.in_channels, layer.out_channels = first, second * layer.groups
        else:
            layer.out_channels, layer.in_channels = first, second * layer.groups
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.num_features = new[0]
    elif isinstance(layer, nn.GroupNorm):
        layer.num_groups = layer.num_groups * new[0] // old[0]
        layer.num_channels = new[0]
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = new[0]
    elif isinstance(layer, nn.Embedding):
        layer.embedding_dim = new[1]
    elif type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):
        layer.nx, layer.nf = new


def narrow_heads(model: nn.Module, sites: Sites, blocks: Mapping[Site, int],
                 before: Mapping[str, tuple[int, ...]]) -> None:
    """Tells attention modules how many heads they have left, where whole heads of their layers are cut.

    These numbers are attributes whose names speak of heads, and widths of all heads together.
    """
    for (name, axis), block in blocks.items():
        if (name, axis) not in sites or block < 2:
            continue
        wide = before[name][axis]
        now = wide - len(sites[name, axis])
        cut_owners = {path for each, at in sites for path in _above(each) if before[each][at] % block == 0}
        for path in cut_owners:
            _renumber(model.get_submodule(path), wide, now, block)


def _above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:-2])] if len(parts) > 2 else []


def _renumber(module: nn.Module, wide: int, now: int, block: int) -> None:
    for attribute, value in list(vars(module).items()):
        if type(value) is not int:
            continue
        counts = "head" in attribute and not any(part in attribute for part in ("dim", "size", "per"))
        if value == wide // block and counts:
            setattr(module, attribute, now // block)
        elif value == wide and attribute in ("all_head_size", "split_size", "inner_dim", "embed_dim"):
            setattr(module, attribute, now)
