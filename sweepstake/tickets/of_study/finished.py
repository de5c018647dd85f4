"""A ticket out of a finished cell: its masks as the store has them, its initial weights drawn again."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError
from sweepstake.base.records import Result
from sweepstake.engine.network import Slot
from sweepstake.pieces.datasets import with_places
from sweepstake.run.layout import by_name, flat_of, net_of, slots_of
from sweepstake.run.sealed import Damaged
from sweepstake.run.store import Store
from sweepstake.run.weights import Which
from sweepstake.study.study import Study
from sweepstake.tickets.of_study import recipe
from sweepstake.tickets.saved.file import Form, save
from sweepstake.tickets.ticket import Ticket


@dataclass(frozen=True)
class Finished:
    """A finished cell of a study: what was found of it, and the store that holds the rest."""

    study: Study
    store: Store
    result: Result

    @property
    def id(self) -> str:
        return self.result["id"]

    @property
    def cell(self) -> Cell:
        return next(planned.cell for planned in self.study.planned if planned.id == self.id)

    @property
    def placed(self) -> Cell:
        """The cell, its files found from here."""
        return with_places(self.cell, self.study.folder)

    @property
    def named(self) -> str:
        """`init = xavier_normal, seed = 0`."""
        labels = {**self.result["labels"], "seed": self.result["seed"]}
        return ", ".join(f"{axis} = {label}" for axis, label in labels.items())

    @cached_property
    def slots(self) -> list[Slot]:
        """Where each parameter lies in the masks."""
        return slots_of(self.store, self.id, self.placed, self.study.machine.data)

    @cached_property
    def masks(self) -> list[Tensor]:
        try:
            return self.store.masks(self.id)
        except FileNotFoundError as error:
            raise UserError(f"ticket: {error.args[0]} is not there, and a ticket is its masks. Put the file back, or "
                            f"run the study into a new store: {_run(self.study)} --store DIR.") from error

    def weights(self, which: Which) -> dict[str, Tensor] | None:
        """Kept weights, proven to be of these masks."""
        kept = self.store.weights(self.id)
        try:
            tensors = kept.read(which)
        except Damaged as error:
            raise UserError(f"{error}. It is not read. Put a copy of it back, or remove it: "
                            "the cell's result does not hang on it.") from error
        mask = by_name(self.slots, self.masks[which if isinstance(which, int) else 0])
        if tensors is not None and any(_lives(tensors[name][~alive]) for name, alive in mask.items()):
            raise UserError(f"{kept.path(which)}: the weights of other masks than those beside it. "
                            "Copy both from one store.")
        return tensors


def ticket_of(study: Study, store: Store, result: Result, round_: int | None = None) -> Ticket:
    """The ticket of a round of a finished cell; of its last round, where none is said."""
    done = Finished(study, store, result)
    round_ = _round_of(done, round_)
    cell, data, mask = done.placed, study.machine.data, done.masks[round_]
    w = recipe.begun(net_of(cell, data), cell, round_, mask, _left(done, round_))
    slots, masks, trained = done.slots, by_name(done.slots, mask), done.weights(round_)
    return Ticket(
        masks={slot.name: masks[slot.name] for slot in slots if slot.role == "weight" or not masks[slot.name].all()},
        initial=_without_dead(by_name(slots, w), masks),
        trained=None if trained is None else _without_dead(trained, masks),
        made=_made(done, round_),
        build=lambda: recipe.build(cell, data),
    )


def write(study: Study, store: Store, ticket: Ticket, path: Path, weights: str | None = None) -> Path:
    """A ticket to a file.

    `weights` says with which: "initial", "trained" (and initial), or "recipe"; None for a recipe where there is one,
    and the trained ones where they were kept.
    """
    if weights == "trained" and ticket.trained is None:
        round_, kept = ticket.made["round"], store.weights(ticket.made["id"]).rounds
        saves = "last" if round_ == ticket.made["cell"]["rounds"] else "all"
        raise UserError(_cannot(study, f"the trained weights of round {round_} were not kept", kept, saves))
    forms: dict[str, Form] = {"initial": "values", "recipe": "recipe"}
    form = forms.get(weights or "", "auto")
    draw = partial(recipe.draw, data=study.machine.data, folder=study.folder)
    return save(ticket, path, weights=form, trained=weights in ("trained", None), draw=draw)


def _round_of(done: Finished, round_: int | None) -> int:
    status, rounds = done.result["status"], [record["round"] for record in done.result["rounds"]]
    if not rounds:
        why = (done.result["error"] or "").partition("\n")[0]
        said = f"{done.named} is {status}{f' ({why})' if why else ''}"
        raise UserError(f"ticket: {said}. `sweepstake run{' --retry' * (status == 'failed')}` computes it.")
    if round_ is not None and round_ not in rounds:
        ended = " (it diverged there)" if status == "diverged" else ""
        raise UserError(f"ticket: round = {round_}: {done.named} has the rounds 0 to {rounds[-1]}{ended}.")
    return rounds[-1] if round_ is None else round_


def _left(done: Finished, round_: int) -> dict[str, Tensor]:
    """The weights from which the round began and that no draw gives again."""
    places: dict[str, tuple[Which, str, str]] = {
        "w_final": (round_ - 1, f"round {round_ - 1} ended with", "all"),
        "w_step": ("step", f"step {done.cell.reset.options.get('step')} of round 0 had", "last")}
    left = dict[str, Tensor]()
    for name in sorted(recipe.needs(done.cell, round_)):
        which, whose, saves = places[name]
        tensors = done.weights(which)
        if tensors is None:
            lacks = (f'round {round_} began from the weights that {whose} (reset = "{done.cell.reset.name}"), '
                     "and they were not kept")
            raise UserError(_cannot(done.study, lacks, done.store.weights(done.id).rounds, saves))
        left[name] = flat_of(done.slots, tensors)
    return left


def _cannot(study: Study, lacks: str, kept: list[int], saves: str) -> str:
    there = f" (kept: round {', '.join(map(str, kept))})" if kept else ""
    return (f"ticket: {lacks}{there}. A cell that is done is not trained again for them; its result stays. "
            f"Train the study into a new store: {_run(study)} --store DIR --save-weights {saves}.")


def _run(study: Study) -> str:
    return " ".join(["sweepstake run", study.path or study.name, *study.changes])


def _lives(dead: Tensor) -> bool:
    """Whether any of these weights is a number but 0; a round that diverged may leave no number at all."""
    return bool(dead.nan_to_num(0, 0, 0).any())


def _without_dead(values: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # By a choice, not a product: a dead weight times 0 may be -0.
    return {name: torch.where(masks[name], value, torch.zeros((), dtype=value.dtype))
            for name, value in values.items()}


def _made(done: Finished, round_: int) -> dict[str, Any]:
    """What made the ticket, in JSON alone."""
    result, provenance = done.result, done.result["provenance"]
    record = result["rounds"][round_]
    made = {
        "study": done.study.name,
        "id": done.id,
        "round": round_,
        "kept_fraction": record["kept_fraction"],
        "labels": result["labels"],
        "cell": result["cell"],
        "numerics": provenance.get("numerics"),
        "versions": provenance.get("versions", {}),
        "plugins": provenance.get("plugins", {}),
        "images": provenance.get("images", {}),
    }
    return msgspec.json.decode(msgspec.json.encode(made))
