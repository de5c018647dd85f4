"""Seeds without a number, because a cell diverged: nothing good is said of a side that lost one."""

import math
from typing import NamedTuple

from sweepstake.base.specs import ClaimSpec
from sweepstake.read import statistics
from sweepstake.read.analysis import Row
from sweepstake.read.claims.contract import ClaimTest, Found, Sides
from sweepstake.read.claims.numbers import asked
from sweepstake.read.statistics import Decision

ALPHA = 1 - statistics.LEVEL


class Lost(NamedTuple):
    """Seeds without a number, by where cells diverged before the round asked for, and what that means for the claim."""

    against: int
    """Where something good is said of it."""
    aside: int
    """On the other side alone: neither for nor against."""
    both: int
    """On both sides alike: nothing can be told."""
    cells: int


class Weighed(NamedTuple):
    """What a claim comes to: what the numbers say, and the decision with the seeds that have none."""

    found: Found
    decision: Decision | None
    lost: Lost = Lost(0, 0, 0, 0)
    most: bool = False
    """Whether so many seeds are lost that they contradict the claim."""
    whole: bool = True
    """Whether the decision rests on numbers of every seed that counts."""

    @property
    def measured(self) -> int:
        """The seeds that have a number."""
        return self.found.decision.n if self.found.decision else self.found.n

    @property
    def everyone(self) -> int:
        """The seeds with a number and those without."""
        return self.measured + self.lost.against + self.lost.aside + self.lost.both


def lost_seeds(test: ClaimTest, claim: ClaimSpec, sides: Sides) -> tuple[Lost, set[int]]:
    """The seeds that a diverged cell left without a number, and how they count: not before their other side has run."""
    cells = [_lost_cells(test, claim, side, kept) for side, kept in zip(sides, asked(claim), strict=False)]
    if test.than_dense:
        sound = {row["id"] for row in sides[0] if not row["diverged"]}
        cells.append({id_: seed for id_, seed in cells[0].items() if id_ not in sound})
    known = set[int].intersection(*({row["seed"] for row in side} for side in sides))
    this, than = (set(one.values()) for one in (*cells, {})[:2])
    both, one_side, other = this & than, this - than & known, than - this & known
    lost = Lost(len(one_side) + test.alike * len(other), (not test.alike) * len(other), len(both),
                len(set[str]().union(*cells)))
    return lost, this | than


def _lost_cells(test: ClaimTest, claim: ClaimSpec, side: list[Row], kept: float | None) -> dict[str, int]:
    """The cells that diverged before the round that the claim is about, and their seeds."""
    rounds: dict[str, list[Row]] = {}
    for row in side:
        rounds.setdefault(row["id"], []).append(row)
    sound = {id_: sorted((row for row in own if not row["diverged"]), key=lambda row: row["round"])
             for id_, own in rounds.items()}
    return {id_: own[0]["seed"] for id_, own in rounds.items()
            if len(sound[id_]) < len(own) and test.cut_short(sound[id_], claim, kept)}


def weigh(found: Found, lost: Lost, ended: bool) -> Weighed:
    """The decision where seeds are lost: with one against it a claim is not supported, and most of them contradict it.

    A lost seed counts as one that lost more than any number: Student's p is then that of their count. `ended`: whether
    anything was measured where nothing diverged.
    """
    numbers = found.decision or Decision("undecided", math.nan, math.nan, math.nan, found.n, math.nan, 1.0)
    if ended and not numbers.n:  # What was asked for was never measured where nothing diverged.
        return Weighed(found, None, lost)
    decision, n = numbers, numbers.n + lost.against
    p = statistics.p_of_lost(lost.against, n)
    most = 2 * lost.against > n + lost.aside + lost.both and p < ALPHA
    withheld = bool({"supported": lost.against or lost.both, "contradicted": lost.aside or lost.both,
                     "undecided": 0}[numbers.verdict])
    if most and (numbers.verdict != "contradicted" or withheld):
        decision = numbers._replace(verdict="contradicted", p=p)
    elif withheld:
        decision = numbers._replace(verdict="undecided", p=1.0)
    return Weighed(found, decision._replace(n=n), lost, most, not (lost.against or lost.both or withheld))
