"""What a run sends, counted exactly without coding anything.

A dense Elias message sends, for each coordinate, the codeword of |level| + 1 and, where the level is not 0, a
sign; its length depends on the levels only through how many reach each power of two. Counting those gives the
exact size under every code at once. What the shortest form of each message costs (`message_costs`) is added
up beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.message_costs import MessageCosts
from qsgd_lab.levels import FLOAT_BITS, MAX_BITS, magnitude_bits

NUM_CLASSES = MAX_BITS + 1  # |level| + 1 is at most 2^15


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(NUM_CLASSES, np.int64)


class Counts(Protocol):
    """Counts kept elsewhere."""

    def add_to(self, tally: Tally) -> None:
        """Add them to a tally."""


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
    measured : int
        Of the quantized coordinates, those whose messages' costs are in the following two.
    shortest_bits, message_bits : int
        As in `qsgd_lab.coding.message_costs.MessageCosts`.
    elsewhere : dict
        Counts that stay where they are made, such as on a device, until `settle` brings them in.
    """

    coordinates: int = 0
    norms: int = 0
    raw_coordinates: int = 0
    fixed_bits: int = 0
    reached: NDArray[np.int64] = field(default_factory=_no_counts)
    measured: int = 0
    shortest_bits: int = 0
    message_bits: int = 0
    elsewhere: dict[Any, Counts] = field(default_factory=dict, init=False, repr=False)

    def settle(self) -> Tally:
        """Bring in what is counted elsewhere, and return the tally; the fields are exact after this."""
        counts, self.elsewhere = list(self.elsewhere.values()), {}
        for count in counts:
            count.add_to(self)
        return self

    def add_quantized(
        self, levels: int, norms: int, reached: NDArray[np.int64], costs: MessageCosts | None = None
    ) -> None:
        """Count messages of `norms` buckets in all under s = `levels`.

        `reached` is as the attribute; `costs` is what the messages would cost, where that is known.
        """
        count = int(reached[0])
        self.coordinates += count
        self.norms += norms
        self.fixed_bits += count * (magnitude_bits(levels) + 1) + norms * FLOAT_BITS
        self.reached[: reached.size] += reached
        if costs is not None and count:  # who has nothing to say sends no message
            self.measured += count
            self.shortest_bits += costs.shortest_bits
            self.message_bits += costs.message_bits

    def add_raw(self, count: int) -> None:
        """Count coordinates sent in float32."""
        self.raw_coordinates += count

    def dense_bits(self, code: str) -> int:
        """Return the exact bits of all quantized coordinates, dense, under an Elias code, norms included.

        Raises
        ------
        KeyError
            If the code is not a key of `qsgd_lab.coding.elias.LENGTHS`.
        """
        self.settle()
        length = LENGTHS[code]
        exactly = self.reached - np.append(self.reached[1:], 0)
        codewords = sum(int(count) * length(2**j) for j, count in enumerate(exactly))
        signs = int(self.reached[1])
        return codewords + signs + self.norms * FLOAT_BITS

    def bits_per_coordinate(self) -> dict[str, float]:
        """Return the average bits of a coordinate; those sent in float32 cost 32 under every key.

        Returns
        -------
        dict
            "fp32" alone where nothing was quantized, and nothing where nothing was sent. Otherwise

            * "fixed", "gamma", "delta", "omega": levels at fixed width, or their dense codewords, and norms;
            * "auto": the same of the shortest of these and of the sparse forms, message by message, so that
              it is never above any of them;
            * "message": what `qsgd_lab.encode` would send, message by message: the whole of it, with header,
              tensor sizes, directory, checksums and padding. Beside "auto" it shows what those cost.

            The last two are there if the costs of all messages are known.
        """
        self.settle()
        if self.coordinates == 0:
            return {"fp32": float(FLOAT_BITS)} if self.raw_coordinates else {}
        sizes = {"fixed": self.fixed_bits} | {code: self.dense_bits(code) for code in LENGTHS}
        if self.measured == self.coordinates:
            sizes |= {"auto": self.shortest_bits, "message": self.message_bits}
        raw = self.raw_coordinates
        return {code: (bits + FLOAT_BITS * raw) / (self.coordinates + raw) for code, bits in sizes.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-ready values."""
        self.settle()
        return {
            "coordinates": self.coordinates,
            "norms": self.norms,
            "raw_coordinates": self.raw_coordinates,
            "fixed_bits": self.fixed_bits,
            "reached": self.reached.tolist(),
            "measured": self.measured,
            "shortest_bits": self.shortest_bits,
            "message_bits": self.message_bits,
        }

    @classmethod
    def from_dict(cls, counts: dict[str, Any]) -> Tally:
        """Rebuild a tally from `to_dict`."""
        return cls(**{**counts, "reached": np.array(counts["reached"], np.int64)})
