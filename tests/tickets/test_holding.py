"""Masks hold through whatever a training loop does; each loop brings dead weights back when left alone."""

import copy
import gc
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.masks import Masks
from tests.tickets.loops import batch, dead, dead_state, holds_only_when_held, random_masks, small_net, train


def masked(seed: int = 0) -> Masks:
    return Masks(net := small_net(seed), random_masks(net))


# Optimisers

@pytest.mark.parametrize("optimiser", [
    lambda p: SGD(p, 0.1), lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    lambda p: Adam(p, 1e-2, amsgrad=True), lambda p: Adam(p, 1e-2, foreach=True), lambda p: Adam(p, 1e-2, fused=True),
    lambda p: AdamW(p, 1e-2, weight_decay=0.5), lambda p: SGD(p, 0.1, momentum=0.9, fused=True), lambda p: torch.optim.Rprop(p),
    lambda p: torch.optim.ASGD(p, t0=1), lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.5),
], ids=["sgd", "nesterov", "weight decay", "amsgrad", "foreach", "fused adam", "adamw", "fused sgd", "rprop", "asgd", "rmsprop"])
def test_masks_hold_in_an_optimiser_that_the_loop_makes_itself(optimiser):
    holds_only_when_held(lambda masks: train(masks.model, optimiser(masks.model.parameters())))


@pytest.mark.parametrize("known", [True, False])
def test_momentum_gathered_before_the_masks_moves_no_dead_weight_and_is_0_there(known):
    net = small_net()
    optimiser = SGD(net.parameters(), 0.1, momentum=0.9)
    train(net, optimiser)
    masks = Masks(net, random_masks(net))
    assert dead_state(masks, optimiser).count_nonzero() > 0

    with masks.held(*[optimiser] * known):
        assert (dead_state(masks, optimiser).count_nonzero() == 0) == known
        train(net, optimiser, 1)

    assert dead(masks).count_nonzero() == 0
    assert dead_state(masks, optimiser).count_nonzero() == 0


def test_an_optimiser_that_moves_weights_without_a_gradient_is_set_right_after_its_step():
    class Noisy(SGD):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for each in group["params"]:
                    each += 1.0

    holds_only_when_held(lambda masks: train(masks.model, Noisy(masks.model.parameters(), 0.1), 1))


def test_masks_hold_when_lbfgs_steps_by_a_closure():
    def loop(masks):
        optimiser, (x, y) = torch.optim.LBFGS(masks.model.parameters(), max_iter=4, line_search_fn="strong_wolfe"), batch(0)

        def closure():
            optimiser.zero_grad()
            loss = cross_entropy(masks.model(x), y)
            loss.backward()
            return loss
        optimiser.step(closure)
        optimiser.step(closure)

    holds_only_when_held(loop)


def test_masks_hold_for_parameters_in_several_groups_added_late_under_a_scheduler():
    def loop(masks):
        first, last = masks.model[1], masks.model[4]
        optimiser = SGD([{"params": first.parameters(), "lr": 0.5}], momentum=0.9)
        train(masks.model, optimiser, 1)
        optimiser.add_param_group({"params": last.parameters(), "lr": 0.1, "weight_decay": 0.1})
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, [0.5, 0.1], total_steps=4)
        for _ in range(3):
            train(masks.model, optimiser, 1)
            scheduler.step()

    holds_only_when_held(loop)


def test_a_sparse_gradient_of_an_embedding_is_0_at_the_dead():
    net = nn.Sequential(nn.Embedding(30, 8, sparse=True), nn.Linear(8, 2))
    masks = Masks(net, random_masks(net))
    optimiser = torch.optim.SparseAdam(list(net[0].parameters()), 0.1)
    before = net[0].weight.detach().clone()
    with masks.held():
        for _ in range(2):
            optimiser.zero_grad()
            net(torch.tensor([3, 4, 4])).square().sum().backward()
            assert net[0].weight.grad.to_dense()[~masks.alive["0.weight"]].count_nonzero() == 0
            assert net[0].weight.grad.to_dense().count_nonzero() > 0
            optimiser.step()
    assert dead(masks).count_nonzero() == 0
    assert (net[0].weight != before)[3:5].any() and not (net[0].weight != before)[:3].any()


# Gradients

def test_masks_hold_under_gradient_accumulation_and_gradients_kept_as_zeros():
    def loop(masks):
        optimiser = Adam(masks.model.parameters(), 1e-2)
        for step in range(6):
            x, y = batch(step)
            cross_entropy(masks.model(x), y).backward()
            if step % 3 == 2:
                optimiser.step()
                optimiser.zero_grad(set_to_none=step == 2)

    holds_only_when_held(loop)


def test_gradient_clipping_sees_live_weights_alone():
    masks = masked()
    x, y = batch(0)
    cross_entropy(masks.model(x), y).backward()
    everything = torch.cat([each.grad.flatten() for each in masks.model.parameters()]).norm()
    live = torch.cat([(each.grad * masks.alive.get(name, torch.tensor(True))).flatten()
                      for name, each in masks.model.named_parameters()]).norm()
    masks.model.zero_grad()
    with masks.held():
        cross_entropy(masks.model(x), y).backward()
        norm = nn.utils.clip_grad_norm_(masks.model.parameters(), 0.01)
    assert norm.item() == pytest.approx(live.item(), rel=1e-6)
    assert norm < 0.9 * everything


def amp_loop(masks: Masks, bright: float = 1.0) -> torch.amp.GradScaler:
    optimiser, scaler = AdamW(masks.model.parameters(), 1e-2), torch.amp.GradScaler("cpu")
    for step in range(3):
        x, y = batch(step)
        x[:, :, 0, 0] *= bright
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(masks.model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(masks.model.parameters(), 1.0)
        scaler.step(optimiser)
        scaler.update()
    return scaler


def test_masks_hold_under_autocast_and_a_gradient_scaler():
    holds_only_when_held(amp_loop)


def test_a_gradient_that_overflows_at_dead_weights_alone_skips_no_step():
    def net_blind_to_its_first_pixel():
        masks = random_masks(net := small_net())
        masks["1.weight"][:, 0] = False
        return Masks(net, masks)

    free, kept = net_blind_to_its_first_pixel(), net_blind_to_its_first_pixel()
    before = kept.model[1].weight.detach().clone()
    assert amp_loop(free, 1e36).get_scale() < 65536
    with kept.held() as holding:
        assert amp_loop(kept, 1e36).get_scale() == 65536

    assert holding.steps == 3
    assert dead(kept).count_nonzero() == 0
    assert kept.model[1].weight.isfinite().all() and (kept.model[1].weight != before).any()


def test_a_frozen_parameter_stays_as_it_is_and_is_held_once_it_is_trained():
    masks = masked()
    first = masks.model[1].weight.requires_grad_(False)
    before = first.detach().clone()
    optimiser = SGD(masks.model.parameters(), 0.1)
    with masks.held():
        train(masks.model, optimiser)
        assert torch.equal(first, before) and not first.requires_grad
        first.requires_grad_(True)
        optimiser.zero_grad()
        cross_entropy(masks.model(batch(9)[0]), batch(9)[1]).backward()
        assert first.grad[~masks.alive["1.weight"]].count_nonzero() == 0
        optimiser.step()
    assert not torch.equal(first, before) and dead(masks).count_nonzero() == 0


def test_gradients_that_share_memory_are_cleared_each_by_its_own_mask():
    net = nn.Module()
    net.a, net.b = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    upper = torch.ones(3, 3).triu().bool()
    masks = Masks(net, {"a": upper, "b": ~upper})
    with masks.held():
        (net.a + net.b).sum().backward()
        assert torch.equal(net.a.grad, upper.float()) and torch.equal(net.b.grad, (~upper).float())
        (net.a + net.b).sum().backward()
        assert torch.equal(net.a.grad, 2 * upper.float()) and torch.equal(net.b.grad, 2 * (~upper).float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_masks_go_along_when_the_module_changes_its_precision(dtype):
    masks = masked()
    with masks.held():
        masks.model.to(dtype)
        optimiser, (x, y) = Adam(masks.model.parameters(), 1e-2, eps=1e-4), batch(0)
        before = masks.model[1].weight.detach().clone()
        cross_entropy(masks.model(x.to(dtype)), y).backward()
        assert masks.model[1].weight.grad[~masks.alive["1.weight"]].count_nonzero() == 0
        optimiser.step()
    assert masks.model[1].weight.dtype == dtype and (masks.model[1].weight != before).any()
    assert dead(masks).count_nonzero() == 0


# Wrappers, copies, states

@pytest.mark.filterwarnings("ignore")
def test_masks_hold_in_a_compiled_model_and_in_a_data_parallel_one():
    def compiled(masks):
        torch._dynamo.reset()
        model = torch.compile(masks.model, backend="aot_eager")
        train(model, AdamW(model.parameters(), 1e-2))
        assert any(name.startswith("_orig_mod.") for name, _ in model.named_parameters())

    def parallel(masks):
        model = nn.DataParallel(masks.model)
        train(model, AdamW(model.parameters(), 1e-2))

    def compiled_step(masks):
        optimiser = AdamW(masks.model.parameters(), 1e-2)
        optimiser.step = torch.compile(optimiser.step, backend="aot_eager")
        with masks.held(on_step=lambda step: steps.append(step)):
            train(masks.model, optimiser)

    holds_only_when_held(compiled)
    holds_only_when_held(parallel)
    steps = []
    compiled_step(masked())
    assert steps == [1, 2, 3, 4]


def test_an_average_of_held_weights_is_0_at_the_dead_and_one_begun_before_is_set_right_by_apply():
    net = small_net()
    before = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    before.update_parameters(net)
    masks = Masks(net, random_masks(net))
    after = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimiser = Adam(net.parameters(), 1e-2)
    with masks.held(on_step=lambda step: (before.update_parameters(net), after.update_parameters(net))):
        train(net, optimiser)

    masks.check(after)
    assert dead(masks, after.module).count_nonzero() == 0 and int(after.n_averaged) == 4
    with pytest.raises(UserError, match=r"1: \d+ dead of its weight \(1.weight\) are not 0"):
        masks.check(before)
    assert masks.apply(before) is before
    masks.check(before)


def test_a_dense_checkpoint_loaded_while_training_is_masked_whole_or_a_layer_at_a_time():
    dense = small_net(7).state_dict()

    def whole(masks):
        train(masks.model, SGD(masks.model.parameters(), 0.1), 1)
        masks.model.load_state_dict(dense)

    def through_a_wrapper(masks):
        nn.DataParallel(masks.model).load_state_dict({f"module.{name}": value for name, value in dense.items()})

    def one_layer(masks):
        masks.model[1].load_state_dict({"weight": dense["1.weight"], "bias": dense["1.bias"]})
        masks.model[4].load_state_dict({"weight": dense["4.weight"], "bias": dense["4.bias"]})

    for loop in (whole, through_a_wrapper, one_layer):
        kept = holds_only_when_held(loop)
        assert torch.equal(kept.model[1].weight, dense["1.weight"] * kept.alive["1.weight"])


def test_a_state_dict_has_the_keys_of_the_bare_module_and_comes_back_with_its_optimiser():
    masks = masked()
    optimiser = AdamW(masks.model.parameters(), 1e-2)
    with masks.held():
        train(masks.model, optimiser, 2)
        state, moments = copy.deepcopy(masks.model.state_dict()), copy.deepcopy(optimiser.state_dict())
        train(masks.model, optimiser, 2)
        ended = copy.deepcopy(masks.model.state_dict())
    assert list(state) == list(small_net().state_dict())

    again = Masks(small_net(3), masks.alive)
    optimiser = AdamW(again.model.parameters(), 1e-2)
    with again.held(optimiser):
        again.model.load_state_dict(state)
        optimiser.load_state_dict(moments)
        train(again.model, optimiser, 2)
    assert all(torch.equal(ended[name], value) for name, value in again.model.state_dict().items())


def test_a_deepcopy_is_free_until_it_has_masks_of_its_own_and_a_held_module_can_be_pickled():
    masks = masked()
    with masks.held():
        copied, restored = copy.deepcopy(masks.model), pickle.loads(pickle.dumps(masks.model))
        train(copied, SGD(copied.parameters(), 0.1), 1)
        assert dead(masks, copied).count_nonzero() > 0
        copied.load_state_dict(small_net(7).state_dict())
        assert dead(masks, copied).count_nonzero() > 0
        own = masks.on(copied)
        with own.held():
            train(copied, SGD(copied.parameters(), 0.1), 1)
    assert dead(own).count_nonzero() == 0 == dead(masks).count_nonzero()
    assert torch.equal(restored[1].weight, masks.model[1].weight)
    both = copy.deepcopy(masks)
    with both.held():
        train(both.model, SGD(both.model.parameters(), 0.1), 1)
    assert dead(both).count_nonzero() == 0 and not torch.equal(both.model[1].weight, masks.model[1].weight)


def test_a_tied_weight_is_masked_once_and_held_through_both_its_modules():
    def tied_net():
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
        net[3].weight = net[1].weight
        return net

    def loop(masks):
        train(masks.model, AdamW(masks.model.parameters(), 1e-2))
        masks.model[3].load_state_dict(nn.Linear(64, 64).state_dict())

    kept = holds_only_when_held(loop, tied_net)
    assert list(kept.alive) == ["1.weight"]
    assert kept.model[3].weight is kept.model[1].weight
    assert "3.weight is 1.weight, counted once." in str(kept.report())


# The block itself

def hooks_on(net: nn.Module) -> int:
    from torch.optim import optimizer

    of_modules = sum(len(each._load_state_dict_post_hooks) for each in net.modules())
    of_parameters = sum(len(each._post_accumulate_grad_hooks or {}) for each in net.parameters())
    return of_modules + of_parameters + len(optimizer._global_optimizer_post_hooks) + len(optimizer._global_optimizer_pre_hooks)


def test_every_hook_is_gone_when_the_block_ends_even_by_an_exception():
    masks = masked()
    assert hooks_on(masks.model) == 0
    with masks.held():
        assert hooks_on(masks.model) == 6
    assert hooks_on(masks.model) == 0
    with pytest.raises(KeyboardInterrupt), masks.held():
        masks.model[1].weight.data += 1  # An exception of the loop is not hidden by one of the masks.
        raise KeyboardInterrupt
    assert hooks_on(masks.model) == 0
    with pytest.raises(UserError, match="steps none of the masked parameters"):
        masks.held(SGD(small_net().parameters(), 0.1)).__enter__()
    assert hooks_on(masks.model) == 0


def test_blocks_stand_inside_one_another_and_the_outer_one_holds_on():
    masks = masked()
    optimiser = SGD(masks.model.parameters(), 0.1)
    with masks.held() as outer:
        with masks.held(optimiser) as inner:
            train(masks.model, optimiser, 2)
        train(masks.model, optimiser, 3)
    assert (outer.steps, inner.steps) == (5, 2)
    assert dead(masks).count_nonzero() == 0


def test_a_change_that_no_step_made_is_refused_at_the_end_and_taken_back():
    masks = masked()
    with pytest.raises(UserError, match="say masks.apply"), masks.held():
        masks.model[4].weight.data += 1
    assert dead(masks).count_nonzero() == 0
    with masks.held():
        masks.model[4].weight.data += 1
        masks.apply()


def test_a_replaced_parameter_is_refused_by_name():
    masks = masked()
    with pytest.raises(UserError, match=r"1.weight is no longer the tensor that is masked"), masks.held():
        masks.model.load_state_dict(small_net().state_dict(), assign=True)
    with pytest.raises(UserError, match=r"1.weight is no longer the tensor"):
        masks.check()


def test_steps_are_counted_once_each_whoever_calls_whom():
    masks = masked()

    class Twofold(SGD):  # As SAM does: its step() calls another optimiser's.
        def step(self, closure=None):
            inner.step()
            return super().step()

    inner, skipped = SGD(masks.model.parameters(), 0.1), SGD(small_net().parameters(), 0.1)
    seen = []
    with masks.held(on_step=lambda step: seen.append((step, dead(masks).count_nonzero().item()))):
        train(masks.model, Twofold(masks.model.parameters(), 0.1), 2)
        skipped.step()
        train(masks.model, inner, 1)
        for layer in (masks.model[1], masks.model[4]):  # One step of the net, by two optimisers.
            train(masks.model, SGD(layer.parameters(), 0.1), 1)
    assert seen == [(1, 0), (2, 0), (3, 0), (4, 0)]


def test_a_step_that_fails_does_not_end_the_count():
    masks = masked()

    class Failing(SGD):
        def step(self, closure=None):
            if closure is not None:
                raise ValueError
            return super().step()

    optimiser = Failing(masks.model.parameters(), 0.1)
    with masks.held() as holding:
        with pytest.raises(ValueError):
            optimiser.step(lambda: None)
        train(masks.model, optimiser, 2)
    assert holding.steps == 2


def test_held_with_an_optimiser_leaves_others_alone():
    masks = masked()
    meant, other = SGD(masks.model.parameters(), 0.1), SGD(masks.model.parameters(), 0.1)
    with masks.held(meant) as holding:
        train(masks.model, meant, 1)
        train(masks.model, other, 2)
    assert holding.steps == 1
    with pytest.raises(UserError, match=r"is no torch.optim.Optimizer"), masks.held(SGD):  # pyright: ignore
        pass


def test_nothing_of_a_module_is_kept_alive_by_a_block_that_ended():
    import weakref

    masks = masked()
    optimiser = SGD(masks.model.parameters(), 0.1)
    with masks.held():
        train(masks.model, optimiser, 1)
    net = weakref.ref(masks.model)
    del masks, optimiser
    gc.collect()
    assert net() is None
