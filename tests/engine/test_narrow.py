"""Strided 1 x 1 convolutions of few channels, which PyTorch computes beyond its memory on a processor without AVX-512."""

import copy

import pytest
import torch
from torch import nn

from sweepstake.engine.narrow import spare_narrow
from sweepstake.engine.stand_ins import for_stacks


def gradients(conv: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = conv(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in conv.parameters())]


@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_it_is_the_same_convolution(monkeypatch: pytest.MonkeyPatch, stride: int, groups: int):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    conv = nn.Conv2d(6, 9, 1, stride, groups=groups).double()
    spared = copy.deepcopy(conv)
    spare_narrow(spared)
    x = torch.randn(4, 6, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for one, other in zip(gradients(conv, x), gradients(spared, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert "forward" in vars(spared) and copy.deepcopy(spared).forward.__self__ is not spared
    assert "forward" not in vars(for_stacks(nn.Sequential(spared))[0][0]) and "forward" in vars(spared)


@pytest.mark.parametrize("conv", [nn.Conv2d(8, 8, 1, 2), nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, 2, 1)])
def test_any_other_is_left_alone(monkeypatch: pytest.MonkeyPatch, conv: nn.Conv2d):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    spare_narrow(conv)
    assert "forward" not in vars(conv)


def test_a_processor_without_the_fault_keeps_its_bits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    conv = nn.Conv2d(3, 3, 1, 2)
    spare_narrow(conv)
    assert "forward" not in vars(conv)
