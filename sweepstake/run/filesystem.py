"""Whether a folder gives what a shared store needs, tried on it: `sweepstake check --filesystem DIR`.

A few contenders do to small files what many runs do to claims and results. Started at the same moment on several
machines that share the folder (`--machines N`), they contend with one another.
"""

import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweepstake.base.errors import UserError
from sweepstake.run.files import CannotWrite, write_whole

FOLDER = ".sweepstake-check"
CONTENDERS = 4
"""On each machine."""
NAMES = 200
VERSIONS = 100
JOIN_SECONDS = 60.0
"""For which machines wait for one another."""
LEAVE_SECONDS = 5.0
"""For which the last one waits before it tidies up."""
SIGHT_SECONDS = 30.0
"""Within which a byte that one machine appended must be seen by another: half of what a claim lives."""


@dataclass(frozen=True)
class Tried:
    """One guarantee: what it is, whether it held, and what was seen. One that is not needed is only told."""

    what: str
    held: bool
    seen: str
    needed: bool = True


def try_folder(folder: Path, machines: int = 1) -> list[Tried]:
    """Every guarantee, tried on this folder; what was written is removed."""
    if not folder.is_dir():
        raise UserError(f'check --filesystem "{folder}": no such directory. Name the one that the store will lie in.')
    if machines < 1:
        raise UserError(f"--machines {machines}: at least 1.")
    with _playground(folder, machines) as place:
        tried = [_names(place, machines), _renames(place), _sight(place, machines)]
        told = [_locks(place), _clock(place)]
        _meet(place, machines, "over")
    return [*tried, *told]


@contextmanager
def _playground(folder: Path, machines: int) -> Iterator[Path]:
    """A folder for these files, which every machine that takes part has entered."""
    place = folder / (FOLDER if machines > 1 else f"{FOLDER}-{_me()}")
    if (place / "name.0").exists():
        raise UserError(f"check --filesystem: {place} is left of an earlier check. Remove it and start again.")
    try:
        place.mkdir(exist_ok=True)
        _meet(place, machines, "here")
        yield place
    except OSError as error:
        raise CannotWrite(place, error) from error
    finally:
        _leave(place)


def _leave(place: Path) -> None:
    """Go; the machine whose name comes first waits for the others to have gone, and tidies up."""
    first = min(_there(place, "here"), default=_me()) == _me()
    (place / f"here.{_me()}").unlink(missing_ok=True)
    until = time.monotonic() + LEAVE_SECONDS
    while first and _there(place, "here") and time.monotonic() < until:
        time.sleep(0.05)
    if first:
        shutil.rmtree(place, ignore_errors=True)


def _me() -> str:
    return f"{platform.node()}-{os.getpid()}"


def _there(place: Path, word: str) -> list[str]:
    """The machines that have said a word."""
    return sorted(path.name.removeprefix(f"{word}.") for path in place.glob(f"{word}.*"))


def _meet(place: Path, machines: int, word: str) -> None:
    """Wait until all machines have come as far."""
    (place / f"{word}.{_me()}").touch()
    until = time.monotonic() + JOIN_SECONDS
    while (there := len(_there(place, word))) < machines:
        if time.monotonic() > until:
            raise UserError(f"check --filesystem: {there} of {machines} machines came within {JOIN_SECONDS:.0f} s. "
                            "Start the same command on each of them at the same time.")
        time.sleep(0.05)


def _names(place: Path, machines: int) -> Tried:
    """Of all contenders for a name exactly one makes it."""
    def contend(_: int) -> list[int]:
        return [number for number in range(NAMES) if _makes(place / f"name.{number}")]

    with ThreadPoolExecutor(CONTENDERS) as pool:
        won = [number for mine in pool.map(contend, range(CONTENDERS)) for number in mine]
    write_whole(place / f"won.{_me()}", " ".join(map(str, won)).encode())
    _meet(place, machines, "named")
    counts = Counter(number for path in place.glob("won.*") for number in path.read_text().split())
    wrong = [number for number in map(str, range(NAMES)) if counts[number] != 1]
    but = f"; {len(wrong)} were made by several, or by none" if wrong else ""
    seen = f"{NAMES} names, {CONTENDERS * machines} contenders{but}"
    return Tried("a name is made by one alone (O_EXCL)", not wrong, seen)


def _makes(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        return False
    return True


def _renames(place: Path) -> Tried:
    """A reader sees one version of a file or the next, never a part of one.

    Some file systems have no file at all for a moment: then whoever looks finds an older state, and looks again.
    """
    path, size = place / f"whole.{_me()}", 20_000
    write_whole(path, b"0" * size)
    over, parts, gaps, reads = False, list[int](), 0, 0

    def read() -> int:
        nonlocal gaps
        count = 0
        while not over:
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                gaps += 1
                continue
            count += 1
            if len(content) != size or len(set(content)) != 1:
                parts.append(len(content))
        return count

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            began = time.monotonic()
            for number in range(VERSIONS):
                write_whole(path, str(number % 10).encode() * size)
            each = (time.monotonic() - began) / VERSIONS
        finally:
            over = True
        reads = reading.result()
    but = f"; {len(parts)} reads saw a part" if parts else ""
    but += f"; {gaps} found no file for a moment, which does no harm" if gaps else ""
    seen = f"{VERSIONS} versions, {reads} reads, {1000 * each:.1f} ms to put one on the disk{but}"
    return Tried("a rename replaces a file whole", not parts, seen)


def _sight(place: Path, machines: int) -> Tried:
    """What one appends and closes, who opens the file afterwards reads."""
    ours = place / f"beat.{_me()}"
    ours.write_bytes(b".")
    _meet(place, machines, "beating")
    files = list(place.glob("beat.*"))
    before = {path: len(path.read_bytes()) for path in files}
    _meet(place, machines, "seen")
    with ours.open("ab") as file:
        file.write(b".")
    began = time.monotonic()
    waiting = set(files)
    while waiting and time.monotonic() - began < SIGHT_SECONDS:
        waiting = {path for path in waiting if len(path.read_bytes()) <= before[path]}
        if waiting:
            time.sleep(0.02)
    took = time.monotonic() - began
    return Tried("a byte that is appended is seen by all", not waiting,
                 f"after {took:.2f} s" if not waiting else f"{len(waiting)} were not seen within {SIGHT_SECONDS:.0f} s")


def _locks(place: Path) -> Tried:
    """Whether flock works: it is not needed, and often asked for."""
    try:
        import fcntl

        with (place / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError) as error:
        return Tried("flock", False, f"it fails here ({error}); no run uses it", needed=False)
    return Tried("flock", True, "it works here; no run uses it", needed=False)


def _clock(place: Path) -> Tried:
    """How far the folder's clock is from this machine's: nothing hangs on it."""
    path = place / f"clock.{_me()}"
    before = time.time()
    path.write_bytes(b".")
    apart = path.stat().st_mtime - (before + time.time()) / 2
    seen = f"{apart:+.1f} s from this machine's; no run compares them"
    return Tried("the folder's clock", abs(apart) < 1, seen, needed=False)


def tell(tried: Sequence[Tried], say: Callable[[str], None]) -> bool:
    """A line for each; whether all that is needed held."""
    for each in tried:
        word = ("ok" if each.held else "BROKEN") if each.needed else "note"
        say(f"{word:<7} {each.what}: {each.seen}")
    return all(each.held for each in tried if each.needed)
