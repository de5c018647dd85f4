"""The file beside a run that says that it is whole, and of which result."""

import json
from contextlib import suppress
from pathlib import Path

from sweepstake.run.files import write_text

NAME = "sweepstake.json"


def mark_whole(folder: Path, finished: str) -> None:
    """The run in this folder is whole, of the result that was finished then."""
    write_text(folder / NAME, json.dumps({"finished": finished}) + "\n")


def unmark(folder: Path) -> None:
    """It is not whole any more."""
    (folder / NAME).unlink(missing_ok=True)


def whole_of(folder: Path) -> str:
    """When the result came to be that this folder has whole; empty where it has none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / NAME).read_text(encoding="utf-8"))["finished"])
    return ""
