"""Which numbers a trainer gives. A version stands beside every result and in no id; it is raised whenever a bit of what is trained moves.

tests/engine/test_numerics.py trains cells of every trainer and holds their bits to a version.
"""

from collections.abc import Iterable

VERSIONS = {
    "reference": 1,  # plain.py: when its steps round otherwise, or draw otherwise.
    "thin": 1,       # thin.py: when what it leaves out changes, or how; and with `reference`, whose steps it takes.
    "fast": 1,       # fast.py and kernels/: when a sum is taken in another order, or a layer by another kernel.
    "half": 1,       # half.py: when its kernels round otherwise; and with `fast`, which trains and measures its sparse rounds.
    "stacked": 1,    # stacked.py: when its program rounds otherwise, or its dropout draws otherwise.
}
"""Of each trainer, by name. What all of them share (draws, batches, pruning, resets) moves all."""

UNVERSIONED = "unversioned"
"""What is said of rounds from before versions were kept."""


def of(trainer: str) -> str:
    """What its rounds say of themselves: `fast 1`."""
    return f"{trainer} {VERSIONS[trainer]}"


def all_of(records: Iterable[dict[str, object]]) -> str:
    """Every numerics a cell's rounds were trained with, in order: several where it was resumed under another."""
    return ", ".join(dict.fromkeys(str(record.get("numerics", UNVERSIONED)) for record in records))
