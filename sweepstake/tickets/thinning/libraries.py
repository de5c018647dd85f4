"""The one door to the libraries that follow a network's structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

from sweepstake.tickets.thinning import depgraph, kirigami
from sweepstake.tickets.thinning.inputs import Inputs
from sweepstake.tickets.thinning.structure import NoStructure, Structure

WAYS: list[Callable[[nn.Module, Inputs], Structure]] = [kirigami.traced, kirigami.compiled, depgraph.traced]
"""The quickest of the most exact first."""


def structures(model: nn.Module, inputs: Inputs) -> Iterator[Structure | NoStructure]:
    """The network as each library sees it, or why one cannot follow it."""
    alone = inputs.first(model)
    for way in WAYS:
        try:
            yield way(model, alone)
        except NoStructure as problem:
            yield problem
