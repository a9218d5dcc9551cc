"""fp16 and bf16: the error of rounding to fewer significant bits.

References
----------
IEEE 754-2019, section 3.6 (binary16). bfloat16 has the exponents of binary32 and 8 significant bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import choice, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units


class Format(NamedTuple):
    """A binary format: significant bits; numbers are multiples of 2^least and below 2^largest."""

    significant: int
    least: int
    largest: int


FORMATS = {"fp16": Format(11, -24, 16), "bf16": Format(8, -133, 128)}


def nearest(values: ArrayLike, name: str) -> Floats:
    """Return the nearest numbers of a format, ties to even; infinite beyond its range.

    Examples
    --------
    >>> nearest([1 / 3, 65519.0, 65520.0], "fp16").tolist()
    [0.333251953125, 65504.0, inf]
    """
    choice("name", name, tuple(FORMATS))
    form = FORMATS[name]
    x = vector("values", values)
    exponents = np.frexp(x)[1]  # |x| < 2^exponent
    unit = np.ldexp(1.0, np.maximum(exponents - form.significant, form.least))
    rounded = np.rint(x / unit) * unit
    return np.where(np.abs(rounded) >= 2.0**form.largest, np.copysign(np.inf, x), rounded)


def squared_error(gradient: ArrayLike, name: str) -> float:
    """Return ||Q(v) - v||^2; infinite if a coordinate exceeds the format's range."""
    x = vector("gradient", gradient)
    error = nearest(x, name) - x
    if not np.isfinite(error).all():
        return math.inf
    return in_squared_units(error, lambda w: float(w @ w), "the error")


def worst_case(name: str) -> float:
    """Return a bound on ||Q(v) - v||^2 / ||v||^2 over vectors of normal numbers: 2^-22 or 2^-16.

    With p significant bits a coordinate errs by at most 2^-p of itself.
    """
    choice("name", name, tuple(FORMATS))
    return 2.0 ** (-2 * FORMATS[name].significant)


def expected_error_fp16(gradient: ArrayLike) -> float:
    """Return `squared_error` of float16."""
    return squared_error(gradient, "fp16")


def expected_error_bf16(gradient: ArrayLike) -> float:
    """Return `squared_error` of bfloat16."""
    return squared_error(gradient, "bf16")


def expected_error_fp32(gradient: ArrayLike) -> float:
    """Return 0: coordinates are sent as they are."""
    vector("gradient", gradient)
    return 0.0


def expected_bits_fp32(num_coordinates: int) -> int:
    """Return 32 n."""
    return 32 * whole("num_coordinates", num_coordinates)


def expected_bits(num_coordinates: int) -> int:
    """Return 16 n."""
    return 16 * whole("num_coordinates", num_coordinates)
