"""Verdicts on results whose truth is known."""

from sweepstake.base.specs import ClaimSpec, FigureSpec, check_specs
from sweepstake.read import analysis
from sweepstake.read.claims import judge
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


def test_a_diverged_cell_is_left_out_with_its_count_said():
    results = made()
    results[0]["status"] = "diverged"
    results[0]["rounds"][2] |= {"diverged": True}
    verdict = judged(ClaimSpec(says="good beats bad", test="better", this={"init": "good"}, than={"init": "bad"}), results)
    assert verdict.n == 4 and verdict.diverged == 1 and "1 diverged cell is left out" in verdict.reason


def test_a_seed_that_lacks_one_of_the_named_cells_is_left_out():
    results = [result for result in made() if (result["labels"]["init"], result["seed"]) != ("twin", 3)]
    assert judged(ClaimSpec(says="both", test="better", this={"init": ["good", "twin"]}, than={"init": "bad"}), results).n == 4


def test_a_claim_at_early_stop_without_a_validation_split_says_what_it_needs():
    results = fake_results(AXES, rounds=2, early=False)
    verdict = judged(ClaimSpec(says="early", test="matches_dense", at="early", margin=0.01), results)
    assert verdict.verdict == "undecided" and verdict.reason.endswith("It needs a validation split.")


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
