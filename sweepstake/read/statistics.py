"""Intervals over seeds and the decisions drawn from them.

No global random state: the same values give the same interval. Tables and figures show the BCa bootstrap (Efron 1987).
Verdicts use Student's t on paired differences: with 5 seeds the bootstrap's 95 % covers the truth 84 % of the time
(tests/read/test_statistics.py measures it), t keeps its promise. Every decision has a p-value that is below 0.05
exactly where its interval decides, so that Holm (1979) can correct a family of them.
"""

import math
import warnings
from array import array
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

Interval = tuple[float, float]
Word = Literal["supported", "contradicted", "undecided"]

MIN_SEEDS = 3
"""With fewer, any two numbers look like a law."""
RESAMPLES = 1999
LEVEL = 0.95
KNOWN = 20_000
"""So many intervals are remembered: a page that is made again and again draws those that are new to it."""
_known: dict[bytes, Interval | None] = {}
"""By a hash of the level and the values, for hundreds of values as a key would take megabytes in the end."""
AT_ONCE = 2_000_000
"""So many means of resamples, or values of jackknives, are in memory at once."""


class Decision(NamedTuple):
    """What an interval says about a claim."""

    verdict: Word
    effect: float
    low: float
    high: float
    n: int
    boundary: float
    """The nearest value that the interval must leave on one side to decide."""
    p: float
    """Two-sided, of the mean being at the boundary."""


class Shape(NamedTuple):
    """What is said about a curve of one peak, and the gains it rests on.

    Those are up to the peak, down from it, and the worst step back.
    """

    decision: Decision
    rise: Decision
    fall: Decision
    back: Decision


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def std(values: Sequence[float]) -> float | None:
    """Over seeds, so with n - 1 (ddof = 1); None for one seed."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((v - middle) ** 2 for v in values) / (len(values) - 1))


def bootstrap_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """BCa bootstrap interval of the mean (Efron 1987). None below 2 values; a point when all are equal."""
    return bootstrap_intervals([values], level)[0]


def bootstrap_intervals(many: Sequence[Sequence[float]], level: float = LEVEL) -> list[Interval | None]:
    """The same of many lists of values, to the bit as one by one: those that were not asked for before are drawn."""
    keys = [blake2b(array("d", (level, *values)).tobytes(), digest_size=16).digest() for values in many]
    asked = dict(zip(keys, many, strict=True))
    if len(_known) + len(asked.keys() - _known.keys()) > KNOWN:
        _known.clear()
    new = {key: values for key, values in asked.items() if key not in _known}
    _known.update(zip(new, _intervals(list(new.values()), level), strict=True))
    return [_known[key] for key in keys]


def _intervals(many: Sequence[Sequence[float]], level: float) -> list[Interval | None]:
    """All of one length are drawn at once."""
    found: list[Interval | None] = [None] * len(many)
    alike: dict[int, list[int]] = {}
    for place, values in enumerate(many):
        if len(values) < 2 or not all(math.isfinite(v) for v in values):
            continue
        if min(values) == max(values):
            found[place] = values[0], values[0]
        else:
            alike.setdefault(len(values), []).append(place)
    for n, places in alike.items():
        rows = max(1, AT_ONCE // max(RESAMPLES, n * n))
        for first in range(0, len(places), rows):
            chunk = places[first:first + rows]
            drawn = _bootstrapped([many[place] for place in chunk], level, "BCa")
            for place, (low, high) in zip(chunk, drawn, strict=True):
                if not math.isfinite(low) or not math.isfinite(high):  # Where BCa is undefined.
                    [(low, high)] = _bootstrapped([many[place]], level, "percentile")
                if math.isfinite(low) and math.isfinite(high):
                    # No mean leaves its values, but for rounding.
                    found[place] = max(low, min(many[place])), min(high, max(many[place]))
    return found


def _bootstrapped(rows: Sequence[Sequence[float]], level: float, method: str) -> list[Interval]:
    """The interval of each row's mean. Every row is drawn by the same resamples, as it would be alone."""
    import numpy as np
    from scipy.stats import bootstrap

    def mean_of(values: Any, axis: int) -> Any:
        return np.mean(np.ascontiguousarray(values), axis=axis)  # In memory's order, numpy adds in one order.

    values, places = np.asarray(rows, float), _resamples(len(rows[0]))
    means = SimpleNamespace(bootstrap_distribution=np.stack([row.take(places).mean(axis=-1) for row in values]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where BCa is undefined.
        drawn = bootstrap((values,), mean_of, axis=-1, confidence_level=level, n_resamples=0, bootstrap_result=means,
                          method=method, vectorized=True)
    lows, highs = drawn.confidence_interval
    return list(zip(map(float, lows), map(float, highs), strict=True))


@lru_cache(maxsize=4)
def _resamples(n: int) -> Any:
    """The places of the values in each resample of so many: drawn once, for they are the same for all."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=20190509)).integers(0, n, (RESAMPLES, n))


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's interval of the mean; exact for normal values, close for means of differences. None below 2 values."""
    spread = std(values)
    if spread is None:
        return None
    middle, half = mean(values), _t(len(values), level) * spread / math.sqrt(len(values))
    return middle - half, middle + half


def paired_differences(this: Mapping[int, float], than: Mapping[int, float],
                       relative: bool = False) -> dict[int, float]:
    """this - than (relative: as a fraction of than) for every seed that both have: what the seeds share cancels."""
    both = [seed for seed in sorted(this.keys() & than.keys()) if not relative or than[seed]]
    return {seed: (this[seed] - than[seed]) / (abs(than[seed]) if relative else 1.0) for seed in both}


def non_inferior(gains: Sequence[float], margin: float) -> Decision:
    """Not worse by more than the margin: the whole interval lies above -margin."""
    return _above(gains, -margin, strictly=False)


def superior(gains: Sequence[float], margin: float = 0.0) -> Decision:
    """Better by more than the margin: the whole interval lies above it."""
    return _above(gains, margin, strictly=True)


def equivalent(differences: Sequence[float], margin: float) -> Decision:
    """Alike: the whole interval lies within +-margin (two one-sided tests, Schuirmann 1987)."""
    effect, low, high = _estimate(differences)
    within, outside = -margin < low and high < margin, low >= margin or high <= -margin
    word: Word = "supported" if within else "contradicted" if outside else "undecided"
    return _decided(word, differences, low, high, math.copysign(margin, effect))


def about(values: Sequence[float], value: float, margin: float, slack: float = 0.0) -> Decision:
    """The mean is within value +- margin, by an interval no wider than that band: a wide one meets everything.

    A truth on the band's edge is contradicted once in 40, one at twice the margin supported at most as often. `slack`
    widens the interval at both ends: what the values' own steps leave open.
    """
    effect, low, high = _estimate(values)
    low, high = low - slack, high + slack
    inside, meets = abs(effect - value) <= margin, low <= value + margin and high >= value - margin
    word: Word = "contradicted" if not meets else "supported" if high - low <= 2 * margin and inside else "undecided"
    boundary = effect + margin if inside else value + math.copysign(margin, effect - value)
    return _decided(word, values, low, high, boundary, slack)


def p_of_lost(lost: int, n: int) -> float:
    """Student's p where so many of n seeds lose more than any number.

    It hangs on the count alone: t = sqrt(lost (n - 1) / (n - lost)).
    """
    if n < MIN_SEEDS or not lost:
        return 1.0
    return 0.0 if lost == n else _p(math.sqrt(lost * (n - 1) / (n - lost)), n)


def spread_ratio(this: Sequence[Sequence[float]], than: Sequence[Sequence[float]]) -> list[float] | None:
    """Jackknife pseudo-values over seeds of log(sd of than / sd of this).

    A side is a list of values a cell, all at the same seeds. Within each cell, squares around its own mean are pooled;
    the t interval of the pseudo-values (Miller 1968) is moved onto the plain estimate. Seeds may be paired: a seed is
    left out on both sides. Measured coverage of 95 % with 5 and 11 seeds: 0.945 to 0.96 of normal values, 0.935 to
    0.95 of heavy-tailed ones (t with 5 degrees of freedom), where Pitman-Morgan's falls to 0.87. None where a side
    does not vary.
    """
    seeds = range(len(this[0]))
    if len(seeds) < MIN_SEEDS:
        return None
    left_out = [[_squares(side, [s for s in seeds if s != out]) for side in (this, than)] for out in seeds]
    whole = [_squares(side, seeds) for side in (this, than)]
    if any(squares <= 0 for pair in (whole, *left_out) for squares in pair):
        return None
    logs = [math.log(b / a) / 2 for a, b in left_out]
    middle, estimate = mean(logs), math.log(whole[1] / whole[0]) / 2
    return [estimate - (len(seeds) - 1) * (log - middle) for log in logs]


def _squares(cells: Sequence[Sequence[float]], seeds: Sequence[int]) -> float:
    """Squares around each cell's own mean, in the mean over cells."""
    total = 0.0
    for values in cells:
        middle = mean([values[seed] for seed in seeds])
        squares = math.fsum((values[seed] - middle) ** 2 for seed in seeds)
        total += squares if squares > (1e-12 * middle) ** 2 else 0.0  # Equal values vary by rounding alone.
    return total / len(cells)


def pooled_std(cells: Sequence[Sequence[float]]) -> float:
    """The standard deviation over seeds within cells, pooled."""
    return math.sqrt(_squares(cells, range(len(cells[0]))) / (len(cells[0]) - 1))


def one_peak(curves: Sequence[Sequence[float]], margin: float = 0.0) -> Shape:
    """Each seed's curve rises to one peak, then falls.

    Where, the other seeds say: who chooses a peak among noise finds one. Supported: rise and fall both exceed the
    margin and no step back (an earlier fall or later rise) does. Contradicted: no place lies above the start, or above
    the end, by more than the margin, or a step back does; three ways, so p is three times theirs.
    """
    rises, falls, backs = list[float](), list[float](), list[float]()
    for out, curve in enumerate(curves):
        others = [other for place, other in enumerate(curves) if place != out] or [curve]
        peak, (start, end) = _peak_and_back([mean(values) for values in zip(*others, strict=True)])
        rises.append(curve[peak] - curve[0])
        falls.append(curve[peak] - curve[-1])
        backs.append((curve[end] - curve[start]) * (-1 if end <= peak else 1))
    rise, fall, back = (superior(_widened(gains), margin) for gains in (rises, falls, backs))
    opposite = back._replace(effect=-back.effect, low=-back.high, high=-back.low, boundary=-back.boundary)
    highest = (_most_above(curves, end, margin) for end in (0, -1))
    against = [one for one in highest if one.verdict == "contradicted"]
    worst = min(against + [opposite] * (back.verdict == "supported"), key=lambda one: one.p, default=None)
    if worst and 3 * worst.p < 1 - LEVEL:
        return Shape(worst._replace(verdict="contradicted", p=3 * worst.p), rise, fall, back)
    lesser, p = min(rise, fall, key=lambda one: one.effect), max(rise.p, fall.p)
    if rise.verdict == fall.verdict == "supported" != back.verdict:
        return Shape(lesser._replace(p=p), rise, fall, back)
    return Shape(lesser._replace(verdict="undecided", p=max(p, 1 - LEVEL)), rise, fall, back)


def _widened(gains: Sequence[float]) -> list[float]:
    """Their spread, as wide as that of a mean whose parts were each chosen by the others (Nadeau & Bengio 2003)."""
    middle, factor = mean(gains), math.sqrt(1 + len(gains) / max(len(gains) - 1, 1))
    return [middle + factor * (gain - middle) for gain in gains]


def _most_above(curves: Sequence[Sequence[float]], place: int, margin: float) -> Decision:
    """Of all other places, the one that may lie furthest above this one."""
    places = range(len(curves[0]))
    gains = ([curve[other] - curve[place] for curve in curves] for other in places if other != places[place])
    return max((superior(gain, margin) for gain in gains), key=lambda one: one.high)


def _peak_and_back(curve: Sequence[float]) -> tuple[int, tuple[int, int]]:
    """The place of the peak, and between which two places the curve goes back most.

    To go back is to fall before the peak or to rise after it.
    """
    peak = max(range(len(curve)), key=lambda place: curve[place])
    before, after = range(peak + 1), range(peak, len(curve))
    sides = [(start, end, sign) for span, sign in ((before, -1), (after, 1))
             for start in span for end in span if start < end]
    start, end, _ = max(sides, key=lambda side: side[2] * (curve[side[1]] - curve[side[0]]), default=(peak, peak, 1))
    return peak, (start, end)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p-value, adjusted for the number of them (Holm 1979)."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, number in enumerate(sorted(range(len(ps)), key=lambda one: ps[one])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[number]))
        adjusted[number] = largest
    return adjusted


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the largest; ties share the mean of their places."""
    return [sum(other > one for other in values) + (sum(other == one for other in values) + 1) / 2 for one in values]


def friedman(table: Sequence[Sequence[float]]) -> float | None:
    """p-value of all groups being alike, from their ranks within each seed (Friedman 1937), by drawing the ranks anew.

    F or chi-square would say 0 of two groups that three seeds rank alike, where chance does so every fourth time.
    """
    import numpy as np

    n, k = len(table), len(table[0]) if table else 0
    if n < 2 or k < 2:
        return None
    found = np.asarray([ranks(row) for row in table])
    draws = np.random.Generator(np.random.Philox(key=1937)).random((RESAMPLES, n, k)).argsort(axis=2)
    anew = np.take_along_axis(found[None], draws, axis=2)
    apart, drawn = (((one.sum(axis=-2) - n * (k + 1) / 2) ** 2).sum(axis=-1) for one in (found, anew))
    return (1 + int((drawn >= apart - 1e-9).sum())) / (1 + RESAMPLES)


def more_seeds(decision: Decision, level: float = LEVEL, most: int = 1000) -> int | None:
    """About how many more seeds would decide at this level, if effect and spread stayed as they are.

    None: more than `most`. They do not stay: 6 of 10 such forecasts come true (tests/read/test_statistics.py measures
    it). And who adds seeds until a claim is decided looks several times, and finds what is not there more often than
    once in 20.
    """
    if decision.n < 2:
        return MIN_SEEDS - decision.n
    spread = (decision.high - decision.low) / 2 / _t(decision.n, LEVEL) * math.sqrt(decision.n)
    distance = abs(decision.effect - decision.boundary)
    for n in range(max(decision.n + 1, MIN_SEEDS), decision.n + most + 1):
        if _t(n, level) * spread / math.sqrt(n) < distance or spread == 0:
            return n - decision.n
    return None


def _above(gains: Sequence[float], boundary: float, strictly: bool) -> Decision:
    _, low, high = _estimate(gains)
    if strictly:
        word: Word = "supported" if low > boundary else "contradicted" if high <= boundary else "undecided"
    else:
        word = "supported" if low >= boundary else "contradicted" if high < boundary else "undecided"
    return _decided(word, gains, low, high, boundary)


def _decided(word: Word, values: Sequence[float], low: float, high: float, boundary: float,
             slack: float = 0.0) -> Decision:
    word, effect, spread, n = _enough(word, values), mean(values), std(values), len(values)
    p = _p((abs(effect - boundary) - slack) / (spread / math.sqrt(n)), n) if spread else float(word == "undecided")
    return Decision(word, effect, low, high, n, boundary, p)


def _p(t: float, n: int) -> float:
    from scipy.special import stdtr

    return min(1.0, 2 * float(stdtr(n - 1, -t)))


def _estimate(values: Sequence[float]) -> tuple[float, float, float]:
    low, high = t_interval(values) or (-math.inf, math.inf)
    return mean(values), low, high


def _enough(word: Word, values: Sequence[float]) -> Word:
    return word if len(values) >= MIN_SEEDS else "undecided"


@cache
def _t(n: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + level) / 2))
