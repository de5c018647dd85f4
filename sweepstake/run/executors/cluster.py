"""What an engine for clusters has to offer the driver (`away.py`); one small file an engine."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sweepstake.run.settings import Settings


class Lost(Exception):
    """A parcel will not come back."""

    def __init__(self, why: str, *, blame: bool):
        super().__init__(why)
        self.blame = blame
        """Whether what it computed may be why: a node died under it, and not the way to it."""


@dataclass(frozen=True)
class Came:
    """What a node said."""

    node: str
    content: bytes


Outcome = Came | Lost | Exception
Done = Callable[[Outcome], None]


class Cluster(Protocol):
    """An engine that runs `node.serve` elsewhere."""

    def slots(self) -> int:
        """How many parcels it computes at a time, now."""
        ...

    def nodes(self) -> list[str]:
        """Whom it can ask, now."""
        ...

    def ask(self, nodes: Sequence[str], request: bytes) -> dict[str, bytes]:
        """What these nodes say, beside their parcels."""
        ...

    def submit(self, request: bytes, done: Done) -> None:
        """A parcel on its way to any node; `done` is called once, from any thread."""
        ...


Open = Callable[[Settings, Callable[[bytes], None]], AbstractContextManager[Cluster]]
"""Makes or finds the cluster that the settings say; it is left with nothing of ours at work. Hears every `Step`."""
