"""What no result could answer is told before anything is trained, in the words that would have stood in the report."""

import pytest

from sweepstake.base.errors import UserError
from sweepstake.read.ahead import heed, unanswerable
from sweepstake.read.results import run_study
from sweepstake.run.check import check_study
from sweepstake.study.study import load_study, read_study, shipped_studies
from tests.small import SMALL, small_study

SAYS = {"says": "It holds.", "margin": 0.01}
TWO = {"init": ["xavier_normal", "zeros"], "seeds": 3}
SIDES = {"this": {"init": "zeros"}, "than": {"init": "xavier_normal"}}


def ahead(**changes):
    study = small_study(**{**TWO, **changes})
    return unanswerable(study, check_study(study, list(study.planned), None))


@pytest.mark.parametrize(("claim", "changes", "said"), [
    ({"test": "matches_dense", "kept": 0.35}, {}, "No round with about 35 % of the weights will be measured; the nearest is 64 %."),
    ({"test": "better", "kept": 0.4, **SIDES}, {"keep": 0.7}, "No round with about 40 % of the weights will be measured; the nearest is 49 %."),
    ({"test": "matches_dense", "kept": 0.6}, {"keep_target": 0.25, "rounds": 1}, "the nearest is 100 %."),
    ({"test": "matches_dense", "kept": 0.3}, {"remove": {"fc1": 100}}, "the nearest is 77.5 %."),
    ({"test": "matches_dense", "kept": 0.2}, {"keep": {"fc2": 0.5}}, "the nearest is 89.9 %."),
    ({"test": "matches_dense", "kept": 0.2}, {"output_keep": 1.0, "keep": 0.5}, "the nearest is 35.1 %."),
    ({"test": "matches_dense"}, {"prune_when": "before"}, "There is no dense network to match"),
    ({"test": "better", "metric": "smallest_winning", **SIDES}, {"rounds": 0}, "No cell has finished with a dense network to match"),
    ({"test": "better", "at": "early", **SIDES}, {}, "No test_accuracy will be measured at early stop. It needs a validation split."),
    ({"test": "better", "metric": "early_step", **SIDES}, {}, "It needs a validation split."),
    ({"test": "better", "metric": "validation_loss", **SIDES}, {}, "It needs a validation split."),
    ({"test": "unimodal"}, {"rounds": 0}, "No cell has finished more than one round."),
])
def test_a_claim_that_no_result_answers_is_named_with_the_reason(claim, changes, said):
    (never,), few = ahead(claim=[{**SAYS, "name": "a", **claim}], **changes)
    assert never.startswith("[[claim]] 1 (a) cannot be answered: ")
    assert said in never and few == []


@pytest.mark.parametrize(("claim", "changes"), [
    ({"test": "matches_dense", "kept": 0.64}, {}), ({"test": "matches_dense", "kept": 0.7}, {}),
    ({"test": "better", "at": "early", **SIDES}, {"validation": 100}), ({"test": "better", "metric": "early_step", **SIDES}, {"validation": 100}),
    ({"test": "better", "metric": "train_seconds", **SIDES}, {}), ({"test": "better", "metric": "smallest_winning", **SIDES}, {}),
    ({"test": "peaks_at", "value": 0.5}, {}), ({"test": "unimodal"}, {}), ({"test": "more_stable", **SIDES}, {}),
    ({"test": "about", "value": 0.9}, {}), ({"test": "similar", "kept": 1.0, "kept_than": 0.64}, {}),
    ({"test": "matches_dense", "kept": 0.01}, {"granularity": "unit", "criterion": "unit_l2", "allocation": "everywhere"}),
])
def test_a_claim_that_results_may_answer_is_let_be(claim, changes):
    assert ahead(claim=[{**SAYS, **claim}], **changes) == ([], [])


@pytest.mark.parametrize(("figure", "changes", "said"), [
    ({"kind": "early_stop_by_kept"}, {}, ["(early_stop_by_kept) has nothing to draw: no early_step will be measured. It needs a validation split."]),
    ({"at": "early"}, {}, ["(accuracy_by_kept) has nothing to draw: no early_test_accuracy will be measured. It needs a validation split."]),
    ({"kind": "learning_curves", "metric": "validation_loss"}, {}, [
        "(learning_curves) has nothing to draw: no validation_loss will be measured. It needs a validation split."]),
    ({"every": 3}, {}, ["(accuracy_by_kept): every = 3 chooses round 0 alone, for the last round is 2. Say every = 2 or less."]),
    ({"kind": "early_stop_by_kept"}, {"validation": 100}, []), ({"every": 2}, {}, []), ({"kind": "init_density"}, {}, []),
    ({"kind": "learning_curves", "metric": "test_loss"}, {}, [])])
def test_a_figure_with_nothing_to_draw_is_named(figure, changes, said):
    assert ahead(figure=[figure], **changes) == ([f"[[figure]] 1 {one}" for one in said], [])


def test_few_seeds_are_told_in_one_line_and_refused_nowhere():
    claims = [{**SAYS, "test": "more_stable", **SIDES}, {**SAYS, "test": "better", **SIDES}]
    study = small_study(**{**TWO, "seeds": 2}, claim=claims)
    assert heed(study, check_study(study, list(study.planned), None)) == ["2 of 2 claims have fewer than 3 seeds, so they will stay undecided."]


def test_a_study_as_written_is_refused_before_it_trains_and_a_changed_one_told(tmp_path, capsys):
    claim = [{**SAYS, "test": "matches_dense", "kept": 0.35}]
    with pytest.raises(UserError, match=r"small: \[\[claim\]\] 1 cannot be answered: No round with about 35 %"):
        run_study(small_study(claim=claim), tmp_path / "runs", progress=False)
    assert not list((tmp_path / "runs" / "cells").iterdir())
    quick = read_study({**SMALL, "claim": claim, "quick": {"seeds": 1, "steps": 1}}, name="small", quick=True)
    run_study(quick, tmp_path / "runs", workers=1, engine="reference", progress=False)
    assert "[[claim]] 1 cannot be answered: No round with about 35 % of the weights will be measured; the nearest is 64 %." in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_claim_and_figure_of_a_shipped_study_can_be_answered(name):
    study = load_study(name)
    assert unanswerable(study, check_study(study, list(study.planned), None)) == ([], [])


@pytest.mark.parametrize(("changes", "told"), [
    ({"keep": 1.0}, True), ({"keep": {"fc2": 1.0}}, True), ({"keep": 0.99999}, True),
    ({"keep": [1.0, 0.8]}, False), ({"keep": 1.0, "rounds": 0}, False), ({"keep": {"fc2": 0.5}}, False)])
def test_rounds_that_prune_nothing_are_told(changes, told):
    study = small_study(**changes)
    said = [line for line in heed(study, check_study(study, list(study.planned), None)) if line.startswith("nothing is ever pruned: ")]
    assert len(said) == told
