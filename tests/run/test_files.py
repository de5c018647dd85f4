"""Files written whole or not at all; a full disk told in one line; nothing left of killed writers."""

import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.run import files
from sweepstake.run.files import CannotWrite, clear_abandoned, write_whole
from sweepstake.run.run import run_study
from sweepstake.run.store import Store
from tests.small import SMALL_TOML, small_study, write_small

ROOT = Path(__file__).parents[2]


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "rows.csv"
    write_whole(path, b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CannotWrite) as caught:
        write_whole(path, b"new")
    assert str(caught.value) == (f"{path}: No space left on device. What is finished is kept; "
                                 "free some space and run the same command again, or name another place with --store or --out.")
    assert ([each.name for each in tmp_path.iterdir()], path.read_bytes()) == (["rows.csv"], b"old")


def left(folder: Path, name: str, age: float = 0) -> Path:
    path = folder / name
    path.write_text("{")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_what_dead_writers_left_goes_and_what_is_being_written_stays(tmp_path: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, here = platform.node()[:60], os.getpid()
    gone = [left(tmp_path, f".result.json.{dead.pid}@{host}"), left(tmp_path, f".state.safetensors.{here}@{host}", 7200),
            left(tmp_path, ".result.json.4711@elsewhere", 7200), left(tmp_path, ".masks.safetensors.4711", 7200),
            left(tmp_path, f".mine.0123abcd.py.{dead.pid}@{host}")]
    stay = [left(tmp_path, f".result.json.{here}@{host}"), left(tmp_path, f".result.json.{dead.pid}@elsewhere"),
            left(tmp_path, ".result.json.4711"), left(tmp_path, "result.json", 7200), left(tmp_path, ".hidden", 7200)]
    clear_abandoned(tmp_path)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in stay if not path.exists()] == []


def test_the_next_run_removes_what_a_killed_one_left_anywhere_in_the_store(tmp_path: Path):
    study = small_study(seeds=1)
    run_study(study, tmp_path, workers=1)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "searches").mkdir()
    name = f"{dead.pid}@{platform.node()[:60]}"
    places = [tmp_path, tmp_path / "searches", tmp_path / "studies", tmp_path / "cells" / study.planned[0].id]
    for place in places:
        left(place, f".some.json.{name}")
    Store(tmp_path, create=False).status(study.planned[0].id)
    assert len(list(tmp_path.rglob(".some.json.*"))) == 4  # Reading removes nothing.
    run_study(study, tmp_path, workers=1)
    assert list(tmp_path.rglob(".some.json.*")) == []


def limited(path: Path, *arguments: object, size: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command, its workers too, on a disk that takes no file of more bytes than `size`."""
    return subprocess.run([sys.executable, "-m", "sweepstake", *map(str, arguments)], cwd=folder, text=True, capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size.")
@pytest.mark.parametrize("more", [["--workers", "2"], ["--stack", "2"]])
def test_workers_that_cannot_write_stop_the_run_with_one_line_and_what_is_finished_is_kept(tmp_path: Path, more: list[str]):
    path = write_small(tmp_path, SMALL_TOML.replace("seeds = 2", "seeds = 10"))
    said = limited(path, "run", path, *more, size=2000, folder=tmp_path)
    lines = [line for line in said.stderr.splitlines() if " cells · " not in line]
    assert (said.returncode, said.stdout, len(lines)) == (2, "", 1)
    assert "state.safetensors: File too large. What is finished is kept; " in lines[0]
    assert not list(tmp_path.rglob(".*.safetensors.*")) and not list(tmp_path.rglob("failure.json"))
    assert not (tmp_path / "reports").exists()
    assert main(["run", str(path), "--store", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--set", "seeds=1"]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size.")
@pytest.mark.parametrize("command", ["report", "publish", "results"])
def test_a_report_that_cannot_be_written_is_one_line_and_never_half_a_file(tmp_path: Path, command: str):
    path, out = write_small(tmp_path), tmp_path / "out"
    assert main(["run", str(path), "--store", str(tmp_path / "runs"), "--out", str(tmp_path / "first"), "--workers", "1"]) == 0
    said = limited(path, command, path, "--out", out if command != "results" else out.with_suffix(".csv"), size=1000, folder=tmp_path)
    line = said.stderr.splitlines()[-1]
    assert (said.returncode, said.stdout, "Traceback" in said.stderr) == (2, "", False)
    assert line.startswith(str(out)) and ": File too large. What is finished is kept; " in line
    assert [each for each in tmp_path.glob("out*/**/*") if each.is_file()] == []
    shutil.rmtree(out, ignore_errors=True)


def test_a_disk_that_is_full_at_the_result_keeps_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study, honest = small_study(seeds=1), files.os.replace

    def full_at_the_end(source: Any, path: Path) -> None:
        full() if Path(path).name == "result.json" else honest(source, path)

    monkeypatch.setattr(files.os, "replace", full_at_the_end)
    with pytest.raises(UserError, match="result.json: No space left on device"):
        run_study(study, tmp_path, stack=1)
    monkeypatch.setattr(files.os, "replace", honest)
    assert (Store(tmp_path).status(study.planned[0].id), Store(tmp_path).rounds_done(study.planned[0].id)) == ("begun", 3)
    events: list[Any] = []
    assert run_study(study, tmp_path, stack=1, on_event=events.append)[0]["status"] == "done"
    assert "round" not in [event.kind for event in events]


@pytest.mark.parametrize("more", [["--workers", "2"], ["--stack", "2"]])
def test_a_store_in_which_no_folder_can_be_made_is_one_line(tmp_path: Path, more: list[str]):
    """A full disk takes no new folder either; here a file is in its place."""
    path = write_small(tmp_path)
    Store(tmp_path / "runs")
    (tmp_path / "runs" / "cells").rmdir()
    for each in ss.load_study(path).planned:
        (tmp_path / "runs" / "cells").mkdir(exist_ok=True)
        (tmp_path / "runs" / "cells" / each.id).write_text("")
    said = limited(path, "run", path, *more, size=10**9, folder=tmp_path)
    lines = [line for line in said.stderr.splitlines() if " cells · " not in line and "; its cell is computed again." not in line]
    assert (said.returncode, len(lines)) == (2, 1), said.stderr
    assert "File exists. What is finished is kept; " in lines[0]


def test_a_failure_that_cannot_be_kept_is_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from sweepstake.run.executors import stacked

    def broken(*_: object) -> None:
        monkeypatch.setattr(files.os, "fsync", full)
        raise RuntimeError("no")

    monkeypatch.setattr(stacked, "run_stack", broken)
    with pytest.raises(UserError, match="failure.json: No space left on device"):
        run_study(small_study(), tmp_path, stack=2)
