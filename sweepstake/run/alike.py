"""Where two results of one cell differ, or two accounts of one search: in nothing, unless something went wrong.

What says how a result came about may differ: its provenance, the seconds of its rounds, their numerics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepstake.run.sealed import File

BESIDE = {"seconds", "numerics"}
"""Of a round's record, what does not have to be equal."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """What two results of one cell do not have in common."""

    rounds: dict[int, list[str]]
    """The fields that differ, by round."""
    values: list[tuple[str, Any, Any]]
    """What differs beside the rounds, and the first measure that does: its name, and both values."""


def difference(ours: Mapping[str, File], theirs: Mapping[str, File]) -> Difference | None:
    """Between two whole results, given the files of each; None where they are equal."""
    one, other = ours["result"].said, theirs["result"].said
    rounds = {place: fields for place, pair in enumerate(zip(one["rounds"], other["rounds"], strict=False))
              if (fields := _fields(*pair))}
    for round_ in _masks_that_differ(ours.get("masks"), theirs.get("masks")):
        rounds.setdefault(round_, []).append("masks")
    values = [("status", one["status"], other["status"]), ("rounds", len(one["rounds"]), len(other["rounds"]))]
    values += [_first_measure(one["rounds"], other["rounds"])]
    values = [each for each in values if each[1] != each[2]]
    return Difference(dict(sorted(rounds.items())), values) if rounds or values else None


def agree(ours: Sequence[Record], theirs: Sequence[Record]) -> bool:
    """Whether the rounds that two sittings both finished are equal."""
    return not any(_fields(*pair) for pair in zip(ours, theirs, strict=False))


def trials_that_differ(ours: Sequence[Record], theirs: Sequence[Record]) -> list[int]:
    """The numbers, from 1, of the trials of one search that two accounts of it tell differently."""
    return [number for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1) if one != other]


def _fields(one: Record, other: Record) -> list[str]:
    """The fields of a round that differ. One that only one of them has was not measured by the other's version."""
    return [key for key in one if key in other and key not in BESIDE and one[key] != other[key]]


def _masks_that_differ(ours: File | None, theirs: File | None) -> list[int]:
    """The rounds whose masks differ; none where a result's masks were deleted."""
    if ours is None or theirs is None or ours.content == theirs.content:
        return []
    one, other = ours.parts, theirs.parts
    rounds = (name.removeprefix("round.") for name in one.keys() & other.keys() if one[name] != other[name])
    return sorted(int(round_) for round_ in rounds if round_.isdecimal())


def _first_measure(one: Sequence[Record], other: Sequence[Record]) -> tuple[str, Any, Any]:
    """The first of all rounds' measures that differs; nothing twice where none does."""
    for place, pair in enumerate(zip(one, other, strict=False)):
        for split in ("test", "train"):
            for measure in ("accuracy", "loss"):
                ours, theirs = ((each.get("end", {}).get(split) or {}).get(measure) for each in pair)
                if ours != theirs:
                    return f"{split} {measure} of round {place}", ours, theirs
    return "", None, None
