"""Who computes a cell now, said by a file in the store: no lock service, no scheduler, no clock that machines share.

    STORE/claims/ID.1    made with O_EXCL, so that one process alone makes it; its first line says who that is
    STORE/claims/ID.2    the same cell, taken over from a holder that no longer gave a sign

The holder of the highest number has the cell. Every few seconds it appends a byte. Whoever wants the cell watches the
size: once it has stood still for six such spans on the watcher's own clock, the claim has expired, and the next number
is free to be made. A holder of this machine whose process has ended is known at once. Nothing breaks where two compute
one cell after all, for their results are equal; it only costs the time.

What a folder must give: that O_EXCL creates a name once, that what is written and closed is read by whoever opens the
file afterwards, and that a rename replaces whole. NFS (3 and 4) and Lustre do. Locks are not used.
"""

import os
import platform
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sweepstake.run.files import CannotWrite, is_alive

BEAT_SECONDS = 10.0
"""Between two bytes of a holder."""
BEATS_MISSED = 6
"""After which a claim has expired."""
TAKES = 3
"""A cell whose holders ended this often without a word, in one and the same round, has failed."""

NAME = re.compile(r"(?P<id>[0-9a-f]{16})\.(?P<number>[1-9]\d*)")
BEAT, DEATH = b".", b"x"


class Holder(msgspec.Struct, frozen=True):
    """The first line of a claim: who made it."""

    host: str = "a machine that did not say"
    pid: int = 0
    machine: str = ""
    """Which start of which machine, and which of its process tables."""
    process: str = ""
    """When the process began, in the machine's own count: its number may have become another's."""
    since: str = ""
    versions: dict[str, str] = {}
    """Of what computes the numbers there; none of a claim that is not of a run."""
    beat_seconds: float = BEAT_SECONDS
    round: int = 0
    """The first that was not finished when the cell was taken."""
    takes: int = 1
    """How often it has been taken in that round, this time too."""
    before: tuple[str, ...] = ()
    """The earlier ones."""

    @property
    def told(self) -> str:
        """The holder in a few words."""
        return f"{self.host}, process {self.pid}"

    def has_ended(self) -> bool:
        """Whether its process is known to be no more. Of another machine nothing is known."""
        return self.machine == _machine() and _process(self.pid) != self.process


@dataclass(frozen=True)
class Held:
    """A claim as it is read: its file, its holder, and how much the holder has written."""

    path: Path
    id: str
    number: int
    holder: Holder
    size: int
    deaths: int
    """Workers of the holder that died without a word."""
    written: float = 0.0
    """When it last gave a sign, by the folder's clock; nothing is decided by it."""


@dataclass
class _Seen:
    """What a watcher knows of a claim: the size that it had, and for how long it has stood still."""

    size: int
    at: float
    still: float = 0.0


@dataclass
class Claim:
    """A cell that this process holds."""

    path: Path
    id: str
    number: int
    holder: Holder
    tried: int = 0
    """How often the round that it is in was begun."""

    def __post_init__(self):
        self.tried = self.holder.takes

    def beat(self) -> None:
        self._append(BEAT)

    def died(self) -> None:
        """A worker of ours ended without a word; the round is begun again."""
        self.tried += 1
        self._append(DEATH)

    def moved_on(self) -> None:
        """A round was finished: what went before is no reason to give the cell up."""
        self.tried = 1

    @property
    def is_hopeless(self) -> bool:
        return self.tried > TAKES

    @property
    def story(self) -> str:
        """Why a hopeless cell is given up."""
        before = f" ({'; '.join(self.holder.before)})" if self.holder.before else ""
        return (f"begun {TAKES} times at round {self.holder.round}{before}, and whoever computed it ended each time "
                "without a word: killed, or out of memory")

    def release(self) -> None:
        """The cell is free, or done."""
        for path in _all_of(self.path):
            with suppress(OSError):
                path.unlink()

    def _append(self, byte: bytes) -> None:
        # Opened anew each time: a network folder hands over what was written when it is closed. Not created anew.
        with suppress(OSError):
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, byte)
            finally:
                os.close(file)


def is_held(name: str) -> bool:
    """Whether a claim is still its holder's: a process that was frozen for long may find its cell taken over."""
    if not name:
        return True
    path = Path(name)
    return path.exists() and not _following(path).exists()


@dataclass
class Claims:
    """The claims of a store: those that this process holds, and what it has seen of the others'."""

    folder: Path
    beat_seconds: float = BEAT_SECONDS
    versions: dict[str, str] = field(default_factory=dict[str, str])
    held: dict[str, Claim] = field(default_factory=dict[str, Claim])
    _seen: dict[tuple[str, int], _Seen] = field(default_factory=dict[tuple[str, int], _Seen])
    _heart: threading.Thread | None = None
    _closed: threading.Event = field(default_factory=threading.Event)

    def all(self) -> dict[str, Held]:
        """Every cell that somebody holds, with the claim that counts."""
        found = dict[str, Held]()
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                named = NAME.fullmatch(path.name)
                if named and (named["id"] not in found or int(named["number"]) > found[named["id"]].number):
                    with suppress(OSError):
                        found[named["id"]] = _read(path)
        return found

    def has_expired(self, held: Held) -> bool:
        """Whether a holder has ended, or has given no sign for long. It is asked again and again."""
        if held.holder.has_ended():
            return True
        now, span, key = time.monotonic(), held.holder.beat_seconds, (held.id, held.number)
        seen = self._seen.get(key)
        if seen is None or seen.size != held.size:
            self._seen[key] = _Seen(held.size, now)
            return False
        seen.still += min(now - seen.at, span)  # Of a long sleep of our own, one beat: the holder may have slept too.
        seen.at = now
        return seen.still >= BEATS_MISSED * span

    def take(self, id_: str, round_: int, over: Held | None = None) -> Claim | None:
        """The cell, which begins at this round, is ours from now on; None where another was faster.

        `over` is the expired claim that it is taken over from.
        """
        number = over.number + 1 if over else 1
        claim = Claim(self.folder / f"{id_}.{number}", id_, number, self._holder(round_, over))
        if not _create(claim.path, msgspec.json.encode(claim.holder) + b"\n"):
            return None
        if _following(claim.path).exists():
            claim.path.unlink(missing_ok=True)
            return None
        self._beat_from_now_on(claim)
        return claim

    def release(self, id_: str) -> None:
        """What this process held of a cell it holds no more."""
        if claim := self.held.pop(id_, None):
            claim.release()

    def close(self) -> None:
        """This process holds nothing any more."""
        self._closed.set()
        for id_ in list(self.held):
            self.release(id_)

    def _holder(self, round_: int, over: Held | None) -> Holder:
        same = over is not None and round_ <= over.holder.round
        return Holder(
            host=platform.node() or "unnamed",
            pid=os.getpid(),
            machine=_machine(),
            process=_process(os.getpid()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=self.versions,
            beat_seconds=self.beat_seconds,
            round=round_,
            takes=over.holder.takes + over.deaths + 1 if over and same else 1,
            before=(*over.holder.before, over.holder.told) if over and same else (),
        )

    def _beat_from_now_on(self, claim: Claim) -> None:
        self.held[claim.id] = claim
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, daemon=True, name="sweepstake claims")
            self._heart.start()

    def _beat(self) -> None:
        while not self._closed.wait(self.beat_seconds):
            for claim in list(self.held.values()):
                claim.beat()


@contextmanager
def claimed(folder: Path, id_: str) -> Iterator[bool]:
    """Whether one cell is ours while the block runs. A holder that gives no sign is waited for until it expires."""
    claims = Claims(folder)
    try:
        yield _wait_for(claims, id_)
    finally:
        claims.close()


def _wait_for(claims: Claims, id_: str) -> bool:
    first = claims.all().get(id_)
    while (held := claims.all().get(id_)) is not None:
        if claims.has_expired(held):
            return claims.take(id_, 0, held) is not None
        if first is None or held.size != first.size or held.holder.machine == _machine():
            return False  # It lives: on this machine, or by the sign that it gave.
        time.sleep(min(0.5, held.holder.beat_seconds / 2))
    return claims.take(id_, 0) is not None


def _create(path: Path, content: bytes) -> bool:
    """Whether this call made the file."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise CannotWrite(path, error) from error
    try:
        os.write(file, content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise CannotWrite(path, error) from error
    finally:
        os.close(file)
    return True


def _read(path: Path) -> Held:
    """A claim; of one whose holder was killed before it had said who it is, nobody's."""
    content = path.read_bytes()
    said, _, beats = content.partition(b"\n")
    try:
        holder = msgspec.json.decode(said, type=Holder)
    except msgspec.MsgspecError:
        holder = Holder()
    id_, _, number = path.name.partition(".")
    return Held(path, id_, int(number), holder, len(content), beats.count(DEATH), path.stat().st_mtime)


def _following(path: Path) -> Path:
    id_, _, number = path.name.partition(".")
    return path.with_name(f"{id_}.{int(number) + 1}")


def _all_of(path: Path) -> list[Path]:
    """A claim, and those that it was taken over from; itself last, so that none of them ever counts again."""
    id_, _, number = path.name.partition(".")
    return [path.with_name(f"{id_}.{each}") for each in range(1, int(number) + 1)]


def _machine() -> str:
    """This start of this machine, and this process table; elsewhere than on Linux its name alone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"host {platform.node()}"


def _process(pid: int) -> str:
    """When a process of this machine began, or only that it runs; empty where there is none."""
    if sys.platform != "linux":
        return "runs" if is_alive(pid) else ""
    try:
        # The command's name may hold anything, but ends at the last bracket: then come fields 3, 4, ...
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
