"""The keys of a study file, each with its default and what it says: those of a study, and those of its cells."""

from collections.abc import Iterator

import msgspec

from sweepstake.base.cell import NEUTRAL, PIECE_DEFAULTS, Cell
from sweepstake.base.values import description

OWN = {
    "title": ("", "One line over the report."),
    "about": ("", "What the study asks, whom it follows, and every choice the source leaves open."),
    "seeds": ("1", "How many replicates (`5` is 0 to 4) or which (`[42, 43]`)."),
    "keep_target": ("", "The fraction to end at: each of n rounds keeps p^(1/n). In the place of `keep`."),
    "case": ("", "`[[case]]` tables with a `label` and any cell keys: values that vary together, as one axis named "
                 "`case`."),
    "plugins": ("", 'Files with pieces of your own, relative to the study: `["mine.py"]`. Reading the study runs '
                    "their code."),
    "search": ("", "`[search]`: a value that is looked for before the study runs."),
    "quick": ("", "`[quick]`: keys that replace the study's under `--quick`."),
    "machine": ("", "`[machine]`: what cannot change numbers."),
    "figure": ("", "`[[figure]]` tables: what is drawn."),
    "claim": ("", "`[[claim]]` tables: what is claimed, and the test that can contradict it."),
    "reference": ("", "`[[reference]]` tables: what others have measured."),
}
"""Key -> its default as TOML (empty where there is none), and what it says."""

FIELDS = {field.name: field for field in msgspec.structs.fields(Cell)}
CELL_KEYS = tuple(name for name in FIELDS if name != "seed")
KEYS = (*OWN, *CELL_KEYS)
LISTING = "`sweepstake pieces study`"
"""The command that lists them all, for messages."""


def own_reference() -> Iterator[tuple[str, str, str]]:
    """Every key of a study itself: name, default, description."""
    return ((key, default, says) for key, (default, says) in OWN.items())


def cell_reference() -> Iterator[tuple[str, str, str]]:
    """Every key of a cell: name, default, description."""
    for name in CELL_KEYS:
        default = PIECE_DEFAULTS.get(name, NEUTRAL.get(name, FIELDS[name].default))
        text = "" if default is None else msgspec.json.encode(default).decode()
        yield name, text, description(FIELDS[name].type)
