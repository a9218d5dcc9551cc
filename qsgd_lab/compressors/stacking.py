"""What the theory says of a stack of wrappers before it runs, and of a method that lacks one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from qsgd_lab.compressors.protocol import Compressor


def stacking_warnings(compressor: Compressor, num_coordinates: int) -> Iterator[str]:
    """Yield a line for each wrapper around something that it may drive apart.

    Parameters
    ----------
    compressor : Compressor
    num_coordinates : int
        n, on which factors are judged.
    """
    for outer, inner in pairwise(compressor.chain()):
        if outer.keeps_errors:
            yield from missing_contraction(inner, num_coordinates)


def missing_contraction(compressor: Compressor, num_coordinates: int) -> Iterator[str]:
    """Yield a line if what the compressor leaves unsent, added to what comes next, may grow without bound.

    Feedback needs a contraction: a variance factor of 1 or more is none, biased or not, unless a share that
    depends on the data is taken away. Where no factor is known, no contraction is.

    Parameters
    ----------
    compressor : Compressor
        What feedback wraps, or an algorithm sends by.
    num_coordinates : int
        n, on which the factor is judged.
    """
    if compressor.contracts_by_data or compressor.contraction(num_coordinates) is not None:
        return
    factor = compressor.variance_factor(num_coordinates)
    if factor is None:
        yield (
            "no contraction is known of what is under error feedback: residuals can grow, and training can "
            "diverge (take another compressor or other options)"
        )
        return
    cure = "wrap it in damped(...)" if compressor.is_unbiased else "take another compressor"
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
