"""The noise of a block of repetitions, drawn once: every method and learning rate meets the same.

Drawing normal numbers is most of the time of a method without compression. What was drawn is kept, and given
again to the next run with the same seed and repetitions, as far as memory allows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any, cast

import numpy as np

#: Bytes that are kept in all; the recordings used longest ago are dropped first.
KEPT_BYTES = 3 << 28
_recordings: dict[Hashable, _Recording] = {}


def replayed(key: Hashable, make: Callable[[], np.random.Generator]) -> np.random.Generator:
    """Return what draws as the generator that `make` returns.

    Parameters
    ----------
    key : hashable
        What decides the generator, and the calls that are made of it: their names and arguments must be the
        same in every run of this key.
    make : callable
    """
    recording = _recordings.pop(key, None) or _Recording(make())
    _recordings[key] = recording  # now the last in the order
    return cast(np.random.Generator, _Replay(recording))


class _Recording:
    """Draws so far, and the generator after them."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.draws: list[Any] = []
        self.bytes = 0
        self.rest = generator

    def draw(self, place: int, name: str, arguments: Any, options: Any) -> Any:
        """Return draw number `place`, kept or made now; None where the recording has ended."""
        if place == len(self.draws):
            if not _has_space(self):
                return None
            drawn = getattr(self.rest, name)(*arguments, **options)
            self.draws.append(drawn)
            self.bytes += drawn.nbytes
        return self.draws[place]


def _has_space(recording: _Recording) -> bool:
    """Whether a recording may grow; others are dropped for it, the longest unused first."""
    while sum(each.bytes for each in _recordings.values()) >= KEPT_BYTES:
        oldest = next(iter(_recordings))
        if _recordings[oldest] is recording:
            return False
        del _recordings[oldest]
    return True


class _Replay:
    """Repeats a recording from its beginning, and draws by itself where it ends."""

    def __init__(self, recording: _Recording, place: int = 0, own: np.random.Generator | None = None) -> None:
        self._recording, self._place, self._own = recording, place, own

    def __deepcopy__(self, memo: dict[int, Any]) -> _Replay:
        return _Replay(self._recording, self._place, copy.deepcopy(self._own))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def draw(*arguments: Any, **options: Any) -> Any:
            if self._own is None:
                found = self._recording.draw(self._place, name, arguments, options)
                if found is not None:
                    self._place += 1
                    return found.copy()
                self._own = copy.deepcopy(self._recording.rest)
            return getattr(self._own, name)(*arguments, **options)

        return draw
