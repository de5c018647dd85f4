"""Nobody's folder is code: nothing of the current folder is imported, and a script runs once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import SMALL_TOML, write_small

ROOT = Path(__file__).parents[2]
SHORT = SMALL_TOML.replace("rounds = 2", "rounds = 0").replace("seeds = 2\n", "seeds = 1\n", 1)
INSTALLED = "import sys\nfrom sweepstake.__main__ import command\nsys.exit(command())\n"
"""What an installer writes for the command."""
SCRIPT = 'import sweepstake as ss\nprint("begun", __name__)\nprint(len(ss.run_study("small.toml", store="runs", workers=1, progress=False).rows()))\n'


def python(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, text=True, capture_output=True, timeout=100,
                          env={**clean, "PYTHONPATH": str(ROOT), **environment})


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    path = tmp_path / "bin" / "sweepstake"
    path.write_text(INSTALLED)
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a study and, beside it, a file for every module of the standard library, which leaves a mark and breaks."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    write_small(folder, SHORT)
    for name in sys.stdlib_module_names:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r} + ' ')\nraise SystemExit({name!r})\n")
    return folder


@pytest.mark.parametrize("by_module", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_command_imports_nothing_of_the_current_folder(hostile: Path, installed: Path, by_module: bool):
    done = python(*(["-m", "sweepstake"] if by_module else [installed]), "run", "small.toml", "--workers", 1, cwd=hostile)
    assert (hostile.parent / "imported").exists() is False
    assert (done.returncode, done.stdout) == (0, f"{Path('reports', 'small', 'report.html')}\n"), done.stderr


def test_a_script_of_another_folder_imports_nothing_of_the_current_one(hostile: Path):
    script = hostile.parent / "script.py"
    script.write_text(SCRIPT)
    done = python(script, cwd=hostile)
    assert (hostile.parent / "imported").exists() is False
    assert (done.returncode, done.stdout.splitlines()) == (0, ["begun __main__", "2"]), done.stderr


def test_workers_of_a_prompt_import_what_is_installed_before_the_current_folder(tmp_path: Path):
    write_small(tmp_path, SHORT)
    for name in ("numbers", "queue", "code", "random", "types"):
        (tmp_path / f"{name}.py").write_text(f"open('imported', 'a').write({name!r})\nraise SystemExit({name!r})\n")
    prompt = f"import sys; sys.path.remove('')\nimport numbers, queue, code, random, types\nsys.path.insert(0, '')\n{SCRIPT}"
    done = python("-c", prompt, cwd=tmp_path)
    assert not (tmp_path / "imported").exists()
    assert (done.returncode, done.stdout.splitlines()) == (0, ["begun __main__", "2"]), done.stderr


def test_an_empty_entry_of_the_python_path_is_not_the_current_folder(tmp_path: Path, installed: Path):
    write_small(tmp_path, SHORT)
    for name in ("argparse", "tomllib", "numbers", "queue"):
        (tmp_path / f"{name}.py").write_text(f"open('imported', 'a').write({name!r})\nraise SystemExit({name!r})\n")
    done = python(installed, "run", "small.toml", "--workers", 1, cwd=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}")
    assert not (tmp_path / "imported").exists()
    assert done.returncode == 0, done.stderr


def test_a_folder_that_the_python_path_names_stays_on_it(tmp_path: Path):
    (tmp_path / "helper.py").write_text("SCALE = 0.1\n")
    (tmp_path / "mine.py").write_text("import sweepstake as ss\nimport helper\n\n@ss.init\ndef foreign_mine(normal):\n"
                                      '    """Mine (Me 2026)."""\n    return normal * helper.SCALE\n')
    write_small(tmp_path, f'plugins = ["mine.py"]\n{SHORT}'.replace('["xavier_normal", "kaiming_normal"]', '"foreign_mine"'))
    alone = python("-m", "sweepstake", "run", "small.toml", cwd=tmp_path)
    assert (alone.returncode, "No module named 'helper'" in alone.stderr) == (2, True)
    named = python("-m", "sweepstake", "run", "small.toml", cwd=tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path), "", str(ROOT)]))
    assert named.returncode == 0, named.stderr


@pytest.mark.parametrize("first", ["", *(pytest.param(each, marks=pytest.mark.long) for each in (
    "import multiprocessing; multiprocessing.set_start_method('spawn')\n", "from sweepstake.run.executors import server; server.START = 'spawn'\n"))])
def test_a_script_without_a_guard_runs_once(tmp_path: Path, first: str):
    write_small(tmp_path, SHORT)
    (tmp_path / "script.py").write_text(first + SCRIPT)
    done = python("script.py", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["begun __main__", "2"]), done.stderr


PLUGIN = """import sweepstake as ss
print("begun", __name__)

@ss.init
def foreign_own(normal):
    \"\"\"Mine (Me 2026).\"\"\"
    return normal

"""
GUARDED = 'if __name__ == "__main__":\n    print(len(ss.run_study("small.toml", store="runs", workers=1, progress=False).rows()))\n'


@pytest.mark.parametrize("call", ['ss.run_study("small.toml", store="runs")', *(pytest.param(each, marks=pytest.mark.long) for each in (
    'ss.load_study("small.toml")', 'ss.run_study(ss.load_study("demo"))'))])
def test_a_plug_in_that_runs_or_reads_a_study_is_told_to_guard_it(tmp_path: Path, call: str):
    write_small(tmp_path, f'plugins = ["script.py"]\n{SHORT}'.replace('["xavier_normal", "kaiming_normal"]', '"foreign_own"'))
    (tmp_path / "script.py").write_text(PLUGIN + call + "\n")
    done = python("-m", "sweepstake", "run", "small.toml", "--workers", 1, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "begun sweepstake_plugin_script\n")
    caller = "small.toml: load_study" if "small" in call else "run_study"
    assert done.stderr.splitlines()[-1] == (f'small.toml: plugins: {tmp_path / "script.py"}:9: {caller} was called while script.py was loaded as '
                                            'a plug-in. Put the call there under `if __name__ == "__main__":`.')
    done = python("script.py", cwd=tmp_path)
    assert ("Put the call there under" in done.stderr) == ("small" in call)


def test_a_guarded_script_may_be_its_studys_plug_in(tmp_path: Path):
    write_small(tmp_path, f'plugins = ["script.py"]\n{SHORT}'.replace('["xavier_normal", "kaiming_normal"]', '"foreign_own"'))
    (tmp_path / "script.py").write_text(PLUGIN + GUARDED)
    done = python("script.py", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0], done.stdout.splitlines()[-1]) == (0, "begun __main__", "1"), done.stderr


def test_a_study_run_in_a_worker_of_a_pool_is_told_so_in_one_line(tmp_path: Path):
    write_small(tmp_path, SHORT)
    (tmp_path / "script.py").write_text("import multiprocessing as mp\nimport sweepstake as ss\ndef f(_):\n"
                                        '    ss.run_study("small.toml", store="runs", progress=False)\n'
                                        'if __name__ == "__main__":\n    with mp.get_context("spawn").Pool(1) as pool:\n        pool.map(f, [1])\n')
    done = python("script.py", cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith("sweepstake.base.errors.UserError: run_study: was called in a daemonic process")
