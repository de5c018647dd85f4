"""Sharing a kept count over layers: (layer sizes, what is alive, the densities asked) -> a wished count for each layer.

Wishes are real numbers. The engine rounds them so that their total is exact, and gives what a full layer cannot take to
the others. An allocation sees only the layers that share a count: not those that keep all, nor an output layer with a
rate of its own.
"""

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any

from msgspec import Meta

from sweepstake.base.errors import UserError
from sweepstake.base.registry import Registry

Share = Annotated[float, Meta(ge=0, le=1)]

allocation = Registry(
    "allocation",
    offers={
        "sizes": "weights (or units) of each layer, the dead included",
        "shapes": "the shape of each layer's weights",
        "first": "whether each is the network's first layer",
        "output": "whether each is the network's output layer",
        "density": "the fraction asked of each layer after this round, of its whole size",
        "total": "how many are to be kept over all these layers",
        "scores": "each layer's scores, flat",
        "alive": "each layer's mask, flat",
        "top": "how many of each layer are among the `total` best of all these layers, ties broken by the cell's draw",
        "top_by": "a function of a criterion's name and options: `top` by that criterion's scores "
                  "(of the whole network as drawn, if asked)",
    },
)


@allocation
def per_layer(sizes, density):
    """Every layer keeps its own fraction (Frankle & Carbin 2019, LeNet)."""
    return [size * d for size, d in zip(sizes, density, strict=True)]


@allocation(aliases=("global",))
def everywhere(top):
    """One ranking over all layers: each keeps what it has among the best (Frankle & Carbin 2019, VGG and ResNet)."""
    return top


@allocation(neutral={"once": False})
def like(top_by, *, criterion: str, options: dict[str, Any] = {}, once: bool = False):  # noqa: B006 (never written)
    """Each layer keeps as many as one ranking by another criterion would give it (Frankle et al. 2021).

    Which weights these are, the cell's own criterion says. `once`: every round ranks the whole network as it was drawn,
    so that round r is a one-shot pruning to its size.
    """
    return top_by(criterion, options, once)


@allocation
def uniform(sizes):
    """The same fraction of every layer (Zhu & Gupta 2018)."""
    return sizes


@allocation
def uniform_plus(sizes, total, first, output, *, last: Share = 0.2):
    """The first layer whole, the output layer at least `last` of its weights, the others alike (Gale et al. 2019)."""
    least = [
        size if is_first else last * size if is_output else 0
        for size, is_first, is_output in zip(sizes, first, output, strict=True)
    ]
    others = [0 if is_first else size for size, is_first in zip(sizes, first, strict=True)]
    return _with_the_rest(least, others, total, "uniform_plus")


@allocation
def er(sizes, shapes):
    """Density in proportion to (in + out) / (in out): sparser the larger (Mocanu et al. 2018)."""
    return [size * sum(shape[:2]) / prod(shape[:2]) for size, shape in zip(sizes, shapes, strict=True)]


@allocation
def erk(sizes, shapes):
    """Density in proportion to (in + out + w + h) / (in out w h): ER that counts the kernel (Evci et al. 2020)."""
    return [size * sum(shape) / prod(shape) for size, shape in zip(sizes, shapes, strict=True)]


@allocation
def erk_plus(sizes, shapes, total, output):
    """ERK with the output layer whole, at the same total (Liu et al. 2022)."""
    least = [size if is_output else 0 for size, is_output in zip(sizes, output, strict=True)]
    others = [0 if is_output else wish for wish, is_output in zip(erk(sizes, shapes), output, strict=True)]
    return _with_the_rest(least, others, total, "erk_plus")


def _with_the_rest(least: Sequence[float], share: Sequence[float], total: int, name: str) -> list[float]:
    """`total` shared in proportion to `share`. A layer that would get less than its `least` gets that."""
    fixed = [not s for s in share]
    while True:
        taken = sum(n for n, f in zip(least, fixed, strict=True) if f)
        if taken > total:
            raise UserError(
                f'allocation = "{name}": the layers that are not to be sparse hold {round(taken):,}, '
                f"and only {total:,} are to be kept in all. Keep more, or take them out with prune_layers."
            )
        scale = (total - taken) / (sum(s for s, f in zip(share, fixed, strict=True) if not f) or 1)
        short = [not f and s * scale < n for n, s, f in zip(least, share, fixed, strict=True)]
        if not any(short):
            return [n if f else s * scale for n, s, f in zip(least, share, fixed, strict=True)]
        fixed = [f or s for f, s in zip(fixed, short, strict=True)]
