"""Decoded images under their hash: sent to a node that has none, once, and read by every cell there."""

import hashlib
import io
import os
import re
import secrets
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from sweepstake.base.cell import Ref
from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import PARTS, Data, data_files, dataset
from sweepstake.run.data import (
    close_decoded,
    data_directories,
    keep_decoded,
    load_data,
    put_decoded,
    read_decoded,
    sweep,
    user_cache,
)
from sweepstake.run.parcel import Piece

PIECE_BYTES = 16 * 2**20
PATIENCE_SECONDS = 120.0
"""After which a process decodes for itself: the one that it waited for has died, or is slower than two."""


def sent_images() -> Path:
    """Where a node keeps what it was sent, or has found itself, under its hash."""
    return user_cache() / "images"


def hash_of_images(data: Data) -> str:
    """The same for the same images and labels, however their files lay."""
    digest = hashlib.sha256(str(data.classes).encode())
    for part in PARTS:
        array = np.ascontiguousarray(getattr(data, part))
        digest.update(f"{part} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def is_everywhere(ref: Ref) -> bool:
    """Whether a data set needs no file: every node makes it itself."""
    piece = dataset.get(ref.name)
    return bool(piece.traits.get("here")) and not piece.source


def pieces_of(data: Data, digest: str) -> Iterator[Piece]:
    """All of it, a piece at a time; a node that has taken the last one has it whole."""
    token = f"{digest}.{secrets.token_hex(4)}"
    for part in PARTS:
        file = io.BytesIO()
        np.save(file, getattr(data, part), allow_pickle=False)
        content = file.getbuffer()
        for start in range(0, len(content), PIECE_BYTES):
            packed = zlib.compress(content[start:start + PIECE_BYTES], 1)
            yield Piece(token, f"{part}.npy", start, packed, last=False)
    yield Piece(token, "", int(data.classes), b"", last=True)


def take_piece(piece: Piece) -> None:
    """Put a piece where it belongs; with the last one all are proven by their hash, and have their name."""
    if not re.fullmatch(r"[0-9a-f]{64}\.[0-9a-f]{8}", piece.data):
        raise ValueError("a data set without a hash")
    folder = sent_images()
    part_folder = folder / f"{piece.data}.part"
    if not piece.last:
        if piece.name.removesuffix(".npy") not in PARTS:
            raise ValueError(f"no part of a data set: {piece.name}")
        part_folder.mkdir(parents=True, exist_ok=True)
        path = part_folder / piece.name
        with path.open("r+b" if path.exists() else "xb") as file:
            file.seek(piece.start)
            file.write(zlib.decompress(piece.content))
        return
    sweep(folder)
    close_decoded(part_folder, piece.start)
    digest, data = piece.data.partition(".")[0], read_decoded(part_folder)
    if data is None or hash_of_images(data) != digest:
        raise ValueError("the images that arrived are not those that were sent")
    put_decoded(part_folder, folder / digest)


def find_images(ref: Ref, digest: str) -> Path | None:
    """The folder of these images on this node; None where it has them not. Decoded by one process, once."""
    folder = sent_images() / digest
    if read_decoded(folder) is not None:
        return folder
    with alone(folder.with_suffix(".lock")):
        if read_decoded(folder) is not None:
            return folder
        own = _own(ref)
        if own is None or hash_of_images(own) != digest:
            return None
        keep_decoded(folder, own)
    return folder if read_decoded(folder) is not None else None


def _own(ref: Ref) -> Data | None:
    """The data set as this node finds it: where its path says, under SWEEPSTAKE_DATA, or where `data fetch` puts it."""
    places = data_files(ref).values()
    if "sources" not in dataset.get(ref.name).traits and not (places and all(map(os.path.isabs, places))):
        return None
    try:
        return load_data(ref, data_directories(None), None)
    except (UserError, OSError):
        return None


@contextmanager
def alone(path: Path, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """One process of this machine after another, in patience. Made by O_EXCL: flock does nothing on some folders."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        try:
            path.open("x").close()
            break
        except FileExistsError:
            if time.monotonic() > until:
                break  # Whoever comes after waits for us again.
            time.sleep(0.1)
        except OSError:
            break  # Nothing can be kept here; each decodes for itself.
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
