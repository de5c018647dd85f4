"""Known answers, and the coverage of every interval by simulation with fixed seeds."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from sweepstake.read import statistics
from sweepstake.read.statistics import about, bootstrap_interval, bootstrap_intervals, equivalent, more_seeds, non_inferior, superior, t_interval


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


def followed(draw, effect, times, n=5, most=100):
    """A study of n seeds goes on by as many as it is told, so often and by so many at most: after how many times it decides.

    -1: it never does. None: it is told more than it can run.
    """
    values = (effect + draw.normal(size=n)).tolist()
    for added in range(times + 1):
        decision = superior(values)
        if decision.verdict != "undecided":
            return added
        if added < times:
            more = more_seeds(decision, most=most)
            if more is None:
                return None
            values += (effect + draw.normal(size=more)).tolist()
    return -1


def test_what_more_seeds_is_worth_is_what_is_said_of_it():
    """Effects vary as much as seeds do: of 2,000 studies, those that are told a number, and do as told. Then the same where there is no effect."""
    draw = np.random.default_rng(43)
    told = [after for after in (followed(draw, draw.normal(), 1) for _ in range(2000)) if after not in (0, None)]
    true = told.count(1) / len(told)
    draw = np.random.default_rng(47)
    nothing = [followed(draw, 0.0, 4) for _ in range(2000)]
    at_once, ever = nothing.count(0) / 2000, sum(after not in (None, -1) for after in nothing) / 2000
    said = " ".join((Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8").split())

    assert len(told) > 1000 and round(10 * true) == 6 and 0.04 <= at_once <= 0.06
    assert f"came true in {100 * true:.0f} % of them" in said and f"decided {100 * ever:.0f} % of claims without an effect, not 5 %" in said


def rate(decide, draws=1500, seed=5, word="supported", n=5):
    """How often a decision says the word, each time of n new normal values around 0."""
    draw = np.random.default_rng(seed)
    return sum(decide(draw.normal(size=n)).verdict == word for _ in range(draws)) / draws


@pytest.mark.parametrize("n", [3, 5, 11])
def test_at_the_boundary_of_each_test_a_false_word_is_said_in_about_1_of_40_studies(n):
    """One-sided: half of the 5 % that a 95 % interval leaves. 1,500 studies: 0.025 give or take 0.012."""
    assert 0.013 <= rate(lambda v: non_inferior((v - 9).tolist(), 9), n=n) <= 0.037
    assert 0.013 <= rate(lambda v: non_inferior((v - 9).tolist(), 9), n=n, word="contradicted") <= 0.037
    assert 0.013 <= rate(lambda v: superior((v + 9).tolist(), 9), n=n) <= 0.037
    assert rate(lambda v: equivalent((v + 9).tolist(), 9), n=n) <= 0.037
    assert 0.013 <= rate(lambda v: equivalent((v - 9).tolist(), 9), n=n, word="contradicted") <= 0.037
    assert 0.013 <= rate(lambda v: about((v + 9).tolist(), 0, 9), n=n, word="contradicted") <= 0.037
    assert rate(lambda v: about((v + 2).tolist(), 0, 1), n=n) <= 0.037  # The truth at twice the margin.


@pytest.mark.parametrize("decide", [
    lambda v: non_inferior(v, 0.5), lambda v: superior(v, 0.5), lambda v: equivalent(v, 1.0), lambda v: about(v, 0.0, 1.0),
    lambda v: about(v, 0.5, 1.0, slack=0.2)])
def test_p_is_below_5_percent_exactly_where_the_interval_decides(decide):
    draw = np.random.default_rng(3)
    decisions = [decide((draw.normal(size=4) + shift).tolist()) for shift in np.linspace(-4, 4, 300)]
    decisions += [decide((draw.normal(size=4) / 5 + shift).tolist()) for shift in np.linspace(-2, 2, 300)]
    assert {decision.verdict for decision in decisions} == {"supported", "contradicted", "undecided"}
    assert all((decision.p < 0.05) == (decision.verdict != "undecided") for decision in decisions)


def test_p_of_known_numbers_is_that_of_a_t_test():
    assert superior([1.0, 2.0, 3.0, 4.0, 5.0]).p == pytest.approx(0.013235, abs=1e-6)  # t = 4.243 with 4 degrees of freedom.
    assert superior([0.1] * 5).p == 0.0 and superior([0.0] * 5).verdict == "contradicted"


def spreads(draw, n, cells, heavy):
    """n seeds, which both sides share half of; than varies 3 times as much."""
    def values(*shape):
        return draw.standard_t(5, size=shape) / (5 / 3) ** 0.5 if heavy else draw.normal(size=shape)

    both = (values(n, 1) + values(n, 2 * cells)) * 0.5**0.5
    return both[:, :cells].T.tolist(), (3 * both[:, cells:] + 5).T.tolist()


@pytest.mark.parametrize(("n", "cells", "heavy", "least"), [(5, 1, False, 0.935), (5, 1, True, 0.925), (5, 2, False, 0.935), (11, 1, False, 0.93),
                                                            (11, 2, True, 0.92)])
def test_the_ratio_of_spreads_is_covered_with_few_seeds_paired_and_heavy_tailed(n, cells, heavy, least):
    draw, hits, draws = np.random.default_rng(13), 0, 1200
    for _ in range(draws):
        low, high = t_interval(statistics.spread_ratio(*spreads(draw, n, cells, heavy)))
        hits += low <= math.log(3) <= high
    assert least <= hits / draws <= 0.975


def test_of_equal_spreads_one_is_called_more_stable_in_about_1_of_40_studies():
    draw, draws = np.random.default_rng(17), 1500
    supported = sum(superior(statistics.spread_ratio([one[0].tolist()], [one[1].tolist()])).verdict == "supported"
                    for one in draw.normal(size=(draws, 2, 5)))
    assert 0.01 <= supported / draws <= 0.04


def test_the_ratio_of_known_spreads_is_centred_on_itself():
    values = statistics.spread_ratio([[1.0, 2.0, 3.0, 5.0]], [[2.0, 4.0, 6.0, 10.0]])
    assert statistics.mean(values) == pytest.approx(math.log(2)) and statistics.std(values) == pytest.approx(0, abs=1e-12)
    assert statistics.pooled_std([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]) == pytest.approx(0.5**0.5)


def test_a_side_that_does_not_vary_has_no_ratio():
    assert statistics.spread_ratio([[0.1] * 5], [[0.1, 0.2, 0.3, 0.2, 0.4]]) is None
    assert statistics.spread_ratio([[1.0, 2.0]], [[1.0, 3.0]]) is None


@pytest.mark.parametrize("chances", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.6, 0.2], [0.7, 0.2, 0.1], [0.25] * 4, [0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05]])
@pytest.mark.parametrize("n", [5, 11])
def test_a_level_chosen_by_each_seed_is_covered_when_half_a_level_is_added(chances, n):
    """The peak and the smallest winning ticket: few levels, so that all seeds may agree and the plain t interval be a point."""
    draw, places = np.random.default_rng(19), np.arange(len(chances))
    truth = float(np.dot(places, chances))
    hits = 0
    for chosen in draw.choice(places, p=chances, size=(800, n)):
        decision = about(chosen.tolist(), 0.0, 1.0, slack=0.5)
        hits += decision.low <= truth <= decision.high
    assert hits / 800 >= 0.945


RISES = [[0.90, 0.92, 0.93, 0.91, 0.80], [0.91, 0.93, 0.94, 0.92, 0.83], [0.90, 0.91, 0.935, 0.91, 0.81], [0.89, 0.92, 0.93, 0.915, 0.8]]


@pytest.mark.parametrize(("change", "verdict"), [
    ([0, 0, 0, 0, 0], "supported"), ([0.1, 0, 0, 0, 0], "contradicted"), ([0, 0, 0, 0, 0.2], "contradicted"), ([0, 0, 0, -0.2, 0], "contradicted"),
    ([0, -0.08, 0, 0, 0], "contradicted")])
def test_one_peak_and_what_contradicts_it(change, verdict):
    curves = [[value + moved for value, moved in zip(curve, change, strict=True)] for curve in RISES]
    assert statistics.one_peak(curves).decision.verdict == verdict


def test_one_peak_of_known_curves_tells_its_rise_and_fall():
    shape = statistics.one_peak(RISES, 0.005)
    assert (shape.rise.effect, shape.fall.effect) == pytest.approx((0.03375, 0.12375))
    assert shape.decision.effect == shape.rise.effect and shape.decision.verdict == "supported"


@pytest.mark.parametrize("n", [5, 11])
def test_a_curve_that_is_flat_and_then_falls_has_a_peak_only_by_chance_and_a_true_one_is_not_contradicted(n):
    draw, flat, peak, draws = np.random.default_rng(23), np.array([0.0] * 8 + [-5, -20]), np.array([0, 1, 2, 3, 4, 3, 2, 1, 0, -2]), 300
    words = [statistics.one_peak((flat + draw.normal(size=(n, 1)) + draw.normal(size=(n, 10))).tolist()).decision.verdict for _ in range(draws)]
    assert words.count("supported") / draws <= 0.05
    words = [statistics.one_peak((peak + draw.normal(size=(n, 1)) + draw.normal(size=(n, 10)) / 2).tolist()).decision.verdict for _ in range(draws)]
    assert words.count("contradicted") / draws <= 0.05 and words.count("supported") / draws >= 0.8


def test_holm_of_known_p_values():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0] and statistics.holm([]) == []


def test_of_8_true_nulls_a_family_decides_any_in_at_most_1_of_20_studies_and_uncorrected_in_a_third():
    draw, draws = np.random.default_rng(29), 1000
    families = [[superior(values.tolist()).p for values in draw.normal(size=(8, 5))] for _ in range(draws)]
    assert 0.03 <= sum(min(statistics.holm(ps)) < 0.05 for ps in families) / draws <= 0.065
    assert sum(min(ps) < 0.05 for ps in families) / draws > 0.27


def test_ranks_share_ties_and_the_largest_is_first():
    assert statistics.ranks([0.3, 0.9, 0.3, 0.1]) == [2.5, 1.0, 2.5, 4.0]


def test_friedman_of_known_ranks_is_that_of_all_their_orders():
    """Two groups and n seeds: 2 of 2^n orders agree. Three groups, ranked alike by 3 seeds of 4: a count of all 6^4 orders."""
    table = [[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 2, 3]]
    columns = np.array([np.sum(orders, 0) for orders in itertools.product(itertools.permutations((1, 2, 3)), repeat=4)])
    exact = float((((columns - 8) ** 2).sum(1) >= 8).mean())

    assert statistics.friedman(table) == pytest.approx(exact, abs=0.03)
    assert [statistics.friedman([[2, 1]] * n) for n in (3, 5)] == pytest.approx([0.25, 0.0625], abs=0.02)
    assert statistics.friedman([[3, 2, 1]] * 11) == 1 / 2000
    assert statistics.friedman([[1, 1]] * 3) == 1.0 and statistics.friedman([[1.0, 2.0]]) is None
    assert statistics.friedman(table) == statistics.friedman(table)


def test_friedman_finds_a_difference_that_is_not_there_in_1_of_20_studies():
    draw, draws = np.random.default_rng(31), 1000
    assert 0.025 <= sum(statistics.friedman(table.tolist()) < 0.05 for table in draw.normal(size=(draws, 5, 8))) / draws <= 0.07


@pytest.mark.parametrize(("curve", "back"), [
    ([0.0, 5.0, 3.0, 10.0, 9.0, 9.5, 2.0], 2.0),  # It falls from 5 to 3 before its peak.
    ([0.0, 5.0, 4.5, 10.0, 2.0, 6.0, 1.0], 4.0),  # It rises from 2 to 6 after it.
    ([0.0, 5.0, 10.0, 9.0, 1.0], -1.0)])  # It goes back nowhere: its least step on is from 10 to 9.
def test_the_worst_step_back_is_a_fall_before_the_peak_or_a_rise_after_it(curve, back):
    shape = statistics.one_peak([[value + 0.01 * seed for value in curve] for seed in range(4)])
    assert shape.back.effect == pytest.approx(back)
    assert shape.rise.effect == pytest.approx(10.0) and shape.fall.effect == pytest.approx(10.0 - curve[-1])


def test_intervals_drawn_many_at_once_are_to_the_bit_those_drawn_one_by_one():
    draw = np.random.default_rng(7)
    many = [draw.normal(size=n).tolist() for n in (5, 3, 5, 50, 5, 2)] + [[], [0.5], [0.5, 0.5], [0.5, math.nan], [0.1, 0.1, 0.9]]
    alone = [found for values in many for found in statistics._intervals([values], 0.95)]
    assert statistics._intervals(many, 0.95) == alone and bootstrap_intervals(many) == alone


def test_no_more_intervals_are_remembered_than_said_and_each_is_what_it_was(monkeypatch):
    monkeypatch.setattr(statistics, "KNOWN", 3)
    monkeypatch.setattr(statistics, "_known", {})
    values = [[0.1, 0.2, 0.3 + n] for n in range(4)]
    first = [statistics.bootstrap_interval(each) for each in values]
    assert [statistics.bootstrap_intervals(values[:2]), len(statistics._known)] == [first[:2], 3]
    assert statistics.bootstrap_interval(values[0], 0.5) != first[0]  # Another level is another interval.
    assert len(statistics._known) <= 3
