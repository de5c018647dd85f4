"""How long calls take, side by side."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

TURNS = 15
"""How often each is timed, in turn."""
SECONDS = 0.001
"""What a turn of each takes at least: so short that a busy machine leaves most of them alone."""


def timed(calls: Mapping[str, Callable[[], Any]], turns: int = TURNS, seconds: float = SECONDS) -> dict[str, float]:
    """The median microseconds of each call, over turns in which they alternate.

    Where torch has one thread these are of its processor time, and programs beside it do not count; else of the clock.
    """
    times = {name: int(max(1, seconds / max(_seconds(call, 2), 1e-7))) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            taken[name].append(_seconds(call, times[name]) * 1e6)
    return {name: round(median(each), 2) for name, each in taken.items()}


def _seconds(call: Callable[[], Any], times: int) -> float:
    """A call's seconds, the first one left out."""
    call()
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    for _ in range(times):
        call()
    return (clock() - began) / times


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """So many threads of torch's meanwhile, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
