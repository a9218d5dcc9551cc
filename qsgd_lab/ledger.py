"""Bits sent so far: exact sums by form, with no knowledge of any code.

A form is a way to write a message down, such as ``fixed``, ``omega`` or ``message`` (the whole message, as it
is sent). A compressor's wire says what a payload costs under each form; the ledger adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from qsgd_lab.levels import FLOAT_BITS

#: Forms of what was counted twice: whole messages as coded, and as estimated. They check estimates, and no
#: message is sent in them.
CHECKS = ("coded", "estimated")


class Size(NamedTuple):
    """The size of one payload.

    Attributes
    ----------
    coordinates : int
        Coordinates that are compressed.
    bits : mapping of str to int
        Bits of these, by form, exact but where the compressor says that it estimates; under "message" also
        the envelope of raw coordinates that have one.
    raw_coordinates : int
        Coordinates sent in float32 beside them: 32 bits each under every form.
    """

    coordinates: int
    bits: Mapping[str, int]
    raw_coordinates: int = 0


class PendingCounts(Protocol):
    """Counts that are kept on a device."""

    def add_to(self, ledger: Ledger) -> None:
        """Fetch them and add them to a ledger."""


@dataclass(eq=False)
class Ledger:
    """Sums over all payloads so far.

    Attributes
    ----------
    coordinates, raw_coordinates : int
        As in `Size`.
    bits : dict of str to int
        By form.
    covered : dict of str to int
        Compressed coordinates whose size is known under a form. A form is reported only if it covers all.
    pending : dict
        Counts still on a device, by the caller's key, until `fetch`.
    """

    coordinates: int = 0
    raw_coordinates: int = 0
    bits: dict[str, int] = field(default_factory=dict)
    covered: dict[str, int] = field(default_factory=dict)
    pending: dict[Any, PendingCounts] = field(default_factory=dict, init=False, repr=False)

    def add(self, size: Size) -> None:
        """Add the size of a payload; empty gradients send no message and cost nothing."""
        if not (size.coordinates or size.raw_coordinates):
            return
        self.raw_coordinates += size.raw_coordinates
        self.coordinates += size.coordinates
        for form, bits in size.bits.items():
            self.bits[form] = self.bits.get(form, 0) + bits
            self.covered[form] = self.covered.get(form, 0) + size.coordinates

    def merge(self, other: Ledger) -> None:
        """Add what another ledger has counted, such as that of another rank."""
        other.fetch()
        self.coordinates += other.coordinates
        self.raw_coordinates += other.raw_coordinates
        for form, bits in other.bits.items():
            self.bits[form] = self.bits.get(form, 0) + bits
            self.covered[form] = self.covered.get(form, 0) + other.covered[form]

    def fetch(self) -> Ledger:
        """Add the counts that are pending on a device, and return the ledger; this waits for the device."""
        counts, self.pending = list(self.pending.values()), {}
        for count in counts:
            count.add_to(self)
        return self

    def bits_per_coordinate(self) -> dict[str, float]:
        """Return the average bits of a coordinate by form; those sent in float32 cost 32 under every form.

        Returns
        -------
        dict
            "fp32" alone where nothing was compressed, and nothing where nothing was sent.
        """
        self.fetch()
        raw = self.raw_coordinates
        if self.coordinates == 0:
            return {"fp32": float(FLOAT_BITS)} if raw else {}
        known = {
            form: bits
            for form, bits in self.bits.items()
            if self.covered[form] == self.coordinates and form not in CHECKS
        }
        return {form: (bits + FLOAT_BITS * raw) / (self.coordinates + raw) for form, bits in known.items()}

    def checked_sizes(self) -> dict[str, int]:
        """Return coordinates and bits of the messages whose size was coded and estimated; empty without."""
        self.fetch()
        if "coded" not in self.bits:
            return {}
        return {"coordinates": self.covered["coded"], **{form: self.bits[form] for form in CHECKS}}

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON-ready values."""
        self.fetch()
        return {
            "coordinates": self.coordinates,
            "raw_coordinates": self.raw_coordinates,
            "bits": dict(self.bits),
            "covered": dict(self.covered),
        }

    @classmethod
    def from_dict(cls, sums: dict[str, Any]) -> Ledger:
        """Rebuild a ledger from `to_dict`."""
        return cls(**sums)
