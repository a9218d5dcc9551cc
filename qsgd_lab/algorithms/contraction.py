"""The check of the compressor for algorithms that keep the unsent part themselves."""

from __future__ import annotations

from qsgd_lab.compressors import Compressor

#: A vector of so many coordinates is long: quantizers whose factor grows with n show it here.
_LONG = 2**20


def require_contraction(compressor: Compressor) -> None:
    """Refuse a compressor with residuals of its own, or one whose rest may grow.

    Raises
    ------
    ValueError
        With what would be right.
    """
    if any(one.keeps_errors or one.decodes_differences for one in compressor.chain()):
        raise ValueError("the algorithm keeps what was not sent itself; leave out ef(...), ef21, diana")
    factor = compressor.variance_factor(_LONG)
    if compressor.is_unbiased and factor is not None and factor >= 1:
        raise ValueError(
            f"what is not sent may grow: the variance factor is {factor:.3g}; damp it, damped(...)"
        )
