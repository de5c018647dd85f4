"""Where data sets lie, and how their images reach every worker: decoded once, memory-mapped, so resident once."""

import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweepstake.base.cell import Ref
from sweepstake.base.errors import UserError
from sweepstake.base.registry import Piece
from sweepstake.base.text import hidden_in, visible
from sweepstake.pieces.datasets import (
    PARTS,
    Data,
    Files,
    Spec,
    check_data,
    data_files,
    dataset,
    find_files,
    located,
    spec_of,
)
from sweepstake.run.fetch import PUBLISHED

CACHE_FORMAT = 1
"""Goes up when the readers or the cache's layout change: what was decoded before is then decoded again."""


def user_cache() -> Path:
    """The folder that is ours among the user's caches; all in it may be deleted at any time."""
    home, said = Path.home(), os.environ.get("XDG_CACHE_HOME", "")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "sweepstake" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "sweepstake"
    cache = Path(said) if os.path.isabs(said) else home / ".cache"  # The XDG rules: a relative path is ignored.
    return cache / "sweepstake"


def fetched_data() -> Path:
    """Where `sweepstake data fetch` puts what it downloads."""
    return user_cache() / "data"


def decoded_cache() -> Path:
    """Where what was decoded is kept."""
    return user_cache() / "decoded"


def data_directories(given: str | Path | None) -> list[Path]:
    """Where data sets are looked for, in order.

    --data, the variable SWEEPSTAKE_DATA, what was fetched, Keras's folder.
    """
    if given is not None and not Path(given).expanduser().is_dir():
        raise UserError(f'--data "{given}": no such directory. '
                        f'Name the one that holds mnist/, cifar-10-batches-bin/ or the like.')
    said = os.environ.get("SWEEPSTAKE_DATA", "").split(os.pathsep)
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    first = [Path(given)] if given is not None else []
    places = [*first, *(Path(place) for place in said if place), fetched_data(), keras]
    found = list(dict.fromkeys(place.expanduser().absolute() for place in places))
    problems = [f"{visible(place)} (where data sets are looked for): {problem}."
                for place in found if (problem := hidden_in(str(place)))]
    if problems:
        raise UserError(*problems)
    return found


def load_data(ref: Ref, directories: list[Path], cache: Path | None) -> Data:
    """The images of a data set, checked; from the cache, where its sources are named (the small sets name none).

    Pages of a cached file are shared by all who map it; copy-on-write, so that torch may have them as its own.
    """
    piece, files = dataset.get(ref.name), find_files(directories)

    def decode() -> Data:
        with _blamed(piece):
            given = piece({"files": lambda: files}, ref.options)
        return check_data(f'data set "{ref.name}"', given, spec_of(ref))

    key = None if cache is None else _key(piece, ref, files)
    if cache is None or key is None:
        return decode()
    folder = cache / f"{ref.name}-{key}"
    return read_decoded(folder) or keep_decoded(folder, decode())


def known_size(ref: Ref, folder: Path) -> Spec | None:
    """A data set in numbers: its spec; or, where it has none and is at hand, what it holds."""
    spec = spec_of(ref)
    if spec is not None or not is_at_hand(ref, folder):
        return spec
    held = load_data(located(ref, folder), [], decoded_cache())
    channels, height, width = held.train_x.shape[1:]
    return Spec((channels, height, width), held.classes, len(held.train_y), len(held.test_y))


def is_at_hand(ref: Ref, folder: Path) -> bool:
    """Whether a data set is read without `--data`: the study names its files and they are there, or it needs none."""
    if files := data_files(ref):
        return all((folder / said).is_file() for said in files.values())
    return bool(dataset.get(ref.name).traits.get("here"))


@contextmanager
def _blamed(piece: Piece) -> Iterator[None]:
    """Whatever a plug-in raises is told as the user's, with the last of its own lines."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        file = _file_of(piece)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f"{file}:{lines[-1]}" if lines else file
        raise UserError(f'data set "{piece.name}": {where} raised {type(error).__name__}: {error}.') from error


def _file_of(piece: Piece) -> str:
    code = getattr(inspect.unwrap(piece.function), "__code__", None)
    return piece.function.__module__ if code is None else code.co_filename


def _key(piece: Piece, ref: Ref, files: Files) -> str | None:
    """What the decoded images depend on: the data set and its options, the code that reads it, the files it reads."""
    said = [Path(path) for path in data_files(ref).values()]
    if "sources" not in piece.traits and not said:
        return None
    with _blamed(piece):
        sources = [*said, *(piece.traits["sources"](files, ref.options) if "sources" in piece.traits else [])]
    try:
        code = hashlib.sha256(Path(_file_of(piece)).read_bytes()).hexdigest()
        stamps = [(str(path.resolve()), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in sources]
        content = [file_hash(path) for path in said]
    except OSError:
        return None  # A function from a notebook, or a file that is not there: decoding says what is wrong.
    depends = [CACHE_FORMAT, ref.name, ref.version, ref.options, code, stamps, *content]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """The SHA-256 of what a file holds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_hashes(ref: Ref, folder: Path) -> dict[str, str]:
    """What each file of a data set holds: the path that is said -> its hash. Files that are not there are left out."""
    places = {said: folder / said for said in data_files(ref).values()}
    return {said: file_hash(place) for said, place in places.items() if place.is_file()}


def read_decoded(folder: Path) -> Data | None:
    """The cached images, or None where any byte of them is not as it was written."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        for part in PARTS:
            if _crc32(folder / f"{part}.npy") != manifest["crc32"][part]:
                return None
        arrays = [np.asarray(np.load(folder / f"{part}.npy", mmap_mode="c", allow_pickle=False)) for part in PARTS]
        return Data(*arrays, classes=manifest["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_decoded(folder: Path, data: Data) -> Data:
    """Cache the images, whole or not at all; where that cannot be, they are still good."""
    part_folder = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        part_folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
        for part in PARTS:
            with (part_folder / f"{part}.npy").open("xb") as file:
                np.save(file, getattr(data, part), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        close_decoded(part_folder, data.classes)
        put_decoded(part_folder, folder)
    except OSError:
        if part_folder is not None:
            shutil.rmtree(part_folder, ignore_errors=True)
    return read_decoded(folder) or data


def close_decoded(part_folder: Path, classes: int) -> None:
    """Write beside the arrays what proves that they are whole."""
    sums = {part: _crc32(part_folder / f"{part}.npy") for part in PARTS}
    with (part_folder / "manifest.json").open("x", encoding="utf-8") as file:
        json.dump({"classes": int(classes), "crc32": sums}, file)
        file.flush()
        os.fsync(file.fileno())


def put_decoded(part_folder: Path, folder: Path) -> None:
    """Give a finished folder its name.

    Another worker may have been faster (ours goes), or what is there is corrupt (it goes).
    """
    if read_decoded(folder) is not None:
        shutil.rmtree(part_folder)
        return
    if folder.exists():
        os.rename(folder, f"{part_folder}.old.part")
        shutil.rmtree(f"{part_folder}.old.part", ignore_errors=True)
    os.rename(part_folder, folder)


def sweep(cache: Path, older_than: float = 24 * 3600) -> None:
    """Remove what killed processes left half-written a day ago."""
    for left in cache.glob("*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > older_than:
                shutil.rmtree(left)


def _crc32(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, mode="r"))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class DataRow:
    """A data set, as `sweepstake data` lists it.

    `size` in bytes: of the files found, else of the download (0: not known).
    """

    name: str
    state: str
    where: str
    size: int
    how: str


def data_status(directories: list[Path]) -> list[DataRow]:
    """Every data set: found (and where), missing (and how to get it), or in no need of files."""
    return [_row(piece, find_files(directories)) for piece in dataset.pieces.values()]


def lacking_data(name: str, directories: list[Path]) -> str:
    """How to get a data set that is not here; empty where it is."""
    row = _row(dataset.get(name), find_files(directories))
    return row.how if row.state == "missing" else ""


def _row(piece: Piece, files: Files) -> DataRow:
    needed = [name for name, option in piece.options.items() if option.required]
    if needed:
        said = "".join(f", {name} = ..." for name in needed)
        return DataRow(piece.name, "yours", "", 0, f'say dataset = {{name = "{piece.name}"{said}}}')
    if "sources" not in piece.traits:
        return DataRow(piece.name, "ready", "in the package" if piece.traits.get("here") else "from a plug-in", 0, "")
    published = PUBLISHED.get(piece.name)
    try:
        with _blamed(piece):
            options = {name: option.default for name, option in piece.options.items()}
            found = list(piece.traits["sources"](files, options))
        return DataRow(piece.name, "found", str(found[0].parent), sum(path.stat().st_size for path in found), "")
    except (UserError, OSError) as error:
        if published is None:
            return DataRow(piece.name, "missing", "", 0, str(error))
        size = sum(file.size for file in published.files)
        return DataRow(piece.name, "missing", "", size, f"sweepstake data fetch {piece.name}")
