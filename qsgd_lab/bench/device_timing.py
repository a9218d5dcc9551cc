"""The time of work on a device: events on the current stream around it, the best of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Times a call."""

    def __call__(self, run: Callable[[], object], repeats: int) -> float:
        """Return the seconds of the fastest of `repeats` calls."""


#: Calls between two events: enough that launching the next one hides behind the one that runs.
BATCH = 10


def event_time(run: Callable[[], object], repeats: int) -> float:
    """Return the seconds a call takes by CUDA events, in the fastest of `repeats` batches of ten.

    Three calls before them are not counted. Gradients should be larger than the second-level cache.
    """
    import torch

    for _ in range(3):
        run()
    best = float("inf")
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        begin.record()
        for _ in range(BATCH):
            run()
        end.record()
        end.synchronize()
        best = min(best, begin.elapsed_time(end) / 1e3 / BATCH)
    return best
