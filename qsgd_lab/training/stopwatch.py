"""Where a run's time goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qsgd_lab.training.clock import Clock, HostClock

NAMES = ("compute_s", "quantize_s", "other_s")


class Stopwatch:
    """Seconds by name; every moment since the start is counted under one of them.

    Parameters
    ----------
    earlier : dict of str to float, optional
        What `read` gave for a run that is being resumed.
    clock : Clock, optional
        Of the device that does the work; by default the host's.
    """

    def __init__(self, earlier: Mapping[str, float] | None = None, clock: Clock | None = None) -> None:
        self._seconds = {name: (earlier or {}).get(name, 0.0) for name in NAMES}
        self._clock = clock or HostClock()
        self._last = self._clock.mark()
        self._pending: list[tuple[str, Any]] = []

    def split(self, name: str) -> None:
        """Count the time since the last split, or the start, under a name."""
        self._pending.append((name, self._clock.mark()))
        if self._clock.immediate:
            self.settle()

    def settle(self) -> None:
        """Add up the splits so far; on a device this waits until it has come to the last of them."""
        for name, moment in self._pending:
            self._seconds[name] += self._clock.seconds(self._last, moment)
            self._last = moment
        self._pending.clear()

    def read(self) -> dict[str, float]:
        """Return seconds by name, and their sum as ``total_s``; the time since the last split is other."""
        self.split("other_s")
        self.settle()
        return {**self._seconds, "total_s": sum(self._seconds.values())}
