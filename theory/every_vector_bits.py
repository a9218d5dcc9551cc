r"""Bits that suffice for every vector, whatever the norm, the rounding and the buckets.

`code_length` and `dense_code_length` have the bounds for one bucket under the l2 norm and stochastic
rounding. Here the same arguments carry a whole vector of n coordinates in buckets of d:

* Dense: coordinates cost what the concave majorant of their bits says, and under the max norm every one
  may be at the top level.
* Sparse: gaps may run across buckets and begin again at chunks. With N non-zeros in all and S the sum of
  squared levels, N [1 + Phi(log2(n / N)) + Phi(log2(S / N) / 2)] is concave and positively homogeneous in
  (n, N, S), hence superadditive: the sum over any stretches is at most the value at the sums.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, numbers, table_levels, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.code_length import NORM_BITS, most_sparse_bits
from qsgd_lab.theory.concave import majorant_knots
from qsgd_lab.theory.dense_code_length import Sign, dense_bits_per_coordinate, dense_level_bits
from qsgd_lab.theory.elias import Code
from qsgd_lab.theory.level_positions import bucket_kinds
from qsgd_lab.theory.variance import worst_case_variance_l2

ROUNDINGS = ("stochastic", "nearest")


def sparse_bits_for_every_vector(
    num_coordinates: int,
    num_levels: int,
    *,
    bucket_size: int | None = None,
    norm: Norm = "l2",
    rounding: str = "stochastic",
    code: Code = "omega",
) -> float:
    """Return a bound on E|Code_s| for every vector in bits, norms included, end marks not (C2, extended).

    Parameters
    ----------
    num_coordinates : int
        n.
    num_levels : int
        s >= 1.
    bucket_size : int, optional
        d; None is one bucket.
    norm : {"l2", "max"}
    rounding : {"stochastic", "nearest"}
    code : {"gamma", "delta", "omega"}

    Notes
    -----
    Holds wherever the gaps begin again: with each bucket, with each chunk, or never.
    """
    num_levels = whole("num_levels", num_levels)
    choice("norm", norm, NORMS)
    choice("rounding", rounding, ROUNDINGS)
    lengths, counts = bucket_kinds(num_coordinates, bucket_size)
    # Full buckets share their limits; the short last one has its own.
    limits = [_largest_counts(float(d), num_levels, norm, rounding) for d in lengths]
    most, squares = (float(counts @ np.array(column)) for column in zip(*limits, strict=True))
    bits = most_sparse_bits(float(num_coordinates), most, squares, code, values_are_one=num_levels == 1)
    return NORM_BITS * int(counts.sum()) + bits


def _largest_counts(d: float, s: int, norm: Norm, rounding: str) -> tuple[float, float]:
    """Return bounds on E N and E S of one bucket; different vectors may attain them."""
    # Every coordinate may be as large as the largest, and then none is zero.
    if norm == "max":
        return d, d * float(s) ** 2
    if rounding == "nearest":
        levels = np.arange(s + 1, dtype=np.float64)
        return nearest_supremum((levels > 0).astype(np.float64), d), nearest_supremum(levels**2, d)
    return min(d, s * np.sqrt(d)), float(s) ** 2 * (1 + float(worst_case_variance_l2(d, s)))


def nearest_supremum(values: Floats, num_coordinates: float) -> float:
    """Return an upper bound on the sum of ``values[level]`` over an l2 bucket of n rounded to nearest.

    A coordinate reaches level k from position k - 1/2 on, and squared positions add up to s^2: n times the
    least concave majorant of the points ((k - 1/2)^2, value), at s^2 / n. It is attained where n coordinates
    divide between two corners of the majorant as it asks, and a coordinate at a time as n grows.

    Parameters
    ----------
    values : ndarray of float64, shape (s + 1,)
        Not falling; s >= 1.
    num_coordinates : float
        n >= 1.

    Raises
    ------
    ValueError
        If there are fewer than two values, some value is below the one before, or n is not whole.

    Examples
    --------
    >>> nearest_supremum(np.array([0.0, 1, 1, 1]), 100)  # at s = 3, 4 s^2 non-zeros
    36.0
    """
    values, n = numbers("values", values).reshape(-1), whole("num_coordinates", num_coordinates)
    if values.size < 2 or (np.diff(values) < 0).any():
        raise ValueError("values must be at least two, of levels 0..s, and must not fall")
    s = values.size - 1
    # Level 0 costs nothing, level k at least (k - 1/2)^2.
    squares = np.maximum(np.arange(s + 1) - 0.5, 0) ** 2
    knots = majorant_knots(squares, values)
    return float(n * np.interp(s**2 / n, squares[knots], values[knots]))


def dense_bits_for_every_vector(
    num_coordinates: int,
    num_levels: int,
    *,
    bucket_size: int | None = None,
    norm: Norm = "l2",
    rounding: str = "stochastic",
    code: Code = "omega",
    sign: Sign = "nonzero",
) -> float:
    """Return an upper bound on E|Code'_s| for every vector in bits, norms included (D1, extended).

    Attained by constant vectors under the max norm, and under l2 with stochastic rounding where s is at most
    the root of every bucket's length. `sign` says which coordinates have one; the other parameters as in
    `sparse_bits_for_every_vector`.
    """
    num_levels = table_levels(num_levels)
    choice("norm", norm, NORMS)
    choice("rounding", rounding, ROUNDINGS)
    lengths, counts = bucket_kinds(num_coordinates, bucket_size)
    bucket_bits = _bucket_bits(num_levels, norm, rounding, code, sign)
    bits = sum(count * bucket_bits(float(d)) for d, count in zip(lengths, counts, strict=True))
    return NORM_BITS * int(counts.sum()) + float(bits)


def _bucket_bits(s: int, norm: Norm, rounding: str, code: Code, sign: Sign) -> Callable[[float], float]:
    bits = dense_level_bits(s, code, sign)
    if norm == "max":
        return lambda d: d * float(bits[-1])
    if rounding == "nearest":
        return lambda d: nearest_supremum(bits, d)
    return lambda d: d * float(dense_bits_per_coordinate(s**2 / d, s, code=code, sign=sign))
