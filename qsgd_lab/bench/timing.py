"""Time on the processor of one thread: the best of several calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def best_time(function: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of the calling thread, in seconds, that a call took; one call warms up.

    Other load on the machine makes calls slower, never faster, so that the least is the steadiest figure.
    """
    function()
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time()
        function()
        best = min(best, time.thread_time() - start)
    return best


def least_times(calls: Mapping[Key, Callable[[], object]], rounds: int, repeats: int = 1) -> dict[Key, float]:
    """Return the least processor time of each call, seconds of the calling thread, by name.

    The calls take turns, so that a slow phase of the machine is slow for all: ratios between them are the
    steadiest of all figures.

    Parameters
    ----------
    calls : mapping of a name to a callable
    rounds : int
        Turns of each.
    repeats : int
        Calls that are timed together, for short ones.
    """
    for call in calls.values():
        call()  # compiles, and warms up
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.thread_time_ns()
            for _ in range(repeats):
                call()
            least[name] = min(least[name], (time.thread_time_ns() - start) / repeats / 1e9)
    return least
