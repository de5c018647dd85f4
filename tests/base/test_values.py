"""Mistakes are told in the words of a study file."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from sweepstake.base.cell import Scaling
from sweepstake.base.errors import UserError, one_of, unknown
from sweepstake.base.values import convert, expected, read_table, shown


@pytest.mark.parametrize(("value", "text"), [
    (True, "true"), (1, "1"), (0.5, "0.5"), ("a\"b", '"a\\"b"'), ([1, "x", [False]], '[1, "x", [false]]'), ({"a": {"b": 1}}, "{a = {b = 1}}"),
    (2**3000, "a whole number of"), ("x" * 300, '"xxx')])
def test_a_value_is_shown_as_a_study_file_writes_it(value, text):
    assert shown(value).startswith(text)
    assert len(shown(value)) <= 100


@pytest.mark.parametrize(("type_", "words"), [
    (Annotated[int, Meta(ge=1)], "a whole number at least 1"),
    (Annotated[float, Meta(gt=0, le=1)] | None, "a number more than 0, at most 1"),
    (Literal["adam", "sgd"], '"adam" or "sgd"'),
    (bool, "true or false"),
    (list[str], "a list, each text in quotes"),
    (dict[str, float], "a table, each value a number"),
    (Scaling, "a table of mean or std"),
    (Annotated[int, Meta(ge=0, le=2**63 - 1)], "a whole number at least 0")])
def test_a_type_is_told_in_words(type_, words):
    assert expected(type_) == words


@pytest.mark.parametrize("value", [float("inf"), float("nan"), [1.0, float("inf")], {"a": -float("inf")}, 2**63])
def test_no_infinity_no_nan_and_no_endless_number_passes(value):
    with pytest.raises(UserError, match="not a number to compute with"):
        convert(value, float | list[float] | dict[str, float], "here")


class Row(msgspec.Struct):
    name: str
    count: int = 1


def test_a_table_tells_all_its_mistakes():
    problems: list[str] = []
    assert read_table({"count": "x", "cuont": 1}, Row, "[[row]] 1", problems) is None
    assert problems == [
        '[[row]] 1: count = "x": expected a whole number.',
        '[[row]] 1: cuont: no key of that name.\n  Did you mean "count"?  Known: count, name.',
        "[[row]] 1: needs name: text in quotes."]
    assert read_table({"name": "a"}, Row, "[[row]] 1", problems) == Row("a", 1)


def test_a_name_far_from_all_gets_no_guess():
    assert unknown("x", "init", "qqq", ["b", "a"]) == "x: no init of that name.\n  Known: a, b."
    assert unknown("x", "init", "qqq", []) == "x: no init of that name.\n  Known: (none)."
    assert one_of(["a"]) == "a"
    assert one_of(["a", "b", "c"]) == "a, b or c"


def test_sixteen_names_are_listed_and_of_more_the_likely_one_and_the_command_that_lists_all():
    few, many = [f"layer{number}" for number in range(16)], [f"layer{number}" for number in range(17)]
    listing = "`sweepstake pieces study`"
    assert unknown("x", "layer", "layre3", few) == f"x: no layer of that name.\n  Did you mean \"layer3\"?  Known: {', '.join(sorted(few))}."
    assert unknown("x", "key", "layre3", few, lists=listing).endswith(".\n  List them with `sweepstake pieces study`.")
    assert unknown("x", "key", "layre3", many, lists=listing) == (
        'x: no key of that name.\n  Did you mean "layer3"?  `sweepstake pieces study` lists all 17.')
    assert unknown("x", "key", "qqq", many, "Or say none.", lists=listing) == (
        "x: no key of that name.\n  `sweepstake pieces study` lists all 17.\n  Or say none.")
    told = unknown("x", "layer", "layre3", [f"layer{number}" for number in range(1216)])
    assert told.endswith(" and 1,200 more.") and "layer3," in told and len(told) < 250


@pytest.mark.parametrize(("said", "meant"), [
    ("learning_rate", "lr"), ("Learning-Rate", "lr"), ("num_epochs", "epochs"), ("optimizer", "optimiser"), ("weight_init", "init"),
    ("glorot_uniform", "xavier_uniform")])
def test_a_word_of_another_library_is_known_by_ours(said: str, meant: str):
    assert f'Did you mean "{meant}"?' in unknown("x", "key", said, [meant, "weight_decay", "xavier_normal"])
    assert f'"{meant}"' not in unknown("x", "key", said, ["weight_decay"])


def test_a_word_for_what_is_removed_is_told_to_be_one_minus_what_is_kept():
    assert 'Did you mean "keep" (1 - sparsity)?' in unknown("s", "study key", "sparsity", ["keep", "rounds"])
