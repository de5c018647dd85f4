"""What a table's numbers come from, cell by cell, and a line of warning where that is not one thing."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sweepstake.engine.numerics import UNVERSIONED

Results = Iterable[Mapping[str, Any]]

BUILDS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "processor": lambda made: (made.get("machine") or {}).get("processor"),
    **{name: lambda made, name=name: (made.get("versions") or {}).get(name) for name in ("torch", "numpy", "numba")},
}
"""What else moves the last digit of a number, as far as a result says it."""


def numerics_of(made: Mapping[str, Any]) -> str:
    """What computed a result: `fast 1`, several where it was resumed under another.

    It is `fast unversioned` from before versions were kept.
    """
    return made.get("numerics") or " ".join(filter(None, [made.get("engine"), UNVERSIONED]))


def numerics(results: Results) -> dict[str, int]:
    """How many cells each numerics computed, the most first."""
    return dict(Counter(numerics_of(each["provenance"]) for each in results if each["rounds"]).most_common())


def warnings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line where the numbers are of several numerics, and one where they are of several builds.

    Only numerics that one study need not have had are told.
    """
    said = list[str]()
    if mixed(results):
        said.append(f"The numbers are of several numerics: {counted(numerics(results))}. "
                    "They round differently, so a cell of one is not repeated to the digit by another. "
                    "Run the study into an empty --store to have one.")
    differing = {name: found for name in BUILDS if len(found := _builds(results, name)) > 1}
    if differing:
        told = "; ".join(f"{name} {counted(found)}" for name, found in differing.items())
        said.append(f"The numbers are of several machines or libraries: {told}. "
                    "The same cell may differ by rounding there.")
    return said


def mixed(results: Results) -> bool:
    """Whether cells that one numerics could have computed are of several.

    Two trainers of two models are not: each has its own.
    """
    by_model: dict[str, set[str]] = {}
    for each in results:
        if each["rounds"]:
            cell = each["cell"]
            model = json.dumps([cell.get("model"), cell.get("precision")], sort_keys=True)
            by_model.setdefault(model, set()).update(numerics_of(each["provenance"]).split(", "))
    every = set[str]().union(*by_model.values())
    of_a_trainer = Counter(one.rpartition(" ")[0] for one in every)
    return (any(len(found) > 1 for found in by_model.values()) or any(count > 1 for count in of_a_trainer.values())
            or len({one.endswith(UNVERSIONED) for one in every}) > 1)


def counted(found: Mapping[str, int]) -> str:
    """`fast 1 (80 cells), fast unversioned (8 cells)`."""
    return ", ".join(f"{name} ({count} cell{'s' * (count != 1)})" for name, count in found.items())


def _builds(results: Results, name: str) -> dict[str, int]:
    values = (BUILDS[name](each["provenance"]) for each in results if each["rounds"])
    return dict(Counter(value for value in values if value).most_common())
