"""The check of the compressor for algorithms that keep the unsent part themselves."""

from __future__ import annotations

from collections.abc import Iterator

from qsgd_lab.compressors import Compressor
from qsgd_lab.compressors.stacking import missing_contraction

#: A vector of so many coordinates is long: quantizers whose factor grows with n show it here.
_LONG = 2**20


def unknown_contraction(compressor: Compressor) -> Iterator[str]:
    """Yield a line if no contraction is known, of a compressor that `require_contraction` lets pass."""
    yield from missing_contraction(compressor, _LONG)


def require_contraction(compressor: Compressor) -> None:
    """Refuse a compressor with residuals of its own, or one whose rest may grow, biased or not.

    What no variance factor is known of passes; `unknown_contraction` warns of it.

    Raises
    ------
    ValueError
        With what would be right.
    """
    if any(one.keeps_errors or one.decodes_differences for one in compressor.chain()):
        raise ValueError("the algorithm keeps what was not sent itself; leave out ef(...), ef21, diana")
    factor = compressor.variance_factor(_LONG)
    if factor is not None and factor >= 1 and not compressor.contracts_by_data:
        cure = "damp it, damped(...)" if compressor.is_unbiased else "take a compressor with a factor below 1"
        raise ValueError(f"what is not sent may grow: the variance factor is {factor:.3g}; {cure}")
