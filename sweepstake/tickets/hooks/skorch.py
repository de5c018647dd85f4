"""Masks held in a skorch net: `NeuralNetClassifier(module, callbacks=[HoldMasks(masks)])`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.held.masks import Masks
from sweepstake.tickets.hooks.fitting import Fitting, absent

try:
    from skorch.callbacks import Callback
except ModuleNotFoundError:
    raise absent("skorch", "skorch") from None


class HoldMasks(Callback):
    """Holds masks while a net is fitted.

    `masks` are those of the module given to the net, which `fit` trains on from where it is. A net that was given a
    class builds a new module at every `fit`: then `masks` is a function that gets that module and gives its masks.
    The masks of the last training are `masks_`. skorch tells a callback of no exception: after one, they are held
    until the next `fit` or `close()`.
    """

    masks_: Masks

    def __init__(self, masks: Masks | Callable[[nn.Module], Masks]):
        self.masks = masks

    def initialize(self) -> "HoldMasks":
        self.close()
        self.fitting_ = Fitting()
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **given: Any) -> None:
        self.masks_ = self.masks if isinstance(self.masks, Masks) else self.masks(net.module_)
        trained = [parameter for _, parameter in net.get_all_learnable_params()]
        if not isinstance(self.masks_, Masks):
            raise UserError(f"HoldMasks: the function gave a {type(self.masks_).__name__}, expected Masks.")
        self.fitting_.begin(self.masks_, trained)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **given: Any) -> None:
        self.fitting_.end()

    def close(self) -> None:
        """Remove every hook of a training that an exception broke off."""
        if hasattr(self, "fitting_"):
            self.fitting_.leave()
