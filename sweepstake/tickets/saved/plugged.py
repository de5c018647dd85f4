"""The plug-ins that a ticket's cell names: run only when they are given, and only with the text that made it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepstake.base.cell import SETS
from sweepstake.base.errors import UserError
from sweepstake.pieces import REGISTRIES, hash_of, load_plugin


def load_plugins(ticket: Path, cell: Mapping[str, Any], plugins: Sequence[str | Path]) -> None:
    """Run those of the given plug-ins that the cell's pieces are from; refused where one of those is not given."""
    needed = {source: f'{key} = "{cell[key]["name"]}"' for key in SETS if (source := _source(cell.get(key)))
              and not _is_loaded(SETS[key], cell[key])}
    if not needed:
        return
    given = {hash_of(_text(ticket, Path(plugin))): Path(plugin) for plugin in plugins}
    missing = [f"{piece} is from a plug-in with the hash {source}" for source, piece in needed.items()
               if source not in given]
    if missing:
        others = ", ".join(f"{path} ({hash_})" for hash_, path in given.items() if hash_ not in needed)
        none = f"Given, but of another text: {others}. " if others else ""
        raise UserError(f'{ticket}: its {" and its ".join(missing)}. {none}'
                        'Read that file, then give it: load_ticket(path, plugins=["mine.py"]).')
    for source in needed:
        load_plugin(given[source])


def _source(piece: Any) -> str:
    return piece.get("source", "") if isinstance(piece, Mapping) else ""


def _is_loaded(set_: str, piece: Mapping[str, Any]) -> bool:
    known = REGISTRIES[set_].pieces.get(piece["name"])
    return known is not None and known.source == piece["source"]


def _text(ticket: Path, plugin: Path) -> bytes:
    try:
        return plugin.read_bytes()
    except OSError as error:
        raise UserError(f"{ticket}: the plug-in {plugin} cannot be read: {error.strerror}.") from error
