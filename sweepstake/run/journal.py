"""One cell on its way into the store: what is finished of it, and where its next round begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from sweepstake.base.cell import Cell
from sweepstake.base.errors import BrokenControl
from sweepstake.engine import numerics
from sweepstake.engine.network import Net
from sweepstake.engine.prune import donated
from sweepstake.engine.rounds import OfATrainer, State, first_state
from sweepstake.engine.train import Start
from sweepstake.run import layout
from sweepstake.run.settings import Saves
from sweepstake.run.store import Store, pack, unpack


@dataclass
class Journal:
    """Every finished round goes to the store as it comes; a killed cell goes on from the last one."""

    store: Store
    id: str
    cell: Cell
    net: Net
    state: State
    records: list[dict[str, Any]]
    masks: dict[str, Tensor]
    spent: float
    """Seconds of earlier sittings."""
    donor: Mapping[int, Tensor] | None = None
    """Of a transplant: its donor's mask a round as it lies in the store, a bit a parameter."""
    saves: Saves = "none"
    """Whose trained weights are kept."""
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the files of its images hold: path -> hash."""

    @classmethod
    def open(cls, store: Store, id_: str, cell: Cell, trainer: OfATrainer, donor: Mapping[int, Tensor] | None = None,
             saves: Saves = "none", data: Mapping[str, str] | None = None) -> Self:
        """From the last finished round, or from the beginning: also where the rounds saw other images than these."""
        saved, net, data = store.load_state(id_), trainer.net, data or {}
        if saved is not None and saved[2].get("data_files", data) != data:
            store.weights(id_).drop_unfinished(0)
            saved = None
        if saved is None:
            first = first_state(trainer, cell, whole(donor, net.size))
            return cls(store, id_, cell, net, first, [], {}, 0.0, donor, saves, data)
        records, tensors, meta = saved
        masks = {name.removeprefix("mask."): value for name, value in tensors.items() if name.startswith("mask.")}
        state, spent = _state_in(tensors, meta), float(meta["seconds"])
        return cls(store, id_, cell, net, state, records, masks, spent, donor, saves, data)

    def add(self, record: dict[str, Any], following: State, seconds: float) -> None:
        """A finished round, `seconds` into this sitting."""
        mask = pack(self.state.start.mask)
        self._prove_donors(record["round"], mask)
        self._keep_weights(record["round"], following)
        self.masks[f"round.{record['round']}"] = mask
        self.state = following
        self.records.append(record)
        tensors, meta = _state_out(following)
        masks = {f"mask.{name}": mask for name, mask in self.masks.items()}
        meta |= {"data_files": dict(self.data)} if self.data else {}
        self.store.save_state(self.id, self.records, {**tensors, **masks}, {**meta, "seconds": self.spent + seconds})
        self._drop_older()

    def _keep_weights(self, round_: int, following: State) -> None:
        """Before the state that follows is put, so that a kill between the two loses none."""
        kept = self.store.weights(self.id)
        if self.saves == "none" or following.w_final is None:
            return
        if following.w_step is not None and not kept.path("step").exists():
            kept.put("step", layout.by_name(self.net.slots, following.w_step))
        kept.put(round_, layout.by_name(self.net.slots, following.w_final))

    def _drop_older(self) -> None:
        """Where only the last weights are kept, those of the rounds before it go."""
        if self.saves == "last":
            newest = self.records[-1]["round"]
            self.store.weights(self.id).drop(lambda round_: round_ < newest)

    def _prove_donors(self, round_: int, mask: Tensor) -> None:
        """What was trained under is what the store holds of the donor, or its shuffle, bit for bit.

        Not only what the engine was handed.
        """
        if self.donor is None:
            return
        expected = self.donor[round_]
        if self.cell.donor_mask == "shuffled":
            held = unpack(expected, self.net.size).to(torch.bool)
            expected = pack(donated(self.net, self.cell, held, round_))
        if not torch.equal(mask, expected):
            raise BrokenControl(f"control = transplant: round {round_} did not train "
                                f"under the mask that the store has of its donor")

    def finish(self, provenance: dict[str, Any]) -> str:
        """The cell is done, or diverged."""
        status = "diverged" if self.records[-1]["diverged"] else "done"
        said = {**provenance, "numerics": numerics.all_of(self.records)}
        masks = {**self.masks, "size": torch.tensor(self.net.size)}
        self._drop_older()
        self.store.finish(self.id, status, self.records, masks, said, layout=layout.written(self.net.slots))
        return status


def whole(packed: Mapping[int, Tensor] | None, size: int) -> dict[int, Tensor] | None:
    """Packed masks as an engine takes them."""
    return None if packed is None else {round_: unpack(mask, size).to(torch.bool) for round_, mask in packed.items()}


def _state_out(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = {"w": state.start.w, "alive": state.start.mask}
    tensors |= {f"moment.{i}": moment for i, moment in enumerate(state.start.moments)}
    if state.w_step is not None:
        tensors["w_step"] = state.w_step
    return tensors, {"round": state.round, "asked": state.asked, "proofs": state.proofs}


def _state_in(tensors: dict[str, Tensor], meta: dict[str, Any]) -> State:
    moments = [tensors[name] for name in sorted(name for name in tensors if name.startswith("moment."))]
    start = Start(tensors["w"], tensors["alive"], moments)
    return State(meta["round"], start, tensors.get("w_step"), meta["asked"], meta["proofs"])
