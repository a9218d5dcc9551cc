"""Time on the processor of one thread: the best of several calls."""

from __future__ import annotations

import time
from collections.abc import Callable


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
