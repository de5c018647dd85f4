"""Stores made apart become one: nothing is lost, nothing damaged is taken, and two results that differ are told."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.read.merged import spans
from sweepstake.run import files, merge
from sweepstake.run.merge import Merge
from sweepstake.run.store import Store, pack
from tests.helpers import make_cell

A, B, C = "a" * 16, "b" * 16, "c" * 16
MADE = {"study": "small", "numerics": "fast 1", "seconds": 3.0, "versions": {"sweepstake": "0.1.0", "torch": "2.13.0"},
        "machine": {"processor": "AMD EPYC", "system": "Linux"}}


def record(round_: int, **changes: Any) -> dict[str, Any]:
    measured = {"loss": 0.5 / (round_ + 1), "accuracy": 0.9}
    return {"round": round_, "numerics": "fast 1", "kept": 4 - round_, "end": {"train": measured, "test": measured}, "curve": {"step": [0, 10]},
            "diverged": False, "seconds": {"train": 1.0}, **changes}


def mask(round_: int) -> torch.Tensor:
    return pack(torch.arange(16) >= round_)


def begin(store: Store, id_: str, rounds: int, **changes: Any) -> Store:
    store.begin(id_, make_cell(seed=7))
    if rounds:
        tensors = {"w": torch.ones(16), "alive": torch.ones(16, dtype=torch.bool)}
        store.save_state(id_, [record(r, **changes) for r in range(rounds)], tensors, {"round": rounds})
    return store


def end(store: Store, id_: str, rounds: int = 3, made: dict[str, Any] | None = None, layout: str = "[]", **changes: Any) -> Store:
    begin(store, id_, rounds)
    masks = {f"round.{r}": mask(r) for r in range(rounds)}
    store.finish(id_, "done", [record(r, **changes) for r in range(rounds)], {**masks, "size": torch.tensor(16)}, made or MADE, layout=layout)
    return store


def weights(store: Store, id_: str, which: Any, value: float = 1.0) -> None:
    store.weights(id_).put(which, {"fc1.weight": torch.full((4,), value)})


@pytest.fixture
def here(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Store:
    return Store(tmp_path / "there")


def joined(here: Store, *there: Store, dry: bool = False) -> Merge:
    merging = Merge.of([each.folder for each in there], here.folder, dry)
    assert [done for done, _ in merging.each()] == list(range(1, sum(len(each.ids()) for each in there) + 1))
    return merging


def content(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def counts(merging: Merge) -> dict[str, int]:
    return {word: count for word, count in merging.counts.items() if count and word}


# What is taken

def test_everything_of_a_store_comes_into_an_empty_one_byte_for_byte(tmp_path: Path, there: Store):
    end(there, A)
    weights(there, A, 2)
    weights(there, A, "step")
    begin(there, B, 2)
    there.donor_masks(B, C, 16, lambda: {0: torch.ones(16, dtype=torch.bool)})
    there.fail(C, "ValueError: no", "Traceback", {"study": "small"})
    there.put_search("0" * 16, {"study": "small", "metric": "test_accuracy", "trials": [{"params": {}, "cells": [A], "value": 0.9}]})
    there.keep_study("small", "seeds = 2\n")
    there.keep_plugin("mine", b"def mine(): ...\n")
    merging = joined(Store(tmp_path / "new"), there)
    assert content(tmp_path / "new") == content(there.folder)
    assert counts(merging) == {"new": 3, "weights": 2, "searches": 1, "studies": 1, "plugins": 1}
    assert merging.is_whole


def test_a_second_merge_changes_nothing(here: Store, there: Store):
    begin(end(there, A), B, 1)
    weights(there, A, 2)
    joined(here, there)
    before = {path: path.stat().st_mtime_ns for path in here.folder.rglob("*") if path.is_file()}
    assert counts(joined(here, there)) == {"there": 2}
    assert {path: path.stat().st_mtime_ns for path in here.folder.rglob("*") if path.is_file()} == before


def test_the_further_of_two_begun_cells_stays_whichever_side_it_is_on(here: Store, there: Store):
    begin(begin(here, A, 1), B, 3)
    begin(begin(there, A, 2), B, 2)
    merging = joined(here, there)
    assert [here.rounds_done(A), here.rounds_done(B)] == [2, 3]
    assert counts(merging) == {"further": 1, "there": 1}


def test_a_finished_cell_is_further_than_any_begun_or_failed_one(here: Store, there: Store):
    begin(here, A, 9)
    here.fail(A, "ValueError: no", "Traceback", {})
    end(there, A, rounds=2)
    end(here, B, rounds=2)
    begin(there, B, 9)
    joined(here, there)
    assert [here.status(A), here.status(B)] == ["done", "done"]
    assert sorted(path.name for path in (here.folder / "cells" / A).iterdir()) == ["cell.json", "masks.safetensors", "result.json"]


def test_a_failure_comes_with_its_cell_and_goes_where_the_cell_went_on(here: Store, there: Store):
    begin(there, A, 2)
    there.fail(A, "ValueError: no", "Traceback", {})
    begin(here, B, 1)
    here.fail(B, "ValueError: no", "Traceback", {})
    begin(there, B, 2)
    begin(here, C, 2)
    begin(there, C, 2)
    there.fail(C, "ValueError: no", "Traceback", {})
    joined(here, there)
    assert [here.status(id_) for id_ in (A, B, C)] == ["failed", "begun", "begun"]  # Equally far, what is here stays.
    assert here.rounds_done(A) == 2


def test_equal_results_are_no_conflict_whatever_made_them_and_the_one_here_stays(here: Store, there: Store):
    end(here, A)
    before = content(here.folder)
    end(there, A, made={**MADE, "seconds": 99.0, "machine": {"processor": "Intel"}}, layout='[{"name": "fc1"}]', seconds={"train": 9.0},
        numerics="fast 2", top5={"test": 1.0})
    merging = joined(here, there)
    assert merging.is_whole
    assert content(here.folder) == before


def test_weights_are_taken_where_the_results_are_equal_and_those_of_other_rounds_go(here: Store, there: Store):
    end(here, A)
    end(there, A)
    weights(there, A, 2)
    begin(here, B, 2)  # Two rounds that were not those of the finished cell.
    weights(here, B, 1)
    end(there, B, kept=1)
    begin(here, C, 1)
    weights(here, C, 0)
    end(there, C)
    merging = joined(here, there)
    assert [here.weights(id_).rounds for id_ in (A, B, C)] == [[2], [], [0]]
    assert merging.counts["weights"] == 1


def test_masks_that_were_deleted_here_come_back_with_an_equal_result(here: Store, there: Store):
    end(here, A)
    end(there, A)
    (here.folder / "cells" / A / "masks.safetensors").unlink()
    merging = joined(here, there)
    assert len(here.masks(A)) == 3
    assert counts(merging) == {"there": 1, "masks": 1}


def test_the_longer_account_of_a_search_stays_and_one_that_tells_otherwise_is_told(here: Store, there: Store):
    trials = [{"params": {"scale": place}, "cells": [A], "value": 0.9} for place in range(3)]
    said = {"study": "small", "metric": "test_accuracy"}
    for id_, ours, theirs in (("1" * 16, trials[:1], trials), ("2" * 16, trials, trials[:1]), ("3" * 16, trials[:2], trials[1:])):
        here.put_search(id_, {**said, "trials": ours})
        there.put_search(id_, {**said, "trials": theirs})
    merging = joined(here, there)
    assert [len((here.search(digit * 16) or {})["trials"]) for digit in "123"] == [3, 3, 2]
    assert merging.left_out == [f"search {'3' * 16} of small is told otherwise in {there.folder}, from trial 1 on. "
                                f"The account in {here.folder} stays."]


def test_three_stores_become_one_and_the_furthest_of_all_stays(tmp_path: Path, here: Store, there: Store):
    third = Store(tmp_path / "third")
    begin(here, A, 1)
    begin(there, A, 2)
    end(third, A)
    end(third, B)
    assert counts(joined(here, there, third)) == {"further": 2, "new": 1}
    assert [here.status(A), here.status(B)] == ["done", "done"]


# What is not

def test_two_results_that_differ_are_told_with_all_that_may_be_the_cause(here: Store, there: Store, capsys: pytest.CaptureFixture[str]):
    end(end(here, A), B)
    made = {**MADE, "versions": {"sweepstake": "0.1.0", "torch": "2.14.0"}}
    end(there, A, made=made)
    result = there.get(A) or {}
    result["rounds"][2]["end"]["test"]["loss"] = 0.1667
    there.finish(A, "done", result["rounds"], {**{f"round.{r}": mask(r + (r == 1)) for r in range(3)}, "size": torch.tensor(16)}, made)
    end(there, C)
    before = content(here.folder / "cells" / A)
    assert main(["merge", str(there.folder), "--into", str(here.folder)]) == 1
    out, err = capsys.readouterr()
    assert dict(line.split("\t")[:2] for line in out.splitlines()) == {"new": "1", "conflict": "1"}
    assert err.splitlines() == [
        f"1 cell has two different results. The one in {here.folder} stays.",
        f"  {here.folder}: made by fast 1, sweepstake 0.1.0, torch 2.13.0, AMD EPYC, Linux",
        f"  {there.folder}: made by fast 1, sweepstake 0.1.0, torch 2.14.0, AMD EPYC, Linux",
        "  They differ in torch, which may be the cause: sums are rounded differently there.",
        f"  cell {A} (small, seed 7): rounds 1-2 differ in masks, end; test loss of round 2 {0.5 / 3} in {here.folder}, 0.1667 in {there.folder}"]
    assert content(here.folder / "cells" / A) == before
    assert here.status(C) == "done"


def test_results_of_one_origin_that_differ_are_no_matter_of_rounding(here: Store, there: Store, capsys: pytest.CaptureFixture[str]):
    end(here, A, rounds=2)
    end(there, A, rounds=3)
    assert main(["merge", str(there.folder), "--into", str(here.folder)]) == 1
    err = capsys.readouterr().err
    assert "so one of the two is not what its cell gives" in err
    assert f"cell {A} (small, seed 7): rounds 2 in {here.folder}, 3 in {there.folder}" in err


@pytest.mark.parametrize("name", ["result.json", "masks.safetensors", "cell.json"])
def test_a_damaged_file_is_told_and_its_cell_is_not_taken(here: Store, there: Store, name: str):
    end(end(there, A), B)
    path = there.folder / "cells" / A / name
    path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
    merging = joined(here, there)
    assert [here.status(A), here.status(B)] == ["missing", "done"]
    assert [line.startswith(f"{path}: damaged (") for line in merging.left_out] == [True]
    assert not merging.is_whole


def test_damaged_weights_searches_and_texts_are_told_and_not_copied(here: Store, there: Store):
    end(there, A)
    weights(there, A, 2)
    there.put_search("1" * 16, {"study": "small", "metric": "test_accuracy", "trials": []})
    there.keep_study("small", "seeds = 2\n")
    there.keep_plugin("mine", b"def mine(): ...\n")
    paths = [there.folder / "cells" / A / "weights.2.safetensors", there.folder / "searches" / f"{'1' * 16}.json",
             *(next((there.folder / kind).iterdir()) for kind in ("studies", "plugins"))]
    for path in paths:
        path.write_bytes(path.read_bytes() + b" ")
    merging = joined(here, there)
    assert here.status(A) == "done"
    assert sorted(content(here.folder)) == [f"cells/{A}/{name}" for name in ("cell.json", "masks.safetensors", "result.json")] + \
        ["sweepstake-store.json"]
    assert [line.partition(": damaged (")[0] for line in merging.left_out] == list(map(str, paths))


def test_what_is_damaged_here_is_replaced_by_a_whole_result_and_by_nothing_less(here: Store, there: Store):
    for store in (here, there):
        end(store, A)
    end(here, B)
    begin(there, B, 2)
    for id_ in (A, B):
        path = here.folder / "cells" / id_ / "masks.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    merging = joined(here, there)
    assert [here.status(A), here.status(B)] == ["done", "damaged"]
    assert counts(merging) == {"mended": 1, "damaged": 1}
    assert [line.endswith("`sweepstake run` computes its cell again.") for line in merging.left_out] == [True]


@pytest.mark.parametrize("side", ["here", "there"])
def test_a_cell_that_is_computed_now_is_left_out_and_told(here: Store, there: Store, side: str):
    end(end(there, A), B)
    claims = (here if side == "here" else there).folder / "claims"
    claims.mkdir(exist_ok=True)
    (claims / f"{A}.2").write_bytes(json.dumps({"host": "node-3", "pid": 4711}).encode() + b"\n...")
    merging = joined(here, there)
    assert [here.status(A), here.status(B)] == ["missing", "done"]
    assert merging.left_out == [f"cell {A} is computed now, by node-3, process 4711. It is left out; merge again when it ends."]


def test_the_stores_that_are_joined_are_only_read(here: Store, there: Store):
    begin(end(there, A), B, 1)
    before = content(there.folder)
    joined(here, there)
    assert content(there.folder) == before


def test_mistakes_are_one_line_each(here: Store, tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    for sources, said in ((["thesis"], "is no sweepstake store"), (["here/../here"], "is the store to merge into, too")):
        with pytest.raises(UserError, match=said):
            Merge.of([tmp_path / each for each in sources], here.folder)
    with pytest.raises(UserError, match="a folder with other things in it"):
        (tmp_path / "thesis" / "thesis.tex").touch()
        Merge.of([here.folder], tmp_path / "thesis")


# Dry, stopped, full

def test_a_dry_run_writes_nothing_and_tells_what_the_merge_then_does(tmp_path: Path, there: Store, capsys: pytest.CaptureFixture[str]):
    third = Store(tmp_path / "third")
    begin(end(there, A), B, 1)
    weights(there, A, 2)
    end(third, A, kept=1)  # A conflict between two stores, of which neither is the one that is merged into.
    begin(third, B, 2)
    for store in (there, third):
        store.keep_study("small", "seeds = 2\n")
    arguments = ["merge", str(there.folder), str(third.folder), "--into", str(tmp_path / "new")]
    assert main([*arguments, "--dry-run"]) == 1
    dry = capsys.readouterr()
    assert not (tmp_path / "new").exists()
    assert main(arguments) == 1
    done = capsys.readouterr()
    assert dry.out == done.out
    assert dry.err.splitlines()[-1] == "Nothing was written: this was a dry run."
    assert dry.err.replace(str(there.folder), str(tmp_path / "new")).count("two different results") == done.err.count("two different results") == 1


def killed_at(there: Store, into: Path, renames: int, how: str = "SIGKILL") -> int:
    """The exit code of a merge that is stopped in the middle of a rename."""
    code = ("import os, signal, sys\nfrom sweepstake.cli import main\nfrom sweepstake.run import files\n"
            "left, replace = [int(sys.argv[3])], os.replace\n"
            "def renamed(*names):\n    left[0] -= 1\n    if left[0] < 0:\n        os.kill(os.getpid(), signal." + how + ")\n    replace(*names)\n"
            "files.os.replace = renamed\nsys.exit(main(['merge', sys.argv[1], '--into', sys.argv[2]]))")
    done = subprocess.run([sys.executable, "-c", code, there.folder, into, str(renames)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert "Traceback" not in done.stderr
    return done.returncode


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_stopped_at_any_moment_nothing_is_lost_and_the_same_command_goes_on(tmp_path: Path, there: Store, how: str):
    end(there, A)
    weights(there, A, 2)
    begin(there, B, 2)
    there.fail(B, "ValueError: no", "Traceback", {})
    base = begin(begin(Store(tmp_path / "base"), A, 1), B, 1)
    for renames in range(9):
        into = Path(shutil.copytree(base.folder, tmp_path / f"{how}{renames}"))
        code = killed_at(there, into, renames, how)
        if code in (0, 1):
            assert renames == 7  # A file of weights, three of A, three of B.
            break
        assert code == {"SIGKILL": -9, "SIGINT": 130}[how]
        store = Store(into)
        assert {store.status(A), store.status(B)} <= {"begun", "failed", "done"}
        assert [store.rounds_done(B) >= 1, store.look(A).damage, store.look(B).damage] == [True, (), ()]
        joined(store, there)
        assert [store.status(A), store.status(B), store.rounds_done(B), store.weights(A).rounds] == ["done", "failed", 2, [2]]
        assert not [path for path in into.rglob(".*") if path.is_file()]
    else:
        pytest.fail("no end of renames")


def test_a_full_disk_is_one_line_that_names_the_file_and_keeps_what_is_there(here: Store, there: Store, monkeypatch: pytest.MonkeyPatch,
                                                                             capsys: pytest.CaptureFixture[str]):
    end(end(there, A), B)
    begin(here, B, 1)
    synced, count = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        count[0] += 1
        if count[0] > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    assert main(["merge", str(there.folder), "--into", str(here.folder)]) == 2
    assert capsys.readouterr().err == (f"{here.folder / 'cells' / B / 'masks.safetensors'}: No space left on device. What is finished is kept; "
                                       "free some space and run the same command again, or name another place with --into.\n")
    assert [here.status(A), here.status(B)] == ["done", "begun"]
    monkeypatch.undo()
    assert main(["merge", str(there.folder), "--into", str(here.folder)]) == 0
    assert here.status(B) == "done"


def test_ctrl_c_is_told_with_what_is_merged(here: Store, there: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    end(end(there, A), B)
    looked = merge.Merge._cell

    def cell(self: Merge, source: Store, id_: str) -> str:
        if id_ == B:
            signal.raise_signal(signal.SIGINT)
        return looked(self, source, id_)

    monkeypatch.setattr(merge.Merge, "_cell", cell)
    assert main(["merge", str(there.folder), "--into", str(here.folder)]) == 130
    out, err = capsys.readouterr()
    assert (out.split("\t")[:2], err) == (["new", "1"], "stopped. What is merged is kept; the same command goes on.\n")


def test_numbers_in_a_row_are_one_span():
    assert spans([0, 2, 3, 4, 9]) == "0, 2-4, 9"
