"""QSGD under its options as a method; the formulas themselves are in `variance` and `nearest`."""

from __future__ import annotations

from numpy.typing import ArrayLike

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arguments import choice, vector, whole
from qsgd_lab.theory.methods.level_set import bucket_length, number_of_buckets
from qsgd_lab.theory.nearest import nearest_error
from qsgd_lab.theory.variance import exact_variance


def expected_error(
    gradient: ArrayLike,
    bits: int = 4,
    norm: Norm = "l2",
    bucket_size: int | str = 512,
    rounding: str = "stochastic",
) -> float:
    """Return E||Q(v) - v||^2 of a tensor under the method's options.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    choice("rounding", rounding, ("stochastic", "nearest"))
    size = bucket_length(bucket_size, vector("gradient", gradient).size)
    function = exact_variance if rounding == "stochastic" else nearest_error
    return float(function(gradient, 2 ** whole("bits", bits, most=15) - 1, norm=norm, bucket_size=size))


def expected_bits(num_coordinates: int, bits: int = 4, bucket_size: int | str = 512, **_: object) -> int:
    """Return b bits and a sign a coordinate, and 32 a bucket: fixed width, without entropy coding."""
    n, b = whole("num_coordinates", num_coordinates), whole("bits", bits, most=15)
    return (b + 1) * n + 32 * number_of_buckets(n, bucket_size)
