"""How an init's weights are distributed in each layer of a network: a histogram of noise spread evenly over its law."""

from math import ceil, prod
from typing import TYPE_CHECKING

from sweepstake.base.cell import Cell
from sweepstake.pieces import init as inits
from sweepstake.pieces import model as models
from sweepstake.pieces.datasets import spec_of

if TYPE_CHECKING:
    from torch import Tensor

DRAWN, BINS = 100_000, 60
OUTSIDE = 0.0005
"""What is left out at each end: a normal's range is 3.3 standard deviations either way."""

Shape = tuple[int, ...]


def densities(cell: Cell) -> dict[str, list[tuple[float, float]]]:
    """Of each layer, its initial weights' density as (weight, density) from left to right; a constant has none."""
    found = {layer: _density(_drawn(cell, layer, shape)) for layer, shape in _shapes(cell).items()}
    return {layer: points for layer, points in found.items() if points}


def _shapes(cell: Cell) -> dict[str, Shape]:
    """The weights of each linear and conv layer; none where only the data set's files know the shape of an image."""
    import torch
    from torch import nn

    spec = spec_of(cell.dataset)
    if spec is None:
        return {}
    with torch.random.fork_rng(devices=[]):
        asked = {"inputs": lambda: spec.shape, "classes": lambda: spec.classes}
        module = models.get(cell.model.name)(asked, cell.model.options)
    return {name: tuple(layer.weight.shape) for name, layer in module.named_modules()
            if isinstance(layer, (nn.Linear, nn.Conv2d))}


def _drawn(cell: Cell, layer: str, shape: Shape) -> "Tensor":
    """The layer drawn often enough for a smooth curve, from noise that takes every quantile of its law exactly once."""
    import torch

    area, draws = prod(shape[2:]), ceil(DRAWN / prod(shape))
    count = draws * prod(shape)
    places = (torch.randperm(count, generator=torch.Generator().manual_seed(0)).double() + 0.5) / count
    piece = inits.get(cell.init.name)
    return torch.stack([piece({
        "normal": lambda part=part: torch.special.ndtri(part).float().view(shape),
        "uniform": lambda part=part: (2 * part - 1).float().view(shape),
        "shape": lambda: shape, "fan_in": lambda: shape[1] * area, "fan_out": lambda: shape[0] * area,
    }, piece.for_layer(layer, cell.init.options)) for part in places.chunk(draws)]).flatten()


def _density(weights: "Tensor") -> list[tuple[float, float]]:
    ordered = weights.double().sort().values
    outside = int(OUTSIDE * len(ordered))
    low, high = float(ordered[outside]), float(ordered[-1 - outside])
    if low == high:
        return []
    width = (high - low) / BINS
    heights = (ordered[outside:len(ordered) - outside].histc(BINS, low, high) / (len(ordered) * width)).tolist()
    middles = [(low + (place + 0.5) * width, height) for place, height in enumerate(heights)]
    return [(low, 0.0), (low, heights[0]), *middles, (high, heights[-1]), (high, 0.0)]
