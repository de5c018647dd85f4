"""A cell's recipe: the module that its model makes, and the weights that a round of it began with, drawn again.

The engine's own functions draw and reset, so that the weights are those that were trained, bit for bit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.build import draw_init, module_of
from sweepstake.engine.network import Net
from sweepstake.engine.rounds import reset, rewinds
from sweepstake.engine.train import Trained
from sweepstake.pieces import reset as resets
from sweepstake.pieces.datasets import with_places
from sweepstake.run.layout import by_name, images_shape, net_of
from sweepstake.tickets.names import tensors_by_name


def draw(cell: Cell | Mapping[str, Any], data: str | Path | None = None,
         folder: Path = Path()) -> tuple[nn.Module, dict[str, Tensor]]:
    """A cell's module at its initial weights, and those: every parameter and floating-point buffer by name.

    The cell may be given by its fields. Its images are read, from `data` first, only where nothing else tells their
    shape; the paths of its own files are from `folder`.
    """
    cell = with_places(cell if isinstance(cell, Cell) else _cell_of(cell), folder)
    net = net_of(cell, data)
    tensors = by_name(net.slots, draw_init(net, cell, "init"))
    module = module_of(cell, net.inputs, net.classes)
    with torch.no_grad():
        for name, own in tensors_by_name(module).items():
            own.copy_(tensors[name])
    return module, tensors


def build(cell: Cell, data: str | Path | None = None) -> nn.Module:
    """A cell's module as its model makes it."""
    return module_of(cell, *images_shape(cell, data))


def needs(cell: Cell, round_: int) -> set[str]:
    """The weights that a round began from and that no draw gives again: of `w_step` and `w_final`, both of before."""
    if round_ == 0:
        return set()
    taken = {"w_final", *(["w_step"] if rewinds(cell) else [])}
    return taken & set(resets.get(cell.reset.name).takes)


def begun(net: Net, cell: Cell, round_: int, mask: Tensor, left: Mapping[str, Tensor]) -> Tensor:
    """All weights where the training of a round began; `left` holds what `needs` names."""
    w_init = draw_init(net, cell, "init")
    if round_ == 0:
        return w_init * mask
    stations = {"w_init": w_init, "w_step": w_init, "w_start": w_init, "w_final": w_init, **left}
    trained = Trained(stations["w_final"], None, None, None, [], {}, 0, {})
    return reset(net, cell, stations, mask, round_ - 1, trained).w


def _cell_of(fields: Mapping[str, Any]) -> Cell:
    try:
        return msgspec.convert(fields, Cell)
    except msgspec.ValidationError as error:
        raise UserError(f"ticket: its cell is not one of this version: {error}. "
                        "Draw it with the version of sweepstake that made it.") from error
