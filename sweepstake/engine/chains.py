"""Plain chains of convolutions, read from a module: what of one our own kernels must know."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from sweepstake.pieces.networks import Dropout, Flatten

NONE, LARGEST, AVERAGE = 0, 1, 2
"""How a map is pooled, two by two positions: not at all, to the largest, or to the average."""


@dataclass(frozen=True)
class Stage:
    """A convolution, its activation, and the pooling behind it."""

    kernel: int
    padding: int
    pool: int
    inputs: tuple[int, int]
    """Height and width of its input."""

    @property
    def outputs(self) -> tuple[int, int]:
        """Height and width before the pooling."""
        height, width = (side + 2 * self.padding - self.kernel + 1 for side in self.inputs)
        return height, width

    @property
    def pooled(self) -> tuple[int, int]:
        """Height and width behind it. An odd last row or column is in no pool."""
        height, width = self.outputs
        return (height // 2, width // 2) if self.pool else (height, width)

    @property
    def computed(self) -> tuple[int, int]:
        """Height and width of the part of its outputs that anything reads."""
        height, width = self.pooled
        return (2 * height, 2 * width) if self.pool else (height, width)


@dataclass
class Chain:
    """Convolutions, then linear layers, with one (leaky) ReLU between any two.

    `average`: the last maps are averaged, each to a number. `dropouts`: in front of each linear layer, (the number of
    the dropout module, its share), or None.
    """

    slope: float
    average: bool = False
    stages: list[Stage] = field(default_factory=list[Stage])
    dropouts: list[tuple[int, float] | None] = field(default_factory=list[tuple[int, float] | None])


def chain_of(module: nn.Module, inputs: tuple[int, ...]) -> Chain | None:
    """The chain that a module is, or None where it is not one that our kernels know."""
    if type(module) is not nn.Sequential or not _is_as_it_seems(module):
        return None
    slopes = {_slope(layer) for layer in module if isinstance(layer, nn.ReLU | nn.LeakyReLU)}
    if len(slopes) > 1 or min(slopes, default=0.0) < 0:
        return None
    chain = Chain(slopes.pop() if slopes else 0.0)
    layers = _Layers(module)
    return chain if _maps(layers, chain, inputs) and _flat(layers, chain) else None


def _is_as_it_seems(module: nn.Sequential) -> bool:
    """Whether each layer stands there once, with parameters of its own that all learn, and no hook."""
    parameters = [parameter for layer in module for parameter in layer.parameters()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooked = any(getattr(each, name) for each in module.modules() for name in hooks)
    own = len({*module}) == len(module) and len({*map(id, parameters)}) == len(parameters)
    return own and not hooked and all(parameter.requires_grad for parameter in parameters)


class _Layers:
    """A module's layers, taken one by one from the front."""

    def __init__(self, module: nn.Module):
        self.left: list[tuple[str, nn.Module]] = list(module.named_children())
        dropouts = [layer for layer in module.modules() if isinstance(layer, Dropout)]
        self.number: dict[nn.Module, int] = {layer: number for number, layer in enumerate(dropouts)}

    def take(self, *kinds: type[nn.Module]) -> tuple[str, nn.Module] | None:
        """The first layer that is left, if it is one of these."""
        return self.left.pop(0) if self.left and type(self.left[0][1]) in kinds else None

    def dropout(self) -> tuple[int, float] | None:
        """The dropout that stands here, if one does: its number, and its share."""
        taken = self.take(Dropout)
        if taken is None:
            return None
        assert isinstance(taken[1], Dropout)
        return self.number[taken[1]], taken[1].p

    def taken(self, *kinds: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
        while layer := self.take(*kinds):
            yield layer


def _slope(layer: nn.Module) -> float:
    return float(getattr(layer, "negative_slope", 0.0))


def _maps(layers: _Layers, chain: Chain, inputs: tuple[int, ...]) -> bool:
    """Take the convolutions, and what brings their maps to the linear layers."""
    sides = (inputs[1], inputs[2])
    for _, layer in layers.taken(nn.Conv2d):
        assert isinstance(layer, nn.Conv2d)
        if not (_is_plain(layer) and layers.take(nn.ReLU, nn.LeakyReLU)):
            return False
        pool = _pool(layers)
        if pool is None:
            return False
        stage = Stage(layer.kernel_size[0], int(layer.padding[0]), pool, sides)
        if min(stage.pooled) < 1:
            return False
        chain.stages.append(stage)
        sides = stage.pooled
    if average := layers.take(nn.AdaptiveAvgPool2d):
        chain.average = True
        if getattr(average[1], "output_size", None) not in (1, (1, 1)):
            return False
    flat = layers.take(Flatten, nn.Flatten)
    if flat is None or not chain.stages:
        return False
    return (getattr(flat[1], "start_dim", 1), getattr(flat[1], "end_dim", -1)) == (1, -1)


def _is_plain(conv: nn.Conv2d) -> bool:
    """Whether it is a square kernel of an odd side up to 5, zeros around, and nothing else."""
    (side, other), padding = conv.kernel_size, conv.padding
    plain = (conv.stride, conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
    return plain and side == other and side in (1, 3, 5) and conv.bias is not None and (
        not isinstance(padding, str) and padding[0] == padding[1] < side)


def _pool(layers: _Layers) -> int | None:
    """How the next layer pools; None where it does so in a way that is not known."""
    taken = layers.take(nn.MaxPool2d, nn.AvgPool2d)
    if taken is None:
        return NONE
    layer = taken[1]
    options = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "ceil_mode")}
    two = (2, (2, 2))
    if options["kernel_size"] not in two or options["stride"] not in two or options["padding"] not in (0, (0, 0)):
        return None
    if options["ceil_mode"] or getattr(layer, "dilation", 1) not in (1, (1, 1)):
        return None
    if isinstance(layer, nn.MaxPool2d):
        return None if layer.return_indices else LARGEST
    return AVERAGE if getattr(layer, "divisor_override", None) is None else None


def _flat(layers: _Layers, chain: Chain) -> bool:
    """Take the linear layers, each with the dropout in front of it."""
    while True:
        chain.dropouts.append(layers.dropout())
        linear = layers.take(nn.Linear)
        if linear is None or linear[1].bias is None:
            return False
        if not layers.left:
            return True
        if not layers.take(nn.ReLU, nn.LeakyReLU):
            return False
