"""Masks held in the Trainer of Hugging Face's transformers: `Trainer(..., callbacks=[HoldMasks(masks)])`."""

from typing import Any

from sweepstake.tickets.held.masks import Masks
from sweepstake.tickets.hooks.fitting import Fitting, absent

try:
    from transformers import TrainerCallback
except ModuleNotFoundError:
    raise absent("transformers", "huggingface") from None


class HoldMasks(TrainerCallback):
    """Holds masks while `trainer.train` trains the masks' own module.

    The Trainer tells a callback of no exception: after one, the masks are held until the next `train` or `close()`.
    """

    def __init__(self, masks: Masks):
        self.masks = masks
        self._fitting = Fitting()

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._fitting.begin(self.masks, given["model"].parameters())

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._fitting.end()

    def close(self) -> None:
        """Remove every hook of a training that an exception broke off."""
        self._fitting.leave()
