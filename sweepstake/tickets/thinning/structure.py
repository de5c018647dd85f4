"""The structure of a network, as thinning asks for it: who reads which channels, and what stands and falls together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

Site = tuple[str, int]
"""An axis of a parameter or buffer, by its name."""
Sites = dict[Site, set[int]]
"""Positions along axes, all to be cut at once."""


@dataclass(frozen=True)
class Reader:
    """A weight that sums over channels of its input: its name, and the axis along which it reads them."""

    weight: str
    axis: int

    @property
    def site(self) -> Site:
        return self.weight, self.axis


@dataclass(frozen=True)
class Together:
    """What has to be cut when some channels are, and what forbids it, in words."""

    sites: Sites = field(default_factory=dict[Site, set[int]])
    problem: str = ""
    whole_blocks_help: bool = False
    """Whether the problem is that a block, say an attention head, would be cut in part."""


class Structure(Protocol):
    """A library's dependency graph of one network."""

    followed_by: str
    readers: list[Reader]

    def together(self, site: Site, indices: Iterable[int]) -> Together:
        """What stands and falls with these positions along a reader's axis."""
        ...


class NoStructure(Exception):
    """A library could not follow a network; the message says why."""
