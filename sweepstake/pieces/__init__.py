"""Floor 1, open sets: plain functions about one network. Adding a piece is adding a function."""

import hashlib
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


def hash_of(text: bytes) -> str:
    """A plug-in's file in 16 hex digits, as its pieces' cells, its results and people are told it."""
    return hashlib.sha256(text).hexdigest()[:16]


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
    digest = hash_of(text)
    for registry in REGISTRIES.values():
        registry.pieces.update(
            {name: replace(piece, source=digest) for name, piece in registry.pieces.items() if _is_from(piece, path)}
        )
    _loaded[path] = text


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
