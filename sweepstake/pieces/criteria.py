"""Scores: (one layer's weights and what was seen of them) -> a score a weight, or a unit. Low scores die.

A weight criterion returns the shape of the layer's weights; a unit criterion (granularity = "unit") one number a unit.
"""

from sweepstake.base.registry import Registry

criterion = Registry("criterion", by_layer=True, offers={
    "w_init": "the layer's weights at the very beginning",
    "w_start": "the layer's weights when the round began",
    "w_final": "the layer's weights at the end of the round",
    "alive": "which of them are still alive",
    "uniform": "U(-1, 1), one a weight (or a unit), drawn for this cell and round",
})


@criterion(granularity="weight")
def magnitude(w_final):
    """|w_final|: keep what ended large (Han et al. 2015; Frankle & Carbin 2019)."""
    return w_final.abs()


@criterion(granularity="weight")
def movement(w_init, w_final):
    """|w_final - w_init|: keep what moved most (Zhou et al. 2019)."""
    return (w_final - w_init).abs()


@criterion(granularity="weight")
def magnitude_increase(w_init, w_final, *, weight: float = 1.0):
    """|w_final| - weight |w_init|: keep what grew (Zhou et al. 2019)."""
    return w_final.abs() - weight * w_init.abs()


@criterion(granularity="any")
def random(uniform):
    """A fresh draw: the control every criterion has to beat (Frankle & Carbin 2019)."""
    return uniform


@criterion(granularity="unit")
def unit_l2(w_final):
    """The L2 norm of a unit's incoming weights (Sandor 2020)."""
    return w_final.flatten(1).norm(dim=1)
