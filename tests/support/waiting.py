"""Wait for an event, never for a length of time: a machine under load takes as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Generous: only something that hangs comes near it.
PATIENCE_S = 300.0


def wait_until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition` is true, and fail if that takes longer than `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for a long time"
        time.sleep(0.005)
