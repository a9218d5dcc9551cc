"""Kind 0: nothing is sent, and every value is +0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits, require
from qsgd_lab.wire.kind import Content, Kind


@dataclass(frozen=True)
class Nothing:
    """A payload that says that nothing is sent of n coordinates."""

    num_coordinates: int


class NoneKind(Kind[Nothing]):
    """Kind 0."""

    number = 0
    name = "none"
    payload_types = (Nothing,)
    needs_bound = True

    def count(self, payload: Nothing) -> int:
        """Return n."""
        n = payload.num_coordinates
        number = isinstance(n, int | np.integer) and not isinstance(n, bool)
        require(number, "parameters", f"{n!r} coordinates; it must be a whole number")
        return int(n)

    def write(self, payload: Nothing, options: Any, side: Bytes, buffer: Bytes) -> None:
        """Write nothing."""

    def read(self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits) -> Nothing:
        """Return the payload."""
        return Nothing(content.structure.num_coordinates)

    def put_values(self, payload: Nothing, values: NDArray[np.float32]) -> None:
        """Write zeros."""
        values[:] = 0


KIND = NoneKind()
