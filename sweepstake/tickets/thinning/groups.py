"""Groups of channels that can go at once: every weight that reads one of them is free of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sweepstake.tickets.thinning.structure import Reader, Site, Sites, Structure, Together

QUESTIONS = 200
"""How often the library is asked for the channels of one reader, before the rest of them stays."""
SAMPLES = 4
"""How many blocks, and one, are asked for alone to tell that none can go."""

Free = Mapping[Reader, set[int]]
"""Reader -> the channels that it could go without."""


@dataclass(frozen=True)
class Group:
    """Positions that go together, found at one reader; `block` of them at a time, say an attention head."""

    reader: Reader
    sites: Sites
    block: int = 1


@dataclass
class Finder:
    """Asks a structure which free channels can go, and remembers why others cannot."""

    structure: Structure
    shapes: Mapping[str, tuple[int, ...]]
    blocks: dict[Reader, int] = field(default_factory=dict[Reader, int])
    barred: dict[Reader, set[int]] = field(default_factory=dict[Reader, set[int]])
    why: dict[Reader, str] = field(default_factory=dict[Reader, str])
    answers: dict[tuple[Reader, frozenset[int]], Together] = field(
        default_factory=dict[tuple[Reader, frozenset[int]], Together])
    asked: int = 0

    def groups(self, free: Free, gone: Sites) -> list[Group]:
        """The groups that can go now, each free at all its readers, none emptying an axis."""
        taken: Sites = {site: set(found) for site, found in gone.items()}
        found: list[Group] = []
        for reader, channels in free.items():
            left = channels - taken.get(reader.site, set()) - self.barred.get(reader, set())
            if not left:
                continue
            self.asked = 0
            for group in self.split(reader, left, free, taken):
                found.append(group)
                add(taken, group.sites)
        return merged(found)

    def coupled(self, site: Site, positions: set[int]) -> Sites:
        """What stands and falls with these positions, be it allowed to go or not."""
        return self.ask(Reader(*site), positions).sites if positions else {}

    def ask(self, reader: Reader, channels: Iterable[int]) -> Together:
        key = reader, frozenset(channels)
        if key not in self.answers:
            self.asked += 1
            try:
                self.answers[key] = self.structure.together(reader.site, key[1])
            except Exception as problem:
                self.answers[key] = Together(problem=f"{self.structure.followed_by} says: {problem}")
        return self.answers[key]

    def bar(self, reader: Reader, channels: Iterable[int], why: str) -> None:
        """These channels stay, and are not asked for again."""
        self.barred.setdefault(reader, set()).update(channels)
        self.why.setdefault(reader, why)

    def split(self, reader: Reader, channels: set[int], free: Free, taken: Sites) -> Iterator[Group]:
        """The largest parts of these channels that can go."""
        block = self.block(reader, channels)
        channels, together = self.free_everywhere(reader, whole_blocks(channels, block), free, block, taken)
        if not channels:
            return
        if not together.problem:
            some = self.leaving_some(channels, together, taken, block)
            together = together if some == channels else self.ask(reader, some)
            if some and not together.problem:
                yield Group(reader, together.sites, block)
            return
        if self.asked > QUESTIONS or self.hopeless(reader, channels, block):
            self.bar(reader, channels, together.problem)
            return
        ordered = sorted(channels)
        half = max(1, len(ordered) // block // 2) * block
        for part in (ordered[:half], ordered[half:]):
            yield from self.split(reader, set(part), free, taken)

    def hopeless(self, reader: Reader, channels: set[int], block: int) -> bool:
        """Whether none of a few blocks, spread over these channels, can go alone."""
        starts = sorted(channels)[::block]
        some = [starts[round(each * (len(starts) - 1) / SAMPLES)] for each in range(SAMPLES + 1)]
        return all(self.ask(reader, range(start, start + block)).problem for start in dict.fromkeys(some))

    def block(self, reader: Reader, channels: set[int]) -> int:
        """How many neighbouring channels can only go at once."""
        if reader not in self.blocks:
            size = self.shapes[reader.weight][reader.axis]
            divisors = [each for each in range(1, size + 1) if size % each == 0]
            start = min(channels)
            self.blocks[reader] = next(
                (each for each in divisors
                 if not self.ask(reader, range(start // each * each, (start // each + 1) * each)).whole_blocks_help), 1)
        return self.blocks[reader]

    def free_everywhere(self, reader: Reader, channels: set[int], free: Free, block: int,
                        taken: Sites) -> tuple[set[int], Together]:
        """These channels without those that some other weight still reads, and what goes with them."""
        while channels:
            together = self.ask(reader, channels)
            read = {other: together.sites.get(other.site, set()) - each - taken.get(other.site, set())
                    for other, each in free.items()}
            coupled = [self.ask(other, touched_blocks(found, self.block(other, found))).sites.get(reader.site, set())
                       for other, found in read.items() if found]
            if not coupled:
                return channels, together
            rest = whole_blocks(channels - set().union(*coupled), block)
            channels = rest if rest != channels else set()
        return set(), Together()

    def leaving_some(self, channels: set[int], together: Together, taken: Sites, block: int) -> set[int]:
        """Without the first ones, where a layer would lose all its units: one always stays."""
        for (name, axis), found in together.sites.items():
            size = self.shapes[name][axis]
            if len(found | taken.get((name, axis), set())) >= size:
                return set(sorted(channels)[block:])
        return channels


def whole_blocks(channels: set[int], block: int) -> set[int]:
    """Those of the channels whose whole block is among them."""
    if block == 1:
        return set(channels)
    return touched_blocks(channels, block) - touched_blocks(touched_blocks(channels, block) - channels, block)


def touched_blocks(channels: set[int], block: int) -> set[int]:
    """Every block with one of the channels in it."""
    return {start * block + each for start in {channel // block for channel in channels} for each in range(block)}


def add(sites: Sites, more: Sites) -> None:
    for site, found in more.items():
        sites.setdefault(site, set()).update(found)


def union(groups: Iterable[Group]) -> Sites:
    sites: Sites = {}
    for group in groups:
        add(sites, group.sites)
    return sites


def blocks_of(groups: Iterable[Group]) -> dict[Site, int]:
    return {group.reader.site: group.block for group in groups}


def merged(groups: list[Group]) -> list[Group]:
    """The same groups without those of which nothing is new."""
    kept: list[Group] = []
    for group in groups:
        before = union(kept)
        if any(found - before.get(site, set()) for site, found in group.sites.items()):
            kept.append(group)
    return kept
