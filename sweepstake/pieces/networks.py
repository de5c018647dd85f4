"""The nn.Modules behind the models: plain PyTorch, nothing of ours but Dropout's own generator."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}


def activation_layer(name: str, slope: float) -> nn.Module:
    return nn.LeakyReLU(slope) if name == "leaky_relu" else ACTIVATIONS[name]()


class Dropout(nn.Module):
    """Dropout whose draw is the cell's: the trainer sets `keeps`, (shape, p) -> which stay (Srivastava et al. 2014)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.keeps: Callable[[tuple[int, ...], float], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        assert self.keeps is not None
        return x * self.keeps(tuple(x.shape), self.p).to(x) / (1 - self.p)


class MLP(nn.Module):
    """fc1, activation, dropout, ..., fcN."""

    def __init__(self, inputs: Sequence[int], classes: int, hidden: Sequence[int], activation: str, slope: float, dropout: float):
        super().__init__()
        self.sizes = [prod(inputs), *hidden, classes]
        self.activation = activation_layer(activation, slope)
        self.dropout = Dropout(dropout)
        for number, (width_in, width_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), 1):
            self.add_module(f"fc{number}", nn.Linear(width_in, width_out))

    def forward(self, x: Tensor) -> Tensor:
        x, last = x.flatten(1), len(self.sizes) - 1
        for number in range(1, last):
            x = self.dropout(self.activation(getattr(self, f"fc{number}")(x)))
        return getattr(self, f"fc{last}")(x)
