r"""The deterministic quantizer of QSGD's gradient-descent variant, and its rate.

I(v) is the smallest set of coordinates, largest magnitudes first, whose magnitudes add up to ||v||_2 or
more; Q(v) is ||v||_2 sgn(v_i) on it. (The form is recalled from the paper's appendix; the facts below are
derived here.) Then \|I\| <= ceil(sqrt n), <v, Q(v)> >= ||v||^2 and ||Q(v)||^2 = \|I\| ||v||^2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import number, vector, whole
from qsgd_lab.theory.arrays import Floats, representable, split_scale


def gradient_descent_quantize(gradient: ArrayLike) -> Floats:
    """Return Q(v), float64, shape (n,); ties go to the lower index, and Q(0) = 0."""
    scaled, exponent = split_scale(vector("gradient", gradient))
    norm = np.linalg.norm(scaled)
    order = np.argsort(-np.abs(scaled), kind="stable")
    sums = np.cumsum(np.abs(scaled[order]))
    # A one-hot vector must not need a second coordinate because of rounding.
    count = int(np.searchsorted(sums, norm * (1 - 1e-12))) + 1
    quantized = np.zeros_like(scaled)
    kept = order[:count]
    quantized[kept] = norm * np.sign(scaled[kept])
    return np.ldexp(quantized, exponent)


@representable()
def gradient_descent_rate(smoothness: float, strong_convexity: float, num_coordinates: int) -> float:
    """Return 1 - l / (L ceil(sqrt n)): f - f* shrinks by it in each step of length 1 / (L ceil(sqrt n)).

    From f(x - eta Q) <= f - eta ||g||^2 (1 - L eta ceil(sqrt n) / 2) and ||g||^2 >= 2 l (f - f*).

    Parameters
    ----------
    smoothness, strong_convexity : float
        L and l, with 0 < l <= L.
    num_coordinates : int
        n >= 1.
    """
    smoothness = number("smoothness", smoothness, above=0)
    strong_convexity = number("strong_convexity", strong_convexity, above=0, most=smoothness)
    n = whole("num_coordinates", num_coordinates)
    return float(1 - strong_convexity / (smoothness * np.ceil(np.sqrt(n))))
