"""The experiment: train, record, prune, reset, again (Frankle & Carbin 2019: iterative pruning with resetting).

`run_rounds` is that loop and `finish_round` its body. Around them: where round 0 begins (`first_state`), which
weights a pruning scores (`prune_when`), whose mask is taken (`control`), and each round's checks of itself (`proofs`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.engine import numerics, proofs, streams
from sweepstake.engine.account import unpruned
from sweepstake.engine.build import draw_init
from sweepstake.engine.examples import Examples
from sweepstake.engine.measure import counts_of
from sweepstake.engine.network import Net
from sweepstake.engine.prune import Pruned, check_pruning, donated, prune, transplant
from sweepstake.engine.train import Measured, Start, Trained, Trainer
from sweepstake.pieces import reset as resets

Record = dict[str, Any]
"""A round in the table: counts, losses and accuracies, the learning curve, seconds, proofs."""


@dataclass
class State:
    """All that a cell needs to begin its next round. A killed run resumes from it."""

    round: int
    start: Start
    w_step: Tensor | None = None
    asked: dict[str, int] = field(default_factory=dict[str, int])
    proofs: dict[str, Any] = field(default_factory=dict[str, Any])
    w_final: Tensor | None = None
    """The weights that the round before ended with. No round needs them; a store may keep them."""


class OfATrainer(Protocol):
    """What a setting needs of a trainer, be it of one cell or of many."""

    @property
    def name(self) -> str: ...
    @property
    def net(self) -> Net: ...
    @property
    def examples(self) -> Examples | None: ...


@dataclass(frozen=True)
class Setting:
    """What the rounds of a cell share: its network, its training examples, and the masks that a transplant takes."""

    cell: Cell
    net: Net
    examples: Examples | None
    trainer: str
    """The name of the trainer, for the record."""
    donor_masks: Mapping[int, Tensor] | None = None

    @classmethod
    def of(cls, trainer: OfATrainer, cell: Cell, donor_masks: Mapping[int, Tensor] | None = None) -> "Setting":
        return cls(cell, trainer.net, trainer.examples, trainer.name, donor_masks)

    @cached_property
    def w_init(self) -> Tensor:
        return draw_init(self.net, self.cell, "init")


# The algorithm

def run_rounds(trainer: Trainer, cell: Cell, state: State, name: str = "",
               donor_masks: Mapping[int, Tensor] | None = None) -> Iterator[tuple[Record, State]]:
    """Iterative pruning of one cell. Yields each finished round's record, and the state that the next one begins from.

    Round 0 trains the whole network. Each later round prunes what the last one trained, resets what is left, and trains
    again. A cell that diverges ends there: that is its result. A transplant takes `donor_masks`, a mask a round.
    """
    setting = Setting.of(trainer, cell, donor_masks)
    while state.round <= cell.rounds:
        trained = trainer.train(cell, state.start, state.round, name)
        record, state = finish_round(setting, state, trained, trainer.measure)
        yield record, state


def finish_round(
    setting: Setting, state: State, trained: Trained, measure: Callable[[Tensor], Measured]
) -> tuple[Record, State]:
    """What follows the training of a round: record, prune, reset. Returns the record and the next round's state."""
    cell, net, mask = setting.cell, setting.net, state.start.mask
    record = record_of(setting, state, trained, measure)
    if trained.diverged or state.round == cell.rounds:
        return record, State(cell.rounds + 1, state.start, w_final=trained.w_final)
    w_step = trained.w_step if state.round == 0 else state.w_step
    stations = stations_of(setting, state, trained, w_step)
    pruned = next_mask(setting, state.round + 1, scored_on(setting, state, trained, stations), mask)
    proven = prove_mask(setting, state.round + 1, mask, pruned)
    start = reset(net, cell, stations, pruned.mask, state.round, trained)
    proven |= prove_reset(setting, start, stations["w_step"], trained)
    kept = w_step if rewinds(cell) else None
    return record, State(state.round + 1, start, kept, pruned.asked, proven, trained.w_final)


# Where a cell begins

def first_state(trainer: OfATrainer, cell: Cell, donor_masks: Mapping[int, Tensor] | None = None) -> State:
    """Where round 0 begins: the cell's init, whole, or pruned already where `prune_when` says so."""
    setting = Setting.of(trainer, cell, donor_masks)
    check_pruning(setting.net, cell)
    w_init = setting.w_init
    whole = torch.ones_like(w_init, dtype=torch.bool)
    if cell.prune_when == "after":
        return State(0, Start(w_init, whole))
    pruned = next_mask(setting, 0, {"w_init": w_init, "w_start": w_init, "w_final": w_init}, whole)
    return State(0, Start(w_init * pruned.mask, pruned.mask), None, pruned.asked, prove_mask(setting, 0, whole, pruned))


def masks_of(trainer: Trainer, donor: Cell) -> dict[int, Tensor]:
    """The mask that each round of a donor trains under, by running it in a trainer of its own."""
    begun = first_state(trainer, donor)
    masks = {0: begun.start.mask}
    for _, state in run_rounds(trainer, donor, begun):
        masks[state.round] = state.start.mask
    return {round_: mask for round_, mask in masks.items() if round_ <= donor.rounds}


# When it prunes, and by whose scores

def rewinds(cell: Cell) -> bool:
    """Whether survivors go back to a step after init, so that its weights have to be kept."""
    return bool(cell.reset.options.get("step"))


def stations_of(setting: Setting, state: State, trained: Trained, w_step: Tensor | None) -> dict[str, Tensor]:
    """A cell's weights at four stations: its init, its rewind step, the beginning and the end of this round."""
    kept = w_step if rewinds(setting.cell) else None
    return {"w_init": setting.w_init, "w_step": setting.w_init if kept is None else kept,
            "w_start": state.start.w, "w_final": trained.w_final}


def scored_on(setting: Setting, state: State, trained: Trained, stations: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights that the pruning scores.

    They are those that were just trained, or, with `prune_when = "before"`, those that the next round will train.
    """
    if setting.cell.prune_when != "before":
        return stations
    begun = reset(setting.net, setting.cell, stations, state.start.mask, state.round, trained).w
    return {"w_init": setting.w_init, "w_start": begun, "w_final": begun}


def next_mask(setting: Setting, round_: int, scored: Mapping[str, Tensor], mask: Tensor) -> Pruned:
    """The mask that a round is to train under: its own pruning, or the donor's."""
    cell = setting.cell
    if cell.control == "transplant":
        return transplant(setting.net, cell, donated_mask(setting, round_))
    done = round_ - (cell.prune_when == "after")
    return prune(setting.net, cell, scored, mask, done, setting.examples)


def donated_mask(setting: Setting, round_: int) -> Tensor | None:
    """What a transplant takes of its donor for a round; None where the donor has no mask of this network for it."""
    donor = (setting.donor_masks or {}).get(round_)
    fits = donor is not None and donor.shape == setting.net.w.shape
    return donated(setting.net, setting.cell, donor, round_) if donor is not None and fits else None


# Where the survivors go back to

def reset(net: Net, cell: Cell, stations: dict[str, Tensor], mask: Tensor, round_: int, trained: Trained) -> Start:
    """Where the next round begins: every parameter goes through the reset, then the dead are set to 0."""
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
        if not isinstance(value, Tensor) or value.shape != slot.shape:
            raise piece.misfit(value, str(slot.shape), slot.name)
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


# What a round proves and records

def prove_mask(setting: Setting, round_: int, was: Tensor, pruned: Pruned) -> dict[str, Any]:
    """The checks of a pruning; raises BrokenControl by name."""
    net, cell, donor = setting.net, setting.cell, (setting.donor_masks or {}).get(round_)
    proven: dict[str, Any] = {"counts": proofs.counts_are_exact(net, cell, pruned.asked, pruned.mask)}
    if cell.control == "shuffle":
        proven["shuffle"] = proofs.shuffle_moved(net, cell, pruned.ranked, pruned.mask)
    elif cell.control == "invert":
        proven["invert"] = proofs.invert_keeps_the_lowest(net, cell, was, pruned)
    elif cell.control == "transplant" and donor is not None:
        drawn = donated(net, cell, donor, round_)
        proven["transplant"] = (proofs.mask_is_the_donors(pruned.mask, donor) if cell.donor_mask == "as_it_is" else
                                proofs.mask_is_the_donors_moved(net, pruned.mask, donor, drawn))
    return proven


def prove_reset(setting: Setting, start: Start, w_step: Tensor, trained: Trained) -> dict[str, Any]:
    """The checks of a reset; raises BrokenControl by name."""
    net, cell = setting.net, setting.cell
    again = draw_init(net, cell, "init")  # Not the tensor we hold: a new draw, so that an aliased w_init is caught.
    sources = {"w_final": trained.w_final, "w_step": w_step if rewinds(cell) else again}
    return dict(proofs.reset_is_what_it_says(net, cell, start.w, start.mask, sources, again))


def record_of(setting: Setting, state: State, trained: Trained, measure: Callable[[Tensor], Measured]) -> Record:
    """The record of a round: numerics, counts, accuracies at its end and at early stop, curve, proofs, seconds."""
    mask = state.start.mask
    # Some class is the largest of NaNs, too.
    end, top5 = ({}, {}) if trained.diverged else _apart(measure(trained.w_final))
    early = None
    if trained.w_early is not None and not trained.diverged:
        early = {
            "step": trained.early_step,
            **(end if trained.early_step == trained.steps else _apart(measure(trained.w_early))[0]),
        }
    counts = counts_of(setting.net, mask)
    zero = None if trained.diverged else proofs.the_dead_are_zero(trained.w_final, mask)
    return {
        "round": state.round,
        "numerics": numerics.of(setting.trainer, setting.net.plain),
        "kept": counts.kept,
        "kept_fraction": counts.kept / counts.size,
        "kept_by_layer": counts.kept_by_layer,
        "size_by_layer": counts.size_by_layer,
        "asked_by_layer": state.asked,
        "unpruned": unpruned(setting.net, setting.cell),
        "units_by_layer": counts.units_by_layer,
        "alive_units": counts.alive_units,
        "degrees": counts.degrees,
        "steps": trained.steps,
        "diverged": trained.diverged,
        "end": end,
        "top5": top5,
        "early": early,
        "curve": trained.curve,
        "proofs": {**state.proofs, "dead_weights": zero},
        "seconds": trained.seconds,
    }


def _apart(measured: Measured) -> tuple[Measured, dict[str, float]]:
    """Top-5 accuracy apart from the rest: a record keeps it beside `end`, whose bytes are those of earlier versions."""
    whole = {name: each for name, each in measured.items() if each}
    rest = {name: {key: value for key, value in each.items() if key != "top5"} for name, each in whole.items()}
    top5 = {name: each["top5"] for name, each in whole.items() if "top5" in each}
    return {name: rest.get(name) for name in measured}, top5
