"""Files written whole or not at all, and what killed writers left of theirs."""

import errno
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweepstake.base.errors import UserError

OLD = 3600
"""Seconds after which a temporary file is nobody's, whoever wrote it: a writer needs a moment."""

TEMPORARY = re.compile(r"\..+\.(?:json|safetensors|toml|py|csv|html|md|gz|parquet|pdf|png|svg)"
                       r"\.(?P<pid>\d+)(?:@(?P<host>.+))?")
"""What a writer calls its file until it is whole; before, without the machine."""


class CannotWrite(UserError):
    """The machine's fault (a full disk, no permission), never that of what was to be written."""

    def __init__(self, path: Path | str, error: OSError, named: str = "--store or --out"):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        free = "free some space and run the same command again, or " if full else ""
        super().__init__(f"{path}: {error.strerror or error}. "
                         f"What is finished is kept; {free}name another place with {named}.")
        self.path, self.error, self.strerror = path, error, error.strerror


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """What the machine refuses in here is CannotWrite, with the path."""
    try:
        yield
    except OSError as error:
        raise CannotWrite(path, error) from error


def write_whole(path: Path | str, content: bytes) -> None:
    """Write to a neighbour, flush to disk, rename over: a reader sees the old file or the new one, never a part."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{os.getpid()}@{_host()}")
    try:
        with writing(path):
            with open(beside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def ends_of(path: str, first: int, last: int) -> tuple[bytes, bytes]:
    """So many of a file's first bytes and of its last. Without a file object, which takes longer than the reading."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        head, size = os.read(file, first), os.lseek(file, 0, os.SEEK_END)
        os.lseek(file, max(0, size - last), os.SEEK_SET)
        return head, os.read(file, last)
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Text as UTF-8, its lines ended alike on every machine."""
    write_whole(path, text.encode())


def clear_abandoned(folder: Path) -> None:
    """Remove the temporary files of writers that are dead; those of living ones, here or on another machine, stay."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if (named := TEMPORARY.fullmatch(path.name)) is None:
                continue
            with suppress(OSError):
                ours = named["host"] == _host()
                if (ours and not is_alive(int(named["pid"]))) or time.time() - path.stat().st_mtime > OLD:
                    path.unlink()


def _host() -> str:
    return platform.node()[:60]


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there."""
    if sys.platform == "win32":
        return True  # To ask there is to kill.
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
