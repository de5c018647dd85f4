"""What is published from a store, and the page that is made of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec
from sweepstake.read import analysis, claims, figures, findings, publish, summary
from tests.read.fakes import FakeStudy, fake_results

pytest.importorskip("pyarrow")

AXES = {"init": ["xavier_normal", "kaiming_normal"]}
PAIR: dict[str, Any] = {"this": {"init": "xavier_normal"}, "than": {"init": "kaiming_normal"}, "kept": 0.0352}
CLAIMS = [
    ClaimSpec(name="a", says="At 41 % the ticket | matches its network.", test="matches_dense", kept=0.41, margin=0.02, source="Nobody 1900, fig. 3"),
    ClaimSpec(name="b", says="Xavier ends 30 points above Kaiming.", test="better", margin=0.3, **PAIR),
    ClaimSpec(name="c", says="Never measured.", test="about", value=0.9, margin=0.1, kept=0.001),
]
FIGURES = [FigureSpec(title="How far it can be pruned"), FigureSpec(kind="learning_curves")]


def made_up(name: str = "demo", **changes: Any) -> FakeStudy:
    return FakeStudy(**{"name": name, "axes": AXES, "claims": CLAIMS, "figures": FIGURES, **changes})


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    found = fake_results(AXES, seeds=4)
    for number, result in enumerate(found):
        result["provenance"] = {"machine": {"processor": "a CPU", "cores": 2, "system": "any"}, "versions": {"torch": "2.0", "scipy": "1.0"},
                                "engine": "fast", "seconds": 9.0, "finished": f"2020-01-0{1 + number % 3}T10:00:00+00:00"}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, results: list[dict[str, Any]]) -> Path:
    return publish.publish(made_up(), results, tmp_path_factory.mktemp("results") / "demo")


def test_the_same_results_give_the_same_bytes(folder: Path, results: list[dict[str, Any]], tmp_path: Path):
    again = written(publish.publish(made_up(), results, tmp_path))

    assert again == written(folder)
    assert list(again) == ["figures/1-accuracy_by_kept.svg", "figures/2-learning_curves.svg", "provenance.json", "rows.csv", "rows.parquet",
                           "summary.json", "verdicts.json", "verdicts.md"]


def test_the_rows_are_the_tidy_table_in_both_files(folder: Path, results: list[dict[str, Any]]):
    import pyarrow.parquet as parquet

    rows = analysis.tidy(results, timing=True)
    assert parquet.read_table(folder / "rows.parquet").to_pylist() == rows
    assert (folder / "rows.csv").read_text() == analysis.to_csv(rows)
    assert "seconds.train" in rows[0]


def test_verdicts_judged_again_from_the_published_rows_are_the_same_bytes(folder: Path, tmp_path: Path):
    import shutil

    shutil.copytree(folder, tmp_path / "demo")
    for name in ("verdicts.json", "verdicts.md", "summary.json"):
        (tmp_path / "demo" / name).write_text("of another judge")
    publish.judge_again(made_up(), tmp_path / "demo")

    assert written(tmp_path / "demo") == written(folder)


def test_rows_too_many_for_csv_are_parquet_alone(folder: Path, results: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    publish.publish(made_up(), results, tmp_path)
    monkeypatch.setattr(publish, "SMALL", 1000)
    publish.publish(made_up(), results, tmp_path)

    assert not (tmp_path / "rows.csv").exists()
    assert (tmp_path / "rows.parquet").read_bytes() == (folder / "rows.parquet").read_bytes()


def test_verdicts_are_those_of_the_judge_with_their_numbers_as_shown(folder: Path, results: list[dict[str, Any]]):
    told = json.loads((folder / "verdicts.json").read_text())
    judged = claims.table(claims.judge(made_up(), analysis.tidy(results)))

    assert [{key: one[key] for key in judged[0]} for one in told] == judged
    assert [one["verdict"] for one in told] == ["supported", "contradicted", "undecided"]
    assert {"claim", "says", "verdict", "effect", "low", "high", "n"} <= set(told[0])


def test_the_table_of_verdicts_reads_as_one_row_a_claim(folder: Path):
    text = (folder / "verdicts.md").read_text()
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]

    assert {len(row) for row in rows} == {7}
    assert [row[3].strip() for row in rows[2:5]] == ["✓ supported", "✗ contradicted", "? undecided"]
    assert re.fullmatch(r" [+-]\d+\.\d\d points \([+-]\d+\.\d\d to [+-]\d+\.\d\d\) ", rows[2][4])
    assert rows[4][4:6] == [" – ", " 0 "]
    assert "matches \\| its" not in text and "ticket \\| matches" in text
    assert "- **c**: No round with about 0.1 % of the weights was measured" in text
    assert "(Nobody 1900, fig. 3)" in text


def test_the_summary_of_each_group_is_a_table_the_most_robust_first(folder: Path, results: list[dict[str, Any]], tmp_path: Path):
    told = json.loads((folder / "summary.json").read_text())
    text = (folder / "verdicts.md").read_text().partition("Smallest winning ticket: ")[2]
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]

    assert told == json.loads(json.dumps(summary.summarise(["init"], analysis.tidy(results))))
    assert [row[1].strip() for row in rows[2:]] == [one["init"] for one in sorted(told, key=lambda one: -one["robustness"])]
    assert {len(row) for row in rows} == {7} and re.fullmatch(r" [01]\.\d{4} \([01]\.\d{4} to [01]\.\d{4}\) ", rows[2][4])
    assert publish.summary_table(told).strip() in findings.page(folder.parent, tmp_path)
    assert publish.summary_table([{**one, "robustness": None} for one in told]) == ""


def test_corrected_p_values_have_a_column_where_there_are_any():
    one = {"claim": "a", "says": "x", "verdict": "supported", "shown": "+1", "range": "0, 2", "n": 5, "reason": "", "p_holm": 0.0123}

    assert "| p (Holm) |" in publish.verdict_table([one, {**one, "p_holm": None}])
    assert "| +1 (0 to 2) | 0.012 | 5 |" in publish.verdict_table([one])
    assert "| +1 (0 to 2) | – | 5 |" in publish.verdict_table([one, {**one, "p_holm": None}])
    assert "Holm" not in publish.verdict_table([{**one, "p_holm": None}])


def test_provenance_says_what_was_run_on_what_and_when(folder: Path, results: list[dict[str, Any]]):
    said = json.loads((folder / "provenance.json").read_text())
    seconds = [record["seconds"] for result in results for record in result["rounds"]]

    assert said["cells"] == {"planned": 8, "done": 8}
    assert (said["rounds"], said["rounds_a_cell"], said["seeds"], said["axes"]) == (128, [16], [0, 1, 2, 3], AXES)
    assert said["finished"] == ["2020-01-01T10:00:00+00:00", "2020-01-03T10:00:00+00:00"]
    assert said["made_by"] == [{"processor": "a CPU", "cores": 2, "torch": "2.0", "engine": "fast", "cells": 8}]
    assert said["study_sha256"] == publish.text_hash(made_up().text)
    assert said["seconds"]["training"] == pytest.approx(sum(s["train"] for s in seconds), abs=0.06)
    assert said["seconds"]["all"] == 8 * 9.0
    assert (said["whole"], said["command"]) == (True, "sweepstake publish demo")


@pytest.mark.parametrize(("changes", "status", "told"), [
    ({"quick": True}, None, "quick run, not the study's scale"), ({"overrides": ["seeds=2"]}, None, "--set seeds=2"),
    ({}, "missing", "1 of 8 cells missing"), ({}, "failed", "1 of 8 cells failed")])
def test_what_is_not_the_whole_study_is_refused_or_says_so_in_every_title(results: list[dict[str, Any]], tmp_path: Path, changes: dict[str, Any],
                                                                          status: str | None, told: str):
    found = [*results[:-1], {**results[-1], "status": status, "rounds": [], "provenance": {}}] if status else results
    study = made_up(title="In full", **changes)
    with pytest.raises(UserError, match=re.escape(told)):
        publish.publish(study, found, tmp_path / "demo")
    assert not list(tmp_path.iterdir())

    publish.publish(study, found, tmp_path / "demo", partial=True)
    said = json.loads((tmp_path / "demo" / "provenance.json").read_text())
    drawn = [path.read_text() for path in (tmp_path / "demo" / "figures").iterdir()]
    assert said["title"] == f"In full ({told})" and not said["whole"]
    assert (tmp_path / "demo" / "verdicts.md").read_text().startswith(f"# In full ({told})\n")
    assert len(drawn) == 2 and all(told in svg for svg in drawn)
    assert all(told in one["title"] for one in said["figures"])
    assert f"**In full ({told})**" in findings.page(tmp_path, tmp_path)
    assert f"[demo](#demo): In full ({told}) |" in findings.page(tmp_path, tmp_path)


def test_nothing_finished_is_never_published(results: list[dict[str, Any]], tmp_path: Path):
    nothing = [{**result, "status": "missing", "rounds": []} for result in results]
    with pytest.raises(UserError, match="no cell is finished"):
        publish.publish(made_up(), nothing, tmp_path, partial=True)


def test_diverged_cells_are_results_and_the_page_says_so(results: list[dict[str, Any]], tmp_path: Path):
    publish.publish(made_up(), [*results[:-1], {**results[-1], "status": "diverged"}], tmp_path / "demo")

    assert "**1 of 8 cells diverged" in findings.page(tmp_path, tmp_path)


def test_a_figure_that_is_no_more_goes_and_notes_stay(results: list[dict[str, Any]], tmp_path: Path):
    publish.publish(made_up(), results, tmp_path)
    (tmp_path / "notes.md").write_text("Ours.")
    publish.publish(made_up(figures=FIGURES[:1]), results, tmp_path)

    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["1-accuracy_by_kept.svg"]
    assert (tmp_path / "notes.md").read_text() == "Ours."


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.kind)
def test_a_slim_figure_draws_the_same_picture(results: list[dict[str, Any]], figure: FigureSpec):
    study = made_up()
    spec = figures.draw(figure, analysis.tidy(results), analysis.curves(results), study.axes)
    assert spec is not None
    whole = figures.to_svg(spec)
    slim = publish.slim(whole)

    def seen(svg: str) -> list[float]:
        paths = re.findall(r"<path[^>]*>", svg)
        drawn = [re.findall(r' d="([^"]*)"', path)[0] for path in paths if ' opacity="0"' not in path]
        return [float(number) for path in drawn for number in re.findall(r"-?\d+(?:\.\d+)?", path)]

    assert len(slim) < 0.7 * len(whole)
    assert len(seen(whole)) > 300 and seen(slim) == pytest.approx(seen(whole), abs=0.011)
    assert re.findall(r"<text.*?>(.*?)</text>", slim) == re.findall(r"<text.*?>(.*?)</text>", whole)
    assert ' opacity="0"' not in slim and "aria-" not in slim


def test_a_figure_too_large_for_a_page_is_refused(results: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(publish, "LARGEST", 5000)
    with pytest.raises(UserError, match=r"figure 1-accuracy_by_kept has [\d,]+ bytes"):
        publish.publish(made_up(), results, tmp_path)


# The page

MARKED = "above\n<!-- published: demo/figures/2-learning_curves.svg -->\nold\n<!-- /published -->\nbelow\n"


def test_the_page_tells_every_claim_then_each_study_with_its_notes_verbatim(folder: Path, tmp_path: Path):
    (folder / "notes.md").write_text("### Why\n\nBecause *so*.\n")
    try:
        page = findings.page(folder.parent, tmp_path)
    finally:
        (folder / "notes.md").unlink()
    over, _, section = page.partition("\n## demo\n")

    assert "1 study, 3 claims: 1 supported, 1 contradicted, 1 undecided." in over
    assert over.count("| [demo](#demo) |") == 3 and over.count("| Nobody 1900 |") == 1
    claimed = '- [demo](#demo) **b**. Claimed: "Xavier ends 30 points above Kaiming." Found: '
    assert re.search(re.escape(claimed) + r"(not so much|the opposite), [+-]\d", over.partition("## What did not hold")[2])
    assert "### Why\n\nBecause *so*.\n" in section
    assert publish.verdict_table(json.loads((folder / "verdicts.json").read_text())) in section
    assert "Run: 8 cells (2 init x 4 seeds), 16 rounds each; " in section
    assert "2020-01-01 to 2020-01-03; a CPU, torch 2.0" in section
    links = re.findall(r"\]\((?!#|study-file|statistics\.md|results\.md)([^)]+)\)", page)
    assert len(links) == 6 and all((tmp_path / link).exists() for link in links)


def test_a_second_run_beside_the_rows_is_judged_too_and_a_word_it_does_not_repeat_is_told(folder: Path, tmp_path: Path):
    """The same numbers but for Xavier's, which are 35 points higher: (b) is supported, where it was contradicted."""
    import csv
    import shutil

    shutil.copytree(folder, tmp_path / "demo")
    with (folder / "rows.csv").open(newline="") as file, (tmp_path / "demo" / "again.csv").open("w", newline="") as again:
        rows, table = csv.DictReader(file), csv.writer(again)
        table.writerow(["init", "seed", "round", "test_accuracy"])
        higher = {"xavier_normal": 0.35, "kaiming_normal": 0.0}
        table.writerows([one["init"], one["seed"], one["round"], float(one["test_accuracy"]) + higher[one["init"]]] for one in rows)
    publish.judge_again(made_up(), tmp_path / "demo")
    told = json.loads((tmp_path / "demo" / "verdicts.json").read_text())
    page = findings.page(tmp_path, tmp_path)

    assert [one["again"]["verdict"] for one in told] == ["supported", "supported", "undecided"]
    assert [one["verdict"] for one in told] == [one["verdict"] for one in json.loads((folder / "verdicts.json").read_text())]
    assert page.count("✗ contradicted (run again: supported)") == 2 and "run again: undecided" not in page
    assert f" Run again, supported: {told[1]['again']['effect']}." in page.partition("## What did not hold")[2].partition("## demo")[0]


def test_what_a_second_run_did_not_contradict_stands_last_among_what_did_not_hold(folder: Path):
    [study] = findings.published(folder.parent)
    again = {**study.verdicts[1], "claim": "g", "again": {"verdict": "undecided", "effect": "-1.00 points"}}
    lines = findings._contradicted([study._replace(verdicts=[again]), study]).splitlines()  # pyright: ignore[reportPrivateUsage]
    assert ["**b**" in line for line in lines] == [True, False] and lines[1].endswith("Run again, undecided: -1.00 points.")


def test_the_page_warns_of_a_study_that_changed_since(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    shipped = tmp_path / "demo.toml"
    monkeypatch.setattr(findings, "shipped_studies", lambda: {"demo": shipped})
    shipped.write_text(made_up().text)
    assert "Stale" not in findings.page(folder.parent, tmp_path)
    shipped.write_text(made_up().text + "seeds = 6\n")
    assert "> **Stale: the study file has changed" in findings.page(folder.parent, tmp_path)


def test_what_a_search_found_is_published_and_told(results: list[dict[str, Any]], tmp_path: Path):
    trials = [{"params": {"scale": scale}, "cells": ["x"], "value": value} for scale, value in ((0.5, 0.91), (1.5, 0.93))]
    study = made_up()
    study.searched = {"name": "found", "field": "init", "metric": "validation_accuracy", "of": 2, "kept": [0.1], "seeds": [100],  # pyright: ignore
                      "trials": trials, "found": {"name": "xavier_normal", "scale": 1.5}}
    publish.publish(study, results, tmp_path / "demo")

    said = json.loads((tmp_path / "demo" / "provenance.json").read_text())
    assert said["searched"]["trials"] == trials and said["figures"][-1]["file"] == "figures/search.svg"
    assert 'Searched: "found" is init = ' in (page := findings.page(tmp_path, tmp_path)) and "0.9300, best of 2 trials." in page


def test_readmes_block_holds_the_figure_its_marker_names_and_the_verdict_on_each_claim_of_its_study(folder: Path):
    text = findings.filled(MARKED, folder.parent, folder.parent.parent)

    assert "\nold" not in text and text.startswith("above\n") and text.endswith("<!-- /published -->\nbelow\n")
    assert f"![Learning curves: test accuracy]({folder.parent.name}/demo/figures/2-learning_curves.svg)" in text
    assert text.count("\n| Xavier ends 30 points above Kaiming. | ✗ contradicted | ") == 1
    assert "1 study, 3 claims: 1 supported, 1 contradicted, 1 undecided. [Findings](docs/findings.md)" in text
    assert f"| [demo](#demo): {made_up().title} | 1 | 1 | 1 |" in findings.page(folder.parent, folder.parent.parent)
    assert findings.filled(text, folder.parent, folder.parent.parent) == text


def test_with_nothing_published_the_pages_say_so(tmp_path: Path):
    assert "Nothing is published yet." in findings.page(tmp_path / "results", tmp_path)
    assert findings.filled(MARKED, tmp_path / "results", tmp_path) == MARKED.replace("old\n", "")


def test_a_broken_file_is_one_line(folder: Path, tmp_path: Path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "provenance.json").write_text("{")
    with pytest.raises(UserError, match=r"provenance.json: cannot be read .* Write it again with `sweepstake publish demo`"):
        findings.page(tmp_path, tmp_path)


def test_what_is_published_says_its_numerics_and_the_page_where_it_has_none(results: list[dict[str, Any]], folder: Path, tmp_path: Path):
    found = [{**result, "provenance": {**result["provenance"], "numerics": "fast 1"}} for result in results]
    publish.publish(made_up(), found, tmp_path / "demo")
    assert [one["numerics"] for one in json.loads((tmp_path / "demo" / "provenance.json").read_text())["made_by"]] == ["fast 1"]
    page = findings.page(tmp_path, tmp_path)
    assert "a CPU, torch 2.0, numerics fast 1." in page and "unversioned" not in page

    before = findings.page(folder.parent, tmp_path)
    assert "a CPU, torch 2.0, numerics fast unversioned." in before
    assert before.count("The numbers of 1 of the 1 studies are *unversioned*") == 1
