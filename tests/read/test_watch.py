"""The live page: what its server refuses, what it follows, and what is left of it when a run, a store or the server is gone."""

import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sweepstake.read.watch import Server, Watched
from sweepstake.read.watch import watched as watched_module
from sweepstake.run import run
from sweepstake.run.store import Store
from sweepstake.study.study import Study
from tests.read.browser import chromium, needs_chromium
from tests.small import small_study

WAITING = 'id="waiting"'
HOSTILE = '</title></script><script>document.title = "taken"</script><img src=x onerror=alert(1)>'
CHANGES: dict[str, Any] = {"init": ["xavier_normal", "kaiming_normal"], "rounds": 4, "title": HOSTILE, "about": "Does it hold? It trains and prunes.",
                           "claim": [{"says": f"It holds {n}.", "test": "matches_dense", "kept": 0.512, "margin": 0.9} for n in range(6)],
                           "figure": [{"kind": "accuracy_by_kept"}, {"kind": "learning_curves"}]}


def served(study: Study, folder: Path, *, follows: bool = True) -> Server:
    """A server that answers, in threads of this process."""
    server = Server(Watched(study, folder, "a-nonce"), 0)
    if follows:
        threading.Thread(target=server.watched.follow, daemon=True).start()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def ask(server: Server, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """What it answers; of pages the first that is made, for a slow machine shows before it that it is being made."""
    while (said := ask_once(server, path, method, **headers))[2].find(WAITING) > 0:
        pass
    return said


def ask_once(server: Server, path: str, method: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    said = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return said


@pytest.fixture(scope="module")
def study() -> Study:
    return small_study(**CHANGES)


@pytest.fixture(scope="module")
def whole(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The study, run: its store and its results."""
    folder = tmp_path_factory.mktemp("whole") / "runs"
    return folder, run.run_study(study, folder, stack=4)


@pytest.fixture
def fed(study: Study, whole: tuple[Path, list[Any]], tmp_path: Path) -> Iterator[Any]:
    """A store into which a test puts rounds of the study, and its server."""
    store = Store(tmp_path / "runs")

    def put(place: int, rounds: int) -> None:
        result, planned = whole[1][place], study.planned[place]
        if store.asked(planned.id) is None:
            store.begin(planned.id, planned.cell)
        store.save_state(planned.id, result["rounds"][:rounds], {"w": torch.zeros(1)}, {})

    server = served(study, store.folder)
    yield server, put, store
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def empty(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = served(study, tmp_path_factory.mktemp("empty") / "runs")
    yield server
    server.shutdown()
    server.server_close()


# What it refuses

def test_it_listens_on_this_machine_alone(empty: Server):
    assert empty.server_address[0] == "127.0.0.1"
    assert empty.address == f"http://127.0.0.1:{empty.server_port}/"


@pytest.mark.parametrize(("host", "status"), [
    ("127.0.0.1:PORT", 200), ("localhost:PORT", 200), ("LOCALHOST:PORT", 200), ("127.0.0.1", 403), ("localhost:1", 403), ("evil.example:PORT", 403),
    ("127.0.0.1.evil.example:PORT", 403), ("", 403)])
def test_another_host_is_refused(empty: Server, host: str, status: int):
    for path in ("/", "/changes", "/report"):
        assert ask(empty, path, Host=host.replace("PORT", str(empty.server_port)))[0] == status


@pytest.mark.parametrize(("origin", "status"), [
    ("http://127.0.0.1:PORT", 200), ("http://localhost:PORT", 200), ("http://evil.example", 403), ("null", 403), ("https://127.0.0.1:PORT", 403),
    ("http://127.0.0.1:1", 403)])
def test_a_page_of_another_origin_is_refused(empty: Server, origin: str, status: int):
    assert ask(empty, "/changes", Origin=origin.replace("PORT", str(empty.server_port)))[0] == status


def test_a_request_without_a_host_or_with_two_is_refused(empty: Server):
    for lines in ("", f"Host: 127.0.0.1:{empty.server_port}\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", empty.server_port)) as line:
            line.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.0 403 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "MKCOL"])
def test_it_is_only_read(empty: Server, method: str):
    status, headers, said = ask(empty, "/", method)
    assert (status, headers["Allow"], said) == (405, "GET, HEAD", "Method Not Allowed. This page is only read.\n")


def test_head_is_a_get_without_its_body(empty: Server):
    (status, headers, said), (_, whole, body) = ask(empty, "/", "HEAD"), ask(empty)
    assert (status, said, headers["Content-Length"]) == (200, "", whole["Content-Length"]) and len(body) > 1000


@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/sweepstake-store.json", "/cells", "/report/", "/changes.json",
    "/figures/1-accuracy_by_kept.svg", "/<script>alert(1)</script>"])
def test_nothing_but_the_page_is_there_and_no_word_of_a_request_is_repeated(empty: Server, path: str):
    status, headers, said = ask(empty, path)
    assert (status, said) == (404, "Nothing is here but the page, at /.\n")
    assert headers["Content-Type"].startswith("text/plain")


def test_every_answer_says_that_it_is_not_kept_not_guessed_and_not_framed(empty: Server):
    for path, method in (("/", "GET"), ("/changes", "GET"), ("/report", "GET"), ("/nowhere", "GET"), ("/", "POST")):
        headers = ask(empty, path, method)[1]
        assert [headers[name] for name in ("Cache-Control", "X-Content-Type-Options", "X-Frame-Options", "Cross-Origin-Resource-Policy")] == [
            "no-store", "nosniff", "DENY", "same-origin"]
        assert headers["Server"].strip() == "sweepstake"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")


def test_the_pages_policy_lets_only_its_own_scripts_run_and_only_this_server_be_asked(empty: Server):
    policy = dict(part.split(" ", 1) for part in ask(empty)[1]["Content-Security-Policy"].split("; "))
    assert policy == {"default-src": "'none'", "script-src": "'nonce-a-nonce' 'unsafe-eval'", "style-src": "'unsafe-inline'", "img-src": "data:",
                      "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}


def test_a_hostile_title_is_shown_as_it_is_written(empty: Server):
    for path in ("/", "/report"):
        said = ask(empty, path)[2]
        assert "<script>document" not in said and "<img src=x" not in said
        assert "&lt;/title&gt;&lt;/script&gt;&lt;script&gt;document.title = &#34;taken&#34;&lt;/script&gt;" in said


# What it follows

def test_a_store_that_is_not_there_is_told_in_a_line_and_is_not_made(empty: Server):
    state = json.loads(ask(empty, "/changes")[2])
    assert state["problem"] == f'store "{empty.watched.folder}": nothing is there yet. Run a study first, or name another with --store DIR.'
    assert not empty.watched.folder.exists()
    assert "No round has finished yet" in ask(empty)[2]


def test_unfinished_cells_count_with_the_rounds_that_they_have(fed: Any):
    server, put, _ = fed
    put(0, 2)
    put(1, 1)
    watched = Watched(server.watched.study, server.watched.folder, "n")
    assert watched.look() and watched.make()
    state = watched.state
    assert (state.version, state.cells, state.whole, state.running, state.rounds, state.planned, state.over) == (1, 4, 0, 0, 3, 20, False)
    assert b"accuracy against weights remaining" in watched.made.whole


def test_a_page_is_made_again_only_when_a_cells_files_have_changed(fed: Any, monkeypatch: pytest.MonkeyPatch):
    server, put, store = fed
    put(0, 1)
    put(1, 1)
    watched, read = Watched(server.watched.study, store.folder, "n"), list[str]()
    look = Store.look
    monkeypatch.setattr(Store, "look", lambda self, id_: (read.append(id_), look(self, id_))[1])
    assert [watched.look(), watched.make(), watched.look(), watched.make()] == [True, True, False, False]
    put(1, 2)
    read.clear()
    assert [watched.look(), watched.look(), watched.make(), watched.make()] == [True, False, True, False]
    assert read == [server.watched.study.planned[1].id]


def test_what_cells_have_beyond_the_page_is_told_until_the_page_has_it(study: Study, whole: tuple[Path, list[Any]], fed: Any):
    _, put, store = fed
    put(0, 2)
    put(1, 1)
    watched = Watched(study, store.folder, "n")
    watched.look()
    watched.make()
    assert watched.state_for(1, 0).news == []

    put(1, 3)
    watched.look()

    (news,) = watched.state_for(1, 0).news
    records = whole[1][1]["rounds"][:3]
    assert (news["place"], news["labels"], news["seed"], news["views"]) == (1, {"init": "xavier_normal"}, 1, [0])
    assert [(row["round"], row["diverged"]) for row in news["rows"]] == [(1, False), (2, False)]
    accuracies = [each["end"]["test"]["accuracy"] for each in records[1:]]
    assert [row["values"]["test_accuracy"] for row in news["rows"]] == pytest.approx(accuracies, rel=1e-5)
    assert news["line"][:4] + news["line"][-1:] == ["xavier_normal", 1, "begun", 3, study.planned[1].id]
    assert watched.state_for(1, watched.state.seen).news == []  # The browser has it.
    assert watched.state_for(7, 0).news == ()  # It shows another page.

    watched.make()
    assert watched.state_for(2, 0).news == []


def test_of_a_cell_that_failed_or_was_begun_anew_no_round_is_added_to_the_page(study: Study, fed: Any):
    _, put, store = fed
    put(0, 2)
    put(1, 3)
    watched = Watched(study, store.folder, "n")
    watched.look()
    watched.make()
    store.fail(study.planned[0].id, "no reason", "", {})
    put(1, 1)
    watched.look()
    assert [(each["line"][2:4], each["rows"]) for each in watched.state_for(1, 0).news] == [(["failed", 0], []), (["begun", 1], [])]


def test_a_look_writes_nothing_into_the_store(fed: Any):
    server, put, store = fed
    put(0, 3)
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    watched = Watched(server.watched.study, store.folder, "n")
    watched.look()
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


def test_who_computes_is_counted_and_a_run_has_ended_once_nobody_does_for_a_while(study: Study, fed: Any):
    _, put, store = fed
    put(0, 1)
    watched = Watched(study, store.folder, "n")
    with store.claim(study.planned[0].id), store.claim("f" * 16):
        watched.look()
        assert (watched.state.running, watched.state.others, watched.state.over) == (1, True, False)
    over = list[bool]()
    for _ in range(8):
        watched.look()
        over.append(watched.state.over)
    assert over == [False] * 7 + [True]


def test_a_store_that_goes_or_is_damaged_is_told_in_a_line_and_the_page_stays(study: Study, fed: Any):
    _, put, store = fed
    put(0, 2)
    watched = Watched(study, store.folder, "n")
    watched.look()
    watched.make()
    made = watched.made
    marker = store.folder / "sweepstake-store.json"
    text = marker.read_text()
    for content in ("not ours", None):
        marker.write_text(content) if content else store.folder.rename(store.folder.with_name("away"))
        watched.look()
        assert watched.state.problem.startswith(f'store "{store.folder}": ') and "\n" not in watched.state.problem
        assert watched.made is made
    store.folder.with_name("away").rename(store.folder)
    marker.write_text(text)
    watched.look()
    assert (watched.state.problem, watched.state.version) == ("", 1)


def test_a_damaged_cell_is_told_on_the_page(study: Study, fed: Any):
    _, put, store = fed
    put(0, 2)
    put(1, 1)
    (store.folder / "cells" / study.planned[1].id / "state.safetensors").write_bytes(b"no")
    watched = Watched(study, store.folder, "n")
    watched.look()
    watched.make()
    assert b"1 of 4 cells damaged on disk" in watched.made.whole


def test_until_there_is_a_page_it_is_told_what_is_done_to_make_it(study: Study, fed: Any, monkeypatch: pytest.MonkeyPatch):
    _, put, store = fed
    put(0, 2)
    server, read = served(study, store.folder, follows=False), list[str]()
    monkeypatch.setattr(watched_module, "HELD_SECONDS", 0.01)

    def told() -> str:
        status, headers, said = ask_once(server, "/", "GET")
        assert status == 200 and WAITING in said and "&lt;script&gt;document" in said
        assert "script-src 'nonce-a-nonce'" in headers["Content-Security-Policy"]
        return said

    look = Store.look
    monkeypatch.setattr(Store, "look", lambda self, id_: (read.append(told()), look(self, id_))[1])
    put(1, 1)
    server.watched.look()
    assert ["Reading the store: 0 of 4 cells." in read[0], "Reading the store: 1 of 4 cells." in read[1]] == [True, True]
    assert "Making the figures and verdicts of 4 cells." in told()
    server.watched.make()
    assert WAITING not in ask_once(server, "/", "GET")[2]


# In a browser

@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def line(page: Any) -> str:
    return page.locator("#live").inner_text().replace("\n", " ")


def wait_for_line(page: Any, pattern: str, seconds: float = 60) -> None:
    """Until the line at the top of the page is as said."""
    began = time.monotonic()
    while not re.search(pattern, line(page)):
        assert time.monotonic() - began < seconds, f"the line never was {pattern}, but: {line(page)}"
        time.sleep(0.05)


@needs_chromium
def test_a_page_that_takes_long_to_make_comes_by_itself(study: Study, fed: Any, browser: Any):
    _, put, store = fed
    put(0, 2)
    server = served(study, store.folder, follows=False)
    with browser.open(server.address) as opened:
        assert opened.page.locator("main").inner_text().splitlines()[0] == "Reading the store: 0 of 4 cells."
        assert not opened.faults()
        threading.Thread(target=server.watched.follow, daemon=True).start()
        wait_for_line(opened.page, "2 of 20 rounds")
        assert opened.console == []


@needs_chromium
def test_a_round_appears_within_two_seconds_of_its_being_in_the_store(fed: Any, browser: Any):
    server, put, _ = fed
    put(0, 1)
    with browser.open(server.address) as opened:
        wait_for_line(opened.page, "1 of 20 rounds")
        took = list[float]()
        for rounds in range(2, 6):
            time.sleep(0.3 * rounds)
            put(0, rounds)
            put(1, rounds - 1)
            text = f", {2 * rounds - 1} of 20 rounds"
            began = time.monotonic()
            opened.page.wait_for_function("text => document.getElementById('live').textContent.includes(text)", arg=text, timeout=60000)
            took.append(time.monotonic() - began)
        assert statistics.median(took) < 2
        opened.page.wait_for_function("document.querySelectorAll('#figure-1-accuracy_by_kept svg').length > 0")
        assert opened.page.title() == HOSTILE
        assert opened.console == []
        assert {request.removeprefix(server.address).partition("?")[0] for request in opened.requests} <= {"", "changes", "report"}
        assert opened.requests.count(f"{server.address}report") <= 5  # What it has it does not ask for.


@needs_chromium
def test_rounds_are_in_the_chart_and_the_table_before_the_next_page_is_made(study: Study, fed: Any, browser: Any, monkeypatch: pytest.MonkeyPatch):
    _, put, store = fed
    put(0, 2)
    put(1, 1)
    make, may = Watched.make, threading.Event()
    monkeypatch.setattr(Watched, "make", lambda self: (self.made.version == 0 or may.is_set()) and make(self))
    server = served(study, store.folder)
    shown = """seeds => [...document.querySelectorAll("#figure-1-accuracy_by_kept svg [aria-label]")]
        .filter(each => each.getAttribute("aria-label").endsWith(`, ${seeds} seeds`)).length"""
    with browser.open(server.address) as opened:
        page = opened.page
        page.wait_for_function(f"({shown})(1) === 1")  # Round 1 is of one seed, round 0 of two.
        page.locator("#figure-1-accuracy_by_kept select[data-sets=error]").select_option("ci")
        assert "verdicts as of" not in line(page)

        put(1, 3)

        page.wait_for_function(f"({shown})(2) === 2 && ({shown})(1) === 1")
        wait_for_line(page, ", 5 of 20 rounds; verdicts as of ")
        assert page.locator("#run-table tbody tr").nth(1).inner_text().split("\t")[:4] == ["xavier_normal", "1", "begun", "3"]
        assert page.locator("#figure-1-accuracy_by_kept select[data-sets=error]").input_value() == "ci"
        page.locator("#figure-1-accuracy_by_kept details.numbers summary").click()
        intervals = """() => [...document.querySelectorAll("#figure-1-accuracy_by_kept details.numbers tbody tr")]
            .map(row => row.cells[5].innerText !== "–")"""
        page.wait_for_function(f"() => ({intervals})().join() === 'true,false,false'")  # Of what is newer than the page there is none.
        may.set()
        wait_for_line(page, "5 of 20 rounds$")
        page.wait_for_function(f"() => ({intervals})().join() === 'true,true,false'")
        assert opened.console == []


@needs_chromium
def test_what_a_reader_has_set_opened_and_scrolled_to_stays_when_the_page_follows(fed: Any, browser: Any):
    server, put, _ = fed
    for place in range(4):
        put(place, 2)
    with browser.open(server.address) as opened:
        page = opened.page
        figure = page.locator("#figure-1-accuracy_by_kept")
        figure.locator("select[data-sets=y]").select_option("test_loss")
        page.get_by_label("Filter").fill("done")
        assert page.locator("#run-count").inner_text() == "0 of 4 runs"
        opened_by_hand = ("header details", "#answer details", "#figure-1-accuracy_by_kept details.numbers")
        for where in opened_by_hand:
            page.locator(f"{where} > summary").click()
        page.evaluate("document.querySelector('#answer').dataset.old = 'yes'")
        page.evaluate("document.querySelector('#provenance').scrollIntoView()")
        top = page.evaluate("document.querySelector('#provenance').getBoundingClientRect().top")
        time.sleep(1.2)
        put(0, 4)
        wait_for_line(page, "10 of 20 rounds")
        page.wait_for_function("document.querySelector('#answer').dataset.old === undefined")  # It says something else with the next page.
        assert [page.locator(where).evaluate("one => one.open") for where in opened_by_hand] == [True] * 3
        assert page.get_by_label("Filter").input_value() == "done" and page.locator("#run-count").inner_text() == "0 of 4 runs"
        assert abs(page.evaluate("document.querySelector('#provenance').getBoundingClientRect().top") - top) < 3
        assert figure.locator("select[data-sets=y]").input_value() == "test_loss"
        page.wait_for_function("document.querySelector('#figure-1-accuracy_by_kept').textContent.includes('Test loss')")
        page.get_by_label("Filter").fill("begun")
        page.wait_for_function("document.querySelector('#run-table tbody').textContent.startsWith('xavier_normal0begun4')")  # Not 2: it follows.
        assert opened.console == []


@needs_chromium
def test_when_the_server_is_gone_the_page_says_so_and_stays_readable(study: Study, whole: tuple[Path, list[Any]], browser: Any):
    server = served(study, whole[0])
    with browser.open(server.address) as opened:
        wait_for_line(opened.page, "the run has ended")
        assert "4 of 4 cells: the run has ended updated " in line(opened.page)
        server.shutdown()
        server.server_close()
        wait_for_line(opened.page, "no connection: what is shown stays readable")
        assert opened.page.locator("#figure-1-accuracy_by_kept svg").count() > 0
        assert opened.page.locator("#numbers tbody tr").count() == 2
        assert opened.faults() == []


@needs_chromium
def test_the_kill_of_a_run_leaves_the_page_readable(tmp_path: Path, browser: Any):
    """The commands themselves: a run fills the store, `watch` shows it, and the run is killed."""
    (tmp_path / "small.toml").write_text('title = "Killed"\nmodel = {name = "mlp", hidden = [12]}\nsteps = 100\neval_every = 100\n'
                                       'keep = 0.99\nrounds = 1000\nseeds = 2\n')
    environment = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": ""}

    def start(command: str, *more: str) -> Any:
        said = [sys.executable, "-m", "sweepstake", command, str(tmp_path / "small.toml"), "--store", str(tmp_path / "runs"), *more]
        return subprocess.Popen(said, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    running, watching = start("run", "--stack", "1", "--engine", "reference"), start("watch")
    try:
        with browser.open(watching.stdout.readline().strip()) as opened:
            wait_for_line(opened.page, r"0 of 2 cells, [12] running .*, [1-9][\d,]* of 2,002 rounds", 120)
            running.send_signal(signal.SIGKILL)
            running.wait()
            wait_for_line(opened.page, "0 of 2 cells: the run has ended")
            assert opened.page.locator("h1").inner_text() == "Killed"
            opened.page.wait_for_function("document.querySelectorAll('figure svg').length > 0")
            watching.send_signal(signal.SIGINT)
            assert watching.wait(30) == 130
            wait_for_line(opened.page, "no connection")
        assert "The page has ended. What a browser shows of it stays readable." in watching.stderr.read()
    finally:
        for process in (running, watching):
            process.kill()
            process.communicate()
