"""Networks: (the shape of an image, the number of classes) -> an nn.Module.

Layers are named as the papers name them (fc1, conv2, ...); the initial weights a module comes with are replaced by the
cell's init. A module of your own works too: any nn.Module whose layers are nn.Linear and nn.Conv2d.
"""

from typing import Annotated, Literal

from msgspec import Meta

from sweepstake.base.registry import Registry

Width = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu"]

model = Registry("model", offers={
    "inputs": "the shape of an image: (channels, height, width)",
    "classes": "how many classes the data set has",
})


@model(neutral={"dropout": 0.0, "activation": "relu", "slope": 0.01})
def mlp(inputs, classes, *, hidden: list[Width] = [300, 100], activation: Activation = "relu", slope: float = 0.01,  # noqa: B006
        dropout: Share = 0.0):
    """Fully connected layers fc1, fc2, ...; [300, 100] is LeNet-300-100 (LeCun et al. 1998). `slope` is leaky_relu's."""
    from sweepstake.pieces.networks import MLP

    return MLP(inputs, classes, hidden, activation, slope, dropout)
