"""Floor 1, open sets: plain functions about one network. Adding a piece is adding a function."""

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweepstake.base.cell import Cell, Ref, hash_by_seed, hash_cell
from sweepstake.base.errors import UserError
from sweepstake.base.registry import Piece, Registry
from sweepstake.base.specs import claim_test, figure_kind
from sweepstake.pieces.allocations import allocation
from sweepstake.pieces.criteria import criterion
from sweepstake.pieces.datasets import Data as Data
from sweepstake.pieces.datasets import dataset
from sweepstake.pieces.inits import init
from sweepstake.pieces.lr_schedules import lr_schedule
from sweepstake.pieces.models import model
from sweepstake.pieces.resets import reset
from sweepstake.pieces.source import code_hash, hash_of

REGISTRIES: dict[str, Registry] = {
    r.set: r for r in (dataset, model, init, lr_schedule, criterion, allocation, reset)}

_loaded: dict[Path, bytes] = {}
_loading: list[Path] = []


def neutral_options(set_: str, name: str) -> dict[str, object]:
    """The neutral option values of a piece, which `cell_id` leaves out."""
    return dict(REGISTRIES[set_].get(name).neutral)


def cell_id(cell: Cell) -> str:
    """The name of a cell's result for ever."""
    return hash_cell(cell, neutral_options)


def cell_id_by_seed(cell: Cell) -> Callable[[int], str]:
    """The same of the cell under any other seed."""
    return hash_by_seed(cell, neutral_options)


def told(set_: str, ref: Ref) -> str:
    """A piece as text: its name, and the options that are not neutral."""
    neutral = neutral_options(set_, ref.name)
    return str(Ref(ref.name, {k: v for k, v in ref.options.items() if k not in neutral or neutral[k] != v}))


def load_plugin(path: Path) -> None:
    """Run a user's file, so that the pieces it decorates have names; again only when its text has changed."""
    check_not_loading("load_study")
    path = path.resolve()
    if not path.is_file():
        raise UserError(f'plugins: no file "{path}". Paths are relative to the study file.')
    text = path.read_bytes()
    if _loaded.get(path) == text:
        return
    _forget(path)
    name = f"sweepstake_plugin_{path.stem}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    _loading.append(path)
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
        code = code_hash(text)
    except UserError as error:
        _forget(path)
        raise UserError(
            *(f"plugins: {path}{_line_in(error, path)}: {problem}" for problem in error.problems)
        ) from error
    except (Exception, SystemExit) as error:
        _forget(path)
        message = error.msg if isinstance(error, SyntaxError) else error
        raise UserError(f"plugins: {path}{_line_in(error, path)} raised {type(error).__name__}: {message}. "
                        "Mend the file, or take it out of plugins.") from error
    finally:
        _loading.pop()
    for registry in REGISTRIES.values():
        registry.pieces.update(
            {name: replace(piece, source=code) for name, piece in registry.pieces.items() if _is_from(piece, path)}
        )
    _loaded[path] = text


def loaded_text(path: str | Path) -> bytes:
    """The text of a plug-in as it was run."""
    return _loaded[Path(path).resolve()]


def loaded_with(code: str) -> list[str]:
    """The hashes of the texts of the plug-ins that were run and say this code."""
    return [hash_of(text) for text in _loaded.values() if code_hash(text) == code]


def check_not_loading(caller: str) -> None:
    """Refuse to read or run a study while a plug-in loads: it would load itself again, in every worker too."""
    if _loading:
        raise UserError(f"{caller} was called while {_loading[-1].name} was loaded as a plug-in. "
                        'Put the call there under `if __name__ == "__main__":`.')


def _forget(path: Path) -> None:
    """Remove the pieces that this file registered."""
    _loaded.pop(path, None)
    for registry in REGISTRIES.values():
        for name, piece in list(registry.pieces.items()):
            if _is_from(piece, path):
                del registry.pieces[name]
    claim_test.forget(path)
    figure_kind.forget(path)


def _is_from(piece: Piece, path: Path) -> bool:
    return getattr(getattr(piece.function, "__code__", None), "co_filename", "") == str(path)


def _line_in(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, ""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = f":{error.lineno}"
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
