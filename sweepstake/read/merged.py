"""A merge of stores, told: counts for machines, and for people what was left out and why."""

from collections.abc import Iterable, Mapping
from typing import Any

from sweepstake.read.origins import BUILDS, numerics_of
from sweepstake.run.merge import WORDS, Conflict, Made, Merge
from sweepstake.run.progress import Terminal

MADE = {"numerics": numerics_of, **BUILDS}
"""What can make two results of a cell differ, as far as they say it."""


def tell_merged(merge: Merge, console: Terminal) -> None:
    """What was taken, a word and a number a line to stdout; then what was left out."""
    for word, says in WORDS.items():
        if count := merge.counts[word]:
            print(f"{word}\t{count}\t{says}")
    for line in merge.left_out:
        console.print(line, style="yellow", soft_wrap=True)
    for alike in _by_origin(merge.conflicts):
        _tell_conflicts(alike, console)
    if merge.dry:
        console.print("Nothing was written: this was a dry run.")


def _by_origin(conflicts: Iterable[Conflict]) -> list[list[Conflict]]:
    """Those that have the same two stores and the same two origins together, so that these are said once."""
    found: dict[tuple[str, ...], list[Conflict]] = {}
    for each in conflicts:
        sides = (each.ours, each.theirs)
        found.setdefault(tuple(f"{side.store}: {_told(side)}" for side in sides), []).append(each)
    return list(found.values())


def _tell_conflicts(conflicts: list[Conflict], console: Terminal) -> None:
    ours, theirs = conflicts[0].ours, conflicts[0].theirs
    several = len(conflicts) > 1
    console.print(f"{len(conflicts)} cell{'s have' if several else ' has'} two different results. "
                  f"{'Those' if several else 'The one'} in {ours.store} stay{'' if several else 's'}.",
                  style="red", soft_wrap=True)
    for side in (ours, theirs):
        console.print(f"  {side.store}: made by {_told(side)}", soft_wrap=True)
    console.print(f"  {_cause(ours, theirs)}", soft_wrap=True)
    for each in conflicts:
        console.print(f"  {_cell(each)}: {_difference(each)}", soft_wrap=True)


def _told(made: Made) -> str:
    """`fast 1, sweepstake 0.1.0, torch 2.13.0, AMD EPYC`."""
    versions = [f"{name} {version}" for name, version in (made.provenance.get("versions") or {}).items()]
    machine: Mapping[str, Any] = made.provenance.get("machine") or {}
    return ", ".join([numerics_of(made.provenance), *versions, *(str(machine[key]) for key in ("processor", "system")
                                                                 if machine.get(key))])


def _cause(ours: Made, theirs: Made) -> str:
    differing = [name for name, of in MADE.items() if of(ours.provenance) != of(theirs.provenance)]
    if differing:
        return f"They differ in {' and '.join(differing)}, which may be the cause: sums are rounded differently there."
    return ("Numerics, libraries and processor are the same, so one of the two is not what its cell gives. "
            "To see which, run the study into an empty --store.")


def _cell(conflict: Conflict) -> str:
    seed = "" if conflict.seed is None else f", seed {conflict.seed}"
    return f"cell {conflict.id} ({conflict.ours.provenance.get('study', 'no study')}{seed})"


def _difference(conflict: Conflict) -> str:
    found, ours, theirs = conflict.difference, conflict.ours.store, conflict.theirs.store
    said = [f"{what} {one} in {ours}, {other} in {theirs}" for what, one, other in found.values]
    if found.rounds:
        fields = dict.fromkeys(field for fields in found.rounds.values() for field in fields)
        one_only = len(found.rounds) == 1
        said.insert(0, f"round{'' if one_only else 's'} {spans(list(found.rounds))} differ{'s' if one_only else ''} in "
                       f"{', '.join(fields)}")
    return "; ".join(said)


def spans(numbers: list[int]) -> str:
    """`0, 3-5, 9` of numbers in their order."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)
