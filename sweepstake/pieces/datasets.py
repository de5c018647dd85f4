"""Images: () -> Data, uint8 and whole. A data set is read from files that are already here; nothing is downloaded.

`files(folder, names)` finds the named files under the data directories, or tells which are missing and how to get them.
"""

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweepstake.base.errors import UserError
from sweepstake.base.registry import Registry

if TYPE_CHECKING:
    import numpy as np

dataset = Registry("dataset", offers={
    "files": "finds this data set's files: files(folder, names) -> {name: path}",
})

Files = Callable[[str, list[str]], dict[str, Path]]


@dataclass(frozen=True)
class Data:
    """Images as uint8 (count, channels, height, width), labels as integers from 0."""

    train_x: "np.ndarray"
    train_y: "np.ndarray"
    test_x: "np.ndarray"
    test_y: "np.ndarray"
    classes: int


def find_files(directories: list[Path]) -> Files:
    """A finder over data directories: DIR/folder/name, DIR/folder/raw/name (torchvision), DIR/name."""

    def files(folder: str, names: list[str]) -> dict[str, Path]:
        found, missing = {}, []
        for name in names:
            spellings = [name, name.removesuffix(".gz")]
            places = [d / sub / spelling for d in directories for sub in (folder, f"{folder}/raw", ".") for spelling in spellings]
            here = next((place for place in places if place.is_file()), None)
            if here:
                found[name] = here
            else:
                missing.append(name)
        if missing:
            looked = ", ".join(f'"{d / folder}"' for d in directories) or "(no data directory was given)"
            raise UserError(
                f'data set "{folder}": missing {", ".join(missing)}; looked in {looked}.\n'
                f"  Say where it is with `--data DIR` (or the variable SWEEPSTAKE_DATA), DIR holding {folder}/{missing[0]},\n"
                f"  or put the published files there yourself: `sweepstake data` says which and from whom.")
        return found

    return files


def read_idx(path: Path) -> "np.ndarray":
    """An IDX file of unsigned bytes, gzipped or not (LeCun's format)."""
    import numpy as np

    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error) as error:  # pyright: ignore[reportAttributeAccessIssue]
        raise UserError(f"{path}: cannot be read as gzip ({error}). Fetch the file again.") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise UserError(f"{path}: not an IDX file of unsigned bytes (begins with {raw[:4].hex()}, expected 0000 08). Fetch the file again.")
    axes = raw[3]
    if len(raw) < 4 + 4 * axes:
        raise UserError(f"{path}: cut off inside its header ({len(raw)} bytes). Fetch the file again.")
    shape = struct.unpack(f">{axes}I", raw[4:4 + 4 * axes])
    expected = 4 + 4 * axes + int(np.prod([int(n) for n in shape], dtype=object))
    if len(raw) != expected:
        raise UserError(f"{path}: holds {len(raw):,} bytes where its header says {expected:,}. Fetch the file again.")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _idx_data(paths: dict[str, Path], names: list[str], classes: int) -> Data:
    train_x, train_y, test_x, test_y = (read_idx(paths[name]) for name in names)
    for images, labels, name, label_name in ((train_x, train_y, names[0], names[1]), (test_x, test_y, names[2], names[3])):
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise UserError(f"{paths[name]}: shape {images.shape} does not go with {paths[label_name]}: shape {labels.shape}; "
                            f"expected (n, height, width) and (n,).")
        if labels.size and int(labels.max()) >= classes:
            raise UserError(f"{paths[label_name]}: has label {int(labels.max())}; expected 0 to {classes - 1}.")
    return Data(train_x[:, None], train_y.astype("int64"), test_x[:, None], test_y.astype("int64"), classes)


MNIST_FILES = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


@dataset(shape=(1, 8, 8), classes=10, train=1437, test=360, here=True)
def digits():
    """1,797 handwritten digits, 8 x 8, inside the package: 1,437 to train on, 360 to test (Alpaydin & Kaynak 1998)."""
    folder = Path(__file__).parent / "digits"
    return _idx_data({name: folder / name for name in MNIST_FILES}, MNIST_FILES, 10)


@dataset(shape=(1, 28, 28), classes=10, train=60_000, test=10_000)
def mnist(files):
    """60,000 + 10,000 handwritten digits, 28 x 28 (LeCun et al. 1998)."""
    return _idx_data(files("mnist", MNIST_FILES), MNIST_FILES, 10)


@dataset(shape=(1, 28, 28), classes=10, train=60_000, test=10_000)
def fashion_mnist(files):
    """60,000 + 10,000 pictures of clothes, 28 x 28 (Xiao et al. 2017)."""
    return _idx_data(files("fashion-mnist", MNIST_FILES), MNIST_FILES, 10)
