"""`sweepstake ticket`: one cell, one file; the path to machines, a short table to people."""

from pathlib import Path
from typing import Any

import pytest

from sweepstake.cli import main
from sweepstake.run.run import run_study
from sweepstake.study.study import load_study
from sweepstake.tickets.of_study import finished as out_of_study
from sweepstake.tickets.of_study import recipe
from sweepstake.tickets.ticket import load_ticket
from tests.small import write_small


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small study, run; the last weights kept of the cells of seed 0 alone."""
    folder = tmp_path_factory.mktemp("home")
    path = write_small(folder)
    run_study(load_study(path, quick=True), folder / "runs", workers=2, save_weights="last")
    run_study(load_study(path), folder / "runs", workers=2)
    return folder


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, dict[str, Any]]]:
    """What the writer of files is given, and writes."""
    given, save = [], out_of_study.save
    monkeypatch.setattr(out_of_study, "save", lambda ticket, path, **how: given.append((ticket, path, how)) or save(ticket, path, **how))
    return given


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(home)

    def called(*said: str) -> tuple[int, str, str]:
        code = main(["ticket", "small.toml", *said])
        return code, *capsys.readouterr()

    return called


ONE = ("--where", "init=xavier_normal", "--where", "seed=0")


def test_the_path_goes_to_stdout_and_a_table_of_layers_to_stderr(call: Any, written: list[Any]):
    code, out, err = call(*ONE, "--round", "1", "--out", "a.safetensors")
    assert (code, out) == (0, "a.safetensors\n")
    assert [line.split() for line in err.splitlines()] == [
        ["init", "=", "xavier_normal,", "seed", "=", "0,", "round", "1"], ["layer", "kept", "of", "%"],
        ["fc1", "614", "768", "79.95"], ["fc2", "96", "120", "80.00"], ["all", "710", "888", "79.95"]]
    (ticket, path, how), = written
    assert (ticket.made["round"], path, how["draw"].func) == (1, Path("a.safetensors"), recipe.draw)
    loaded = load_ticket(path)
    assert {name: mask.tolist() for name, mask in loaded.masks.items()} == {name: mask.tolist() for name, mask in ticket.masks.items()}
    assert all(value.equal(ticket.initial[name]) for name, value in loaded.initial.items())


@pytest.mark.parametrize(("weights", "form", "trained"), [
    ([], "auto", True), (["--weights", "initial"], "values", False), (["--weights", "recipe"], "recipe", False),
    (["--weights", "trained"], "auto", True)])
def test_what_is_written_is_what_was_asked(call: Any, written: list[Any], weights: list[str], form: str, trained: bool):
    assert call(*ONE, "--out", "a.safetensors", *weights)[0] == 0
    ticket, _, how = written[0]
    assert (how["weights"], how["trained"], ticket.made["round"], ticket.trained is not None) == (form, trained, 2, True)


@pytest.mark.parametrize(("said", "line"), [
    (["--where", "init=xavier_normal"], "ticket: 2 cells have init = xavier_normal, and a ticket is of one. Say which: seed = 0, 1."),
    (["--where", "init"], "--where init: say key=value, as in --where init=xavier_normal."),
    (["--where", "seed=0", "--where", "seed=1"], "--where seed: stands twice, and a ticket is of one cell. Say one value."),
    ([*ONE, "--round", "7"], "ticket: round = 7: init = xavier_normal, seed = 0 has the rounds 0 to 2."),
    ([*ONE, "--round", "1", "--weights", "trained"], "ticket: the trained weights of round 1 were not kept (kept: round 2). A cell that is "
     "done is not trained again for them; its result stays. Train the study into a new store: sweepstake run small.toml --store DIR "
     "--save-weights all."),
    (["--where", "init=xavier_normal", "--where", "seed=1", "--weights", "trained"], "ticket: the trained weights of round 2 were not "
     "kept. A cell that is done is not trained again for them; its result stays. Train the study into a new store: sweepstake run "
     "small.toml --store DIR --save-weights last."),
])
def test_a_mistake_is_one_line_and_exit_2_and_writes_nothing(call: Any, written: list[Any], said: list[str], line: str):
    assert call(*said, "--out", "a.safetensors") == (2, "", line + "\n")
    assert written == []


def test_nothing_finished_is_exit_3(call: Any, written: list[Any]):
    code, out, err = call(*ONE, "--set", "lr=0.5", "--out", "a.safetensors")
    assert (code, out) == (3, "")
    assert err.startswith("runs holds no finished cell of small (4 missing).")
