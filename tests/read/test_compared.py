"""A comparison that really ran: what its page, its rows and its files say."""

import csv
import html
import re
import shutil
import statistics

import pytest

from sweepstake import commands, pieces
from sweepstake.cli import main
from sweepstake.pieces import criterion
from sweepstake.read.compare.checklist import checklist
from sweepstake.read.compare.numbers import Outcome
from sweepstake.read.compare.page import setup_of
from sweepstake.read.compare.terminal import lacking, lost
from sweepstake.run.opened import open_study
from sweepstake.study import compare
from sweepstake.study.study import load_study

TINY = compare.Pair("digits", {"name": "mlp", "hidden": [20]}, {"steps": 12, "batch_size": 60, "eval_every": 12, "lr": 0.01})
MINE = '''
from sweepstake import criterion

@criterion(granularity="weight")
def for_a_tiny_comparison(w_init, w_final):
    """|w_final| - |w_init| (nobody, never)."""
    return w_final.abs() - w_init.abs()
'''
NAME = "for_a_tiny_comparison"
BASELINES = tuple(each for each in compare.BASELINES if each.label in ("magnitude, per layer", "random", "SNIP"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One pair, three baselines and two seeds, run from the command line."""
    home = tmp_path_factory.mktemp("compare")
    (home / "mine.py").write_text(MINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setitem(compare.PAIRS, "digits/tiny", TINY)
        patch.setattr(criterion, "pieces", dict(criterion.pieces))
        patch.setattr(compare, "BASELINES", BASELINES)
        code = main(["compare", "--criterion", f"mine.py:{NAME}", "--on", "digits/tiny", "--seeds", "2", "--out", "report", "--workers", "2"])
    assert code == 0
    return home


def test_what_all_of_it_costs_is_told_before_anything_trains(ran, monkeypatch, capsys, no_plugin):
    monkeypatch.chdir(ran)
    monkeypatch.setattr(compare, "BASELINES", BASELINES)
    monkeypatch.setitem(compare.PAIRS, "digits/tiny", TINY)
    again = ["compare", "--criterion", f"mine.py:{NAME}", "--on", "digits/tiny", "--workers", "2"]
    assert main([*again, "--seeds", "2", "--out", "again"]) == 0
    assert "digits/tiny: 40 cells, all in runs already" in capsys.readouterr().err
    monkeypatch.setattr(commands, "write_studies", lambda *_: pytest.fail("it trains"))
    with pytest.raises(pytest.fail.Exception):
        main([*again, "--seeds", "3", "--out", "again"])
    said = capsys.readouterr().err
    assert re.search(r"digits/tiny: 20 of 60 cells, about 0:\d\d\nIn all 20 cells, about 0:\d\d on 2 workers", said), said


@pytest.fixture(scope="module")
def rows(ran):
    return list(csv.DictReader((ran / "report" / "rows.csv").read_text().splitlines()))


@pytest.fixture
def no_plugin(monkeypatch):
    """As in a process that has loaded none: the copies of one file would claim one name."""
    monkeypatch.setattr(criterion, "pieces", dict(criterion.pieces))
    monkeypatch.setattr(pieces, "_loaded", {})


@pytest.fixture
def outcome(ran, monkeypatch, no_plugin):
    monkeypatch.setattr(compare, "BASELINES", BASELINES)
    study = load_study(ran / "report" / "compare-digits-tiny.toml")
    asked = compare.comparison([f"{ran / 'report' / 'mine.py'}:{NAME}"], allocation="global", when="after", schedule="one-shot", seeds=2)
    return Outcome("digits/tiny", asked, study, open_study(study, ran / "runs").results)


def test_every_method_has_a_row_a_size_and_seed(rows):
    assert len(rows) == 4 * 5 * 2
    assert {(row["method"], row["compression_asked"], row["seed"]) for row in rows} == {
        (method, size, seed) for method in (NAME, *(each.label for each in BASELINES)) for size in ("2", "4", "8", "16", "32")
        for seed in "01"}


def test_sizes_are_as_asked_and_a_speedup_of_a_fully_connected_network_is_its_compression(rows):
    for row in rows:
        assert float(row["compression"]) == pytest.approx(float(row["compression_asked"]), rel=0.02)
        assert row["multiply_adds"] == row["kept"] and row["speedup"] == row["compression"]
        assert int(row["parameters"]) == int(row["kept"]) + 30  # The biases of 20 units and 10 classes.


def test_top5_is_measured_and_holds_top1(rows):
    assert all(float(row["test_accuracy"]) <= float(row["test_top5"]) <= 1 for row in rows)
    assert len({row["test_top5"] for row in rows}) > 10


def test_all_dense_networks_of_a_seed_are_one_network(outcome):
    assert len(outcome.whole) == 3 * 5 * 2 and outcome.same_dense
    changed = [{**each, "rounds": [dict(record) for record in each["rounds"]]} for each in outcome.results]
    first = changed[0]["rounds"][0]
    first["end"] = {**first["end"], "test": {**first["end"]["test"], "loss": 0.5}}
    assert not Outcome(outcome.name, outcome.asked, outcome.study, changed).same_dense


def test_a_difference_on_the_page_is_the_mean_of_the_seeds_differences(ran, rows):
    def at(method, seed):
        return next(float(row["test_accuracy"]) for row in rows if (row["method"], row["compression_asked"], row["seed"]) == (method, "8", seed))

    gain = 100 * statistics.mean(at(NAME, seed) - at("random", seed) for seed in "01")
    page = (ran / "report" / "compare.html").read_text()
    table = page[page.index("minus each baseline"):page.index("Top-1 accuracy (%)")]
    (row,) = re.findall(r"<tr><td>random</td>(.*?)</tr>", table, re.DOTALL)
    assert f"undecided</span> {gain:+.2f}" in re.findall(r"<td.*?</td>", html.unescape(row))[2]


def test_with_two_seeds_nothing_is_decided_and_the_page_says_what_it_lacks(ran, outcome):
    page = html.unescape((ran / "report" / "compare.html").read_text())
    assert "better</span>" not in page and "worse</span>" not in page
    met = {item.asks: item.met for item in checklist(outcome.asked, [outcome])}
    assert not met["At least three pairs of a data set and a network"]
    assert not met["Several seeds, with a mean and a deviation"]
    assert met["Five compressions or more"]
    assert met["Top-1 and Top-5 accuracy, raw, at every point"]
    assert met["The same initial weights for every method of a seed"]
    assert page.count("✗") == 5


def test_the_page_tells_the_split_and_the_dense_network(ran):
    page = html.unescape((ran / "report" / "compare.html").read_text())
    assert "1,437 train, 360 test images" in page
    assert "1,480 weights in its layers; 1,480 multiply-adds an image" in page
    assert re.search(r"dense network</td><td[^>]*>\d\d\.\d\d ± \d", page)


def test_the_dense_network_stands_under_no_size_and_says_that_it_trained_once(ran):
    page = html.unescape((ran / "report" / "compare.html").read_text())
    assert len(re.findall(r'<td colspan="5">\d\d\.\d\d ± \d+\.\d\d, trained once</td>', page)) == 2
    assert "the first have trained twice as long as the dense network" in page


def test_a_diverged_cell_is_counted_at_its_own_size_alone(outcome):
    changed = [{**each, "rounds": [dict(record) for record in each["rounds"]]} for each in outcome.results]
    gone = next(each for each in changed if each["labels"] == {"keep": "0.125", "case": "random"})
    gone["rounds"][1]["diverged"], gone["status"] = True, "diverged"
    found = Outcome(outcome.name, outcome.asked, outcome.study, changed).over_seeds("test_accuracy")
    assert {size: (found["random", size]["diverged"], found["random", size]["n"]) for size in compare.COMPRESSIONS} == {
        2: (0, 2), 4: (0, 2), 8: (1, 1), 16: (0, 2), 32: (0, 2)}
    told = Outcome(outcome.name, outcome.asked, outcome.study, changed)
    assert (lost([told]), lacking([told])) == (["digits/tiny: 1 of 40 cells diverged, in no mean."], [])
    assert lost([outcome]) == []


def test_a_reduced_pair_says_so_above_its_split(outcome, monkeypatch):
    monkeypatch.setitem(compare.PAIRS, "digits/tiny", TINY._replace(reduced="12 steps"))
    told = dict(setup_of(outcome))
    assert list(told)[:2] == ["reduced", "data"] and told["reduced"].startswith("12 steps: far from trained out")
    assert told["data"] == '1,437 train, 360 test images; normalised: "standard"; no augmentation'


def test_each_pair_can_be_run_again_from_its_own_file_anywhere(ran, tmp_path, capsys, no_plugin):
    shutil.copytree(ran / "report", tmp_path / "moved")
    assert main(["status", str(tmp_path / "moved" / "compare-digits-tiny.toml"), "--store", str(ran / "runs")]) == 0
    assert capsys.readouterr().out == "done\t40\n"


def test_the_figure_has_a_point_a_level_and_one_dense_network(ran):
    svg = (ran / "report" / "figures" / "compare-digits-tiny.svg").read_text()
    told = re.findall(r'aria-label="(SNIP|random), ([\d.]+ %) of weights remaining', svg)
    assert [level for name, level in told if name == "SNIP"] == ["50 %", "25 %", "12.5 %", "6.22 %", "3.11 %"]
    assert [level for name, level in told if name == "random"] == ["100 %", "50 %", "25 %", "12.5 %", "6.22 %", "3.11 %"]


BAD = """
from sweepstake import criterion

@criterion(granularity="weight")
def never_a_number_for_compare(w_final):
    \"\"\"No score at all (nobody, never).\"\"\"
    return w_final * float("nan")

@criterion(granularity="weight")
def flat_for_compare(w_final):
    \"\"\"Knows two dimensions alone (nobody, never).\"\"\"
    units, inputs = w_final.shape
    return w_final.abs() / inputs

@criterion(granularity="weight")
def short_for_compare(w_final):
    \"\"\"A score too few (nobody, never).\"\"\"
    return w_final.flatten()[1:]
"""


@pytest.mark.parametrize(("name", "says"), [
    ("never_a_number_for_compare",
     'digits/tiny: criterion = "never_a_number_for_compare" (bad.py:4): a score of fc1 is not a finite number.'),
    ("flat_for_compare", 'digits/conv: criterion = "flat_for_compare" (bad.py:12) raised ValueError: '
                         "too many values to unpack (expected 2). Mend the plug-in."),
    ("short_for_compare", 'digits/tiny: criterion = "short_for_compare" (bad.py:15): gave shape (1279,) for fc1.weight, '
                          "expected (20, 64) (one a weight)."),
])
def test_a_criterion_whose_scores_cannot_be_used_on_any_pair_is_one_line_before_one_trains(
        name, says, tmp_path, monkeypatch, capsys, no_plugin):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(compare.PAIRS, "digits/tiny", TINY)
    (tmp_path / "bad.py").write_text(BAD)
    assert main(["compare", "--criterion", f"bad.py:{name}", "--on", "digits/tiny", "--on", "digits/conv",
                 "--seeds", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [says]
    assert [path.name for path in tmp_path.iterdir()] == ["bad.py"]


def test_a_pair_without_its_data_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--criterion", "wanda"]) == 2
    said = capsys.readouterr().err
    assert "mnist/lenet-300-100: mnist is not here, so this pair is left out. Get it with `sweepstake data fetch mnist`" in said
    assert "--quick needs no data" in said and not list(tmp_path.iterdir())
