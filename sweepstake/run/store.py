"""Results by the id of their cell: plain files in a folder a cell, each written whole or not at all.

    STORE/sweepstake-store.json          this folder is ours, and of which layout
    STORE/cells/ID/cell.json             what was asked
    STORE/cells/ID/state.safetensors     while it runs: the finished rounds, and where the next begins
    STORE/cells/ID/donor.safetensors     while it runs: the masks of the cell's donor, if it has one
    STORE/cells/ID/masks.safetensors     when done: each round's mask, a bit a parameter
    STORE/cells/ID/result.json           when done: every round's record and the provenance; it exists = the cell is done
    STORE/cells/ID/failure.json          the traceback of a cell that failed
    STORE/searches/ID.json               the trials of a search that have ended, each with its value
    STORE/studies/NAME-HASH.toml         the text of every study that ran here
    STORE/locks/ID                       held by whoever computes the cell now; advisory

Merging two stores is copying their files. Nothing is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MARKER, LAYOUT = "sweepstake-store.json", 1


class Store:
    """A folder of results."""

    def __init__(self, folder: str | Path, *, create: bool = True):
        self.folder = Path(folder)
        marker = self.folder / MARKER
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise UserError(f'store "{self.folder}": is a file, not a folder. Name a folder with --store DIR.')
            if not marker.exists():
                others = [each for each in self.folder.iterdir() if MARKER not in each.name] if self.folder.exists() else []
                if others and not marker.exists():  # Looked at twice: another run may just have made it.
                    raise UserError(f'store "{self.folder}": a folder with other things in it, not a sweepstake store. '
                                    f"Name a new or empty folder with --store DIR.")
                if not create and not marker.exists():
                    raise UserError(f'store "{self.folder}": nothing is there yet. Run a study first, or name another with --store DIR.')
                if not marker.exists():
                    self.folder.mkdir(parents=True, exist_ok=True)
                    write_whole(marker, json.dumps({"layout": LAYOUT}).encode())
            layout = (_read_json(marker) or {}).get("layout")
            if layout != LAYOUT:
                raise UserError(f'store "{self.folder}": its layout is {json.dumps(layout)}, and this version reads {LAYOUT}. '
                                f'Use the sweepstake that made it, or name another with --store DIR.')
            if create:
                for part in ("cells", "studies", "locks"):
                    (self.folder / part).mkdir(exist_ok=True)
                write_whole(self.folder / "locks" / f".writable-{os.getpid()}", b"")
                (self.folder / "locks" / f".writable-{os.getpid()}").unlink()
        except OSError as error:
            said = f"cannot be {'written' if create else 'read'} ({error.strerror})"
            raise UserError(f'store "{self.folder}": {said}. Name another with --store DIR.') from error

    def _of(self, id_: str) -> Path:
        return self.folder / "cells" / id_

    # What is there

    def status(self, id_: str) -> str:
        """done, diverged, failed, begun or missing."""
        if (result := self.get(id_)) is not None:
            return result["status"]
        here = self._of(id_)
        return "failed" if (here / "failure.json").exists() else "begun" if (here / "state.safetensors").exists() else "missing"

    def get(self, id_: str) -> dict[str, Any] | None:
        """The whole result of a cell: {status, rounds, provenance}; None while there is none."""
        return _read_json(self._of(id_) / "result.json")

    def asked(self, id_: str) -> dict[str, Any] | None:
        """The fields of a cell that was begun."""
        return _read_json(self._of(id_) / "cell.json")

    def whole(self) -> list[str]:
        """The ids of all cells with a result, whichever study they are of."""
        return sorted(path.parent.name for path in (self.folder / "cells").glob("*/result.json"))

    def studies(self) -> list[str]:
        """The names of the studies that were run into this store."""
        return sorted({path.stem.rpartition("-")[0] for path in (self.folder / "studies").glob("*.toml")})

    def failure(self, id_: str) -> dict[str, Any] | None:
        return _read_json(self._of(id_) / "failure.json")

    def rounds_done(self, id_: str) -> int:
        """How many rounds a begun cell has finished."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._of(id_) / "state.safetensors", framework="np") as file:
                return len(json.loads((file.metadata() or {})["records"]))
        except (OSError, SafetensorError, KeyError, ValueError):
            return 0

    def masks(self, id_: str) -> "list[Tensor]":
        """Each round's mask over all parameters."""
        import torch
        from safetensors.torch import load

        packed = load((self._of(id_) / "masks.safetensors").read_bytes())
        size = int(packed["size"])
        return [unpack(packed[f"round.{r}"], size).to(torch.bool) for r in range(len(packed) - 1)]

    # What is put there

    def begin(self, id_: str, cell: Cell) -> None:
        self._of(id_).mkdir(exist_ok=True)
        (self._of(id_) / "failure.json").unlink(missing_ok=True)
        write_whole(self._of(id_) / "cell.json", msgspec.json.format(msgspec.json.encode(cell, order="deterministic")))

    def save_state(self, id_: str, records: list[dict[str, Any]], tensors: "Mapping[str, Tensor]", meta: Mapping[str, Any]) -> None:
        """A finished round: everything up to it, in one file that replaces the last."""
        from safetensors.torch import save

        text = {"records": _json(records), "meta": _json(meta)}
        write_whole(self._of(id_) / "state.safetensors", save(dict(tensors), metadata=text))

    def load_state(self, id_: str) -> "tuple[list[dict[str, Any]], dict[str, Tensor], dict[str, Any]] | None":
        """Where a begun cell is; None if it has no finished round, or its file is not whole."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._of(id_) / "state.safetensors", framework="pt") as file:
                text = file.metadata() or {}
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
            return json.loads(text["records"]), tensors, json.loads(text["meta"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def finish(self, id_: str, status: str, records: list[dict[str, Any]], masks: "Mapping[str, Tensor]", provenance: Mapping[str, Any]) -> None:
        """The cell is done (or diverged): the result last, for it says that all else is there."""
        from safetensors.torch import save

        write_whole(self._of(id_) / "masks.safetensors", save(dict(masks)))
        write_whole(self._of(id_) / "result.json", _json({"status": status, "rounds": records, "provenance": provenance}).encode())
        (self._of(id_) / "state.safetensors").unlink(missing_ok=True)
        (self._of(id_) / "donor.safetensors").unlink(missing_ok=True)
        (self._of(id_) / "failure.json").unlink(missing_ok=True)

    def fail(self, id_: str, error: str, trace: str, provenance: Mapping[str, Any]) -> None:
        self._of(id_).mkdir(exist_ok=True)
        write_whole(self._of(id_) / "failure.json", _json({"error": error, "traceback": trace, "provenance": provenance}).encode())

    def donor_masks(self, id_: str, donor_id: str, size: int, find: "Callable[[], Mapping[int, Tensor]]") -> "dict[int, Tensor]":
        """The donor's mask a round: from the donor's own result, or from where they were put, or found and put there."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load, save

        if self.get(donor_id) is not None:
            with suppress(OSError, SafetensorError, KeyError):
                return dict(enumerate(self.masks(donor_id)))
        path = self._of(id_) / "donor.safetensors"
        with suppress(OSError, SafetensorError, ValueError):
            return {int(round_): unpack(mask, size).to(torch.bool) for round_, mask in load(path.read_bytes()).items()}
        found = find()
        path.parent.mkdir(exist_ok=True)
        write_whole(path, save({str(round_): pack(mask) for round_, mask in found.items()}))
        return dict(found)

    def search(self, id_: str) -> dict[str, Any] | None:
        """The trials of a search, as far as it has come; None if it has not begun."""
        return _read_json(self.folder / "searches" / f"{id_}.json")

    def put_search(self, id_: str, said: Mapping[str, Any]) -> None:
        (self.folder / "searches").mkdir(exist_ok=True)
        write_whole(self.folder / "searches" / f"{id_}.json", json.dumps(said, indent=1).encode())

    def keep_study(self, name: str, text: str) -> None:
        """The study's text, under the hash of it."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        path = self.folder / "studies" / f"{name}-{digest}.toml"
        if text and not path.exists():
            write_whole(path, text.encode())

    @contextmanager
    def claim(self, id_: str) -> Iterator[bool]:
        """Whether the cell is ours to compute now. Advisory: losing it costs time twice, never a result."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "locks" / id_)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def write_whole(path: Path, content: bytes) -> None:
    """Write to a neighbour, flush to disk, rename over: a reader sees the old file or the new one, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _json(value: Any) -> str:
    # NaN of a diverged round becomes null: JSON has no word for it.
    return msgspec.json.encode(value).decode()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def pack(mask: "Tensor") -> "Tensor":
    """A bit a parameter."""
    import numpy as np
    import torch

    return torch.from_numpy(np.packbits(mask.numpy()))


def unpack(packed: "Tensor", size: int) -> "Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.unpackbits(packed.numpy(), count=size))
