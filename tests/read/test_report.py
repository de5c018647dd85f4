"""The page says what ran, what was found and what is missing, and holds no foreign markup."""

import io
import re

import pytest
from rich.console import Console

from sweepstake.base.specs import ClaimSpec, FigureSpec
from sweepstake.read import analysis
from sweepstake.read.report import terminal_table, write_report
from tests.read.fakes import FakeStudy, fake_results

CLAIM = ClaimSpec(says="Winning tickets exist at 51 %.", test="matches_dense", kept=0.51, margin=0.02, source="par. 2")


ONE = [FigureSpec()]


def page(tmp_path, **changes):
    study = FakeStudy(claims=[CLAIM], **changes)
    results = fake_results(study.axes, seeds=3, rounds=4)
    return study, results, write_report(study, results, tmp_path).read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, page(folder)[2]


def test_the_page_and_what_lies_beside_it(whole):
    folder, _ = whole
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        *(f"figures/{name}.{kind}" for name in ("1-accuracy_by_kept", "2-learning_curves", "3-early_stop_by_kept")
          for kind in ("pdf", "svg")),
        "report.html", "rows.csv", "verdicts.json"]


def test_sections_come_in_the_order_a_reader_asks(whole):
    assert re.findall(r'<section id="(\w+)"', whole[1]) == ["claims", "figures", "numbers", "checks", "reading", "provenance", "study"]


def test_the_verdict_and_its_numbers_are_there(whole):
    assert "Winning tickets exist at 51 %." in whole[1] and "✓ supported" in whole[1]


def test_text_from_the_study_cannot_become_markup(whole):
    assert "<b>not markup</b>" not in whole[1] and "&lt;b&gt;not markup&lt;/b&gt;" in whole[1]
    assert whole[1].count("<script") == whole[1].count("</script>")


def test_the_page_asks_for_nothing_from_anywhere(whole):
    assert "default-src 'none'" in whole[1]
    assert not re.search(r"<(?:link|img|iframe|script)[^>]+(?:src|href)=", whole[1].split("<script>")[0])


def test_a_whole_run_carries_no_warning_and_a_reduced_one_does(whole, tmp_path):
    assert 'role="alert"' not in whole[1]
    _, _, text = page(tmp_path, figures=ONE, quick=True, overrides=["rounds=4"])
    assert "Quick run" in text and "rounds=4" in text and 'role="alert"' in text


def test_missing_failed_and_diverged_cells_are_said_first(tmp_path):
    study = FakeStudy(figures=ONE)
    results = fake_results(study.axes, seeds=3, rounds=2)
    results[0] |= {"status": "missing", "rounds": []}
    results[1] |= {"status": "failed", "error": "BrokenControl: fc1 keeps <3>"}
    results[2] |= {"status": "diverged"}
    results[2]["rounds"][2] |= {"diverged": True}
    text = write_report(study, results, tmp_path).read_text()
    for said in ("1 of 6 cells not finished", "1 of 6 cells failed", "1 of 6 cells diverged", "BrokenControl: fc1 keeps &lt;3&gt;"):
        assert said in text


def test_a_study_that_has_not_started_still_has_a_page(tmp_path):
    study = FakeStudy(claims=[CLAIM])
    results = [{**result, "status": "missing", "rounds": []} for result in fake_results(study.axes, seeds=1)]
    assert "No round has finished yet" in write_report(study, results, tmp_path).read_text()


def test_the_same_results_give_the_same_page(tmp_path):
    assert page(tmp_path / "a", figures=ONE)[2] == page(tmp_path / "b", figures=ONE)[2]


def test_the_terminal_table_fits_80_columns_and_shows_the_mean():
    study = FakeStudy()
    rows = analysis.tidy(fake_results(study.axes, seeds=3, rounds=10))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(study, rows))
    text = console.export_text()
    dense = analysis.summarise(rows, ["init"])[0]
    assert max(map(len, text.splitlines())) <= 80
    assert f"{100 * dense['mean']:.1f} ±{100 * dense['std']:.1f}" in text and "kaiming_normal" in text and "10.7 %" in text
