"""What a run sends, counted exactly without coding anything.

A dense Elias message sends, for each coordinate, the codeword of |level| + 1 and, where the level is not 0, a
sign; its length depends on the levels only through how many reach each power of two. Counting those gives the
exact size under every code at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.lengths import LENGTHS
from qsgd_lab.levels import MAX_BITS, magnitude_bits

NORM_BITS = 32
NUM_CLASSES = MAX_BITS + 1  # |level| + 1 is at most 2^15


def num_classes(levels: int) -> int:
    """Return how many powers of two are at most s + 1: the length of the kernels' class counts."""
    return int(levels + 1).bit_length()


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(NUM_CLASSES, np.int64)


@dataclass(eq=False)
class Tally:
    """Counts over all messages so far.

    Attributes
    ----------
    coordinates, norms : int
        Quantized coordinates and their norms.
    raw_coordinates : int
        Coordinates sent as they are, in float32.
    fixed_bits : int
        Size of the quantized ones at fixed width, norms included.
    reached : int64, shape (16,)
        Entry j counts the coordinates with |level| + 1 >= 2**j.
    """

    coordinates: int = 0
    norms: int = 0
    raw_coordinates: int = 0
    fixed_bits: int = 0
    reached: NDArray[np.int64] = field(default_factory=_no_counts)

    def add_quantized(self, levels: int, norms: int, reached: NDArray[np.int64]) -> None:
        """Count a message of `norms` buckets under s = `levels`; `reached` as the kernels give it."""
        count = int(reached[0])
        self.coordinates += count
        self.norms += norms
        self.fixed_bits += count * (magnitude_bits(levels) + 1) + norms * NORM_BITS
        self.reached[: reached.size] += reached

    def add_raw(self, count: int) -> None:
        """Count coordinates sent in float32."""
        self.raw_coordinates += count

    def dense_bits(self, code: str) -> int:
        """Return the exact bits of all quantized coordinates, dense, under an Elias code, norms included.

        Raises
        ------
        KeyError
            If the code is not a key of `qsgd_lab.coding.lengths.LENGTHS`.
        """
        length = LENGTHS[code]
        exactly = self.reached - np.append(self.reached[1:], 0)
        codewords = sum(int(count) * length(2**j) for j, count in enumerate(exactly))
        signs = int(self.reached[1])
        return codewords + signs + self.norms * NORM_BITS

    def bits_per_coordinate(self) -> dict[str, float]:
        """Return the average cost of a coordinate: by code for quantized gradients, 32 for raw ones."""
        if self.coordinates == 0:
            return {"fp32": 32.0} if self.raw_coordinates else {}
        sizes = {"fixed": self.fixed_bits} | {code: self.dense_bits(code) for code in LENGTHS}
        raw = self.raw_coordinates
        return {code: (bits + 32 * raw) / (self.coordinates + raw) for code, bits in sizes.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-ready values."""
        return {
            "coordinates": self.coordinates,
            "norms": self.norms,
            "raw_coordinates": self.raw_coordinates,
            "fixed_bits": self.fixed_bits,
            "reached": self.reached.tolist(),
        }

    @classmethod
    def from_dict(cls, counts: dict[str, Any]) -> Tally:
        """Rebuild a tally from `to_dict`."""
        return cls(**{**counts, "reached": np.array(counts["reached"], np.int64)})
