"""A stopwatch for the parts of a run's time.

Points in time on a host, or in a CUDA stream, whose work is still running when the host comes by.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments, and tells the seconds between two of them."""

    #: Whether the seconds are known at once; else only when the device has come to the later mark.
    immediate: bool

    def mark(self) -> Any:
        """Return the present moment."""

    def seconds(self, earlier: Any, later: Any) -> float:
        """Return the time between two moments, waiting for the later one if need be."""


class HostClock:
    """Wall time."""

    immediate = True

    def mark(self) -> float:
        """Return the present moment."""
        return time.perf_counter()

    def seconds(self, earlier: float, later: float) -> float:
        """Return the time between two moments."""
        return later - earlier


class CudaClock:
    """Events of the current stream: marking one costs the host microseconds and waits for nothing."""

    immediate = False

    def mark(self) -> torch.cuda.Event:
        """Record an event."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        """Return the time that passed in the stream between two events."""
        later.synchronize()
        return float(earlier.elapsed_time(later)) / 1000


def clock_of(device: torch.device) -> Clock:
    """Return the clock by which work on a device is timed."""
    return CudaClock() if device.type == "cuda" else HostClock()


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
