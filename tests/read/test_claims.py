"""Verdicts on results whose truth is known."""

import msgspec
import numpy as np
import pytest

from sweepstake.base.specs import ClaimSpec, FigureSpec, check_specs
from sweepstake.read import analysis
from sweepstake.read.claims import Verdict, instead, judge, sentence, shown, verdicts
from tests.read.fakes import FakeStudy, fake_results

AXES = {"init": ["good", "bad", "twin"]}


def judged(claim, results=None, seeds=5):
    results = results or made(seeds)
    return judge(FakeStudy(axes=AXES, claims=[claim]), analysis.tidy(results))[0]


def made(seeds=5):
    """good and twin stay at 0.95 give or take a seed's own luck; bad falls to 0.90 in the last round. Seeds share their luck."""
    results = fake_results(AXES, seeds=seeds, rounds=2)
    for result in results:
        for record in result["rounds"]:
            fall = 0.05 if result["labels"]["init"] == "bad" and record["round"] == 2 else 0.0
            wobble = 0.0001 * (record["round"] + len(result["labels"]["init"]) + result["seed"] % 2)
            record["end"]["test"]["accuracy"] = 0.95 + 0.02 * (result["seed"] % 3) - fall + wobble
    return results


def test_pairing_by_seed_sees_what_the_spread_over_seeds_would_hide():
    verdict = judged(ClaimSpec(says="good beats bad", test="better", this={"init": "good"}, than={"init": "bad"}))
    assert verdict.verdict == "supported" and verdict.n == 5
    assert abs(verdict.effect - 0.0501) < 1e-9 and verdict.low > 0.049


def test_the_opposite_claim_is_contradicted():
    assert judged(ClaimSpec(says="bad beats good", test="better", this={"init": "bad"}, than={"init": "good"})).verdict == "contradicted"


def test_matching_the_dense_network_is_about_the_same_cells_round_0():
    assert judged(ClaimSpec(says="good matches", test="matches_dense", margin=0.01, this={"init": "good"})).verdict == "supported"
    assert judged(ClaimSpec(says="bad matches", test="matches_dense", margin=0.01, this={"init": "bad"})).verdict == "contradicted"


def test_the_claim_is_judged_at_the_kept_level_it_names():
    assert judged(ClaimSpec(says="bad still matches at 80 %", test="matches_dense", margin=0.01, kept=0.8,
                            this={"init": "bad"})).verdict == "supported"


def test_a_kept_level_that_was_never_measured_is_undecided_and_says_which_is_nearest():
    verdict = judged(ClaimSpec(says="tickets at 3.5 %", test="matches_dense", margin=0.01, kept=0.035))
    assert verdict.verdict == "undecided" and verdict.n == 0
    assert verdict.reason == "No round with about 3.5 % of the weights was measured; the nearest is 64 %."


def test_twins_are_similar_within_a_point_and_not_within_a_thousandth_of_one():
    claim = {"says": "alike", "test": "similar", "this": {"init": "good"}, "than": {"init": "twin"}}
    assert judged(ClaimSpec(**claim, margin=0.01)).verdict == "supported"
    assert judged(ClaimSpec(says="unlike", test="similar", this={"init": "good"}, than={"init": "bad"},
                            margin=0.01)).verdict == "contradicted"


def test_about_compares_the_mean_with_the_printed_number():
    assert judged(ClaimSpec(says="95 %", test="about", value=0.97, margin=0.03, this={"init": "good"})).verdict == "supported"
    assert judged(ClaimSpec(says="50 %", test="about", value=0.5, margin=0.03, this={"init": "good"})).verdict == "contradicted"


def test_better_may_be_than_a_number_and_its_interval_must_clear_it():
    """good is at 0.95 to 0.99: its mean is above 96 %, its interval is not; `about` with a wide band would say supported."""
    claim = {"says": "x", "test": "better", "this": {"init": "good"}}
    above, unsure, below = (judged(ClaimSpec(**claim, value=value)) for value in (0.93, 0.96, 0.999))
    assert [one.verdict for one in (above, unsure, below)] == ["supported", "undecided", "contradicted"]
    assert above.unit == "gain" and abs(above.effect - unsure.effect - 0.03) < 1e-9 and unsure.low < 0 < unsure.effect
    assert above.reason.startswith("good after the last round against 93.00 %: +3.")
    less = judged(ClaimSpec(**claim, value=400.0, metric="early_step"))
    assert less.verdict == "supported" and less.reason.startswith("good after the last round against 400 steps: +")
    assert judged(ClaimSpec(**claim, value=1.0, metric="smallest_winning", margin=0.1)).reason.startswith("good against 100.00 % of the weights: +")


def test_two_seeds_decide_nothing():
    verdict = judged(ClaimSpec(says="good beats bad", test="better", this={"init": "good"}, than={"init": "bad"}), seeds=2)
    assert verdict.verdict == "undecided" and verdict.more_seeds == 1 and "Below 3 seeds nothing is decided" in verdict.reason


def test_of_losses_less_is_better():
    results = made()
    for result in results:
        result["rounds"][-1]["end"]["test"]["loss"] = 1.0 + 0.01 * result["seed"] + (0.5 if result["labels"]["init"] == "bad" else 0.0)
    verdict = judged(ClaimSpec(says="good loses less", test="better", metric="test_loss", this={"init": "good"}, than={"init": "bad"}),
                     results)
    assert verdict.verdict == "supported" and abs(verdict.effect - 0.5) < 1e-9


def diverge(results, who, seeds, at=2):
    """The cells of `who` end in round `at` of these seeds, by a network that still puts every image somewhere."""
    for result in results:
        if result["labels"]["init"] == who and result["seed"] in seeds:
            result["status"] = "diverged"
            del result["rounds"][at + 1:]
            result["rounds"][at] |= {"diverged": True, "early": None}
    return results


VERSUS_TWIN = {"this": {"init": "good"}, "than": {"init": "twin"}}
GOOD_OF_IT = [  # Each is supported by 11 seeds of `steady`, and by any 3 of them.
    {"test": "matches_dense", "margin": 0.01, "this": {"init": "good"}}, {"test": "similar", "margin": 0.01, **VERSUS_TWIN},
    {"test": "better", "this": {"init": "good"}, "than": {"init": "bad"}}, {"test": "better", "value": 0.8, "this": {"init": "good"}},
    {"test": "better", "kept": 0.41, "kept_than": 1.0, "this": {"init": "good"}},
    {"test": "about", "value": 0.95, "margin": 0.05, "this": {"init": "good"}}, {"test": "about", "value": 0.0, "margin": 0.01, **VERSUS_TWIN},
    {"test": "more_stable", "this": {"init": "good"}, "than": {"init": "bad"}},
    {"test": "peaks_at", "value": 0.512, "margin": 0.5, "this": {"init": "good"}}, {"test": "unimodal", "this": {"init": "good"}},
    {"test": "better", "metric": "smallest_winning", "this": {"init": "good"}, "than": {"init": "bad"}}]
EACH = [pytest.param(claim, id=f"{claim['test']} {place}") for place, claim in enumerate(GOOD_OF_IT)]
TWO_SIDED = [each for claim, each in zip(GOOD_OF_IT, EACH, strict=True) if "than" in claim]


def steady(seeds=11):
    """good and twin rise to their best in round 3 and end a little above their dense network; bad falls, and varies thirty times as much."""
    def accuracy(init, seed, round_):
        if init == "bad":
            return 0.8 - 0.02 * round_ + 0.03 * LUCK[seed % 5] * 100 * (round_ > 0)
        return 0.9 + 0.01 * (0, 1, 2, 3, 0.5)[round_] + LUCK[seed % 5] / 10 + 0.0001 * (init == "twin")

    return shaped(accuracy, seeds=seeds)


@pytest.mark.parametrize("claim", EACH)
def test_a_cell_that_diverged_counts_against_whatever_is_said_of_it(claim):
    """1 of 11: no longer supported. 8 of 11: contradicted, of all 11, by none of the numbers of the others. 3 of 11: too few for that."""
    def after(lost):
        return judged(ClaimSpec(says="x", **claim), diverge(steady(), "good", range(lost), at=4))

    none, one, three, most, nine, every = map(after, (0, 1, 3, 8, 9, 11))
    assert (none.verdict, none.n, none.diverged) == ("supported", 11, 0) and none.effect is not None and "diverge" not in none.reason
    assert [(each.verdict, each.n) for each in (one, three, most, every)] == [("undecided", 11)] * 2 + [("contradicted", 11)] * 2
    assert (nine.verdict, nine.n, nine.diverged) == ("contradicted", 11, 9)
    assert [each.effect for each in (one, three, most, every)] == [None] * 4 and most.p < 0.001 and every.p == 0.0
    assert (most.diverged, shown(most), shown(one)) == (8, ("8 cells diverged", ""), ("1 cell diverged", ""))
    assert "diverged in 1 of 11 seeds: that counts against the claim, and with any such seed it is not supported." in one.reason
    assert "diverged in 8 of 11 seeds: that counts against the claim, and most seeds contradict it." in most.reason
    assert "Nothing diverged in 10 of 11 seeds, and the numbers are theirs." in one.reason and "more seed" not in one.reason


@pytest.mark.parametrize("claim", TWO_SIDED)
@pytest.mark.parametrize("lost", [1, 8, 11])
def test_the_other_side_diverging_never_speaks_for_a_claim(claim, lost):
    """What says that two are alike it speaks against; of the others it leaves its seeds out: 11, 8 and no seed less."""
    verdict = judged(ClaimSpec(says="x", **claim), diverge(steady(), claim["than"]["init"], range(lost), at=4))
    if claim["test"] in ("similar", "about"):
        assert (verdict.verdict, verdict.n) == ("undecided" if lost == 1 else "contradicted", 11)
        assert f"One side alone diverged in {lost} of 11 seeds" in verdict.reason
    else:
        assert (verdict.verdict, verdict.n) == ("undecided" if lost == 11 else "supported", 11 - lost)
        assert f"bad diverged in {lost} of 11 seeds: that counts neither for the claim nor against it." in verdict.reason


@pytest.mark.parametrize("claim", TWO_SIDED)
@pytest.mark.parametrize("lost", [1, 8, 11])
def test_where_both_sides_diverge_alike_nothing_is_decided(claim, lost):
    results = diverge(diverge(steady(), "good", range(lost), at=4), claim["than"]["init"], range(lost), at=4)
    verdict = judged(ClaimSpec(says="x", **claim), results)
    assert (verdict.verdict, verdict.n, verdict.effect, verdict.diverged) == ("undecided", 11 - lost, None, 2 * lost)
    assert f"Both sides diverged in {lost} of 11 seeds: with any such seed nothing is decided." in verdict.reason


@pytest.mark.parametrize("lost", [1, 8, 11])
def test_a_dense_network_that_diverged_is_matched_by_nothing(lost):
    verdict = judged(ClaimSpec(says="x", **GOOD_OF_IT[0]), diverge(steady(), "good", range(lost), at=0))
    assert (verdict.verdict, verdict.n, verdict.diverged) == ("undecided", 11 - lost, lost)
    assert f"The dense network diverged in {lost} of 11 seeds" in verdict.reason


def test_what_is_contradicted_by_its_numbers_stays_so_when_its_own_cells_diverge_and_not_when_the_others_do():
    claim = ClaimSpec(says="bad beats good", test="better", this={"init": "bad"}, than={"init": "good"})
    own, other = (judged(claim, diverge(steady(), who, [0], at=4)) for who in ("bad", "good"))
    assert (own.verdict, own.n) == ("contradicted", 11)
    assert (other.verdict, other.n, other.more_seeds) == ("undecided", 10, None)


def test_few_seeds_are_contradicted_by_divergence_only_where_chance_would_hardly_do_it():
    """3 of 3, 4 of 4 and 4 of 5; from 6 seeds on, more than half."""
    def word(lost, seeds):
        return judged(ClaimSpec(says="x", **GOOD_OF_IT[0]), diverge(steady(seeds), "good", range(lost), at=4)).verdict

    least = [min(lost for lost in range(1, seeds + 1) if word(lost, seeds) == "contradicted") for seeds in (3, 4, 5, 6, 7, 8, 11)]
    assert least == [3, 4, 4, 4, 4, 5, 6] and word(2, 2) == "undecided"


def test_a_seed_counts_once_however_many_of_its_cells_diverged_and_a_side_that_has_not_run_yet_counts_for_nothing():
    results = diverge(diverge(steady(), "good", range(3), at=4), "twin", range(2, 8), at=4)
    claim = ClaimSpec(says="x", test="better", this={"init": ["good", "twin"]}, than={"init": "bad"})
    verdict = judged(claim, results)
    assert (verdict.verdict, verdict.n, verdict.diverged) == ("contradicted", 11, 9)
    assert "good and twin diverged in 8 of 11 seeds" in verdict.reason
    early = judged(claim, [result for result in results if result["labels"]["init"] != "bad"])
    assert (early.verdict, early.n, early.reason) == ("undecided", 0, "No finished round of bad is there yet.")


def test_a_cell_that_diverged_later_is_measured_and_a_level_that_nobody_reached_contradicts_nothing():
    results = diverge(steady(), "good", range(8), at=4)
    later = judged(ClaimSpec(says="x", **GOOD_OF_IT[0], kept=0.64), results)
    assert (later.verdict, later.n, later.diverged) == ("supported", 11, 0)
    never = judged(ClaimSpec(says="x", **GOOD_OF_IT[0], kept=0.01), results)
    assert (never.verdict, never.n) == ("undecided", 0) and "the nearest is 41 %" in never.reason


def test_of_a_claim_whose_cells_diverge_at_random_none_is_supported_but_by_seeds_that_all_ended():
    """400 studies of 5 and 11 seeds; each cell of `good` diverges with 30 %, and what ended is as good as was claimed."""
    draw = np.random.default_rng(41)
    for seeds in (5, 11):
        results, words = steady(seeds), {}
        rows = analysis.tidy(diverge(steady(seeds), "good", range(seeds), at=4))
        for _ in range(200):
            gone = {seed for seed in range(seeds) if draw.random() < 0.3}
            mixed = [row for row in analysis.tidy(results) if row["init"] == "good" and row["seed"] not in gone]
            mixed += [row for row in rows if row["init"] == "good" and row["seed"] in gone]
            word = judge(FakeStudy(axes=AXES, claims=[ClaimSpec(says="x", **GOOD_OF_IT[0])]), mixed)[0].verdict
            words.setdefault(len(gone), set()).add(word)
        assert words.pop(0, {"supported"}) == {"supported"} and "supported" not in set.union(*words.values())
        assert {word for lost, said in words.items() for word in said if 2 * lost <= seeds} == {"undecided"}


def test_a_cell_that_diverged_before_a_level_is_not_measured_a_level_above_it():
    """Kept 88 % a round: 77.4 % would be near enough to 68.1 %, were it the nearest that there is."""
    results = shaped(lambda init, seed, round_: 0.9 + LUCK[seed] - 0.1 * round_ * (init == "bad"))
    for result in results:
        for record in result["rounds"]:
            record["kept_fraction"] = 0.88 ** record["round"]
    results[0]["status"] = "diverged"
    for record in results[0]["rounds"][3:]:
        record["diverged"] = True
    claim = {"says": "x", "test": "better", "this": {"init": "good"}, "than": {"init": "bad"}}
    lost = judged(ClaimSpec(**claim, kept=0.68), results)
    assert (lost.n, lost.verdict, lost.diverged) == (5, "undecided", 1) and "Nothing diverged in 4 of 5 seeds" in lost.reason
    assert judged(ClaimSpec(**claim, kept=0.774), results).n == judged(ClaimSpec(**claim, kept=0.77), results).n == 5


def test_a_seed_that_lacks_one_of_the_named_cells_is_left_out():
    results = [result for result in made() if (result["labels"]["init"], result["seed"]) != ("twin", 3)]
    assert judged(ClaimSpec(says="both", test="better", this={"init": ["good", "twin"]}, than={"init": "bad"}), results).n == 4


def test_a_claim_at_early_stop_without_a_validation_split_says_what_it_needs():
    results = fake_results(AXES, rounds=2, early=False)
    verdict = judged(ClaimSpec(says="early", test="matches_dense", at="early", margin=0.01), results)
    assert verdict.verdict == "undecided" and verdict.reason.endswith("It needs a validation split.")


def test_a_claim_without_a_name_is_called_by_its_number():
    claims = [ClaimSpec(says="x", test="matches_dense", name=name) for name in ("", "b", "")]
    assert [verdict.claim for verdict in judge(FakeStudy(axes=AXES, claims=claims), [])] == ["1", "b", "3"]


def test_nothing_run_yet_is_undecided():
    assert judge(FakeStudy(axes=AXES, claims=[ClaimSpec(says="x", test="matches_dense")]), [])[0].verdict == "undecided"


def test_every_wrong_name_in_a_figure_or_claim_is_told_at_once_with_the_nearest():
    problems = check_specs(AXES, [FigureSpec(by="initt")], [ClaimSpec(says="x", test="better", this={"init": "goood"}, than={"int": "bad"}),
                                                           ClaimSpec(says="y", test="about")])
    assert len(problems) == 5
    assert 'Did you mean "init"?' in problems[0] and problems[0].startswith('[[figure]] 1: by = "initt"')
    assert 'Did you mean "good"?' in problems[1] and 'Did you mean "init"?' in problems[2]
    assert "needs value" in problems[3] and "margin above 0" in problems[4]


def test_right_names_are_no_problem_whatever_the_type_of_the_label():
    axes = {"lr": [0.1, 0.01], "prune_biases": [True, False]}
    claim = ClaimSpec(says="x", test="better", this={"lr": 0.1, "prune_biases": True}, than={"lr": "0.01"})
    assert check_specs(axes, [FigureSpec(by="lr", panel="prune_biases")], [claim]) == []


def test_a_network_that_was_pruned_before_round_0_is_no_dense_network_to_match():
    results = made()
    for result in results:
        result["rounds"][0]["kept_fraction"] = 0.8
    verdict = judged(ClaimSpec(says="good matches", test="matches_dense", margin=0.01, this={"init": "good"}), results)
    assert (verdict.verdict, verdict.n) == ("undecided", 0)
    assert verdict.reason == "There is no dense network to match: round 0 was pruned before it was trained, or is the round asked for."


def test_a_round_is_never_matched_with_itself():
    """Where only round 0 was run, and where the claim names 100 % of the weights, every gain would be exactly 0."""
    results = made()
    whole = judged(ClaimSpec(says="x", test="matches_dense", margin=0.01, kept=1.0, this={"init": "bad"}), results)
    for result in results:
        del result["rounds"][1:]
    only = judged(ClaimSpec(says="x", test="matches_dense", margin=0.01, this={"init": "bad"}), results)
    for verdict in (whole, only):
        assert (verdict.verdict, verdict.n) == ("undecided", 0)
        assert verdict.reason.startswith("There is no dense network to match")


def test_about_is_not_supported_by_a_mean_outside_the_band_whose_interval_touches_it():
    """Means of 0.535 and 0.525, 95 % within 0.016 of them; the band ends at 0.53."""
    for moved, verdict in ((0.0, "undecided"), (-0.01, "supported"), (0.02, "contradicted")):
        results = made()
        for result in results:
            result["rounds"][-1]["end"]["test"]["accuracy"] = (0.52, 0.525, 0.535, 0.545, 0.55)[result["seed"]] + moved
        assert judged(ClaimSpec(says="50 %", test="about", value=0.5, margin=0.03, this={"init": "good"}), results).verdict == verdict


def test_sides_at_different_kept_fractions_are_told_with_their_own():
    results = made()
    for result in results:
        result["rounds"][2]["kept_fraction"] = {"good": 0.334, "bad": 0.36, "twin": 0.337}[result["labels"]["init"]]
    claim = {"says": "x", "test": "better", "this": {"init": "good"}, "kept": 0.334}
    far = judged(ClaimSpec(**claim, than={"init": "bad"}), results)
    assert "good was measured at 33.4 %, bad at 36 % of the weights." in far.reason
    assert "easured" not in judged(ClaimSpec(**claim, than={"init": "twin"}), results).reason


def test_a_level_beside_the_one_asked_for_is_told():
    asked = {"says": "x", "test": "matches_dense", "margin": 0.01}
    assert "Measured at 64 % of the weights." in judged(ClaimSpec(**asked, kept=0.6, this={"init": "good"})).reason
    assert "easured" not in judged(ClaimSpec(**asked, kept=0.64, this={"init": "good"})).reason


def shaped(accuracy, seeds=5, rounds=4, labels=AXES):
    """accuracy(init, seed, round) in every round of every cell; 80 % kept a round."""
    results = fake_results(labels, seeds=seeds, rounds=rounds)
    for result in results:
        for record in result["rounds"]:
            record["kept_fraction"] = 0.8 ** record["round"]
            record["end"]["test"]["accuracy"] = accuracy(result["labels"]["init"], result["seed"], record["round"])
    return results


LUCK = (0.010, -0.013, 0.002, 0.007, -0.006)


def test_a_group_of_five_times_the_spread_is_less_stable_and_the_ratio_is_told():
    """good spreads with LUCK, bad with about five times LUCK, in another order; means differ and do not matter."""
    results = shaped(lambda init, seed, _: 0.9 + (LUCK[seed] if init != "bad" else 0.05 + 5 * LUCK[(seed + 2) % 5]))
    verdict = judged(ClaimSpec(says="x", test="more_stable", this={"init": "good"}, than={"init": "bad"}), results)
    assert verdict.verdict == "supported" and abs(verdict.effect - 0.2) < 1e-9 and verdict.low < 0.2 < verdict.high < 1
    assert verdict.unit == "ratio" and "standard deviation 0.95 points against 4.73 points, ratio 0.20 (95 % interval" in verdict.reason
    opposite = judged(ClaimSpec(says="x", test="more_stable", this={"init": "bad"}, than={"init": ["good", "twin"]}), results)
    assert opposite.verdict == "contradicted" and abs(opposite.effect - 5) < 1e-9
    assert shown(verdict)[0] == "× 0.20"


def test_a_margin_of_more_stable_is_a_fraction_of_the_spread():
    results = shaped(lambda init, seed, _: 0.9 + LUCK[seed] * (1 if init == "good" else 1.25))
    claim = {"says": "x", "test": "more_stable", "this": {"init": "good"}, "than": {"init": "bad"}}
    assert judged(ClaimSpec(**claim, margin=0.1), results).verdict == "supported"  # 0.8 of the spread.
    assert judged(ClaimSpec(**claim, margin=0.3), results).verdict == "contradicted"


def test_sides_that_do_not_vary_and_two_seeds_have_no_ratio():
    claim = ClaimSpec(says="x", test="more_stable", this={"init": "good"}, than={"init": "bad"})
    assert "does not vary" in judged(claim, shaped(lambda *_: 0.9)).reason
    assert "Below 3 seeds nothing is decided." in judged(claim, shaped(lambda _, seed, __: 0.9 + LUCK[seed], seeds=2)).reason


def test_the_same_cells_at_another_level_are_paired_with_themselves():
    results = shaped(lambda init, seed, round_: 0.9 + LUCK[seed] + 0.01 * round_ + (0.3 if init == "bad" else 0))
    claim = {"says": "x", "test": "better", "this": {"init": ["good", "bad"]}, "kept_than": 1.0}
    verdict = judged(ClaimSpec(**claim, kept=0.64), results)
    assert verdict.verdict == "supported" and abs(verdict.effect - 0.02) < 1e-9 and verdict.n == 5
    assert verdict.reason.startswith("good and bad at 64 % of the weights against itself at 100 %: +2.00 points (")
    assert judged(ClaimSpec(**claim), results).reason.startswith("good and bad after the last round against itself at 100 %: +4.00 points")
    assert "easured" not in verdict.reason


def test_two_groups_may_be_compared_at_two_levels():
    results = shaped(lambda init, seed, round_: 0.9 + LUCK[seed] - 0.01 * round_ * (init == "bad"))
    claim = ClaimSpec(says="x", test="better", this={"init": "good"}, than={"init": "bad"}, kept=0.41, kept_than=0.8)
    verdict = judged(claim, results)
    assert abs(verdict.effect - 0.01) < 1e-9 and "good at 41 % of the weights against bad at 80 %: +1.00" in verdict.reason


def early(step):
    results = shaped(lambda *_: 0.9)
    for result in results:
        for record in result["rounds"]:
            record["early"]["step"] = step(result["seed"], record["round"])
    return results


def test_a_relative_gain_is_a_fraction_of_the_other_side():
    """Early stop at 1000 + 100 seed, and at 62 % of that (give or take a step) in round 2."""
    results = early(lambda seed, round_: (1000 + 100 * seed) * (0.62 if round_ == 2 else 1) + seed % 2)
    claim = {"says": "38 % earlier", "metric": "early_step", "kept": 0.64, "kept_than": 1.0, "relative": True}
    about = judged(ClaimSpec(**claim, test="about", value=0.38, margin=0.05), results)
    assert about.verdict == "supported" and abs(about.effect - 0.38) < 1e-3 and about.unit == "relative"
    assert "+38.0 % (95 % interval" in about.reason and "38 % give or take 5 % was said" in about.reason
    assert judged(ClaimSpec(**claim, test="better", margin=0.3), results).verdict == "supported"
    assert judged(ClaimSpec(**claim, test="better", margin=0.4), results).verdict == "contradicted"


def test_early_stops_at_the_last_step_are_told_and_decide_nothing_alone():
    """A fake round trains 400 steps."""
    claim = ClaimSpec(says="x", test="better", metric="early_step", kept=0.64, kept_than=1.0, this={"init": "good"})
    some = judged(claim, early(lambda seed, round_: 300 - 10 * seed if round_ == 2 else 400))
    assert some.verdict == "supported" and "5 of 10 trainings ended at their lowest validation loss" in some.reason
    none = judged(claim, early(lambda *_: 400))
    assert (none.verdict, none.n) == ("undecided", 0) and none.reason.startswith("Every training ended at its lowest validation loss")
    assert "lowest validation loss" not in judged(claim, early(lambda *_: 200)).reason


def test_about_with_another_side_is_about_the_gain():
    claim = ClaimSpec(says="5 points above", test="about", this={"init": "good"}, than={"init": "bad"}, value=0.05, margin=0.01)
    verdict = judged(claim)
    assert verdict.verdict == "supported" and abs(verdict.effect - 0.0501) < 1e-9
    assert "+5.01 points" in verdict.reason and "5.00 points give or take 1.00 points was said" in verdict.reason


def test_a_peak_is_found_at_the_level_where_each_seed_is_best():
    """Best in round 2 (64 %) or, for one seed, 3 (51.2 %): on average exp(mean log) = 61.2 %."""
    results = shaped(lambda _, seed, round_: 0.95 - 0.01 * abs(round_ - (3 if seed == 4 else 2)))
    claim = {"says": "x", "test": "peaks_at", "this": {"init": "good"}}
    verdict = judged(ClaimSpec(**claim, value=0.64, margin=0.5), results)
    assert verdict.verdict == "supported" and abs(verdict.effect - 0.64 * 0.8**0.2) < 1e-9
    assert verdict.low < 0.64 * 0.8**0.5 and verdict.high > 0.64 and "highest test_accuracy at 61.2 % of the weights" in verdict.reason
    assert judged(ClaimSpec(**claim, value=0.1, margin=0.5), results).verdict == "contradicted"
    assert judged(ClaimSpec(**claim, value=0.64, margin=0.05), results).verdict == "undecided"  # Half a level is wider.


def test_a_curve_that_rises_and_falls_has_one_peak_and_one_that_only_falls_has_none():
    results = shaped(lambda init, seed, round_: 0.95 - 0.01 * abs(round_ - (2 if init == "good" else 0)) + LUCK[(seed + round_) % 5] / 20)
    one = judged(ClaimSpec(says="x", test="unimodal", this={"init": "good"}, margin=0.002), results)
    assert one.verdict == "supported" and 0.01 < one.effect < 0.03
    assert "highest mean test_accuracy at 64 % of the weights" in one.reason and "a fall above 0.20 points" in one.reason
    assert judged(ClaimSpec(says="x", test="unimodal", this={"init": "bad"}), results).verdict == "contradicted"


def test_curves_of_other_levels_have_no_mean():
    results = shaped(lambda _, seed, round_: 0.9 + LUCK[seed] - 0.01 * round_)
    results[0]["rounds"][2]["kept_fraction"] = 0.5
    verdict = judged(ClaimSpec(says="x", test="unimodal"), results)
    assert verdict.verdict == "undecided" and verdict.reason.startswith("The cells were not measured at the same levels")


def test_the_smallest_winning_ticket_is_a_number_of_each_cell():
    """good matches its dense network down to 41 % (below it at 51 %), bad to 80 %, twin never."""
    lasts = {"good": (0, 1, 1, -1, 0), "bad": (0, 0, -1, -1, -1), "twin": (0, -1, -1, -1, -1)}
    results = shaped(lambda init, seed, round_: 0.9 + LUCK[seed] + 0.01 * lasts[init][round_])
    claim = {"says": "x", "metric": "smallest_winning"}
    better = judged(ClaimSpec(**claim, test="better", this={"init": "good"}, than={"init": "bad"}), results)
    assert better.verdict == "supported" and abs(better.effect - (0.8 - 0.4096)) < 1e-9
    assert better.reason.startswith("good against bad: +39.04 % of the weights saved (")
    about = judged(ClaimSpec(**claim, test="about", value=1.0, margin=0.01, this={"init": "twin"}), results)
    assert about.verdict == "supported" and "twin: 100.00 %" in about.reason
    for result in results:
        result["rounds"][0]["kept_fraction"] = 0.9
    assert "dense network to match" in judged(ClaimSpec(**claim, test="about", value=1.0, margin=0.1), results).reason


def test_seconds_are_judged_from_results_and_rows_without_them_say_so():
    results = made()
    for result in results:
        for record in result["rounds"]:
            record["seconds"]["train"] = (4.0 if result["labels"]["init"] == "bad" else 2.0) + 0.01 * result["seed"] * len(result["labels"]["init"])
    claim = ClaimSpec(says="faster", test="better", metric="train_seconds", this={"init": "good"}, than={"init": "bad"}, relative=True, margin=0.4)
    study = FakeStudy(axes=AXES, claims=[claim])
    verdict = verdicts(study, results)[0]
    assert verdict.verdict == "supported" and 0.48 < verdict.effect < 0.5
    assert judge(study, analysis.tidy(results))[0].reason == "No train_seconds was measured."


def test_a_family_is_corrected_together_and_says_how():
    """One gain of p = 0.012 by t; beside two that decide nothing it is 0.037 by Holm, beside four 0.061."""
    gains = (0.01, 0.02, 0.03, 0.04, 0.05)
    results = shaped(lambda init, seed, _: 0.9 + LUCK[seed] + (gains[seed] - 0.0001 if init == "good" else 0.02 * (-1) ** seed * (init == "twin")))
    clear = ClaimSpec(says="x", test="better", this={"init": "good"}, than={"init": "bad"}, family="inits")
    vague = ClaimSpec(says="y", test="better", this={"init": "twin"}, than={"init": "bad"}, family="inits")

    def of(*claims):
        return judge(FakeStudy(axes=AXES, claims=list(claims)), analysis.tidy(results))

    alone, three, five = of(clear)[0], of(clear, vague, vague)[0], of(vague, vague, clear, vague, vague)[2]
    assert alone.verdict == three.verdict == "supported" and five.verdict == "undecided"
    assert alone.p == alone.p_holm and abs(three.p_holm - 3 * alone.p) < 1e-12 and abs(five.p_holm - 5 * alone.p) < 1e-12
    assert f"Holm over 5 comparisons: p = {five.p_holm:.3f}; alone it would be supported. About 1 more seed would decide it" in five.reason
    other = of(clear, msgspec.structs.replace(vague, family=""))
    assert other[0].p_holm == alone.p and other[1].p_holm is None and "Holm" not in other[1].reason


def test_a_claim_of_a_family_that_is_not_measured_yet_counts_all_the_same():
    claims = [ClaimSpec(says="x", test="better", this={"init": "good"}, than={"init": "bad"}, family="f"),
              ClaimSpec(says="y", test="matches_dense", kept=0.01, family="f")]
    found = judge(FakeStudy(axes=AXES, claims=claims), analysis.tidy(made()))
    assert found[0].p_holm == 2 * found[0].p and found[1].p is None


def told(test, metric, effect, low, high, unit="gain", word="supported", **more):
    return Verdict(claim="a", says="It is so.", test=test, metric=metric, verdict=word, reason="", effect=effect, low=low, high=high, n=5,
                   unit=unit, **more)


@pytest.mark.parametrize(("verdict", "effect", "span"), [
    (told("better", "test_accuracy", 0.0038, 0.003, 0.0046), "+0.38 points", "+0.30, +0.46"),
    (told("about", "test_accuracy", 0.37, 0.33, 0.41, "level"), "37.00 %", "33.00, 41.00"),
    (told("better", "smallest_winning", 0.9054, 0.9, 0.91), "+90.54 % of the weights saved", "+90.00, +91.00"),
    (told("about", "smallest_winning", 0.0946, 0.09, 0.1, "level"), "9.46 % of the weights", "9.00, 10.00"),
    (told("better", "train_seconds", 0.4101, 0.2699, 0.5502), "+0.4101 s saved", "+0.2699, +0.5502"),
    (told("better", "train_seconds", 0.38, 0.3, 0.5, "relative"), "+38.0 %", "+30.0, +50.0"),
    (told("better", "early_step", -40.0, -151.1, 12_345.0), "-40 steps saved", "-151, +12,345"),
    (told("about", "alive_units", 1.0, 0.9, 1.0, "level"), "100.00 % of the units", "90.00, 100.00"),
    (told("better", "test_loss", 0.3242, 0.1, 0.5), "+0.3242", "+0.1, +0.5"),
    (told("peaks_at", "test_accuracy", 0.409, 0.335, 0.5, "kept"), "40.9 % of the weights", "33.5, 50"),
    (told("more_stable", "test_accuracy", 0.0402, 0.0271, 0.0602, "ratio"), "× 0.040", "0.027, 0.060"),
    (told("more_stable", "test_accuracy", 1.53, 0.95, 2.48, "ratio"), "× 1.53", "0.95, 2.48"),
    (told("more_stable", "test_accuracy", 1.02, 0.0006, 1709.73, "ratio", "undecided"), "no ratio can be told", "")])
def test_each_number_wears_the_unit_of_its_metric(verdict, effect, span):
    assert shown(verdict) == (effect, span)


def test_a_ratio_whose_interval_spans_orders_of_magnitude_is_not_told_in_the_reason_either():
    """All of bad's spread is one seed of eleven: without it, it does not vary."""
    results = shaped(lambda init, seed, _: 0.9 + (LUCK[seed % 5] if init == "good" else 1e-6 * LUCK[seed % 5] - 0.3 * (seed == 7)), seeds=11)
    verdict = judged(ClaimSpec(says="x", test="more_stable", this={"init": "good"}, than={"init": "bad"}), results)
    assert "no ratio can be told (95 % interval " in verdict.reason and shown(verdict) == ("no ratio can be told", "")
    assert "standard deviation 0.90 points against 9.05 points" in verdict.reason


@pytest.mark.parametrize(("verdict", "words"), [
    (told("better", "test_accuracy", -0.0891, -0.1698, -0.0083, word="contradicted"), "the opposite, -8.91 points (-16.98 to -0.83)"),
    (told("better", "test_accuracy", 0.0035, 0.0021, 0.0049, word="contradicted"), "not so much, +0.35 points (+0.21 to +0.49)"),
    (told("better", "test_accuracy", 0.0, 0.0, 0.0, word="contradicted"), "not so much, +0.00 points (+0.00 to +0.00)"),
    (told("matches_dense", "test_accuracy", -0.0044, -0.0065, -0.0024, word="contradicted"),
     "worse than its dense network, -0.44 points (-0.65 to -0.24)"),
    (told("similar", "test_accuracy", 0.0506, 0.0361, 0.0652, word="contradicted"), "a difference, +5.06 points (+3.61 to +6.52)"),
    (told("about", "test_accuracy", 0.1331, 0.0937, 0.1724, "level", "contradicted"), "13.31 % (9.37 to 17.24)"),
    (told("more_stable", "test_accuracy", 5.0, 3.0, 8.0, "ratio", "contradicted"), "the opposite, × 5.00 (3.00 to 8.00)"),
    (told("more_stable", "test_accuracy", 0.95, 0.91, 0.98, "ratio", "contradicted"), "not so much, × 0.95 (0.91 to 0.98)"),
    (told("unimodal", "test_accuracy", -0.01, -0.02, -0.001, word="contradicted"), "no such peak, -1.00 points (-2.00 to -0.10)"),
    (told("better", "test_accuracy", None, None, None, word="contradicted", diverged=8), "8 cells diverged")])
def test_a_contradicted_sentence_never_stands_without_what_was_found(verdict, words):
    assert sentence(verdict) == f'Claimed: "It is so." Found: {words}.'


def test_a_sentence_that_is_not_contradicted_stands_as_it_is():
    for word in ("supported", "undecided"):
        verdict = told("better", "test_accuracy", 0.01, 0.005, 0.02, word=word)
        assert instead(verdict) == "" and sentence(verdict) == "It is so."


PAIR = {"this": {"init": "good"}, "than": {"init": "bad"}}


@pytest.mark.parametrize(("claim", "problem"), [
    ({"test": "more_stable", "this": {"init": "good"}}, "or kept_than for the same cells at another level"),
    ({"test": "better", "kept": 0.5, "kept_than": 0.5}, "the same cells at the same kept"),
    ({"test": "better", "than": {"init": "bad"}}, "than needs a this"),
    ({"test": "peaks_at", **PAIR, "value": 0.2, "margin": 0.5}, 'test = "peaks_at" takes no than'),
    ({"test": "matches_dense", "kept_than": 1.0, "kept": 0.1}, "takes no kept_than"),
    ({"test": "peaks_at", "margin": 0.5}, "needs value"),
    ({"test": "better", "value": 0.6, "kept_than": 1.0}, "takes value in the place of another side"),
    ({"test": "better", "value": 0.6, "relative": True}, "relative = true needs another side"),
    ({"test": "matches_dense", "value": 0.6}, 'value is for test = "about", "peaks_at" or "better"'),
    ({"test": "peaks_at", "value": 20, "margin": 0.5}, "wants a kept fraction"),
    ({"test": "peaks_at", "value": 0.2}, "margin above 0"),
    ({"test": "unimodal", "kept": 0.2}, "about all rounds of a cell. Leave kept out"),
    ({"test": "unimodal", "relative": True}, "takes no relative"),
    ({"test": "more_stable", **PAIR, "margin": 1.5}, "a fraction below 1"),
    ({"test": "about", "value": 0.3, "margin": 0.1, "relative": True}, "relative = true needs another side"),
    ({"test": "better", **PAIR, "metric": "smallest_winning", "kept": 0.2}, "Leave kept out"),
    ({"test": "matches_dense", "metric": "smallest_winning"}, "single rounds"),
    ({"test": "better", **PAIR, "metric": "train_seconds", "at": "early"}, "of a whole round"),
])
def test_a_claim_that_cannot_be_judged_is_told_in_one_line(claim, problem):
    told = check_specs(AXES, [], [ClaimSpec(says="x", **claim)])
    assert len(told) == 1 and problem in told[0] and told[0].startswith("[[claim]] 1: ") and "\n" not in told[0]


@pytest.mark.parametrize("claim", [
    {"test": "better", "kept": 0.2, "kept_than": 1.0}, {"test": "more_stable", **PAIR, "kept": 0.02}, {"test": "unimodal", "margin": 0.01},
    {"test": "peaks_at", "value": 0.21, "margin": 0.5, "metric": "early_step"}, {"test": "about", **PAIR, "value": 0.3, "margin": 0.1},
    {"test": "about", "kept_than": 1.0, "relative": True, "metric": "train_seconds", "value": 0.3, "margin": 0.1},
    {"test": "better", **PAIR, "metric": "smallest_winning", "family": "x"}])
def test_claims_that_can_be_judged_are_no_problem(claim):
    assert check_specs(AXES, [], [ClaimSpec(says="x", **claim)]) == []
