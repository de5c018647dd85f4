"""Masks on a module: checked, applied, reset, reported, made into a ticket."""

import pytest
import torch
from torch import nn
from torch.optim import SGD

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.kept import About
from sweepstake.tickets.held.masks import Masks
from tests.tickets.loops import dead, random_masks, small_net, train


def masked(**options) -> Masks:
    return Masks(net := small_net(), random_masks(net), **options)


def test_making_masks_sets_the_dead_to_0_and_changes_nothing_else():
    net, bare = small_net(), small_net()
    tensors, keys = dict(net.named_parameters()), list(net.state_dict())
    masks = Masks(net, random_masks(net))

    assert masks.model is net and list(net.state_dict()) == keys and type(net) is nn.Sequential
    assert all(dict(net.named_parameters())[name] is each for name, each in tensors.items())
    for name, each in bare.state_dict().items():
        assert torch.equal(net.state_dict()[name], each * masks.alive[name] if name in masks.alive else each)


@pytest.mark.parametrize("given, said", [
    ({}, "none were given"),
    ({"1.weigth": torch.ones(20, 64, dtype=torch.bool)}, 'Did you mean "1.weight"'),
    ({"1.weight": torch.ones(64, 20, dtype=torch.bool)}, r"1.weight has shape \(20, 64\), and its mask \(64, 20\)"),
    ({"1.weight": torch.ones(20, 64)}, r"1.weight: its mask is dtype torch.float32, expected .* torch.bool"),
    ({"1.weight": [[True]]}, "1.weight: its mask is a list"),
])
def test_masks_that_do_not_fit_are_refused_by_name_and_change_nothing(given, said):
    net = small_net()
    with pytest.raises(UserError, match=said):
        Masks(net, {**given, **({"4.weight": torch.zeros(10, 20, dtype=torch.bool)} if given else {})})
    assert torch.equal(net[4].weight, small_net()[4].weight)


def test_parameters_that_cannot_be_masked_are_refused_with_what_to_do():
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    whole = torch.zeros(4, 4, dtype=torch.bool)
    with pytest.raises(UserError, match=r"1.weight is the same tensor as 0.weight. Give its mask under 0.weight"):
        Masks(tied, {"1.weight": whole})
    with pytest.raises(UserError, match="weight has no shape yet. Put one batch through"):
        Masks(nn.LazyLinear(4), {"weight": whole})
    counts = nn.Module()
    counts.register_parameter("table", nn.Parameter(torch.ones(4, 4, dtype=torch.long), requires_grad=False))
    with pytest.raises(UserError, match=r"table is of dtype torch.int64"):
        Masks(counts, {"table": whole})

    class Sharded(torch.Tensor):
        pass

    sharded = nn.Module()
    sharded.weight = nn.Parameter(torch.ones(4, 4).as_subclass(Sharded))
    with pytest.raises(UserError, match="weight is a Sharded. Only plain tensors can be masked"):
        Masks(sharded, {"weight": whole})


def test_check_names_the_module_and_how_many_dead_weights_are_not_0():
    masks = masked()
    masks.check()
    where = (~masks.alive["4.weight"]).nonzero()[:3]
    with torch.no_grad():
        for row, column in where:
            masks.model[4].weight[row, column] = 1e-20
    with pytest.raises(UserError, match=r"4: 3 dead of its weight \(4.weight\) are not 0") as refused:
        masks.check()
    assert len(refused.value.problems) == 1
    masks.apply()
    masks.check()


def test_apply_strips_what_wrappers_put_before_names_and_refuses_another_module():
    masks = masked()
    other = small_net(3)
    wrapped = nn.DataParallel(nn.DataParallel(other))
    masks.apply(wrapped)
    assert dead(masks, other).count_nonzero() == 0
    compiled = nn.Sequential(*small_net(4))
    compiled[1] = torch.compile(compiled[1], backend="eager")
    assert "1._orig_mod.weight" in dict(compiled.named_parameters())
    masks.apply(compiled)
    assert compiled[1]._orig_mod.weight[~masks.alive["1.weight"]].count_nonzero() == 0

    with pytest.raises(UserError, match="4.weight is not in this Linear"):
        masks.apply(nn.Linear(3, 3))
    with pytest.raises(UserError, match=r"1.weight has shape \(5, 64\) in this Sequential, and its mask \(20, 64\)"):
        masks.apply(nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(20, 10)))


def test_masks_on_a_wrapped_copy_are_of_the_module_inside_and_rewind_to_the_same_values():
    masks = masked()
    average = torch.optim.swa_utils.AveragedModel(masks.model)
    train(average.module, SGD(average.module.parameters(), 0.1))
    theirs = masks.on(average)
    assert theirs.model is average.module
    theirs.check()
    theirs.reset()
    assert torch.equal(average.module[1].weight, masks.model[1].weight)


def test_a_module_whose_own_child_is_called_module_keeps_its_names():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(4, 4)

    outer = Outer()
    masks = Masks(outer, {"module.weight": torch.eye(4, dtype=torch.bool)})
    masks.apply(outer)
    masks.apply(nn.DataParallel(outer))
    assert masks.on(Outer()).model.module.weight.count_nonzero() == 4


# Resets

def test_a_rewind_brings_every_survivor_every_other_parameter_and_the_statistics_back_bit_for_bit():
    masks = masked()
    begun = {name: value.clone() for name, value in masks.model.state_dict().items()}
    train(masks.model, SGD(masks.model.parameters(), 0.1))
    assert not torch.equal(masks.model[2].running_mean, begun["2.running_mean"])

    masks.reset("rewind")

    for name, value in masks.model.state_dict().items():
        assert torch.equal(value, begun[name]), name


def test_values_to_rewind_to_may_be_given_or_held_on_another_device():
    early = {name: value.clone() for name, value in small_net(5).state_dict().items()}
    masks = masked(w_init=early)
    masks.reset()
    assert torch.equal(masks.model[1].weight, early["1.weight"] * masks.alive["1.weight"])
    assert {value.device.type for value in masked(w_init_on="cpu").w_init.values()} == {"cpu"}
    with pytest.raises(UserError, match="9.weight is not in this module"):
        masked(w_init={"9.weight": torch.ones(3)})


def test_reset_to_sets_what_is_named_masks_it_and_refuses_what_does_not_fit_before_changing_anything():
    masks = masked()
    bias = masks.model[1].bias.detach().clone()
    masks.reset_to({"1.weight": torch.full((20, 64), 3.0)})
    assert torch.equal(masks.model[1].weight, 3.0 * masks.alive["1.weight"]) and torch.equal(masks.model[1].bias, bias)

    with pytest.raises(UserError, match=r"4.weight has shape \(10, 20\) in this module, and \(2,\)"):
        masks.reset_to({"1.weight": torch.zeros(20, 64), "4.weight": torch.ones(2)})
    assert masks.model[1].weight.max() == 3


def test_other_resets_come_from_the_function_given_and_without_one_are_refused():
    def halved(masks, which, options):
        assert (which, options) == ("halved", {"by": 2})
        return {name: masks.w_init[name] / options["by"] for name in masks.alive}

    masks = masked(resets=halved)
    before = masks.model[1].weight.detach().clone()
    masks.reset("halved", by=2)
    assert torch.equal(masks.model[1].weight, before / 2)
    with pytest.raises(UserError, match="no reset of that name"):
        masked().reset("halved")


def test_sharing_masks_without_other_processes_is_refused():
    with pytest.raises(UserError, match="there is no process group"):
        masked().share()


# What came of it

def test_a_ticket_holds_the_weights_where_training_began_and_where_it_ended_the_dead_at_0():
    masks = masked()
    begun = {name: value.clone() for name, value in masks.model.state_dict().items()}
    with masks.held():
        train(masks.model, SGD(masks.model.parameters(), 0.1))
    ticket = masks.ticket({"by": "hand"}, small_net)

    assert ticket.made == {"by": "hand"} and ticket.kept == sum(int(mask.sum()) for mask in masks.alive.values())
    for weights, expected in (("initial", begun), ("trained", masks.model.state_dict())):
        module = ticket.module(weights)
        assert all(torch.equal(value, expected[name]) for name, value in module.state_dict().items() if value.is_floating_point())
    masks.reset_to({"1.weight": torch.ones(20, 64)})
    assert torch.equal(masks.ticket().initial["1.weight"], masks.alive["1.weight"].float())
    assert torch.equal(ticket.trained["1.weight"][~masks.alive["1.weight"]], torch.zeros(int((~masks.alive["1.weight"]).sum())))


def test_a_report_counts_every_parameter_and_says_why_some_are_not_pruned():
    net = nn.Sequential(nn.Embedding(6, 10), nn.Linear(10, 10, bias=False), nn.LayerNorm(10), nn.Linear(10, 4))
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[:2, :] = True
    report = Masks(net, {"1.weight": mask}, about={"3.weight": About("head", "not in layers")}).report()

    assert [(row.name, row.alive, row.size) for row in report.pruned] == [("1.weight", 20, 100)]
    assert [(row.name, row.size, row.why) for row in report.whole] == [
        ("0.weight", 60, "no mask is on it"), ("2.weight", 10, "a bias, a norm or another vector"),
        ("2.bias", 10, "a bias, a norm or another vector"), ("3.weight", 40, "not in layers"),
        ("3.bias", 4, "a bias, a norm or another vector")]
    assert (report.kept_fraction, report.parameters, report.kept_of_all) == (0.2, 224, 144 / 224)
    assert str(report) == """\
pruned                         kind     shape                alive    kept
1.weight                       linear   10x10                   20   20.0%

not pruned                            size  why
0.weight                                60  no mask is on it
3.weight                                40  not in layers
3 vectors                               24  a bias, a norm or another vector
kept 20.00% of the prunable weights = 64.29% of all parameters"""


def test_a_report_of_a_deep_network_stays_80_columns_wide():
    net = nn.Sequential()
    net.add_module("a_name_that_says_all_of_a_block_in_a_transformer", small_net())
    report = Masks(net, random_masks(net)).report()
    assert max(map(len, str(report).splitlines())) <= 80
    assert "…" in str(report)
