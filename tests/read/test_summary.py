"""Smallest winning tickets, robustness and ranks on curves whose answers are known."""

import math

import numpy as np
import pytest

from sweepstake.read import analysis
from sweepstake.read.publish import summary_table
from sweepstake.read.summary import ordered, robustness, summarise, winners
from tests.read.fakes import fake_results


def shaped(accuracy, inits, seeds=5, rounds=4):
    """accuracy(init, seed, round) in every round of every cell; half kept a round."""
    results = fake_results({"init": inits}, seeds=seeds, rounds=rounds)
    for result in results:
        for record in result["rounds"]:
            record["kept_fraction"] = 0.5 ** record["round"]
            record["end"]["test"]["accuracy"] = accuracy(result["labels"]["init"], result["seed"], record["round"])
    return results


def summed(results):
    return {one["init"]: one for one in summarise(["init"], analysis.tidy(results))}


def curve(*points):
    return [{"kept_fraction": kept, "test_accuracy": accuracy} for kept, accuracy in points]


@pytest.mark.parametrize(("points", "down_to", "area"), [
    ([(1, 0.8), (0.1, 0.8), (0.01, 0.8)], 0.01, 1.0),  # Loses nothing.
    ([(1, 0.8), (0.1, 0.4)], 0.1, 0.75),  # From 1 to a half of its dense network, straight on a log scale.
    ([(1, 0.8), (0.1, 0.8), (0.01, 0.4)], 0.01, 0.875),
    ([(1, 0.8), (0.01, 0.4)], 0.1, 0.875),  # Cut at the level that all have: 3/4 of dense there.
    ([(1, 0.5), (0.1, 0.6), (0.001, 0.0)], 0.1, 1.1),
])
def test_the_area_of_known_curves(points, down_to, area):
    assert robustness(curve(*points), down_to) == pytest.approx(area)


def test_robustness_ends_at_the_smallest_level_that_all_cells_reached():
    results = shaped(lambda _, __, round_: 0.8 * 0.75**round_, ["a", "b"])
    for result in results[:5]:
        del result["rounds"][3:]
    both = summed(results)
    assert both["a"]["down_to"] == both["b"]["down_to"] == 0.25
    assert both["a"]["robustness"] == pytest.approx(both["b"]["robustness"]) == pytest.approx((1 + 2 * 0.75 + 0.75**2) / 4)


def test_the_smallest_winning_ticket_is_a_geometric_mean_with_an_interval_half_a_level_wider():
    """Four seeds win down to 25 % (one of them below its dense network at 50 %), one down to 12.5 %: 2^-2.2 on average."""
    def accuracy(_, seed, round_):
        return 0.9 + 0.01 * (0, -1 if seed == 1 else 1, 1, 1 if seed == 4 else -1, -1)[round_]

    one = summed(shaped(accuracy, ["a"]))["a"]
    half = 0.2 * 2.7764451 + 0.5  # t with 4 degrees of freedom; the standard error of (2, 2, 2, 2, 3) is 0.2.
    assert (one["n"], one["winners"], one["dense"]) == (5, 5, pytest.approx(0.9))
    assert one["smallest_winning"] == pytest.approx(2**-2.2)
    assert (one["smallest_winning_low"], one["smallest_winning_high"]) == pytest.approx((2 ** (-2.2 - half), 2 ** (-2.2 + half)))


def test_a_seed_without_a_winning_ticket_counts_as_the_whole_network():
    one = summed(shaped(lambda _, seed, round_: 0.9 - 0.1 * round_ * (seed > 0), ["a"], seeds=3, rounds=1))["a"]
    assert one["winners"] == 1 and one["smallest_winning"] == pytest.approx(0.5 ** (1 / 3)) and one["smallest_winning_high"] == 1.0


def test_groups_are_ranked_within_each_seed_though_seeds_differ_more_than_groups():
    inits = ["a", "b", "c"]
    ranked = summed(shaped(lambda init, seed, round_: 0.9 - (0.02 + 0.01 * seed + 0.001 * inits.index(init)) * round_, inits))
    assert [ranked[init]["rank"] for init in inits] == [1.0, 2.0, 3.0]
    assert ranked["a"]["friedman_p"] < 0.005 and (ranked["b"]["rank_low"], ranked["b"]["rank_high"]) == (2.0, 2.0)


def test_one_group_has_no_rank_and_a_group_that_was_not_pruned_no_robustness():
    results = shaped(lambda _, __, round_: 0.9 - 0.01 * round_, ["a", "b"])
    for result in results[:5]:
        del result["rounds"][1:]
    both = summed(results)
    assert (both["a"]["robustness"], both["a"]["smallest_winning"], both["a"]["winners"], both["a"]["dense"]) == (None, None, None, 0.9)
    assert both["b"]["robustness"] is not None and both["b"]["rank"] is None and both["b"]["friedman_p"] is None


@pytest.mark.parametrize("levels", [[1.0, 0.05], [1.0, 0.98, 0.96, 0.94, 0.92]])
def test_a_network_pruned_once_or_hardly_has_no_curve_and_shortens_no_others(levels):
    """Else its neighbours would be measured to 92 %, or it on a straight line where nothing was measured."""
    results = shaped(lambda _, __, round_: 0.9 - 0.01 * round_, ["a", "b"])
    for result in results[:5]:
        del result["rounds"][len(levels):]
        for record, kept in zip(result["rounds"], levels, strict=True):
            record["kept_fraction"] = kept
    both = summed(results)
    assert (both["a"]["robustness"], both["a"]["winners"], both["b"]["down_to"]) == (None, 0, 0.0625)
    assert [one["init"] for one in ordered([both["a"], both["b"]])] == ["b", "a"] and ordered([both["a"]]) == []


def test_a_seed_that_diverged_is_counted_has_no_ticket_and_ranks_last():
    """a is the better one wherever it ends; it diverges in two seeds of five, c in all."""
    results = shaped(lambda init, _, round_: 0.9 - (0.01 if init == "a" else 0.02) * round_, ["a", "b", "c"])
    for result in results:
        if (result["labels"]["init"], result["seed"]) in (("a", 0), ("a", 1)) or result["labels"]["init"] == "c":
            result["status"] = "diverged"
            result["rounds"][2]["diverged"] = True
            del result["rounds"][3:]
    groups = summed(results)
    assert [(groups[init]["n"], groups[init]["diverged"]) for init in "abc"] == [(5, 2), (5, 0), (5, 5)]
    assert (groups["a"]["rank"], groups["b"]["rank"]) == (pytest.approx((2 * 2 + 3 * 1) / 5), pytest.approx((2 * 1 + 3 * 2) / 5))
    assert (groups["a"]["winners"], groups["c"]["winners"], groups["c"]["robustness"], groups["c"]["rank"]) == (0, None, None, None)
    assert [winners(groups[init]) for init in "abc"] == ["0 of 5, 2 diverged", "0 of 5", "0 of 5, 5 diverged"]
    assert [one["init"] for one in ordered(list(groups.values()))] == ["a", "b", "c"] and summarise(["init"], []) == []
    text = summary_table(list(groups.values()))
    assert "a diverged network ranks last" in text and "| c | – | 0 of 5, 5 diverged | – | – |" in text
    assert "diverged" not in summary_table([groups["b"]])


def test_the_interval_of_robustness_covers_the_truth_and_friedman_keeps_its_promise():
    """Seeds share luck, levels have noise of their own; the two groups differ by 0.01 at every level but the first."""
    draw, hits, found, studies = np.random.default_rng(37), 0, 0, 300
    levels, curve_of = 0.5 ** np.arange(5), np.array([0.9, 0.9, 0.88, 0.8, 0.6])
    truth = float(np.trapezoid(curve_of / 0.9, -np.log(levels)) / -math.log(levels[-1]))
    for _ in range(studies):
        rows = [{"id": f"{group}{seed}", "init": group, "seed": seed, "round": place, "status": "done", "diverged": False,
                 "kept_fraction": float(levels[place]), "test_accuracy": float(value)}
                for group in "abc" for seed, luck in enumerate(draw.normal(0, 0.001, 5))
                for place, value in enumerate(curve_of + luck + draw.normal(0, 0.004, 5))]
        groups = summarise(["init"], rows)
        hits += groups[0]["robustness_low"] <= truth <= groups[0]["robustness_high"]
        found += groups[0]["friedman_p"] < 0.05
    assert 0.92 <= hits / studies <= 0.98 and found / studies <= 0.08
