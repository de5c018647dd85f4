"""A node, in the process that an engine for clusters has there: it answers what the driver asks.

Nothing here needs PyTorch: what trains is a process of its own (`hand.py`), so that a cell that dies takes nothing of
the engine with it, and has one thread whatever the engine gives it.
"""

import hashlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from sweepstake.base import events
from sweepstake.run import provenance
from sweepstake.run.children import import_path, quiet
from sweepstake.run.data import user_cache
from sweepstake.run.files import write_whole
from sweepstake.run.parcel import Answer, Back, Greeting, Hello, Parcel, Piece, Taken, asked, encode
from sweepstake.run.sent import take_piece
from sweepstake.run.settings import Task
from sweepstake.run.shipping import lay, made
from sweepstake.run.store import Store

SCRATCH = "sweepstake-away-"
OLD_SECONDS = 24 * 3600
"""After which the scratch folder of a node that was killed is removed."""
LOOK_SECONDS = 0.5
"""How often it is asked whether the driver still wants what is computed."""

Wanted = Callable[[], bool]
OnStep = Callable[[bytes], None]


class Job(msgspec.Struct, frozen=True):
    """What a hand is told: one parcel, laid out on this machine."""

    tasks: list[Task]
    data: str
    device: str
    stack: int | None
    seconds: float


class NotWanted(Exception):
    """The driver has gone, or has taken the parcel back."""


def serve(request: bytes, wanted: Wanted = lambda: True, on_step: OnStep = lambda _: None) -> bytes:
    """What the driver asks of this node, done; `on_step` hears at once how far a cell is."""
    return encode(_answer(asked(request), wanted, on_step))


def _answer(said: Hello | Piece | Parcel, wanted: Wanted, on_step: OnStep) -> Answer:
    match said:
        case Hello(versions):
            return Greeting(host(), unlike(versions))
        case Piece():
            try:
                take_piece(said)
            except (OSError, ValueError) as error:
                return Taken(str(error))
            return Taken()
        case Parcel():
            if differences := unlike(said.versions):
                return Back(host(), [], {}, unlike=differences)
            return _compute(said, wanted, on_step)


def host() -> str:
    """This machine, for people, and its cache: workers that share one share data sets."""
    return f"{socket.gethostname()}:{user_cache()}"


def unlike(versions: dict[str, str]) -> list[str]:
    """Each library that is another here than where the study was read."""
    return [f"{name} {ours or 'is not installed'} there, {driver or 'not installed'} here"
            for name, ours, driver in provenance.differing(versions)]


def _compute(parcel: Parcel, wanted: Wanted, on_step: OnStep) -> Back:
    with _scratch() as folder:
        store = Store(folder / "store")
        lay(store, parcel.files)
        kept = {"store": str(store.folder), "data": [], "plugins": _lay_plugins(parcel), "claim": ""}
        tasks = [msgspec.structs.replace(task, **kept) for task in parcel.tasks]
        job = Job(tasks, parcel.data, parcel.device, parcel.stack, parcel.seconds)
        began = time.monotonic()
        back = _heard(parcel, job, wanted, on_step)
        files = {task.id: made(store, task.id, parcel.files.get(task.id, {})) for task in tasks}
        return msgspec.structs.replace(back, files=files, seconds=time.monotonic() - began)


def _heard(parcel: Parcel, job: Job, wanted: Wanted, on_step: OnStep) -> Back:
    """What a hand tells of a job, until it is over, has died, or is stopped."""
    back, told, look = Back(host(), [], {}), list[bytes](), 0.0
    until = None if parcel.seconds_left is None else time.monotonic() + parcel.seconds_left
    with _hand(tuple(job.tasks[0].plugins)) as hand:
        hand.begin(job)
        while True:
            line, now = hand.line(LOOK_SECONDS), time.monotonic()
            if until is not None and now > until:
                return msgspec.structs.replace(back, events=told, over=True)
            if now > look:  # However much it tells.
                look = now + LOOK_SECONDS
                if not wanted():
                    raise NotWanted
            if line is None:
                continue
            if line == b"":
                return msgspec.structs.replace(back, events=told, code=hand.end())
            if line.startswith(b"!"):
                hand.is_free = True
                return msgspec.structs.replace(back, events=told, **msgspec.json.decode(line[1:]))
            event = events.decode(line)
            if isinstance(event, events.Step | events.Resumed):
                on_step(line)
            if not isinstance(event, events.Step | events.Saving):
                told.append(line)


def _lay_plugins(parcel: Parcel) -> list[str]:
    """The plug-ins as files under their own names, in a folder a text, that outlives this parcel."""
    paths: list[str] = []
    for name, text in parcel.plugins:
        folder = _of_this_process() / hashlib.sha256(text).hexdigest()[:16]
        if Path(name).name != name:
            raise ValueError(f"{name}: no name of a plug-in")
        with _lock:  # Another parcel may be reading it.
            folder.mkdir(exist_ok=True)
            if not (folder / name).exists():
                write_whole(folder / name, text)
        paths.append(str(folder / name))
    return paths


# Scratch folders

_own: list[Path] = []
_lock = threading.Lock()


def _of_this_process() -> Path:
    with _lock:
        if not _own or not _own[0].is_dir():
            _sweep()
            _own[:] = [Path(tempfile.mkdtemp(prefix=SCRATCH))]
        return _own[0]


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="parcel-", dir=_of_this_process()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what killed nodes left here a day ago."""
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


# Hands

class Hand:
    """A process that computes one job after another, and ends with this one."""

    def __init__(self) -> None:
        self.is_free = True
        self._lines = queue.SimpleQueue[bytes]()
        environment = {**os.environ, **quiet(), "PYTHONPATH": os.pathsep.join(import_path())}
        self.process = subprocess.Popen([sys.executable, "-m", "sweepstake.run.hand", str(_of_this_process())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._lines.put(line.rstrip(b"\n"))
        self._lines.put(b"")

    def begin(self, job: Job) -> None:
        assert self.process.stdin
        self.is_free = False
        with suppress(BrokenPipeError):  # It has died; its lines say so.
            self.process.stdin.write(msgspec.json.encode(job) + b"\n")
            self.process.stdin.flush()

    def line(self, seconds: float) -> bytes | None:
        """The next that it tells: an event, `!` and the end of its job, nothing at its own end; None after a while."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def end(self) -> int:
        """Its exit code: its own, where it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """It ends now, and nothing of it is left."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):  # What was not written yet cannot be.
                    pipe.close()


_idle: dict[tuple[str, ...], list[Hand]] = {}


@contextmanager
def _hand(plugins: tuple[str, ...]) -> Iterator[Hand]:
    """A hand for cells with these plug-ins, on these cards: one that is idle, or a new one. It ends with an error."""
    key = (os.environ.get("CUDA_VISIBLE_DEVICES", ""), *plugins)
    with _lock:
        for other in [other for other in _idle if other != key]:  # What they have loaded is of no use any more.
            for each in _idle.pop(other):
                each.kill()
        idle = _idle.setdefault(key, [])
        hand = idle.pop() if idle else None
    hand = hand or Hand()
    try:
        yield hand
    finally:
        if hand.is_free and hand.process.poll() is None:
            with _lock:
                _idle.setdefault(key, []).append(hand)
        else:
            hand.kill()
