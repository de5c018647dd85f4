"""Thinning a network round by round: what is free is grouped, cut and proven, until nothing more can go.

All of it is computed in double precision where the network runs in it: there a wrong cut and a rounding are far apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sweepstake.engine import streams
from sweepstake.tickets.thinning.cut import cut, cut_tensor, fold, left, narrow_heads, tensors, without_biases
from sweepstake.tickets.thinning.dead import Read, columns_alive, read, redrawn
from sweepstake.tickets.thinning.equal import EXACT, LOOSE, TOLERANCE, Unequal, check, outputs
from sweepstake.tickets.thinning.groups import Finder, Group, blocks_of, union
from sweepstake.tickets.thinning.inputs import Inputs
from sweepstake.tickets.thinning.structure import Reader, Site, Sites, Structure

RANDOM_INPUTS = 3
"""How many inputs like the example the proof takes besides it."""

DRAWS, ATTEMPTS = 3, 5
"""How often the live weights are drawn anew to find constants, and how often more draws are taken."""


def generator(*where: object) -> torch.Generator:
    return torch.Generator().manual_seed(int(streams.generator(0, "thin", *where).integers(2**62)))


@dataclass(frozen=True)
class Network:
    """A network at some round: its module in eval mode, its masks, and where what is left of it stood at first."""

    module: nn.Module
    masks: Mapping[str, Tensor]
    made: Sequence[str] = ()
    """The biases that it was given to hold constants."""
    places: Mapping[Site, Tensor] = field(default_factory=dict[Site, Tensor])
    """Axis -> the first network's position of each that is left; an axis that is not here is whole."""

    def here(self, sites: Sites) -> Sites:
        """These positions of the first network in this one, without those that are gone."""
        found: Sites = {}
        for site, positions in sites.items():
            if site in self.places:
                now = {int(at): index for index, at in enumerate(self.places[site])}
                positions = {now[each] for each in positions if each in now}
            if positions:
                found[site] = set(positions)
        return found

    def first(self, site: Site, positions: Tensor) -> set[int]:
        """These positions of this network in the first one."""
        return {int(each) for each in (self.places[site][positions] if site in self.places else positions)}


def without(network: Network, groups: Sequence[Group], reads: Mapping[Reader, Read]) -> Network:
    """The network without these groups, their constants folded onward."""
    module = deepcopy(network.module)
    sites = network.here(union(groups))
    before = {name: tuple(value.shape) for name, value in tensors(module)}
    fold(module, reads, sites)
    cut(module, sites)
    narrow_heads(module, sites, blocks_of(groups), before)
    masks = {name: cut_tensor(mask, name, sites) for name, mask in network.masks.items()}
    places = dict(network.places)
    for (name, axis), gone in sites.items():
        size = before[name][axis]
        places[name, axis] = places.get((name, axis), torch.arange(size))[left(size, gone)]
    return replace(network, module=module, masks=masks, places=places)


class Thinning:
    """One network thinned by one structure of it."""

    def __init__(self, whole: Network, structure: Structure, inputs: Inputs):
        self.whole, self.structure = whole, structure
        self.given = [inputs, *(inputs.other(generator("input", each)) for each in range(RANDOM_INPUTS))]
        self.network, self.runs = whole, self.given
        self.exact = EXACT
        try:
            self.network = replace(whole, module=deepcopy(whole.module).double())
            self.runs = [each.double() for each in self.given]
            self.reference = outputs(self.network.module, self.runs)
        except Exception:  # A forward may hold on to a precision of its own.
            self.network, self.runs, self.exact = whole, self.given, TOLERANCE
            self.reference = outputs(whole.module, self.given)
        self.finder = Finder(structure, {name: tuple(value.shape) for name, value in tensors(whole.module)})
        self.stays = dict[Reader, str]()
        self.round, self.draws = 0, DRAWS

    def run(self) -> Network:
        """Thins until nothing more can go."""
        gone: Sites = {}
        while True:
            self.round, self.draws = self.round + 1, DRAWS
            groups, reads = self.found(gone)
            kept = self.proven(groups, reads)
            if not kept:
                return self.network
            self.network = without(self.network, kept, reads)
            for site, found in union(kept).items():
                gone.setdefault(site, set()).update(found)

    def found(self, gone: Sites) -> tuple[list[Group], dict[Reader, Read]]:
        """The groups that can go now, and what their readers read.

        Where they cannot, the weights that showed it are looked at, too, and the groups are found anew.
        """
        for _ in range(ATTEMPTS):
            reads = read(self.structure.readers, self.network.module, self.network.masks, self.runs,
                         [self.draw(each) for each in range(self.draws)])
            self.stays = {reader: why for reader, each in reads.items() for why in each.why_not.values()}
            groups = self.finder.groups(self.free(reads), gone)
            try:
                if groups:
                    self.prove(groups, reads)
                break
            except Unequal:
                self.draws += 1
        return groups, reads

    def free(self, reads: Mapping[Reader, Read]) -> dict[Reader, set[int]]:
        """Reader -> the channels that it could go without: no live weight reads them, or no live one makes them."""
        silent = {site: self.network.first(site, (~columns_alive(mask, site[1])).nonzero().flatten())
                  for site, mask in self.makers()}
        free: dict[Reader, set[int]] = {}
        for reader, each in reads.items():
            fixed = self.network.first(reader.site, each.fixed.nonzero().flatten())
            unread = self.network.first(reader.site, each.unread.nonzero().flatten())
            found = self.unmade(reader, fixed | unread, silent) if fixed - unread else set()
            free[reader] = unread | (fixed & found)
        return free

    def unmade(self, reader: Reader, channels: set[int], silent: Sites) -> set[int]:
        """Those of these channels of which some maker is dead."""
        found: set[int] = set()
        for site, positions in self.finder.coupled(reader.site, channels).items():
            dead = positions & silent.get(site, set())
            if dead == positions:
                return channels
            found |= self.finder.coupled(site, dead).get(reader.site, set()) & channels
        return found

    def makers(self) -> Iterator[tuple[Site, Tensor]]:
        """Where channels are made: the masks of matrices and kernels, along the axis that is not read."""
        read = {reader.site for reader in self.structure.readers}
        for name, mask in self.network.masks.items():
            for axis in range(2 if mask.dim() > 1 else 0):
                if (name, axis) not in read:
                    yield (name, axis), mask

    def draw(self, number: int) -> torch.Generator:
        return generator("weights", self.round, number)

    def proven(self, groups: Sequence[Group], reads: Mapping[Reader, Read]) -> list[Group]:
        """Those groups without which the network is proven equal, by halves; the others are put back and named."""
        if not groups:
            return []
        try:
            self.prove(groups, reads)
            return list(groups)
        except Unequal as problem:
            if len(groups) == 1:
                reader = groups[0].reader
                self.finder.bar(reader, groups[0].sites[reader.site], str(problem))
                return []
        half = len(groups) // 2
        first, second = self.proven(groups[:half], reads), self.proven(groups[half:], reads)
        try:
            if first and second:
                self.prove([*first, *second], reads)
        except Unequal:
            return first
        return [*first, *second]

    def prove(self, groups: Sequence[Group], reads: Mapping[Reader, Read]) -> None:
        """The network without these groups is equal, with its own weights and with others in place of the live ones."""
        try:
            smaller = without(self.network, groups, reads)
            anew = redrawn(self.network.module, self.network.masks, self.draw(self.draws))
            other = replace(self.network, module=anew)
            smaller_other = without(other, groups, reads)
        except Exception as problem:
            raise Unequal(f"it cannot be cut: {problem}") from problem
        check(self.reference, smaller.module, self.runs, self.exact)
        reference = outputs(other.module, self.runs[:2])
        if all(bool(torch.isfinite(each).all()) for run in reference for each in run):
            check(reference, smaller_other.module, self.runs[:2], LOOSE * self.exact)

    def finished(self) -> tuple[nn.Module, float]:
        """The smaller network in the whole one's own precision, and how far its outputs are from the whole one's."""
        module = deepcopy(self.network.module)
        before = dict(tensors(self.whole.module))
        for name, value in tensors(module):
            value.data = value.data.to(before[name].dtype)
        without_biases(module, self.whole.made)
        return module, check(outputs(self.whole.module, self.given), module, self.given)

    def kept_back(self) -> dict[str, str]:
        """Layer -> why units that it reads could have gone and stayed."""
        told = {**self.stays, **self.finder.why}
        return {reader.weight.rpartition(".")[0]: why for reader, why in told.items()}
