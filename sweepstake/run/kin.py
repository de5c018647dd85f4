"""What a store holds beside a study's own cells: the same cells under another text of a plug-in, and other studies."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from sweepstake.run.store import Store
from sweepstake.study.study import Planned, Study


def other_text(study: Study, home: Store) -> str:
    """A line where cells are missing whose results are there under another text of the plug-in.

    Nothing else is said.
    """
    kept = home.glance(planned.id for planned in study.planned) if study.plugins else {}
    missing = [planned for planned in study.planned if planned.id in kept and kept[planned.id].status == "missing"]
    held = _held_otherwise(missing, home) if missing else 0
    if not held:
        return ""
    return (f"{held} of {len(missing)} missing cells are in {home.folder} "
            f"under another text of {', '.join(study.plugins)}: "
            "a plug-in's text, comments too, is part of what a cell is. "
            "Put the old text back, or let `sweepstake run` compute them anew.")


def _held_otherwise(missing: Sequence[Planned], home: Store) -> int:
    held = {_without_text(cell) for id_ in home.whole() if (cell := home.asked(id_)) is not None}
    return sum(_without_text(msgspec.to_builtins(planned.cell)) in held for planned in missing)


def _without_text(cell: dict[str, Any]) -> str:
    """A cell without the hashes of the plug-ins its pieces are from."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(each) for key, each in value.items() if key != "source"}
        return [bare(each) for each in value] if isinstance(value, list) else value

    return json.dumps(bare(cell), sort_keys=True)


def nothing(study: Study, home: Store) -> str:
    """That nothing finished of this study is there, and what is."""
    whole, names = len(home.whole()), home.studies()
    said = f"{home.folder} holds no finished cell of {study.name}; {len(study.planned)} are missing."
    if not whole:
        return f"{said} No cell of any study is finished there."
    if study.name in names:
        said += (" It was run into this store with other values or under other settings "
                 f"(see {home.folder / 'studies'}).")
    return (f"{said} {whole} cell{'s' * (whole != 1)} of others {'are' if whole != 1 else 'is'} there, "
            f"from: {', '.join(names) or 'unknown studies'}.")
