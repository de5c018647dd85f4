"""How many live weights read each pixel."""

from collections.abc import Mapping, Sequence
from math import prod

from torch import Tensor

from sweepstake.base.errors import UserError
from sweepstake.tickets.ticket import Ticket


def surviving_pixels(ticket: Ticket, shape: Sequence[int]) -> Tensor:
    """How many live weights of the first layer read each pixel, (height, width); over all channels.

    `shape` is an image's: (channels, height, width). A pixel with 0 is dead: the network cannot see it.
    """
    return pixels_read(ticket.masks, shape)


def pixels_read(masks: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
    """The same of masks by name, the first layer first."""
    name, mask = next(iter(masks.items()))
    if not reads_pixels(masks, shape):
        raise UserError(
            f"pixels: the first layer ({name}, of shape {tuple(mask.shape)}) does not read an image of "
            f"{' x '.join(map(str, shape))} pixel by pixel. That needs a linear first layer, as the model mlp has.")
    return mask.sum(0).view(*shape).sum(0)


def reads_pixels(masks: Mapping[str, Tensor], shape: Sequence[int]) -> bool:
    """Whether the first layer has a weight for each pixel, as a linear one has."""
    mask = next(iter(masks.values()))
    return len(shape) == 3 and mask.dim() == 2 and mask.shape[1] == prod(shape)
