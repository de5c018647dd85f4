"""SIGTERM, and SIGUSR1 with which Slurm warns: a run ends as after Ctrl-C, and what it holds is free for others."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = ("SIGTERM", "SIGUSR1")
"""Those of them that the system has."""


class Stopping(KeyboardInterrupt):
    """A signal asked this process to end."""


AGAIN_SECONDS = 0.1
"""After which a Stopping that was dropped is raised anew."""
_writing = 0
_asked = False


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a command that was stopped ends with: 130 after Ctrl-C, 143 after a signal."""
    return 143 if isinstance(stop, Stopping) else 130


@contextmanager
def stoppable() -> Iterator[None]:
    """In here these signals raise Stopping, in the main thread; what is being put into a store is put there first."""
    with signals_kept(), _raised_again():
        for number in _settable(*SIGNALS):
            signal.signal(number, _stop)
        yield


@contextmanager
def signals_kept() -> Iterator[None]:
    """After this block Ctrl-C and these signals mean what they meant before, whatever a library did in it."""
    before = {number: signal.getsignal(number) for number in _settable("SIGINT", *SIGNALS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _raised_again() -> Iterator[None]:
    """A Stopping that Python drops is raised anew: nothing that is raised in a finalizer or a weak reference's callback
    leaves it, and a signal may come there.
    """
    before, again = sys.unraisablehook, list[threading.Timer]()

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not issubclass(what.exc_type, Stopping):
            before(what)
            return
        for number in _settable(*SIGNALS):
            signal.signal(number, _stop)
        again.append(threading.Timer(AGAIN_SECONDS, os.kill, [os.getpid(), signal.SIGTERM]))
        again[-1].start()

    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = before
        for each in again:
            each.cancel()


def _settable(*names: str) -> list[int]:
    """Those of them that the system has; none outside the main thread, which alone may say what they do."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def unstopped() -> Iterator[None]:
    """What begins in here ends, though a signal comes meanwhile."""
    global _writing, _asked
    _writing += 1
    try:
        yield
    finally:
        _writing -= 1
    if _asked and not _writing:
        _asked = False
        _stop_once()


def _stop(number: int, frame: FrameType | None) -> None:
    global _asked
    if _writing:
        _asked = True
    else:
        _stop_once()


def _stop_once() -> None:
    """A second signal stops no stopping: at a time limit Slurm sends its warning and the end in the same second."""
    ignore_signals(*SIGNALS)
    raise Stopping


def ignore_signals(*names: str) -> None:
    """Those of them that the system has do nothing in this process: what it is a child of decides."""
    for name in names:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
