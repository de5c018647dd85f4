"""Cells trained here and now, with the tickets of every round: for what needs trained weights."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from sweepstake.engine.images import prepare
from sweepstake.engine.network import Net
from sweepstake.engine.plain import ReferenceTrainer
from sweepstake.engine.rounds import first_state, run_rounds
from sweepstake.pieces.datasets import Data
from sweepstake.run.data import load_data
from sweepstake.study.study import Planned, Study
from sweepstake.tickets.ticket import Ticket
from tests.helpers import masks_of_donor


class Recorder(ReferenceTrainer):
    """The reference trainer, which remembers where each round began and ended."""

    def train(self, cell: Any, start: Any, round_: int, *more: Any) -> Any:
        trained = super().train(cell, start, round_, *more)
        self.seen = [*getattr(self, "seen", []), (start, trained.w_final.clone())]
        return trained


@dataclass
class Trained:
    """The results of a study whose weights were all kept."""

    study: Study
    cells: list[dict[str, Any]] = field(default_factory=list)
    tickets: dict[tuple[str, int], Ticket] = field(default_factory=dict)
    store: None = None


def trained(study: Study) -> Trained:
    found = Trained(study)
    for planned in study.planned:
        records, tickets = _train(planned)
        found.cells.append({"id": planned.id, "cell": msgspec.to_builtins(planned.cell), "labels": planned.labels,
                            "seed": planned.cell.seed, "status": "done", "rounds": records, "error": None, "provenance": {}})
        found.tickets |= {(planned.id, round_): ticket for round_, ticket in enumerate(tickets)}
    return found


@cache
def digits() -> Data:
    from sweepstake.base.cell import Ref

    return load_data(Ref("digits"), [], None)


def _train(planned: Planned) -> tuple[list[dict[str, Any]], list[Ticket]]:
    cell = planned.cell
    trainer = Recorder(cell, prepare(cell, digits()))
    donor = masks_of_donor(trainer, cell)
    trainer.seen = []
    records = [record for record, _ in run_rounds(trainer, cell, first_state(trainer, cell, donor), donor_masks=donor)]
    return records, [_ticket(trainer.net, start, end) for start, end in trainer.seen]


def _ticket(net: Net, start: Any, end: Any) -> Ticket:
    masks = {slot.name: slot.of(start.mask).clone() for slot in net.weights}
    initial, final = ({slot.name: slot.of(w).clone() for slot in net.slots} for w in (start.w, end))
    return Ticket(masks, initial, final)
