"""fp32: the gradient as it is, the baseline of every comparison."""

from __future__ import annotations

import math

from qsgd_lab.arrays import is_torch
from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.stream import Stream


class FullPrecision(Compressor):
    """Sends float32 coordinates; bypasses the quantizer."""

    def init(self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None) -> None:
        """Return None: there is no state."""

    def compress(self, gradient: Gradient, state: None, stream: Stream) -> tuple[Gradient, None]:
        """Return (a copy of the gradient, None)."""
        return (gradient.clone() if is_torch(gradient) else gradient.copy()), None  # type: ignore[attr-defined]

    def decompress(self, message: Gradient) -> Gradient:
        """Return the message."""
        return message

    def count(self, message: Gradient, tally: Tally) -> None:
        """Count 32 bits a coordinate."""
        tally.add_raw(math.prod(message.shape))

    @property
    def is_unbiased(self) -> bool:
        """True."""
        return True

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 0: nothing is lost."""
        return 0.0

    def accumulate(
        self, gradient: Gradient, state: None, stream: Stream, total: Gradient, tally: Tally
    ) -> None:
        """Add the gradient itself."""
        total += gradient
        tally.add_raw(math.prod(gradient.shape))
