"""The tensors of a module under their own names, and what of a module does not fit a ticket."""

from collections.abc import Mapping

from torch import Tensor, nn


def tensors_by_name(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and every floating-point buffer of a module under its own name; a tied one once."""
    buffers = {name: buffer for name, buffer in module.named_buffers() if buffer.is_floating_point()}
    return {**dict(module.named_parameters()), **buffers}


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile, DataParallel and DistributedDataParallel: its names are the user's own."""
    inner = getattr(module, "_orig_mod", None)
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = module.module
    return unwrapped(inner) if isinstance(inner, nn.Module) else module


def misfits(own: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], most: int = 5) -> list[str]:
    """What of a module does not have the names and shapes of a ticket, the first few in words."""
    missing = [f"ticket: {name} is not in this module." for name in shapes if name not in own]
    extra = [f"ticket: {name} of this module is not in the ticket." for name in own if name not in shapes]
    other = [f"ticket: {name} has shape {tuple(own[name].shape)} in this module, and {shape} in the ticket."
             for name, shape in shapes.items() if name in own and tuple(own[name].shape) != shape]
    problems = [*missing, *extra, *other]
    left = len(problems) - most
    return problems[:most] + ([f"ticket: {left} more names or shapes differ."] if left > 0 else [])
