"""The nn.Modules behind the models: plain PyTorch, every layer under the name the papers give it.

A plain chain of layers is an nn.Sequential: by that the engine recognises it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sweepstake.base.errors import UserError

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}
POOL = "pool"

Layers = list[tuple[str, nn.Module | None]]
"""Layers by name, in order; None where an option leaves one out."""


@dataclass(frozen=True)
class Style:
    """What every network lets a study vary."""

    width: float
    norm: str
    activation: str
    slope: float
    dropout: float

    def wide(self, units: int) -> int:
        return max(1, round(units * self.width))

    def active(self) -> nn.Module:
        return nn.LeakyReLU(self.slope) if self.activation == "leaky_relu" else ACTIVATIONS[self.activation]()

    def dropped(self) -> nn.Module | None:
        return Dropout(self.dropout) if self.dropout else None

    def normed(self, units: int, dimensions: int = 2) -> nn.Module | None:
        if self.norm == "batch":
            return nn.BatchNorm2d(units) if dimensions == 2 else nn.BatchNorm1d(units)
        return nn.GroupNorm(groups_of(units), units) if self.norm == "group" else None

    @property
    def biased(self) -> bool:
        """A layer before a norm has no bias: the norm's shift is one."""
        return self.norm == "none"


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014) whose draw a trainer sets: `keeps`, (shape, p) -> which elements stay."""

    keeps: Callable[[tuple[int, ...], float], Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        if self.keeps is None or not self.training or self.p == 0:
            return super().forward(input)
        return input * self.keeps(tuple(input.shape), self.p).to(input) / (1 - self.p)


def groups_of(units: int) -> int:
    """32 groups (Wu & He 2018), or the most that divide the units into groups of at least 4."""
    return next(groups for groups in range(max(1, min(32, units // 4)), 0, -1) if units % groups == 0)


class Flatten(nn.Module):
    """nn.Flatten(1) whose gradient has its input's layout, so that max-pooling's backward stays channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            x.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
        return x.flatten(1)


def chain(layers: Layers) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, layer) for name, layer in layers if layer is not None))


def must_fit(name: str, inputs: Sequence[int], side: int) -> None:
    """Refuse images so small that the network's poolings would leave nothing of them."""
    if min(inputs[1:]) < side:
        channels, height, width = inputs
        raise UserError(
            f'model = "{name}": takes images of at least ({channels}, {side}, {side}), and the data set\'s are '
            f"({channels}, {height}, {width}). Take a smaller model, or larger images."
        )


def connected(widths: Sequence[int], classes: int, style: Style, normed: bool = False) -> Layers:
    """fc1, norm, activation, dropout, ..., fcN."""
    layers: Layers = []
    for number, (into, out) in enumerate(pairwise(widths), 1):
        layers += [(f"fc{number}", nn.Linear(into, out, bias=style.biased or not normed)),
                   (f"fc{number}_norm", style.normed(out, 1) if normed else None),
                   (f"fc{number}_active", style.active()), (f"fc{number}_dropout", style.dropped())]
    return [*layers, (f"fc{len(widths)}", nn.Linear(widths[-1], classes))]


class MLP(nn.Module):
    """fc1, activation, dropout, ..., fcN: the network that our own kernels can train."""

    chain = True

    def __init__(self, sizes: Sequence[int], activation: nn.Module, dropout: float):
        super().__init__()
        self.sizes = list(sizes)
        self.activation, self.dropout = activation, Dropout(dropout)
        for number, (into, out) in enumerate(pairwise(self.sizes), 1):
            self.add_module(f"fc{number}", nn.Linear(into, out))

    def forward(self, x: Tensor) -> Tensor:
        x, last = x.flatten(1), len(self.sizes) - 1
        for number in range(1, last):
            x = self.dropout(self.activation(getattr(self, f"fc{number}")(x)))
        return getattr(self, f"fc{last}")(x)


def mlp(inputs: Sequence[int], classes: int, hidden: Sequence[int], style: Style) -> nn.Module:
    sizes = [prod(inputs), *map(style.wide, hidden)]
    if style.norm == "none":
        return MLP([*sizes, classes], style.active(), style.dropout)
    return chain([("flatten", Flatten()), *connected(sizes, classes, style, normed=True)])


def convolutional(inputs: Sequence[int], classes: int, plan: Sequence[int | str], hidden: Sequence[int], style: Style,
                  kernel: int = 3, paddings: Sequence[int] = (1,), average: bool = False) -> nn.Module:
    """conv1, norm, activation, ..., with 2 x 2 max-pooling where the plan says; then fc1, ..., fcN.

    fc1 reads the flattened map, or its average. The last of `paddings` is that of all further convolutions.
    """
    layers: Layers = []
    units, height, width = inputs
    number = 0
    for step in plan:
        if isinstance(step, str):
            layers.append((f"pool{number}", nn.MaxPool2d(2)))
            height, width = height // 2, width // 2
            continue
        padding = paddings[min(number, len(paddings) - 1)]
        number, into, units = number + 1, units, style.wide(step)
        layers += [(f"conv{number}", nn.Conv2d(into, units, kernel, padding=padding, bias=style.biased)),
                   (f"conv{number}_norm", style.normed(units)), (f"conv{number}_active", style.active())]
        height, width = (side + 2 * padding - kernel + 1 for side in (height, width))
    if average:
        layers += [("average", nn.AdaptiveAvgPool2d(1)), ("flatten", Flatten()), ("dropout", style.dropped())]
        height = width = 1
    else:
        layers += [("flatten", Flatten())]
    return chain([*layers, *connected([units * height * width, *map(style.wide, hidden)], classes, style)])


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, into: int, out: int, stride: int, shortcut: str, style: Style):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=style.biased)
        self.norm1 = style.normed(out) or nn.Identity()
        self.active1 = style.active()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=style.biased)
        self.norm2 = style.normed(out) or nn.Identity()
        if stride == 1 and into == out:
            self.shortcut = nn.Identity()
        elif shortcut == "conv":
            conv = nn.Conv2d(into, out, 1, stride, bias=style.biased)
            self.shortcut = chain([("conv", conv), ("norm", style.normed(out))])
        else:
            self.shortcut = Pad(out - into, stride)
        self.active2 = style.active()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.active1(self.norm1(self.conv1(x)))))
        return self.active2(y + self.shortcut(x))


class Pad(nn.Module):
    """The shortcut without weights: every second pixel, and channels of 0 (He et al. 2016, option A)."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        before = self.channels // 2
        return pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, before, self.channels - before))


def residual(inputs: Sequence[int], classes: int, stages: Sequence[int], blocks: int, shortcut: str,
             style: Style) -> nn.Module:
    """conv1, then `blocks` blocks a stage, the first of each later stage halving the map; the average through fc1."""
    units = style.wide(stages[0])
    layers: Layers = [("conv1", nn.Conv2d(inputs[0], units, 3, padding=1, bias=style.biased)),
                      ("conv1_norm", style.normed(units)), ("conv1_active", style.active())]
    for stage, wide in enumerate(map(style.wide, stages)):
        for number in range(blocks):
            halved = stage > 0 and number == 0
            block = Block(units, wide, 2 if halved else 1, shortcut, style)
            layers.append((f"block{stage * blocks + number + 1}", block))
            units = wide
    layers += [("average", nn.AdaptiveAvgPool2d(1)), ("flatten", Flatten()), ("dropout", style.dropped())]
    return chain([*layers, *connected([units], classes, style)])
