"""Masks held in Lightning's Trainer: `Trainer(callbacks=[HoldMasks(masks)])`."""

from typing import Any

from sweepstake.tickets.held.masks import Masks
from sweepstake.tickets.hooks.fitting import Fitting, absent

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    raise absent("Lightning", "lightning") from None


class HoldMasks(Callback):
    """Holds masks while `trainer.fit` trains; their module is the LightningModule or a module in it."""

    def __init__(self, masks: Masks):
        self.masks = masks
        self._fitting = Fitting()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._fitting.begin(self.masks, pl_module.parameters())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._fitting.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._fitting.leave()
