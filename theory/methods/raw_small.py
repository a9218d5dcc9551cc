"""Small tensors in float32, the others through the wrapped compressor."""

from __future__ import annotations

from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import number, vector, whole


def expected_error(gradient: ArrayLike, inner: float, _factor: object, up_to: int = 1000) -> float:
    """Return 0 for a tensor of at most `up_to` coordinates, else the wrapped compressor's error."""
    is_raw = vector("gradient", gradient).size <= whole("up_to", up_to, least=0)
    error = number("inner", inner, least=0)
    return 0.0 if is_raw else error


def expected_bits(num_coordinates: int, inner: float, _factor: object, up_to: int = 1000) -> float:
    """Return 32 bits a coordinate of such a tensor, else the wrapped compressor's bits."""
    n, bits = whole("num_coordinates", num_coordinates), number("inner", inner, least=0)
    return 32 * n if n <= whole("up_to", up_to, least=0) else bits
