"""The experiment itself: train, measure, prune, reset, again (Frankle & Carbin 2019, Algorithm 1 of its students)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.engine import numerics, proofs, streams
from sweepstake.engine.account import unpruned
from sweepstake.engine.network import Net, draw_init
from sweepstake.engine.prune import Pruned, check_pruning, prune, transplant
from sweepstake.engine.train import Images, Start, Trained, Trainer
from sweepstake.pieces import reset as resets
from sweepstake.pieces.donors import donor_of


@dataclass
class State:
    """All a cell needs to go on from a round boundary; what a killed run resumes from."""

    round: int
    start: Start
    w_step: Tensor | None = None
    asked: dict[str, int] = field(default_factory=dict[str, int])
    proofs: dict[str, Any] = field(default_factory=dict[str, Any])


class Measurer(Protocol):
    """What a round's end asks of a trainer, whether it trains one cell or many."""

    @property
    def name(self) -> str: ...
    @property
    def net(self) -> Net: ...
    @property
    def images(self) -> Images: ...
    def measure(self, w: Tensor) -> dict[str, dict[str, float] | None]: ...


def first_state(trainer: Trainer, cell: Cell, donor_masks: Mapping[int, Tensor] | None = None) -> State:
    """Where round 0 begins: the cell's init, whole, or pruned already where `prune_when` says so."""
    check_pruning(trainer.net, cell)
    w_init = draw_init(trainer.net, cell, "init")
    state = State(0, Start(w_init, torch.ones_like(w_init, dtype=torch.bool)))
    if cell.prune_when == "after":
        return state
    if cell.control == "transplant" and donor_masks is None:
        donor = donor_of(cell)
        donor_masks = {0: first_state(type(trainer)(donor, trainer.images), donor).start.mask}
    return _cut(trainer, cell, state, {"w_init": w_init, "w_start": w_init, "w_final": w_init}, donor_masks)


def run_rounds(trainer: Trainer, cell: Cell, state: State, name: str = "",
               donor_masks: Mapping[int, Tensor] | None = None) -> Iterator[tuple[dict[str, Any], State]]:
    """Iterative pruning of one cell, a finished round at a time: its record, and the state the next one begins from.

    Round 0 trains the whole network. Each later round prunes what the last one trained, resets what is left, and
    trains again; `prune_when` moves the pruning to before the training. A cell that diverges ends there: that is its result.
    `donor_masks`, a mask a round, are what a transplant takes; where they are not given, the donor is run for them.
    """
    w_init = draw_init(trainer.net, cell, "init")
    if cell.control == "transplant" and donor_masks is None:
        donor_masks = masks_of(trainer, donor_of(cell))
    while state.round <= cell.rounds:
        trained = trainer.train(cell, state.start, state.round, name)
        record, state = finish_round(trainer, cell, state, trained, w_init, donor_masks)
        yield record, state


def finish_round(trainer: Measurer, cell: Cell, state: State, trained: Trained, w_init: Tensor,
                 donor_masks: Mapping[int, Tensor] | None = None) -> tuple[dict[str, Any], State]:
    """What follows a round's training: measure, prune, reset, prove; the record, and the state the next round begins from."""
    record = measure(trainer, cell, state, trained)
    if trained.diverged or state.round == cell.rounds:
        return record, State(cell.rounds + 1, state.start)
    w_step = (trained.w_step if state.round == 0 else state.w_step) if cell.reset.options.get("step") else None
    stations = {"w_init": w_init, "w_step": w_init if w_step is None else w_step, "w_start": state.start.w, "w_final": trained.w_final}
    scored = stations
    if cell.prune_when == "before":
        begun = reset(trainer.net, cell, stations, state.start.mask, state.round, trained).w
        scored = {"w_init": w_init, "w_start": begun, "w_final": begun}
    state = _cut(trainer, cell, State(state.round + 1, state.start, w_step), scored, donor_masks)
    state.start = reset(trainer.net, cell, stations, state.start.mask, state.round - 1, trained)
    state.proofs |= prove_reset(trainer.net, cell, state.start, w_step, trained)
    return record, state


def _cut(trainer: Measurer, cell: Cell, state: State, stations: dict[str, Tensor], donor_masks: Mapping[int, Tensor] | None) -> State:
    """The state under the mask of round `state.round`: its pruning, scored on what was trained or else on what is to be."""
    net, start = trainer.net, state.start
    done = state.round - (cell.prune_when == "after")
    if cell.control == "transplant":
        pruned = transplant(net, cell, (donor_masks or {}).get(state.round))
    else:
        pruned = prune(net, cell, stations, start.mask, done, trainer.images)
    said = prove_mask(net, cell, start.mask, pruned, (donor_masks or {}).get(state.round))
    cut = Start(start.w * pruned.mask, pruned.mask, start.moments)
    return State(state.round, cut, state.w_step, pruned.asked, {**state.proofs, **said})


def masks_of(trainer: Trainer, donor: Cell) -> dict[int, Tensor]:
    """The mask each round of a cell trains under, by running it."""
    other = type(trainer)(donor, trainer.images)
    begun = first_state(other, donor)
    masks = {0: begun.start.mask}
    for _, state in run_rounds(other, donor, begun):
        masks[state.round] = state.start.mask
    return {round_: mask for round_, mask in masks.items() if round_ <= donor.rounds}


def reset(net: Net, cell: Cell, stations: dict[str, Tensor], mask: Tensor, round_: int, trained: Trained) -> Start:
    """Where the survivors begin the next round: every parameter through the reset, then the dead at 0."""
    drawn = {"redraw": lambda: draw_init(net, cell, "redraw", round_),
             "default_draw": lambda: draw_init(net, cell, "redraw", round_, ref=("framework_default", {})),
             "shuffled": lambda: _shuffled(net, cell, stations["w_init"], mask, round_),
             "resampled": lambda: _resampled(net, cell, stations["w_init"], round_)}
    piece, cached = resets.get(cell.reset.name), dict(stations)
    cached |= {name: drawn[name]() for name in piece.takes if name in drawn}
    w = torch.empty_like(stations["w_final"])
    for slot in net.slots:
        offers = {name: (lambda flat=flat, slot=slot: slot.of(flat)) for name, flat in cached.items()}
        value = piece(offers, piece.for_layer(slot.layer, cell.reset.options))
        if value.shape != slot.shape:
            raise UserError(f'reset = "{piece.name}": gave shape {tuple(value.shape)} for {slot.name}, expected {slot.shape}.')
        slot.of(w).copy_(value)
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


def _resampled(net: Net, cell: Cell, w_init: Tensor, round_: int) -> Tensor:
    flat = w_init.clone()
    for slot in net.slots:
        drawn = streams.generator(cell.seed, "resampled", round_, slot.name).integers(slot.size, size=slot.size)
        slot.of(flat).copy_(slot.of(w_init).flatten()[torch.from_numpy(drawn)].view(slot.shape))
    return flat


def prove_mask(net: Net, cell: Cell, was: Tensor, pruned: Pruned, donor: Tensor | None) -> dict[str, Any]:
    """The checks of law 7 on a pruning; raises BrokenControl by name."""
    said: dict[str, Any] = {"counts": proofs.counts_are_exact(net, cell, pruned.asked, pruned.mask)}
    if cell.control == "shuffle":
        said["shuffle"] = proofs.shuffle_moved(net, cell, pruned.ranked, pruned.mask)
    elif cell.control == "invert":
        said["invert"] = proofs.invert_keeps_the_lowest(net, cell, was, pruned)
    elif cell.control == "transplant" and donor is not None:
        said["transplant"] = proofs.mask_is_the_donors(pruned.mask, donor)
    return said


def prove_reset(net: Net, cell: Cell, start: Start, w_step: Tensor | None, trained: Trained) -> dict[str, Any]:
    """The checks of law 7 on a reset; raises BrokenControl by name."""
    again = draw_init(net, cell, "init")  # Not the tensor we hold: a new draw, so that an aliased w_init is caught.
    sources = {"w_final": trained.w_final, "w_step": again if w_step is None else w_step}
    return dict(proofs.reset_is_what_it_says(net, cell, start.w, start.mask, sources, again))


def measure(trainer: Measurer, cell: Cell, state: State, trained: Trained) -> dict[str, Any]:
    """The round's record: what trained it, what was kept, how it did at the end and at early stop, the curve, the seconds, the proofs."""
    net, mask = trainer.net, state.start.mask
    end = {} if trained.diverged else trainer.measure(trained.w_final)  # Some class is the largest of NaNs, too.
    early = None
    if trained.w_early is not None and not trained.diverged:
        early = {"step": trained.early_step, **(end if trained.early_step == trained.steps else trainer.measure(trained.w_early))}
    weights = {slot.layer: int(slot.of(mask).sum()) for slot in net.weights}
    sizes = {slot.layer: slot.size for slot in net.weights}
    zero = None if trained.diverged else proofs.the_dead_are_zero(trained.w_final, mask)
    return {
        "round": state.round, "numerics": numerics.of(trainer.name),
        "kept": sum(weights.values()), "kept_fraction": sum(weights.values()) / sum(sizes.values()),
        "kept_by_layer": weights, "size_by_layer": sizes, "asked_by_layer": state.asked, "unpruned": unpruned(net, cell),
        "units_by_layer": {slot.layer: slot.shape[0] for slot in net.weights},
        "alive_units": {slot.layer: int(alive_units(net, slot.layer, mask).sum()) for slot in net.weights},
        "degrees": degrees(net, mask),
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


def degrees(net: Net, mask: Tensor) -> dict[str, dict[str, dict[str, float]]]:
    """Of each layer, the live weights into each of its units (`in`) and out of each unit, or pixel, that it reads (`out`)."""
    said: dict[str, dict[str, dict[str, float]]] = {}
    for before, slot in zip([None, *net.weights], net.weights, strict=False):
        live = slot.of(mask).flatten(2).sum(2) if len(slot.shape) > 2 else slot.of(mask).long()
        units = before.shape[0] if before is not None and net.after(before) is slot else live.shape[1]
        said[slot.layer] = {"in": _spread(live.sum(1)), "out": _spread(live.sum(0).view(units, -1).sum(1))}
    return said


def _spread(counts: Tensor) -> dict[str, float]:
    """A few numbers for a layer's degrees; `zero` is how many have none left."""
    ordered = counts.double().sort().values
    q1, median, q3 = ordered.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=ordered.dtype, device=ordered.device)).tolist()
    return {"min": int(ordered[0]), "q1": q1, "median": median, "q3": q3, "max": int(ordered[-1]), "mean": float(ordered.mean()),
            "zero": int((counts == 0).sum())}
