"""What a table's numbers come from, cell by cell, and a line of warning where that is not one thing."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sweepstake.engine.numerics import UNVERSIONED

Results = Iterable[Mapping[str, Any]]

BUILDS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "processor": lambda made: (made.get("machine") or {}).get("processor"),
    **{name: lambda made, name=name: (made.get("versions") or {}).get(name) for name in ("torch", "numpy", "numba")},
}
"""What else moves the last digit of a number, as far as a result says it."""


@dataclass(frozen=True)
class Origin:
    """What computed a result, as far as it says so."""

    model: bytes
    """Network and precision: trainers of two networks are no mixture."""
    numerics: str
    builds: tuple[str | None, ...]


class Origins:
    """How many cells came from where, told a result after another."""

    def __init__(self, results: Results = ()):
        self.counts = Counter[Origin]()
        for each in results:
            self.add(each)

    def add(self, result: Mapping[str, Any]) -> None:
        if result["rounds"]:
            cell, made = result["cell"], result["provenance"]
            model = msgspec.json.encode([cell.get("model"), cell.get("precision")], order="deterministic")
            self.counts[Origin(model, numerics_of(made), tuple(of(made) for of in BUILDS.values()))] += 1

    @property
    def numerics(self) -> dict[str, int]:
        """How many cells each numerics computed, the most first."""
        return _most_first((each.numerics, count) for each, count in self.counts.items())

    @property
    def mixed(self) -> bool:
        """Whether cells that one numerics could have computed are of several.

        Two trainers of two models are not: each has its own.
        """
        by_model: dict[bytes, set[str]] = {}
        for each in self.counts:
            by_model.setdefault(each.model, set()).update(each.numerics.split(", "))
        every = set[str]().union(*by_model.values())
        of_a_trainer = Counter(one.rpartition(" ")[0] for one in every)
        return (any(len(found) > 1 for found in by_model.values())
                or any(count > 1 for count in of_a_trainer.values())
                or len({one.endswith(UNVERSIONED) for one in every}) > 1)

    @property
    def warnings(self) -> list[str]:
        """A line where the numbers are of several numerics, and one where they are of several builds.

        Only numerics that one study need not have had are told.
        """
        said = list[str]()
        if self.mixed:
            said.append(f"The numbers are of several numerics: {counted(self.numerics)}. "
                        "They round differently, so a cell of one is not repeated to the digit by another. "
                        "Run the study into an empty --store to have one.")
        differing = {name: found for place, name in enumerate(BUILDS) if len(found := self._builds(place)) > 1}
        if differing:
            told = "; ".join(f"{name} {counted(found)}" for name, found in differing.items())
            said.append(f"The numbers are of several machines or libraries: {told}. "
                        "The same cell may differ by rounding there.")
        return said

    def _builds(self, place: int) -> dict[str, int]:
        found = ((each.builds[place], count) for each, count in self.counts.items())
        return _most_first((build, count) for build, count in found if build)


def numerics_of(made: Mapping[str, Any]) -> str:
    """What computed a result: `fast 1`, several where it was resumed under another.

    It is `fast unversioned` from before versions were kept.
    """
    return made.get("numerics") or " ".join(filter(None, [made.get("engine"), UNVERSIONED]))


def numerics(results: Results) -> dict[str, int]:
    """How many cells each numerics computed, the most first."""
    return Origins(results).numerics


def warnings(results: Results) -> list[str]:
    """What is to be known of the origins of these results, a line each."""
    return Origins(results).warnings


def mixed(results: Results) -> bool:
    """Whether cells that one numerics could have computed are of several."""
    return Origins(results).mixed


def counted(found: Mapping[str, int]) -> str:
    """`fast 1 (80 cells), fast unversioned (8 cells)`."""
    return ", ".join(f"{name} ({count} cell{'s' * (count != 1)})" for name, count in found.items())


def _most_first(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found = Counter[str]()
    for name, count in counts:
        found[name] += count
    return dict(found.most_common())
