"""The page says what ran, what was found and what is missing, and holds no foreign markup."""

import html
import io
import re

import pytest
import torch
from rich.console import Console

from sweepstake.base.specs import ClaimSpec, FigureSpec
from sweepstake.read import analysis
from sweepstake.read.page import charts
from sweepstake.read.page.document import page as page_of
from sweepstake.read.report import terminal_table, write_report
from sweepstake.run import opened, run
from sweepstake.run.store import Store
from tests.read.fakes import FakeStudy, fake_results, scheduled
from tests.small import small_study

CLAIM = ClaimSpec(says="Winning tickets exist at 51 %.", test="matches_dense", kept=0.51, margin=0.02, source="par. 2")


ONE = [FigureSpec()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, study = tmp_path_factory.mktemp("report"), FakeStudy(claims=[CLAIM])
    return folder, write_report(study, fake_results(study.axes, seeds=3, rounds=4), folder).read_text()


@pytest.fixture(autouse=True)
def without_stills(whole, monkeypatch):
    """What is tested here is said in words: pictures, which take longest to make, are on the whole page alone."""
    monkeypatch.setattr(charts, "_still", lambda *_: "")


def test_the_page_and_what_lies_beside_it(whole):
    folder, _ = whole
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        *(f"figures/{name}.{kind}" for name in ("1-accuracy_by_kept", "2-learning_curves", "3-early_stop_by_kept")
          for kind in ("pdf", "svg")),
        "report.html", "rows.csv", "summary.csv", "verdicts.json"]


def test_a_still_says_numbers_as_they_are(monkeypatch):
    monkeypatch.undo()
    rates = ["0.0002", "0.00043", "0.002"]
    study = FakeStudy(axes={"lr": rates}, figures=ONE)
    still = re.findall(r'<div class="still"[^>]*>.*?</svg>', page_of(study, fake_results(study.axes, seeds=2, rounds=2)), re.DOTALL)[0]
    assert set(rates) <= set(re.findall(r">([^<>]+)<", still))
    assert not re.search(r'="[^"]*\.\d{3}', still)


def test_sections_come_in_the_order_a_reader_asks(whole):
    assert re.findall(r'<section id="([\w-]+)"', whole[1]) == [
        "answer", "main-figure", "claims", "figures", "robustness", "numbers", "survive", "run-list", "cost", "plan", "checks", "reading",
        "provenance", "study"]


def test_the_verdict_and_its_numbers_are_there(whole):
    assert "Winning tickets exist at 51 %." in whole[1] and "✓ supported" in whole[1]


def test_a_contradicted_claim_reads_as_claimed_and_stands_beside_what_was_found():
    claim = ClaimSpec(says="Xavier ends 30 points above Kaiming.", test="better", margin=0.3, this={"init": "xavier_normal"},
                      than={"init": "kaiming_normal"})
    study = FakeStudy(claims=[claim, CLAIM])
    text = page_of(study, fake_results(study.axes, seeds=3, rounds=4))
    assert re.search(r"<b>Claimed:</b> Xavier ends 30 points above Kaiming\. <b>Found:</b> (not so much|the opposite), [+-]\d+\.\d\d points\.", text)
    assert text.split('id="claims"')[1].split("</section>")[0].count("<b>Claimed:</b>") == 1


def test_text_from_the_study_cannot_become_markup(whole):
    assert "<b>not markup</b>" not in whole[1] and "&lt;b&gt;not markup&lt;/b&gt;" in whole[1]
    assert whole[1].count("<script") == whole[1].count("</script>")


def test_the_page_asks_for_nothing_from_anywhere(whole):
    assert "default-src 'none'" in whole[1]
    assert not re.search(r"<(?:link|img|iframe|script)[^>]+(?:src|href)=", whole[1].split("<script>")[0])


def test_a_whole_run_carries_no_warning_and_a_reduced_one_does(whole):
    assert 'role="alert"' not in whole[1]
    study = FakeStudy(figures=ONE, quick=True, overrides=["rounds=4"])
    text = page_of(study, fake_results(study.axes, seeds=3, rounds=4))
    assert "Quick run" in text and "rounds=4" in text and 'role="alert"' in text


def test_missing_failed_and_diverged_cells_are_said_first():
    study = FakeStudy(figures=ONE)
    results = fake_results(study.axes, seeds=3, rounds=2)
    results[0] |= {"status": "missing", "rounds": []}
    results[1] |= {"status": "failed", "error": "BrokenControl: fc1 keeps <3>"}
    results[2] |= {"status": "diverged"}
    results[2]["rounds"][2] |= {"diverged": True}
    text = page_of(study, results)
    for said in ("1 of 6 cells not finished", "1 of 6 cells failed", "1 of 6 cells diverged", "BrokenControl: fc1 keeps &lt;3&gt;"):
        assert said in text


def test_a_study_that_has_not_started_still_has_a_page():
    study = FakeStudy(claims=[CLAIM])
    results = [{**result, "status": "missing", "rounds": []} for result in fake_results(study.axes, seeds=1)]
    assert "No round has finished yet" in page_of(study, results)


def test_the_same_results_give_the_same_page(whole, monkeypatch):
    monkeypatch.undo()
    study = FakeStudy(claims=[CLAIM])
    assert page_of(study, fake_results(study.axes, seeds=3, rounds=4)) == whole[1]


def test_the_terminal_table_fits_80_columns_and_shows_the_mean():
    study = FakeStudy()
    rows = analysis.tidy(fake_results(study.axes, seeds=3, rounds=10))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(study, rows))
    text = console.export_text()
    dense = analysis.summarise(rows, ["init"])[0]
    assert max(map(len, text.splitlines())) <= 80
    assert f"{100 * dense['mean']:.1f} ±{100 * dense['std']:.1f}" in text and "kaiming_normal" in text and "10.7 %" in text


def test_the_table_says_how_many_levels_it_leaves_out():
    study = FakeStudy()
    told = printed(study, fake_results(study.axes, seeds=3, rounds=10))
    assert "5 of 11 levels shown; all in rows.csv" in told
    assert "shown" not in printed(study, fake_results(study.axes, seeds=3, rounds=3))


SHARED = {"iterative": [1, 0.978, 0.334, 0.3], "one_shot": [1, 0.334], "units": [1, 0.739]}
APART = {"layers": [1, 0.8, 0.64, 0.512], "everywhere": [1, 0.739, 0.55, 0.41], "units": [1, 0.704, 0.5, 0.35]}


def printed(study, results, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(study, analysis.tidy(results), width))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    return text


def cells_of(text, group):
    line = next(line for line in text.splitlines() if line.startswith(f"│ {group}"))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_a_number_stands_only_under_the_level_where_it_was_measured():
    schedules = {"iterative": [1, 0.95, 0.91, 0.88], "one_shot": [1, 0.91]}
    text = printed(FakeStudy(axes={"how": list(schedules)}), scheduled(schedules))
    assert re.findall(r"[\d.]+ %", next(line for line in text.splitlines() if "┃" in line)) == ["100 %", "95 %", "91 %", "88 %"]
    assert cells_of(text, "one_shot") == ["80.0 ±0.0", "–", "79.0 ±0.0", "–"]
    assert cells_of(text, "iterative") == ["90.0 ±0.0", "89.0 ±0.0", "88.0 ±0.0", "87.0 ±0.0"]


def test_levels_within_2_percent_of_each_other_are_one_column():
    schedules = {"a": [1, 0.5], "b": [1, 0.495]}
    assert cells_of(printed(FakeStudy(axes={"how": ["a", "b"]}), scheduled(schedules)), "b") == ["80.0 ±0.0", "79.0 ±0.0"]


def test_the_levels_where_groups_end_are_shown_before_those_between():
    text = printed(FakeStudy(axes={"how": ["long", "one_shot"]}), scheduled({"long": [0.8**r for r in range(16)], "one_shot": [1, 0.41]}))
    assert cells_of(text, "one_shot") == ["80.0 ±0.0", "79.0 ±0.0", "–", "–", "–"] and "5 of 16 levels shown" in text


def test_groups_of_few_shared_levels_are_shown_by_round_each_number_under_its_own_kept_fraction():
    study = FakeStudy(axes={"how": list(APART)})
    text = printed(study, scheduled(APART))
    assert "by round" in text and "round 1" in text and "levels" not in text
    assert cells_of(text, "everywhere") == ["100 %:", "73.9 %:", "55 %:", "41 %:"]
    assert [text.count(number) for number in ("79.0 ±0.0", "73.9 %", "80 %")] == [1, 1, 1]


def test_two_rounds_at_one_level_are_both_shown_by_round():
    text = printed(FakeStudy(axes={"how": ["a"]}), scheduled({"a": [1, 0.995, 0.5]}))
    assert cells_of(text, "a") == ["100 %:", "99.5 %:", "50 %:"]


def test_the_page_shows_no_number_under_a_level_where_it_was_not_measured():
    study = FakeStudy(axes={"how": list(SHARED)}, figures=ONE)
    text = page_of(study, scheduled(SHARED))
    assert re.findall(r'<th class="n">([\d.]+ %)</th>', text) == ["100 %", "97.8 %", "73.9 %", "33.4 %", "30 %"]
    units = text.split('id="numbers"')[1].split("<td>units</td>")[1].split("</tr>")[0]
    assert re.findall(r'<td class="n">([\d.–]+) ', units) == ["70.00", "–", "69.00", "–", "–"]


def test_the_page_says_by_round_and_how_many_are_left_out():
    long = {name: [base**r for r in range(10)] for name, base in (("a", 0.8), ("b", 0.7), ("c", 0.6))}
    text = page_of(FakeStudy(axes={"how": list(long)}, figures=ONE), scheduled(long))
    assert "by round, each under its weights remaining" in text and "7 of 10 rounds shown" in text
    assert '<th class="n">round 9</th>' in text and '<small>34.3 %</small><br>77.00' in text


def test_without_an_axis_the_row_is_named_by_the_study():
    study, results = FakeStudy(axes={}, figures=ONE), fake_results({}, seeds=3, rounds=2)
    text, page_ = printed(study, results), page_of(study, results)
    assert cells_of(text, "prune-ready")[0].startswith("95.") and "│ all" not in text and "group" not in text
    assert "<td>prune-ready</td>" in page_ and "<th>study</th>" in page_


def test_the_command_it_names_runs_the_same_cells():
    study = FakeStudy(figures=ONE, quick=True, overrides=["lr=[0.1, 0.2]"])
    study.path = "my studies/fail.toml"
    results = fake_results(study.axes, seeds=3, rounds=1)
    results[0] |= {"status": "failed", "rounds": [], "error": "x"}
    results[1] |= {"status": "missing", "rounds": []}
    text = html.unescape(page_of(study, results))
    command = "sweepstake run 'my studies/fail.toml' --quick --set 'lr=[0.1, 0.2]'"
    assert f"<code>{command} --retry</code> (with the same --store, if any)" in text
    assert f"<code>{command}</code> (with the same --store, if any)" in text


def test_robustness_is_shown_with_the_best_first_and_lies_beside_the_page(tmp_path):
    study, results = FakeStudy(figures=ONE), fake_results({"init": ["xavier_normal", "kaiming_normal"]}, seeds=3, rounds=4)
    for result in results:
        for record in result["rounds"]:
            ahead = 0.001 * record["round"] if result["labels"]["init"] == "kaiming_normal" else -0.001 * record["round"]
            record["end"]["test"]["accuracy"] = 0.9 + ahead * (1 + result["seed"] / 10)
    text = write_report(study, results, tmp_path).read_text().split('id="robustness"')[1].split("</section>")[0]
    assert re.findall(r"<tr><td>(\w+)</td>", text) == ["kaiming_normal", "xavier_normal"]
    assert "from 100 % down to 41 %" in text and "3 of 3" in text and "0 of 3" in text and "p = " in text
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert lines[0].startswith("init,n,diverged,dense,smallest_winning,smallest_winning_low") and len(lines) == 3


def test_a_study_that_prunes_nothing_shows_no_robustness():
    study = FakeStudy(figures=ONE)
    assert 'id="robustness"' not in page_of(study, fake_results(study.axes, seeds=3, rounds=0))


def test_a_kept_fraction_says_of_what_and_of_whom_where_networks_differ():
    study = FakeStudy()
    results = fake_results(study.axes, seeds=2, rounds=2)
    for result in results:
        mixed = result["labels"]["init"] == "kaiming_normal"
        for record in result["rounds"]:
            record["unpruned"] = {"mix.weight": {"size": 1024, "why": "Scaled", "counted": False}} if mixed else {}
    said = page_of(study, results)
    assert "Weights remaining (xavier_normal) are of the 266,200 weights in its layers." in said
    assert ("Weights remaining (kaiming_normal) are of the 266,200 weights in its layers; neither counted nor pruned: "
            "mix.weight 1,024 (Scaled).") in said


def test_a_page_is_made_of_a_study_and_its_results_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = FakeStudy(claims=[CLAIM], figures=ONE)
    results = fake_results(study.axes, seeds=3, rounds=4)
    alone = page_of(study, results)
    assert list(tmp_path.iterdir()) == []
    assert write_report(study, results, tmp_path / "r").read_text() == alone


def test_a_page_of_begun_cells_shows_the_rounds_that_they_have_finished(tmp_path):
    """Of the small study's four cells one has finished two rounds of three; a report, which waits for whole cells, has none of it."""
    study = small_study(init=["xavier_normal", "kaiming_normal"], figure=[{"kind": "accuracy_by_kept"}])
    whole = run.run_study(study, tmp_path / "whole", workers=1)
    store, first = Store(tmp_path / "begun"), whole[0]
    store.begin(first["id"], study.cells[0])
    store.save_state(first["id"], first["rounds"][:2], {"w": torch.zeros(1)}, {})
    live, waiting = opened.load_results(study, store, begun=True), opened.load_results(study, store)
    assert [(one["status"], one["rounds"]) for one in live] == [("begun", first["rounds"][:2])] + [("missing", [])] * 3
    assert [(one["status"], one["rounds"]) for one in waiting] == [("missing", [])] * 4
    assert opened.load_results(study, tmp_path / "whole", begun=True) == whole
    assert "accuracy against weights remaining" in page_of(study, live).split('<section id="main-figure"')[1]
    assert "No round has finished yet" in page_of(study, waiting)
