"""What a notebook holds: read from where it was written, reported where the command would."""

from dataclasses import replace
from pathlib import Path

import pytest

import sweepstake as ss
from sweepstake.base.errors import UserError
from sweepstake.read import figures, report
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
    monkeypatch.setattr(report, "page", lambda study, results, *_, **how: f"{len(results)} cells")  # Where they lie is tested, not what they say.
    monkeypatch.setattr(figures, "to_pdf", lambda *_: None)
    whole = ss.load_results("small.toml", "kept").report()
    before = whole.read_bytes()
    quick = ss.load_results(ss.load_study("small.toml", quick=True), "kept").report()
    changed = ss.load_results(ss.load_study("small.toml", overrides=["seeds=1"]), "kept").report()
    assert (str(whole), str(quick)) == ("reports/small/report.html", "reports/small-quick/report.html")
    assert len({whole, quick, changed}) == 3
    assert whole.read_bytes() == before


def test_results_study_and_ticket_are_told_in_a_line(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    results = ss.load_results("small.toml")
    assert repr(results) == "Results of small: 4 of 4 cells done; 12 rounds; fast 1"
    assert repr(results.study) == "Study small: 2 init x 2 seeds = 4 cells"
    assert repr(ss.load_study("small.toml", quick=True)) == "Study small with --quick: 2 init x 1 seeds = 2 cells"
    assert repr(results.ticket(init="xavier_normal", seed=0)) == "Ticket: 568 of 888 weights in 2 layers, 63.96 %; holds the initial weights"
    assert repr(ss.Ticket({}, {}, {})) == "Ticket: 0 of 0 weights in 0 layers; holds the initial and trained weights"
    found = ss.load_results(ss.load_study("small.toml", overrides=["seeds=3"]), "kept")
    assert repr(found) == "Results of small: 4 of 6 cells done, 2 missing; 12 rounds; fast 1"


def test_a_notebook_shows_a_small_table_without_foreign_markup(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    results = ss.load_results("small.toml")
    html = results._repr_html_()
    assert html.startswith("<table><caption>Small</caption><tr><th>study</th><td>small</td></tr><tr><th>cells</th><td>4 of 4 cells done</td></tr>")
    assert "<tr><th>init</th><td>xavier_normal, kaiming_normal</td></tr><tr><th>seeds</th><td>0, 1</td></tr>" in html
    foreign = replace(results.study, title="<script>x</script>", axes={"lr": [f"{place}" for place in range(5000)]})
    html = replace(results, study=foreign)._repr_html_()
    assert "<script>" not in html and "10, 11 and 4,988 more" in html and len(html) < 1000


def test_tables_are_data_frames(home: Path, monkeypatch: pytest.MonkeyPatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(home)
    results = ss.load_results("small.toml")
    summary, smallest = results.summary(), results.smallest_ticket()
    assert list(summary["init"]) == ["xavier_normal", "kaiming_normal"] and list(summary["n"]) == [2, 2]
    assert list(smallest.columns) == ["id", "init", "seed", "kept_fraction", "round", "test_accuracy", "dense_test_accuracy"]
    rows = results.frame()
    for one in smallest.itertuples():
        own = rows[rows["id"] == one.id]
        winning = own[own.test_accuracy >= own.test_accuracy.iloc[0]]
        assert (one.kept_fraction, one.dense_test_accuracy) == (winning.kept_fraction.min(), own.test_accuracy.iloc[0])
        assert one.test_accuracy == winning.test_accuracy.iloc[-1]
    both = results.compare({"init": "xavier_normal"}, {"init": "kaiming_normal"})
    assert list(both.kept_fraction.round(2)) == [1.0, 0.8, 0.64] and list(both.n) == [2, 2, 2]
    means = rows.groupby(["init", "round"]).test_accuracy.mean().unstack(0)
    assert list(both.difference) == pytest.approx(list(means.xavier_normal - means.kaiming_normal))
    assert {type(each) for each in (summary, smallest, rows, both)} == {pandas.DataFrame}
    assert rows.validation_loss.dtype == float  # There is no validation split: a column of NaN, not of None.
