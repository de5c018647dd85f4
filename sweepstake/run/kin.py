"""What a store holds beside a study's own cells: the same cells under another version of a plug-in, and other cells."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sweepstake.base.cell import SETS, Ref
from sweepstake.base.values import shown
from sweepstake.run.opened import Opened
from sweepstake.run.store import Store
from sweepstake.study.study import Planned

Fields = Mapping[str, Any]
"""A cell as a store holds what was asked."""

SHOWN = 3
"""Settings of another cell, values of a setting and files that are named."""


def other_text(opened: Opened) -> str:
    """A line where cells are missing whose results are there under another version of a plug-in; else nothing."""
    study, home = opened.study, opened.store
    missing = [each for each in study.planned if opened.glanced[each.id].status == "missing"] if study.plugins else []
    others = _of_other_code(missing, home) if missing else []
    if not others:
        return ""
    kept = _kept_texts(home, others)
    where = f" (kept: {_listed(kept)})" if kept else ""
    return (f"{len(others)} of {len(missing)} missing cells are in {home.folder} under another version of "
            f"{', '.join(study.plugins)}: what a plug-in's code says is part of what a cell is. "
            f"Put that version back{where}, or let `sweepstake run` compute them anew.")


def _of_other_code(missing: Sequence[Planned], home: Store) -> list[Fields]:
    """The finished cells that are these but for the sources of their pieces."""
    held = {_said(cell): cell for cell in _finished(home)}
    found = (held.get(_said(msgspec.to_builtins(planned.cell))) for planned in missing)
    return [cell for cell in found if cell is not None]


def _finished(home: Store) -> Iterable[Fields]:
    return (cell for id_ in home.whole() if (cell := home.asked(id_)) is not None)


def _said(value: Any) -> str:
    """A cell, or a setting of one, without the hashes of the plug-ins that pieces are from."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(each) for key, each in value.items() if key != "source"}
        return [bare(each) for each in value] if isinstance(value, list) else value

    return json.dumps(bare(value), sort_keys=True)


def _kept_texts(home: Store, cells: Iterable[Fields]) -> list[str]:
    """The files with the plug-ins that these cells name, by their code or, as before, by their text."""
    sources = {cell.get(key, {}).get("source", "") for cell in cells for key in SETS} - {""}
    return [str(path) for code, texts in home.plugin_texts.items() for text, path in texts.items()
            if sources & {code, text}]


def nothing(opened: Opened) -> str:
    """That nothing finished of this study is there, and what is."""
    study, home = opened.study, opened.store
    count = Counter(each.status for each in opened.kept.values())
    counts = ", ".join(f"{number} {word}" for word, number in count.items())
    said = [f"{home.folder} holds no finished cell of {study.name} ({counts})."]
    whole, names = len(home.whole()), home.studies()
    if not whole:
        return f"{said[0]} No cell of any study is finished there."
    said.append(f"{whole} cell{'s' * (whole != 1)} of others {'are' if whole != 1 else 'is'} there, "
                f"from: {', '.join(names) or 'unknown studies'}.")
    if study.name in names and not other_text(opened):
        said.append(f"A study of the same name was run there as another (see {home.folder / 'studies'}).")
        said.append(_nearest(study.planned, home))
    return " ".join(filter(None, said))


def _nearest(planned: Sequence[Planned], home: Store) -> str:
    """In which settings the finished cell that is nearest to these is another."""
    here = [msgspec.to_builtins(each.cell) for each in planned]
    values = {key: {_said(cell[key]): cell[key] for cell in here} for key in here[0]}
    differing = ({key: cell[key] for key in values if key in cell and _said(cell[key]) not in values[key]}
                 for cell in _finished(home))
    nearest = min(filter(None, differing), key=len, default={})
    told = [f"{key} ({_told(key, value)} there, {_listed([_told(key, each) for each in values[key].values()])} here)"
            for key, value in nearest.items()]
    return f"The nearest finished cell differs in {_listed(told)}." if told else ""


def _told(key: str, value: Any) -> str:
    if key not in SETS:
        return shown(value)
    return str(Ref(**{**value, "options": dict(sorted(value["options"].items()))}))  # A cell's file has them sorted.


def _listed(words: Sequence[str]) -> str:
    more = len(words) - SHOWN
    return ", ".join([*words[:SHOWN], *([f"and {more} more"] if more > 0 else [])])
