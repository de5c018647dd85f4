"""A ticket search in a store: a cell of rounds that resumes after a kill, with the weights of each round."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.network import Slot
from sweepstake.engine.rounds import Record, State, first_state
from sweepstake.run import provenance
from sweepstake.run.journal import Journal
from sweepstake.run.layout import by_name, flat_of
from sweepstake.run.names import id_in
from sweepstake.run.sealed import Damaged
from sweepstake.run.store import Store, unpack
from sweepstake.run.weights import Which
from sweepstake.tickets.of_study import recipe
from sweepstake.tickets.search.wanted import id_of
from sweepstake.tickets.search.yours import Yours


@dataclass
class Round:
    """A finished round, as a ticket needs it."""

    number: int
    mask: Tensor
    begun: Tensor
    ended: Tensor


class Kept:
    """A search in a store: a cell of rounds, with the weights of each."""

    def __init__(self, store: Store, cell: Cell):
        self.store, self.cell, self.id = store, cell, id_in(store, cell, id_of)
        self._journal: Journal | None = None
        self.records: list[Record] = []

    def start(self, slots: Sequence[Slot], w: Tensor) -> Tensor:
        """The weights that the search began from: those in the store, or the module's own, which are put there."""
        there = self._read("start")
        if there is None:
            self.store.begin(self.id, self.cell)
            self.store.weights(self.id).put("start", by_name(slots, w))
            return w.clone()
        if other := _other_network(slots, there):
            raise UserError(f'find_ticket: the search "{self.cell.model.options["name"]}" in {self.store.folder} is of '
                            f"another network: {other}. For a search in this one say another name.")
        kept = flat_of(slots, there)
        if not torch.equal(kept, w):
            warnings.warn(f'find_ticket: the search "{self.cell.model.options["name"]}" in {self.store.folder} began '
                          "from other weights than this module's, and goes on from its own. For a new search say "
                          "another name.", stacklevel=4)
        return kept

    def open(self, trainer: Yours) -> State:
        """Where the search goes on."""
        result = self.store.get(self.id)
        if result is not None:
            self.records = result["rounds"]
            start = first_state(trainer, self.cell).start
            return State(self.cell.rounds + 1, start)
        damage = self.store.look(self.id).damage
        self.store.begin(self.id, self.cell)
        self._journal = Journal.open(self.store, self.id, self.cell, trainer, saves="all")
        self.records = list(self._journal.records)
        if damage:
            warnings.warn(f"find_ticket: {damage[0].path} is damaged, and not read. The search "
                          f'"{self.cell.model.options["name"]}" goes on at round {len(self.records)}.', stacklevel=5)
        return self._journal.state

    def add(self, record: Record, following: State, seconds: float) -> None:
        if self._journal is not None:
            self._journal.add(record, following, seconds)

    def finish(self, seconds: float) -> None:
        if self._journal is not None:
            self._journal.finish({"seconds": self._journal.spent + seconds, "versions": provenance.versions(),
                                  "machine": provenance.machine(), "finished": provenance.now(), "engine": "yours"})

    def round_of(self, trainer: Yours, number: int) -> Round:
        """A round that an earlier sitting finished."""
        net = trainer.net
        packed = None if self._journal is None else self._journal.masks[f"round.{number}"]
        mask = self.store.masks(self.id)[number] if packed is None else unpack(packed, net.size).to(torch.bool)
        left: dict[str, Which] = {"w_final": number - 1, "w_step": "step"}
        needed = {name: self._flat(net.slots, left[name]) for name in recipe.needs(self.cell, number)}
        return Round(number, mask, recipe.begun(net, self.cell, number, mask, needed), self._flat(net.slots, number))

    def _flat(self, slots: Sequence[Slot], which: Which) -> Tensor:
        tensors = self._read(which)
        if tensors is None:
            raise UserError(f"find_ticket: {self.store.weights(self.id).path(which)} is gone. "
                            "Put it back, or search again under another name.")
        return flat_of(slots, tensors)

    def _read(self, which: Which) -> dict[str, Tensor] | None:
        try:
            return self.store.weights(self.id).read(which)
        except Damaged as error:
            raise UserError(f"find_ticket: {error}. It is not read. Put a copy of it back, or search again under "
                            "another name.") from error


def _other_network(slots: Sequence[Slot], there: Mapping[str, Tensor]) -> str:
    """What these weights have of names or shapes that the network does not; nothing where they are its own."""
    own, theirs = {each.name: each.shape for each in slots}, {name: tuple(each.shape) for name, each in there.items()}
    name = next((each for each in (*own, *theirs) if own.get(each) != theirs.get(each)), None)
    if name is None:
        return ""
    return f"{name} has the shape {theirs.get(name, 'none')} there, and {own.get(name, 'none')} here"


@contextmanager
def opened(store: str | Path | None, cell: Cell) -> Iterator[Kept | None]:
    """The search in its store, claimed while it runs."""
    if store is None:
        yield None
        return
    home = Store(store)
    with home.claim(id_of(cell)) as ours:
        if not ours:
            raise UserError(f'find_ticket: another process runs the search "{cell.model.options["name"]}" in '
                            f"{home.folder}. Wait for it, or say another name.")
        yield Kept(home, cell)
