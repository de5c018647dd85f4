"""[search]: the space, the trials' cells, and what waits for the found value."""

from typing import Any

import pytest

from sweepstake.base.errors import UserError
from sweepstake.study.search import Range, in_words, with_found
from sweepstake.study.study import Study, read_study
from tests.small import SMALL

SPACE: dict[str, Any] = {"name": ["xavier_normal", "signed_constant"], "scale": {"fc1": {"low": 0.1, "high": 10, "log": True}}}
SEARCH: dict[str, Any] = {"options": SPACE, "trials": 5, "seeds": [100, 101]}


def study(search: dict[str, Any] | None = None, **changes: Any) -> Study:
    table = {**SMALL, "validation": 200, "init": ["kaiming_normal", "found"], "search": {**SEARCH, **(search or {})}, **changes}
    return read_study(table, name="small", text="# small\n")


def search_of(study: Study) -> Any:
    assert study.search
    return study.search


def wrong(search: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        study(search, **changes)
    return str(caught.value)


def test_the_found_value_is_a_label_of_its_axis_and_its_cells_wait():
    made = study()
    assert made.axes == {"init": ["kaiming_normal", "found"]}
    assert [(p.labels["init"], p.waits) for p in made.planned] == [("kaiming_normal", False)] * 2 + [("found", True)] * 2
    assert made.seeds == [0, 1]


def test_cells_that_need_no_search_keep_their_ids():
    plain = read_study({**SMALL, "validation": 200, "init": ["kaiming_normal", "xavier_normal"]}, name="small")
    assert [p.id for p in study().planned[:2]] == [p.id for p in plain.planned[:2]]


def test_a_cell_that_waits_is_no_cell_that_could_have_a_result():
    made = study()
    found = search_of(made).ref({"name": "xavier_normal", "scale.fc1": 0.5})
    filled = [with_found(p.cell, found) for p in made.planned if p.waits]
    middle = read_study({**SMALL, "validation": 200, "init": {"name": "xavier_normal", "scale": {"fc1": 1.0}}}, name="small")
    assert {p.id for p in made.planned if p.waits} & {p.id for p in middle.planned} == set()
    assert [cell.init for cell in filled] == [found, found]
    assert (found.name, found.options, found.source) == ("xavier_normal", {"scale": {"fc1": 0.5}}, "")


def test_a_point_of_the_space_is_the_cell_that_a_study_file_would_say():
    said = read_study({**SMALL, "validation": 200, "rounds": 1, "init": {"name": "signed_constant", "scale": {"fc1": 2.5}}, "seeds": [100, 101]},
                      name="small")
    trial = search_of(study({"cell": {"rounds": 1}})).trial({"name": "signed_constant", "scale.fc1": 2.5})
    assert [id_ for id_, _ in trial] == [p.id for p in said.planned]


def test_the_search_id_moves_with_what_can_change_what_is_found_and_with_nothing_else():
    one = search_of(study()).id
    assert search_of(study(seeds=3)).id == one
    assert search_of(study(init=["found", "xavier_normal"])).id == one
    others = [search_of(study(change)).id for change in ({"trials": 6}, {"batch": 4}, {"seed": 1}, {"seeds": [102]}, {"cell": {"steps": 5}},
                                                         {"metric": "validation_loss"}, {"options": {**SPACE, "name": "xavier_normal"}})]
    assert len({one, *others, search_of(study(lr=0.01)).id}) == 9


def test_another_name_of_the_found_value_is_the_same_search():
    assert search_of(study({"name": "mine"}, init=["kaiming_normal", "mine"])).id == search_of(study()).id


def test_ranges_round_to_four_digits_and_never_leave_their_ends():
    assert Range(0.1, 10).rounded(3.14159) == 3.142
    assert Range(0.12344, 10).rounded(0.12344) == 0.12344
    assert (Range(0.1, 10, True).middle, Range(0.0, 10.0).middle) == (1.0, 5.0)


def test_quick_and_set_change_a_search_in_part():
    table = {**SMALL, "validation": 200, "init": ["kaiming_normal", "found"], "search": SEARCH, "quick": {"search": {"trials": 2}}}
    quick = search_of(read_study(table, name="small", quick=True))
    assert (quick.spec.trials, quick.spec.seeds) == (2, [100, 101])
    assert search_of(read_study(table, name="small", overrides=["search.trials=3"])).spec.trials == 3


def test_a_seed_that_judges_is_refused():
    assert "[search]: seeds: 1 also judges (seeds of the study)" in wrong({"seeds": [1, 100]})


def test_a_search_without_images_held_out_is_refused():
    assert 'metric = "validation_accuracy" needs images held out' in wrong(validation=0)


def test_the_test_set_is_no_metric_of_a_search():
    assert 'metric = "test_accuracy": expected "validation_accuracy" or "validation_loss"' in wrong({"metric": "test_accuracy"})


def test_a_level_that_no_round_keeps_is_told_before_anything_runs():
    assert "kept = 0.3: no round of a trial keeps that; the nearest keeps 0.64" in wrong({"kept": 0.3})
    assert search_of(study({"kept": [0.8, 0.64]})).spec.kept == [0.8, 0.64]


def test_an_axis_must_have_one_value_in_trials():
    axis = {"criterion": ["magnitude", "random"]}
    assert "criterion is an axis, and a trial has one value. Say which in [search.cell]." in wrong(**axis)
    assert search_of(study({"cell": {"criterion": "random"}}, **axis)).cells[0].criterion.name == "random"


@pytest.mark.parametrize(("options", "said"), [
    ({"name": "xavier_normul", "scale": [1.0, 2.0]}, "xavier_normul"),
    ({"name": ["xavier_normal", "zeros"], "scale": {"low": 1, "high": 2}}, "zeros"),
    ({"name": "xavier_normal", "width": {"low": 1, "high": 2}}, "no option of xavier_normal"),
    ({"name": "xavier_normal", "scale": {"low": -1, "high": 2}}, "scale = -1"),
    ({"name": "xavier_normal", "scale": {"low": 3, "high": 2}}, "low must be below high"),
    ({"name": "xavier_normal", "scale": {"low": 0, "high": 2, "log": True}}, "above 0 for log = true"),
    ({"name": "xavier_normal", "scale": {"low": 1}}, "a range is {low = 0.1, high = 10}"),
    ({"name": "xavier_normal"}, "nothing varies"),
    ({"scale": {"low": 1, "high": 2}}, "needs name"),
])
def test_a_space_that_cannot_be_is_told(options: dict[str, Any], said: str):
    assert said in wrong({"options": options})


def test_a_search_that_nothing_waits_for_is_told():
    assert 'init names no "found". Put it where the found value goes' in wrong(init="xavier_normal")


def test_found_without_a_search_is_an_unknown_init():
    with pytest.raises(UserError, match="found"):
        read_study({**SMALL, "init": ["xavier_normal", "found"]}, name="small")


def test_an_account_in_words_says_how_far_it_is_and_then_what_was_found():
    account = {"name": "found", "field": "init", "metric": "validation_loss", "of": 3, "found": None, "trials": [{"value": 0.3}, {"value": None}]}
    assert in_words(account) == '2 of 3 trials have ended; "found" is not found yet.'
    whole = {**account, "found": {"name": "normal", "std": 0.5}, "trials": [*account["trials"], {"value": 0.2}]}
    assert in_words(whole) == '"found" is init = {name = "normal", std = 0.5}: validation_loss 0.2000, best of 3 trials.'
