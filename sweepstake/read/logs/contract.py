"""What a logger is to this package: a place that takes runs, and a pen for each run that it does not hold yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sweepstake.base.errors import UserError
from sweepstake.run.files import CannotWrite

Setting = bool | int | float | str
Values = Mapping[str, float]
"""Numbers under the names that a logger shows: `test/accuracy`."""
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """A cell as loggers know it: a run with a name and hyperparameters."""

    id: str
    study: str
    name: str
    """Its label on each axis, and its seed: `xavier_normal, seed 0`."""
    settings: Mapping[str, Setting]
    """Its hyperparameters: the keys of the cell, the axes, the id and the study's name."""
    finished: str = ""
    """When its result came to be, which tells this result from another of the same cell; empty while it trains."""


class Pen(Protocol):
    """What writes one run, from its first round on."""

    def step(self, step: int, values: Values) -> None:
        """A point of the learning curves."""
        ...

    def round(self, round_: int, values: Values) -> None:
        """What is measured of a round, once it has ended."""
        ...

    def weights(self, round_: int, values: Arrays, pictures: Arrays) -> None:
        """Of a round: values for a histogram each, and grey pictures (8 bits, height x width)."""
        ...

    def end(self) -> None:
        """The run is whole."""
        ...

    def drop(self) -> None:
        """No more comes. The run is not whole, and will be written anew."""
        ...


class Sink(Protocol):
    """A place that takes runs."""

    said: str
    """As the command line names it: `tensorboard:tb`."""
    where: str
    """Where runs go, for people."""

    def holds(self, run: Run) -> bool:
        """Whether it has the whole run of this result."""
        ...

    def begin(self, run: Run) -> Pen:
        """The run from its beginning, in the place of what there is of it."""
        ...

    def close(self) -> None: ...


def missing(kind: str, error: ImportError) -> UserError:
    """The library of a logger cannot be imported."""
    lacks = error.name if isinstance(error, ModuleNotFoundError) and error.name else str(error)
    return UserError(f"--log {kind}: {lacks} is not installed. `pip install sweepstake[{kind}]`, or leave --log out.")


def made(said: str, folder: Path) -> Path:
    """The folder of a logger, made if need be, and refused before anything trains where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(folder, error, f"--log {said.partition(':')[0]}:DIR") from error
    return folder
