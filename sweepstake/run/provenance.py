"""What made a result, kept beside it and outside its id: versions, machine, time, the study's text."""

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sweepstake import __version__
from sweepstake.pieces import hash_of


@cache
def machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count(),
            "python": platform.python_version()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def comparable() -> dict[str, str]:
    """What must be alike on every machine of a run: the libraries' versions, and the text of our own package."""
    text = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        text.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    found = {name: said for name, said in versions().items() if name != "commit"}
    return {**found, "sweepstake": f"{__version__} (text {text.hexdigest()[:8]})"}


def differing(other: Mapping[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    """What is comparable and not alike: its name, its version here, and its version there; None where it is not."""
    here = comparable()
    for name in sorted({*here, *other}):
        if here.get(name) != other.get(name):
            yield name, here.get(name), other.get(name)


@cache
def versions() -> dict[str, str]:
    found = {}
    for package in ("sweepstake", "torch", "numpy", "numba", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, **({"commit": commit} if commit else {})}


def _commit() -> str:
    """The commit of the checkout the package runs from, with + when it has changes; nothing when installed."""
    root, git = Path(__file__).parents[2], shutil.which("git")
    # A relative git would be the current folder's.
    if not (root / ".git").exists() or not git or not os.path.isabs(git):
        return ""

    def said(*words: str) -> str:
        ran = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, timeout=5, check=True)
        return ran.stdout.strip()

    try:
        head = said("rev-parse", "--short=12", "HEAD")
        dirty = said("status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if dirty else "")


def file_hashes(paths: list[str]) -> dict[str, str]:
    return {Path(path).name: hash_of(Path(path).read_bytes()) for path in paths}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
