"""Two settings compared, paired by seed, by the numbers that claims are judged by."""

import math
from typing import Any

import pytest

from sweepstake.base.errors import UserError
from sweepstake.base.specs import ClaimSpec
from sweepstake.read.analysis import frame, tidy
from sweepstake.read.claims import judge
from sweepstake.read.difference import asked_of, differences
from tests.read.fakes import FakeStudy, fake_results, scheduled

A, B = {"how": "a"}, {"how": "b"}


def compared(results: list[dict[str, Any]], axes: dict[str, list[Any]], a=A, b=B, kept: float | None = None, **said: Any) -> list[dict[str, Any]]:
    claim = asked_of(axes, a, b, said.get("metric", "test_accuracy"), said.get("at", "end"), kept)
    return differences(claim, list(axes), tidy(results))


def with_accuracies(a: list[float], b: list[float], kept: float = 0.5) -> list[dict[str, Any]]:
    """Two settings that end at these accuracies, one a seed."""
    results = scheduled({"a": [1.0, kept], "b": [1.0, kept]}, seeds=len(a))
    for result in results:
        result["rounds"][1]["end"]["test"]["accuracy"] = (a if result["labels"]["how"] == "a" else b)[result["seed"]]
    return results


HOW = {"how": ["a", "b"]}


def test_a_difference_is_the_mean_of_paired_differences_with_students_interval():
    (one,) = compared(with_accuracies([0.93, 0.95, 0.97], [0.92, 0.93, 0.94]), HOW, kept=0.5)
    assert (one["n"], one["diverged"], one["metric"], one["kept_fraction"]) == (3, 0, "test_accuracy", 0.5)
    assert (one["mean_a"], one["mean_b"], one["difference"]) == pytest.approx((0.95, 0.93, 0.02))
    half = 4.302653 * 0.01 / math.sqrt(3)  # t of 2 degrees of freedom at 97.5 %; the differences' deviation is 0.01.
    assert (one["low"], one["high"]) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-7)
    assert one["p"] == pytest.approx(0.0741799, abs=1e-6)  # t = 0.02 / (0.01 / sqrt(3)) = 3.4641.


def test_without_kept_there_is_a_row_for_every_level_that_both_sides_have():
    rows = compared(scheduled({"a": [1.0, 0.8, 0.64, 0.5], "b": [1.0, 0.8, 0.63]}), HOW)
    assert [round(row["kept_fraction"], 3) for row in rows] == [1.0, 0.8, 0.635]
    assert [row["difference"] for row in rows] == pytest.approx([0.1, 0.1, 0.1])
    rows = compared(scheduled({"a": [1.0, 0.5], "b": [1.0, 0.47]}), HOW)
    assert [row["kept_fraction"] for row in rows] == [1.0]  # 0.47 is another level than 0.5, though it is the nearest.
    assert len(compared(scheduled({"a": [1.0, 0.5], "b": [1.0, 0.47]}), HOW, kept=0.5)) == 1


def test_axes_that_neither_side_names_are_paired_and_each_seed_counts_once():
    axes = {"how": ["a", "b"], "lr": ["0.1", "0.2"]}
    results = fake_results(axes, seeds=4, rounds=0)
    for result in results:
        way = result["labels"]
        result["rounds"][0]["end"]["test"]["accuracy"] = 0.8 + (0.1 if way["lr"] == "0.2" else 0.0) + (0.02 if way["how"] == "a" else 0.0)
    (one,) = compared(results, axes)
    assert (one["n"], one["difference"]) == (4, pytest.approx(0.02))
    assert (one["mean_a"], one["mean_b"]) == pytest.approx((0.87, 0.85))
    left = [each for each in results if not (each["seed"] == 3 and each["labels"] == {"how": "b", "lr": "0.2"})]
    assert compared(left, axes)[0]["n"] == 3


def test_it_says_what_a_claim_of_the_same_says():
    results = fake_results({"init": ["good", "bad"]})
    study = FakeStudy(axes={"init": ["good", "bad"]}, claims=[
        ClaimSpec(says="x", test="better", kept=0.1, this={"init": "good"}, than={"init": "bad"}, metric=metric)
        for metric in ("test_accuracy", "test_loss")])
    verdicts = judge(study, tidy(results))
    for verdict, metric, sign in zip(verdicts, ("test_accuracy", "test_loss"), (1, -1), strict=True):
        (one,) = compared(results, study.axes, {"init": "good"}, {"init": "bad"}, 0.1, metric=metric)
        assert (one["difference"], one["n"], one["p"]) == pytest.approx((sign * verdict.effect, verdict.n, verdict.p))
        assert sorted([sign * one["low"], sign * one["high"]]) == pytest.approx([verdict.low, verdict.high])


def test_seeds_that_diverged_before_a_level_are_counted_and_left_out():
    results = scheduled({"a": [1.0, 0.5], "b": [1.0, 0.5]}, seeds=4)
    results[0]["status"], results[0]["rounds"][1]["diverged"] = "diverged", True
    assert [(row["n"], row["diverged"]) for row in compared(results, HOW)] == [(4, 0), (3, 1)]


def test_with_two_seeds_there_is_an_interval_and_no_p_and_with_one_neither():
    two, one = ((compared(with_accuracies([0.9, 0.92][:n], [0.9, 0.9][:n]), HOW, kept=0.5)[0]) for n in (2, 1))
    assert (two["n"], two["p"], two["low"] is None) == (2, None, False)
    assert (one["n"], one["p"], one["low"], one["high"]) == (1, None, None, None)
    assert frame([one])["p"].dtype == float


def test_smallest_winning_tickets_are_compared_once():
    rows = compared(with_accuracies([0.95] * 3, [0.1] * 3), HOW, metric="smallest_winning")
    assert [(row["difference"], row["kept_fraction"], row["n"]) for row in rows] == [(-0.5, None, 3)]


@pytest.mark.parametrize(("a", "b", "said", "message"), [
    ({"how": "c"}, B, {}, 'compare: a: how = "c": no label of how of that name.'),
    ({}, B, {}, "compare: a is empty. Say which cells"),
    (A, {"hwo": "b"}, {}, "compare: b: hwo: no axis of that name."),
    (A, "b", {}, 'compare: b = "b": expected a table'),
    (A, A, {}, 'compare: a and b are both {how = "a"}. Change one.'),
    (A, B, {"metric": "accuracy"}, 'compare: metric = "accuracy": expected "alive_units", '),
    (A, B, {"at": "late"}, 'compare: at = "late": expected "early" or "end".'),
    (A, B, {"kept": 3.5}, "compare: kept = 3.5: expected a number more than 0, at most 1."),
    (A, B, {"kept": 0.1}, "compare: No round with about 10 % of the weights was measured; the nearest is 50 %."),
    (A, B, {"metric": "smallest_winning", "kept": 0.5}, "compare: metric = \"smallest_winning\" is about all rounds of a cell. Leave kept out."),
])
def test_what_cannot_be_compared_is_refused(a, b, said, message):
    with pytest.raises(UserError) as refused:
        compared(scheduled({"a": [1.0, 0.5], "b": [1.0, 0.5]}), HOW, a, b, **said)
    assert str(refused.value).startswith(message)
