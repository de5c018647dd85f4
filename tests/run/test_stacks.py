"""Stacks as one program: the same cells as one at a time, in the same store."""

import pytest

from sweepstake.base.errors import UserError
from sweepstake.engine.numerics import VERSIONS
from sweepstake.run.executors import stacked
from sweepstake.run.run import run_study
from sweepstake.run.store import Store
from tests.small import small_study


def kept(found):
    return [[(r["round"], r["kept"], r["alive_units"]) for r in cell["rounds"]] for cell in found]


def test_cells_side_by_side_are_the_cells_one_at_a_time(tmp_path):
    study = small_study(init=["xavier_normal", "kaiming_normal"])
    apart, together = run_study(study, tmp_path / "apart", workers=1), run_study(study, tmp_path / "together", stack=3)

    assert [cell["status"] for cell in together] == ["done"] * 4
    assert kept(together) == kept(apart)
    for one, other in zip(apart, together, strict=True):
        assert one["rounds"][0]["end"]["test"]["loss"] == pytest.approx(other["rounds"][0]["end"]["test"]["loss"], rel=1e-4)
    assert together[0]["provenance"]["device"] == "cpu"


def test_a_stack_that_stops_goes_on_at_the_last_finished_round(tmp_path):
    study, heard = small_study(), []

    def stop_after_three(event):
        heard.append(event.kind)
        if heard.count("round") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "a", stack=2, on_event=stop_after_three)
    assert [Store(tmp_path / "a").rounds_done(p.id) for p in study.planned] == [2, 1]

    again: list[str] = []
    found = run_study(study, tmp_path / "a", stack=2, on_event=lambda event: again.append(event.kind))
    assert again.count("round") == 3
    assert kept(found) == kept(run_study(study, tmp_path / "b", stack=2))


@pytest.mark.parametrize("before", ["stacked 1", "unversioned"])
def test_a_cell_resumed_under_another_numerics_names_both(tmp_path, monkeypatch, before):
    study, heard = small_study(seeds=1), []

    def stop_after_a_round(event):
        heard.append(event.kind)
        if heard.count("round") == 1:
            raise KeyboardInterrupt

    monkeypatch.setitem(VERSIONS, "stacked", 1)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "a", stack=1, on_event=stop_after_a_round)
    if before == "unversioned":
        store, id_ = Store(tmp_path / "a"), study.planned[0].id
        records, tensors, meta = store.load_state(id_)
        store.save_state(id_, [{key: value for key, value in record.items() if key != "numerics"} for record in records], tensors, meta)
    monkeypatch.setitem(VERSIONS, "stacked", 2)
    found = run_study(study, tmp_path / "a", stack=1)[0]
    assert found["provenance"]["numerics"] == f"{before}, stacked 2"
    assert [record.get("numerics") for record in found["rounds"]] == [before if before != "unversioned" else None, "stacked 2", "stacked 2"]


def test_a_diverged_cell_is_a_result_and_its_neighbour_is_whole(tmp_path):
    found = run_study(small_study(seeds=1, lr=[0.001, 1e30], optimiser="sgd", steps=20), tmp_path / "a", stack=2)

    assert [cell["status"] for cell in found] == ["done", "diverged"]
    assert len(found[0]["rounds"]) == 3


def test_what_breaks_the_program_fails_its_cells_with_a_traceback(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the card fell off")

    monkeypatch.setattr(stacked, "run_stack", broken)
    found = run_study(small_study(), tmp_path / "a", stack=2)

    assert [cell["error"] for cell in found] == ["RuntimeError: the card fell off"] * 2
    assert "the card fell off" in Store(tmp_path / "a").failure(found[0]["id"])["traceback"]


def test_a_card_that_is_not_there_is_one_clear_line(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: PyTorch sees no CUDA device here"):
        run_study(small_study(), tmp_path / "a", device="cuda")
    assert not (tmp_path / "a" / "cells").exists() or list((tmp_path / "a" / "cells").iterdir()) == []


def test_a_stack_of_none_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="--stack 0: at least 1"):
        run_study(small_study(), tmp_path / "a", stack=0)


def test_cells_of_one_stack_that_prune_other_layers_keep_what_they_keep_alone(tmp_path):
    """64 x 12 and 12 x 10 weights, 0.8 of what was left a round; a layer that is not pruned stays whole."""
    study = small_study(prune_layers=[["fc1"], ["fc2"], ["all"]], seeds=1)
    together = run_study(study, tmp_path / "together", stack=3)

    assert [[r["kept_by_layer"] for r in cell["rounds"]] for cell in together] == [
        [{"fc1": 768, "fc2": 120}, {"fc1": 614, "fc2": 120}, {"fc1": 492, "fc2": 120}],
        [{"fc1": 768, "fc2": 120}, {"fc1": 768, "fc2": 96}, {"fc1": 768, "fc2": 77}],
        [{"fc1": 768, "fc2": 120}, {"fc1": 614, "fc2": 96}, {"fc1": 491, "fc2": 77}]]
    assert kept(together) == kept(run_study(study, tmp_path / "apart", workers=1))


def test_a_piece_that_fails_one_cell_leaves_its_neighbours_done(tmp_path, monkeypatch):
    """Where its first weights are drawn, and where it is scored after round 0."""
    from sweepstake.pieces import criterion, init

    monkeypatch.setattr(init, "pieces", dict(init.pieces))
    monkeypatch.setattr(criterion, "pieces", dict(criterion.pieces))

    @init
    def cannot_draw(shape):
        """An init that fails."""
        raise ZeroDivisionError("no draw today")

    @criterion(granularity="weight")
    def cannot_score(w_final):
        """A criterion that fails."""
        raise ZeroDivisionError("no score today")

    study = small_study(init=["cannot_draw", "xavier_normal"], criterion=["magnitude", "cannot_score"], seeds=1)
    found = run_study(study, tmp_path / "a", stack=4)

    assert [(cell["status"], cell["error"]) for cell in found] == [
        ("failed", "ZeroDivisionError: no draw today"), ("failed", "ZeroDivisionError: no draw today"),
        ("done", None), ("failed", "ZeroDivisionError: no score today")]
    assert len(found[2]["rounds"]) == 3


def test_a_donor_of_the_study_is_there_before_those_who_take_its_masks_and_is_not_trained_again(tmp_path, monkeypatch):

    from sweepstake.run import sitting

    study = small_study(case=[{"label": "given", "init": "kaiming_normal", "control": "transplant", "donor": {"init": "xavier_normal"}},
                              {"label": "own", "init": "xavier_normal"}])
    assert [p.cell.control for p in study.planned] == ["transplant", "transplant", "none", "none"]
    monkeypatch.setattr(sitting, "masks_of", lambda *_: pytest.fail("the donor was trained again"))
    found = run_study(study, tmp_path / "a", stack=4)

    assert [cell["status"] for cell in found] == ["done"] * 4
    assert found[0]["provenance"]["engine"] == "stacked"
    assert found[0]["provenance"]["numerics"] == f"stacked {VERSIONS['stacked']}"
    store = Store(tmp_path / "a")
    masks = [[mask.tolist() for mask in store.masks(cell["id"])] for cell in found]
    assert masks[:2] == masks[2:] and masks[0] != masks[1]
