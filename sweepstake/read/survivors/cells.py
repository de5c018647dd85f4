"""The cells that an analysis reads: which ones, their networks, masks and tickets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import msgspec
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, unknown
from sweepstake.base.records import Result
from sweepstake.base.specs import Where, label, labels_of
from sweepstake.engine.build import build_net
from sweepstake.engine.network import Net
from sweepstake.pieces.datasets import spec_of, with_places
from sweepstake.run.data import data_directories, decoded_cache, load_data
from sweepstake.run.store import Store, pack, unpack
from sweepstake.study.study import Study
from sweepstake.tickets.of_study import finished as out_of_study
from sweepstake.tickets.ticket import Ticket


class Results(Protocol):
    """What an analysis asks of a study's results."""

    @property
    def study(self) -> Study: ...
    @property
    def cells(self) -> list[Result]: ...
    @property
    def store(self) -> Store | None: ...


@dataclass(frozen=True)
class One:
    """A cell with results."""

    result: Result
    cell: Cell

    @property
    def id(self) -> str:
        return self.result["id"]

    @property
    def place(self) -> dict[str, str]:
        """Its label on each axis, and its seed."""
        return {**{axis: label(each) for axis, each in self.result["labels"].items()}, "seed": str(self.cell.seed)}

    @property
    def network(self) -> str:
        """What its network's shape depends on: two cells that say the same here can be compared weight by weight."""
        return msgspec.json.encode([self.cell.model, self.cell.dataset], order="deterministic").decode()

    def kept_fraction(self, round_: int) -> float:
        return self.result["rounds"][round_]["kept_fraction"]

    def rounds(self, asked: int | None) -> list[int]:
        """Its finished rounds; or the one that was asked for, if it has it."""
        return [record["round"] for record in self.result["rounds"] if asked in (None, record["round"])]


def chosen(name: str, results: Results, where: Where | None, round_: int | None) -> list[One]:
    """The cells with results that `where` names, by the labels of the study's axes and by seed."""
    axes: dict[str, Sequence[Any]] = {**results.study.axes, "seed": results.study.seeds}
    wanted = {axis: set(labels_of(said)) for axis, said in (where or {}).items()}
    _check_where(name, wanted, axes)
    planned = {each.id: each.cell for each in results.study.planned}
    every = [One(each, planned[each["id"]]) for each in results.cells if each["rounds"]]
    found = [one for one in every if all(one.place[axis] in labels for axis, labels in wanted.items())]
    if not found:
        asked = " that was asked for" if wanted else ""
        raise UserError(f"{name}: no cell of {results.study.name}{asked} is finished. "
                        f"`sweepstake status {results.study.name}` says what is there.")
    if round_ is not None and not any(one.rounds(round_) for one in found):
        last = max(one.rounds(None)[-1] for one in found)
        raise UserError(f"{name}: round {round_}: these cells have rounds 0 to {last}.")
    return found


def _check_where(name: str, wanted: Mapping[str, set[str]], axes: Mapping[str, Sequence[Any]]) -> None:
    problems = list[str]()
    for axis, labels in wanted.items():
        if axis not in axes:
            problems.append(unknown(f"{name}: where {axis}", "axis", axis, axes, "An axis is a key that varies."))
            continue
        known = [label(one) for one in axes[axis]]
        problems += [unknown(f'{name}: where {axis} = "{one}"', f"label of {axis}", one, known)
                     for one in sorted(labels - set(known))]
    if problems:
        raise UserError(*problems)


# What is kept of them

def ticket_of(results: Results, one: One, round_: int) -> Ticket | None:
    """A cell's ticket of a round with its trained weights; None where they were not kept."""
    if results.store is None:
        raise UserError("tickets: these results are of no store. Read them with load_results(study, store).")
    if round_ not in results.store.weights(one.id).rounds:
        return None
    return out_of_study.ticket_of(results.study, results.store, one.result, round_)


def trained_tickets(name: str, results: Results, cells: Sequence[One],
                    asked: int | None) -> Iterator[tuple[int, dict[str, Ticket]]]:
    """Each round, with the tickets of it whose trained weights were kept, by id; one round at a time in memory."""
    found = False
    for round_ in sorted({round_ for one in cells for round_ in one.rounds(asked)}):
        every = {one.id: ticket_of(results, one, round_) for one in cells if one.rounds(round_)}
        if trained := {id_: ticket for id_, ticket in every.items() if ticket is not None}:
            found = True
            yield round_, trained
    if not found:
        raise UserError(f'{name}: needs trained weights, and {"none of this round" if asked is not None else "none"} '
                        f'were kept. Say save_weights = "all" under [machine] (or --save-weights all), and run the '
                        f"study into a new store.")


class Masks:
    """Every round's mask of a cell by the names of its weights, a bit a parameter in memory."""

    def __init__(self, store: Store, id_: str, net: Net):
        self.net = net
        self.packed = [pack(mask) for mask in store.masks(id_)]

    def __getitem__(self, round_: int) -> dict[str, Tensor]:
        flat = unpack(self.packed[round_], self.net.size).bool()
        return {slot.name: slot.of(flat) for slot in self.net.weights}


def masks_of(name: str, results: Results, cells: Sequence[One], data: str | Path | None = None) -> dict[str, Masks]:
    """The masks of each cell, by id."""
    if results.store is None:
        raise UserError(f"{name}: these results are of no store. Read them with load_results(study, store).")
    nets: dict[str, Net] = {}
    for one in cells:
        if one.network not in nets:
            nets[one.network] = net_of(with_places(one.cell, results.study.folder), data)
    return {one.id: Masks(results.store, one.id, nets[one.network]) for one in cells}


def net_of(cell: Cell, data: str | Path | None = None) -> Net:
    """The cell's network; its weights are the model's own."""
    if spec := spec_of(cell.dataset):
        return build_net(cell, spec.shape, spec.classes)
    read = load_data(cell.dataset, data_directories(data), decoded_cache())
    return build_net(cell, tuple(read.train_x.shape[1:]), read.classes)


# Pairs of them

@dataclass(frozen=True)
class Pair:
    """Two cells of one network."""

    a: One
    b: One

    @property
    def kind(self) -> str:
        """In which axes they differ: `other seed`, `other init`, `other init and seed`."""
        differ = [axis for axis, each in self.a.place.items() if self.b.place[axis] != each]
        return "other " + " and ".join(differ)

    def kept_fraction(self, round_: int) -> float:
        """The mean of both."""
        return (self.a.kept_fraction(round_) + self.b.kept_fraction(round_)) / 2

    def who(self) -> dict[str, Any]:
        """The columns that say which two cells a row is of."""
        both = [(axis, self.a.place[axis], self.b.place[axis]) for axis in self.a.place]
        return {"pair": self.kind, "id_a": self.a.id, "id_b": self.b.id,
                **{f"{axis}_{side}": each for axis, *two in both for side, each in zip("ab", two, strict=True)}}


def pairs_of(name: str, cells: Sequence[One]) -> list[Pair]:
    """Every two cells of one network."""
    if pairs := same_network(cells):
        return pairs
    raise UserError(f"{name}: compares two cells of one network, and there are no two among {len(cells)} here. "
                    f"Give the study several seeds, or another axis beside the model.")


def same_network(cells: Sequence[One]) -> list[Pair]:
    return [Pair(a, b) for a, b in combinations(cells, 2) if a.network == b.network]


def by_round(pairs: Sequence[Pair], asked: int | None) -> Iterator[tuple[int, list[Pair]]]:
    """Each round, with the pairs of which both cells have it."""
    last = max(min(pair.a.rounds(None)[-1], pair.b.rounds(None)[-1]) for pair in pairs)
    for round_ in range(last + 1) if asked is None else [asked]:
        if both := [pair for pair in pairs if pair.a.rounds(round_) and pair.b.rounds(round_)]:
            yield round_, both
