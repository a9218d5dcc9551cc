"""The load of a machine by others: how many cores they use while something is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path

_COUNTERS = Path("/proc/stat")
#: Fields of its first line in which a core did nothing.
_IDLE = (3, 4)


class LoadMeter:
    """Counts from when it is made; processes that this one has started and waited for are not others."""

    def __init__(self) -> None:
        self._start = time.monotonic(), _busy_s(), _own_s()

    def others(self) -> float:
        """Return how many cores others have used on average since.

        Where the system counts nothing (other than Linux), the load average of the last minute.
        """
        start, busy, own = self._start
        now = _busy_s()
        if busy is None or now is None:
            return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        return max(0.0, now - busy - (_own_s() - own)) / (time.monotonic() - start)


def _busy_s() -> float | None:
    """Return the seconds that all cores together have worked, or been taken by another machine."""
    try:
        line = _COUNTERS.read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    ticks = [int(word) for word in line.split()[1:9]]  # what follows is counted in the first two
    return sum(n for field, n in enumerate(ticks) if field not in _IDLE) / float(os.sysconf("SC_CLK_TCK"))


def _own_s() -> float:
    times = os.times()
    return sum(times[:4])
