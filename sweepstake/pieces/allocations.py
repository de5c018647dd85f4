"""Sharing a kept count over layers: (layer sizes, what is alive, the densities asked) -> a wished count a layer.

Wishes are real numbers; the engine makes them whole, exact in total, and moves what a full layer cannot take to
the others. Only the layers that share the pool are given: an output layer with its own rate is not among them.
"""

from sweepstake.base.registry import Registry

allocation = Registry("allocation", offers={
    "sizes": "weights (or units) of each layer, the dead included",
    "shapes": "the shape of each layer's weights",
    "density": "the fraction asked of each layer after this round, of its whole size",
    "total": "how many are to be kept over all these layers",
    "scores": "each layer's scores, flat",
    "alive": "each layer's mask, flat",
    "top": "how many of each layer are among the `total` best of all these layers, ties broken by the cell's draw",
})


@allocation
def per_layer(sizes, density):
    """Every layer keeps its own fraction (Frankle & Carbin 2019, LeNet)."""
    return [size * d for size, d in zip(sizes, density, strict=True)]


@allocation
def everywhere(top):
    """One ranking over all layers: each keeps what it has among the best (Frankle & Carbin 2019, VGG and ResNet)."""
    return top
