"""A skorch net holds masks by the callback, and brings dead weights back without it."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from skorch import NeuralNetClassifier

    from sweepstake.tickets.hooks.skorch import HoldMasks

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.masks import Masks
from tests.tickets.loops import batch, dead, random_masks, small_net

pytestmark = pytest.mark.filterwarnings("ignore")
X, Y = (torch.cat(parts).numpy() for parts in zip(*(batch(step) for step in range(4)), strict=True))
Y = Y.astype(np.int64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, x):
        return self.net(x)


def net_of(module, *callbacks):
    return NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, max_epochs=2, optimizer=torch.optim.AdamW, lr=1e-2, batch_size=16,
                               train_split=None, verbose=0, callbacks=list(callbacks))


def test_dead_weights_stay_0_with_the_callback_and_come_back_without():
    for hold in (True, False):
        masks = Masks(module := Net(), random_masks(module))
        before = module.net[1].weight.detach().clone()
        net = net_of(module, *[HoldMasks(masks)] * hold).fit(X, Y)
        assert net.module_ is module
        assert (dead(masks).count_nonzero() == 0) == hold
        assert (module.net[1].weight != before)[masks.alive["net.1.weight"]].any()
        assert not module.net[1].weight._post_accumulate_grad_hooks


def test_a_net_that_builds_its_module_is_masked_by_a_function_at_every_fit():
    hold = HoldMasks(lambda module: Masks(module, random_masks(module)))
    net = net_of(Net, hold).fit(X, Y)
    first = net.callbacks[0].masks_
    assert first.model is net.module_ and dead(first).count_nonzero() == 0
    net.fit(X, Y)
    second = net.callbacks[0].masks_
    assert second.model is net.module_ is not first.model
    assert dead(second).count_nonzero() == 0


def test_masks_of_a_module_that_the_net_builds_anew_are_refused():
    masks = Masks(module := Net(), random_masks(module))
    with pytest.raises(UserError, match=r"net.1.weight of the masks is not in the module that is trained"):
        net_of(Net, HoldMasks(masks)).fit(X, Y)
    with pytest.raises(UserError, match="the function gave a NoneType, expected Masks"):
        net_of(Net, HoldMasks(lambda module: None)).fit(X, Y)
