"""The door for people: one clear message, the right exit code, stdout for machines and stderr for people."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweepstake import commands
from sweepstake.cli import build_parser
from sweepstake.engine.numerics import VERSIONS
from sweepstake.study.keys import KEYS
from sweepstake.study.study import load_study
from tests.small import SMALL_TOML, write_small

COMMANDS = ["run", "show", "script", "status", "report", "watch", "figure", "results", "ticket", "analyse", "publish", "slides", "log", "merge",
            "compare", "check", "pieces", "demo", "data"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every command runs in an empty folder, where no store or report is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEPSTAKE_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """The small study run once by the real command, its output piped: the file, the store, what was said."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_small(folder)
    said = subprocess.run([sys.executable, "-m", "sweepstake", "run", path, "--store", "runs", "--out", "report"], cwd=folder, text=True,
                          capture_output=True, timeout=120, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    return path, folder / "runs", said


def test_run_prints_the_reports_path_and_tells_people_the_rest(finished: tuple[Path, Path, subprocess.CompletedProcess[str]]):
    path, _, said = finished
    assert (said.returncode, said.stdout.splitlines()) == (0, [str(Path("report") / "report.html")])
    assert (path.parent / "report" / "report.html").stat().st_size > 10_000
    assert "4 of 4 cells · 12 of 12 rounds" in said.stderr
    assert "xavier_normal" in said.stderr
    assert "report:" in said.stderr
    assert "\x1b" not in said.stdout + said.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(call, command: str):
    code, out, _ = call(command, "-h")
    assert code == 0
    assert f"  sweepstake {command}" in out.partition("examples:")[2]


def test_every_command_is_in_the_help_and_no_other():
    text = build_parser().format_help()
    assert [line.split()[0] for line in text.partition("COMMAND")[2].splitlines() if line.startswith("    ") and line[4] != " "] == COMMANDS
    assert "sweepstake demo" in text.partition("first steps:")[2]


@pytest.mark.parametrize("arguments", [["runn"], ["run"], ["run", "demo", "--frobnicate"], ["run", "demo", "--workers", "two"],
                                       ["results", "demo", "--format", "xml"]])
def test_a_wrong_command_line_is_exit_2(call, arguments: list[str]):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert "usage: sweepstake" in err


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_that_of_a_mistake(call):
    assert call() == (2, build_parser().format_help(), "")


def test_version(call):
    from sweepstake import __version__

    assert call("--version") == (0, f"sweepstake {__version__}\n", "")


# Mistakes

def bad(call, *arguments: object) -> str:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    return err


def test_mistakes_are_one_message_and_exit_2(call, elsewhere: Path):
    (elsewhere / "a file").write_text("x")
    (elsewhere / "thesis").mkdir()
    (elsewhere / "thesis" / "thesis.tex").write_text("x")
    assert bad(call, "run", "demoo").startswith('study "demoo": no study file')
    assert bad(call, "run", "demo", "--workers", 0) == "--workers 0: at least 1.\n"
    assert bad(call, "show", "demo", "--workers", -2) == "--workers -2: at least 1.\n"
    assert "is a file, not a folder" in bad(call, "run", "demo", "--store", "a file")
    assert "not a sweepstake store" in bad(call, "run", "demo", "--store", "thesis")
    assert "nothing is there yet" in bad(call, "status", "demo")
    assert "nothing is there yet" in bad(call, "results", "demo", "--store", "none")
    assert "nothing is there yet" in bad(call, "report", "demo")
    assert "cannot be written" in bad(call, "run", "demo", "--store", "/proc/self/runs")
    missing = bad(call, "run", "prune-ready", "--data", ".")
    assert "missing train-images-idx3-ubyte.gz" in missing
    assert "--data DIR" in missing
    assert bad(call, "show", "demo", "--set", "runds=3").startswith('demo: runds: no study key of that name.\n  Did you mean "rounds"?')
    assert "say key=value" in bad(call, "show", "demo", "--set", "rounds")
    assert "has no [quick] table" in bad(call, "show", write_small(elsewhere, SMALL_TOML.partition("[quick]")[0]), "--quick")
    assert bad(call, "pieces", "criterian").startswith("pieces criterian: no open set of that name.\n  Did you mean \"criterion\"?")
    assert "no file" in bad(call, "pieces", "--plugins", "none.py")
    assert sorted(path.name for path in elsewhere.iterdir()) == ["a file", "runs", "small.toml", "thesis"]  # runs: made by the one that lacked data.


# What is there

def test_show_estimates_and_writes_nothing(call, elsewhere: Path):
    path = write_small(elsewhere)
    code, out, err = call("show", path, "--workers", 2)
    assert (code, out) == (0, "")
    assert "4 cells in 1 stack; 0 are in runs already." in err
    assert "on 2 workers (120 steps; " in err
    assert "MB of disk" in err
    assert "2 rounds after the first, 10 steps each" in err
    assert [each.name for each in elsewhere.iterdir()] == ["small.toml"]


def test_a_network_too_large_for_the_machine_is_told(call, elsewhere: Path):
    said = bad(call, "show", write_small(elsewhere), "--set", "model.hidden=[1000000000000]").splitlines()
    assert 'small.toml: model = "mlp": raised RuntimeError' in said[-1]


def test_show_cells_lists_ids_for_machines(call, elsewhere: Path):
    code, out, _ = call("show", write_small(elsewhere), "--cells", "--set", "init=['zeros', 'normal']", "--quick")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert [row[1:] for row in rows] == [["seed=0", "init=zeros"], ["seed=0", "init=normal"]]
    assert all(len(row[0]) == 16 for row in rows)


def test_show_knows_what_is_done_already(call, finished: tuple[Path, Path, object]):
    _, _, err = call("show", finished[0], "--store", finished[1])
    assert f"4 are in {finished[1]} already." in err
    assert "disk" not in err


def test_status_counts_for_machines(call, finished: tuple[Path, Path, object]):
    path, store, _ = finished
    assert call("status", path, "--store", store) == (0, "done\t4\n", "")
    assert call("status", path, "--store", store, "--set", "seeds=3")[:2] == (0, "done\t4\nmissing\t2\n")


def test_results_are_tidy_csv_or_json_on_stdout(call, finished: tuple[Path, Path, object]):
    path, store, _ = finished
    code, out, err = call("results", path, "--store", store)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err, len(rows)) == (0, "", 12)
    assert [rows[0][key] for key in ("init", "seed", "status", "round", "kept")] == ["xavier_normal", "0", "done", "0", "888"]
    assert 0 <= float(rows[0]["test_accuracy"]) <= 1
    code, out, _ = call("results", path, "--store", store, "--format", "json")
    told = json.loads(out)
    assert (len(told), told[0]["kept"], told[0]["seed"]) == (12, 888, 0)
    assert not [key for key in told[0] if "seconds" in key]
    assert [key for key in json.loads(call("results", path, "--store", store, "--format", "json", "--timing")[1])[0] if "seconds" in key]


def test_results_in_a_terminal_are_a_table_that_fits_and_say_how_to_see_every_column(call, finished: tuple[Path, Path, object], monkeypatch):
    path, store, _ = finished
    piped = call("results", path, "--store", store)[1]
    every = call("results", path, "--store", store, "--all")
    monkeypatch.setenv("COLUMNS", "72")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, out, err = call("results", path, "--store", store)
    head, *lines = out.splitlines()
    assert (code, head.split()[:5], len(lines)) == (0, ["init", "seed", "round", "kept_fraction", "test_accuracy"], 12)
    assert lines[0].split()[:4] == ["xavier_normal", "0", "0", "1.0000"]
    assert max(map(len, out.splitlines())) <= 72
    assert err == f"12 rows. All {piped.partition(chr(10))[0].count(',') + 1} columns: --format csv or --all.\n"
    assert call("results", path, "--store", store, "--format", "csv") == (0, piped, "")
    assert call("results", path, "--store", store, "--all") == every
    assert every[1].splitlines()[0].split() == piped.splitlines()[0].split(",")
    assert len({line.index("done") for line in every[1].splitlines()[1:]}) == 1


def test_results_go_to_a_file_when_asked_and_parquet_only_there(call, elsewhere: Path, finished: tuple[Path, Path, object]):
    path, store, _ = finished
    assert call("results", path, "--store", store, "--out", "t.csv") == (0, "", "")
    assert len((elsewhere / "t.csv").read_text().splitlines()) == 13
    assert "Say where with --out FILE" in bad(call, "results", path, "--store", store, "--format", "parquet")
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert call("results", path, "--store", store, "--format", "parquet", "--out", "t.parquet")[0] == 0
    assert len(pandas.read_parquet(elsewhere / "t.parquet")) == 12
    assert bad(call, "results", path, "--store", store, "--out", "nowhere/t.csv").startswith("nowhere/t.csv: No such file")


def test_publish_writes_the_studys_folder_and_refuses_what_is_not_whole(call, elsewhere: Path, finished: tuple[Path, Path, object]):
    pytest.importorskip("pyarrow")
    path, store, _ = finished
    assert call("publish", path, "--store", store) == (0, f"{Path('results', 'small')}\n", "")
    assert json.loads((elsewhere / "results" / "small" / "provenance.json").read_text())["cells"] == {"planned": 4, "done": 4}
    assert "2 of 6 cells missing" in bad(call, "publish", path, "--store", store, "--set", "seeds=3")
    assert "quick run" in bad(call, "publish", path, "--store", store, "--quick")
    assert call("publish", path, "--store", store, "--quick", "--partial", "--out", "r") == (0, f"{Path('r', 'small-quick')}\n", "")
    assert sorted(each.name for each in elsewhere.iterdir()) == ["r", "results"]


def test_a_reader_that_has_enough_is_no_mistake(finished: tuple[Path, Path, object]):
    running = subprocess.Popen([sys.executable, "-m", "sweepstake", "results", finished[0], "--store", finished[1]], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert running.stdout and running.stderr
    running.stdout.close()
    assert (running.wait(60), running.stderr.read()) == (0, "")
    running.stderr.close()


@pytest.mark.parametrize("command", ["report", "run"])
def test_the_report_shows_images_of_the_data_that_the_command_names(call, elsewhere: Path, finished: tuple[Path, Path, object],
                                                                    monkeypatch: pytest.MonkeyPatch, command: str):
    path, store, _ = finished
    told = list[object]()
    monkeypatch.setattr(commands, "write_report", lambda *asked: told.append(asked[-1]) or Path("report.html"))
    assert call(command, path, "--store", store, "--data", elsewhere)[0] == 0
    assert [str(each) for each in told] == [str(elsewhere)]
    assert f'--data "{elsewhere / "no"}": no such directory.' in bad(call, command, path, "--store", store, "--data", elsewhere / "no")


def test_report_trains_nothing_and_prints_its_path(call, elsewhere: Path, finished: tuple[Path, Path, object]):
    path, store, _ = finished
    before = sorted(store.rglob("*"))
    code, out, _ = call("report", path, "--store", store)
    assert (code, out) == (0, "reports/small/report.html\n")
    assert (elsewhere / out.strip()).exists()
    assert sorted(store.rglob("*")) == before


def test_the_terminal_never_tells_a_contradicted_claim_without_what_was_found(call, elsewhere: Path):
    claim = '[[claim]]\nsays = "It ends near 200 %."\ntest = "about"\nvalue = 2.0\nmargin = 0.1\n'
    path = write_small(elsewhere, SMALL_TOML.replace("seeds = 2", "seeds = 3") + claim)
    err = " ".join(call("run", path, "--store", elsewhere / "runs")[2].split())
    assert re.search(r'contradicted Claimed: "It ends near 200 %\." Found: \d+\.\d\d % \(', err)


@pytest.mark.parametrize("command", ["results", "report"])
def test_nothing_to_read_is_exit_3_with_what_is_there_instead(call, elsewhere: Path, finished: tuple[Path, Path, object], command: str):
    path, store, _ = finished
    nothing = f"{store} holds no finished cell of small (4 missing). 4 cells of others are there, from: small. A study of the same name was " \
              f"run there as another (see {store / 'studies'}). The nearest finished cell differs in"
    assert call(command, path, "--store", store, "--set", "lr=0.5") == (3, "", f"{nothing} lr (0.0012 there, 0.5 here).\n")
    code, out, err = call(command, path, "--store", store, "--set", 'init=["zeros", "normal"]', "--set", "model.hidden=[9]")
    assert (code, out) == (3, "") and nothing in err
    assert "hidden=[12], norm=none" in err and " there, mlp(activation=relu, dropout=0.0, hidden=[9]" in err
    assert "init (kaiming_normal" in err and "zeros, normal(std=0.1) here" in err
    other = path.with_name("other.toml")
    other.write_text(SMALL_TOML.replace("steps = 10", "steps = 11"))
    assert call(command, other, "--store", store) == (
        3, "", f"{store} holds no finished cell of other (4 missing). 4 cells of others are there, from: small.\n")
    (elsewhere / "empty").mkdir()
    (elsewhere / "empty" / "sweepstake-store.json").write_text('{"layout": 1}')
    assert call(command, path, "--store", "empty") == (
        3, "", "empty holds no finished cell of small (4 missing). No cell of any study is finished there.\n")


def test_what_is_begun_or_failed_is_not_told_as_missing(call, elsewhere: Path):
    from sweepstake.run.store import Store

    path = write_small(elsewhere)
    for planned in load_study(path).planned[:3]:
        Store("runs").fail(planned.id, "Out of luck", "", {})
    assert call("results", path) == (3, "", "runs holds no finished cell of small (3 failed, 1 missing). "
                                            "No cell of any study is finished there.\n")


def test_status_says_of_a_begun_cell_what_its_last_round_kept_and_came_to(call, elsewhere: Path):
    from sweepstake.run.store import Store

    path, (one, other, *_) = write_small(elsewhere), load_study(elsewhere / "small.toml").planned
    rounds = [{"round": 0, "kept_fraction": 1.0, "end": {"test": {"accuracy": 0.9}}},
              {"round": 1, "kept_fraction": 0.512, "end": {"test": {"accuracy": 0.87654}}}]
    for planned, records in ((one, rounds), (other, [{"round": 0, "kept_fraction": 1.0, "end": {}}])):
        Store("runs").begin(planned.id, planned.cell)
        Store("runs").save_state(planned.id, records, {}, {})
    assert call("status", path) == (0, "begun\t2\nmissing\t2\n", (
        "begun: xavier_normal, seed 0: 2 of 3 rounds, 51.2 % kept, test accuracy 87.65 %\n"
        "begun: xavier_normal, seed 1: 1 of 3 rounds, 100 % kept, test accuracy –\n"))


PLUGIN = 'import sweepstake as ss\n\n@ss.criterion\ndef {name}(w_final):\n    """Mine (Me 2026)."""\n    return w_final.abs()\n'


def write_with_plugin(folder: Path, name: str, code: str = PLUGIN) -> Path:
    """The small study of one seed with a criterion of a plug-in beside it."""
    (folder / "mine.py").write_text(code.replace("{name}", name))
    return write_small(folder, f'plugins = ["mine.py"]\ncriterion = "{name}"\n' + SMALL_TOML.replace("seeds = 2", "seeds = 1"))


def test_a_comment_a_blank_line_and_a_docstring_of_a_plug_in_lose_no_result(call, elsewhere: Path):
    path = write_with_plugin(elsewhere, "cli_commented")
    assert call("run", path, "--stack", 1)[0] == 0
    table = call("results", path)[1]
    write_with_plugin(elsewhere, "cli_commented", "# What I tried.\n\n" + PLUGIN.replace("Mine", "My own").replace("    ", "  ") + "# The end\n")
    assert call("status", path)[:2] == (0, "done\t2\n")
    assert call("results", path)[:2] == (0, table)
    code, out, err = call("run", path, "--stack", 1)
    assert (code, out, "cells" in err) == (0, "reports/small/report.html\n", False)


def test_results_under_another_version_of_the_plug_in_are_told(call, elsewhere: Path):
    path = write_with_plugin(elsewhere, "cli_versioned")
    assert call("run", path, "--stack", 1)[0] == 0
    kept = Path("runs", "plugins", f"mine-{hashlib.sha256((elsewhere / 'mine.py').read_bytes()).hexdigest()[:16]}.py")
    assert "version" not in call("status", path)[2]
    write_with_plugin(elsewhere, "cli_versioned", PLUGIN.replace("abs()", "square()"))
    said = f"2 of 2 missing cells are in runs under another version of {elsewhere / 'mine.py'}: what a plug-in's code says is part of what a " \
           f"cell is. Put that version back (kept: {kept}), or let `sweepstake run` compute them anew.\n"
    code, out, err = call("status", path)
    assert (code, out) == (0, "missing\t2\n") and err.endswith(said)
    for command in ("results", "report"):
        code, out, err = call(command, path)
        assert (code, out) == (3, "")
        assert err.endswith(f"{said}runs holds no finished cell of small (2 missing). 2 cells of others are there, from: small.\n"), command
    assert "version" not in call("status", path, "--set", "lr=0.5")[2]
    code, _, err = call("run", path, "--stack", 1)
    assert code == 0 and said in err
    code, out, err = call("status", path)
    assert (code, out) == (0, "done\t2\n") and "version" not in err
    shutil.copy(kept, elsewhere / "mine.py")
    assert call("status", path)[:2] == (0, "done\t2\n")


def test_a_failed_cell_is_told_and_exit_1(call, elsewhere: Path):
    (elsewhere / "mine.py").write_text('import sweepstake as ss\n\n@ss.criterion\n'
                                       'def cli_fails(w_final, alive):\n    """Fails in the second pruning."""\n'
                                       "    return w_final.abs() if alive.all() else 1 / 0\n")
    path = write_small(elsewhere, SMALL_TOML + "").rename(elsewhere / "fails.toml")
    path.write_text('plugins = ["mine.py"]\ncriterion = "cli_fails"\n' + SMALL_TOML.replace("seeds = 2", "seeds = 1"))
    code, out, err = call("run", path)
    assert (code, out) == (1, "")
    assert "failed: xavier_normal, seed 0 (" in err
    assert "(mine.py:6) raised ZeroDivisionError: division by zero" in err
    assert "--retry` computes them again" in err
    assert call("status", path)[:2] == (0, "failed\t2\n")


@pytest.mark.parametrize("what", ["a cell", "the store"])
def test_a_run_whose_cells_are_gone_at_its_end_is_exit_1(call, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, what: str):
    from sweepstake.run.progress import LineDisplay

    honest, done = LineDisplay.__call__, 0

    def removed_meanwhile(self: LineDisplay, event: Any) -> None:
        nonlocal done
        honest(self, event)
        done += event.kind == "done"
        if event.kind == "done" and done == (1 if what == "a cell" else 4):
            shutil.rmtree(elsewhere / "runs" / ("cells" if what == "the store" else Path("cells", event.id)))

    monkeypatch.setattr(LineDisplay, "__call__", removed_meanwhile)
    code, _, err = call("run", write_small(elsewhere), "--workers", 1)
    assert code == 1
    gone = 1 if what == "a cell" else 4
    assert f"{gone} of 4 cells are missing from runs; was it removed meanwhile? The same command computes them." in err
    assert call("report", elsewhere / "small.toml")[0] == (0 if what == "a cell" else 3)  # A report may be of a part.


def test_a_run_in_which_every_cell_diverged_is_exit_1(call, elsewhere: Path):
    path = write_small(elsewhere)
    wild = ["--set", "optimiser=sgd", "--workers", 1]
    code, _, err = call("run", path, *wild, "--set", "lr=1e30")
    assert (code, "Every cell diverged: a loss or weights are not numbers. Lower lr" in err) == (1, True)
    code, _, err = call("run", path, *wild, "--set", "lr=[0.001, 1e30]")
    assert (code, "Every cell diverged" in err) == (0, False)


def test_the_help_says_what_every_exit_code_means(call):
    said = call("-h")[1].partition("exit codes:")[2]
    assert [line.split()[0] for line in said.splitlines() if line[2:3].strip()] == ["0", "1", "2", "3", "130", "143"]
ATTENTIVE = '''import sweepstake as ss
from torch import nn

class Attentive(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.attn, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(64, classes)
        self.place = nn.Parameter(self.out.weight.new_zeros(8, 8))

    def forward(self, x):
        x = x.view(-1, 8, 8) + self.place
        return self.out(self.attn(x, x, x, need_weights=False)[0].flatten(1))

@ss.model
def cli_attentive(classes):
    """Attention over rows (Vaswani et al. 2017)."""
    return Attentive(classes)
'''
OF_WHAT = "of the 896 weights in its layers; neither counted nor pruned: place 64 (Attentive), biases, norms and other vectors 42"


def test_show_run_and_report_name_every_tensor_that_is_not_pruned(call, elsewhere: Path):
    (elsewhere / "mine.py").write_text(ATTENTIVE)
    path = write_small(elsewhere, SMALL_TOML.replace('{name = "mlp", hidden = [12]}', '"cli_attentive"').replace(
        'title =', 'plugins = ["mine.py"]\ntitle =').replace("seeds = 2", "seeds = 1"))
    assert f"  kept fractions are {OF_WHAT}\n" in call("show", path)[2]
    code, out, err = call("run", path, "--workers", 1)
    assert code == 0 and f"Weights remaining are {OF_WHAT}.\n" in err
    assert f"Weights remaining are {OF_WHAT}." in Path(out.strip()).read_text()
    assert f"Weights remaining are {OF_WHAT}.\n" in call("report", path)[2]


def test_show_says_which_layers_a_key_leaves_out(call, elsewhere: Path):
    _, _, err = call("show", write_small(elsewhere), "--set", "prune_layers=['fc1']")
    assert ("  kept fractions are of the 888 weights in its layers; counted, but never pruned: fc2.weight 120 (not in prune_layers); "
            "neither counted nor pruned: biases, norms and other vectors 22\n") in err


def test_what_is_not_the_study_as_written_is_said_aloud(call, elsewhere: Path):
    code, _, err = call("run", write_small(elsewhere), "--quick", "--set", "rounds=1", "--set", "init=zeros", "--workers", 1)
    assert code == 0
    assert "small: not the study as written, but with --quick and --set rounds=1 and --set init=zeros." in err


# What can be said

def test_pieces_lists_every_set_with_options_and_sources(call):
    from sweepstake.pieces import REGISTRIES

    code, out, err = call("pieces")
    assert (code, err) == (0, "")
    for set_, registry in REGISTRIES.items():
        assert f"{set_}:\n" in out
        for piece in registry.pieces.values():
            assert f"  {piece.name}" in out
            assert piece.claim in out
    assert "  mlp  [hidden = [300, 100], " in out
    assert "\n  everywhere, global\n" in out
    assert 'activation = "relu", slope = 0.01, dropout = 0.0]' in out
    for pythonism in ("None", "True", "False", "NODEFAULT", "'relu'"):
        assert pythonism not in out


def test_pieces_study_lists_every_key_of_a_study_file_with_its_default(call):
    code, out, err = call("pieces", "study")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:] if line[2] != " "] == list(KEYS)
    assert "  lr = 0.0012\n      Learning rate.\n" in out
    assert "  title\n      One line over the report.\n" in out


def test_pieces_of_one_set_say_what_they_may_take(call, elsewhere: Path):
    (elsewhere / "own.py").write_text('import sweepstake as ss\n\n@ss.init\ndef cli_own(normal, *, width: float):\n'
                                      '    """Mine (Me 2026)."""\n    return normal\n')
    code, out, _ = call("pieces", "init", "--plugins", "own.py")
    assert code == 0
    assert "criterion:" not in out
    assert "  cli_own  [width = (required)]\n      Mine (Me 2026)." in out
    assert "  fan_in: connections into a unit of the layer" in out


def test_data_says_what_is_here_and_how_to_get_the_rest(call):
    code, out, _ = call("data")
    rows = {line.split("\t")[0]: line for line in out.splitlines()}
    assert code == 0
    assert {"digits", "mnist", "fashion_mnist"} <= set(rows)
    assert "mnist" in rows["mnist"]


def test_a_table_of_two_numerics_is_told_by_every_command_that_shows_it(call, elsewhere: Path, finished: tuple[Path, Path, object]):
    path, store = finished[:2]
    shutil.copytree(store, elsewhere / "runs")
    said = {command: call(command, path, "--store", "runs") for command in ("report", "results", "publish")}
    assert not any("numerics" in err for _, _, err in said.values())
    before = said["results"][1]

    kept = elsewhere / "runs" / "cells" / load_study(path).planned[0].id
    (kept / "result.json").unlink()
    (kept / "masks.safetensors").unlink()
    assert call("run", path, "--store", "runs", "--engine", "reference", "--workers", "1")[2].count("of several numerics: ") == 1
    now = f"fast {VERSIONS['fast']} (3 cells), reference {VERSIONS['reference']} (1 cell)"
    for command in said:
        code, out, err = call(command, path, "--store", "runs")
        assert (code, err.count(f"of several numerics: {now}. ")) == (0, 1), err
        assert "numerics" not in out
    assert call("results", path, "--store", "runs")[1].splitlines()[0] == before.splitlines()[0]
# Whose code runs

@pytest.mark.parametrize("command", ["show", "status", "results", "report", "publish", "run", "pieces"])
def test_a_plug_in_is_told_before_its_code_runs(call, elsewhere: Path, command: str):
    code = 'import sys\nprint("ITS CODE", file=sys.stderr)\n'
    (elsewhere / "own [b].py").write_text(code)
    path = write_small(elsewhere, f'plugins = ["own [b].py"]\n{SMALL_TOML}')
    digest = hashlib.sha256(code.encode()).hexdigest()[:16]
    _, _, err = call(*(("pieces", "init", "--plugins", "own [b].py") if command == "pieces" else (command, path)))
    assert err.splitlines()[:2] == [f"Plug-ins are Python code that runs with your rights: own [b].py (sha256 {digest}). Use only those that you "
                                    "have read, or whose author you trust.", "ITS CODE"]
    assert err.count("Plug-ins are") == 1


def test_a_plug_in_of_an_override_is_told_too_and_one_that_is_not_there_runs_nothing(call, elsewhere: Path):
    (elsewhere / "own.py").write_text('import sys\nprint("ITS CODE", file=sys.stderr)\n')
    path = write_small(elsewhere)
    told = call("show", path, "--set", "plugins=['own.py']")[2].splitlines()
    assert [line.split(":")[0] for line in told[:2]] == ["Plug-ins are Python code that runs with your rights", "ITS CODE"]
    assert bad(call, "show", path, "--set", "plugins=['none.py']").startswith(f"{path}: plugins: no file")
    assert "Plug-ins are" not in call("show", path)[2]


# What others wrote

def test_markup_in_a_label_is_text_to_the_end(call, elsewhere: Path):
    text = SMALL_TOML.replace('"xavier_normal"', '{name = "xavier_normal", label = "relu [/leaky]"}').replace('"Small"', '"[/b] :smile:"')
    path = write_small(elsewhere, f'{text}\n[[claim]]\nsays = "[red]x[/y]"\ntest = "matches_dense"\nmargin = 0.1\n')
    assert "[/b] :smile:" in call("show", path)[2]
    code, out, err = call("run", path, "--workers", 1)
    assert (code, out) == (0, f"{Path('reports', 'small', 'report.html')}\n")
    assert "relu [/leaky]" in err
    assert "[red]x[/y]" in err
    assert "relu [/leaky]" in call("results", path)[1]
    assert call("status", path)[0] == 0


@pytest.mark.parametrize("label", [r"\u001b[2J", r"\u0000", r"\u009b31m", r"\u202e"])
def test_a_hidden_character_is_refused_before_anything_runs(call, elsewhere: Path, label: str):
    path = write_small(elsewhere, SMALL_TOML.replace('"xavier_normal"', f'{{name = "xavier_normal", label = "a{label}"}}'))
    said = bad(call, "run", path)
    assert said == f"{path}: init: label: holds the character {label[:6]}, which cannot be shown. Take it out.\n"
    assert [each.name for each in elsewhere.iterdir()] == ["small.toml"]


def test_what_a_plug_in_raises_is_shown_as_text(call, elsewhere: Path):
    (elsewhere / "own.py").write_text('raise ValueError("\\x1b[2J[/b]")\n')
    assert r"raised ValueError: \u001b[2J[/b]." in bad(call, "show", write_small(elsewhere, f'plugins = ["own.py"]\n{SMALL_TOML}'))


@pytest.mark.parametrize("arguments", [["show", "demo", "--set", b"title='\xff'"], [b"\xff"], ["show", b"\xff.toml"],
                                       ["run", "demo", "--store", b"\xff"],
                                       ["run", "demo", "--data", b"\xff"], ["report", "demo", "--out", b"\xff"], ["pieces", "--plugins", b"\xff.py"],
                                       ["data", "--data", b"\xff"], ["show", "demo", "--set", b"title='\x1b[2J'"]])
def test_an_argument_that_is_no_text_is_one_line(elsewhere: Path, arguments: list[str | bytes]):
    done = subprocess.run([sys.executable, "-m", "sweepstake", *arguments], cwd=elsewhere, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "holds a byte (0xff) that is not UTF-8" in done.stderr or r"'\u001b[2J': holds the character \u001b" in done.stderr
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("variable", ["SWEEPSTAKE_DATA", "PWD", *(
    pytest.param(each, marks=pytest.mark.long) for each in ("XDG_CACHE_HOME", "KERAS_HOME", "HOME"))])
def test_a_folder_that_is_no_text_is_one_line(elsewhere: Path, variable: str):
    if sys.platform != "linux":
        pytest.skip("elsewhere a file's name is text")
    folder = os.fsencode(elsewhere) + b"/\xff"
    os.mkdir(folder)
    write_small(Path(os.fsdecode(folder)))
    write_small(elsewhere)
    environment = {**{key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "KERAS_HOME")},
                   "PYTHONPATH": str(Path(__file__).parents[1]), variable: folder}
    done = subprocess.run([sys.executable, "-m", "sweepstake", "run", "small.toml", "--workers", "1"], cwd=folder if variable == "PWD" else elsewhere,
                          capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert all("holds a byte (0xff) that is not UTF-8" in line for line in done.stderr.splitlines())
    assert done.stderr


def test_an_output_that_takes_only_ascii_is_one_line(call, elsewhere: Path):
    path = write_small(elsewhere, SMALL_TOML.replace('"xavier_normal"', '{name = "xavier_normal", label = "größer"}'))
    done = subprocess.run([sys.executable, "-m", "sweepstake", "show", path, "--cells"], cwd=elsewhere, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "cannot be written in ascii" in done.stderr.splitlines()[-1]
