"""Known answers, and the coverage of every interval by simulation with fixed seeds."""

import math

import numpy as np
import pytest

from sweepstake.read import statistics
from sweepstake.read.statistics import about, bootstrap_interval, equivalent, more_seeds, non_inferior, superior, t_interval


def coverage(interval, n, draws=500):
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(draws):
        low, high = interval(draw.normal(size=n).tolist())
        hits += low <= 0 <= high
    return hits / draws


def test_std_divides_by_one_less_than_the_seeds():
    assert statistics.std([1.0, 2.0, 3.0, 4.0]) == pytest.approx(1.2909944487358056)
    assert statistics.std([1.0]) is None


def test_t_interval_of_known_numbers():
    low, high = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low, high) == pytest.approx((3 - 1.9632432, 3 + 1.9632432))


def test_t_interval_covers_95_percent_with_5_seeds():
    assert 0.93 <= coverage(t_interval, 5) <= 0.97


def test_bootstrap_covers_less_with_few_seeds_and_that_is_why_verdicts_use_t():
    assert 0.80 <= coverage(bootstrap_interval, 5, 200) <= 0.90
    assert 0.90 <= coverage(bootstrap_interval, 30, 500) <= 0.97


def test_bootstrap_interval_is_the_same_every_time_and_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert bootstrap_interval([0.1, 0.4, 0.2]) == bootstrap_interval([0.1, 0.4, 0.2])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize(("values", "interval"), [([], None), ([0.5], None), ([0.5] * 4, (0.5, 0.5)), ([0.5, math.nan], None)])
def test_degenerate_values_have_a_plain_answer(values, interval):
    assert bootstrap_interval(values) == interval


def test_bootstrap_interval_lies_within_the_values_and_around_the_mean():
    low, high = bootstrap_interval([0.90, 0.91, 0.95])
    assert 0.90 <= low < 0.92 < high <= 0.95


def test_differences_pair_only_seeds_that_both_sides_have():
    assert statistics.paired_differences({1: 3.0, 2: 5.0, 9: 1.0}, {2: 4.0, 1: 1.0}) == {1: 2.0, 2: 1.0}


@pytest.mark.parametrize(("gains", "margin", "verdict"), [
    ([-0.001, 0.001, 0.0, 0.002], 0.01, "supported"), ([-0.05, -0.051, -0.049], 0.01, "contradicted"),
    ([-0.03, 0.01, 0.02], 0.01, "undecided"),
    ([0.0, 0.0], 0.01, "undecided"),
])
def test_non_inferiority(gains, margin, verdict):
    assert non_inferior(gains, margin).verdict == verdict


@pytest.mark.parametrize(("gains", "verdict"), [
    ([0.01, 0.011, 0.009], "supported"), ([-0.01, -0.011, -0.009], "contradicted"), ([0.01, -0.01, 0.02], "undecided"),
    ([0.0] * 5, "contradicted"),
])
def test_superiority(gains, verdict):
    assert superior(gains).verdict == verdict


@pytest.mark.parametrize(("differences", "verdict"), [
    ([0.001, -0.001, 0.0], "supported"), ([0.05, 0.051, 0.049], "contradicted"), ([-0.05, -0.051, -0.049], "contradicted"),
    ([0.02, -0.02, 0.0], "undecided"),
])
def test_equivalence_within_one_point(differences, verdict):
    assert equivalent(differences, 0.01).verdict == verdict


@pytest.mark.parametrize(("values", "verdict"), [
    ([0.37, 0.38, 0.36], "supported"), ([0.20, 0.21, 0.19], "contradicted"), ([0.1, 0.4, 0.7], "undecided"),
])
def test_about_37_percent_give_or_take_4(values, verdict):
    assert about(values, 0.37, 0.04).verdict == verdict


def test_a_true_null_is_called_better_in_about_1_of_40_studies():
    draw = np.random.default_rng(11)
    supported = sum(superior(draw.normal(size=5).tolist()).verdict == "supported" for _ in range(2000))
    assert 30 <= supported <= 70


def test_more_seeds_are_about_what_the_spread_asks_for():
    assert more_seeds(superior([0.01, -0.01, 0.02, 0.0])) == pytest.approx(23, abs=6)
    assert more_seeds(superior([0.01])) == 2
    assert more_seeds(superior([0.01, -0.01, 0.0001, 0.0])) is None
