"""The learning rate over a round: (progress from 0 to 1) -> factor on lr."""

from math import cos, pi
from typing import Annotated

from msgspec import Meta

from sweepstake.base.registry import Registry

Share = Annotated[float, Meta(ge=0, le=1)]

lr_schedule = Registry("lr_schedule", offers={
    "progress": "steps done over steps in the round, from 0 to just below 1",
})


@lr_schedule
def constant():
    """1 throughout: Frankle & Carbin (2019) for LeNet and Conv."""
    return 1.0


@lr_schedule
def cosine(progress):
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + cos(pi * progress))


@lr_schedule
def drops(progress, *, at: list[Share] = [0.5, 0.75],  # noqa: B006 (never written)
          factor: Annotated[float, Meta(gt=0, le=1)] = 0.1):
    """Times `factor` at each share of the round in `at` (He et al. 2016)."""
    return factor ** sum(progress >= share for share in at)


@lr_schedule
def warmup(progress, *, share: Annotated[float, Meta(gt=0, le=1)] = 0.1):
    """Linear from 0 to 1 over the first share of the round, then 1 (Goyal et al. 2017)."""
    return min(1.0, (progress + 1e-9) / share)
