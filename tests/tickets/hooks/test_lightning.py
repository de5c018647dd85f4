"""Lightning's own Trainer holds masks by the callback, and brings dead weights back without it."""

import logging
import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as pl

    from sweepstake.tickets.hooks.lightning import HoldMasks

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.masks import Masks
from tests.tickets.loops import batch, dead, random_masks, small_net

pytestmark = pytest.mark.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Lit(pl.LightningModule):
    def __init__(self, net, fail_at=None):
        super().__init__()
        self.net, self.fail_at = net, fail_at

    def training_step(self, given, index):
        if index == self.fail_at:
            raise ZeroDivisionError
        return cross_entropy(self.net(given[0]), given[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2, weight_decay=0.1)


def fit(lit, folder, *callbacks):
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, gradient_clip_val=1.0,
                         enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks))
    trainer.fit(lit, torch.utils.data.DataLoader([batch(step) for step in range(4)], batch_size=None))


def test_dead_weights_stay_0_with_the_callback_and_come_back_without(tmp_path):
    for hold in (True, False):
        masks = Masks(net := small_net(), random_masks(net))
        before = net[1].weight.detach().clone()
        fit(Lit(net), tmp_path, *[HoldMasks(masks)] * hold)
        assert (dead(masks).count_nonzero() == 0) == hold
        assert (net[1].weight != before)[masks.alive["1.weight"]].any()
        assert not net[1].weight._post_accumulate_grad_hooks
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_leaves_no_hook_and_another_module_is_refused(tmp_path):
    masks = Masks(net := small_net(), random_masks(net))
    with pytest.raises(ZeroDivisionError):
        fit(Lit(net, fail_at=2), tmp_path, HoldMasks(masks))
    assert not net[1].weight._post_accumulate_grad_hooks and dead(masks).count_nonzero() == 0
    with pytest.raises(UserError, match=r"1.weight of the masks is not in the module that is trained"):
        fit(Lit(small_net()), tmp_path, HoldMasks(masks))
