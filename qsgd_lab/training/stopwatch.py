"""Where a run's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Sums seconds by name; what is in no named stretch is ``other``.

    Parameters
    ----------
    earlier : dict of str to float, optional
        Sums of a run that is being resumed.
    """

    def __init__(self, earlier: dict[str, float] | None = None) -> None:
        self._seconds = {"compute_s": 0.0, "quantize_s": 0.0} | (earlier or {})
        self._earlier_total = self._seconds.pop("total_s", 0.0)
        self._seconds.pop("other_s", None)
        self._start = time.perf_counter()

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a name."""
        start = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """Return seconds by name, with ``total_s`` and ``other_s``."""
        total = self._earlier_total + time.perf_counter() - self._start
        return {**self._seconds, "other_s": total - sum(self._seconds.values()), "total_s": total}
