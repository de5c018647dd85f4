"""What masks leave of a module, parameter by parameter; what is not pruned stands beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from torch import Tensor, nn

from sweepstake.base.text import visible

KINDS = {nn.Linear: "linear", nn.Conv2d: "conv"}
NAME = 30
"""The widest name in a printed table; a longer one loses its beginning."""


class About(NamedTuple):
    """What is said of a parameter: its layer's kind, and why it is not pruned."""

    kind: str = ""
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One parameter: how many of its weights are alive, and why it is whole where no mask is on it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    alive: int
    size: int
    pruned: bool
    why: str = ""

    @property
    def kept(self) -> float:
        """The fraction that is alive."""
        return self.alive / max(self.size, 1)


@dataclass(frozen=True)
class Kept:
    """What masks leave of a module. `str()` of it is a table for a terminal."""

    rows: tuple[Row, ...]
    """Every parameter, in the module's order."""
    tied: Mapping[str, str]
    """Other names of parameters that are counted once."""

    @property
    def pruned(self) -> list[Row]:
        return [row for row in self.rows if row.pruned]

    @property
    def whole(self) -> list[Row]:
        """The parameters that are not pruned."""
        return [row for row in self.rows if not row.pruned]

    @property
    def alive(self) -> int:
        """How many of the prunable weights are alive."""
        return sum(row.alive for row in self.pruned)

    @property
    def size(self) -> int:
        """How many prunable weights there are."""
        return sum(row.size for row in self.pruned)

    @property
    def parameters(self) -> int:
        """How many parameters the module has, prunable or not."""
        return sum(row.size for row in self.rows)

    @property
    def kept_fraction(self) -> float:
        """The fraction of the prunable weights that is alive."""
        return self.alive / self.size

    @property
    def kept_of_all(self) -> float:
        """The fraction of all parameters that is alive; those that are not pruned are."""
        return sum(row.alive for row in self.rows) / self.parameters

    def __str__(self) -> str:
        lines = [f"{'pruned':<{NAME}} {'kind':<8} {'shape':<14} {'alive':>11} {'kept':>7}"]
        lines += [f"{_short(row.name):<{NAME}} {visible(row.kind)[:8]:<8} {_times(row.shape):<14} {row.alive:>11,} "
                  f"{row.kept:>7.1%}" for row in self.pruned]
        lines += ["", f"{'not pruned':<{NAME}} {'size':>11}  why"] if self.whole else [""]
        lines += [f"{_short(name):<{NAME}} {size:>11,}  {visible(why)}" for name, size, why in self._told_whole()]
        lines += [f"{visible(other)} is {visible(name)}, counted once." for other, name in self.tied.items()]
        return "\n".join([*lines, f"kept {self.kept_fraction:.2%} of the prunable weights "
                                  f"= {self.kept_of_all:.2%} of all parameters"])

    def _told_whole(self) -> list[tuple[str, int, str]]:
        """Each tensor that is not pruned; vectors that are so for one reason are summed up in one line."""
        tensors = [(row.name, row.size, row.why) for row in self.whole if len(row.shape) > 1]
        vectors = sorted((row for row in self.whole if len(row.shape) < 2), key=lambda row: row.why)
        sums = list[tuple[str, int, str]]()
        for why, group in groupby(vectors, key=lambda row: row.why):
            rows = list(group)
            sums.append((rows[0].name if len(rows) == 1 else f"{len(rows)} vectors", sum(r.size for r in rows), why))
        return tensors + sums


def kept_of(model: nn.Module, alive: Mapping[str, Tensor], about: Mapping[str, About]) -> Kept:
    """What these masks leave of a module."""
    own = dict(model.named_parameters())
    first = {id(parameter): name for name, parameter in own.items()}
    tied = {name: first[id(each)] for name, each in model.named_parameters(remove_duplicate=False) if name not in own}
    rows = list[Row]()
    for name, parameter in own.items():
        kind, why = _about(model, name, parameter, about.get(name, About()))
        mask = alive.get(name)
        count = parameter.numel() if mask is None else int(mask.sum())
        rows.append(Row(name, kind, tuple(parameter.shape), count, parameter.numel(), mask is not None,
                        why if mask is None else ""))
    return Kept(tuple(rows), tied)


def _about(model: nn.Module, name: str, parameter: Tensor, given: About) -> About:
    """A parameter's kind and reason as they were given; else its module's class, and that no mask is on it."""
    layer = type(model.get_submodule(name.rpartition(".")[0]))
    plain = "a bias, a norm or another vector" if parameter.dim() < 2 else "no mask is on it"
    return About(given.kind or KINDS.get(layer, layer.__name__), given.why or plain)


def _short(name: str) -> str:
    name = visible(name)
    return name if len(name) <= NAME else "…" + name[1 - NAME:]


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
