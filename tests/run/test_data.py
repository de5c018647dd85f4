"""Where data is looked for, and the cache of what was decoded: whole, shared, and never stale."""

import json
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from sweepstake.base.cell import Ref
from sweepstake.base.errors import UserError
from sweepstake.pieces.datasets import dataset, located
from sweepstake.run import data as data_module
from sweepstake.run.data import data_directories, data_status, decoded_cache, fetched_data, load_data


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("SWEEPSTAKE_DATA", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def own(tmp_path):
    """An npz of one's own: its Ref, and a function that writes it anew."""
    path = tmp_path / "own.npz"

    def write(pixel: int = 1) -> Ref:
        x = np.full((6, 1, 4, 4), pixel, np.uint8)
        np.savez(path, train_x=x, train_y=np.arange(6) % 3, test_x=x[:3], test_y=np.arange(3))
        return Ref("npz", {"path": str(path)})

    return write


@pytest.fixture
def plugin(monkeypatch):
    """Decorate a data set for one test."""
    monkeypatch.setattr(dataset, "pieces", dict(dataset.pieces))
    return dataset


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


# Directories.


@pytest.mark.skipif(sys.platform != "linux", reason="XDG is Linux's")
def test_directories_are_the_flag_the_variable_the_users_cache_and_kerass_in_this_order(home, tmp_path, monkeypatch):
    assert data_directories(None) == [home / ".cache/sweepstake/data", home / ".keras/datasets"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("SWEEPSTAKE_DATA", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert data_directories(tmp_path) == [
        tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "xdg/sweepstake/data", home / ".keras/datasets"]
    assert fetched_data() == tmp_path / "xdg/sweepstake/data" and decoded_cache() == tmp_path / "xdg/sweepstake/decoded"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert fetched_data() == home / ".cache/sweepstake/data"


def test_a_data_flag_that_names_no_directory_is_refused(home, tmp_path):
    with pytest.raises(UserError, match='--data ".*nowhere": no such directory'):
        data_directories(tmp_path / "nowhere")


# The cache.


def test_images_are_decoded_once_and_mapped_after(own, tmp_path, monkeypatch):
    ref, cache = own(7), tmp_path / "cache"
    first = load_data(ref, [], cache)
    monkeypatch.setattr(data_module, "check_data", lambda *_: pytest.fail("decoded again"))
    again = load_data(ref, [], cache)
    for data in (first, again):
        assert data.classes == 3 and data.train_x.tolist() == np.full((6, 1, 4, 4), 7).tolist() and data.test_y.tolist() == [0, 1, 2]
        assert isinstance(data.train_x.base, np.memmap) and data.train_x.base.mode == "c" and data.train_y.dtype == np.int64
    assert len(entries(cache)) == 1


def test_what_one_reader_writes_into_its_images_no_other_sees(own, tmp_path):
    ref, cache = own(7), tmp_path / "cache"
    load_data(ref, [], cache).train_x[:] = 0
    assert load_data(ref, [], cache).train_x.min() == 7


def test_torch_takes_the_mapped_images_themselves_without_a_warning(own, tmp_path):
    data = load_data(own(7), [], tmp_path / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.from_numpy(data.train_x).data_ptr() == data.train_x.ctypes.data


def test_a_source_that_changed_is_decoded_again(own, tmp_path):
    cache = tmp_path / "cache"
    load_data(own(7), [], cache)
    ref = own(8)
    os.utime(tmp_path / "own.npz", ns=(1, 1))
    assert load_data(ref, [], cache).train_x.max() == 8


def test_options_and_versions_have_caches_of_their_own(plugin, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x")

    @plugin(sources=lambda files, options: [source])
    def mine(*, pixel: int = 1):
        """Images of one brightness."""
        x = np.full((2, 1, 2, 2), pixel, np.uint8)
        return x, [0, 1], x, [0, 1]

    cache = tmp_path / "cache"
    refs = [Ref("mine", {"pixel": pixel}, version) for pixel, version in ((1, 1), (2, 1), (1, 2), (1, 1))]
    assert [int(load_data(ref, [], cache).train_x.max()) for ref in refs] == [1, 2, 1, 1]
    assert len(entries(cache)) == 3


@pytest.mark.parametrize("file", ["train_x.npy", "test_y.npy", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone"])
def test_a_corrupt_cache_is_never_read_and_is_built_anew(own, tmp_path, file, harm):
    ref, cache = own(7), tmp_path / "cache"
    load_data(ref, [], cache)
    (folder,) = cache.iterdir()
    path = folder / file
    raw = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes({"flip": raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:], "cut": raw[:-1], "empty": b""}[harm])
    assert load_data(ref, [], cache).train_x.tolist() == np.full((6, 1, 4, 4), 7).tolist()
    assert entries(cache) == [folder.name] and path.read_bytes() == raw


@pytest.mark.parametrize("manifest", ["[]", "{}", '{"crc32": 3}', "null", '{"crc32": {"train_x": "0"}, "classes": 3}'])
def test_a_manifest_of_another_form_is_built_anew(own, tmp_path, manifest):
    ref, cache = own(7), tmp_path / "cache"
    load_data(ref, [], cache)
    (folder,) = cache.iterdir()
    (folder / "manifest.json").write_text(manifest)
    assert load_data(ref, [], cache).classes == 3
    assert json.loads((folder / "manifest.json").read_text())["classes"] == 3


def test_a_cache_that_cannot_be_written_is_done_without(own, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder goes")
    assert load_data(own(7), [], tmp_path / "cache").train_x.max() == 7


def test_a_write_that_fails_half_way_leaves_nothing_behind(own, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_module.np, "save", full)
    assert load_data(own(7), [], tmp_path / "cache").train_x.max() == 7
    assert entries(tmp_path / "cache") == []


def test_of_two_workers_that_decode_at_once_the_faster_ones_cache_stays(own, tmp_path, monkeypatch):
    ref, cache = own(7), tmp_path / "cache"
    put = data_module.put_decoded
    inodes = []

    def late(part_folder, folder):
        monkeypatch.setattr(data_module, "put_decoded", put)
        load_data(ref, [], cache)
        inodes.append(folder.stat().st_ino)
        put(part_folder, folder)

    monkeypatch.setattr(data_module, "put_decoded", late)
    assert load_data(ref, [], cache).train_x.max() == 7
    assert [path.stat().st_ino for path in cache.iterdir()] == inodes


def test_what_a_killed_worker_left_is_removed_a_day_later(own, tmp_path):
    cache = tmp_path / "cache"
    for name in ("old.part", "new.part"):
        (cache / name).mkdir(parents=True)
    os.utime(cache / "old.part", (1, 1))
    load_data(own(7), [], cache)
    assert "old.part" not in entries(cache) and "new.part" in entries(cache)


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_small_sets_are_not_cached(tmp_path, name):
    load_data(Ref(name, dataset.resolve(name, {}, "dataset")), [], tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


# A plug-in's data set.


def test_a_plugins_four_arrays_are_data(plugin):
    @plugin
    def mine(*, n: int = 4):
        """Half black, half white."""
        x = np.linspace(0, 1, n)[:, None, None] * np.ones((n, 2, 2))
        return x, np.arange(n) % 2, x, np.arange(n) % 2

    data = load_data(Ref("mine", {"n": 2}), [], None)
    assert data.train_x.shape == (2, 1, 2, 2) and data.train_x[1].max() == 255 and data.classes == 2


def test_what_a_plugin_raises_is_told_with_its_own_line(plugin):
    @plugin
    def mine():
        """Fails."""
        return {}["pixels"]

    with pytest.raises(UserError, match=r'data set "mine": .*test_data.py:\d+ raised KeyError: \'pixels\''):
        load_data(Ref("mine"), [], None)


def test_a_plugin_that_breaks_its_own_word_is_refused(plugin):
    @plugin(shape=(1, 2, 2), classes=2, train=3, test=2)
    def mine():
        """Says three, gives two."""
        x = np.zeros((2, 2, 2), np.uint8)
        return x, [0, 1], x, [0, 1]

    with pytest.raises(UserError, match='data set "mine": train is 2; expected 3'):
        load_data(Ref("mine"), [], None)


def test_the_documented_examples_work_as_they_stand(plugin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(snippet, "data.md", "exec"), {"__name__": "data_md"})
    assert load_data(Ref("npz", {"path": "mine.npz"}), [], None).train_x.shape == (80, 3, 16, 16)
    assert load_data(Ref("stripes", {"contrast": 9}), [], None).train_x.max() == 9
    np.save("images.npy", np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2))
    assert load_data(located(Ref("halves", {"path": "images.npy"}), tmp_path), [], None).test_x[:, 0, 0, 0].tolist() == [4, 12]


# The list.


def test_the_list_says_what_is_here_what_is_missing_and_how_to_get_it(tmp_path, plugin):
    for name in ("train.bin", "test.bin"):
        (tmp_path / "cifar-100-binary").mkdir(exist_ok=True)
        (tmp_path / "cifar-100-binary" / name).write_bytes(bytes(5))
    rows = {row.name: row for row in data_status([tmp_path])}
    assert set(rows) == set(dataset.pieces) >= {"digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "synthetic", "npz"}
    assert rows["digits"].state == rows["synthetic"].state == "ready" and rows["digits"].where == "in the package"
    assert (rows["cifar100"].state, rows["cifar100"].where, rows["cifar100"].size) == ("found", str(tmp_path / "cifar-100-binary"), 10)
    assert (rows["kmnist"].state, rows["kmnist"].size, rows["kmnist"].how) == ("missing", 21_240_888, "sweepstake data fetch kmnist")
    assert rows["npz"].state == "yours" and rows["npz"].how == 'say dataset = {name = "npz", path = ...}'
