"""The page in a real browser, without a network."""

import re
import shutil
import subprocess

import pytest

from sweepstake.read.report import write_report
from tests.read.fakes import FakeStudy, fake_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page with")

BY_A_PAGE = 101845102
"""The mark Chromium's network log puts on what a page asked for (the hash of blink_resource_loader); its own calls home have others."""


def browse(path, folder):
    """The page after its scripts ran, what the browser said, and the addresses that the page asked for."""
    log = folder / "net.json"
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000", "--enable-logging=stderr",
         f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True)
    asked = re.findall(rf'"traffic_annotation":{BY_A_PAGE},"url":"(https?:[^"]*)"', log.read_text())
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line], asked


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    study = FakeStudy()
    return browse(write_report(study, fake_results(study.axes, seeds=3, rounds=4), folder), folder)


def charts(dom):
    return re.findall(r'<div class="chart[^>]*>.*?<div class="still">', dom, re.DOTALL)


def test_every_chart_is_drawn_with_marks_that_say_their_numbers(opened):
    assert len(charts(opened[0])) == 3 and all("<svg" in chart for chart in charts(opened[0]))
    assert "xavier_normal, 100 % of weights remaining: test accuracy" in charts(opened[0])[0]
    assert len(re.findall(r'<figure [^>]*class="live"', opened[0])) == 3


def test_every_chart_is_as_wide_as_its_column(opened):
    widths = [float(re.findall(r'class="marks" width="([\d.]+)"', chart)[0]) for chart in charts(opened[0])]
    assert max(widths) - min(widths) <= 3


def test_nothing_breaks_in_the_console(opened):
    assert opened[1] == []


def test_no_request_leaves_the_page_while_one_with_a_picture_from_elsewhere_is_caught(opened, tmp_path):
    (tmp_path / "page.html").write_text('<img src="http://127.0.0.1:9/picture.png">')
    assert browse(tmp_path / "page.html", tmp_path)[2][:1] == ["http://127.0.0.1:9/picture.png"]
    assert opened[2] == []
