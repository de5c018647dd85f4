"""What is read of a cell, before it trains and after."""

from dataclasses import dataclass
from typing import Any, TypedDict


@dataclass(frozen=True)
class Outlook:
    """What is known of a cell before it trains.

    Its weights, those never pruned, what each round keeps, if known, and about how many multiply-adds it will take.
    """

    weights: int
    unpruned: dict[str, dict[str, Any]]
    kept: list[float] | None
    work: float = 0.0


class Result(TypedDict):
    """A planned cell as a store holds it; a cell that is not whole has no rounds."""

    id: str
    cell: dict[str, Any]
    labels: dict[str, str]
    seed: int
    status: str
    """done, diverged, failed, damaged or missing."""
    rounds: list[dict[str, Any]]
    """A record a round: counts, losses and accuracies, the curve, seconds, proofs."""
    error: str | None
    provenance: dict[str, Any]
