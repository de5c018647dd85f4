"""Machine code on disk is that of the sources as they are."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sweepstake

TINY = '''
import numpy as np

from sweepstake.engine.kernels.activations import lowest
from sweepstake.engine.kernels.cache import are_warm, compiled


@compiled()
def least():
    return lowest(np.float32(0))


warm = are_warm(least)
print(least(), warm, are_warm(least), sum(least.stats.cache_hits.values()), sum(least.stats.cache_misses.values()))
'''
"""A kernel in the folder, of a helper in another file; it prints its number, and whether it was compiled."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package's kernels in a folder of their own, with one more."""
    for folder in (".", "engine"):
        (tmp_path / "sweepstake" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sweepstake" / folder / "__init__.py").write_text("")
    source = Path(sweepstake.__file__).parent / "engine" / "kernels"
    kernels = tmp_path / "sweepstake" / "engine" / "kernels"
    shutil.copytree(source, kernels, ignore=shutil.ignore_patterns("__pycache__"))
    (kernels / "tiny.py").write_text(TINY)
    return tmp_path


def printed(copy: Path, **environment: str) -> tuple[float, list[str]]:
    given = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    home = {"PYTHONPATH": str(copy), "HOME": str(copy / "home"), "XDG_CACHE_HOME": str(copy / "home")}
    done = subprocess.run([sys.executable, "-B", "-c", "import sweepstake.engine.kernels.tiny"], cwd=copy,
                          env={**given, **home, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number, *rest = done.stdout.split()
    return float(number), rest


COMPILED, READ = ["False", "True", "0", "1"], ["True", "True", "1", "0"]


def test_an_edit_in_any_file_of_the_folder_is_compiled_and_then_read_and_no_files_pile_up(copy):
    kernels = copy / "sweepstake" / "engine" / "kernels"
    helper = kernels / "activations.py"
    assert printed(copy) == (pytest.approx(-3.4e38), COMPILED)
    assert printed(copy) == (pytest.approx(-3.4e38), READ)
    files = sorted(path.name for path in kernels.glob("__pycache__/*.nb?"))
    assert len(files) == 2
    helper.write_text(helper.read_text().replace("3.4e38", "3.3e38"))
    assert printed(copy) == (pytest.approx(-3.3e38), COMPILED)
    assert printed(copy) == (pytest.approx(-3.3e38), READ)
    (kernels / "tiny.py").write_text("# Every line one further down.\n" + TINY)
    assert printed(copy) == (pytest.approx(-3.3e38), COMPILED)
    assert sorted(path.name for path in kernels.glob("__pycache__/*.nb?")) == files
    inside = kernels / "conv" / "where.py"
    inside.write_text(inside.read_text() + "# One line more, in a folder inside.\n")
    assert printed(copy) == (pytest.approx(-3.3e38), COMPILED)


def test_in_a_folder_that_cannot_be_written_the_users_cache_serves_and_without_one_nothing_is_kept(copy):
    no_folder = copy / "sweepstake" / "engine" / "kernels" / "__pycache__"
    no_folder.write_text("Nobody can write here, not even root.")
    assert printed(copy) == (pytest.approx(-3.4e38), COMPILED)
    assert printed(copy) == (pytest.approx(-3.4e38), READ)
    assert len(list((copy / "home").rglob("*.nbc"))) == 1
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    for _ in range(2):
        assert printed(copy, **nowhere) == (pytest.approx(-3.4e38), ["False", "False", "0", "1"])
