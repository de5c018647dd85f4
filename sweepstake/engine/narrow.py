"""Convolutions whose gradient PyTorch would write beyond its memory, computed another way.

Without AVX-512, oneDNN's gradient of a strided 1 x 1 convolution of 2 to 6 channels does so (PyTorch 2.13, images
channels last): the process crashes, or goes on with other tensors overwritten. Such are the shortcuts of a narrow
residual network.
"""

from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

VECTOR = 8
"""So many channels fill a vector of AVX2; the fault was seen below."""


def spare_narrow(module: nn.Module) -> None:
    """Let every such convolution take every n-th pixel first, and then go over all that are left: the same sums."""
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        return
    for each in module.modules():
        if type(each) is nn.Conv2d and _is_narrow(each):
            each.forward = MethodType(_every_nth, each)


def unspare(module: nn.Module) -> None:
    """As it was: for a stack, whose images do not lie channels last."""
    if getattr(vars(module).get("forward"), "__func__", None) is _every_nth:
        del module.forward


def _is_narrow(conv: nn.Conv2d) -> bool:
    strided = conv.kernel_size == (1, 1) and max(conv.stride) > 1 and conv.padding == (0, 0)
    return strided and conv.in_channels // conv.groups < VECTOR


def _every_nth(conv: nn.Conv2d, x: Tensor) -> Tensor:
    down, across = conv.stride
    return conv2d(x[..., ::down, ::across], conv.weight, conv.bias, groups=conv.groups)
