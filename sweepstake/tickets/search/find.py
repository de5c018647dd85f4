"""The lottery-ticket search in a network of one's own: train, prune, reset, again, by one's own training function."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine.account import VECTORS, kept_ahead, unpruned
from sweepstake.engine.examples import Loss, OfBatches
from sweepstake.engine.network import Net
from sweepstake.engine.rounds import Record, State, first_state, run_rounds
from sweepstake.run import provenance
from sweepstake.run.layout import by_name
from sweepstake.run.progress import Terminal
from sweepstake.tickets.names import tensors_by_name, unwrapped
from sweepstake.tickets.search import shadow
from sweepstake.tickets.search.searched import Kept, Round, opened
from sweepstake.tickets.search.select import Piece
from sweepstake.tickets.search.untouched import left_as_it_was
from sweepstake.tickets.search.wanted import cell_of, id_of, listed
from sweepstake.tickets.search.yours import Evaluate, Train, Yours, scores_of
from sweepstake.tickets.ticket import Ticket


def find_ticket(model: nn.Module, train: Train, evaluate: Evaluate, *, keep: float | Mapping[str, float] = 0.8,
                rounds: int = 12, criterion: Piece = "magnitude", allocation: Piece = "global",
                reset: Piece = "rewind", granularity: str = "weight", layers: str | Sequence[str] = "all",
                within: float | None = None, data: Iterable[Any] | None = None, loss: Loss | None = None,
                store: str | Path | None = None, name: str = "", progress: bool = True, seed: int = 0,
                **more: Any) -> Ticket:
    """Find a lottery ticket in a module of your own (Frankle & Carbin 2019).

        def train(model): ...              # any optimiser, any schedule; trains in place
        def evaluate(model): ...           # a number, higher is better

        ticket = ss.find_ticket(model, train, evaluate, keep=0.8, rounds=12, reset={"name": "rewind", "step": 500})

    Round 0 trains the whole module. Each later round keeps the fraction `keep` of what was left, puts the survivors
    back where `reset` says, and trains again; dead weights stay 0 whatever `train` does. The module's own weights are
    where it begins, trained already or not. The ticket is that of the last round; with `within` that of the smallest
    network that scores no more than `within` below the whole one.

    A criterion that takes gradients needs `data`, batches of (inputs, labels), and `loss`, a function of (output,
    labels), where that is not cross-entropy. In a `store` every finished round is kept under `name`: the same call
    after a kill goes on at the last one. `more` are further keys of a study's cell, such as output_keep, prune_when,
    prune_biases, control, init. `train` may name masks, round_ or first_step in its signature to be given them.

    The module holds the ticket's trained weights at the end. Where anything fails it is as it was.
    """
    shadow.check("find_ticket", model)
    own = unwrapped(model)
    if wrong := [each for each, function in (("train", train), ("evaluate", evaluate)) if not callable(function)]:
        raise UserError(*(f"find_ticket: {each} is no function. Give one that takes the module." for each in wrong))
    cell = cell_of("find_ticket", own, name, keep=dict(keep) if isinstance(keep, Mapping) else keep,
                   rounds=rounds, criterion=criterion, allocation=allocation, reset=reset, granularity=granularity,
                   prune_layers=listed(layers), seed=seed, **more)
    if store is not None and not name:
        raise UserError('find_ticket: a store keeps a search under a name. Say name = "my-network", another for '
                        "another training function.")
    examples = None if data is None else OfBatches(data, loss)
    with left_as_it_was(model) as before, opened(store, cell) as kept:
        net = shadow.shadow("find_ticket", own, cell, examples)
        if kept is not None:
            net.given = kept.start(net.slots, net.w)
        _something_is_left(net, cell)
        trainer = Yours(model, net, examples, train, evaluate, before)
        search = Search(trainer, cell, kept, within, Terminal() if progress else None)
        ticket = search.run()
        ticket.apply(own)
    return ticket


SHOWN = 4
"""Tensors that are not pruned, of which the progress tells by name."""


class Search:
    """The rounds of one search, and the round whose ticket is given."""

    def __init__(self, trainer: Yours, cell: Cell, kept: "Kept | None", within: float | None,
                 console: Terminal | None):
        self.trainer, self.cell, self.kept, self.within, self.console = trainer, cell, kept, within, console
        self.records: list[Record] = []
        self.best: Round | None = None

    def run(self) -> Ticket:
        """Every round that is not finished yet; the ticket."""
        self._tell_unpruned()
        state = self._begin()
        began = time.perf_counter()
        for record, following in self._rounds(state):
            self._take(record, Round(record["round"], state.start.mask, state.start.w, _ended(following)))
            if self.kept is not None:
                self.kept.add(record, following, time.perf_counter() - began)
            state = following
        if self.kept is not None:
            self.kept.finish(time.perf_counter() - began)
        if self.best is None:
            self.best = self._from_store()
        return self._ticket(self.best)

    def _tell_unpruned(self) -> None:
        """One line of what stays whole, beside vectors: a recurrent layer's weights, say, which no search prunes."""
        whole = unpruned(self.trainer.net, self.cell)
        tensors = [f"{name} ({said['why']})" for name, said in whole.items() if name != VECTORS]
        if self.console is not None and tensors:
            more = f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else ""
            self.console.print(f"not pruned: {', '.join(tensors[:SHOWN])}{more}")

    def _begin(self) -> State:
        if self.kept is None:
            return first_state(self.trainer, self.cell)
        state = self.kept.open(self.trainer)
        for record in self.kept.records:
            self._take(record, None)
        return state

    def _rounds(self, state: State) -> Iterator[tuple[Record, State]]:
        return run_rounds(self.trainer, self.cell, state)  # pyright: ignore[reportArgumentType]

    def _take(self, record: Record, round_: Round | None) -> None:
        """A finished round: told, and its ticket kept if it is the one to give so far. None: it lies in the store."""
        self.records.append(record)
        if self._fits(record):
            self.best, self._best_number = round_, record["round"]
        if self.console is not None and round_ is not None:
            scores = "  ".join(f"{key} {value:.4g}" for key, value in scores_of(record).items())
            self.console.print(f"round {record['round']} of {self.cell.rounds}: {record['kept_fraction']:.1%} kept, "
                               f"{scores}  ({record['seconds']['train']:.1f} s){_told(record, round_)}")

    def _fits(self, record: Record) -> bool:
        """Whether this round's ticket is to be given rather than those before."""
        return self.within is None or _score(record) >= _score(self.records[0]) - self.within

    def _from_store(self) -> Round:
        assert self.kept is not None, "without a store every round was just trained"
        return self.kept.round_of(self.trainer, self._best_number)

    def _ticket(self, best: Round) -> Ticket:
        net = self.trainer.net
        masks = shadow.masks_of(net, best.mask)
        told = [{"round": each["round"], "kept_fraction": each["kept_fraction"], **scores_of(each)}
                for each in self.records]
        made = {"id": id_of(self.cell), "round": best.number, "rounds": told, "versions": provenance.versions(),
                "machine": provenance.machine(), "finished": provenance.now(),
                "kept_fraction": told[best.number]["kept_fraction"]}
        return Ticket(masks, self._typed(best.begun), self._typed(best.ended), made)

    def _typed(self, flat: Tensor) -> dict[str, Tensor]:
        """By name, in the types of the user's module."""
        own = tensors_by_name(self.trainer.own)
        return {name: value.to(own[name].dtype) for name, value in by_name(self.trainer.net.slots, flat).items()}


def _something_is_left(net: Net, cell: Cell) -> None:
    """Refuse, before anything is trained, a search that ends with no weight at all."""
    ahead = kept_ahead(net, cell)
    if ahead is not None and not ahead[-1]:
        last = sum(each > 0 for each in ahead) - 1
        raise UserError(f"find_ticket: round {last + 1} of {cell.rounds} would keep no weight at all. Keep more a round"
                        + (f", or say rounds = {last}." if last > 0 else "."))


def _told(record: Record, round_: Round) -> str:
    """What is odd in a round, for its line of progress: layers without a weight, a training that did nothing."""
    empty = [layer or "the layer" for layer, count in record["kept_by_layer"].items() if not count]
    more = f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
    gone = f"  no weight left in {', '.join(empty[:SHOWN])}{more}" if empty else ""
    return gone + ("  train changed no weight" if torch.equal(round_.begun, round_.ended) else "")


def _score(record: Record) -> float:
    return next(iter(scores_of(record).values()))


def _ended(following: State) -> Tensor:
    assert following.w_final is not None, "a finished round hands its weights on"
    return following.w_final
