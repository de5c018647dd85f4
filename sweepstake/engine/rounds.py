"""The experiment itself: train, measure, prune, reset, again (Frankle & Carbin 2019, Algorithm 1 of its students)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import proofs, streams
from sweepstake.engine.network import Net, draw_init
from sweepstake.engine.prune import Pruned, prune
from sweepstake.engine.train import Start, Trained, Trainer
from sweepstake.pieces import reset as resets


@dataclass
class State:
    """All a cell needs to go on from a round boundary; what a killed run resumes from."""

    round: int
    start: Start
    w_step: Tensor | None = None
    asked: dict[str, int] = field(default_factory=dict[str, int])
    proofs: dict[str, Any] = field(default_factory=dict[str, Any])


def first_state(trainer: Trainer, cell: Cell) -> State:
    w_init = draw_init(trainer.net, cell, "init")
    return State(0, Start(w_init, torch.ones_like(w_init, dtype=torch.bool)))


def run_rounds(trainer: Trainer, cell: Cell, state: State, name: str = "") -> Iterator[tuple[dict[str, Any], State]]:
    """Iterative pruning of one cell, a finished round at a time: its record, and the state the next one begins from.

    Round 0 trains the whole network. Each later round prunes what the last one trained, resets what is left, and
    trains again. A cell that diverges ends there: that is its result.
    """
    w_init = draw_init(trainer.net, cell, "init")
    while state.round <= cell.rounds:
        trained = trainer.train(cell, state.start, state.round, name)
        record = measure(trainer, cell, state, trained)
        if trained.diverged:
            yield record, State(cell.rounds + 1, state.start)
            return
        w_step = trained.w_step if state.round == 0 else state.w_step
        stations = {"w_init": w_init, "w_start": state.start.w, "w_final": trained.w_final}
        pruned = prune(trainer.net, cell, stations, state.start.mask, state.round)
        start = reset(trainer.net, cell, {**stations, "w_step": w_init if w_step is None else w_step}, pruned.mask, state.round, trained)
        checked = prove(trainer.net, cell, pruned, start, w_init, w_step, trained)
        state = State(state.round + 1, start, w_step, pruned.asked, checked)
        yield record, state


def reset(net: Net, cell: Cell, stations: dict[str, Tensor], mask: Tensor, round_: int, trained: Trained) -> Start:
    """Where the survivors begin the next round: every parameter through the reset, then the dead at 0."""
    drawn = {"redraw": lambda: draw_init(net, cell, "redraw", round_),
             "default_draw": lambda: draw_init(net, cell, "redraw", round_, ref=("framework_default", {})),
             "shuffled": lambda: _shuffled(net, cell, stations["w_init"], mask, round_)}
    piece, cached = resets.get(cell.reset.name), dict(stations)
    cached |= {name: drawn[name]() for name in piece.takes if name in drawn}
    w = torch.empty_like(stations["w_final"])
    for slot in net.slots:
        offers = {name: (lambda flat=flat: slot.of(flat)) for name, flat in cached.items()}
        slot.of(w).copy_(piece(offers, cell.reset.options))
    return Start(w * mask, mask, trained.moments if cell.optimiser_state == "kept" else [])


def _shuffled(net: Net, cell: Cell, w_init: Tensor, mask: Tensor, round_: int) -> Tensor:
    flat = w_init.clone()
    for slot in net.weights:
        places = slot.of(mask).flatten().nonzero().flatten()
        order = torch.from_numpy(streams.permutation(len(places), cell.seed, "shuffled", round_, slot.name))
        values = slot.of(w_init).flatten().clone()
        values[places] = values[places[order]]
        slot.of(flat).copy_(values.view(slot.shape))
    return flat


def prove(net: Net, cell: Cell, pruned: Pruned, start: Start, w_init: Tensor, w_step: Tensor | None, trained: Trained) -> dict[str, Any]:
    """The checks of law 7 at a round's end; raises BrokenControl by name."""
    again = draw_init(net, cell, "init")  # Not the tensor we hold: a new draw, so that an aliased w_init is caught.
    source = trained.w_final if cell.reset.name == "none" else again if w_step is None else w_step
    said: dict[str, Any] = {"counts": proofs.counts_are_exact(net, cell, pruned.asked, pruned.mask)}
    said |= proofs.reset_is_what_it_says(net, cell, start.w, pruned.mask, source, again)
    if cell.control == "shuffle":
        said["shuffle"] = proofs.shuffle_moved(net, pruned.ranked, pruned.mask)
    return said


def measure(trainer: Trainer, cell: Cell, state: State, trained: Trained) -> dict[str, Any]:
    """The round's record: what was kept, how it did at the end and at early stop, the curve, the seconds, the proofs."""
    net, mask = trainer.net, state.start.mask
    end = trainer.measure(trained.w_final)
    early = None
    if trained.w_early is not None and not trained.diverged:
        early = {"step": trained.early_step, **(end if trained.early_step == trained.steps else trainer.measure(trained.w_early))}
    weights = {slot.layer: int(slot.of(mask).sum()) for slot in net.weights}
    sizes = {slot.layer: slot.size for slot in net.weights}
    zero = None if trained.diverged else proofs.the_dead_are_zero(trained.w_final, mask)
    return {
        "round": state.round, "kept": sum(weights.values()), "kept_fraction": sum(weights.values()) / sum(sizes.values()),
        "kept_by_layer": weights, "size_by_layer": sizes, "asked_by_layer": state.asked,
        "alive_units": {slot.layer: int(alive_units(net, slot.layer, mask).sum()) for slot in net.weights},
        "steps": trained.steps, "diverged": trained.diverged, "end": end, "early": early, "curve": trained.curve,
        "proofs": {**state.proofs, "dead_weights": zero}, "seconds": trained.seconds,
    }


def alive_units(net: Net, layer: str, mask: Tensor) -> Tensor:
    """Units with a live weight coming in and, where the next layer is known, a live one going out."""
    slot = next(slot for slot in net.weights if slot.layer == layer)
    alive = slot.of(mask).flatten(1).any(dim=1)
    following = net.after(slot)
    if following is not None:
        alive &= following.of(mask).flatten(2).any(2).any(0).view(len(alive), -1).any(1) if following.of(mask).dim() > 2 \
            else following.of(mask).any(0).view(len(alive), -1).any(1)
    return alive
