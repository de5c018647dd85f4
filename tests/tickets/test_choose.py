"""One cell among many: by axis, label, key; and what is still open where several fit."""

from typing import Any

import msgspec
import pytest

from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.tickets.of_study.choose import choose
from tests.small import small_study

REWINDS: dict[str, Any] = {"reset": ["rewind", {"name": "rewind", "step": 5}], "keep": [0.8, 0.5], "seeds": 2}


def cells(**changes: Any) -> list[Result]:
    return [{"id": each.id, "cell": msgspec.to_builtins(each.cell), "labels": each.labels, "seed": each.cell.seed, "status": "missing",
             "rounds": [], "error": None, "provenance": {}} for each in small_study(**changes).planned]


def labels(**where: Any) -> dict[str, Any]:
    found = choose(cells(**REWINDS), where)
    return {**found["labels"], "seed": found["seed"]}


def test_axes_seed_and_keys_choose_as_numbers_or_as_text():
    expected = {"reset": "rewind(step=5)", "keep": "0.5", "seed": 1}
    assert labels(reset="rewind(step=5)", keep=0.5, seed=1) == expected
    assert labels(reset="rewind(step=5)", keep="0.50", seed="1", model="mlp", lr=0.0012, prune_biases=False) == expected


def test_a_label_wins_over_a_name_that_several_share():
    assert labels(reset="rewind", keep=0.8, seed=0)["reset"] == "rewind"


def test_a_case_is_chosen_by_its_label():
    some = cells(case=[{"label": "slow", "lr": 0.001}, {"label": "fast", "lr": 0.01}], seeds=1)
    assert choose(some, {"case": "fast"})["cell"]["lr"] == 0.01
    assert choose(some, {"lr": 0.001})["labels"] == {"case": "slow"}


def refused(where: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        choose(cells(**(changes or REWINDS)), where)
    return str(caught.value)


def test_what_is_still_open_is_told_with_its_values():
    assert refused({"keep": 0.5}) == (
        "ticket: 4 cells have keep = 0.5, and a ticket is of one. Say which: reset = rewind, rewind(step=5); seed = 0, 1.")
    assert refused({}) == ("ticket: 8 cells are there, and a ticket is of one. Say which: reset = rewind, rewind(step=5); "
                           "keep = 0.8, 0.5; seed = 0, 1.")
    assert refused({}, seeds=14).endswith("seed = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ....")


def test_a_slip_names_the_nearest():
    assert refused({"ressset": "rewind"}).startswith('ticket: ressset: no axis or key of a cell of that name.\n  Did you mean "reset"?')
    assert refused({"keep": 0.7}) == "ticket: keep = 0.7: no value of that name.\n  Did you mean \"0.8\"?  Known: 0.5, 0.8."


def test_values_that_no_cell_has_together_are_told():
    two = {"case": [{"label": "a", "lr": 0.1}, {"label": "b", "lr": 0.2}], "seeds": 1}
    assert refused({"case": "a", "lr": 0.2}, **two) == "ticket: no cell of the study has case = a, lr = 0.2 together."
