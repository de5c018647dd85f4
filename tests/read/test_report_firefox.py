"""The demo's report in Firefox, without a network and in the dark: charts, keys and files work as they do in Chromium."""

import csv
import time

import pytest

from sweepstake.read.page import charts
from sweepstake.read.page.document import page as page_of
from sweepstake.study.study import load_study
from tests.read.fakes import fake_results
from tests.read.firefox import firefox, needs_firefox

pytestmark = needs_firefox
MAIN = "#figure-1-accuracy_by_kept"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("firefox")


@pytest.fixture(scope="module")
def opened(folder):
    """The demo's page, with numbers that were drawn, open."""
    study = load_study("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "_still", lambda *_: "")
        (folder / "report.html").write_text(page_of(study, fake_results(dict(study.axes), seeds=3, rounds=10)), "utf-8")
    (folder / "profile").mkdir()
    with firefox(folder / "profile") as browser:
        browser.open(folder / "report.html", 1280, 800)
        drawn(browser)
        yield browser


def drawn(browser, figure=MAIN):
    """After a figure is drawn, and all that was asked of it."""
    browser.run(f"""(async () => {{ const figure = document.querySelector("{figure}");
        figure.scrollIntoView();
        while (!figure.classList.contains("live")) await new Promise(done => setTimeout(done, 20));
        await window.report.settled(); }})()""")


def marks(browser):
    return browser.run(f"""[...document.querySelectorAll("{MAIN} .plot .mark-symbol.role-mark path")].map(one => one.getAttribute("aria-label"))""")


def test_it_opens_in_the_dark_with_all_charts_and_no_word_in_the_console_nor_a_request(opened):
    figures = opened.run("[...document.querySelectorAll('figure')].map(one => one.id)")
    assert len(figures) == 3
    for figure in figures:
        drawn(opened, f"#{figure}")
    assert opened.run("document.querySelectorAll('figure.live .plot svg').length") == len(figures)
    assert opened.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    assert opened.run(f"getComputedStyle(document.querySelector('{MAIN} .plot svg')).backgroundColor") == "rgb(20, 23, 27)"
    assert opened.console == []
    assert [one for one in opened.requests if not one.startswith("data:")] == []  # BiDi tells no file.


def test_another_metric_is_shown(opened):
    opened.run(f"""(() => {{ const select = document.querySelector("{MAIN} select[data-sets=y]");
        select.value = "test_loss"; select.dispatchEvent(new Event("change")); }})()""")
    drawn(opened)
    assert "test loss" in marks(opened)[0] and opened.run(f"document.querySelector('{MAIN} h3').textContent") == "Test loss against weights remaining"
    opened.run(f"document.querySelector('{MAIN} [data-does=reset]').click()")
    drawn(opened)


def test_a_click_on_a_group_shows_it_alone(opened):
    opened.run(f"document.querySelector('{MAIN} .groups button').click()")
    drawn(opened)
    assert {one.split(",")[0] for one in marks(opened)} == {"xavier_normal"}
    assert opened.run(f"document.querySelector('{MAIN} .shows').textContent").startswith("Showing 1 of 4: xavier_normal.")
    opened.run(f"document.querySelector('{MAIN} [data-does=all]').click()")
    drawn(opened)
    assert len(marks(opened)) == 44


def test_arrow_keys_walk_the_points_and_read_them_out(opened):
    opened.run(f"document.querySelector('{MAIN} .chart').focus()")
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Escape"):
        opened.press(key)
        told.append(opened.run("document.getElementById('readout').textContent"))
    assert [one.partition(" of weights")[0] for one in told] == ["xavier_normal, 100 %", "xavier_normal, 80 %", "xavier_uniform, 80 %", ""]
    assert opened.run("document.getElementById('readout').ariaLive") == "polite"


@pytest.mark.parametrize(("button", "name", "lines"), [(f"{MAIN} .set:last-child button:last-child", "1-accuracy_by_kept.csv", 45),
                                                       ("[data-rows]", "rows.csv", 133)])
def test_numbers_come_out_as_files(opened, folder, button, name, lines):
    opened.run(f"document.querySelector('{button}').click()")
    file, began = folder / "profile" / name, time.monotonic()
    while not (file.exists() and file.stat().st_size) and time.monotonic() - began < 20:
        time.sleep(0.02)
    rows = list(csv.reader(file.read_text("utf-8").splitlines()))
    assert len(rows) == lines and "init" in rows[0] and {len(row) for row in rows} == {len(rows[0])}


def test_a_phones_360_pixels_are_enough(opened, folder):
    opened.open(folder / "report.html", 360, 740)
    drawn(opened)
    assert opened.run("[innerWidth, document.documentElement.scrollWidth <= document.documentElement.clientWidth]") == [360, True]
    assert opened.console == []
