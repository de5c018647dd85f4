"""What the page says beside its charts, and what its tables and buttons give."""

import csv
import html
import re
import time
from pathlib import Path

import msgspec
import pytest

from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec, FigureSpec
from sweepstake.read import analysis, summary
from sweepstake.read.page import answer, charts, cost, plan, provenance, rows, runs, survive
from sweepstake.read.page.document import page as page_of
from sweepstake.read.results import run_study
from sweepstake.run import data, run
from sweepstake.run.store import Store
from tests.helpers import make_cell, tiny_images
from tests.read.browser import chromium, needs_chromium
from tests.read.fakes import FakeStudy, fake_results
from tests.small import small_study

ONE = [FigureSpec()]
EVIL = "x</script><b>y"
CLAIMS = [
    ClaimSpec(says="Winning tickets exist at 51 %.", test="matches_dense", kept=0.51, margin=0.02),
    ClaimSpec(says="Xavier ends 30 points above Kaiming.", test="better", margin=0.3,
              this={"init": "xavier_normal"}, than={"init": "kaiming_normal"}),
]


def section(text, name):
    return text.split(f'<section id="{name}"')[1].split("</section>")[0]


def said(text, name):
    """A section as it reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|script).*?</\1>", "", section(text, name), flags=re.DOTALL))).split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report of 240 cells of two inits, one of them with a name that would be markup, of several statuses."""
    folder = tmp_path_factory.mktemp("sections")
    study = FakeStudy(axes={"init": ["xavier_normal", "kaiming_normal", EVIL]}, figures=ONE, claims=CLAIMS,
                      about="Do inits differ, as e.g. Frankle et al. 2019 say? They train, prune and rewind. </script>")
    results = fake_results(study.axes, seeds=80, rounds=4)
    results[7] |= {"status": "failed", "rounds": [], "error": "x"}
    for result in results:
        for record in result["rounds"]:
            record["seconds"]["train"] = 2.0 - 0.4 * record["round"]
    (folder / "report.html").write_text(page_of(study, results), "utf-8")
    return folder / "report.html", results


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def module_page(pages, browser):
    with browser.open(pages[0]) as opened:
        yield opened


@pytest.fixture
def shown(module_page):
    """The page as it opens, but for the order of the table of runs: what a test sets is set back."""
    yield module_page
    module_page.page.emulate_media(media="screen", forced_colors="none", color_scheme="light")
    module_page.page.set_viewport_size({"width": 1280, "height": 800})
    module_page.page.get_by_label("Status").select_option("")
    module_page.page.get_by_label("Filter").fill("")


# The first screen

def test_the_first_sentence_is_the_question_and_abbreviations_do_not_end_it():
    asked = "Do inits differ, as e.g. Frankle et al. 2019 say?"
    assert answer.question(f"{asked} They\n train.") == (asked, "They train.")
    assert answer.question("By J. Frankle. Then more.") == ("By J. Frankle.", "Then more.")
    assert answer.question("") == ("", "")


def test_the_answer_is_a_sentence_a_claim_with_its_verdict(pages):
    told = said(pages[0].read_text(), "answer")
    assert "2 claims: 1 supported, 1 contradicted." in told
    assert re.search(r"✓ supported Winning tickets exist at 51 %\. [+-]\d\.\d\d points \(", told)
    assert re.search(r"✗ contradicted Claimed: Xavier ends 30 points above Kaiming\. "
                     r"Found: (not so much|the opposite), [+-]\d+\.\d\d points \(", told)


def test_without_claims_the_answer_names_the_best_and_the_worst_group():
    study = FakeStudy()
    groups = [{"init": name, "smallest_winning": kept, "winners": winners, "n": 5, "diverged": 0}
              for name, kept, winners in (("a", 0.1, 5), ("b", 1.0, 0), ("c", 0.4, 3))]
    assert answer.headline(study, groups, []) == (
        "The smallest winning ticket keeps 10 % of the weights (a), mean over seeds; 5 of 5 seeds have one. b has no winning ticket.")
    assert "The largest of the 2 groups is that of c, with 40 %." in answer.headline(study, [groups[0], groups[2]], [])
    rates = [{**groups[0], "lr": "0.002"}, {**groups[2], "lr": "1e-05"}]
    said = answer.headline(FakeStudy(axes={"lr": ["0.002", "1e-05"], "init": ["a"]}), [{"init": "a", **one} for one in rates], [])
    assert "of the weights (lr 0.002, a)" in said and "is that of lr 1e-05, c" in said
    assert answer.headline(study, groups[1:2], []) == "No pruned network ended at least as accurate as its own dense network."
    assert answer.headline(study, [], []) == "No round has finished yet."


@needs_chromium
def test_question_answer_and_main_figure_are_on_the_first_screen(pages, browser, shown):
    with browser.open(pages[0], 360, 740) as narrow:
        for opened, height, share in ((shown, 800, 0.5), (narrow, 740, 0.0)):
            opened.page.evaluate("scrollTo(0, 0)")
            box = opened.page.locator("#main-figure .chart svg").first.bounding_box()
            assert opened.page.locator("#answer li").nth(1).bounding_box()["y"] < height
            assert box["y"] + share * box["height"] < height
            assert not opened.overflows()


# Words

def test_the_page_speaks_in_words_of_the_field(pages):
    text = pages[0].read_text()
    for riddle in ("if only by luck", "did not follow the old", "are what the reset says", "claims about nothing"):
        assert riddle not in text


def test_no_link_leads_to_a_file_beside_the_page(pages):
    assert re.findall(r'href="[^"#]', re.sub(r"<script.*?</script>", "", pages[0].read_text(), flags=re.DOTALL)) == []


# The table of runs

def saved(page, name):
    """The lines of the file that a button gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_text().splitlines()


@needs_chromium
def test_runs_are_sorted_by_a_header_and_the_page_says_which_way(shown):
    heads, column = shown.page.locator("#run-table th"), shown.page.locator("#run-table td:nth-child(6)")
    assert heads.all_inner_texts()[:6] == ["init", "seed", "status", "rounds", "weights remaining (%)", "test accuracy (%)"]
    button = heads.nth(5).get_by_role("button")
    button.focus()
    shown.page.keyboard.press("Enter")
    rising = [float(one) for one in column.all_inner_texts()]
    assert rising == sorted(rising) and len(rising) == 100 and heads.nth(5).get_attribute("aria-sort") == "ascending"
    button.click()
    falling = [float(one) for one in column.all_inner_texts()]
    assert falling == sorted(falling, reverse=True) and falling[0] > rising[-1]
    assert heads.nth(5).get_attribute("aria-sort") == "descending" and heads.nth(0).get_attribute("aria-sort") == "none"
    assert shown.console == []


@needs_chromium
def test_runs_are_filtered_counted_paged_and_taken_along(pages, shown):
    page, count = shown.page, shown.page.locator("#run-count")
    page.locator("#run-table th").nth(1).get_by_role("button").click()  # By seed, whatever they were sorted by.
    assert count.inner_text() == "240 of 240 runs, of which 1 to 100 are shown"
    page.get_by_role("button", name="Next 100").click()
    page.get_by_role("button", name="Next 100").click()
    assert count.inner_text().endswith("201 to 240 are shown") and page.get_by_role("button", name="Next 100").is_disabled()
    page.get_by_label("Filter").fill("XAVIER done")
    assert count.inner_text() == "79 of 240 runs" and not page.locator("#run-pages").is_visible()
    page.get_by_label("Status").select_option("failed")
    assert count.inner_text() == "0 of 240 runs"
    page.get_by_label("Filter").fill("")
    assert page.locator("#run-table tbody tr").all_inner_texts()[0].split("\t")[:4] == ["xavier_normal", "7", "failed", "0"]
    page.get_by_label("Status").select_option("done")
    page.get_by_label("Filter").fill("x</script>")
    lines = saved(page, "CSV of these runs")
    assert lines[0] == "init,seed,status,rounds,kept,accuracy,dense,ticket,seconds,id" and len(lines) == 81
    assert lines[1].startswith(f"{EVIL},0,done,5,40.96,") and lines[1].endswith(pages[1][160]["id"])


def test_a_run_takes_less_than_300_bytes_of_the_page(pages):
    text = section(pages[0].read_text(), "run-list").split('id="rows-data"')[0]
    text += section(pages[0].read_text(), "run-list").split('id="run-data"')[1]
    assert 240 * 40 < len(text) < 240 * 150 + 2000


@needs_chromium
def test_every_rounds_row_comes_out_of_the_page_as_the_table_has_it(pages, shown):
    table = analysis.Table.of(pages[1])
    head, *lines = csv.reader(saved(shown.page, "Save rows.csv"))
    assert head == table.columns and len(lines) == len(table) == 239 * 5
    for line, values in zip(lines, table.values(), strict=True):
        for name, one, value in zip(head, line, values, strict=True):
            same = float(one) == pytest.approx(value, rel=1e-5) if isinstance(value, float) else one == ("" if value is None else str(value))
            assert same, (name, one, value)


def test_of_columns_without_room_those_of_layers_go_first_and_the_page_names_how_many(pages, monkeypatch, without_stills):
    table = analysis.tidy(pages[1])
    every = rows.section(pages[1], table)
    assert every
    plain = sum(len(str(held)) for name, _, held in every["columns"] if "." not in name)
    monkeypatch.setattr(rows, "FIXED", plain + 500)
    monkeypatch.setattr(rows, "A_ROW", 0)
    found = rows.section(pages[1], table)
    assert found and found["left"] and all("." in name for name in found["left"])
    study = FakeStudy(axes={"init": ["xavier_normal", "kaiming_normal", EVIL]}, figures=ONE)
    assert f"Without {len(found['left'])} columns of layers" in page_of(study, pages[1])


# Ranks and numbers

@needs_chromium
def test_ranks_are_drawn_and_the_summary_is_given_out_whole(pages, shown):
    drawn = re.findall(r'class="dot" x1="([\d.]+)"', section(pages[0].read_text(), "robustness"))
    assert len(drawn) == 3 and all(0 <= float(one) <= 100 for one in drawn)
    lines = saved(shown.page, "Save summary.csv")
    assert lines[0].startswith("init,n,diverged,dense,smallest_winning")
    assert [line.split(",")[0] for line in lines[1:]] == ["xavier_normal", "kaiming_normal", EVIL]
    assert saved(shown.page, "Save this table as CSV")[0] == "init,100 %,80 %,64 %,51.2 %,41 %"


# Cost

def test_cost_is_told_relative_to_each_cells_own_dense_network(pages):
    told = cost.section(pages[1])
    assert [round(row["relative"], 6) for row in told["rows"]] == [1.0, 0.8, 0.6, 0.4, 0.2]
    assert [row["seconds"] for row in told["rows"]] == ["2 s", "1.6 s", "1.2 s", "0.8 s", "0.4 s"] and told["rows"][0]["n"] == 239
    assert told["saved"] == ("The rounds after the first trained for 16 minutes. At the speed of their own dense networks "
                             "they would have trained for 32 minutes: sparsity saved 50 % of the time.")


def test_of_networks_that_were_pruned_before_they_trained_no_saving_is_told():
    results = fake_results({"init": ["a"]}, seeds=1, rounds=2)
    results[0]["rounds"] = results[0]["rounds"][1:]
    told = cost.section(results)
    assert told["saved"] == "" and [row["relative"] for row in told["rows"]] == [None, None]


def test_seconds_are_told_in_a_unit_that_reads_well():
    assert [cost.told_seconds(one) for one in (0.123, 48.4, 600, 12600)] == ["0.12 s", "48 s", "10 minutes", "3.5 hours"]


# A study that really ran, with its store

@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    study = small_study(init=["xavier_normal", "kaiming_normal"], allocation="global", figure=[{"kind": "accuracy_by_kept"}])
    results = run.run_study(study, folder / "store", workers=1)
    return study, results, page_of(study, results, store=Store(folder / "store"))


def test_the_plan_is_drawn_from_the_study(ran):
    study, results, text = ran
    assert plan.in_words(plan.plan(study, results)) == (
        "2 inits × 2 seeds: 4 cells. Each cell does this 3 times: train (10 steps), measure (loss and accuracy), "
        "prune (by magnitude, keep 80 %), reset (rewind). Of the weights, rounds train 100 %, 80 % and 64 %.")
    drawn = re.findall(r'<svg class="plan".*?</svg>', section(text, "plan"))
    assert len(drawn) == 2  # A wide one and a narrow one.
    for one in drawn:
        words = re.findall(r"<text[^>]*>([^<]*)</text>", one)
        assert {"init: 2", "xavier_normal", "2 seeds", "4 cells", "train", "10 steps", "prune", "rewind", "64 %"} <= set(words)
        assert one.count('class="bar"') == 3


def test_an_axis_that_changes_the_rounds_is_named_in_its_part_of_the_plan():
    study = small_study(criterion=["magnitude", "random"], keep=[0.8, 0.5], rounds=1)
    results = [{"cell": msgspec.to_builtins(each.cell), "labels": each.labels, "seed": each.cell.seed, "rounds": []} for each in study.planned]
    found = plan.plan(study, results)
    assert dict(found.steps)["prune"] == "by magnitude or random, keep 80 % or keep 50 %"
    assert (found.kept, found.less) == ([1.0, 0.8], [1.0, 0.5])


def test_what_survives_is_shown_from_the_masks(ran):
    text = section(ran[2], "survive")
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"', text)
    assert len(pictures) == 6 and pictures[0] == "xavier_normal at 100 % of the weights: 0 of 64 pixels are read by no weight"
    assert "From the masks of 4 of 4 cells" in text
    names = re.findall(r'<figure id="figure-survive-(\w+)"', text)
    assert names == ["learning_curves", "layer_density", "unit_degrees", "init_density", "overlap"]
    assert "No hidden unit has lost all of its weights." in text  # In the place of a figure with one flat line.


@pytest.fixture
def without_stills(monkeypatch):
    monkeypatch.setattr(charts, "_still", lambda *_: "")


def test_error_barriers_are_shown_where_weights_of_two_orders_were_kept(tmp_path, without_stills):
    orders = [{"label": "order 0", "order_seed": 0}, {"label": "order 1", "order_seed": 1, "control": "transplant", "donor": {"order_seed": 0}}]
    inits = ["xavier_normal", "kaiming_normal"]
    found = run_study(small_study(case=orders, init=inits), tmp_path, workers=1, engine="reference", progress=False, save_weights="all")
    text = page_of(found.study, found.cells, store=found.store)
    barriers = found.connectivity(round=2, splits=("test",)).summary
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section(text, "survive").split("<h3>Connectivity</h3>")[1])
    assert cells == [cell for init, one in zip(inits, barriers, strict=True) for cell in (
        init, "one ticket", "64 %", f"{100 * one['ends']:.2f} %", f"{100 * one['barrier']:.2f} points", "2")]


def test_of_a_convolution_the_page_says_why_no_pixels_are_shown_and_shows_those_of_others(tmp_path, without_stills):
    models = [{"name": "conv2", "width": 0.1, "label": "conv"}, {"name": "mlp", "hidden": [12], "label": "mlp"}]
    found = run_study(small_study(model=models, rounds=1, seeds=1, steps=1), tmp_path, workers=1, engine="reference", progress=False)
    told = said(page_of(found.study, found.cells, store=found.store), "survive")
    assert "mlp 100 % 0 unread" in told and "Which pixels are still read is not shown of conv: the first layer is no linear one" in told


def test_without_a_store_the_page_shows_what_rows_alone_say(pages):
    text = section(pages[0].read_text(), "survive")
    assert "<img" not in text and re.findall(r'figure-survive-(\w+)"', text) == ["learning_curves", "unit_degrees"]
    assert "Every layer keeps the same share of its weights as the whole network." in text


def test_of_many_groups_a_few_are_looked_at_and_the_page_says_which():
    study = FakeStudy(axes={"init": [f"i{n}" for n in range(9)]})
    rows = analysis.tidy(fake_results(study.axes, seeds=2, rounds=6))
    groups = summary.summarise(["init"], rows)
    chosen = survive.choice(study, groups)
    ranked = [one["init"] for one in summary.ordered(groups)]
    assert [group for group, in chosen.groups] == [ranked[0], ranked[3], ranked[5], ranked[8]]
    assert chosen.says == "4 of 9 groups are shown: the most robust, the least robust, and two between."
    assert {row["init"] for row in chosen.rows(study, rows)} == {group for group, in chosen.groups}


def test_ten_images_one_a_class_are_shown_with_their_source(ran):
    text = section(ran[2], "examples")
    assert re.findall(r'alt="A training image of class (\d) of digits"', text) == list("0123456789")
    assert "Alpaydin" in text and "1,437 training and 360 test images of 8 × 8 pixels" in text


def test_images_are_looked_for_where_the_report_is_told(tmp_path, monkeypatch, without_stills):
    study, results = FakeStudy(figures=ONE), fake_results({"init": ["xavier_normal"]}, seeds=1, rounds=1)
    results[0]["cell"] = msgspec.to_builtins(make_cell(dataset="mnist"))

    def load(ref, directories, cache):
        if directories[0] != tmp_path:
            raise UserError(f"{ref.name}: not here")
        return tiny_images(shape=(1, 28, 28))

    monkeypatch.setattr(data, "load_data", load)
    found, lost = (section(page_of(study, results, store=Store(tmp_path / "runs"), data=where), "examples") for where in (tmp_path, None))
    assert found.count("<img") == 10 and "64 training and 32 test images of 28 × 28 pixels" in found
    assert "<img" not in lost and "no image is shown: say where they lie with <code>sweepstake report --data DIR</code>" in lost


# Provenance

def test_provenance_is_in_readable_units_and_differing_values_are_counted():
    results = fake_results({"init": ["a", "b"]}, seeds=2, rounds=1)
    for place, result in enumerate(results):
        result["provenance"] = {"seconds": 5400.0, "finished": f"2026-11-2{place}T10:00:00+00:00", "engine": "fast", "numerics": "fast 1",
                                "versions": {"sweepstake": "0.1.0", "torch": "2.13.0+cpu"},
                                "machine": {"processor": "EPYC" if place else "Xeon", "cores": 2, "memory": 68_719_476_736}}
    told = dict(provenance.facts(results))
    assert told["software"] == "sweepstake 0.1.0, torch 2.13.0+cpu"
    assert told["processor"] == "EPYC, 2 cores (3 cells); Xeon, 2 cores (1 cell)"
    assert told["machine: memory"] == "68.7 GB" and told["numerics"] == "fast 1 (4 cells)"
    assert told["time"] == "6.0 hours of one core in all, 90 minutes to 90 minutes a cell"
    assert told["finished"] == "2026-11-20 10:00 to 2026-11-23 10:00 UTC"


def test_the_commands_run_these_very_cells(ran):
    study = FakeStudy(quick=True, overrides=["lr=[0.1, 0.2]"])
    results = [{**ran[1][0], "provenance": {"versions": {"sweepstake": "0.1.0", "torch": "2.13.0+cpu", "commit": "abc"},
                                            "machine": {"python": "3.11.7"}, "plugins": {"mine.py": "1234"}}}]
    again = provenance.reproduction(study, results)
    assert again["commands"].splitlines() == [
        "python -m pip install sweepstake==0.1.0 torch==2.13.0",
        "sweepstake show prune-ready.toml --quick --set 'lr=[0.1, 0.2]'",
        "sweepstake run prune-ready.toml --quick --set 'lr=[0.1, 0.2]'"]
    assert again["needs"] == "Python 3.11.7, the plug-in mine.py beside the study (sha256 1234)"
    assert "torch 2.13.0+cpu" in again["notes"] and "commit abc" in again["notes"]


@needs_chromium
def test_the_study_is_saved_and_the_commands_are_copied_by_a_button(shown):
    with shown.page.expect_download() as download:
        shown.page.get_by_role("button", name="Save prune-ready.toml").click()
    assert download.value.suggested_filename == "prune-ready.toml"
    assert Path(download.value.path()).read_text() == FakeStudy().text
    shown.page.get_by_role("button", name="Copy the commands").click()
    shown.page.locator("#copied:has-text('Copied.')").wait_for(timeout=5000)


# For everyone

@needs_chromium
def test_nothing_is_wrong_for_other_means_and_nothing_overflows(pages, shown):
    page = shown.page
    assert not shown.overflows()
    page.emulate_media(forced_colors="active")
    assert not shown.overflows()
    page.emulate_media(forced_colors="none", color_scheme="dark")
    assert not shown.overflows()
    page.set_viewport_size({"width": 360, "height": 740})
    assert not shown.overflows()
    page.get_by_label("Filter").fill(pages[1][3]["id"])  # Of 100 rows that are alike, axe would look at each.
    assert page.locator("#run-table tbody tr").count() == 1
    assert shown.faults() == []  # In the dark.
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert shown.faults() == []
    assert shown.console == [] and shown.requests in ([], [pages[0].as_uri()])


@needs_chromium
def test_print_shows_the_tables_and_no_controls(shown):
    shown.page.set_viewport_size({"width": 700, "height": 800})
    shown.page.emulate_media(media="print")
    assert shown.page.locator("#run-table td").first.is_visible() and shown.page.locator("#numbers-table").is_visible()
    assert shown.page.locator(".controls button:visible").count() == 0
    assert not shown.overflows()


def test_a_page_of_2000_cells_is_made_in_time(tmp_path):
    """The sections beside the charts take a fifth of the 20 seconds that a report may take."""
    study = FakeStudy(axes={"init": [f"i{n}" for n in range(8)]})
    results = fake_results(study.axes, seeds=10, rounds=4) * 25  # The same cells again: what is read of them is the same work.
    began = time.process_time()
    rows = analysis.tidy(results)
    runs.section(study, results, rows)
    cost.section(results)
    plan.svg(plan.plan(study, results), plan.WIDE)
    provenance.facts(results)
    assert time.process_time() - began < 8
