"""Bits a coordinate by method: at fixed width, by its best Elias code, in whole messages; and the ratio."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsgd_lab.report.cells import ELIAS_CODES, FULL_PRECISION_CODE
from qsgd_lab.report.communication import WHOLE_MESSAGE, mean_bits

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

BITS_OF_FLOAT = 32


@dataclass(frozen=True)
class Traffic:
    """Bits that a method sends for each coordinate, norms included, as measured.

    Attributes
    ----------
    fixed : float or None
        With fixed-width indices (32 for fp32); None where it was not measured.
    elias : float or None
        With the Elias code that is shortest on average; None where none was measured.
    elias_code : str or None
        Its name: ``gamma``, ``delta`` or ``omega``.
    sent : float or None
        In whole messages, each in the layout and code that make it shortest (32 for fp32); None where they
        were not measured.
    """

    fixed: float | None
    elias: float | None
    elias_code: str | None
    sent: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times fewer bits than fp32 are sent; under the shorter code, where that is all we know."""
        measured = [self.sent] if self.sent else [bits for bits in (self.fixed, self.elias) if bits]
        return BITS_OF_FLOAT / min(measured) if measured else None


def traffic_of(records: Iterable[RunRecord]) -> Traffic:
    """Return the mean bits per coordinate over the runs of a method, at all its numbers of nodes.

    Diverged runs are left out wherever others exist; see `mean_bits`.
    """
    bits = mean_bits(records)
    elias = {code: bits[code] for code in ELIAS_CODES if code in bits}
    shortest = min(elias, key=elias.__getitem__, default=None)
    return Traffic(
        fixed=bits.get("fixed", bits.get(FULL_PRECISION_CODE)),
        elias=None if shortest is None else elias[shortest],
        elias_code=shortest,
        sent=bits.get(WHOLE_MESSAGE, bits.get(FULL_PRECISION_CODE)),
    )
