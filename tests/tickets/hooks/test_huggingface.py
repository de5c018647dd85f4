"""The Trainer of transformers holds masks by the callback, and brings dead weights back without it."""

import os
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DISABLE_TELEMETRY": "1"}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import Trainer, TrainingArguments

    from sweepstake.tickets.hooks.huggingface import HoldMasks

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.masks import Masks
from tests.tickets.loops import batch, dead, random_masks, small_net

pytestmark = pytest.mark.filterwarnings("ignore")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small_net()

    def forward(self, x, labels=None):
        logits = self.net(x)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


DATA = [{"x": x, "labels": y} for step in range(4) for x, y in zip(*batch(step), strict=True)]


def trainer_of(model, folder, *callbacks, **settings):
    arguments = TrainingArguments(str(folder), max_steps=4, per_device_train_batch_size=8, learning_rate=1e-2, weight_decay=0.1, use_cpu=True,
                                  report_to=[], disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
                                  **{"save_strategy": "no", **settings})
    return Trainer(model, arguments, train_dataset=DATA, callbacks=list(callbacks))


def test_dead_weights_stay_0_with_the_callback_and_come_back_without(tmp_path):
    for hold in (True, False):
        masks = Masks(model := Model(), random_masks(model))
        before = model.net[1].weight.detach().clone()
        trainer_of(model, tmp_path, *[HoldMasks(masks)] * hold).train()
        assert (dead(masks).count_nonzero() == 0) == hold
        assert (model.net[1].weight != before)[masks.alive["net.1.weight"]].any()
        assert not model.net[1].weight._post_accumulate_grad_hooks


def test_masks_hold_when_a_training_goes_on_from_a_dense_checkpoint(tmp_path):
    trainer_of(Model(), tmp_path, save_strategy="steps", save_steps=2).train()
    masks = Masks(model := Model(), random_masks(model))
    trainer_of(model, tmp_path, HoldMasks(masks)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert dead(masks).count_nonzero() == 0


def test_after_a_training_that_failed_the_next_begins_anew_or_close_removes_every_hook(tmp_path):
    masks = Masks(model := Model(), random_masks(model))
    hold, trainer = HoldMasks(masks), None
    forward, model.forward = model.forward, lambda x, labels=None: 1 / 0
    trainer = trainer_of(model, tmp_path, hold)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            trainer.train()
    assert len(model.net[1].weight._post_accumulate_grad_hooks) == 1
    hold.close()
    assert not model.net[1].weight._post_accumulate_grad_hooks
    model.forward = forward
    with pytest.raises(UserError, match=r"net.1.weight of the masks is not in the module that is trained"):
        trainer_of(Model(), tmp_path, hold).train()
    assert torch.equal(dead(masks), torch.zeros_like(dead(masks)))
