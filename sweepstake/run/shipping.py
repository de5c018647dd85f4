"""The files of a cell as they travel: read from a store for a node, and what a node made put into the store, proven."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sweepstake.base.cell import Cell
from sweepstake.pieces.donors import donor_of
from sweepstake.run.files import write_whole, writing
from sweepstake.run.names import id_in
from sweepstake.run.sealed import Damaged, File, prove
from sweepstake.run.store import FILES, Store

KINDS = {name: kind for kind, name in FILES.items()}
WEIGHTS = re.compile(r"(weights\.(?:\d+|step|start))\.safetensors")
LAST = ("masks.safetensors", "state.safetensors", "result.json", "failure.json")
"""Written after all else, in this order: each says that what stands before it is there."""
OF_A_DONOR = ("masks", "result", "cell")


def folder_of(store: Store, id_: str) -> Path:
    return store.folder / "cells" / id_


def files_for(store: Store, id_: str, cell: Cell) -> dict[str, dict[str, bytes]]:
    """What a node needs to go on with a cell: its last finished round, and the masks of its donor."""
    files = {id_: _read(store, id_, ("state", "donor"))}
    if cell.control == "transplant":
        donor = id_in(store, donor_of(cell))
        if store.get(donor) is not None:
            files[donor] = _read(store, donor, OF_A_DONOR)
    return files


def _read(store: Store, id_: str, kinds: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for kind in kinds:
        with suppress(FileNotFoundError):
            found[FILES[kind]] = (folder_of(store, id_) / FILES[kind]).read_bytes()
    return found


def lay(store: Store, files: Mapping[str, Mapping[str, bytes]]) -> None:
    """Put files into a scratch store as they are."""
    for id_, named in files.items():
        folder = folder_of(store, id_)
        folder.mkdir(exist_ok=True)
        for name, content in named.items():
            kind_of(name)
            (folder / name).write_bytes(content)


def made(store: Store, id_: str, sent: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a cell that are not as they were sent."""
    found: dict[str, bytes] = {}
    for path in folder_of(store, id_).iterdir() if folder_of(store, id_).is_dir() else ():
        if path.name in KINDS or WEIGHTS.fullmatch(path.name):
            content = path.read_bytes()
            if sent.get(path.name) != content:
                found[path.name] = content
    return found


def take_in(store: Store, id_: str, files: Mapping[str, bytes], *, last_weights: bool) -> None:
    """Put what a node made into the store: all of it proven before any of it is written, and in the order of a cell."""
    proven = {name: _proven(store, id_, name, content) for name, content in files.items()}
    _check_masks(proven.get(FILES["result"]), proven.get(FILES["masks"]), folder_of(store, id_))
    folder = folder_of(store, id_)
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for name in sorted(proven, key=lambda name: (name in LAST and 1 + LAST.index(name), name)):
        write_whole(folder / name, proven[name].content)
    if FILES["result"] in files:
        for kind in ("state", "donor", "failure"):
            with writing(folder / FILES[kind]):
                (folder / FILES[kind]).unlink(missing_ok=True)
    if last_weights and (kept := store.weights(id_)).rounds:
        newest = kept.rounds[-1]
        kept.drop(lambda round_: round_ < newest)


def kind_of(name: str) -> str:
    """What a file of a cell is sealed as; ValueError for any other name."""
    if name in KINDS:
        return KINDS[name]
    if named := WEIGHTS.fullmatch(name):
        return named[1]
    raise ValueError(f"{name}: no file of a cell")


def _proven(store: Store, id_: str, name: str, content: bytes) -> File:
    path = folder_of(store, id_) / name
    file = prove(content, path, kind_of(name), id_)
    if file.seal is None:
        raise Damaged(path, "a node sent it without a seal")
    return file


def _check_masks(result: File | None, masks: File | None, folder: Path) -> None:
    """A result comes with its own masks, or not at all."""
    if result and result.seal and not (masks and masks.seal and masks.seal.sha256 == result.seal.masks):
        raise Damaged(folder / FILES["masks"], "a node sent a result without its masks")
