"""Runs of chunks on several threads; kernels release the interpreter's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")

_in_use: ContextVar[int] = ContextVar("threads", default=1)


def num_threads(threads: int | None) -> int:
    """Return how many threads are meant; None means one for each processor.

    Raises
    ------
    ValueError
        If it is not an integer from 1 up.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ValueError(
            f"threads is {threads!r}; it must be an integer, at least 1, or None for all processors"
        )
    return int(threads)


@lru_cache(maxsize=4)
def _helpers(count: int, process: int) -> ThreadPoolExecutor:
    """Return threads that stay: new ones would begin on their maker's processor and wait for it.

    They belong to one process, since threads do not survive a fork.
    """
    return ThreadPoolExecutor(count, thread_name_prefix=f"qsgd-lab-{process}")


def run_ranges(function: Callable[[int, int], Result], count: int, threads: int | None) -> list[Result]:
    """Call `function(first, last)` on ranges that cover 0..count, one a thread; return all results.

    The calling thread takes the first range. At the interpreter's exit, when no thread can start any more, it
    takes them all.
    """
    workers = min(num_threads(threads), max(count, 1))
    if workers == 1 or not threading.main_thread().is_alive():
        return [function(0, count)]
    bounds = [count * i // workers for i in range(workers + 1)]
    helpers = _helpers(workers - 1, os.getpid())  # kept from call to call
    others: list[Future[Result]] = []
    try:
        for first, last in pairwise(bounds[1:]):
            others.append(helpers.submit(function, first, last))
    except RuntimeError as error:
        if "cannot schedule new futures" not in str(error):  # the machine has no thread left
            raise
    results = [function(bounds[0], bounds[1]), *(other.result() for other in others)]
    rest = bounds[1 + len(others)]
    return results if rest == count else [*results, function(rest, count)]


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """Let messages of version 2 be written and read by so many threads inside a ``with``."""
    token = _in_use.set(threads)
    try:
        yield
    finally:
        _in_use.reset(token)


def threads_in_use() -> int:
    """Return the number that `using_threads` has set, or 1."""
    return _in_use.get()
