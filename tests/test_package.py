"""The wheel, as somebody else gets it, and its names, as a type checker sees them."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from inspect import signature
from pathlib import Path

import pytest

import sweepstake as ss

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
def test_a_wheel_runs_the_demo_in_an_empty_environment_outside_the_checkout(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, cwd=ROOT)
    wheel = next(tmp_path.glob("sweepstake-*.whl"))
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    # The dependencies without the network: a path entry, so that no editable install of this checkout comes along.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    where = run(python, "-c", "import sweepstake; print(sweepstake.__file__)", cwd=elsewhere).strip()
    report = run(tmp_path / "env" / "bin" / "sweepstake", "run", "demo", "--quick", cwd=elsewhere).strip()

    assert where.startswith(str(site))
    assert (site / "sweepstake" / "py.typed").is_file()
    assert (elsewhere / report).stat().st_size > 100_000


USER = """from typing import assert_type

import sweepstake as ss

results = ss.load_results("demo")
assert_type(results.ticket(seed=0), ss.Ticket)
assert_type(ss.UserError("no").problems, tuple[str, ...])
ss.no_such_name
"""


def test_a_type_checker_knows_every_public_name_and_no_other(tmp_path):
    named = "".join(f"print(ss.{name})\n" for name in ss.__all__)
    (tmp_path / "user.py").write_text(USER + named)
    settings = {"include": ["user.py"], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict", "reportMissingTypeStubs": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run([sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable], cwd=tmp_path,
                          capture_output=True, text=True, timeout=120)
    found = [(each["range"]["start"]["line"], each["rule"]) for each in json.loads(done.stdout)["generalDiagnostics"]]
    line = USER.splitlines().index("ss.no_such_name")
    assert found == [(line, "reportUnknownMemberType"), (line, "reportAttributeAccessIssue")]


@pytest.mark.parametrize("name", ["frame", "summary", "smallest_ticket", "compare"])
def test_tables_are_typed_as_data_frames(name):
    assert signature(getattr(ss.Results, name)).return_annotation == "DataFrame"
