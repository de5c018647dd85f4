"""Floor 1, open sets: plain functions about one network. Adding a piece is adding a function."""

import importlib.util
import sys
from pathlib import Path

from sweepstake.base.errors import UserError
from sweepstake.base.registry import Registry
from sweepstake.pieces.allocations import allocation
from sweepstake.pieces.criteria import criterion
from sweepstake.pieces.datasets import dataset
from sweepstake.pieces.inits import init
from sweepstake.pieces.lr_schedules import lr_schedule
from sweepstake.pieces.models import model
from sweepstake.pieces.resets import reset

REGISTRIES: dict[str, Registry] = {
    r.set: r for r in (dataset, model, init, lr_schedule, criterion, allocation, reset)}

_loaded: set[Path] = set()


def neutral_options(set_: str, name: str) -> dict[str, object]:
    """The option values at which a piece's later additions do not exist: what `cell_id` leaves out."""
    return dict(REGISTRIES[set_].get(name).neutral)


def load_plugin(path: Path) -> None:
    """Run a user's file once, so that the pieces it decorates have names."""
    path = path.resolve()
    if path in _loaded:
        return
    if not path.is_file():
        raise UserError(f'plugins: no file "{path}". Paths are relative to the study file.')
    spec = importlib.util.spec_from_file_location(f"sweepstake_plugin_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        line = _line_in(error, path)
        raise UserError(f"plugins: {path}{line} raised {type(error).__name__}: {error}. Mend the file, or take it out of plugins.") from error
    _loaded.add(path)


def _line_in(error: Exception, path: Path) -> str:
    trace, line = error.__traceback__, ""
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
