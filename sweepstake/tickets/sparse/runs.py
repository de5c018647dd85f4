"""Runs of layers that one compiled call can stand for."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

from sweepstake.pieces.networks import MLP, Dropout, Flatten


@dataclass
class Run:
    """Layers that follow each other in a container, and what lies between them."""

    container: str
    """The path of the container."""
    children: list[str] = field(default_factory=list[str])
    """The names in it of all that the run stands for."""
    layers: list[str] = field(default_factory=list[str])
    """The names in it of the Linear layers."""
    slopes: list[float] = field(default_factory=list[float])
    """For each layer the slope below 0 of the activation that follows; 1 where none does."""
    flatten: bool = False
    whole: bool = False
    """Whether it stands for all of its container."""

    def path(self, child: str) -> str:
        return f"{self.container}.{child}" if self.container else child

    @property
    def name(self) -> str:
        """Of the first layer to the last."""
        return f"{self.path(self.layers[0])}..{self.layers[-1]}"

    @property
    def paths(self) -> list[str]:
        return [self.path(name) for name in self.layers]


def runs_of(module: nn.Module) -> list[Run]:
    """Every run in an nn.Sequential, and our own mlp as one."""
    found = []
    for path, container in module.named_modules():
        if type(container) is MLP:
            found += _run_of_mlp(path, container)
        elif isinstance(container, nn.Sequential) and type(container).forward is nn.Sequential.forward:
            found += _runs_of_sequential(path, container)
    return found


def _run_of_mlp(path: str, mlp: MLP) -> list[Run]:
    slope = slope_of(mlp.activation)
    layers = [f"fc{number}" for number in range(1, len(mlp.sizes))]
    if slope is None or not all(map(is_plain, mlp.children())):
        return []
    slopes = [slope] * (len(layers) - 1) + [1.0]
    return [Run(path, list(mlp._modules), layers, slopes, flatten=True, whole=True)]


def _runs_of_sequential(path: str, container: nn.Sequential) -> Iterator[Run]:
    run = Run(path)
    for name, layer in container._modules.items():
        if layer is None:
            continue
        if not _joins(layer, run):
            yield from _finished(run, container)
            run = Run(path)
            if not _joins(layer, run):
                continue
        run.children.append(name)
        if isinstance(layer, nn.Linear):
            run.layers.append(name)
            run.slopes.append(1.0)
        elif (slope := slope_of(layer)) is not None:
            run.slopes[-1] = slope
        elif isinstance(layer, nn.Flatten | Flatten):
            run.flatten = True
    yield from _finished(run, container)


def _joins(layer: nn.Module, run: Run) -> bool:
    """Whether a run can go on, or begin, with this layer."""
    if not is_plain(layer):
        return False
    if type(layer) is nn.Linear:
        return True
    if type(layer) is Flatten or (type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)):
        return not run.children
    if slope_of(layer) is not None:
        return bool(run.layers) and run.slopes[-1] == 1
    return type(layer) in (nn.Dropout, Dropout, nn.Identity) and bool(run.children)


def _finished(run: Run, container: nn.Sequential) -> Iterator[Run]:
    """The run, where it stands for more than a layer alone."""
    if run.layers and len(run.children) > 1:
        run.whole = len(run.children) == len(container._modules)
        yield run


def slope_of(layer: nn.Module | None) -> float | None:
    """The slope below 0 of ReLU and leaky ReLU; None of any other layer."""
    if type(layer) is nn.ReLU:
        return 0.0
    return float(layer.negative_slope) if type(layer) is nn.LeakyReLU else None


def is_plain(layer: nn.Module) -> bool:
    """Whether nobody watches its calls."""
    return not (layer._forward_hooks or layer._forward_pre_hooks)
