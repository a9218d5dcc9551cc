"""Where a run's time goes."""

from __future__ import annotations

import time

NAMES = ("compute_s", "quantize_s", "other_s")


class Stopwatch:
    """Seconds by name; every moment since the start is counted under one of them.

    Parameters
    ----------
    earlier : dict of str to float, optional
        What `read` gave for a run that is being resumed.
    """

    def __init__(self, earlier: dict[str, float] | None = None) -> None:
        self._seconds = {name: (earlier or {}).get(name, 0.0) for name in NAMES}
        self._last = time.perf_counter()

    def split(self, name: str) -> None:
        """Count the time since the last split, or the start, under a name."""
        now = time.perf_counter()
        self._seconds[name] += now - self._last
        self._last = now

    def read(self) -> dict[str, float]:
        """Return seconds by name, and their sum as ``total_s``; the time since the last split is other."""
        self.split("other_s")
        return {**self._seconds, "total_s": sum(self._seconds.values())}
