"""An analysis as a command asks for it: by its name, its cells as KEY=VALUE."""

from collections.abc import Sequence
from pathlib import Path

from sweepstake.base.errors import UserError, unknown
from sweepstake.base.specs import Label, Where
from sweepstake.read.survivors.analysis import Analysis
from sweepstake.read.survivors.cells import Results
from sweepstake.read.survivors.connectivity import connectivity
from sweepstake.read.survivors.overlap import overlap
from sweepstake.read.survivors.pixels import surviving_pixels
from sweepstake.read.survivors.signs import sign_agreement

NAMES = ("overlap", "pixels", "signs", "connectivity")


def by_name(name: str, results: Results, where: Sequence[str] = (), round_: int | None = None,
            data: str | Path | None = None) -> Analysis:
    """The analysis of that name."""
    cells = where_of(where)
    if name == "overlap":
        return overlap(results, where=cells, round=round_, data=data)
    if name == "pixels":
        return surviving_pixels(results, where=cells, round=round_, data=data)
    if name == "signs":
        return sign_agreement(results, where=cells, round=round_)
    if name == "connectivity":
        return connectivity(results, where=cells, round=round_, data=data)
    raise UserError(unknown(f"analyse {name}", "analysis", name, NAMES))


def where_of(said: Sequence[str]) -> Where:
    """KEY=VALUE, each key as often as it has values."""
    where: dict[str, list[Label]] = {}
    for one in said:
        key, equals, value = one.partition("=")
        if not (key and equals and value):
            raise UserError(f"--where {one}: say KEY=VALUE, as in --where init=xavier_normal.")
        where.setdefault(key, []).append(value)
    return {**where}
