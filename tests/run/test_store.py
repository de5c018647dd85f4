"""Results by the id of their cell: whole, or not there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweepstake.base.errors import UserError
from sweepstake.run.files import clear_abandoned, write_whole
from sweepstake.run.store import Store, pack, unpack
from tests.helpers import make_cell

ID = "0123456789abcdef"
RECORDS = [{"round": 0, "kept": 3, "diverged": False}, {"round": 1, "kept": 2, "diverged": False}]


def finished(folder: Path, id_: str = ID) -> Store:
    store = Store(folder)
    store.begin(id_, make_cell())
    store.save_state(id_, RECORDS[:1], {"w": torch.ones(3)}, {"round": 1})
    store.finish(id_, "done", RECORDS, {"round.0": pack(torch.tensor([True, True, False])), "round.1": pack(torch.tensor([True, False, False])),
                                        "size": torch.tensor(3)}, {"study": "s"})
    return store


def test_a_cell_is_missing_then_begun_then_done(tmp_path: Path):
    store = Store(tmp_path / "runs")
    assert store.status(ID) == "missing"
    store.begin(ID, make_cell())
    assert store.status(ID) == "missing"  # Asked for, and no round of it finished.
    store.save_state(ID, RECORDS[:1], {"w": torch.ones(3)}, {"round": 1})
    assert (store.status(ID), store.rounds_done(ID)) == ("begun", 1)
    store = finished(tmp_path / "runs")
    assert (store.status(ID), store.get(ID)) == ("done", {"status": "done", "rounds": RECORDS, "provenance": {"study": "s"}})
    assert [mask.tolist() for mask in store.masks(ID)] == [[True, True, False], [True, False, False]]
    assert sorted(path.name for path in (tmp_path / "runs" / "cells" / ID).iterdir()) == ["cell.json", "masks.safetensors", "result.json"]


def test_a_state_comes_back_bit_for_bit(tmp_path: Path):
    store = Store(tmp_path)
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    store.begin(ID, make_cell())
    store.save_state(ID, RECORDS, {"w": w}, {"round": 2, "proof": 0.1 + 0.2})
    records, tensors, meta = store.load_state(ID) or pytest.fail("no state")
    assert (records, meta) == (RECORDS, {"round": 2, "proof": 0.30000000000000004})
    assert torch.equal(tensors["w"], w)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["result.json", "state.safetensors", "failure.json"])
def test_a_truncated_file_is_never_read_as_whole(tmp_path: Path, name: str, share: float):
    store = finished(tmp_path)
    store.save_state(ID, RECORDS, {"w": torch.ones(100)}, {"round": 2})
    store.fail(ID, "no", "Traceback", {})
    path = tmp_path / "cells" / ID / name
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    if name == "result.json":
        assert store.get(ID) is None
    elif name == "state.safetensors":
        assert store.load_state(ID) is None
        assert store.rounds_done(ID) == 0
    else:
        assert store.failure(ID) is None
    assert store.status(ID) == "damaged"
    assert [each.path for each in store.look(ID).damage] == [path]


@pytest.mark.parametrize("text", ["[]", "3", "null", '"done"'])
def test_a_result_of_another_shape_is_none(tmp_path: Path, text: str):
    store = finished(tmp_path)
    (tmp_path / "cells" / ID / "result.json").write_text(text)
    assert store.get(ID) is None


def test_kill_between_the_temporary_file_and_the_rename_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "result.json"
    write_whole(path, b"old")
    code = ("import os, signal, sys\nfrom pathlib import Path\nfrom sweepstake.run import files\n"
            "files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nfiles.write_whole(Path(sys.argv[1]), b'new')")
    died = subprocess.run([sys.executable, "-c", code, str(path)], timeout=30)
    assert died.returncode == -9
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2  # The leftover is no result.
    clear_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    write_whole(path, b"newer")
    assert path.read_bytes() == b"newer"


def refused(folder: Path, **how: bool) -> str:
    with pytest.raises(UserError) as caught:
        Store(folder, **how)
    assert str(folder) in str(caught.value)
    assert "--store DIR" in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    assert "a folder with other things in it, not a sweepstake store" in refused(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_a_missing_store_and_an_unwritable_one_are_told(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    assert "is a file, not a folder" in refused(tmp_path / "file")
    assert "nothing is there yet" in refused(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    assert "cannot be written (" in refused(Path("/proc/self/runs"))
    assert "cannot be written (Not a directory)" in refused(tmp_path / "file" / "runs")


def test_a_read_only_store_is_read_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    finished(tmp_path / "runs")

    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sweepstake.run.store.TemporaryFile", denied)  # Not by chmod: root may write anywhere.
    assert "cannot be written (Permission denied)" in refused(tmp_path / "runs")
    assert Store(tmp_path / "runs", create=False).status(ID) == "done"


@pytest.mark.parametrize(("marker", "said"), [('{"layout": 2}', "its layout is 2, and this version reads 1"), ("{}", "damaged"),
                                             ("[1]", "damaged"), ("", "damaged"), ("not json", "damaged")])
def test_a_store_of_another_layout_is_not_touched(tmp_path: Path, marker: str, said: str):
    (tmp_path / "sweepstake-store.json").write_text(marker)
    assert said in refused(tmp_path)
    assert not (tmp_path / "cells").exists()


def test_reading_writes_nothing(tmp_path: Path):
    finished(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    store = Store(tmp_path, create=False)
    assert (store.status(ID), store.status("f" * 16), store.failure(ID)) == ("done", "missing", None)
    assert sorted(tmp_path.rglob("*")) == before


def test_stores_merge_by_copying_their_files(tmp_path: Path):
    finished(tmp_path / "a")
    finished(tmp_path / "b", "f" * 16)
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    store = Store(tmp_path / "a")
    assert (store.status(ID), store.status("f" * 16)) == ("done", "done")


def test_a_store_being_made_by_another_run_is_ours(tmp_path: Path):
    (tmp_path / ".sweepstake-store.json.4711").write_text("{")
    assert Store(tmp_path).status(ID) == "missing"


def test_a_failure_is_kept_with_its_traceback_until_the_cell_is_begun_again(tmp_path: Path):
    store = Store(tmp_path)
    store.fail(ID, "ValueError: no", "Traceback (most recent call last): ...", {"study": "s"})
    assert store.status(ID) == "failed"
    assert store.failure(ID) == {"error": "ValueError: no", "traceback": "Traceback (most recent call last): ...", "provenance": {"study": "s"}}
    store.begin(ID, make_cell())
    assert store.status(ID) == "missing"


def test_a_cell_is_claimed_by_one_at_a_time(tmp_path: Path):
    store = Store(tmp_path)
    with store.claim(ID) as ours:
        assert ours
        code = f"from sweepstake.run.store import Store\nwith Store({str(tmp_path)!r}).claim({ID!r}) as ours: print(ours)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30).stdout == "False\n"
    with store.claim(ID) as ours:
        assert ours


def test_a_glance_says_the_status_of_every_cell_as_a_look_does(tmp_path: Path):
    ids = {word: f"{place:016x}" for place, word in enumerate(("done", "diverged", "begun", "failed", "missing", "damaged", "asked"))}
    store = finished(tmp_path, ids["done"])
    store.begin(ids["diverged"], make_cell())
    store.finish(ids["diverged"], "diverged", RECORDS, {"size": torch.tensor(1)}, {})
    store.begin(ids["begun"], make_cell())
    store.save_state(ids["begun"], RECORDS, {"w": torch.ones(3)}, {})
    store.fail(ids["failed"], "ValueError: no", "Traceback", {})
    finished(tmp_path, ids["damaged"])
    shutil.copy(tmp_path / "cells" / ids["done"] / "result.json", tmp_path / "cells" / ids["damaged"])
    store.begin(ids["asked"], make_cell())
    glanced = store.glance(ids.values())
    assert [glanced[id_].status for id_ in ids.values()] == [store.status(id_) for id_ in ids.values()] == [*list(ids)[:-1], "missing"]
    assert (glanced[ids["begun"]].rounds_done, (glanced[ids["failed"]].failure or {})["error"]) == (2, "ValueError: no")
    assert [str(each) for each in glanced[ids["damaged"]].damage] == [str(each) for each in store.look(ids["damaged"]).damage]


def test_a_glance_tells_a_result_that_was_cut_short_wherever_it_was_cut(tmp_path: Path):
    store, path = finished(tmp_path), tmp_path / "cells" / ID / "result.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert store.glance([ID])[ID].status == "damaged", length


def test_a_glance_does_not_see_what_changed_inside_a_result_and_a_look_does(tmp_path: Path):
    store, path = finished(tmp_path), tmp_path / "cells" / ID / "result.json"
    path.write_bytes(path.read_bytes().replace(b'"kept":2', b'"kept":3'))
    assert (store.glance([ID])[ID].status, store.look(ID).status) == ("done", "damaged")


def test_a_glance_reads_a_result_from_before_seals_whole(tmp_path: Path):
    store, path = finished(tmp_path), tmp_path / "cells" / ID / "result.json"
    path.write_text(json.dumps({"status": "done", "rounds": RECORDS, "provenance": {}}))
    assert store.glance([ID])[ID].status == store.look(ID).status == "damaged"  # These records never had the shape of any.


def test_a_nan_is_stored_as_null(tmp_path: Path):
    store = Store(tmp_path)
    store.begin(ID, make_cell())
    store.finish(ID, "diverged", [{"loss": float("nan")}], {"size": torch.tensor(1)}, {})
    assert json.loads((tmp_path / "cells" / ID / "result.json").read_text())["rounds"] == [{"loss": None}]


def test_the_text_of_every_study_that_ran_is_kept_once(tmp_path: Path):
    store = Store(tmp_path)
    for text in ("a = 1", "a = 2", "a = 1"):
        store.keep_study("s", text)
    assert sorted(path.read_text() for path in (tmp_path / "studies").iterdir()) == ["a = 1", "a = 2"]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000])
def test_a_packed_mask_comes_back(size: int):
    mask = torch.rand(size, generator=torch.Generator().manual_seed(size)) > 0.5
    assert pack(mask).numel() == -(-size // 8)
    assert torch.equal(unpack(pack(mask), size).bool(), mask)
