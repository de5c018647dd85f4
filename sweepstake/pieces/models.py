"""Networks: (the shape of an image, the number of classes) -> an nn.Module.

Layers are named as the papers name them (fc1, conv2, ...); the initial weights a module comes with are replaced by the
cell's init. A module of your own works too: any nn.Module with linear layers, convolutions, embeddings or attention,
other parameters and buffers (a norm's statistics) beside them. A plain chain of layers (an nn.Sequential, or a module
that says `chain = True`) lets a dead unit take its outgoing weights with it.

Trait, which the decorator takes: `pretrained = True` of a model that brings trained weights. They stay: round 0 begins
from them, and `rewind` goes back to them. Only resets that draw anew (`fresh`) use the cell's init.
"""

from typing import Annotated, Literal

from msgspec import Meta

from sweepstake.base.registry import Registry

Units = Annotated[int, Meta(ge=1)]
Width = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Norm = Literal["none", "batch", "group"]
Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu"]
Shortcut = Literal["conv", "pad"]

model = Registry("model", offers={
    "inputs": "the shape of an image: (channels, height, width)",
    "classes": "how many classes the data set has",
})

PUBLISHED = {"width": 1.0, "activation": "relu", "slope": 0.01, "dropout": 0.0}
"""Option values of the published networks, which are neutral: they are not hashed. `slope` is leaky_relu's."""
PLAIN, NORMED = {**PUBLISHED, "norm": "none"}, {**PUBLISHED, "norm": "batch"}


@model(neutral=PLAIN)
def mlp(inputs, classes, *, hidden: list[Units] = [300, 100], width: Width = 1.0, norm: Norm = "none",  # noqa: B006
        activation: Activation = "relu", slope: float = 0.01, dropout: Share = 0.0):
    """Fully connected fc1, fc2, ...; [300, 100] is LeNet-300-100 (LeCun et al. 1998), [3010, 1010] Wide-LeNet."""
    from sweepstake.pieces import networks

    return networks.mlp(inputs, classes, hidden, networks.Style(width, norm, activation, slope, dropout))


@model(neutral=PLAIN)
def lenet5(inputs, classes, *, width: Width = 1.0, norm: Norm = "none", activation: Activation = "relu",
           slope: float = 0.01, dropout: Share = 0.0):
    """5 x 5 convolutions of 6 and 16, pooled, then 120, 84; images below 32 x 32 padded by 2 (LeCun et al. 1998)."""
    from sweepstake.pieces import networks

    networks.must_fit("lenet5", inputs, 12)
    return networks.convolutional(inputs, classes, [6, networks.POOL, 16, networks.POOL], [120, 84],
                                  networks.Style(width, norm, activation, slope, dropout),
                                  kernel=5, paddings=(2 if min(inputs[1:]) < 32 else 0, 0))


def _conv(name, inputs, classes, pairs, style):
    """Pairs of 3 x 3 convolutions, each pair pooled, then 256, 256."""
    from sweepstake.pieces import networks

    networks.must_fit(name, inputs, 2 ** len(pairs))
    plan = [step for units in pairs for step in (units, units, networks.POOL)]
    return networks.convolutional(inputs, classes, plan, [256, 256], networks.Style(*style))


@model(neutral=PLAIN)
def conv2(inputs, classes, *, width: Width = 1.0, norm: Norm = "none", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """64, 64, pool, then 256, 256: 4.3 million weights on CIFAR-10 (Frankle & Carbin 2019)."""
    return _conv("conv2", inputs, classes, [64], (width, norm, activation, slope, dropout))


@model(neutral=PLAIN)
def conv4(inputs, classes, *, width: Width = 1.0, norm: Norm = "none", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """64, 64, pool, 128, 128, pool, then 256, 256: 2.4 million weights on CIFAR-10 (Frankle & Carbin 2019)."""
    return _conv("conv4", inputs, classes, [64, 128], (width, norm, activation, slope, dropout))


@model(neutral=PLAIN)
def conv6(inputs, classes, *, width: Width = 1.0, norm: Norm = "none", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """64, 64, pool, 128, 128, pool, 256, 256, pool, then 256, 256 (Frankle & Carbin 2019).

    They count 1.7 million weights; the layers that their figure draws have 2,261,184 on CIFAR-10.
    """
    return _conv("conv6", inputs, classes, [64, 128, 256], (width, norm, activation, slope, dropout))


def _vgg(name, inputs, classes, depths, style):
    """3 x 3 convolutions of 64, 128, 256, 512, 512 in stages, pooled between, then the average through one layer."""
    from sweepstake.pieces import networks

    networks.must_fit(name, inputs, 16)
    stages = zip([64, 128, 256, 512, 512], depths, strict=True)
    plan = [step for units, depth in stages for step in [networks.POOL, *[units] * depth]]
    return networks.convolutional(inputs, classes, plan[1:], [], networks.Style(*style), average=True)


@model(neutral=NORMED)
def vgg11(inputs, classes, *, width: Width = 1.0, norm: Norm = "batch", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """8 convolutions and one layer, for CIFAR (Simonyan & Zisserman 2015; Frankle & Carbin 2019)."""
    return _vgg("vgg11", inputs, classes, [1, 1, 2, 2, 2], (width, norm, activation, slope, dropout))


@model(neutral=NORMED)
def vgg13(inputs, classes, *, width: Width = 1.0, norm: Norm = "batch", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """10 convolutions and one layer, for CIFAR (Simonyan & Zisserman 2015; Frankle & Carbin 2019)."""
    return _vgg("vgg13", inputs, classes, [2, 2, 2, 2, 2], (width, norm, activation, slope, dropout))


@model(neutral=NORMED)
def vgg16(inputs, classes, *, width: Width = 1.0, norm: Norm = "batch", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """13 convolutions and one layer, for CIFAR (Simonyan & Zisserman 2015; Frankle & Carbin 2019)."""
    return _vgg("vgg16", inputs, classes, [2, 2, 3, 3, 3], (width, norm, activation, slope, dropout))


@model(neutral=NORMED)
def vgg19(inputs, classes, *, width: Width = 1.0, norm: Norm = "batch", activation: Activation = "relu",
          slope: float = 0.01, dropout: Share = 0.0):
    """16 convolutions and one layer, 20.0 million weights (Simonyan & Zisserman 2015; Frankle & Carbin 2019)."""
    return _vgg("vgg19", inputs, classes, [2, 2, 4, 4, 4], (width, norm, activation, slope, dropout))


def _resnet(name, inputs, classes, stages, blocks, shortcut, style):
    from sweepstake.pieces import networks

    networks.must_fit(name, inputs, 2 ** (len(stages) - 1))
    return networks.residual(inputs, classes, stages, blocks, shortcut, networks.Style(*style))


@model(neutral=NORMED)
def resnet20(inputs, classes, *, shortcut: Shortcut = "conv", width: Width = 1.0, norm: Norm = "batch",
             activation: Activation = "relu", slope: float = 0.01, dropout: Share = 0.0):
    """3 blocks of 16, of 32, of 64; shortcuts `conv` (Frankle et al. 2020) or weightless `pad` (He et al. 2016)."""
    return _resnet("resnet20", inputs, classes, [16, 32, 64], 3, shortcut, (width, norm, activation, slope, dropout))


@model(neutral=NORMED)
def resnet32(inputs, classes, *, shortcut: Shortcut = "conv", width: Width = 1.0, norm: Norm = "batch",
             activation: Activation = "relu", slope: float = 0.01, dropout: Share = 0.0):
    """5 blocks of 16, of 32, of 64; shortcuts `conv` (Frankle et al. 2020) or weightless `pad` (He et al. 2016)."""
    return _resnet("resnet32", inputs, classes, [16, 32, 64], 5, shortcut, (width, norm, activation, slope, dropout))


@model(neutral=NORMED)
def resnet56(inputs, classes, *, shortcut: Shortcut = "conv", width: Width = 1.0, norm: Norm = "batch",
             activation: Activation = "relu", slope: float = 0.01, dropout: Share = 0.0):
    """9 blocks of 16, of 32, of 64; shortcuts `conv` (Frankle et al. 2020) or weightless `pad` (He et al. 2016)."""
    return _resnet("resnet56", inputs, classes, [16, 32, 64], 9, shortcut, (width, norm, activation, slope, dropout))


@model(neutral=NORMED)
def resnet18(inputs, classes, *, shortcut: Shortcut = "conv", width: Width = 1.0, norm: Norm = "batch",
             activation: Activation = "relu", slope: float = 0.01, dropout: Share = 0.0):
    """2 blocks of 64, 128, 256, 512 each, behind a 3 x 3 stem: ImageNet's network cut for CIFAR (He et al. 2016)."""
    stages = [64, 128, 256, 512]
    return _resnet("resnet18", inputs, classes, stages, 2, shortcut, (width, norm, activation, slope, dropout))
