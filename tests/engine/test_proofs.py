"""Each self-check catches the lie it is there for: a reset, a control or a mask that is not what it says fails the cell by name."""

import pytest
import torch

from sweepstake.base.errors import BrokenControl
from sweepstake.engine import prune as prune_module
from sweepstake.engine import rounds
from sweepstake.engine.build import build_net
from sweepstake.engine.proofs import the_dead_are_zero
from sweepstake.pieces import reset as resets
from tests.helpers import make_cell, run_cell, tiny_images


def lie(monkeypatch, name, says):
    """Replace the function of a reset, keeping what it claims."""
    from dataclasses import replace

    piece = resets.pieces[name]
    monkeypatch.setitem(resets.pieces, name, replace(piece, function=says, takes=("w_init", "w_final", "redraw")))


def off_by_one_bit(w_init, w_final, redraw, **_):
    return torch.nextafter(w_init, w_init + 1)


def as_trained(w_init, w_final, redraw, **_):
    return w_final


def as_begun(w_init, w_final, redraw, **_):
    return w_init.clone()


def drawn_anew(w_init, w_final, redraw, **_):
    return redraw


def two_sizes(w_init, w_final, redraw, **_):
    w = w_init.sign() * 0.05
    w.view(-1)[::2] *= 1.001
    return w


@pytest.mark.parametrize(("name", "says", "complaint"), [
    ("rewind", off_by_one_bit, "survivors differ from their source"),
    ("rewind", as_trained, "survivors differ from their source"),
    ("rewind", drawn_anew, "survivors differ from their source"),
    ("none", as_begun, "survivors differ from their source"),
    ("rewind_lr", as_begun, "survivors differ from their source"),
    ("fresh", as_begun, "follows its old weights"),
    ("fresh", as_trained, "follows its old weights"),
    ("framework_default", as_begun, "follows its old weights"),
    ("shuffled", as_begun, "follows its old weights"),
    ("shuffled", drawn_anew, "does not hold the same values"),
    ("empirical", as_begun, "follows its old weights"),
    ("empirical", drawn_anew, "holds a value its init did not"),
    ("same_signs", drawn_anew, "has other signs than its init"),
    ("same_signs", as_begun, "follows its old weights"),
    ("constant_signed", as_begun, "has more than one magnitude"),
    ("constant_signed", two_sizes, "has more than one magnitude"),
    ("constant_signed", lambda w_init, w_final, redraw: torch.full_like(w_init, 0.1), "has other signs than its init"),
])
def test_a_reset_that_is_not_what_it_says_fails_the_cell(monkeypatch, name, says, complaint):
    run_cell(make_cell(reset=name, rounds=1), tiny_images())
    lie(monkeypatch, name, says)
    with pytest.raises(BrokenControl, match=f"reset = {name}: .*{complaint}"):
        run_cell(make_cell(reset=name, rounds=1), tiny_images())


def test_every_reset_has_a_lie_that_is_caught():
    rows = next(mark for mark in test_a_reset_that_is_not_what_it_says_fails_the_cell.pytestmark if mark.name == "parametrize").args[1]
    ours = {name for name, piece in resets.pieces.items() if piece.function.__module__.startswith("sweepstake.")}
    assert {row[0] for row in rows} == ours


def test_a_shuffle_that_moves_nothing_fails_the_cell(monkeypatch):
    monkeypatch.setattr(prune_module, "_shuffled", lambda kept, *_: kept)
    with pytest.raises(BrokenControl, match="control = shuffle: the mask did not change"):
        run_cell(make_cell(control="shuffle", rounds=1), tiny_images())


def test_a_shuffle_may_move_a_death_from_a_weight_to_a_bias():
    records = run_cell(make_cell(control="shuffle", prune_biases=True, rounds=2, keep=0.5), tiny_images())
    assert [record["proofs"].get("shuffle") for record in records] == [None, "moved", "moved"]


def test_a_shuffle_that_loses_one_fails_the_cell(monkeypatch):
    def careless(kept, *_):
        kept = kept.clone()
        kept[kept.nonzero()[0]] = False
        return kept

    monkeypatch.setattr(prune_module, "_shuffled", careless)
    with pytest.raises(BrokenControl, match="fc1 keeps 15,359 weights where 15,360 were asked"):
        run_cell(make_cell(control="shuffle", rounds=1), tiny_images())


def test_an_invert_that_does_not_invert_fails_the_cell(monkeypatch):
    honest = prune_module.prune

    def upright(net, cell, *said):
        from msgspec.structs import replace

        return honest(net, replace(cell, control="none"), *said)

    monkeypatch.setattr(rounds, "prune", upright)
    with pytest.raises(BrokenControl, match="control = invert: fc1 keeps a score of .* and lets .* go"):
        run_cell(make_cell(control="invert", rounds=1), tiny_images())


def test_a_transplant_that_grafts_its_own_mask_fails_the_cell(monkeypatch):
    monkeypatch.setattr(rounds, "transplant", lambda net, cell, donor: prune_module.Pruned(donor.roll(1), donor, {}, {}))
    with pytest.raises(BrokenControl, match="control = transplant: [0-9,]+ places differ from the donor's mask"):
        run_cell(make_cell(control="transplant", donor={"seed": 7}, rounds=1), tiny_images())


@pytest.mark.parametrize(("granularity", "criterion", "complaint"), [
    ("weight", "magnitude", "fc1 keeps 15,361 weights where 15,360 were asked"),
    ("unit", "unit_l2", "fc1 keeps 241 units where 240 were asked"),
])
def test_one_too_many_fails_the_cell(monkeypatch, granularity, criterion, complaint):
    honest = prune_module.keep_top
    monkeypatch.setattr(prune_module, "keep_top", lambda score, alive, count, tie: honest(score, alive, count + 1, tie))
    with pytest.raises(BrokenControl, match=complaint):
        run_cell(make_cell(granularity=granularity, criterion=criterion, rounds=1), tiny_images())


def test_the_smallest_revived_weight_is_found():
    w, mask = torch.zeros(100), torch.zeros(100, dtype=torch.bool)
    assert the_dead_are_zero(w, mask) == 0.0
    w[3] = 1e-40
    with pytest.raises(BrokenControl, match="a pruned weight is .* after training, not 0"):
        the_dead_are_zero(w, mask)


def test_an_aliased_init_is_caught(monkeypatch):
    """The first weights, held by reference and trained in place, are not the first weights any more."""
    def trained_in_place(net, cell, stations, mask, round_, trained):
        stations["w_init"].copy_(trained.w_final)
        return honest(net, cell, stations, mask, round_, trained)

    honest = rounds.reset
    monkeypatch.setattr(rounds, "reset", trained_in_place)
    with pytest.raises(BrokenControl, match="reset = rewind: survivors differ"):
        run_cell(make_cell(rounds=1), tiny_images())


def test_proofs_cost_little():
    """A claim on what is stored, not on time: the correlations of a fresh draw, one a layer, each small."""
    record = run_cell(make_cell(reset="fresh", rounds=1), tiny_images())[1]
    found = {key: value for key, value in record["proofs"].items() if key.startswith("correlation.")}
    assert list(found) == ["correlation.fc1", "correlation.fc2", "correlation.fc3"]
    assert all(abs(value) < 0.25 for value in found.values())
    assert build_net(make_cell(), (1, 8, 8), 10).size == 50610


@pytest.mark.parametrize("criterion", [("snip", {"images": 0, "iterations": 5}), ("synflow", {"iterations": 20})], ids=str)
def test_an_invert_in_parts_passes_its_proof_and_keeps_exact_counts(criterion):
    """What went in an earlier part scores 0 in the last one, and is not what that part let go."""
    records = run_cell(make_cell(control="invert", criterion=criterion, keep=0.5, steps=5), tiny_images())
    assert [record["kept_by_layer"] for record in records] == [
        {"fc1": 19200, "fc2": 30000, "fc3": 1000}, {"fc1": 9600, "fc2": 15000, "fc3": 500}, {"fc1": 4800, "fc2": 7500, "fc3": 250}]
    assert [(record["proofs"]["counts"], record["proofs"]["invert"]) for record in records[1:]] == [("exact", "lowest")] * 2
