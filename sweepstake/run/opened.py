"""A study opened in a store: with what its search has found there, and what is there of each cell. Computes nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from sweepstake.base.records import Result
from sweepstake.run.search import settled
from sweepstake.run.store import MARKER, Kept, Store
from sweepstake.study.study import Planned, Study


@dataclass(frozen=True)
class Opened:
    """The study, its search settled, and its store; `open_study` makes one."""

    study: Study
    store: Store

    @cached_property
    def kept(self) -> dict[str, Kept]:
        """All there is of each cell, by id: every file read and proven once."""
        return {each.id: self.store.look(each.id) for each in self.study.planned}

    @cached_property
    def glanced(self) -> dict[str, Kept]:
        """The status of each cell, by id, told without reading finished results: `Store.glance` says what it proves."""
        return self.store.glance(each.id for each in self.study.planned)

    def each(self) -> Iterator[Result]:
        """The results one after another, each read and proven when it is asked for, and none kept."""
        return (_result(planned, self.store.look(planned.id)) for planned in self.study.planned)

    def now(self, planned: Planned) -> Result:
        """What there is of a cell now, read anew: a begun one is told as such, with the rounds that it has finished."""
        return result_so_far(planned, self.store.look(planned.id))

    @cached_property
    def results(self) -> list[Result]:
        """A result a planned cell, in the study's order."""
        return [_result(planned, self.kept[planned.id]) for planned in self.study.planned]


def open_study(study: Study, store: str | Path | Store | None = None) -> Opened:
    """What a store (else the study's own, else `runs`) holds of a study."""
    home = store if isinstance(store, Store) else Store(study.store_folder(store), create=False)
    return Opened(settled(study, home), home)


def open_if_there(study: Study, store: str | Path | None = None) -> Opened | None:
    """The study opened, or None where its store is not made yet."""
    folder = study.store_folder(store)
    return open_study(study, folder) if (folder / MARKER).exists() else None


def load_results(study: Study, store: str | Path | Store | None = None, *, begun: bool = False) -> list[Result]:
    """A result a planned cell, as a store holds it.

    With `begun` a begun cell is told as one, with the rounds that it has finished; otherwise it is missing.
    """
    opened = open_study(study, store)
    return [result_so_far(planned, opened.kept[planned.id]) for planned in opened.study.planned] if begun \
        else opened.results


def result_so_far(planned: Planned, kept: Kept) -> Result:
    """A cell's result, or the rounds that it has finished where it is begun."""
    result = _result(planned, kept)
    return {**result, "status": "begun", "rounds": list(kept.rounds)} if kept.status == "begun" else result


def _result(planned: Planned, kept: Kept) -> Result:
    found, error = kept.result, "\n".join(map(str, kept.damage)) or (kept.failure or {}).get("error")
    return {
        "id": planned.id,
        "cell": msgspec.to_builtins(planned.cell),
        "labels": planned.labels,
        "seed": planned.cell.seed,
        "status": "missing" if kept.status == "begun" else kept.status,
        "rounds": found["rounds"] if found else [],
        "error": None if found else error,
        "provenance": found["provenance"] if found else {},
    }


def damaged(study: Study, results: Sequence[Result]) -> list[str]:
    """Every damaged file of a study, a line each: whose it is, and what to do."""
    errors = [each["error"] or "" for each in results if each["status"] == "damaged"]
    return damage_told(study, (file for error in errors for file in error.splitlines()))


def damage_in(study: Study, kept: Mapping[str, Kept]) -> list[str]:
    """The same of what was looked at."""
    return damage_told(study, (str(file) for each in kept.values() for file in each.damage))


def damage_told(study: Study, files: Iterable[str]) -> list[str]:
    lines = [f"{file}. It is not read; `sweepstake run` computes its cell again." for file in files]
    if searched := (study.searched or {}).get("damaged"):
        lines.append(f"{searched}. Its trials are found again from their cells; `sweepstake run` writes it again.")
    return lines
