"""The fork server, from which every worker is forked with PyTorch and the kernels loaded.

It is begun before this process loads PyTorch, so that both load it at once.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweepstake.base.cell import Cell
from sweepstake.run.children import import_path, python_path, quiet

START = "forkserver" if sys.platform != "win32" else "spawn"
PRELOADED = ["sweepstake.run.worker", "sweepstake.run.preload"]
FOR_OPTIMISERS = "torch._dynamo"
"""PyTorch's optimisers import it at their first use, which takes seconds: better once here than in every worker."""


def context() -> Any:
    """How workers are begun."""
    return multiprocessing.get_context(START)


def begin(cells: Iterable[Cell] = (), engine: str = "fast") -> None:
    """Begin the server that workers of these cells are forked from, where there is none; it loads by itself."""
    if START != "forkserver" or multiprocessing.current_process().daemon:
        return
    from multiprocessing.forkserver import ensure_running

    by_kernels = engine == "fast" and all(map(_surely_by_kernels, cells))
    modules = PRELOADED if by_kernels else [*PRELOADED, FOR_OPTIMISERS]
    context().set_forkserver_preload(modules)
    # Python 3.11 hands the server no sys.path, and it says nothing when it cannot import what it should.
    with quiet_environment(PYTHONPATH=os.pathsep.join(import_path())), installed_first():
        ensure_running()


def _surely_by_kernels(cell: Cell) -> bool:
    """Whether no optimiser of PyTorch trains it. A wrong guess costs a worker seconds, and no more."""
    return cell.model.name == "mlp" and "norm" not in cell.model.options and cell.precision == "float32"


@contextmanager
def quiet_environment(**more: str) -> Iterator[None]:
    """What is said to a worker before anything is imported there; our own environment is left as it was."""
    said = {**quiet(), **more}
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def installed_first() -> Iterator[None]:
    """A worker finds what is installed before what lies in the current folder or the script's.

    Python has put those first in ours.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    put = {"", *([str(Path(script).absolute().parent)] if script else [])} - set(map(os.path.abspath, python_path()))
    if str(Path(__file__).parents[3]) in map(os.path.abspath, put):
        put = set()  # Ours itself lies there, and must be found before another that is installed.
    before = list(sys.path)
    sys.path.sort(key=lambda entry: entry in put)
    try:
        yield
    finally:
        sys.path[:] = before
