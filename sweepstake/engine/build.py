"""The network of a cell: built by the cell's model, tried once on its shapes, drawn from the cell's init."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.registry import Piece
from sweepstake.engine import streams
from sweepstake.engine.network import Net, Slot, check_norms, flat_of, moved_from, read_norms
from sweepstake.pieces import init as inits
from sweepstake.pieces import model as models

DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""The type that weights are stored in. Under bfloat16 only the arithmetic is bfloat16."""


def build_net(cell: Cell, inputs: tuple[int, ...], classes: int) -> Net:
    """The cell's network, run once on two black images to check its shapes and to find which norm reads each layer."""
    piece, place = models.get(cell.model.name), models.get(cell.model.name).told()
    module = module_of(cell, inputs, classes)
    check_norms(module)
    net = Net.of(module, inputs, classes)
    shape = (min(2, cell.batch_size), *inputs)  # One image where batches are of one.
    with streams.torch_draws(cell.seed, "trial"), _blamed(piece, "on a batch of shape {}", shape):
        answer, net.norms = read_norms(net, torch.zeros(shape, dtype=net.w.dtype))
    expected = (shape[0], classes)
    if not isinstance(answer, Tensor) or tuple(answer.shape) != expected:
        gave = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise UserError(f"{place}: gave {gave} for a batch of shape {shape}, expected (batch, classes) = {expected}.")
    if moved := moved_from(net):
        raise UserError(
            f"{place}: puts a new tensor in place of {moved.name} when it runs, so it could not be rewound. "
            f"Write into it instead: {moved.name.rpartition('.')[2]}.copy_(...)."
        )
    return net


def module_of(cell: Cell, inputs: tuple[int, ...], classes: int) -> nn.Module:
    """The module as the cell's model makes it; whatever it draws comes from the seed."""
    piece = models.get(cell.model.name)
    offers = {"inputs": lambda: inputs, "classes": lambda: classes}
    with streams.torch_draws(cell.seed, "module"), _blamed(piece, "with inputs = {} and classes = {}", inputs, classes):
        module = piece(offers, cell.model.options)
    if not isinstance(module, nn.Module):
        raise piece.misfit(module, "a torch.nn.Module. Return the network itself")
    return module.to(DTYPES[cell.precision])


@contextmanager
def _blamed(piece: Piece, when: str, *given: object) -> Iterator[None]:
    """An error that the user's module raises becomes a message that names the model."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = f"{type(error).__name__} {when.format(*given)}"
        raise UserError(f"{piece.told(error)}: raised {what}: {error}.") from error


def comes_trained(cell: Cell) -> bool:
    """Whether the cell's model says that it brings trained weights."""
    return bool(models.get(cell.model.name).traits.get("pretrained"))


def as_built(net: Net, cell: Cell) -> list[tuple[Slot, Tensor]]:
    """What no init draws (norms, statistics, embeddings, other parameters), as the module is built for the seed.

    Of a model that comes trained, everything.
    """
    whole = net.given is None and comes_trained(cell)
    others = [slot for slot in net.slots if whole or not drawn(slot)]
    if net.as_built is None or net.as_built[0] != cell.seed:
        flat = flat_of(module_of(cell, net.inputs, net.classes), net.slots) if others else net.w
        net.as_built = cell.seed, [(slot, slot.of(flat).clone()) for slot in others]
    return net.as_built[1]


def drawn(slot: Slot) -> bool:
    """Whether an init draws this parameter. An embedding keeps what its module drew: it has no units that sum up."""
    return slot.role in ("weight", "bias") and slot.kind != "embedding"


def draw_init(net: Net, cell: Cell, *purpose: object, ref: tuple[str, dict[str, object]] | None = None) -> Tensor:
    """All parameters from the cell's init (or from `ref`), drawn for (seed, purpose); norms as they were built.

    The beginning ("init") of a network that comes trained, or was given, is all as it came.
    """
    if net.given is not None and purpose == ("init",):
        return net.given.clone()
    flat = torch.empty_like(net.w)
    for slot, value in as_built(net, cell):
        slot.of(flat).copy_(value)
    for slot in [] if purpose == ("init",) and comes_trained(cell) else net.slots:
        if not drawn(slot):
            continue
        chosen = (cell.init if slot.role == "weight" else cell.bias_init) if ref is None else None
        name, options = (chosen.name, chosen.options) if chosen else ref  # pyright: ignore[reportGeneralTypeIssues]
        piece = inits.get(name)
        value = piece({
            "normal": lambda s=slot: streams.normal(s.shape, cell.seed, "normal", *purpose, s.name),
            "uniform": lambda s=slot: streams.uniform(s.shape, cell.seed, "uniform", *purpose, s.name),
            "shape": lambda s=slot: s.shape,
            "fan_in": lambda s=slot: s.fan_in,
            "fan_out": lambda s=slot: s.fan_out,
        }, piece.for_layer(slot.layer, options))
        if not isinstance(value, Tensor) or value.shape != slot.shape:
            raise piece.misfit(value, str(slot.shape), slot.name)
        if not slot.of(flat).copy_(value).isfinite().all():
            raise UserError(f"{piece.told()}: a value for {slot.name} is not a finite number.")
    return flat
