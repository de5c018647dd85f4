"""`ss.prune`: masks of anybody's module, chosen by the pieces of studies."""

import pytest
import torch
from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.search.select import prune
from tests.tickets.test_find import DATA, network, same, state, train


def kept(masks):
    return {name: int(mask.sum()) for name, mask in masks.alive.items()}


def test_a_fifth_of_all_weights_stays_and_they_are_the_largest():
    model = network()
    first = state(model)
    masks = prune(model, keep=0.2)
    assert sum(kept(masks).values()) == round(0.2 * 528)
    every = torch.cat([first[name].abs()[mask] for name, mask in masks.alive.items()])
    gone = torch.cat([first[name].abs()[~mask] for name, mask in masks.alive.items()])
    assert every.min() >= gone.max()
    assert not bool(model[0].weight[~masks.alive["0.weight"]].any())


def test_layers_and_kinds_are_named():
    assert kept(prune(network(), keep={"0": 0.5, "linear": 0.25}, allocation="per_layer")) == {
        "0.weight": 96, "3.weight": 72, "5.weight": 12}
    assert kept(prune(network(), keep=0.5, layers=["3"])) == {"3.weight": 144}


def test_what_is_not_pruned_is_listed_with_its_reason():
    report = prune(network(), keep=0.5, layers=["0", "3"]).report()
    assert [(row.name, row.why) for row in report.whole if len(row.shape) > 1] == [("5.weight", "not in prune_layers")]
    assert "not in prune_layers" in str(report)
    assert report.parameters == 528 + 24 + 48 + 12 + 4


def test_masks_hold_in_a_loop_and_rewind():
    model = network()
    first = state(model)
    masks = prune(model, keep=0.2, criterion="snip", data=DATA)
    with masks.held():
        train(model)
    assert not same(state(model), first)
    masks.reset("rewind")
    assert torch.equal(model[0].weight, torch.where(masks.alive["0.weight"], first["0.weight"], 0.0))


@pytest.mark.parametrize(("which", "options"), [("fresh", {}), ("same_signs", {}), ("framework_default", {})])
def test_every_reset_of_the_open_set_works(which, options):
    model = network()
    masks = prune(model, keep=0.5)
    before = model[0].weight.detach().clone()
    masks.reset(which, **options)
    assert not torch.equal(model[0].weight, before)
    assert not bool(model[0].weight[~masks.alive["0.weight"]].any())
    if which == "same_signs":
        assert torch.equal(model[0].weight.sign(), before.sign())


def test_a_second_pruning_brings_nothing_back():
    model = network()
    masks = prune(model, keep=0.5)
    with masks.held():
        train(model)
    fewer = prune(model, keep=0.25, under=masks)
    assert sum(kept(fewer).values()) == 132
    assert all(not bool((fewer.alive[name] & ~mask).any()) for name, mask in masks.alive.items())


def test_a_reset_to_a_step_that_was_not_kept_is_refused():
    with pytest.raises(UserError, match="the weights at a step of training are not kept here"):
        prune(network()).reset("rewind", step=3)


def test_a_wrapped_module_gives_masks_of_the_module_inside():
    model = network()
    masks = prune(nn.DataParallel(model), keep=0.5)
    assert masks.model is model


def test_keeping_nothing_is_refused_and_changes_nothing():
    model = network()
    first = state(model)
    with pytest.raises(UserError, match="prune: keep = 1e-09 leaves none of the weights"):
        prune(model, keep=1e-9)
    assert same(state(model), first)


def test_keeping_all_gives_whole_masks():
    assert prune(network(), keep=1.0).report().kept_fraction == 1.0


def test_masks_of_another_module_are_refused_by_name():
    with pytest.raises(UserError, match="prune: under has the masks of another module"):
        prune(nn.Sequential(nn.Linear(3, 4)), under=prune(network(), keep=0.5))


def test_a_module_without_layers_is_refused():
    with pytest.raises(UserError, match="LSTM has no layer that can be pruned"):
        prune(nn.LSTM(4, 4))
