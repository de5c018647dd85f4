"""What a claim's test is: one object that checks what a study file says, decides by rows, and tells what it found."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from sweepstake.base.specs import ClaimSpec, claim_test
from sweepstake.read.analysis import Row
from sweepstake.read.claims.numbers import at_level, paired
from sweepstake.read.statistics import Decision, Word

Unit = Literal["level", "gain", "relative", "ratio", "kept"]
Sides = Sequence[list[Row]]
"""The rows of `this`, and of the other side where there is one."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What our runs say about a sentence. `effect` is what `unit` says, with its 95 % interval, uncorrected.

    gain, relative: in favour of the sentence when positive; level: the mean itself; ratio: of standard deviations,
    below 1 in favour; kept: a fraction of the weights. `p` belongs to that interval; `p_holm` is corrected for its
    family, and decides. `diverged` cells have no number where the claim asks for one; where they count against it
    there is no effect, only a verdict.
    """

    claim: str
    says: str
    test: str
    metric: str
    verdict: Word
    reason: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    p: float | None = None
    p_holm: float | None = None
    unit: Unit = "gain"
    diverged: int = 0
    more_seeds: int | None = None
    source: str = ""


class Found(NamedTuple):
    """What the rows say of a claim, before any correction: a decision, or why there is none."""

    decision: Decision | None = None
    seen: Any = None
    """What the test tells beside the decision; nobody else reads it."""
    why: str = ""
    n: int = 0
    """Seeds that were measured, where there is no decision."""


class ClaimTest:
    """A claim's test. A subclass says below what it asks of a claim, and how it decides; `@claim_test` names it."""

    name: str = ""
    says: str = ""
    """What it claims, in the words of the study file's reference."""
    sides: Literal["one", "either", "two"] = "one"
    """Whether `this` is compared with another side: never, where the claim names one, or always."""
    value: Literal["no", "needed", "instead"] = "no"
    """Whether the claim has a `value`: no, yes, or in the place of another side."""
    needs_margin: bool = False
    takes_relative: bool = True
    all_rounds: bool = False
    """Of whole curves; otherwise of one round of each cell."""
    than_dense: bool = False
    """The other side is round 0 of the same cell."""
    alike: bool = False
    """It speaks for neither side: one that diverges alone counts against the claim, whichever it is."""
    needs_seeds: bool = False
    """Below the least number of seeds there is not even an effect."""
    instead: str | None = None
    """What a contradicted claim's effect is called: "" where the number says it alone, None for "the opposite"."""

    # What the study file may say

    def check(self, claim: ClaimSpec) -> list[str]:
        """What is wrong with the claim as it is written; nothing when all is well."""
        return [*self._check_sides(claim), *self._check_value(claim), *self._check_margin(claim),
                *self._check_rounds(claim)]

    @property
    def said(self) -> str:
        return f'test = "{self.name}"'

    def _check_sides(self, claim: ClaimSpec) -> list[str]:
        problems, by_value = list[str](), self.value == "instead" and claim.value is not None
        if self.sides == "two" and not paired(claim) and not by_value:
            problems.append(f"{self.said} compares two groups. Say this = {{axis = label}} and "
                            "than = {axis = label}, or kept_than for the same cells at another level.")
        if claim.than and not claim.this:
            problems.append("than needs a this to be compared with. Say this = {axis = label}.")
        same_cells = claim.kept_than is not None if not claim.than else claim.this == claim.than
        if same_cells and claim.kept_than in (None, claim.kept):
            problems.append("this and than choose the same cells at the same kept. Change one.")
        if self.sides == "one":
            those = _quoted(lambda test: test.sides != "one")
            problems += [f"{self.said} takes no {key}. Leave it out, or say test = {those}."
                         for key, given in (("than", claim.than), ("kept_than", claim.kept_than is not None)) if given]
        return problems

    def _check_value(self, claim: ClaimSpec) -> list[str]:
        if claim.value is None:
            return [f"{self.said} needs value."] if self.value == "needed" else []
        if self.value == "needed" or (self.value == "instead" and not paired(claim)):
            return []
        key = "reference" if claim.reference else "value"
        if self.value == "instead":
            return [f"{self.said} takes {key} in the place of another side. Leave one out."]
        those = _quoted(lambda test: test.value == "needed", lambda test: test.value == "instead")
        return [f'{key} is for test = {those}, not "{self.name}". Leave it out.']

    def _check_margin(self, claim: ClaimSpec) -> list[str]:
        problems = list[str]()
        if self.needs_margin and claim.margin == 0:
            problems.append(f"{self.said} needs a margin above 0: the difference that does not matter.")
        if claim.relative and not self.takes_relative:
            problems.append(f"{self.said} takes no relative. Leave it out.")
        of_a_level = self.sides == "either" or (self.value == "instead" and claim.value is not None)
        if claim.relative and of_a_level and not paired(claim):
            problems.append(f"relative = true needs another side. Leave it out, or give {self.said} than or kept_than.")
        return problems

    def _check_rounds(self, claim: ClaimSpec) -> list[str]:
        problems = list[str]()
        if claim.metric in ("early_step", "train_seconds") and claim.at == "early":
            what = "the early stop itself" if claim.metric == "early_step" else "of a whole round"
            problems.append(f'metric = "{claim.metric}" is {what}. Leave at out.')
        smallest = claim.metric == "smallest_winning"
        whole = 'metric = "smallest_winning"' if smallest else self.said if self.all_rounds else ""
        if whole:
            keys = ("kept",) if self.all_rounds else ("kept", "kept_than")
            problems += [f"{whole} is about all rounds of a cell. Leave {key} out." for key in keys
                         if getattr(claim, key) is not None]
        if smallest and not self._of_any_number:
            problems.append(f'{self.said} is about single rounds, metric = "smallest_winning" about all. '
                            f"Take {_quoted(lambda test: test._of_any_number)}.")
        return problems

    @property
    def _of_any_number(self) -> bool:
        """Whether any number of a cell will do, be it of no round in particular."""
        return not (self.than_dense or self.all_rounds)

    # What the rows say

    def decide(self, claim: ClaimSpec, axes: list[str], sides: Sides) -> Found:
        """A decision by the rows of both sides, from which seeds that a cell of theirs lost are taken away."""
        raise NotImplementedError

    def cut_short(self, rounds: list[Row], claim: ClaimSpec, kept: float | None) -> bool:
        """Whether the rounds that a diverged cell has come before the one asked for."""
        if not rounds or self.all_rounds or claim.metric == "smallest_winning" or kept is None:
            return True
        return rounds[-1]["kept_fraction"] > kept and at_level(rounds, claim, kept) is None

    # How it is told

    def unit(self, claim: ClaimSpec) -> Unit:
        """What the effect is measured in."""
        return "relative" if claim.relative else "gain"

    def tell(self, claim: ClaimSpec, found: Found) -> str:
        """What was found, in a sentence: the effect, its interval, and what was claimed. `found` has a decision."""
        raise NotImplementedError


def test_of(claim: ClaimSpec) -> ClaimTest:
    return claim_test.get(claim.test)  # pyright: ignore[reportReturnType]


def _quoted(*which: Any) -> str:
    """The names of the tests of which something is true, as a message tells them."""
    names = [name for true_of in which for name, test in claim_test.known.items() if true_of(test)]
    return claim_test.quoted(names)
