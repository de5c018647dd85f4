"""Stores made apart, joined into one: each cell as far as any of them has come.

Every file is proven before it is taken, and written whole, so that a merge may be stopped anywhere: the same command
goes on. The stores that are joined are only read. Nothing in the store they are joined into is replaced, but by more of
the same cell, or where it is damaged.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sweepstake.base.errors import UserError
from sweepstake.run.alike import Difference, agree, difference, trials_that_differ
from sweepstake.run.files import write_whole, writing
from sweepstake.run.sealed import Damaged, File, read
from sweepstake.run.store import MARKER, Store, belong

Rank = tuple[bool, int, bool, bool]
NOTHING: Rank = (False, 0, False, False)

WORDS = {
    "new": "cells that STORE had nothing of",
    "further": "cells that had come less far in STORE",
    "mended": "cells that were damaged in STORE",
    "there": "cells that STORE has as much of, or more",
    "conflict": "cells that have another result in STORE; that one stays",
    "damaged": "cells with a damaged file: left out",
    "held": "cells that are computed now: left out",
    "masks": "results whose masks were deleted in STORE, and are there again",
    "weights": "files of kept weights",
    "searches": "searches that STORE had less of",
    "studies": "texts of studies",
    "plugins": "texts of plug-ins",
}
"""What is counted, in the order in which it is told."""

TEXTS = {"studies": ("*.toml", 8), "plugins": ("*.py", 16)}
"""Folders of texts, each under its name and the first digits of its hash: which files, and how many digits."""


@dataclass(frozen=True)
class Side:
    """What one store holds of a cell, every file proven."""

    store: Store | None
    id: str
    files: dict[str, File] = field(default_factory=dict[str, File])
    damage: list[Damaged] = field(default_factory=list[Damaged])

    @classmethod
    def of(cls, store: Store | None, id_: str) -> "Side":
        return cls(store, id_, *store.files(id_)) if store else cls(None, id_)

    @property
    def home(self) -> Store:
        """Of a cell that is there."""
        assert self.store is not None, "a cell that is nowhere"
        return self.store

    @property
    def is_whole(self) -> bool:
        return "result" in self.files

    @property
    def seed(self) -> int | None:
        return self.files["cell"].said.get("seed", 0) if "cell" in self.files else None

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """Every finished round's."""
        if self.is_whole:
            return self.files["result"].said["rounds"]
        return json.loads(self.files["state"].said["records"]) if "state" in self.files else []

    @cached_property
    def rank(self) -> Rank:
        """How far the cell is: of two, the greater is further."""
        if self.is_whole:
            return (True, len(self.records), True, True)
        return (False, len(self.records), "donor" in self.files, "failure" in self.files or bool(self.records))

    @property
    def taken(self) -> dict[str, bytes]:
        """The files that make the cell what it is; of an ended one, none that was left from its way there."""
        left = ("cell", "masks", "result") if self.is_whole else ("cell", "state", "donor", "failure")
        return {kind: self.files[kind].content for kind in left if kind in self.files}

    @property
    def weights(self) -> dict[str, Path]:
        return self.store.weights(self.id).files if self.store else {}


@dataclass(frozen=True)
class Made:
    """A result's store, and what made it."""

    store: Path
    provenance: dict[str, Any]

    @classmethod
    def of(cls, side: Side) -> "Made":
        return cls(side.home.folder, side.files["result"].said["provenance"])


@dataclass(frozen=True)
class Conflict:
    """A cell with two results, neither of them damaged."""

    id: str
    seed: int | None
    """None where no file says what was asked."""
    ours: Made
    theirs: Made
    difference: Difference


@dataclass
class Merge:
    """`sources` joined into `into`, a cell after another; with `dry` nothing is written, and the same is told."""

    sources: list[Store]
    into: Store | None
    """None where it is not made yet, and nothing is written."""
    dry: bool
    counts: Counter[str] = field(default_factory=Counter[str])
    conflicts: list[Conflict] = field(default_factory=list[Conflict])
    left_out: list[str] = field(default_factory=list[str])
    """What is damaged or held, and other searches, a line each."""
    _standing: dict[str, Store] = field(default_factory=dict[str, Store])
    """Of a dry run: where each cell, search and text that it would take is."""

    @classmethod
    def of(cls, sources: Sequence[str | Path], into: str | Path, dry: bool = False) -> "Merge":
        """Checked: every source is a store, and another than the one that is merged into."""
        folders, home = [Path(each) for each in sources], Path(into)
        for folder in folders:
            if not (folder / MARKER).exists():
                raise UserError(f'merge: "{folder}" is no sweepstake store: there is no {MARKER} in it. '
                                "Name the folder that was given to --store.")
            if folder.resolve() == home.resolve():
                raise UserError(f'merge: "{folder}" is the store to merge into, too. Name the others before --into.')
        once = {folder.resolve(): Store(folder, create=False) for folder in reversed(folders)}
        is_made = (home / MARKER).exists()
        there = Store(home, create=not dry) if is_made or not dry else None
        return cls(list(reversed(once.values())), there, dry)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return not self.conflicts and not self.left_out

    def each(self) -> Iterator[tuple[int, int]]:
        """Join them; after each cell, how many are done, and of how many."""
        if self.into and not self.dry:
            self.into.clear_abandoned()
        ids = [(source, id_) for source in self.sources for id_ in source.ids()]
        for done, (source, id_) in enumerate(ids, 1):
            self.counts[self._cell(source, id_)] += 1
            yield done, len(ids)
        for source in self.sources:
            self._searches(source)
            self._texts(source)

    # A cell

    def _cell(self, source: Store, id_: str) -> str:
        """Take what is further there than here, and say in a word what came of it."""
        if who := holder(source, id_) or (self.into and holder(self.into, id_)):
            self.left_out.append(f"cell {id_} is computed now, by {who}. It is left out; merge again when it ends.")
            return "held"
        theirs, ours = Side.of(source, id_), Side.of(self._standing.get(id_, self.into), id_)
        if theirs.damage:
            self.left_out += [f"{each}. The cell is left out." for each in theirs.damage]
            return "damaged"
        if ours.damage:
            return self._mend(ours, theirs)
        if ours.is_whole and theirs.is_whole and (found := difference(ours.files, theirs.files)):
            self.conflicts.append(Conflict(id_, ours.seed, Made.of(ours), Made.of(theirs), found))
            return "conflict"
        if theirs.rank > ours.rank:
            self._take(ours, theirs)
            return "further" if ours.rank > NOTHING else "new"
        self._complete(ours, theirs)
        return "there"

    def _mend(self, ours: Side, theirs: Side) -> str:
        """A whole result replaces what is damaged; nothing less does, for a copy of the file may yet be put back."""
        if theirs.is_whole:
            self._take(ours, theirs)
            return "mended"
        self.left_out += [line for each in ours.damage
                          if (line := f"{each}. `sweepstake run` computes its cell again.") not in self.left_out]
        return "damaged"

    def _take(self, ours: Side, theirs: Side) -> None:
        """The cell as it is there. Its weights go first: what says how far it is comes last."""
        weights = theirs.weights
        self._copy(weights, theirs.id)
        if weights or ours.damage or not agree(ours.records, theirs.records):
            self._drop(path for kind, path in ours.weights.items() if kind not in weights)
        if self.dry or self.into is None:
            self._standing[theirs.id] = theirs.home
        else:
            self.into.take(theirs.id, theirs.taken)

    def _complete(self, ours: Side, theirs: Side) -> None:
        """What was kept there beside the same rounds, and not here."""
        if len(ours.records) != len(theirs.records) or not agree(ours.records, theirs.records):
            return
        self._copy({kind: path for kind, path in theirs.weights.items() if kind not in ours.weights}, theirs.id)
        masks = theirs.files.get("masks")
        if masks and ours.is_whole and "masks" not in ours.files and belong(ours.files["result"], masks):
            self.counts["masks"] += 1
            if self.into and not self.dry:
                self.into.take(ours.id, {**ours.taken, "masks": masks.content})

    def _copy(self, weights: Mapping[str, Path], id_: str) -> None:
        """Those weights of a cell that are not damaged."""
        for kind, path in weights.items():
            try:
                file = read(path, kind, id_)
            except Damaged as error:
                self.left_out.append(f"{error}. It is not copied; its cell does not hang on it.")
                continue
            if file is not None:
                self.counts["weights"] += 1
                self._write(f"cells/{id_}/{path.name}", file.content)

    def _drop(self, paths: Iterator[Path]) -> None:
        """Weights of other rounds than those that are taken."""
        for path in paths if not self.dry else ():
            with writing(path):
                path.unlink(missing_ok=True)

    # What is beside the cells

    def _searches(self, source: Store) -> None:
        for path in sorted((source.folder / "searches").glob("*.json")):
            try:
                theirs = read(path, "search", path.stem)
            except Damaged as error:
                self.left_out.append(f"{error}. It is not copied; `sweepstake run` finds its trials again.")
                continue
            if theirs is not None:
                self._search(source, path.stem, theirs)

    def _search(self, source: Store, id_: str, theirs: File) -> None:
        """The account of more trials stays, if both tell the same of those that they share."""
        key, trials = f"searches/{id_}", theirs.said["trials"]
        home = self._standing.get(key, self.into)
        ours = _trials(home, id_) if home else []
        if home and (differing := trials_that_differ(ours, trials)):
            self.left_out.append(f"search {id_} of {theirs.said['study']} is told otherwise in {source.folder}, from "
                                 f"trial {differing[0]} on. The account in {home.folder} stays.")
        elif len(trials) > len(ours):
            self.counts["searches"] += 1
            self._standing[key] = source
            self._write(f"{key}.json", theirs.content)

    def _texts(self, source: Store) -> None:
        for kind, (names, digits) in TEXTS.items():
            for path in sorted((source.folder / kind).glob(names)):
                with suppress(FileNotFoundError):
                    self._text(source, kind, path, path.read_bytes(), digits)

    def _text(self, source: Store, kind: str, path: Path, content: bytes, digits: int) -> None:
        if hashlib.sha256(content).hexdigest()[:digits] != path.stem.rpartition("-")[2]:
            damage = Damaged(path, "its content is not what the hash in its name says")
            self.left_out.append(f"{damage}. It is not copied.")
            return
        name = f"{kind}/{path.name}"
        home = self._standing.get(name, self.into)
        ours = home.folder / name if home else None
        if ours is None or not ours.exists() or ours.read_bytes() != content:
            self.counts[kind] += 1
            self._standing[name] = source
            self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        """A proven file, under its name in the store."""
        if self.dry or self.into is None:
            return
        path = self.into.folder / name
        with writing(path.parent):
            path.parent.mkdir(exist_ok=True)
        write_whole(path, content)


def holder(store: Store, id_: str) -> str:
    """Who computes a cell in a store now; nothing where nobody does, or who did has ended."""
    held = store.holders().get(id_)
    return "" if held is None or held.holder.has_ended() else held.holder.told


def _trials(home: Store, id_: str) -> list[dict[str, Any]]:
    """Those of a search that are told here; none where the account of it is damaged."""
    with suppress(Damaged):
        return (home.search(id_) or {"trials": []})["trials"]
    return []
