"""What a module has and does: its weights, its file, its multiply-adds."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sweepstake.tickets.exported.dense import dense_copy, own_names
from sweepstake.tickets.exported.example import Inputs


@dataclass(frozen=True)
class Counts:
    """Of sparse layers the parameters are those of their dense twins."""

    parameters: int
    not_zero: int
    bytes: int
    """Of the safetensors file of its state."""
    computed: int
    """Multiply-adds of the call: a dense layer's in full, a sparse layer's of its alive weights."""
    useful: int
    """Multiply-adds with weights that are not 0, and those between activations."""


def count(module: nn.Module, inputs: Inputs) -> Counts:
    """Counted, not estimated, but for padding: a convolution's zeros around an image count as numbers."""
    dense = dense_copy(module)
    # PyTorch's fused paths through attention are not counted: it takes none with gradients and plain attention.
    with (_MultiplyAdds(dense, _in_sparse_layers(module, dense)) as counted, torch.enable_grad(),
          sdpa_kernel(SDPBackend.MATH)):
        inputs.into(dense.requires_grad_())
    parameters = list(dense.parameters())
    return Counts(sum(each.numel() for each in parameters), sum(int(each.count_nonzero()) for each in parameters),
                  _bytes_on_disk(module), counted.computed, round(counted.useful))


class _MultiplyAdds(TorchDispatchMode):
    """Counts the convolutions and matrix products of all calls inside, by PyTorch's own formulas."""

    def __init__(self, module: nn.Module, skipping: set[str]):
        super().__init__()
        self.computed, self.useful = 0, 0.0
        self.skips = {value.untyped_storage().data_ptr(): name in skipping for name, value in module.named_parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            done = formula(*args, **(kwargs or {}), out_val=answer) // 2
            alive, skips = self._weight_among(args)
            self.useful += done * alive
            self.computed += round(done * alive) if skips else done
        return answer

    def _weight_among(self, args: tuple[Any, ...]) -> tuple[float, bool]:
        """The density of the weight that an operation reads, and whether its zeros are skipped."""
        for each in args:
            if isinstance(each, Tensor) and each.dim() > 1:
                skips = self.skips.get(each.untyped_storage().data_ptr())
                if skips is not None:
                    with torch.no_grad():
                        return int(each.count_nonzero()) / each.numel(), skips
        return 1.0, False


def _in_sparse_layers(module: nn.Module, dense: nn.Module) -> set[str]:
    """The parameters of the dense copy that are a sparse layer's."""
    return {name for name, _ in dense.named_parameters() for layer in own_names(module)
            if not layer or name.startswith(f"{layer}.")}


def _bytes_on_disk(module: nn.Module) -> int:
    from safetensors.torch import save_model

    with TemporaryDirectory() as folder:
        file = Path(folder) / "module.safetensors"
        save_model(module, str(file))
        return file.stat().st_size
