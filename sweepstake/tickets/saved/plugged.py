"""The plug-ins that a ticket's cell names: run only when they are given, and only with the code that made it.

A ticket from before names a plug-in by the hash of its text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepstake.base.cell import SETS
from sweepstake.base.errors import UserError
from sweepstake.pieces import REGISTRIES, code_hash, hash_of, load_plugin, loaded_with


def load_plugins(ticket: Path, cell: Mapping[str, Any], plugins: Sequence[str | Path]) -> None:
    """Run those of the given plug-ins that the cell's pieces are from; refused where one of those is not given."""
    needed = {source: f'{key} = "{cell[key]["name"]}"' for key in SETS if (source := _source(cell.get(key)))
              and not _is_loaded(SETS[key], cell[key])}
    if not needed:
        return
    texts = {Path(plugin): _text(ticket, Path(plugin)) for plugin in plugins}
    given = {hash_: path for path, text in texts.items() for hash_ in (hash_of(text), _code(ticket, path, text))}
    missing = [f"{piece} is from a plug-in with the hash {source}" for source, piece in needed.items()
               if source not in given]
    if missing:
        others = ", ".join(f"{path} ({code_hash(text)})" for path, text in texts.items()
                           if path not in [given.get(source) for source in needed])
        none = f"Given, but not that: {others}. " if others else ""
        raise UserError(f'{ticket}: its {" and its ".join(missing)}. {none}'
                        'Read that file, then give it: load_ticket(path, plugins=["mine.py"]).')
    for source in needed:
        load_plugin(given[source])


def _source(piece: Any) -> str:
    return piece.get("source", "") if isinstance(piece, Mapping) else ""


def _is_loaded(set_: str, piece: Mapping[str, Any]) -> bool:
    known = REGISTRIES[set_].pieces.get(piece["name"])
    return known is not None and piece["source"] in (known.source, *loaded_with(known.source))


def _code(ticket: Path, plugin: Path, text: bytes) -> str:
    try:
        return code_hash(text)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{ticket}: the plug-in {plugin} is no Python: {error}.") from error


def _text(ticket: Path, plugin: Path) -> bytes:
    try:
        return plugin.read_bytes()
    except OSError as error:
        raise UserError(f"{ticket}: the plug-in {plugin} cannot be read: {error.strerror}.") from error
