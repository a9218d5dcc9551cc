r"""Hyper-sphere quantization (HSQ): exact variance and bits of the probabilistic codebook compressor.

A segment v of d coordinates is written in a codebook C (d rows, K columns of length one) as p = C^+ v;
column j is drawn with probability \|p_j\| / ||p||_1 and sign(p_j) ||p||_1 c_j is what a receiver decodes.
It is unbiased if and only if C has rank d. (Formulas from the authors' published code; HSQ's greedy variant
is a biased projection.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.variance import squared_norm


def hsq_variance(segment: ArrayLike, codebook: ArrayLike) -> float:
    """Return E||Q(v) - v||^2 = ||C^+ v||_1^2 - ||v||_2^2, exactly.

    Parameters
    ----------
    segment : array_like, shape (d,)
    codebook : array_like, shape (d, K)
        Columns of unit length, of rank d.

    Raises
    ------
    ValueError
        If the columns are not of unit length, or their rank is below d, so that HSQ would be biased.
    """
    columns = _codebook(codebook)
    coefficients = np.linalg.pinv(columns) @ np.asarray(segment, dtype=np.float64)
    return float(np.abs(coefficients).sum() ** 2 - squared_norm(segment))


def hsq_variance_bound(codebook: ArrayLike) -> float:
    """Return K / smin(C)^2 - 1, a bound on the relative variance; d - 1 for a tight frame."""
    columns = _codebook(codebook)
    return float(columns.shape[1] / np.linalg.svd(columns, compute_uv=False)[-1] ** 2 - 1)


def random_codebook_variance(segment_size: int) -> float:
    """Return (2 / pi) d - 1, which the relative variance of large random codebooks approaches."""
    return 2 / np.pi * segment_size - 1


def greedy_contraction(segment: ArrayLike, codebook: ArrayLike) -> float:
    """Return delta = max_j cos^2 of the angle between segment and column: the greedy variant's contraction.

    Projecting on the closest column c leaves ||v||^2 (1 - delta). `segment` must not be zero.
    """
    vector = np.asarray(segment, dtype=np.float64)
    return float(((np.asarray(codebook, dtype=np.float64).T @ vector) ** 2).max() / squared_norm(vector))


def hsq_bits_per_coordinate(segment_size: int, num_columns: int, norm_bits: int) -> float:
    """Return (ceil(log2 K) + norm bits) / d: an index and a signed norm a segment.

    Examples
    --------
    >>> hsq_bits_per_coordinate(16, 256, 6)
    0.875
    """
    return ((num_columns - 1).bit_length() + norm_bits) / segment_size


def _codebook(codebook: ArrayLike) -> Floats:
    columns = np.asarray(codebook, dtype=np.float64)
    if columns.ndim != 2 or not np.allclose(np.linalg.norm(columns, axis=0), 1):
        raise ValueError("a codebook is a matrix (d, K) whose columns have length one")
    if np.linalg.matrix_rank(columns) < columns.shape[0]:
        raise ValueError("the codebook's rank is below the segment size, so that HSQ is biased; add columns")
    return columns
