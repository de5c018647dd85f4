"""A network made small: thinned, then each layer dense or sparse, whichever is faster on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sweepstake.base.errors import UserError
from sweepstake.tickets.exported.example import Inputs
from sweepstake.tickets.sparse.sparsify import Sparsified, sparsify
from sweepstake.tickets.thin import Thinned, thin

BATCHES = (1, 64)
"""The batches at which a layer has to be faster as sparse."""


@dataclass(frozen=True)
class Small:
    """A module without its dead weights, for inference on this machine; and how it came about."""

    module: nn.Module
    dense: nn.Module
    """The same in layers of PyTorch: thinned, its dead weights at 0."""
    thinned: Thinned | None
    """None where thinning was refused; `said` tells why."""
    sparse: Sparsified
    said: tuple[str, ...]

    def __str__(self) -> str:
        lines = [str(self.thinned)] if self.thinned is not None else []
        ways = [f"  {layer}: {way}" for layer, way in self.sparse.ways.items()]
        return "\n".join([*lines, *self.said, "computed:", *ways] if ways else [*lines, *self.said])


def small(model: nn.Module, masks: Mapping[str, Tensor], example: Any, *,
          batches: Sequence[int] = BATCHES) -> Small:
    """The model under its masks, thinned, then sparse where that is faster at these batches; the model stays as it is.

    `example` is what the model is called with: a tensor, a tuple of arguments, or a dictionary of them by name.
    """
    dense, left, said = model, dict(masks), list[str]()
    thinned: Thinned | None = None
    try:
        thinned = thin(model, masks, example)
        dense, left = thinned.module, dict(thinned.masks)
    except UserError as error:
        said.append(f"not thinned: {error.problems[0]}")
    inputs = Inputs.of(example)
    sizes = [each.kwargs or each.args for each in map(inputs.of_batch, batches)]
    sparse = sparsify(dense, left, [size[0] if isinstance(size, tuple) and len(size) == 1 else size for size in sizes])
    return Small(sparse.module, dense, thinned, sparse, tuple(said))
