"""What has not been sent, before a step and after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Residual:
    """Two vectors: a step reads one and writes the other, so that it can be taken back without a copy.

    Parameters
    ----------
    size : int
        Coordinates; 0 where nothing is kept.

    Attributes
    ----------
    now : float32, shape (n,)
        What has not been sent before this step.
    after : float32, shape (n,)
        The same after this step, as far as it has come.
    """

    def __init__(self, size: int) -> None:
        self.now: Vector = np.zeros(size, np.float32)
        self.after: Vector = np.zeros(size, np.float32)

    def keep(self, part: slice) -> None:
        """Leave a part as it was before the step."""
        if self.now.size:
            self.after[part] = self.now[part]

    def settle(self) -> None:
        """End the step: all of it has been written."""
        self.now, self.after = self.after, self.now

    def rescale(self, factor: float) -> None:
        """Begin with the values times a factor."""
        self.now *= np.float32(factor)

    def put(self, values: Vector | float) -> None:
        """Begin with other values."""
        self.now[...] = values
