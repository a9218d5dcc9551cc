"""Points in time on a host, or in a CUDA stream, whose work is still running when the host comes by."""

from __future__ import annotations

import time
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
