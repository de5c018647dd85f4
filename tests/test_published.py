"""results/ against the code and the pages: what is published is what the rows and the shipped studies give."""

import csv
import json
import math
import os
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweepstake.base.specs import ClaimSpec
from sweepstake.read import claims
from sweepstake.read.findings import BLOCK, ORDER, Published, filled, page, published
from sweepstake.read.publish import LARGEST, publish, verdict_table
from sweepstake.read.statistics import t_interval
from sweepstake.read.summary import summarise
from sweepstake.study.study import load_study, shipped_studies
from tests.read.fakes import FakeStudy, fake_results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
HERE = published(RESULTS)
SHIPPED = [study for study in HERE if study.provenance["study"] in shipped_studies()]


def test_the_pages_are_exactly_what_results_give():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert (ROOT / "docs" / "findings.md").read_text(encoding="utf-8") == page(RESULTS, ROOT / "docs").rstrip() + "\n", "run `make docs`"
    assert BLOCK.search(readme) and filled(readme, RESULTS, ROOT) == readme, "run `make docs`"


def test_every_shipped_study_but_the_demo_is_run_by_make_studies_in_the_pages_order():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = re.findall(r"^STUDIES := ((?:.*\\\n)*.*)", makefile, re.MULTILINE)[0].replace("\\", " ").split()

    assert tuple(run) == ORDER
    assert set(shipped_studies()) - {"demo"} <= set(ORDER)


@pytest.mark.parametrize("study", HERE, ids=lambda study: study.name)
def test_what_is_published_is_whole_and_light(study: Published):
    assert (study.folder / "verdicts.md").read_text(encoding="utf-8").count(verdict_table(study.verdicts)) == 1
    assert [path.name for path in study.folder.glob("figures/*.svg") if path.stat().st_size > LARGEST] == []
    assert sorted(f"figures/{path.name}" for path in study.folder.glob("figures/*")) == sorted(o["file"] for o in study.provenance["figures"])


@pytest.mark.parametrize("study", SHIPPED, ids=lambda study: study.name)
def test_no_published_study_has_changed_since(study: Published):
    assert not study.stale, f"results/{study.name} is stale: the study file has changed since. Run `sweepstake publish {study.name}`."


@pytest.mark.parametrize("study", SHIPPED, ids=lambda study: study.name)
def test_published_verdicts_are_those_of_the_published_rows(study: Published):
    if study.stale or not study.provenance["whole"]:
        pytest.skip("not the shipped study as it is")
    assert differing(study, load_study(study.provenance["study"])) == []


@pytest.mark.parametrize("study", SHIPPED, ids=lambda study: study.name)
def test_published_rows_are_of_the_cells_that_the_shipped_study_names_today(study: Published):
    """What a piece computes is in its cells' ids, so results of another version of it are stale, too."""
    if study.stale or not study.provenance["whole"]:
        pytest.skip("not the shipped study as it is")
    parquet = pytest.importorskip("pyarrow.parquet")
    found = set(parquet.read_table(study.folder / "rows.parquet", columns=["id"])["id"].to_pylist())
    assert found >= {planned.id for planned in load_study(study.provenance["study"]).planned if not planned.waits}


@pytest.mark.parametrize("study", HERE, ids=lambda study: study.name)
def test_the_published_summary_is_that_of_the_published_rows(study: Published):
    parquet = pytest.importorskip("pyarrow.parquet")
    again = summarise(list(study.provenance["axes"]), parquet.read_table(study.folder / "rows.parquet").to_pylist())
    assert [sorted(one) for one in study.groups] == [sorted(one) for one in again]
    assert all(kept[key] == alike(value) for kept, one in zip(study.groups, again, strict=True) for key, value in one.items())


def differing(study: Published, asked: Any) -> list[str]:
    """The claims whose published verdict is not what judging the published rows gives."""
    parquet = pytest.importorskip("pyarrow.parquet")
    again = json.loads(json.dumps(claims.table(claims.judge(asked, parquet.read_table(study.folder / "rows.parquet").to_pylist()))))
    assert [one["claim"] for one in again] == [one["claim"] for one in study.verdicts]
    return [one["claim"] for one, kept in zip(again, study.verdicts, strict=True)
            if any(kept.get(key) != alike(value) for key, value in one.items())]


def alike(value: Any) -> Any:
    return pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value


def test_a_changed_verdict_row_or_figure_would_be_found(tmp_path: Path):
    asked = FakeStudy(name="demo", axes={"init": ["a", "b"]}, claims=[
        ClaimSpec(name="a", says="a is above b.", test="better", this={"init": "a"}, than={"init": "b"}, kept=0.0352)])
    publish(asked, fake_results(asked.axes, seeds=4), tmp_path / "demo")
    [study] = published(tmp_path)
    assert differing(study, asked) == []
    test_what_is_published_is_whole_and_light(study)
    assert study.stale  # Its text is not the shipped demo's.

    effect = study.verdicts[0]["effect"]
    assert differing(study._replace(verdicts=[{**study.verdicts[0], "effect": effect + 0.001}]), asked) == ["a"]
    assert differing(study._replace(verdicts=[{**study.verdicts[0], "n": 5}]), asked) == ["a"]
    with pytest.raises(AssertionError):
        test_what_is_published_is_whole_and_light(study._replace(verdicts=[{**study.verdicts[0], "shown": "+9.99 points"}]))
    with pytest.raises(AssertionError, match="stale"):
        test_no_published_study_has_changed_since(study)
    (study.folder / "figures" / "9-old.svg").write_text("<svg/>")
    with pytest.raises(AssertionError):
        test_what_is_published_is_whole_and_light(study)


def test_a_page_that_says_another_number_would_be_found(tmp_path: Path):
    asked = FakeStudy(name="demo", axes={"init": ["a", "b"]}, claims=[ClaimSpec(says="It ends at 90 %.", test="about", value=0.9, margin=0.02)])
    publish(asked, fake_results(asked.axes, seeds=4), tmp_path / "demo")
    text = page(tmp_path, tmp_path)
    verdicts = json.loads((tmp_path / "demo" / "verdicts.json").read_text())
    (tmp_path / "demo" / "verdicts.json").write_text(json.dumps([{**one, "shown": "99.99 %"} for one in verdicts]))

    assert "99.99 %" not in text
    assert page(tmp_path, tmp_path) != text


SHIM = """#!/bin/sh
echo "$*" >> said.log
case "$*" in
    data*) printf 'mnist\\tfound\\t/somewhere\\nfashion_mnist\\t%s\\t\\n' "$FASHION" ;;
    "run frankle-carbin "*) exit "$CODE" ;;
esac
"""


def make(folder: Path, *arguments: str, fashion: str = "found", code: int = 0) -> tuple[int, list[str], str]:
    """Our Makefile with a sweepstake that only writes down what it is asked: the exit code, what was asked, and what make said."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    for name in ("sweepstake", "python"):
        (folder / ".venv" / "bin" / name).write_text(SHIM)
        (folder / ".venv" / "bin" / name).chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    clean = {key: value for key, value in os.environ.items() if key not in ("DATA", "STORE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(["make", "-f", ROOT / "Makefile", "studies", "DATASETS=mnist fashion_mnist", *arguments], cwd=folder, text=True,
                          capture_output=True, timeout=60, env={**clean, "FASHION": fashion, "CODE": str(code)})
    asked = [line for line in (folder / "said.log").read_text().splitlines() if not line.startswith("data")]
    return done.returncode, asked, done.stderr


def test_make_studies_runs_and_publishes_each_in_order_then_writes_the_pages(tmp_path: Path):
    code, asked, _ = make(tmp_path, "DATA=/my data", "STORE=kept")

    each = [line for name in ORDER for line in (f"run {name} --data /my data --store kept", f"publish {name} --store kept")]
    assert (code, asked) == (0, [*each, "docs/generate.py"])


def test_make_studies_goes_on_past_a_study_that_fails_and_tells_it_at_the_end(tmp_path: Path):
    code, asked, said = make(tmp_path, code=1)

    assert code != 0 and "make studies: not published: frankle-carbin." in said
    assert "publish frankle-carbin --store runs" not in asked
    assert asked[-3:] == [f"run {ORDER[-1]} --store runs", f"publish {ORDER[-1]} --store runs", "docs/generate.py"]


def test_make_studies_stops_at_ctrl_c(tmp_path: Path):
    code, asked, _ = make(tmp_path, code=130)

    assert code != 0 and asked[-1] == "run frankle-carbin --store runs"


def test_make_studies_without_the_data_says_so_in_a_line_and_runs_nothing(tmp_path: Path):
    code, asked, said = make(tmp_path, fashion="missing")

    assert code != 0 and asked == []
    assert said.splitlines()[0] == ("make studies: fashion_mnist is not here. Say where with make studies DATA=DIR, or get it with "
                                    ".venv/bin/sweepstake data fetch fashion_mnist.")


def kept(study: str) -> tuple[list[dict[str, Any]], str]:
    """A published study's rows, and its notes as one line; skips where it is not published."""
    folder = ROOT / "results" / study
    if not (folder / "notes.md").exists():
        pytest.skip(f"{study} is not published here")
    rows = pytest.importorskip("pyarrow.parquet").read_table(folder / "rows.parquet").to_pylist()
    return rows, " ".join((folder / "notes.md").read_text(encoding="utf-8").split())


def test_the_table_in_prune_readys_notes_counts_what_its_rows_say():
    rows, notes = kept("prune-ready")
    for round_ in (16, 17, 18, 19):
        at = [row for row in rows if row["round"] == round_]
        groups = [[row["test_accuracy"] for row in at if row["in_degree.fc3.zero"] == without] for without in range(4)]
        told = [f"{100 * sum(group) / len(group):.1f} % ({len(group)})" if group else "" for group in groups]
        line = f"| {100 * at[0]['kept_fraction']:.1f} % | " + " | ".join(told)
        assert line.rstrip(" |") in notes, line


def test_what_prune_readys_notes_say_of_its_second_run_is_what_its_rows_say():
    rows, again, notes = both_runs()
    assert len(again) == 1760

    for round_ in (0, 10, 15, 17):
        at = [(one["init"], 100 * one["test_accuracy"], 100 * other["test_accuracy"])
              for one, other in zip(rows, again, strict=True) if one["round"] == round_]
        by_init = [[first for init, first, _ in at if init == each] for each in {init for init, *_ in at}]
        seeds = math.sqrt(statistics.mean(map(statistics.variance, by_init)))
        roundings = statistics.stdev([first - other for _, first, other in at]) / math.sqrt(2)
        level = f"{100 * next(row['kept_fraction'] for row in rows if row['round'] == round_):.1f}".replace(".0", "")
        assert f"| {level} % | {seeds:.2f} | {roundings:.2f} |" in notes

    asked = load_study("prune-ready")
    one, two, both = (claims.table(claims.judge(asked, which)) for which in (
        rows, again, [{**a, "test_accuracy": (a["test_accuracy"] + b["test_accuracy"]) / 2} for a, b in zip(rows, again, strict=True)]))
    assert [a["claim"] for a, b in zip(one, two, strict=True) if a["verdict"] != b["verdict"]] == ["g"] and len(one) == 10
    effect, low, high = ([100 * which[-1][key] for which in (two, both)] for key in ("effect", "low", "high"))
    assert f"{effect[0]:.2f} points ({low[0]:.2f} to {high[0]:+.2f}) this time, {two[-1]['verdict']};" in notes
    assert f"averaged, {effect[1]:.2f} ({low[1]:.2f} to {high[1]:+.2f})." in notes


def one_line(path: str) -> str:
    return " ".join((ROOT / path).read_text(encoding="utf-8").split())


XAVIER, HALF, DOUBLE, KAIMING = (["xavier-normal", "xavier-uniform"], ["xavier-normal-half", "xavier-uniform-half"],
                                 ["xavier-normal-double", "xavier-uniform-double"], ["kaiming-normal", "kaiming-uniform"])


def apart(rows: list[dict[str, Any]], this: list[str], than: list[str], round_: int) -> tuple[list[float], tuple[float, float, float]]:
    """Of each seed, by how many points these inits end above those; the mean, and its 95 % interval."""
    seeds: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["round"] == round_:
            seeds.setdefault(row["seed"], {})[row["init"]] = 100 * row["test_accuracy"]
    gains = [statistics.mean(by_init[init] for init in this) - statistics.mean(by_init[init] for init in than) for by_init in seeds.values()]
    low, high = t_interval(gains) or (math.nan, math.nan)
    return gains, (statistics.mean(gains), low, high)


def both_runs() -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """prune-ready's rows, the same with the numbers of its second run, and its notes."""
    rows, notes = kept("prune-ready")
    with (ROOT / "results/prune-ready/again.csv").open(encoding="utf-8", newline="") as file:
        second = {(one["init"], int(one["seed"]), int(one["round"])): float(one["test_accuracy"]) for one in csv.DictReader(file)}
    return rows, [{**row, "test_accuracy": second[row["init"], row["seed"], row["round"]]} for row in rows], notes


def test_what_is_said_of_the_width_of_an_init_is_what_both_runs_say():
    rows, again, notes = both_runs()
    columns = [(which, than) for than in (XAVIER, DOUBLE) for which in (rows, again)]
    for level, round_ in (("10.7", 10), ("6.9", 12), ("3.5", 15)):
        told = [apart(which, HALF, than, round_)[1] for which, than in columns]
        assert f"| {level} % | " + " | ".join(f"{mean:+.2f} ({low:+.2f} to {high:+.2f})" for mean, low, high in told) + " |" in notes
    assert all(len(gains) == 11 and max(gains) < 0 for gains in (apart(which, HALF, than, 15)[0] for which, than in columns))

    (first, low, high), (once_more, *_), (wide, wide_low, wide_high), (wide_again, *_) = told
    page, studies = one_line("results/notes.md"), one_line("docs/studies.md")
    below = f"ends {-first:.2f} points below Xavier ({-high:.2f} to {-low:.2f})"
    assert f"{below} and {-wide:.2f} below double the width ({-wide_high:.2f} to {-wide_low:.2f}), in 11 of 11 seeds each" in page
    assert f"run again by {-once_more:.2f} and {-wide_again:.2f}" in page and f"{below}, in 11 of 11 seeds" in studies
    assert "Which init is best for pruning?** None of" not in page


def test_what_is_said_of_xavier_and_kaiming_normal_and_uniform_is_what_the_rows_say():
    rows, page = both_runs()[0], one_line("results/notes.md")
    normal, uniform = ([XAVIER[place], KAIMING[place]] for place in (0, 1))
    widest = max(abs(end) for round_ in range(16) for sides in ((XAVIER, KAIMING), (normal, uniform)) for end in apart(rows, *sides, round_)[1][1:])
    assert f"end alike, and normal and uniform, to {widest:.2f} points" in page


def test_what_prune_ready_outputs_notes_say_of_four_seeds_is_what_its_rows_say():
    rows, notes = kept("prune-ready-output")
    rows = [row for row in rows if row["case"] == "half the rate"]
    found = [apart(rows, HALF, XAVIER, round_)[1] for round_ in range(8, 20)]
    assert f"by {-max(mean for mean, *_ in found):.2f} to {-min(mean for mean, *_ in found):.2f} points" in notes and max(found)[0] < 0
    assert sum(low <= 0 <= high for _, low, high in found) == 8 and "eight of the twelve intervals hold 0" in notes
    as_all = apart(both_runs()[0], HALF, XAVIER, 15)[1]
    assert "at 3.6 % it is {:.2f} ({:+.2f} to {:+.2f}), where prune-ready has {:.2f}".format(*found[7], as_all[0]) in notes
    verdicts = {one["claim"]: one for one in json.loads((ROOT / "results/prune-ready-output/verdicts.json").read_text(encoding="utf-8"))}
    for claim, words in (("c", "Xavier against Kaiming at 2.8 % is"), ("f", "the narrow inits against the six others at 2.3 %"),
                         ("g", "half the width against double")):
        effect, low, high = (100 * verdicts[claim][key] for key in ("effect", "low", "high"))
        assert f"{words} {effect:+.2f} ({low:+.2f} to {high:+.2f})" in notes
        assert (verdicts[claim]["verdict"], verdicts[claim]["n"]) == ("undecided", 4)
    assert "standard deviation 0.11 points against 5.94 points" in verdicts["stable"]["reason"] and "(0.11 points, from 5.94)" in notes


def test_what_is_said_of_frankle_carbin_is_its_verdicts():
    notes, page = kept("frankle-carbin")[1], one_line("results/notes.md")
    verdicts = {one["claim"]: one for one in json.loads((ROOT / "results/frankle-carbin/verdicts.json").read_text(encoding="utf-8"))}
    words = [one["verdict"] for one in verdicts.values()]
    assert [len(words), *map(words.count, ("supported", "undecided", "contradicted"))] == [7, 3, 4, 0]
    assert "Of its seven sentences three are supported, four undecided, none contradicted." in notes
    assert "of frankle-carbin's seven claims four are undecided" in page and "to the digit" not in notes + page

    def told(claim: str) -> list[float]:
        return [100 * verdicts[claim][key] for key in ("effect", "low", "high")]

    assert "{:.1f} % earlier where the paper says 38, but five trials put that anywhere from {:.1f} to {:.1f}".format(*told("21 %, earlier")) in notes
    assert '"38 % earlier" is {:.1f} % here, anywhere from {:.0f} to {:.0f}'.format(*told("21 %, earlier")) in page
    assert "{:.1f} % for its 60, from {:.1f} to {:.1f}".format(*told("21 %, earlier than anew")) in notes
    assert "({:+.2f} points, {:+.2f} to {:+.2f})".format(*told("13.5 %, above dense")) in notes
    assert "({:+.2f}, {:+.2f} to {:+.2f})".format(*told("3.6 %, dense level")) in notes


def test_the_numbers_in_random_prunings_notes_are_its_rows():
    rows, notes = kept("random-pruning")
    rows = [row for row in rows if abs(row["kept_fraction"] - 0.018) < 8e-4]

    def mean(model: str, case: str, column: str) -> float:
        found = [row[column] for row in rows if (row["model"], row["case"]) == (model, case)]
        return sum(found) / len(found)

    gaps = {model: 100 * (mean(model, "random, ERK", "test_accuracy") - mean(model, "random, SNIP ratios", "test_accuracy"))
            for model in {row["model"] for row in rows}}
    assert f"ERK is {-gaps.pop('75-25'):.0f} points below" in notes and f"by {min(gaps.values()):.1f} to {max(gaps.values()):.1f} points" in notes
    assert f"Of the {mean('75-25', 'random, ERK', 'kept'):,.0f} weights" in notes
    assert (f"ERK gives {mean('75-25', 'random, ERK', 'kept.fc3'):.0f} to the output layer, "
            f"SNIP's ratios {mean('75-25', 'random, SNIP ratios', 'kept.fc3'):.0f}") in notes


def test_at_half_the_rate_the_output_layer_keeps_what_the_notes_say_and_no_class_loses_its_last_weight():
    rows = [row for row in kept("prune-ready-output")[0] if row["case"] == "half the rate"]
    assert {row["kept.fc3"] for row in rows if row["round"] == 18} == {150} and {row["in_degree.fc3.zero"] for row in rows} == {0}
    verdicts = json.loads((ROOT / "results/prune-ready-output/verdicts.json").read_text(encoding="utf-8"))
    assert [round(one["effect"], 2) for one in verdicts if one["claim"] == "stable"] == [0.02]


def test_the_table_in_prune_ready_baselines_notes_is_its_rows():
    rows, notes = kept("prune-ready-baselines")

    def line(name: str, case: str, level: float) -> str:
        at = [row for row in rows if row["case"] == case and abs(row["kept_fraction"] - level) < 6e-4]
        accuracy, loss, seconds = (sum(row[key] for row in at) / len(at) for key in ("test_accuracy", "test_loss", "seconds.train"))
        return f"| {name} | {100 * accuracy:.2f} % | {loss:.3f} | {seconds:.2f} |"

    table = [line("unpruned, 5 epochs", "pruned", 1), line("unpruned, 100 epochs", "unpruned", 1),
             *(line(f"ticket of {100 * level:.1f} %, 5 epochs", "pruned", level) for level in (0.107, 0.069, 0.035))]
    assert [each for each in table if each not in notes] == []
    long = [row for row in rows if row["case"] == "unpruned"]
    accuracies = [row["test_accuracy"] for row in long]
    assert f"from {100 * min(accuracies):.2f} to {100 * max(accuracies):.2f}" in notes
    assert f"({100 * sum(row['train_accuracy'] for row in long) / len(long):.2f} %)" in notes


def test_the_numbers_in_prune_ready_convs_notes_are_its_rows():
    rows, notes = kept("prune-ready-conv")
    four = ("xavier-normal", "xavier-uniform", "kaiming-normal", "kaiming-uniform")
    dense = {(row["init"], row["seed"]): row["test_accuracy"] for row in rows if row["round"] == 0}

    def mean(round_: int, value: Callable[[dict[str, Any]], float], which: Callable[[dict[str, Any]], bool]) -> float:
        found = [value(row) for row in rows if row["round"] == round_ and which(row)]
        return sum(found) / len(found)

    def gain(round_: int) -> float:
        return 100 * mean(round_, lambda row: row["test_accuracy"] - dense[row["init"], row["seed"]], lambda row: row["init"] in four)

    assert f"by {gain(2):.1f} points at 38.9 % and by {gain(4):.1f} at 15.2 %" in notes and f"they are {-gain(6):.1f} points below" in notes
    without = [100 * mean(8, lambda row: row["test_accuracy"], lambda row, n=n: row["in_degree.fc3.zero"] == n) for n in (0, 1)]
    assert f"({without[0]:.1f} %) than those with one class without ({without[1]:.1f} %)" in notes
    assert [{row["kept.conv1"] for row in rows if row["round"] == round_} for round_ in (0, 6, 8)] == [{432}, {25}, {10}]
    assert round(mean(8, lambda row: row["alive_units.conv1"], lambda _: True)) == 7
    units = [round(mean(8, lambda row: row["alive_units.fc1"], lambda row, w=w: row["init"].endswith(w))) for w in ("half", "double")]
    assert f"{units[0]} of the 64 hidden units are alive after half the width, {units[1]} after double" in notes


def test_the_numbers_in_prune_ready_conv_fulls_notes_are_its_rows():
    rows, notes = kept("prune-ready-conv-full")
    four = {"xavier-normal", "xavier-uniform", "kaiming-normal", "kaiming-uniform"}

    def mean(round_: int, inits: set[str]) -> float:
        found = [100 * row["test_accuracy"] for row in rows if row["round"] == round_ and row["init"] in inits]
        return sum(found) / len(found)

    gains = [mean(round_, four) - mean(0, four) for round_ in range(20)]
    assert all(gain > 0 for gain in gains[1:17])
    assert f"by {max(gains):.1f} points at their best (26.2 %)" in notes and gains.index(max(gains)) == 6
    assert f"by {gains[12]:.1f} at 6.9 %" in notes and f"by {-gains[17]:.1f}" in notes
    assert f"a dense Conv-2 at {mean(0, four):.1f} %" in notes
    half, double = ({f"xavier-normal-{width}", f"xavier-uniform-{width}"} for width in ("half", "double"))
    assert f"width is {mean(17, double) - mean(17, half):.1f} points below double" in notes
    assert mean(0, four) - mean(0, double) > 4
    assert "5.8 points below" in kept("prune-ready-conv")[1]


def test_the_gaps_in_the_second_look_at_reduced_parameters_are_the_verdicts():
    def effect(study: str, claim: str) -> str:
        verdicts = json.loads((ROOT / f"results/{study}/verdicts.json").read_text(encoding="utf-8"))
        return next(f"{100 * one['effect']:.2f}" for one in verdicts if one["claim"] == claim)

    notes = kept("reduced-parameters-longer")[1]
    assert f"end {effect('reduced-parameters-longer', 'b')} points above those drawn anew" in notes
    assert f"the gap is {effect('reduced-parameters', 'b')} points and the sentence is undecided" in notes
    assert f"(+{effect('reduced-parameters', 'b')}, interval " in kept("reduced-parameters")[1]
    assert f"20,000 images {effect('reduced-parameters-longer', 'b')} (" in kept("reduced-parameters")[1]
    assert f"LeNet-300-100's end {effect('reduced-parameters-longer', 'a')} points above" in notes
    assert f"accuracy is {effect('reduced-parameters-longer', 'e')} points *above*" in notes


def test_as_many_networks_of_custom_init_lack_classes_as_its_notes_say():
    rows, notes = kept("custom-init")
    rows = [row for row in rows if row["case"] == "magnitude" and abs(row["kept_fraction"] - 0.022) < 1e-3]
    lacking = [row["init"] for row in rows if row["in_degree.fc3.zero"] >= 2]
    assert (len(lacking), len(rows), lacking.count("found")) == (12, 45, 0)
    assert "12 of the 45 networks" in notes
