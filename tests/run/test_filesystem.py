"""What a shared store needs of its folder is tried there, by one machine or by several at once."""

import os
from pathlib import Path

import pytest

from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.run import filesystem
from sweepstake.run.filesystem import FOLDER, try_folder
from tests.run.test_run import python


def test_this_disk_holds_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", "--filesystem", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["ok", "ok", "ok", "note", "note"]
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_several_make_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(filesystem, "_makes", lambda path: True)
    assert main(["check", "--filesystem", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "BROKEN  a name is made by one alone (O_EXCL): 200 names, 4 contenders; 200 were made by several, or by none" in said.out
    assert "may lose work when several machines fill it" in said.err


def test_a_rename_that_is_not_whole_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def in_two(path: Path, content: bytes) -> None:
        with path.open("wb", buffering=0) as file:
            file.write(content[:100])
            os.sched_yield()
            file.write(content[100:])

    monkeypatch.setattr(filesystem, "write_whole", in_two)
    (tried,) = [each for each in try_folder(tmp_path) if each.what.startswith("a rename")]
    assert not tried.held


def test_machines_contend_with_one_another(tmp_path: Path):
    code = "import sys; from sweepstake.cli import main; sys.exit(main(['check', '--filesystem', sys.argv[1], '--machines', '2']))"
    both = [python(code, tmp_path) for _ in range(2)]
    said = [each.communicate(timeout=200) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert all("200 names, 8 contenders" in out for out, _ in said)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_does_not_come_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filesystem, "JOIN_SECONDS", 0.1)
    with pytest.raises(UserError, match="1 of 2 machines came"):
        try_folder(tmp_path, machines=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "line"), [
    (["--filesystem", "nowhere"], 'check --filesystem "nowhere": no such directory.'),
    (["--filesystem", ".", "--machines", "0"], "--machines 0: at least 1."),
])
def test_what_cannot_be_tried_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert main(["check", *arguments]) == 2
    assert capsys.readouterr().err.startswith(line)


def test_what_is_left_of_an_earlier_check_is_named(tmp_path: Path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "name.0").touch()
    with pytest.raises(UserError, match="left of an earlier check"):
        try_folder(tmp_path, machines=2)
