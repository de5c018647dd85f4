"""numba's cache on disk, which follows every file here.

numba stamps machine code with the text of one file, its function's own: after a change of a helper in another file it
would go on running what it has.
"""

# pyright: basic, reportAttributeAccessIssue=false, reportCallIssue=false

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import cpu_target


@cache
def stamp() -> str:
    """A hash of every source in this folder, and in those inside it."""
    sources = sorted(_sources(files(__name__.rpartition(".")[0]), ""))
    return hashlib.sha256(repr(sources).encode()).hexdigest()


def _sources(folder: Traversable, place: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _sources(each, f"{place}{each.name}/")
        elif each.name.endswith(".py"):
            yield f"{place}{each.name}", each.read_bytes()


class FolderCache(FunctionCache):
    """A function's machine code while no source here changes; after that, the new code is written over the old.

    It lies where numba's own would: beside the source, or in the user's cache where that cannot be written.
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        name = f"{function.__module__}.{function.__qualname__}.{sys.implementation.cache_tag}"
        self._cache_file = IndexDataCacheFile(self.cache_path, name, stamp())

    def is_warm(self) -> bool:
        """Whether it holds anything for this kind of CPU."""
        machine = cpu_target.target_context.codegen().magic_tuple()
        return any(kept_for == machine for _, kept_for, _ in self._cache_file._load_index())


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """For what Python calls: numba's njit, kept on disk where anything can be written."""
    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(no_cfunc_wrapper=True, **options)(function)
        with suppress(RuntimeError):  # Nowhere to write: compiled once a process.
            dispatcher._cache = FolderCache(function)
        return dispatcher
    return decorate


inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""For what only kernels call: njit without a way in from Python or C, each of which takes time to compile."""


def are_warm(*dispatchers: Any) -> bool:
    """Whether all of these would be read from disk, not compiled."""
    return all(isinstance(each._cache, FolderCache) and each._cache.is_warm() for each in dispatchers)
