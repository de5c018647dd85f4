"""The studies of tickets and of random masks load whole and quick, cite whom they follow, and say what they were made to say."""

import pytest

from sweepstake.study.study import load_study, shipped_studies

CELLS = {"winning-tickets": (70, 14), "random-pruning": (100, 20), "frankle-carbin": (15, 6)}
"""Cells whole, and under --quick."""


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_every_shipped_study_has_a_quick_scale_claims_figures_and_a_source(name):
    study, quick = load_study(name), load_study(name, quick=True)
    assert len(quick.cells) <= len(study.cells)
    assert _work(quick) < _work(study) / 2
    assert study.title and study.about and study.figures and study.claims
    assert all(claim.source for claim in study.claims)
    names = [claim.name for claim in study.claims if claim.name]
    assert len(set(names)) == len(names), "a claim is told by its name"


def _work(study):
    """Steps of training in all, the images of an epoch counted; a round without any counts as one."""
    return sum((cell.rounds + 1) * max(cell.steps if cell.steps is not None else cell.epochs * (cell.subset or 60_000) / cell.batch_size, 1)
               for cell in study.cells)


@pytest.mark.parametrize("name", CELLS)
def test_cells_are_as_many_as_were_said(name):
    assert (len(load_study(name).cells), len(load_study(name, quick=True).cells)) == CELLS[name]
    assert len(load_study(name).seeds) >= 5


@pytest.mark.parametrize("name", CELLS)
def test_what_is_reduced_is_said_in_the_title(name):
    study = load_study(name)
    steps = {cell.steps for cell in study.cells}
    assert "reduced" in study.title and f"{steps.pop():,} iterations" in study.title and not steps


def test_winning_tickets_is_algorithm_1_to_below_1_7_percent():
    """n rounds of p^(1/n) of all parameters, one ranking; one-shot is one round of p."""
    for planned in load_study("winning-tickets").planned:
        cell, once = planned.cell, planned.labels["case"].startswith("one-shot")
        assert cell.allocation.name == "everywhere" and cell.criterion.name == "magnitude"
        assert cell.rounds == (1 if once else 14)
        if once:
            assert cell.keep == pytest.approx(float(planned.labels["case"].split()[2]) / 100, rel=0.02)
        else:
            assert cell.keep ** 12 == pytest.approx(0.017, rel=0.005) and cell.keep ** 14 < 0.01


@pytest.mark.parametrize("name", ["winning-tickets", "frankle-carbin"])
def test_what_is_drawn_anew_has_the_masks_of_a_ticket_of_the_same_study(name):
    study = load_study(name)
    tickets = {(str(cell.dataset), cell.seed) for cell in study.cells if cell.reset.name == "rewind" and cell.control == "none"}
    anew = [cell for cell in study.cells if cell.reset.name == "fresh"]
    assert anew and all(cell.control == "transplant" and cell.donor["reset"]["name"] == "rewind" for cell in anew)
    assert {(str(cell.dataset), cell.seed) for cell in anew} <= tickets


def test_random_pruning_goes_from_20_to_98_percent_sparsity_at_the_levels_of_imp():
    study = load_study("random-pruning")
    for cell in study.cells:
        prunings = cell.rounds + (cell.prune_when == "before")
        assert cell.keep == 0.8 and prunings == 18 and 0.8 ** prunings < 0.02
        assert (cell.prune_when == "before") == (cell.criterion.name == "random")
    likes = [cell.allocation.options for cell in study.cells if cell.allocation.name == "like"]
    assert len(likes) == 20 and all(options["criterion"] == "snip" and options["once"] for options in likes)


@pytest.mark.parametrize("name", ["winning-tickets", "random-pruning"])
def test_every_level_a_claim_asks_for_is_a_level_of_its_cells(name):
    """Within 2 %: a claim is judged where it was said, not nearby."""
    study = load_study(name)
    for claim in study.claims:
        for where, kept in ((claim.this, claim.kept), (claim.than or claim.this, claim.kept_than or claim.kept)):
            cells = [planned.cell for planned in study.planned
                     if all(planned.labels[axis] in (said if isinstance(said, list) else [said]) for axis, said in where.items())]
            for cell in cells if kept is not None else []:
                first = cell.prune_when == "before"
                levels = [cell.keep ** (round_ + first) for round_ in range(cell.rounds + 1)]
                assert any(abs(level / kept - 1) < 0.02 for level in levels), (claim.name, kept)
