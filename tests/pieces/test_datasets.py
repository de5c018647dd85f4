"""Data sets: what is published is read exactly, what is not as published is refused by name, and what is yours is checked."""

import gzip
import hashlib
import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepstake.base.cell import Ref
from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import (
    CIFAR10_FILES,
    CIFAR100_FILES,
    MNIST_FILES,
    Data,
    Spec,
    check_data,
    dataset,
    find_files,
    read_idx,
    spec_of,
)
from sweepstake.pieces.readers import read_cifar, read_npz

KEYS = ("train_x", "train_y", "test_x", "test_y")


def idx(array: np.ndarray, magic: bytes = b"\0\0\x08") -> bytes:
    return magic + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def sparse(path: Path, head: bytes, size: int) -> None:
    """A file of zeros after its head, that takes no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def lay_mnist(folder: Path, brightness: int = 0) -> None:
    """A data set in MNIST's form and size, all of class 0, with one pixel to tell it by."""
    for name, count in zip(MNIST_FILES, (60_000, 60_000, 10_000, 10_000), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        first = bytes([brightness]) if "images" in name else b""
        sparse(folder / name.removesuffix(".gz"), head + first, len(head) + int(np.prod(shape)))


def four_arrays(count: int = 6, shape: tuple[int, ...] = (1, 4, 4), classes: int = 3) -> dict[str, np.ndarray]:
    y = np.arange(count) % classes
    x = (np.arange(count * int(np.prod(shape))) % 251).astype(np.uint8).reshape(count, *shape)
    return {"train_x": x, "train_y": y, "test_x": x[:3], "test_y": y[:3]}


def load(name: str, *directories: Path, **options: object) -> Data:
    return dataset.get(name)({"files": lambda: find_files(list(directories))}, dataset.resolve(name, options, "dataset"))


# What is published is read as it was published.


def test_the_digits_inside_the_package_are_the_bytes_they_were():
    data = load("digits")
    assert data.train_x.shape == (1437, 1, 8, 8) and data.test_x.shape == (360, 1, 8, 8) and data.classes == 10
    assert hashlib.sha256(data.train_x.tobytes()).hexdigest()[:16] == "2850f207c7b171ca"


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_is_read_by_its_content_whatever_its_name_ends_in(tmp_path, zipped):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(array), mtime=0) if zipped else idx(array))
    assert read_idx(path).tolist() == array.tolist()


def test_cifar_records_are_label_then_red_green_blue(tmp_path):
    pixels = (np.arange(2 * 3072) % 256).astype(np.uint8).reshape(2, 3072)
    (tmp_path / "a.bin").write_bytes(b"\x03" + pixels[0].tobytes() + b"\x09" + pixels[1].tobytes())
    images, labels = read_cifar(tmp_path / "a.bin", 2, (10,))
    assert labels.tolist() == [3, 9]
    assert images.shape == (2, 3, 32, 32) and images[1, 2, 31, 31] == pixels[1, 3071] and images[0, 1, 0, 0] == pixels[0, 1024]


def test_cifar_100_goes_by_the_fine_label(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes([19, 99]) + bytes(3072))
    assert read_cifar(tmp_path / "a.bin", 1, (20, 100))[1].tolist() == [99]


@pytest.mark.parametrize(("name", "folder", "names", "record"), [
    ("cifar10", "cifar-10-batches-bin", CIFAR10_FILES, 3073), ("cifar100", "cifar-100-binary", CIFAR100_FILES, 3074)])
def test_cifar_is_fifty_thousand_and_ten_thousand_colour_images(tmp_path, name, folder, names, record):
    for file in names:
        sparse(tmp_path / folder / file, b"\x01\x01\x07", (50_000 if file == "train.bin" else 10_000) * record)
    data = load(name, tmp_path)
    assert data.train_x.shape == (50_000, 3, 32, 32) and data.test_x.shape == (10_000, 3, 32, 32)
    assert data.train_y.dtype == np.int64 and data.train_y[0] == 1 and data.train_y[1] == 0


# Layouts.


@pytest.mark.parametrize(("name", "folder"), [
    ("mnist", "mnist"), ("mnist", "MNIST/raw"), ("fashion_mnist", "fashion-mnist"), ("fashion_mnist", "FashionMNIST/raw"),
    ("kmnist", "kmnist"), ("kmnist", "KMNIST/raw")])
@pytest.mark.parametrize("inside", [False, True])
def test_plain_and_torchvision_folders_are_found_from_above_and_from_within(tmp_path, name, folder, inside):
    lay_mnist(tmp_path / folder, brightness=7)
    assert load(name, tmp_path / folder if inside else tmp_path).train_x[0, 0, 0, 0] == 7


def test_one_data_sets_folder_never_answers_for_another_with_the_same_file_names(tmp_path):
    lay_mnist(tmp_path / "fashion-mnist")
    with pytest.raises(UserError, match='data set "mnist": missing train-images-idx3-ubyte.gz'):
        load("mnist", tmp_path / "fashion-mnist")


def test_keras_mnist_npz_is_read(tmp_path):
    x, y = np.zeros((60_000, 28, 28), np.uint8), np.zeros(60_000, np.uint8)
    x[0, 0, 0], y[1] = 9, 5
    np.savez_compressed(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:10_000], y_test=y[:10_000])
    data = load("mnist", tmp_path)
    assert data.train_x.shape == (60_000, 1, 28, 28) and data.train_x[0, 0, 0, 0] == 9 and data.train_y[1] == 5


def test_files_of_one_data_set_come_from_one_folder_the_first_that_is_whole(tmp_path):
    lay_mnist(tmp_path / "a" / "mnist", brightness=1)
    (tmp_path / "a" / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    lay_mnist(tmp_path / "b" / "mnist", brightness=2)
    assert load("mnist", tmp_path / "a", tmp_path / "b").train_x[0, 0, 0, 0] == 2


def test_what_is_missing_is_told_with_where_it_was_looked_for_and_two_ways_to_get_it(tmp_path):
    lay_mnist(tmp_path / "fashion-mnist")
    (tmp_path / "fashion-mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError) as error:
        load("fashion_mnist", tmp_path)
    said = str(error.value)
    assert 'data set "fashion_mnist": missing t10k-labels-idx1-ubyte.gz; looked in' in said and str(tmp_path) in said
    assert "--data DIR" in said and "sweepstake data fetch fashion_mnist" in said


# What is not as published is refused, by name.


ARRAY = np.zeros((5, 4), np.uint8)


@pytest.mark.parametrize(("raw", "said"), [
    (b"", "not an IDX file of unsigned bytes (begins with nothing, expected 000008)"),
    (b"\x89PNG\r\n", "begins with 89504e47"),
    (idx(ARRAY, b"\0\0\x0d"), "begins with 00000d02"),
    (idx(ARRAY)[:6], "cut off inside its header (6 bytes)"),
    (idx(ARRAY)[:-1], "holds 19 bytes after its header, which says 20"),
    (idx(ARRAY) + b"x", "holds more than 20 bytes after its header, which says 20"),
    (b"\0\0\x08\x03" + b"\xff" * 12, "after its header, which says 79,228,162,458,924,105,385,300,197,375"),
    (gzip.compress(idx(ARRAY), mtime=0)[:-6], "cannot be read as gzip"),
    (gzip.compress(idx(ARRAY), mtime=0)[:-8] + bytes(8), "cannot be read as gzip (CRC check failed"),
])
def test_a_broken_idx_file_is_named_with_what_was_expected(tmp_path, raw, said):
    path = tmp_path / "labels"
    path.write_bytes(raw)
    with pytest.raises(UserError) as error:
        read_idx(path)
    assert str(error.value).startswith(f"{path}: ") and said in str(error.value) and "\n" not in str(error.value)


def test_a_file_under_anothers_name_is_refused_by_its_shape(tmp_path):
    lay_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes((tmp_path / "mnist" / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte: holds shape \(10000, 28, 28\); expected \(60000, 28, 28\)"):
        load("mnist", tmp_path)


def test_a_label_out_of_range_is_told_with_its_file(tmp_path):
    lay_mnist(tmp_path / "mnist")
    with (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").open("r+b") as file:
        file.seek(8 + 17)
        file.write(b"\x0a")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte: has label 10; expected 0 to 9"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(("size", "first", "said"), [
    (2 * 3073 - 1, 0, "holds 6,145 bytes; expected 2 records of 3,073, 6,146 bytes"),
    (2 * 3073 + 1, 0, "holds 6,147 bytes; expected 2 records"),
    (2 * 3074, 0, "holds 6,148 bytes; expected 2 records"),
    (2 * 3073, 10, "has label 10; expected 0 to 9"),
])
def test_a_cifar_file_of_the_wrong_size_or_label_is_refused(tmp_path, size, first, said):
    sparse(tmp_path / "a.bin", bytes([first]), size)
    with pytest.raises(UserError) as error:
        read_cifar(tmp_path / "a.bin", 2, (10,))
    assert str(error.value).startswith(f"{tmp_path / 'a.bin'}: {said}")


def test_a_coarse_label_out_of_range_is_refused_though_it_is_not_used(tmp_path):
    sparse(tmp_path / "a.bin", bytes([20, 3]), 3074)
    with pytest.raises(UserError, match="has label 20; expected 0 to 19"):
        read_cifar(tmp_path / "a.bin", 1, (20, 100))


# Synthetic.


def test_synthetic_images_are_the_same_bytes_for_ever():
    data = load("synthetic")
    assert hashlib.sha256(b"".join(getattr(data, key).tobytes() for key in KEYS)).hexdigest()[:16] == "62f1ad43f0e1a7a0"


def test_synthetic_sizes_are_what_was_said_and_the_spec_says_so_before():
    options = dataset.resolve("synthetic", {"train": 20, "test": 7, "channels": 3, "size": 5, "classes": 4, "seed": 2}, "dataset")
    data, spec = load("synthetic", **options), spec_of(Ref("synthetic", options))
    assert spec == Spec((3, 5, 5), 4, 20, 7)
    assert check_data("synthetic", data, spec).train_x.shape == (20, 3, 5, 5) and set(data.train_y) <= {0, 1, 2, 3}
    assert load("synthetic", **{**options, "seed": 3}).train_x.tobytes() != data.train_x.tobytes()


def test_synthetic_classes_can_be_told_apart():
    data = load("synthetic", train=2000, test=500)
    centre = np.stack([data.train_x[data.train_y == c].mean(0) for c in range(10)])
    nearest = ((data.test_x[:, None] - centre) ** 2).sum((2, 3, 4)).argmin(1)
    assert (nearest == data.test_y).mean() > 0.99


@pytest.mark.parametrize("option", ["train", "test", "channels", "size", "classes"])
def test_a_synthetic_size_of_none_is_refused(option):
    with pytest.raises(UserError, match=f"{option} = 0"):
        dataset.resolve("synthetic", {option: 0}, "dataset")


def test_specs_of_published_sets_and_of_files_only_the_user_knows():
    assert spec_of(Ref("cifar100")) == Spec((3, 32, 32), 100, 50_000, 10_000)
    assert spec_of(Ref("npz", {"path": "x.npz"})) is None


# Your own.


def test_npz_takes_uint8_as_it_is_and_floats_at_256_levels(tmp_path):
    arrays = four_arrays()
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "b.npz", **{**arrays, "train_x": arrays["train_x"] / 255, "test_x": (arrays["test_x"] / 255).astype(np.float32)})
    a, b = load("npz", path=str(tmp_path / "a.npz")), load("npz", path=str(tmp_path / "b.npz"))
    assert a.classes == 3 and a.train_x.tobytes() == b.train_x.tobytes() == arrays["train_x"].tobytes()
    assert a.test_x.tobytes() == b.test_x.tobytes() and b.train_y.tolist() == [0, 1, 2, 0, 1, 2]


def test_npz_with_pickled_objects_is_refused_and_the_pickle_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "a.npz", **{**four_arrays(), "train_y": np.array([Bomb()], dtype=object)})
    with pytest.raises(UserError, match="cannot be read as npz without pickle"):
        load("npz", path=str(tmp_path / "a.npz"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("changes", "said"), [
    ({"train_x": None}, "lacks train_x; expected the arrays train_x, train_y, test_x, test_y. It holds train_y, test_x, test_y"),
    ({"train_x": np.full((6, 1, 4, 4), 1.5)}, "train_x: has floats from 1.5 to 1.5; expected uint8, or floats in [0, 1]"),
    ({"train_x": np.full((6, 1, 4, 4), np.nan)}, "train_x: has floats from nan to nan; expected uint8"),
    ({"test_x": np.zeros((3, 1, 4, 4), np.int64)}, 'test_x: is of int64; expected uint8'),
    ({"train_x": np.zeros((6, 16), np.uint8)}, "train_x: has shape (6, 16); expected (count, channels, height, width)"),
    ({"train_x": np.zeros((6, 32, 32, 3), np.uint8)}, "train_x: has shape (6, 32, 32, 3), channels last;"),
    ({"train_x": np.zeros((0, 1, 4, 4), np.uint8)}, "and at least one image"),
    ({"test_x": np.zeros((3, 1, 4, 5), np.uint8)}, "train_x has images of shape (1, 4, 4), test_x of (1, 4, 5); expected the same"),
    ({"train_y": np.zeros(5, int)}, "train_y: has shape (5,) of int64; expected one integer an image, shape (6,)"),
    ({"train_y": np.zeros((6, 1), int)}, "train_y: has shape (6, 1) of int64; expected one integer an image, shape (6,)"),
    ({"test_y": np.zeros(3)}, "test_y: has shape (3,) of float64; expected one integer an image"),
    ({"test_y": np.array([0, -1, 2])}, "test_y: has labels from -1 to 2; expected whole numbers from 0"),
])
def test_npz_that_is_not_images_and_labels_is_refused_with_what_was_expected(tmp_path, changes, said):
    arrays = {key: value for key, value in {**four_arrays(), **changes}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError) as error:
        load("npz", path=str(tmp_path / "a.npz"))
    assert said in str(error.value) and str(error.value).startswith(str(tmp_path / "a.npz")) and "\n" not in str(error.value)


def test_npz_that_is_not_there_is_told():
    with pytest.raises(UserError, match="nowhere.npz: no such file. Expected an npz file with the arrays train_x"):
        load("npz", path="nowhere.npz")


def test_four_arrays_of_any_array_like_are_data_and_a_lone_channel_gets_its_axis():
    arrays = four_arrays(shape=(4, 4))
    data = check_data("mine", [torch.from_numpy(arrays["train_x"]), arrays["train_y"].tolist(), arrays["test_x"], arrays["test_y"]])
    assert data.train_x.shape == (6, 1, 4, 4) and data.train_y.dtype == np.int64 and data.classes == 3


@pytest.mark.parametrize(("gave", "said"), [
    (None, "mine: gave a NoneType; expected Data, or four arrays: train_x, train_y, test_x, test_y"),
    ((1, 2), "mine: gave 2 values; expected Data, or four arrays"),
    (("a", "b", "c", "d"), "mine: train_x: has shape (); expected"),
    ([[[1], [2, 3]], 0, 0, 0], "mine: train_x: is a list, not an array"),
    (Data(**four_arrays(), classes=2), "mine: has label 2 and classes = 2; expected labels from 0 to classes - 1"),
    (Data(**four_arrays(), classes=None), "mine: has label 2 and classes = None"),  # type: ignore[arg-type]
])
def test_what_a_plugin_gave_is_refused_with_what_was_expected(gave, said):
    with pytest.raises(UserError) as error:
        check_data("mine", gave)
    assert str(error.value).startswith(said)


def test_data_that_is_not_what_its_spec_says_is_refused():
    with pytest.raises(UserError, match="mine: train is 6; expected 7. Are these the right files"):
        check_data("mine", Data(**four_arrays(), classes=3), Spec((1, 4, 4), 3, 7, 3))


def test_torch_takes_checked_arrays_as_they_are_without_a_warning():
    frozen = {key: value.copy() for key, value in four_arrays().items()}
    for array in frozen.values():
        array.flags.writeable = False
    data = check_data("mine", Data(**frozen, classes=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.from_numpy(data.train_x).data_ptr() == data.train_x.ctypes.data


# Fuzz: whatever the bytes, an array or one clear line.


def bytes_or_mutations(valid: bytes) -> st.SearchStrategy[bytes]:
    """Anything at all, or a valid file cut, overwritten in places, or with bytes put in."""
    places = st.integers(0, len(valid))
    edits = st.lists(st.tuples(places, st.integers(0, 9), st.binary(max_size=9)), min_size=1, max_size=4)

    def edited(changes: list[tuple[int, int, bytes]]) -> bytes:
        raw = valid
        for place, drop, put in changes:
            raw = raw[:place] + put + raw[place + drop:]
        return raw

    return st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: valid[:8] + tail), edits.map(edited))


def npz_bytes() -> bytes:
    with io.BytesIO() as file:
        np.savez_compressed(file, **four_arrays())
        return file.getvalue()


FUZZ = settings(max_examples=150, deadline=None)


@FUZZ
@given(raw=st.one_of(bytes_or_mutations(idx(ARRAY)), bytes_or_mutations(gzip.compress(idx(ARRAY), mtime=0))))
def test_any_bytes_are_an_idx_array_or_a_user_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "fuzz-idx"
    path.write_bytes(raw)
    try:
        assert read_idx(path).dtype == np.uint8
    except UserError as error:
        assert str(path) in str(error)


@FUZZ
@given(raw=bytes_or_mutations(bytes([3, 9]) + bytes(3072)))
def test_any_bytes_are_cifar_records_or_a_user_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "fuzz-cifar"
    path.write_bytes(raw)
    try:
        images, labels = read_cifar(path, 1, (20, 100))
        assert images.shape == (1, 3, 32, 32) and labels[0] < 100
    except UserError as error:
        assert str(path) in str(error)


@FUZZ
@given(raw=bytes_or_mutations(npz_bytes()))
def test_any_bytes_are_npz_data_or_a_user_error(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "fuzz.npz"
    path.write_bytes(raw)
    try:
        assert isinstance(load("npz", path=str(path)), Data)
    except UserError as error:
        assert str(path) in str(error)


def test_a_zip_of_what_are_not_arrays_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for key in KEYS:
            file.writestr(f"{key}.npy", b"not an array")
    with pytest.raises(UserError, match="a.npz: train_x is not an array. Expected plain arrays"):
        read_npz(tmp_path / "a.npz", KEYS)
