"""The tidy table for people: what fits a terminal, and every column aligned."""

import pytest

from sweepstake.read.aligned import aligned, fitting
from sweepstake.read.analysis import Table
from tests.read.fakes import fake_results

AXES = {"init": ["xavier_normal", "mlp(hidden=[300, 100, 100], norm=batch)"]}


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.of(fake_results(AXES, seeds=2, rounds=2))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_a_wider_one_shows_more(table: Table, width: int):
    lines = fitting(table, list(AXES), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 1 + len(table)
    narrower = fitting(table, list(AXES), width - 20).splitlines()
    assert len(lines[0].split()) >= len(narrower[0].split())


def test_a_terminal_first_has_the_axes_seed_round_weights_remaining_and_accuracy(table: Table):
    head, first, *_ = fitting(table, list(AXES), 40).splitlines()
    assert head.split() == ["init", "seed", "round", "kept_fraction", "test_accuracy"]
    assert first.split()[:4] == ["xavie...", "0", "0", "1.0000"]  # No narrower: each label keeps eight characters.


def test_numbers_end_below_each_other_and_words_begin_so(table: Table):
    lines = fitting(table, list(AXES), 120).splitlines()
    assert lines[-1].startswith("mlp(hidden=[300, 100, 100...  ")
    end = lines[0].index("kept_fraction") + len("kept_fraction")
    assert {line[end - 6:end + 1] for line in lines[1:]} == {"1.0000 ", "0.8000 ", "0.6400 "}


def test_a_status_is_told_where_not_every_cell_is_done():
    results = fake_results(AXES, seeds=1, rounds=1)
    assert "status" not in fitting(Table.of(results), list(AXES), 120)
    results[0]["status"] = "diverged"
    assert "status" in fitting(Table.of(results), list(AXES), 120).splitlines()[0]


def test_all_columns_stand_under_their_names_and_nothing_stands_for_what_is_missing(table: Table):
    head, *lines = aligned(table).splitlines()
    assert head.split() == table.columns
    assert len(lines) == len(table) == 12
    early = fake_results(AXES, seeds=1, rounds=1, early=False)
    assert "early_step" in aligned(Table.of(early)).splitlines()[0]
    assert "None" not in aligned(Table.of(early))


def test_a_label_of_wide_characters_takes_the_room_that_it_is_shown_in():
    lines = fitting(Table.of(fake_results({"init": ["\u5e73\u5747", "b"]}, seeds=1, rounds=1)), ["init"], 80).splitlines()
    assert lines[1].startswith("\u5e73\u5747  ") and lines[3].startswith("b     ")
