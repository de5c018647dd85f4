"""What the copies of a run need of a cluster, and why: as asked for, or worked out from the estimate."""

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from sweepstake import __version__
from sweepstake.base.errors import UserError
from sweepstake.base.text import visible
from sweepstake.run.progress import clock
from sweepstake.run.settings import Settings
from sweepstake.study.study import Study

if TYPE_CHECKING:
    from sweepstake.run.estimate import Estimate

WORK_SECONDS, MOST_COPIES = 3600, 16
"""Of a copy's work, and how many copies there are at most, where nobody says how many."""
SLOWER, START_SECONDS = 2, 300
"""A time limit is this often the work, for a node may be slower, and has room for a start from a shared folder."""
SHORTEST_SECONDS, LONGEST_SECONDS, UNKNOWN_SECONDS = 600, 10_000 * 3600, 4 * 3600
"""Of time limits; the last where nothing is known of the work."""
WARNED_SECONDS = 120
"""Before its time limit a copy is warned."""
COPY_MB, WORKER_MB, CARD_MB, CARD_CORES = 1024, 512, 8192, 4
"""Of a copy: PyTorch in two processes, each worker beside its images and network, and the host beside a card."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What somebody asks for. What is None is worked out."""

    copies: int | None = None
    hours: float | None = None
    memory: str | None = None
    cores: int | None = None
    image: str | None = None
    volume: str | None = None

    def __post_init__(self):
        for option, count in (("copies", self.copies), ("cores", self.cores)):
            if count is not None and count < 1:
                raise UserError(f"--{option} {count}: at least 1.")
        if self.hours is not None and not SHORTEST_SECONDS <= self.hours * 3600 <= LONGEST_SECONDS:
            raise UserError(f"--hours {self.hours:g}: say from 0.17 (ten minutes) to {LONGEST_SECONDS // 3600}.")
        if self.memory is not None and not self.megabytes:
            raise UserError(f"--memory {self.memory}: say it in whole gigabytes or megabytes, as in 4G or 1500M.")

    @property
    def megabytes(self) -> int:
        """The memory asked for; 0 where it is not said, or not so."""
        said = re.fullmatch(r"([0-9]{1,9})([GM])i?B?", self.memory or "", re.IGNORECASE)
        return int(said[1]) * (1024 if said[2] in "Gg" else 1) if said else 0


@dataclass(frozen=True)
class Job:
    """Copies of one command, and what each of them may use."""

    name: str
    """The study's, in letters that every scheduler takes."""
    about: list[str]
    """What the script is, and why so many copies, so long and so much: lines without a newline in them."""
    command: list[list[str]]
    """The program and the study; then each option with its value."""
    folders: list[Path]
    """Those that hold what a copy reads and writes."""
    copies: int
    seconds: int
    """A copy's time limit."""
    megabytes: int
    cores: int
    card: bool
    disk_bytes: int | None
    image: str | None
    volume: str | None

    @property
    def shell(self) -> str:
        """The command, quoted for a shell, an option a line."""
        return " \\\n    ".join(shlex.join(part) for part in self.command)

    @property
    def comments(self) -> str:
        """The lines about it."""
        return "\n".join(f"# {line}".rstrip() for line in self.about)


def job_for(study: Study, settings: Settings, cost: "Estimate", wanted: Wanted, command: list[list[str]],
            folders: list[Path]) -> Job:
    """The copies that compute what a store lacks of a study; `cost` is of one worker."""
    if not cost.missing:
        raise UserError(f"{settings.store}: holds every cell of {study.name} already. Nothing is left to run.")
    card, workers = settings.device != "cpu", settings.workers
    copies = wanted.copies or _copies(cost, workers, card)
    work = None if card or cost.seconds is None else _work(cost, copies, workers)
    seconds = round(wanted.hours * 3600) if wanted.hours else _time_limit(work)
    megabytes = wanted.megabytes or _megabytes(cost, workers, card)
    about = (
        f"{' '.join([study.name, *study.changes])}, for sweepstake {__version__}.",
        _why_any(cost, settings.store),
        _why_so_many(cost, copies, workers, card, work) + (" So many were asked for." if wanted.copies else ""),
        f"A copy may take {clock(seconds)}: " + ("as asked." if wanted.hours else _why_so_long(work)),
        f"A copy may use {megabytes / 1024:.3g} GiB: " + ("as asked." if wanted.memory else _why_so_much(card)),
    )
    return Job(
        name=re.sub("[^A-Za-z0-9]+", "-", study.name).strip("-")[:40].rstrip("-") or "study",
        about=[visible(line.replace("\n", " ")) for line in about],
        command=command,
        folders=folders,
        copies=copies,
        seconds=seconds,
        megabytes=megabytes,
        cores=wanted.cores or (CARD_CORES if card else workers),
        card=card,
        disk_bytes=cost.bytes,
        image=wanted.image,
        volume=wanted.volume,
    )


def _copies(cost: "Estimate", workers: int, card: bool) -> int:
    """So many that each has an hour of work; at most one a stack on cards, else one for each worker's cell."""
    most = min(MOST_COPIES, cost.stacks if card else math.ceil(cost.missing / workers))
    if card or cost.seconds is None:
        return most
    return min(most, math.ceil(cost.seconds / workers / WORK_SECONDS))


def _work(cost: "Estimate", copies: int, workers: int) -> float:
    """Seconds of the copy with the most cells, were all cells alike and all workers as fast as here."""
    return _cells_each(cost, copies, workers) * (cost.seconds or 0.0) / cost.missing


def _cells_each(cost: "Estimate", copies: int, workers: int) -> int:
    return math.ceil(cost.missing / (copies * workers))


def _time_limit(work: float | None) -> int:
    """In whole quarters of an hour."""
    if work is None:
        return UNKNOWN_SECONDS
    return min(LONGEST_SECONDS, math.ceil((SLOWER * work + START_SECONDS) / 900) * 900)


def _megabytes(cost: "Estimate", workers: int, card: bool) -> int:
    """In whole gigabytes."""
    each = WORKER_MB + (cost.worker_bytes or 0) / 2**20
    return math.ceil((COPY_MB + (max(CARD_MB, each) if card else workers * each)) / 1024) * 1024


def _why_any(cost: "Estimate", store: Path) -> str:
    lacks = f"{store} lacks {_count(cost.missing, 'cell')}."
    if cost.seconds is None:
        return f"{lacks} How long they take is not known: {cost.how}."
    if cost.missing == 1:
        return f"{lacks} A core takes {clock(cost.seconds)}, by steps timed on this machine."
    one = clock(cost.seconds / cost.missing)
    return f"{lacks} A core takes {one} for one and {clock(cost.seconds)} for all, by steps timed on this machine."


def _why_so_many(cost: "Estimate", copies: int, workers: int, card: bool, work: float | None) -> str:
    each = "a card" if card else _count(workers, "worker")
    made = f"{copies} {'copy' if copies == 1 else 'copies'} of {each}"
    if work is None:
        return f"{made}: one a stack, {MOST_COPIES} at most." if card else f"{made}: {MOST_COPIES} at most."
    cells = _count(_cells_each(cost, copies, workers), "cell")
    return f"{made}: a worker computes {cells} in {clock(work)}."


def _why_so_long(work: float | None) -> str:
    if work is None:
        return "a guess, for nothing is known of the time. Say it with --hours."
    return f"{SLOWER} times that, for a node may be slower, and {START_SECONDS // 60} minutes to start."


def _why_so_much(card: bool) -> str:
    what = "what lies beside a card" if card else "a network a worker"
    return f"PyTorch, the images and {what}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
