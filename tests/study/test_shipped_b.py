"""The studies of untrained networks, of reduced parameters and of inits load whole and quick, and say what they were made to say."""

import pytest
from msgspec import structs

from sweepstake.pieces import cell_id
from sweepstake.study.study import load_study

CELLS = {"dense-supermasks": 20, "dense-supermasks-wide": 3, "dense-supermasks-ablation": 21, "reduced-parameters": 50,
         "reduced-parameters-longer": 20, "prune-ready": 88, "prune-ready-baselines": 48, "prune-ready-conv": 40, "prune-ready-conv-full": 24}


@pytest.mark.parametrize("name", CELLS)
def test_a_shipped_study_loads_whole_and_quick(name):
    study, quick = load_study(name), load_study(name, quick=True)
    assert len(study.cells) == CELLS[name] and len(quick.cells) < len(study.cells)
    assert study.about and study.figures and study.claims
    assert all(claim.says and claim.source for claim in study.claims)


def test_dense_supermasks_takes_units_until_6_and_2_are_left_and_trains_nothing():
    for planned in load_study("dense-supermasks").planned:
        cell, (first, second) = planned.cell, planned.cell.model.options["hidden"]
        left = first - cell.rounds * cell.remove["fc1"], second - cell.rounds * cell.remove["fc2"]
        assert cell.steps == 0 and left == ((10, 10) if first == 3010 else (6, 2))


def test_the_ablation_varies_one_thing_at_a_time_and_shares_what_is_not_varied():
    whole, varied = load_study("dense-supermasks"), load_study("dense-supermasks-ablation")
    shared = {planned.id for planned in whole.planned} & {planned.id for planned in varied.planned}
    assert len(shared) == 3


@pytest.mark.parametrize("name", ["reduced-parameters", "reduced-parameters-longer"])
def test_reduced_parameters_goes_beyond_90_percent(name):
    for cell in load_study(name).cells:
        assert cell.rounds == 0 or 0.91 ** cell.rounds < 0.1


def test_the_second_look_at_reduced_parameters_trains_for_another_length_and_changes_nothing_else():
    first = {planned.labels["case"]: planned.cell for planned in load_study("reduced-parameters").planned}
    for planned in load_study("reduced-parameters-longer").planned:
        before = first[planned.labels["case"]]
        assert planned.cell.steps in (1600, 10_000) and before.steps == 5000
        same = {"steps": before.steps, "seed": before.seed, "subset": before.subset, "eval_every": before.eval_every, "validation": before.validation}
        assert structs.replace(planned.cell, **same) == before


def test_prune_ready_keeps_the_names_of_its_results():
    study = load_study("prune-ready")
    assert [cell_id(cell) for cell in study.cells][:2] == [planned.id for planned in study.planned][:2]
    assert (study.planned[0].id, study.planned[-1].id) == ("7fa0df2b52c5d7d1", "caaf4ca41349609f")


def test_the_baselines_train_as_long_as_prune_ready_and_share_its_results():
    pruned, baselines = load_study("prune-ready"), load_study("prune-ready-baselines")
    assert len({planned.id for planned in pruned.planned} & {planned.id for planned in baselines.planned}) == 24
    assert {cell.epochs * (cell.rounds + 1) for cell in baselines.cells} == {100}
