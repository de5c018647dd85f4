"""What a criterion sees of the data: a cell's training images, or batches of a user's own.

`Scorer` asks for parts: what the network is called with, and the labels. How an output becomes a loss is said here too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sweepstake.base.errors import UserError
from sweepstake.engine.images import Images


@dataclass(frozen=True)
class Given:
    """What a network is called with."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, x: Any) -> "Given":
        """A tensor is one argument, a tuple several, a dictionary arguments by name."""
        if isinstance(x, Mapping):
            return cls((), dict(x))
        return cls(tuple(x) if isinstance(x, (tuple, list)) else (x,))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Given":
        """The same with every tensor changed."""
        def changed(value: Any) -> Any:
            return change(value) if isinstance(value, Tensor) else value

        return Given(tuple(map(changed, self.args)), {k: changed(v) for k, v in (self.kwargs or {}).items()})

    def tensors(self) -> list[Tensor]:
        return [each for each in (*self.args, *(self.kwargs or {}).values()) if isinstance(each, Tensor)]


Part = tuple[Given, Any]
"""What the network is called with, and the labels."""


class Examples(Protocol):
    """Training examples as a criterion takes them: so many of them, in parts, drawn by `order`."""

    def choose(self, wanted: int, order: Callable[[int], np.ndarray]) -> "Chosen":
        """`wanted` of them; all if 0, or if there are no more."""
        ...

    def loss(self, output: Any, labels: Any, temperature: float) -> Tensor:
        """The loss summed over the examples of a part."""
        ...

    def ones(self) -> Given:
        """One example of ones in double, for a criterion that sees no data."""
        ...


class Chosen(Protocol):
    """The examples that one pruning sees."""

    @property
    def count(self) -> int: ...

    def parts(self, size: int, dtype: torch.dtype) -> Iterator[Part]:
        """All of them, about `size` at a time."""
        ...


# A cell's images

@dataclass(frozen=True)
class OfImages:
    """The training images of a cell; never those of validation or test."""

    images: Images

    def choose(self, wanted: int, order: Callable[[int], np.ndarray]) -> "ChosenImages":
        train = self.images.train
        if not 0 < wanted < len(train.y):
            return ChosenImages(self.images, train.x, train.y)
        chosen = torch.from_numpy(order(len(train.y))[:wanted])
        return ChosenImages(self.images, train.x[chosen], train.y[chosen])

    def loss(self, output: Any, labels: Any, temperature: float) -> Tensor:
        return cross_entropy(output / temperature, labels, reduction="sum")

    def ones(self) -> Given:
        return Given((torch.ones((1, *self.images.inputs), dtype=torch.float64),))


@dataclass(frozen=True)
class ChosenImages:
    """Some training images, normalised as they are taken."""

    images: Images
    x: Tensor
    y: Tensor

    @property
    def count(self) -> int:
        return len(self.y)

    def parts(self, size: int, dtype: torch.dtype) -> Iterator[Part]:
        count = self.count
        # No part of one image alone: a batch norm has no variance over it.
        sizes = [size] * (count // size) + [count % size] * (count % size > 0)
        if len(sizes) > 1 and sizes[-1] == 1:
            sizes[-2:] = [size + 1]
        for x, y in zip(self.x.split(sizes), self.y.split(sizes), strict=True):
            yield Given((self.images.batch(x, dtype),)), y


# A user's own batches

EMPTY = "data: there is no batch in it. Give a list of batches (inputs, labels), or a DataLoader."

Loss = Callable[[Any, Any], Tensor]
"""loss(the network's output, the labels): a mean over the batch."""


@dataclass(frozen=True)
class OfBatches:
    """Batches of a user's own: (inputs, labels) each, or a dictionary that the network is called with.

    The first batches are taken, in the order in which they come, until there are enough examples.
    """

    batches: Iterable[Any]
    mean_loss: Loss | None = None

    def __post_init__(self):
        if isinstance(self.batches, Iterator) or not isinstance(self.batches, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"data: a {type(self.batches).__name__} cannot be gone through more than once. "
                            "Give a list of batches, or a DataLoader.")

    def choose(self, wanted: int, order: Callable[[int], np.ndarray]) -> "ChosenBatches":
        parts, count = list[Part](), 0
        for batch in self.batches:
            parts.append(_part(batch))
            count += _count(parts[-1][0])
            if 0 < wanted <= count:
                break
        if not parts:
            raise UserError(EMPTY)
        return ChosenBatches(parts, count)

    def loss(self, output: Any, labels: Any, temperature: float) -> Tensor:
        return _mean_loss(self.mean_loss, output, labels, temperature) * _rows(output)

    def ones(self) -> Given:
        given, _ = self.choose(1, np.arange).taken[0]
        if any(not tensor.is_floating_point() for tensor in given.tensors()):
            raise UserError("data: this criterion calls the network on ones, and the network reads whole numbers "
                            "(tokens). Say a criterion that takes gradients or weights.")
        return given.each(lambda tensor: torch.ones_like(tensor[:1], dtype=torch.float64))


@dataclass(frozen=True)
class ChosenBatches:
    """Batches that were taken; their sizes are the user's."""

    taken: Sequence[Part]
    count: int

    def parts(self, size: int, dtype: torch.dtype) -> Iterator[Part]:
        for given, labels in self.taken:
            yield given.each(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor), labels


def _part(batch: Any) -> Part:
    if isinstance(batch, Mapping):
        given, labels = Given.of(batch), batch.get("labels")
    elif isinstance(batch, (tuple, list)) and len(batch) == 2:
        given, labels = Given.of(batch[0]), batch[1]
    else:
        raise UserError(f"data: a batch is a {type(batch).__name__}. Give (inputs, labels), or a dictionary that the "
                        "network is called with; one batch alone stands in a list, data=[(inputs, labels)].")
    on_cpu = labels.cpu() if isinstance(labels, Tensor) else labels
    return given.each(lambda tensor: tensor.detach().cpu()), on_cpu


def _count(given: Given) -> int:
    return len(given.tensors()[0]) if given.tensors() else 1


def _rows(output: Any) -> int:
    return len(next((each for each in tensors_in(output) if each.dim()), [0]))


def _mean_loss(loss: Loss | None, output: Any, labels: Any, temperature: float) -> Tensor:
    if loss is not None:
        value: object = loss(output, labels)
        if not isinstance(value, Tensor) or value.numel() != 1:
            gave = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise UserError(f"loss: gave {gave}. Give one number with its gradient: the mean over the batch.")
        return value
    if isinstance(output, Tensor) and isinstance(labels, Tensor):
        if output.dim() < 2 or output.shape[1] < 2:
            raise UserError(f"loss: the network gives the shape {tuple(output.shape)}, and cross-entropy takes a "
                            "number for each of several classes. Say another loss, such as torch.nn.MSELoss().")
        return cross_entropy(output / temperature, labels)
    own = getattr(output, "loss", None)
    if own is None:
        raise UserError(f"loss: the network gives a {type(output).__name__}, from which no cross-entropy can be taken. "
                        "Say loss = a function of (output, labels).")
    return own


def tensors_in(output: Any) -> list[Tensor]:
    """Every floating-point tensor in an output: a tensor, a tuple, a dictionary, or an object of a library's."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for each in output.values() for tensor in tensors_in(each)]
    if isinstance(output, (tuple, list)):
        return [tensor for each in output for tensor in tensors_in(each)]
    return []
