"""Intervals over seeds and the decisions drawn from them. No global random state: the same values give the same interval.

Tables and figures show the BCa bootstrap (Efron 1987). Verdicts use Student's t on paired differences: with 5 seeds the
bootstrap's 95 % covers the truth 84 % of the time (tests/read/test_statistics.py measures it), t keeps its promise.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Interval = tuple[float, float]
Word = Literal["supported", "contradicted", "undecided"]

MIN_SEEDS = 3
"""With fewer, any two numbers look like a law."""
RESAMPLES = 1999


class Decision(NamedTuple):
    """What an interval says about a claim."""

    verdict: Word
    effect: float
    low: float
    high: float
    n: int
    boundary: float
    """The nearest value that the interval must leave on one side to decide."""


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def std(values: Sequence[float]) -> float | None:
    """Over seeds, so with n - 1 (ddof = 1); None for one seed."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1))


def bootstrap_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """BCa bootstrap interval of the mean (Efron 1987). None below 2 values; a point when all are equal."""
    if len(values) < 2 or not all(math.isfinite(v) for v in values):
        return None
    if min(values) == max(values):
        return values[0], values[0]
    import numpy as np
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where BCa is undefined; the percentile interval then stands in.
        for method in ("BCa", "percentile"):
            drawn = bootstrap((np.asarray(values, float),), np.mean, confidence_level=level, n_resamples=RESAMPLES, method=method,
                              vectorized=True, rng=np.random.Generator(np.random.Philox(key=20190509)))
            low, high = map(float, drawn.confidence_interval)
            if math.isfinite(low) and math.isfinite(high):
                return max(low, min(values)), min(high, max(values))  # No mean leaves its values, but for rounding.
    return None


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Student's interval of the mean; exact for normal values, close for means of differences. None below 2 values."""
    spread = std(values)
    if spread is None:
        return None
    middle, half = mean(values), _t(len(values), level) * spread / math.sqrt(len(values))
    return middle - half, middle + half


def paired_differences(this: Mapping[int, float], than: Mapping[int, float]) -> list[float]:
    """this - than for every seed that both have: what the seeds share cancels."""
    return [this[seed] - than[seed] for seed in sorted(this.keys() & than.keys())]


def non_inferior(gains: Sequence[float], margin: float) -> Decision:
    """Not worse by more than the margin: the whole interval lies above -margin."""
    return _above(gains, -margin, strictly=False)


def superior(gains: Sequence[float], margin: float = 0.0) -> Decision:
    """Better by more than the margin: the whole interval lies above it."""
    return _above(gains, margin, strictly=True)


def equivalent(differences: Sequence[float], margin: float) -> Decision:
    """Alike: the whole interval lies within +-margin (two one-sided tests, Schuirmann 1987)."""
    effect, low, high = _estimate(differences)
    word: Word = "supported" if -margin < low and high < margin else "contradicted" if low >= margin or high <= -margin else "undecided"
    return Decision(_enough(word, differences), effect, low, high, len(differences), math.copysign(margin, effect))


def about(values: Sequence[float], value: float, margin: float) -> Decision:
    """The mean is within value +- margin, by an interval no wider than that band: a wide one meets everything."""
    effect, low, high = _estimate(values)
    meets = low <= value + margin and high >= value - margin
    word: Word = "contradicted" if not meets else "supported" if high - low <= 2 * margin and abs(effect - value) <= margin else "undecided"
    return Decision(_enough(word, values), effect, low, high, len(values), effect + margin)


def more_seeds(decision: Decision, level: float = 0.95, most: int = 1000) -> int | None:
    """Roughly how many more seeds would decide, were effect and spread to stay as they are; None: more than `most`."""
    if decision.n < 2:
        return MIN_SEEDS - decision.n
    spread = (decision.high - decision.low) / 2 / _t(decision.n, level) * math.sqrt(decision.n)
    distance = abs(decision.effect - decision.boundary)
    for n in range(max(decision.n + 1, MIN_SEEDS), decision.n + most + 1):
        if _t(n, level) * spread / math.sqrt(n) < distance or spread == 0:
            return n - decision.n
    return None


def _above(gains: Sequence[float], boundary: float, strictly: bool) -> Decision:
    effect, low, high = _estimate(gains)
    if strictly:
        word: Word = "supported" if low > boundary else "contradicted" if high <= boundary else "undecided"
    else:
        word = "supported" if low >= boundary else "contradicted" if high < boundary else "undecided"
    return Decision(_enough(word, gains), effect, low, high, len(gains), boundary)


def _estimate(values: Sequence[float]) -> tuple[float, float, float]:
    low, high = t_interval(values) or (-math.inf, math.inf)
    return mean(values), low, high


def _enough(word: Word, values: Sequence[float]) -> Word:
    return word if len(values) >= MIN_SEEDS else "undecided"


def _t(n: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + level) / 2))
