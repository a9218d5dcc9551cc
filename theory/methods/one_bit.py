"""1-bit SGD and scaled sign: errors of sending one bit a coordinate.

References
----------
Seide, Fu, Droppo, Li, Yu: 1-bit stochastic gradient descent. Interspeech 2014.
Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD. ICML 2019.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units
from qsgd_lab.theory.methods.level_set import buckets, number_of_buckets

#: E||C(v) - v||^2 / ||v||^2 of both on normal coordinates, in large buckets.
NORMAL_ERROR = 1 - 2 / math.pi


def expected_error_one_bit(gradient: ArrayLike, bucket_size: int | str = 512) -> float:
    """Return ||C(v) - v||^2: in each bucket, the squares of the distances from the mean of one's class.

    The classes are the coordinates below 0 and the others.

    Examples
    --------
    >>> expected_error_one_bit([-1.0, -3.0, 0.0, 2.0])
    4.0
    """

    def error(scaled: Floats) -> float:
        total = 0.0
        for bucket in buckets(scaled, bucket_size):
            for part in (bucket[bucket < 0], bucket[bucket >= 0]):
                if part.size:
                    total += float(((part - part.mean()) ** 2).sum())
        return total

    return in_squared_units(vector("gradient", gradient), error, "the error")


def expected_error_sign(gradient: ArrayLike, bucket_size: int | str = "tensor") -> float:
    """Return ||C(v) - v||^2: in each bucket, ||v||_2^2 - ||v||_1^2 / d."""

    def error(scaled: Floats) -> float:
        return sum(float(((part - part.mean()) ** 2).sum()) for part in buckets(np.abs(scaled), bucket_size))

    return in_squared_units(vector("gradient", gradient), error, "the error")


def worst_case(bucket_size: int) -> float:
    """Return the supremum of ||C(v) - v||^2 / ||v||^2 for d coordinates a bucket, 1 - 1/d.

    One coordinate above 0 and d - 1 zeros attain it under both methods.
    """
    return 1 - 1 / whole("bucket_size", bucket_size)


def expected_bits_one_bit(num_coordinates: int, bucket_size: int | str = 512) -> int:
    """Return a bit a coordinate and two floats a bucket."""
    n = whole("num_coordinates", num_coordinates)
    return n + 64 * number_of_buckets(n, bucket_size)


def expected_bits_sign(num_coordinates: int, bucket_size: int | str = "tensor") -> int:
    """Return a bit a coordinate and one float a bucket."""
    n = whole("num_coordinates", num_coordinates)
    return n + 32 * number_of_buckets(n, bucket_size)
