"""Where each parameter lies in a flat vector: kept beside masks, so that they are read by name and in shape."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine.build import build_net
from sweepstake.engine.images import prepare
from sweepstake.engine.network import Net, Slot
from sweepstake.pieces.datasets import spec_of
from sweepstake.run.data import data_directories, decoded_cache, load_data
from sweepstake.run.store import Store


class Part(Struct, frozen=True):
    """A parameter or statistic, as a layout says it; parts lie one after another."""

    name: str
    shape: tuple[int, ...]
    role: str
    """weight: it is counted in kept fractions. bias, other, statistic: see `Slot`."""


def written(slots: Sequence[Slot]) -> str:
    """A layout as JSON."""
    return msgspec.json.encode([Part(slot.name, slot.shape, slot.role) for slot in slots]).decode()


def slots_in(text: str) -> list[Slot]:
    """The slots of a written layout: places, names, shapes and roles alone."""
    slots, start = list[Slot](), 0
    for part in msgspec.json.decode(text, type=list[Part]):
        stop = start + prod(part.shape)
        slots.append(Slot(name=part.name, layer=part.name.rpartition(".")[0], role=part.role, kind="",
                          start=start, stop=stop, shape=part.shape, fan_in=0, fan_out=0))
        start = stop
    return slots


def by_name(slots: Sequence[Slot], flat: Tensor) -> dict[str, Tensor]:
    """A copy of each part of a flat vector, under its name and in its own shape."""
    return {slot.name: slot.of(flat).contiguous().clone() for slot in slots}


def flat_of(slots: Sequence[Slot], tensors: Mapping[str, Tensor]) -> Tensor:
    """Named parts as one flat vector again."""
    flat = torch.empty(slots[-1].stop, dtype=tensors[slots[0].name].dtype)
    for slot in slots:
        slot.of(flat).copy_(tensors[slot.name])
    return flat


def masks_by_name(store: Store, id_: str, cell: Cell) -> list[dict[str, Tensor]]:
    """Each round's masks of a finished cell: parameter -> which of it is alive, in the parameter's own shape."""
    slots = slots_of(store, id_, cell)
    return [by_name(slots, mask) for mask in store.masks(id_)]


def slots_of(store: Store, id_: str, cell: Cell, data: str | Path | None = None) -> list[Slot]:
    """Where each parameter lies in a finished cell's masks: as said beside them, or else as in its network."""
    said = store.layout(id_)
    return net_of(cell, data).slots if said is None else slots_in(said)


def net_of(cell: Cell, data: str | Path | None = None) -> Net:
    """A cell's network. Its images are read, from `data` first, only where nothing else tells their shape."""
    return build_net(cell, *images_shape(cell, data))


def images_shape(cell: Cell, data: str | Path | None = None) -> tuple[tuple[int, ...], int]:
    """The shape of a cell's images, and the number of classes."""
    if (spec := spec_of(cell.dataset)) is not None:
        return spec.shape, spec.classes
    images = prepare(cell, load_data(cell.dataset, data_directories(data), decoded_cache()))
    return images.inputs, images.classes
