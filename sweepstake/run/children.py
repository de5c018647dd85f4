"""How a process of ours begins: with one thread, and nothing of the current folder on its path."""

import os
import sysconfig
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def quiet() -> dict[str, str]:
    """The variables that say so, before anything is imported there."""
    return {**dict.fromkeys(THREADS, "1"), "PYTHONSAFEPATH": "1"}


def python_path() -> list[str]:
    """PYTHONPATH without its empty entries, which mean the current folder."""
    return list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))


def import_path() -> list[str]:
    """Where a process that is handed no sys.path finds us.

    Our own folder may be the current one (a checkout), so Python's own modules come before it.
    """
    standard = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")]
    return [*python_path(), *filter(None, standard), str(Path(__file__).parents[2])]
