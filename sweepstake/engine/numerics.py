"""The version of a trainer's numerics. It is raised whenever one bit of what the trainer computes moves.

It stands beside every result (`fast 1`) and in no id.
tests/engine/test_numerics.py trains cells of every trainer and holds their bits to a version.
"""

from collections.abc import Iterable

VERSIONS = {
    "reference": 1,  # plain.py: when its steps round otherwise, or draw otherwise.
    "thin": 1,       # thin.py: when what it leaves out changes, or how; and with `reference`, whose steps it takes.
    "fast": 1,       # fast.py and kernels/: when a sum is taken in another order, or a layer by another kernel.
    "conv": 1,       # conv.py and kernels/conv/: as for `fast`, whose kernels its linear layers take.
    "half": 1,       # half.py: when its kernels round otherwise; and with `fast`, which takes its sparse rounds.
    "stacked": 1,    # stacked.py: when its program rounds otherwise, or its dropout draws otherwise.
}
"""Trainer -> version. A change of what all share (draws, batches, pruning, resets) raises all."""

UNVERSIONED = "unversioned"
"""The numerics of rounds from before versions were kept."""


EVERY_LAYER = "every layer"
"""Said of a network with layers other than nn.Linear and nn.Conv2d: earlier results of it left them whole."""


def of(trainer: str, plain: bool = True) -> str:
    """A trainer's name and version, as each of its rounds records them: `fast 1`. A user's own loop has no version.

    `plain`: the network has no layers but nn.Linear and nn.Conv2d, which every version has pruned.
    """
    said = f"{trainer} {VERSIONS[trainer]}" if trainer in VERSIONS else trainer
    return said if plain else f"{said} {EVERY_LAYER}"


def all_of(records: Iterable[dict[str, object]]) -> str:
    """The numerics of a cell's rounds, in order. They are several where it was resumed under another version."""
    return ", ".join(dict.fromkeys(str(record.get("numerics", UNVERSIONED)) for record in records))
