"""Under which id a store has a cell whose pieces are from a plug-in.

An id holds what a plug-in's code says. Before, it held the plug-in's text to the byte, comments too, so a cell may have
earlier ids: one for each text that says the same code. The rule, for all who compute, read or count: a cell is under
the id of its code; where nothing is there, under the first of its earlier ids under which anything is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from msgspec.structs import replace

from sweepstake.base.cell import SETS, Cell
from sweepstake.pieces import cell_id, loaded_with
from sweepstake.run.store import Store
from sweepstake.study.search import Search

Sources = Mapping[str, str]
"""The hash of a plug-in's code -> the hash of a text that says it."""


def id_in(home: Store, cell: Cell, id_of: Callable[[Cell], str] = cell_id) -> str:
    """The id of a cell in a store."""
    return _first(home.holds, [cell], home, lambda sources: id_of(_as_before(cell, sources)))


def search_id_in(home: Store, search: Search) -> str:
    """The id of a search in a store."""
    return _first(home.holds_search, search.cells, home,
                  lambda sources: search.id_by(lambda cell: cell_id(_as_before(cell, sources))))


def _first(holds: Callable[[str], bool], cells: Sequence[Cell], home: Store, id_by: Callable[[Sources], str]) -> str:
    """The rule: the id by the code, or the first by earlier sources that is held."""
    id_ = id_by({})
    codes = list(dict.fromkeys(source for cell in cells for source in sources_of(cell)))
    if not codes or holds(id_):
        return id_
    return next(filter(holds, map(id_by, _earlier(codes, home))), id_)


def _earlier(codes: Sequence[str], home: Store) -> Iterator[Sources]:
    """Every way to name these plug-ins by their texts: by those that were run now, then by those of before."""
    texts = [dict.fromkeys([*loaded_with(code), *home.plugin_texts.get(code, {})]) or [code] for code in codes]
    for each in product(*texts):
        yield dict(zip(codes, each, strict=True))


def sources_of(cell: Cell) -> list[str]:
    """The hashes of the plug-ins that a cell's pieces are from, and its donor's."""
    sources = [getattr(cell, key).source for key in SETS] + [piece["source"] for piece in _of_donor(cell).values()]
    return [source for source in sources if source]


def _as_before(cell: Cell, sources: Sources) -> Cell:
    """The cell with other sources of its pieces, and of its donor's."""
    pieces = {key: replace(ref, source=sources.get(ref.source, ref.source))
              for key in SETS if (ref := getattr(cell, key)).source}
    donors = {key: {**piece, "source": sources.get(piece["source"], piece["source"])}
              for key, piece in _of_donor(cell).items()}
    return replace(cell, **pieces, donor={**cell.donor, **donors} if cell.donor else cell.donor)


def _of_donor(cell: Cell) -> dict[str, dict[str, Any]]:
    """The pieces that a cell names of its donor, as a study writes them."""
    given = cell.donor or {}
    return {key: given[key] for key in SETS if isinstance(given.get(key), dict) and "source" in given[key]}
