"""What happens while a study runs, a struct an event. What a worker tells its parent are the same structs, as JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec
from msgspec import Struct

from sweepstake.base.records import Outlook


class Event(Struct, frozen=True, tag_field="kind", tag=str.lower):
    """Something that happened; its kind is the name of its struct in small letters."""

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)


OnEvent = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Hear nothing."""


class OfCell(Event, frozen=True):
    """Something that happened to a cell."""

    id: str


class Round(OfCell, frozen=True):
    """It has finished this round, and the store has it: what it kept, and the test accuracy that it ended with.

    The accuracy is None where the round diverged.
    """

    round: int
    kept: float | None = None
    accuracy: float | None = None

    @classmethod
    def of(cls, id_: str, record: Mapping[str, Any]) -> Self:
        """The round that a record is of."""
        test: Mapping[str, Any] = record["end"].get("test") or {}
        return cls(id_, record["round"], record["kept_fraction"], test.get("accuracy"))


# Of a study

class Foreseen(Event, frozen=True):
    """Every cell was checked, and something trains: what is known before of each, by id."""

    cells: Mapping[str, Outlook]


class Plan(Event, frozen=True):
    """What is about to train: of `cells`, those that are missing, each with its rounds and those it has finished.

    `so_far` has those finished rounds with their numbers.
    """

    cells: int
    missing: int
    rounds: Mapping[str, int]
    begun: Mapping[str, int]
    labels: Mapping[str, str] = {}
    stage: str = ""
    so_far: Sequence[Round] = ()


class Compiling(Event, frozen=True):
    """The kernels are compiled first, once for this machine."""


class Damaged(Event, frozen=True):
    """A file of the store is not as it was written, and what is done about it; of a cell, its `id`."""

    error: str
    then: str
    id: str = ""


class Waiting(Event, frozen=True):
    """Nothing can be computed for now, and why."""

    why: str


# Of a cell

class Began(OfCell, frozen=True):
    """A process has been started for it."""


class Busy(OfCell, frozen=True):
    """Another run is computing it; it is looked at again."""


class Resumed(OfCell, frozen=True):
    """It trains from this round on."""

    round: int


class Step(OfCell, frozen=True):
    """It has trained this share of a round."""

    round: int
    share: float


class Saving(OfCell, frozen=True):
    """It puts what it has trained into the store: who stops it now waits a moment."""


class Done(OfCell, frozen=True):
    """Its result is in the store: `done` or `diverged`, computed now or there already."""

    status: str
    computed: bool = True


class Failed(OfCell, frozen=True):
    """It has failed, and the store has its failure; `killed` where its process was, over its time limit."""

    error: str
    killed: bool = False


class Died(OfCell, frozen=True):
    """Its process has ended without a word; it is tried again, or given up."""

    code: int | None
    again: bool


class Stopped(OfCell, frozen=True):
    """The machine is at fault, not the cell: the whole run ends."""

    error: str


Told = Damaged | Compiling | Busy | Resumed | Step | Saving | Round | Done | Failed | Stopped
"""What a worker may tell."""

decode = msgspec.json.Decoder(Told).decode
encode = msgspec.json.Encoder().encode
