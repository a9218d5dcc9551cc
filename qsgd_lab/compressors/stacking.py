"""What the theory says of a stack of wrappers before it runs, and of a method that lacks one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from qsgd_lab.compressors.protocol import Compressor


def stacking_warnings(compressor: Compressor, num_coordinates: int) -> Iterator[str]:
    """Yield a line for each wrapper around something that it may drive apart.

    Error feedback needs a contraction. An unbiased compressor whose variance factor is 1 or more is none, and
    residuals can grow without bound. What the theory excludes is refused when the wrapper is made.

    Parameters
    ----------
    compressor : Compressor
    num_coordinates : int
        n, on which factors are judged.
    """
    for outer, inner in pairwise(compressor.chain()):
        if outer.keeps_errors:
            factor = inner.variance_factor(num_coordinates)
            if inner.contraction(num_coordinates) is None and factor is not None:
                cure = "wrap it in damped(...)" if inner.is_unbiased else "take another compressor"
                yield (
                    f"the variance factor under error feedback is {factor:.3g} on {num_coordinates} "
                    f"coordinates; from 1 on this is not a contraction, and training can diverge ({cure})"
                )


def missing_feedback(compressor: Compressor) -> Iterator[str]:
    """Yield a line if a compressor needs feedback and has none."""
    if compressor.needs_feedback:
        yield (
            "it leaves out the same part of like gradients step after step, and nothing sends it later: the "
            "bias does not average out, and training can stop short or diverge (wrap it in ef(...))"
        )
