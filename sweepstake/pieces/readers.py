"""Published files -> arrays. Every size, magic and label is checked; nothing in a file is executed (no pickle)."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from sweepstake.base.errors import UserError

if TYPE_CHECKING:
    import numpy as np

AGAIN = "Fetch the file again."
DEFLATE_AT_MOST = 1032
"""The most that deflate can expand its input. A header that says more is not believed."""


def read_idx(path: Path, expected: tuple[int, ...] | None = None) -> "np.ndarray":
    """An IDX file of unsigned bytes, gzipped or not, of the expected shape if one is given (LeCun's format)."""
    import numpy as np

    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08":
                begins = magic.hex() or "nothing"
                raise UserError(
                    f"{path}: not an IDX file of unsigned bytes (begins with {begins}, expected 000008). {AGAIN}"
                )
            axes = magic[3]
            header = file.read(4 * axes)
            if len(header) < 4 * axes:
                raise UserError(f"{path}: cut off inside its header ({4 + len(header)} bytes). {AGAIN}")
            shape = struct.unpack(f">{axes}I", header)
            if expected is not None and shape != expected:
                raise UserError(
                    f"{path}: holds shape {shape}; expected {expected}. Is it another file under this name? {AGAIN}"
                )
            count = int(np.prod([int(n) for n in shape], dtype=object))
            possible = path.stat().st_size * (DEFLATE_AT_MOST if zipped else 1)
            body = file.read(min(count, possible) + 1)
    except (OSError, EOFError, zlib.error) as error:
        what = "" if type(error).__module__ == "builtins" and not isinstance(error, EOFError) else " as gzip"
        raise UserError(f"{path}: cannot be read{what} ({error}). {AGAIN}") from error
    if len(body) != count:
        holds = f"more than {count:,}" if len(body) > count else f"{len(body):,}"
        raise UserError(f"{path}: holds {holds} bytes after its header, which says {count:,}. {AGAIN}")
    if axes > 32:
        raise UserError(f"{path}: says it has {axes} axes; expected 1 to 3. {AGAIN}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_cifar(path: Path, records: int, classes: tuple[int, ...]) -> "tuple[np.ndarray, np.ndarray]":
    """CIFAR's binary version (Krizhevsky 2009): a record is its labels (the last counts), then 3 x 32 x 32 pixels."""
    import numpy as np

    labels, pixels = len(classes), 3 * 32 * 32
    record = labels + pixels
    try:
        raw = np.fromfile(path, np.uint8, records * record + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}). {AGAIN}") from error
    if len(raw) != records * record:
        size = path.stat().st_size
        raise UserError(
            f"{path}: holds {size:,} bytes; "
            f"expected {records:,} records of {record:,}, {records * record:,} bytes. {AGAIN}"
        )
    raw = raw.reshape(records, record)
    for column, below in enumerate(classes):
        labels_are_below(path, raw[:, column], below)
    last = raw[:, labels - 1].copy()  # A view would keep the whole file in memory.
    return raw[:, labels:].reshape(records, 3, 32, 32), last


def read_npz(path: Path, keys: tuple[str, ...]) -> "list[np.ndarray]":
    """The named arrays of an npz file, none of which may be a pickled object."""
    import numpy as np

    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected an npz file with the arrays {', '.join(keys)}.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            lacking = [key for key in keys if key not in held]
            if lacking:
                raise UserError(f"{path}: lacks {', '.join(lacking)}; expected the arrays {', '.join(keys)}. "
                                f"It holds {', '.join(held) or 'none'}.")
            arrays = [held[key] for key in keys]
    except UserError:
        raise
    except Exception as error:  # On bytes that are no npz, zipfile, zlib and NumPy raise a dozen kinds between them.
        raise UserError(f"{path}: cannot be read as npz without pickle ({type(error).__name__}: {error}). "
                        f"Expected plain arrays {', '.join(keys)}, as np.savez writes them.") from error
    for key, array in zip(keys, arrays, strict=True):
        if not isinstance(array, np.ndarray):
            raise UserError(
                f"{path}: {key} is not an array. Expected plain arrays {', '.join(keys)}, as np.savez writes them."
            )
    return arrays


def labels_are_below(path: Path, labels: "np.ndarray", classes: int) -> None:
    if labels.size and int(labels.max()) >= classes:
        raise UserError(f"{path}: has label {int(labels.max())}; expected 0 to {classes - 1}.")
