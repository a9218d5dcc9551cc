"""Runs of chunks on several threads; kernels release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

Result = TypeVar("Result")


def num_threads(threads: int | None) -> int:
    """Return how many threads are meant; None means one for each processor.

    Raises
    ------
    ValueError
        If fewer than one.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or threads < 1:  # True would count as one thread
        raise ValueError(f"threads is {threads!r}; it must be at least 1, or None for all processors")
    return threads


@lru_cache(maxsize=4)
def _helpers(count: int, process: int) -> ThreadPoolExecutor:
    """Return threads that stay: new ones would begin on their maker's processor and wait for it.

    They belong to one process, since threads do not survive a fork.
    """
    return ThreadPoolExecutor(count, thread_name_prefix=f"qsgd-lab-{process}")


def run_ranges(function: Callable[[int, int], Result], count: int, threads: int | None) -> list[Result]:
    """Call `function(first, last)` on ranges that cover 0..count, one a thread; return all results.

    The calling thread takes the first range.
    """
    workers = min(num_threads(threads), max(count, 1))
    if workers == 1:
        return [function(0, count)]
    bounds = [count * i // workers for i in range(workers + 1)]
    helpers = _helpers(workers - 1, os.getpid())  # kept from call to call
    others = [helpers.submit(function, bounds[i], bounds[i + 1]) for i in range(1, workers)]
    results = [function(bounds[0], bounds[1])]
    return results + [other.result() for other in others]
