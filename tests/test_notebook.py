"""The door for Python, in a real notebook kernel."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.small import SMALL_TOML

ROOT = Path(__file__).parents[1]

CODE = """import sweepstake as ss
results = ss.run_study("small.toml", store="runs", workers=1)
results.frame().groupby("init").test_accuracy.mean().round(2)"""


def test_a_notebook_shows_a_bar_that_reaches_the_end_and_gives_a_frame(tmp_path, monkeypatch):
    (tmp_path / "small.toml").write_text(SMALL_TOML)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])

    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()

    shown = book.cells[0].outputs
    bars = [output.data["text/html"] for output in shown if "<progress" in output.get("data", {}).get("text/html", "")]
    assert len(bars) == 1
    assert 'max="12" value="12.00"' in bars[0]
    assert "4 of 4 cells · 12 of 12 rounds" in bars[0]
    assert "kaiming_normal" in shown[-1].data["text/plain"]
