"""Results by the id of their cell: plain files in a folder a cell, each written whole or not at all, and sealed.

    STORE/sweepstake-store.json          this folder is ours, and of which layout
    STORE/cells/ID/cell.json             what was asked
    STORE/cells/ID/state.safetensors     while it runs: the finished rounds, and where the next begins
    STORE/cells/ID/donor.safetensors     while it runs: the masks of the cell's donor, if it has one
    STORE/cells/ID/masks.safetensors     when done: each round's mask, a bit a parameter
    STORE/cells/ID/result.json           when done: every round's record and the provenance;
                                         it exists = the cell is done
    STORE/cells/ID/weights.N.safetensors where they are kept: the weights that round N ended with
    STORE/cells/ID/failure.json          the traceback of a cell that failed
    STORE/searches/ID.json               the trials of a search that have ended, each with its value
    STORE/studies/NAME-HASH.toml         the text of every study that ran here
    STORE/plugins/NAME-HASH.py           the text of every plug-in that ran here; it is never run from here
    STORE/claims/ID.N                    who computes the cell now (claims.py); advisory

`merge.py` makes one of two stores. Nothing is ever unpickled. What is not as it was written is never read.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.pieces import code_hash, hash_of
from sweepstake.run.claims import Claims, Held, claimed
from sweepstake.run.files import CannotWrite, clear_abandoned, ends_of, write_whole, writing
from sweepstake.run.sealed import Damaged, File, read, seal_json, seal_of, seal_tensors
from sweepstake.run.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

MARKER, LAYOUT = "sweepstake-store.json", 1
ID = re.compile("[0-9a-f]{16}")
HEAD = re.compile(rb'\{"seal":\{"kind":"result","id":"(?P<id>[0-9a-f]+)","sha256":"[0-9a-f]{64}"'
                  rb'(?:,"masks":"[0-9a-f]{64}")?\},"status":"(?P<status>done|diverged)","rounds":\[')
"""How a sealed result begins."""
HEAD_BYTES, TAIL_BYTES = 512, 16384
"""What is read of its beginning, and of its end, where its provenance is with the study's text in it."""

FILES = {"result": "result.json", "masks": "masks.safetensors", "failure": "failure.json", "state": "state.safetensors",
         "donor": "donor.safetensors", "cell": "cell.json"}
"""Of a cell, by the kind that each is sealed as. The result first: it is written after its masks."""

ORDER = ("cell", "donor", "failure", "masks", "state", "result")
"""In which the files of a cell are taken from another store."""


@dataclass(frozen=True)
class Kept:
    """All there is of a cell, and what is not as it was written.

    Its status is done, diverged, damaged, failed, begun or missing.
    """

    status: str
    result: dict[str, Any] | None
    failure: dict[str, Any] | None
    begun: Sequence[dict[str, Any]]
    """The records in its state: of a begun cell every round that it has finished."""
    damage: tuple[Damaged, ...]

    @property
    def rounds_done(self) -> int:
        return len(self.begun)

    @property
    def rounds(self) -> Sequence[dict[str, Any]]:
        """The record of every finished round of a cell that is done, diverged or begun; of others none."""
        return self.result["rounds"] if self.result else self.begun if self.status == "begun" else ()


MISSING = Kept("missing", None, None, (), ())
FINISHED = {word.encode(): Kept(word, None, None, (), ()) for word in ("done", "diverged")}
"""Of a result that was only glanced at."""


class Store:
    """A folder of results."""

    def __init__(self, folder: str | Path, *, create: bool = True):
        self.folder = Path(folder)
        self._cells = str(self.folder / "cells")
        marker = self.folder / MARKER
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise UserError(f'store "{self.folder}": is a file, not a folder. Name a folder with --store DIR.')
            if not marker.exists():
                inside = self.folder.iterdir() if self.folder.exists() else []
                others = [each for each in inside if MARKER not in each.name]
                if others and not marker.exists():  # Looked at twice: another run may just have made it.
                    raise UserError(f'store "{self.folder}": a folder with other things in it, not a sweepstake store. '
                                    f"Name a new or empty folder with --store DIR.")
                if not create and not marker.exists():
                    raise UserError(f'store "{self.folder}": nothing is there yet. '
                                    f'Run a study first, or name another with --store DIR.')
                if not marker.exists():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    write_whole(marker, seal_json("store", MARKER, {"layout": LAYOUT}))
            self._check_layout(marker)
            if create:
                for part in ("cells", "studies", "claims"):
                    (self.folder / part).mkdir(exist_ok=True)
                TemporaryFile(dir=self.folder / "claims").close()
        except (OSError, CannotWrite) as error:
            said = f"cannot be {'written' if create else 'read'} ({error.strerror})"
            raise UserError(f'store "{self.folder}": {said}. Name another with --store DIR.') from error

    def _check_layout(self, marker: Path) -> None:
        try:
            found = _read_soon(marker)
        except Damaged as error:
            raise UserError(f'store "{self.folder}": {error}. '
                            f'If its cells are of this version, which reads layout {LAYOUT}, '
                            f'write {{"layout": {LAYOUT}}} into that file; '
                            f'or name another with --store DIR.') from error
        layout = found.said["layout"] if found else None
        if layout != LAYOUT:
            raise UserError(f'store "{self.folder}": its layout is {json.dumps(layout)}, '
                            f'and this version reads {LAYOUT}. '
                            f'Use the sweepstake that made it, or name another with --store DIR.')

    def _of(self, id_: str) -> Path:
        return self.folder / "cells" / id_

    def _path(self, id_: str, kind: str) -> str:
        """A file of a cell, as text: to build a Path costs more than to open the file."""
        return f"{self._cells}/{id_}/{FILES[kind]}"

    def _of_search(self, id_: str) -> Path:
        return self.folder / "searches" / f"{id_}.json"

    # What is there

    def ids(self) -> list[str]:
        """The ids of all cells of which anything is there."""
        cells = self._of("")
        return sorted(path.name for path in cells.iterdir() if ID.fullmatch(path.name)) if cells.is_dir() else []

    def files(self, id_: str) -> tuple[dict[str, File], list[Damaged]]:
        """Every file of a cell by its kind, read and proven once; and what is damaged."""
        found, damage = dict[str, File](), list[Damaged]()
        for kind in self._kinds(id_):
            try:
                if (file := read(self._path(id_, kind), kind, id_)) is not None:
                    found[kind] = file
            except Damaged as error:
                damage.append(error)
        if not belong(found.get("result"), found.get("masks")):
            damage.append(Damaged(self._path(id_, "masks"), "not the masks of the result beside it"))
        return found, damage

    def _kinds(self, id_: str) -> list[str]:
        """Of which kinds there are files: one listing in the place of a failed opening for each that is not there."""
        try:
            names = os.listdir(f"{self._cells}/{id_}")
        except FileNotFoundError:
            return []
        except OSError:
            return list(FILES)  # Each is then named with what is wrong.
        return [kind for kind, name in FILES.items() if name in names]

    def look(self, id_: str) -> Kept:
        """All there is of a cell. Where a file of it is damaged, there is no result."""
        found, damage = self.files(id_)
        result, failure = (None if kind not in found or damage else found[kind].said for kind in ("result", "failure"))
        rounds = json.loads(found["state"].said["records"]) if "state" in found else ()
        status = ("damaged" if damage
                  else result["status"] if result
                  else "failed" if failure
                  else "begun" if rounds
                  else "missing")
        return Kept(status, result, failure, rounds, tuple(damage))

    def glance(self, ids: Iterable[str]) -> dict[str, Kept]:
        """The same of many cells, as `status` tells it, without the bytes of finished results.

        Of a result only its first bytes and its last are read: that it is there, of this cell, done or diverged, and
        not cut short. What changed inside is seen by `look` alone. It is asked of all other cells.
        """
        there = set(self.ids())
        return {id_: (self._finished(id_) or self.look(id_)) if id_ in there else MISSING for id_ in ids}

    def stamps(self, ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Of each cell of which anything is there, what differs once a file of it does; nothing is opened."""
        there = set(self.ids())
        return {id_: self.stamp(id_) for id_ in ids if id_ in there}

    def stamp(self, id_: str) -> tuple[int, ...]:
        """The place, the size and the time of each file that says how far a cell is."""
        found = list[int]()
        for kind in ("result", "masks", "failure", "state"):
            with suppress(OSError):
                file = os.stat(self._path(id_, kind))
                found += file.st_ino, file.st_size, file.st_mtime_ns
        return tuple(found)

    def _finished(self, id_: str) -> Kept | None:
        """What a sealed result says of itself at its beginning; None where there is none, or an odd one."""
        try:
            head, tail = ends_of(self._path(id_, "result"), HEAD_BYTES, TAIL_BYTES)
        except OSError:
            return None
        found = HEAD.match(head)
        ends = tail.endswith(b"}}") and not tail.endswith(b"}}}") and b'],"provenance":{' in tail
        return FINISHED[found["status"]] if found and found["id"] == id_.encode() and ends else None

    def status(self, id_: str) -> str:
        return self.look(id_).status

    def get(self, id_: str) -> dict[str, Any] | None:
        """The whole result of a cell: {status, rounds, provenance}.

        None while there is none, or what there is of the cell is damaged.
        """
        return self.look(id_).result

    def asked(self, id_: str) -> dict[str, Any] | None:
        """The fields of a cell that was begun; None where there is no such file, or a damaged one."""
        with suppress(Damaged):
            if (file := read(self._path(id_, "cell"), "cell", id_)) is not None:
                return file.said
        return None

    def whole(self) -> list[str]:
        """The ids of all cells with a result, whichever study they are of."""
        return sorted(path.parent.name for path in (self.folder / "cells").glob("*/result.json"))

    def studies(self) -> list[str]:
        """The names of the studies that were run into this store."""
        return sorted({path.stem.rpartition("-")[0] for path in (self.folder / "studies").glob("*.toml")})

    def holds(self, id_: str) -> bool:
        """Whether there is anything of a cell but what was asked; cheap, for nothing is proven."""
        with suppress(FileNotFoundError):
            return any(each.name != FILES["cell"] for each in self._of(id_).iterdir())
        return False

    def holds_search(self, id_: str) -> bool:
        return self._of_search(id_).exists()

    @cached_property
    def plugin_texts(self) -> dict[str, dict[str, Path]]:
        """The plug-ins that ran here: the hash of the code, and of each text that said it, with its file."""
        found = dict[str, dict[str, Path]]()
        for path in sorted((self.folder / "plugins").glob("*.py")):
            text = path.read_bytes()
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # Of a file that was changed here.
                found.setdefault(code_hash(text), {})[hash_of(text)] = path
        return found

    def failure(self, id_: str) -> dict[str, Any] | None:
        return self.look(id_).failure

    def rounds_done(self, id_: str) -> int:
        """How many rounds a begun cell has finished."""
        return self.look(id_).rounds_done

    def masks(self, id_: str) -> "list[Tensor]":
        """Each round's mask over all parameters."""
        import torch

        packed, size = self._packed(id_)
        return [unpack(mask, size).to(torch.bool) for mask in packed]

    def layout(self, id_: str) -> str | None:
        """Where each parameter lies in those masks (`layout.slots_in` reads it); None of a cell from before it was."""
        return self._masks_file(id_).said.get("layout")

    def weights(self, id_: str) -> Weights:
        """The trained weights that were kept of a cell."""
        return Weights(self._of(id_), id_)

    def _packed(self, id_: str) -> "tuple[list[Tensor], int]":
        """Each round's mask as it lies there, a bit a parameter; and how many parameters there are."""
        packed = self._masks_file(id_).tensors
        return [packed[f"round.{r}"] for r in range(len(packed) - 1)], int(packed["size"])

    def _masks_file(self, id_: str) -> File:
        path = self._of(id_) / FILES["masks"]
        file = read(path, "masks", id_)
        if file is None:
            raise FileNotFoundError(path)
        return file

    # What is put there

    def begin(self, id_: str, cell: Cell) -> None:
        """The cell is computed from here on: an end that it had, and what is damaged of it, are no more."""
        if not self._make(self._of(id_)):
            there = self.look(id_)
            damaged = [each.path.name for each in there.damage]
            self._remove(id_, [FILES["result"], FILES["masks"], FILES["failure"], *damaged])
            self.weights(id_).drop_unfinished(there.rounds_done)
        if self.asked(id_) is None:  # What was asked under an id never changes.
            said = msgspec.to_builtins(cell, order="deterministic")
            self._put(id_, "cell", seal_json("cell", id_, said, lines=True))

    def save_state(self, id_: str, records: list[dict[str, Any]], tensors: "Mapping[str, Tensor]",
                   meta: Mapping[str, Any]) -> None:
        """A finished round: everything up to it, in one file that replaces the last."""
        self._put(id_, "state", seal_tensors("state", id_, tensors, records=_json(records), meta=_json(meta)))

    def load_state(self, id_: str) -> "tuple[list[dict[str, Any]], dict[str, Tensor], dict[str, Any]] | None":
        """Where a begun cell is; None if it has no finished round, or its file is not whole."""
        try:
            file = read(self._path(id_, "state"), "state", id_)
        except Damaged:
            return None
        return (json.loads(file.said["records"]), file.tensors, json.loads(file.said["meta"])) if file else None

    def finish(self, id_: str, status: str, records: list[dict[str, Any]], masks: "Mapping[str, Tensor]",
               provenance: Mapping[str, Any], **texts: str) -> None:
        """The cell is done (or diverged).

        The result last, for it says that all else is there, and of which masks it is. `texts` go beside the masks.
        """
        packed = seal_tensors("masks", id_, masks, **texts)
        said = {"status": status, "rounds": records, "provenance": provenance}
        self._put(id_, "masks", packed)
        self._put(id_, "result", seal_json("result", id_, said, masks=seal_of(packed).sha256))
        self._remove(id_, [FILES[kind] for kind in ("state", "donor", "failure")])

    def take(self, id_: str, files: Mapping[str, bytes]) -> None:
        """Proven files of the cell from another store, by their kind, in the place of all that is here.

        A failure that is no more goes first, and what says that all else is there comes last: whenever this is stopped,
        the cell is as far as it was, or as far as it is there.
        """
        self._make(self._of(id_))
        if "failure" not in files:
            self._remove(id_, [FILES["failure"]])
        for kind in ORDER:
            if kind in files:
                self._put(id_, kind, files[kind])
        self._remove(id_, [name for kind, name in FILES.items() if kind not in files])

    def fail(self, id_: str, error: str, trace: str, provenance: Mapping[str, Any]) -> None:
        self._make(self._of(id_))
        said = {"error": error, "traceback": trace, "provenance": provenance}
        self._put(id_, "failure", seal_json("failure", id_, said))

    def donor_masks(self, id_: str, donor_id: str, size: int, find: "Callable[[], Mapping[int, Tensor]]",
                    tell: Callable[[Damaged], None] = lambda _: None) -> "dict[int, Tensor]":
        """The donor's mask a round, a bit a parameter.

        From its own result, or from where they were put, or found and put there. What is damaged of either is told
        and not taken.
        """
        donor, path = self.look(donor_id), self._of(id_) / FILES["donor"]
        for each in donor.damage:
            tell(each)
        if donor.result is not None and (self._of(donor_id) / FILES["masks"]).exists():
            return dict(enumerate(self._packed(donor_id)[0]))
        try:
            if (file := read(path, "donor", id_)) is not None:
                packed = {int(round_): mask for round_, mask in file.tensors.items()}
                if file.seal is not None and file.said["donor"] != donor_id:
                    raise Damaged(path, f"it is of donor {file.said['donor']}, not {donor_id}")
                if any(len(mask) != -(-size // 8) for mask in packed.values()):
                    raise Damaged(path, "it is of another network")
                return packed
        except Damaged as error:
            tell(error)
        packed = {round_: pack(mask) for round_, mask in find().items()}
        self._make(path.parent)
        by_round = {str(round_): mask for round_, mask in packed.items()}
        self._put(id_, "donor", seal_tensors("donor", id_, by_round, donor=donor_id))
        return packed

    def _put(self, id_: str, kind: str, content: bytes) -> None:
        write_whole(self._path(id_, kind), content)

    def _remove(self, id_: str, names: list[str]) -> None:
        for name in names:
            path = f"{self._cells}/{id_}/{name}"
            with writing(path), suppress(FileNotFoundError):
                os.unlink(path)

    def _make(self, folder: Path) -> bool:
        """Whether it was not there before."""
        with writing(folder):
            try:
                os.mkdir(folder)
            except FileExistsError:
                if not folder.is_dir():
                    raise
                return False
        return True

    def search(self, id_: str) -> dict[str, Any] | None:
        """The trials of a search, as far as it has come; None if it has not begun; Damaged where its file is."""
        file = read(self._of_search(id_), "search", id_)
        return file.said if file else None

    def put_search(self, id_: str, said: Mapping[str, Any]) -> None:
        self._make(self.folder / "searches")
        write_whole(self._of_search(id_), seal_json("search", id_, said, lines=True))

    def keep_study(self, name: str, text: str) -> Damaged | None:
        """The study's text, under the hash of it; what it replaces, where another text was there."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return self._keep(self.folder / "studies" / f"{name}-{digest}.toml", text.encode()) if text else None

    def keep_plugin(self, name: str, text: bytes) -> Damaged | None:
        """The text of a plug-in, in the same way."""
        self._make(self.folder / "plugins")
        return self._keep(self.folder / "plugins" / f"{name}-{hash_of(text)}.py", text)

    def _keep(self, path: Path, text: bytes) -> Damaged | None:
        there = path.exists()
        if there and path.read_bytes() == text:
            return None
        write_whole(path, text)
        return Damaged(path, "its content is not what the hash in its name says") if there else None

    def clear_abandoned(self) -> None:
        """Remove what killed writers left half-written."""
        parts = (self.folder / part for part in ("searches", "studies", "plugins"))
        for folder in (self.folder, *parts, *self._of("").iterdir()):
            clear_abandoned(folder)

    def has_end(self, id_: str) -> bool:
        """Whether a cell has a result or a failure, proven or not: what is quick to see."""
        return any((self._of(id_) / FILES[kind]).exists() for kind in ("result", "failure"))

    def holders(self) -> dict[str, Held]:
        """Who computes which cell now."""
        return Claims(self.folder / "claims").all()

    def claim(self, id_: str) -> AbstractContextManager[bool]:
        """Whether the cell is ours while a block runs. Advisory: losing it costs time twice, never a result."""
        return claimed(self.folder / "claims", id_)


def _read_soon(marker: Path) -> File | None:
    """A store's marker; on some file systems there is none for a moment, while another run puts it there too."""
    for _ in range(10):
        if (found := read(marker, "store", MARKER)) is not None:
            return found
        time.sleep(0.1)
    return None


def belong(result: File | None, masks: File | None) -> bool:
    """Whether the masks are those that the result names; one from before results were sealed names none."""
    if result is None or masks is None or result.seal is None:
        return True
    return masks.seal is not None and masks.seal.sha256 == result.seal.masks


def _json(value: Any) -> str:
    # NaN of a diverged round becomes null: JSON has no word for it.
    return msgspec.json.encode(value).decode()


def pack(mask: "Tensor") -> "Tensor":
    """A bit a parameter."""
    import numpy as np
    import torch

    return torch.from_numpy(np.packbits(mask.numpy()))


def unpack(packed: "Tensor", size: int) -> "Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.unpackbits(packed.numpy(), count=size))
