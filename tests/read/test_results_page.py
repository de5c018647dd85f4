"""docs/results.md against the table it describes."""

import re
from pathlib import Path

from sweepstake.read import analysis
from sweepstake.run import store
from tests.read.fakes import fake_results

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
COLUMNS = re.findall(r"^\| `([a-z0-9_.<>]+)` \|", PAGE, re.MULTILINE)


def pattern(column):
    column = re.sub(r"^((?:in|out)_degree)\..+$", r"\1.<layer>.<summary>", column)
    return re.sub(r"^seconds\..+$", "seconds.<part>", re.sub(r"^(kept|size|units|alive_units)\..+$", r"\1.<layer>", column))


def test_every_column_of_the_tidy_table_is_described_in_its_order_and_no_other():
    rows = analysis.tidy(fake_results({}, seeds=1, rounds=1), timing=True)
    assert list(dict.fromkeys(map(pattern, rows[0]))) == COLUMNS


def test_every_file_of_the_store_is_described():
    files = re.findall(r"^    (STORE/\S+)", store.__doc__, re.MULTILINE)
    assert len(files) == 12 and [file for file in files if f"`{file}`" not in PAGE] == []


def test_the_example_runs_on_the_table_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = analysis.tidy(fake_results({"init": ["a", "b"]}, seeds=2, rounds=2))
    Path("demo.csv").write_text(analysis.to_csv(rows))
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], {})
    assert "mean" in capsys.readouterr().out
