"""The bench of a large store, on a small one: what it puts is what a run puts."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from sweepstake.read.analysis import Table, to_csv
from sweepstake.run.opened import open_study
from sweepstake.run.store import Store
from sweepstake.study.study import load_study
from tests.read.fakes import fake_results


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "store.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("store_bench", path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def trained(folder: Path) -> Path:
    """A store with one cell as a run leaves it, of numbers that were drawn."""
    store, records = Store(folder), fake_results({}, seeds=1, rounds=1)[0]["rounds"]
    masks = {"round.0": torch.ones(2, dtype=torch.uint8), "round.1": torch.zeros(2, dtype=torch.uint8), "size": torch.tensor(16)}
    store.begin("0" * 16, load_study("demo").cells[0])
    made: dict[str, Any] = {"study": "demo", "study_text": "", "machine": {"processor": "a CPU"}, "numerics": "fast 1"}
    store.finish("0" * 16, "done", records, masks, made, layout="[]")
    return folder


def test_what_the_bench_puts_is_read_back_whole_and_glanced_at_as_done(tmp_path: Path, bench: ModuleType):
    path, runs = bench.study_in(tmp_path, 40, 1), tmp_path / "runs"
    put = bench.ingest(path, trained(tmp_path / "pattern"), runs, 0, 10)
    assert (put["rounds"], bench.fill(path, runs, 10)) == (20, {"cells": 30})
    opened = open_study(load_study(path), runs)
    assert {each.status for each in opened.glanced.values()} == {each.status for each in opened.kept.values()} == {"done"}
    assert all(each.result is None for each in opened.glanced.values())  # No result was read: each was told by its ends.
    assert bench.room(runs)["inodes"] == 4
    one_by_one = Table.of(opened.each())
    assert len(one_by_one) == 80
    assert to_csv(one_by_one) == to_csv(Table.of(opened.results))
