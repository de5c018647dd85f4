"""What a notebook holds: read from where it was written, reported where the command would."""

from pathlib import Path

import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from tests.small import SMALL_TOML, write_small

STORED = SMALL_TOML + '\n[machine]\nstore = "kept"\nworkers = 1\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small study in it, run by its own `[machine]` store, quick and not."""
    folder = tmp_path_factory.mktemp("home")
    write_small(folder, STORED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ss.run_study("small.toml", progress=False)
    return folder


def test_results_are_read_from_the_studys_own_store(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    assert not (home / "runs").exists()
    assert [cell["status"] for cell in ss.load_results("small.toml").cells] == ["done"] * 4
    assert ss.load_results("small.toml", "kept").rows() == ss.load_results("small.toml").rows()
    with pytest.raises(UserError, match='store "runs": nothing is there yet'):
        ss.load_results("small.toml", "runs")


def test_a_quick_or_changed_report_replaces_no_other(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    whole = ss.load_results("small.toml", "kept").report()
    before = whole.read_bytes()
    quick = ss.load_results(ss.load_study("small.toml", quick=True), "kept").report()
    changed = ss.load_results(ss.load_study("small.toml", overrides=["seeds=1"]), "kept").report()
    assert (str(whole), str(quick)) == ("reports/small/report.html", "reports/small-quick/report.html")
    assert len({whole, quick, changed}) == 3
    assert whole.read_bytes() == before
