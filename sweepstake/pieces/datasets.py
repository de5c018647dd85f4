"""Images: () -> Data, uint8 and whole. A data set is read from files that are already here; nothing is downloaded.

`files(folder, names)` finds the named files under the data directories, or tells which are missing and how to get them.
A data set of your own is a function that returns Data, or the four arrays train_x, train_y, test_x, test_y.

Traits, which the decorator takes:
- `shape`, `classes`, `train`, `test`; or `spec`, a function of the options that returns the four.
- `here`: it needs no file. `folder`: where its published files lie.
- `sources(files, options)`: the files that it reads. With it, decoded images are cached and shared among processes.

An option of the type `DataFile` is a file of the user's. A study says its path from the study's own folder, and a
result keeps the hash of what it held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

from msgspec import Meta
from msgspec.structs import replace

from sweepstake.base.cell import Cell, Ref
from sweepstake.base.errors import UserError
from sweepstake.base.registry import Registry
from sweepstake.pieces.readers import labels_are_below, read_cifar, read_idx, read_npz

if TYPE_CHECKING:
    import numpy as np

dataset = Registry(
    "dataset",
    offers={
        "files": "finds this data set's files: files(folder, names) -> {name: path}; "
                 "with more lists of names, the first that is whole"
    },
)

Files = Callable[..., dict[str, Path]]

DataFile = Annotated[str, Meta(min_length=1, extra={"data_file": True})]
"""The type of an option that names a file of images. An id holds the path as the study says it."""


@dataclass(frozen=True)
class Data:
    """Images as uint8 (count, channels, height, width), labels as integers from 0."""

    train_x: "np.ndarray"
    train_y: "np.ndarray"
    test_x: "np.ndarray"
    test_y: "np.ndarray"
    classes: int


PARTS = ("train_x", "train_y", "test_x", "test_y")


class Spec(NamedTuple):
    """A data set in numbers, known before it is read: an image's shape, the counts of classes and images."""

    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int


def spec_of(ref: Ref) -> Spec | None:
    """The spec of a data set with these options, or None where only its files know."""
    traits = dataset.get(ref.name).traits
    if "spec" in traits:
        spec = traits["spec"](ref.options)
        return None if spec is None else Spec(tuple(spec[0]), *spec[1:])
    if any(field not in traits for field in Spec._fields):
        return None
    return Spec(tuple(traits["shape"]), traits["classes"], traits["train"], traits["test"])


def too_few(name: str, train: int, validation: int, subset: int) -> str:
    """What is wrong where a cell asks for more training images than the data set has; empty where it has enough."""
    if validation + max(subset, 1) <= train:
        return ""
    return f"validation = {validation} and subset = {subset}: {name} has {train:,} training images. Ask for less."


def data_files(ref: Ref) -> dict[str, str]:
    """The options of a data set that name files, with the paths that are said."""
    options = dataset.get(ref.name).options
    files = (name for name, option in options.items() if _is_a_file(option.type))
    return {name: said for name in files if (said := ref.options[name])}


def _is_a_file(type_: Any) -> bool:
    """Whether a type is `DataFile`, or that or none."""
    marks = (mark.extra or {} for mark in getattr(type_, "__metadata__", ()) if isinstance(mark, Meta))
    return any("data_file" in each for each in marks) or any(map(_is_a_file, get_args(type_)))


def located(ref: Ref, folder: Path) -> Ref:
    """A data set with the places of its files, whose paths are said from a folder."""
    places = {name: str(folder / said) for name, said in data_files(ref).items()}
    return replace(ref, options={**ref.options, **places}) if places else ref


def with_places(cell: Cell, folder: Path) -> Cell:
    """The cell with the places of its files: for reading them, never for an id."""
    return replace(cell, dataset=located(cell.dataset, folder))


def check_files(ref: Ref, folder: Path) -> None:
    """Refuse a data set whose files are not there."""
    for name, said in data_files(ref).items():
        if not (folder / said).is_file():
            raise UserError(f'data set "{ref.name}": {name} = "{said}": no file "{folder / said}". '
                            f"A path is relative to the study file{_there_is_one_here(said)}.")


def _there_is_one_here(said: str) -> str:
    if not Path(said).is_file():
        return ""
    return (". There is one in the current folder, which does not count. Move it, or put a link to it there (`ln -s`): "
            "results keep their ids")


TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}


def find_files(directories: list[Path]) -> Files:
    """A finder over data directories, in order: DIR/folder/name, DIR/folder/raw/name (torchvision), DIR/name (Keras).

    All files come from one folder. Three data sets share their file names. So DIR/name counts only where DIR, or the
    file (mnist.npz), has the folder's name: `--data fashion-mnist` must never be taken for MNIST.
    """

    def files(folder: str, *sets: list[str]) -> dict[str, Path]:
        names, lacking = sets[0], list(sets[0])
        for place, possible in (each for d in directories for each in _places(d, folder, sets)):
            for each in possible:
                found = {name: path for name in each if (path := _spelled(place, name))}
                if len(found) == len(each):
                    return found
                if each is names and len(found) > len(names) - len(lacking):
                    lacking = [name for name in names if name not in found]
        looked = ", ".join(f'"{d / folder}"' for d in directories) or "(no data directory was given)"
        name = next((name for name, piece in dataset.pieces.items() if piece.traits.get("folder") == folder), None)
        raise UserError(
            f'data set "{name or folder}": missing {", ".join(lacking)}; looked in {looked}.\n'
            f"  Say where it is with `--data DIR` (or the variable SWEEPSTAKE_DATA), DIR holding {folder}/{lacking[0]}"
            + (f",\n  or get it with `sweepstake data fetch {name}`." if name else ".")
        )

    return files


def _places(directory: Path, folder: str, sets: tuple[list[str], ...]) -> list[tuple[Path, tuple[list[str], ...]]]:
    homes = [folder, *([TORCHVISION[folder]] if folder in TORCHVISION else [])]
    whole = directory.absolute()
    named_so = whole.name in homes or (whole.name == "raw" and whole.parent.name in homes)
    inside = [directory / home / sub for home in homes for sub in ("", "raw")]
    loose = sets if named_so else tuple(names for names in sets if all(name.startswith(folder) for name in names))
    return [
        *((place, sets) for place in inside),
        (directory, loose),
        *([(directory / "raw", sets)] if named_so else []),
    ]


def _spelled(place: Path, name: str) -> Path | None:
    return next(
        (place / spelling for spelling in (name, name.removesuffix(".gz")) if (place / spelling).is_file()), None
    )


def check_data(name: str, data: Any, spec: Spec | None = None) -> Data:
    """The arrays that a data set returns, as Data; a UserError says what does not fit its spec."""
    if isinstance(data, Data):
        given, classes = [getattr(data, part) for part in PARTS], data.classes
    elif isinstance(data, (tuple, list)) and len(data) == len(PARTS):
        given, classes = list(data), None
    else:
        kind = f"{len(data)} values" if isinstance(data, (tuple, list)) else f"a {type(data).__name__}"
        raise UserError(f"{name}: gave {kind}; expected Data, or four arrays: {', '.join(PARTS)}.")
    train_x, test_x = _images(f"{name}: train_x", given[0]), _images(f"{name}: test_x", given[2])
    train_y = _labels(f"{name}: train_y", given[1], len(train_x))
    test_y = _labels(f"{name}: test_y", given[3], len(test_x))
    if train_x.shape[1:] != test_x.shape[1:]:
        raise UserError(
            f"{name}: train_x has images of shape {train_x.shape[1:]}, test_x of {test_x.shape[1:]}; expected the same."
        )
    highest = max(int(train_y.max()), int(test_y.max()))
    if classes is None and not isinstance(data, Data):
        classes = spec.classes if spec else highest + 1
    if not isinstance(classes, int) or highest >= classes:
        raise UserError(f"{name}: has label {highest} and classes = {classes}; expected labels from 0 to classes - 1.")
    actual = Spec(train_x.shape[1:], classes, len(train_x), len(test_x))  # pyright: ignore[reportArgumentType]
    for what, got, wanted in zip(Spec._fields, actual, spec or actual, strict=True):
        if got != wanted:
            raise UserError(f"{name}: {what} is {got}; expected {wanted}. Are these the right files?")
    return Data(train_x, train_y, test_x, test_y, classes)


def _images(place: str, given: Any) -> "np.ndarray":
    import numpy as np

    x = _array(place, given)
    shaped = (
        "expected (count, channels, height, width), or (count, height, width) for one channel, and at least one image"
    )
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or not x.size:
        raise UserError(f"{place}: has shape {x.shape}; {shaped}.")
    if x.shape[3] in (1, 3) and x.shape[1] not in (1, 3) and x.shape[1] == x.shape[2]:
        raise UserError(f"{place}: has shape {x.shape}, channels last; {shaped}. Say x.transpose(0, 3, 1, 2).")
    if x.dtype.kind == "f":
        if not (x.min() >= 0 and x.max() <= 1):
            raise UserError(
                f"{place}: has floats from {x.min():g} to {x.max():g}; expected uint8, or floats in [0, 1]."
            )
        x = np.rint(x * 255).astype(np.uint8)
    elif x.dtype != np.uint8:
        raise UserError(f"{place}: is of {x.dtype}; expected uint8 (0 to 255), or floats in [0, 1].")
    return np.require(x, requirements=["C", "W"])  # Writable, so that torch takes them as they are.


def _labels(place: str, given: Any, count: int) -> "np.ndarray":
    import numpy as np

    y = _array(place, given)
    if y.shape != (count,) or y.dtype.kind not in "iu":
        raise UserError(f"{place}: has shape {y.shape} of {y.dtype}; expected one integer an image, shape ({count},).")
    if int(y.min()) < 0 or int(y.max()) >= 2**31:
        raise UserError(f"{place}: has labels from {int(y.min())} to {int(y.max())}; expected whole numbers from 0.")
    return np.require(y, np.int64, ["C", "W"])


def _array(place: str, given: Any) -> "np.ndarray":
    import numpy as np

    try:
        return np.asarray(given)
    except Exception as error:  # Whatever a plug-in returned: its own __array__ may raise anything.
        raise UserError(f"{place}: is a {type(given).__name__}, not an array ({error}).") from error


def _idx_data(paths: dict[str, Path], spec: Spec) -> Data:
    """The four IDX files of a data set in MNIST's form."""
    image, shapes = spec.shape[1:], []
    for count in (spec.train, spec.test):
        shapes += [(count, *image), (count,)]
    train_x, train_y, test_x, test_y = (
        read_idx(paths[name], shape) for name, shape in zip(MNIST_FILES, shapes, strict=True)
    )
    for name, labels in zip(MNIST_FILES[1::2], (train_y, test_y), strict=True):
        labels_are_below(paths[name], labels, spec.classes)
    return Data(train_x[:, None], train_y.astype("int64"), test_x[:, None], test_y.astype("int64"), spec.classes)


MNIST_FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]
KERAS_MNIST = "mnist.npz"
CIFAR10_FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
CIFAR100_FILES = ["train.bin", "test.bin"]

DIGITS = Spec((1, 8, 8), 10, 1437, 360)
MNIST = Spec((1, 28, 28), 10, 60_000, 10_000)
CIFAR10 = Spec((3, 32, 32), 10, 50_000, 10_000)
CIFAR100 = Spec((3, 32, 32), 100, 50_000, 10_000)


@dataset(**DIGITS._asdict(), here=True)
def digits():
    """1,797 handwritten digits, 8 x 8, inside the package: 1,437 to train on, 360 to test (Alpaydin & Kaynak 1998)."""
    folder = Path(__file__).parent / "digits"
    return _idx_data({name: folder / name for name in MNIST_FILES}, DIGITS)


@dataset(
    **MNIST._asdict(), folder="mnist", sources=lambda files, _: files("mnist", MNIST_FILES, [KERAS_MNIST]).values()
)
def mnist(files):
    """60,000 + 10,000 handwritten digits, 28 x 28 (LeCun et al. 1998)."""
    paths = files("mnist", MNIST_FILES, [KERAS_MNIST])
    if KERAS_MNIST in paths:
        arrays = read_npz(paths[KERAS_MNIST], ("x_train", "y_train", "x_test", "y_test"))
        return check_data(str(paths[KERAS_MNIST]), arrays, MNIST)
    return _idx_data(paths, MNIST)


@dataset(
    **MNIST._asdict(), folder="fashion-mnist", sources=lambda files, _: files("fashion-mnist", MNIST_FILES).values()
)
def fashion_mnist(files):
    """60,000 + 10,000 pictures of clothes, 28 x 28 (Xiao et al. 2017)."""
    return _idx_data(files("fashion-mnist", MNIST_FILES), MNIST)


@dataset(**MNIST._asdict(), folder="kmnist", sources=lambda files, _: files("kmnist", MNIST_FILES).values())
def kmnist(files):
    """60,000 + 10,000 cursive Japanese characters, 28 x 28 (Clanuwat et al. 2018)."""
    return _idx_data(files("kmnist", MNIST_FILES), MNIST)


@dataset(
    **CIFAR10._asdict(),
    folder="cifar-10-batches-bin",
    sources=lambda files, _: files("cifar-10-batches-bin", CIFAR10_FILES).values(),
)
def cifar10(files):
    """50,000 + 10,000 colour photographs of 10 kinds of thing, 32 x 32 (Krizhevsky 2009)."""
    paths = files("cifar-10-batches-bin", CIFAR10_FILES)
    return _cifar_data([read_cifar(paths[name], 10_000, (10,)) for name in CIFAR10_FILES], 10)


@dataset(
    **CIFAR100._asdict(),
    folder="cifar-100-binary",
    sources=lambda files, _: files("cifar-100-binary", CIFAR100_FILES).values(),
)
def cifar100(files):
    """50,000 + 10,000 colour photographs of 100 kinds of thing, 32 x 32, the fine labels (Krizhevsky 2009)."""
    paths = files("cifar-100-binary", CIFAR100_FILES)
    counts = zip(CIFAR100_FILES, (50_000, 10_000), strict=True)
    return _cifar_data([read_cifar(paths[name], count, (20, 100)) for name, count in counts], 100)


def _cifar_data(batches: "list[tuple[np.ndarray, np.ndarray]]", classes: int) -> Data:
    """Every batch but the last is for training."""
    import numpy as np

    (*train, test) = batches
    train_x, train_y = (np.concatenate(each) for each in zip(*train, strict=True))
    return Data(train_x, train_y.astype(np.int64), test[0], test[1].astype(np.int64), classes)


Size = Annotated[int, Meta(ge=1)]


@dataset(spec=lambda o: Spec((o["channels"], o["size"], o["size"]), o["classes"], o["train"], o["test"]), here=True)
def synthetic(*, train: Size = 512, test: Size = 128, channels: Size = 1, size: Size = 8, classes: Size = 10,
              seed: Annotated[int, Meta(ge=0)] = 0):
    """A random pattern a class, under noise: images of any size and number, for tests and benchmarks (nobody's)."""
    import numpy as np

    draw = np.random.Generator(np.random.Philox(seed))  # Whole numbers only: the same bytes on every machine.
    pattern = draw.integers(0, 128, (classes, channels, size, size), np.uint8)

    def some(count: int) -> "tuple[np.ndarray, np.ndarray]":
        y = draw.integers(0, classes, count)
        x = draw.integers(0, 128, (count, channels, size, size), np.uint8)
        x += pattern[y]
        return x, y

    return Data(*some(train), *some(test), classes)


@dataset()
def npz(*, path: DataFile):
    """Your own images, from an npz file: train_x, train_y, test_x, test_y (your own).

    They are uint8, or floats in [0, 1], which are rounded to 256 levels.
    """
    return check_data(path, read_npz(Path(path), PARTS))
