"""Where a study's files lie and how its cells run: nothing here changes a number, and nothing here is part of an id."""

import os
from pathlib import Path
from typing import Literal, Self, TypedDict, Unpack

from msgspec import Struct

from sweepstake.base.cell import Cell
from sweepstake.base.errors import UserError, one_of
from sweepstake.run.data import data_directories
from sweepstake.study.study import Slurm, Study

DEVICES = ("cpu", "cuda")
ENGINES = ("fast", "reference")
CLUSTERS = ("dask", "ray", "slurm")
SCHEMES = ("tcp", "tls", "ray")
SAVES = ("none", "last", "all")
Saves = Literal["none", "last", "all"]
"""Of which rounds the trained weights are kept."""


class AskedHere(TypedDict, total=False):
    """What a caller may ask of this machine.

    What is left out, or None, is as the study's `[machine]` says, or else the default.
    """

    store: str | Path | None
    data: str | Path | None
    workers: int | None
    device: str | None
    stack: int | None
    engine: str | None
    retry: bool
    save_weights: Saves | None
    wait: bool


class Asked(AskedHere, total=False):
    """What a caller may ask for."""

    on: str | None


class Settings(Struct, frozen=True, kw_only=True):
    """All of it, settled and checked."""

    store: Path
    data: str | Path | None
    """The folder to look in first."""
    workers: int
    device: str
    stack: int | None
    """Cells side by side; None for as many as fit on a card, and on the CPU for a process a cell."""
    engine: str
    timeout_seconds: float | None
    """For a cell in a process."""
    retry: bool
    """Whether failed cells are computed again."""
    save_weights: Saves
    wait: bool
    """Whether a run waits for cells that others compute, once it has nothing left to do."""
    on: str = ""
    """The cluster that computes; empty for this machine."""
    at_once: int | None = None
    """The most parcels that are out at a time; None for as many as the cluster takes."""
    card: float | None = None
    """Of a card, the share that a stack takes on Ray."""
    slurm: Slurm | None = None

    @classmethod
    def of(cls, study: Study, **asked: Unpack[Asked]) -> Self:
        """What the caller asks for, or else the study's `[machine]`, or else the default."""
        machine, workers, stack = study.machine, asked.get("workers"), asked.get("stack")
        for name, count in (("workers", workers), ("stack", stack)):
            if count is not None and count < 1:
                raise UserError(f"--{name} {count}: at least 1.")
        for name, choices in (("device", DEVICES), ("engine", ENGINES), ("save_weights", SAVES)):
            if (choice := asked.get(name)) not in (None, *choices):
                raise UserError(f"--{name.replace('_', '-')} {choice}: say {one_of(choices)}.")
        on, device = asked.get("on") or machine.on or "", asked.get("device") or machine.device
        if problem := _cannot_be_on(on, device, stack or machine.stack):
            raise UserError(problem)
        return cls(
            store=study.store_folder(asked.get("store")),
            data=asked.get("data") or machine.data,
            workers=workers or machine.workers or _cores(),
            device=device or "cpu",
            stack=stack or machine.stack,
            engine=asked.get("engine") or machine.engine or "fast",
            timeout_seconds=machine.timeout_minutes and machine.timeout_minutes * 60,
            retry=asked.get("retry", False),
            save_weights=asked.get("save_weights") or machine.save_weights or "none",
            wait=asked.get("wait", True),
            on=on,
            at_once=workers or machine.workers,
            card=machine.card,
            slurm=machine.slurm,
        )

    @property
    def directories(self) -> list[Path]:
        """Where data sets are looked for."""
        return data_directories(self.data)

    @property
    def side_by_side(self) -> bool:
        """Whether cells train in stacks, not one a process."""
        return self.device != "cpu" or self.stack is not None

    @property
    def lacking(self) -> tuple[str, ...]:
        """The statuses of cells that are computed."""
        return ("missing", "begun", "damaged", *(["failed"] if self.retry else []))


class Task(Struct, frozen=True):
    """A cell to compute, and all that a process needs to know for it."""

    id: str
    cell: Cell
    store: str
    data: list[str]
    plugins: list[str]
    study: str
    text: str
    engine: str = "fast"
    save_weights: Saves = "none"
    images: str = ""
    """The folder of its images, decoded already; else they are looked for in `data`."""
    claim: str = ""
    """The file that says that the cell is ours to compute; without one it is."""
    folder: str = ""
    """From which the files of its images are said."""
    files: dict[str, str] = {}
    """Those files as they were when the run began: what is said -> the hash of what it held."""


def _cannot_be_on(on: str, device: str | None, stack: int | None) -> str:
    """What is wrong with the cluster that is named, or with what is asked of it; empty where all is well."""
    scheme, _, place = on.partition("://")
    if on and (on not in CLUSTERS if not place else scheme not in SCHEMES or ":" not in place):
        return (f"--on {on}: say {one_of(CLUSTERS)}, "
                f"or where a cluster is: {one_of([f'{each}://HOST:PORT' for each in SCHEMES])}.")
    if on and device == "cuda" and stack is None:
        return f"--on {on} --device cuda: say how many cells train side by side on a card there: --stack 16."
    return ""


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
