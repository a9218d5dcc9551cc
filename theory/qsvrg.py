r"""QSVRG: variance-reduced SGD whose inner updates are quantized at s = sqrt(n).

f is the mean of convex L-smooth f_i and l-strongly convex. An epoch sends the full gradient at y
unquantized, then takes T steps along Q(grad f_j(x) - grad f_j(y) + grad f(y)). Quantization multiplies the
second moment by a = 1 + omega(n, sqrt n) = 5/4 at most, where the paper's bound gives 2.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.theory.arguments import number, whole
from qsgd_lab.theory.arrays import representable
from qsgd_lab.theory.code_length import NORM_BITS

#: 1 + n / (4 s^2) at s = sqrt(n): a bound on the growth of the second moment, attained where 8 divides n.
SECOND_MOMENT_GROWTH = 1.25


@representable(zeros={})
def qsvrg_contraction(
    smoothness: float,
    strong_convexity: float,
    step: float,
    num_inner_steps: int,
    *,
    growth: float = SECOND_MOMENT_GROWTH,
) -> float:
    r"""Return rho with E f(y^{p+1}) - f* <= rho (E f(y^p) - f*).

    .. math:: \rho = \frac{1}{l \eta (1 - 2 L \eta a) T} + \frac{2 L \eta a}{1 - 2 L \eta a}

    From E||u||^2 <= a E||v||^2 and E||v||^2 <= 4 L (f(x) - f* + f(y) - f*) for the variance-reduced vector
    v, as in Johnson, Zhang 2013; QSGD, Theorem 3.6 states rho = 0.9.

    Parameters
    ----------
    smoothness, strong_convexity : float
        L and l, with 0 < l <= L.
    step : float
        0 < eta < 1 / (2 L a).
    num_inner_steps : int
        T >= 1.
    growth : float
        a >= 1; 1 is plain SVRG.

    Raises
    ------
    ValueError
        If the step is too long for any contraction, or an argument is out of its range.

    Examples
    --------
    >>> round(qsvrg_contraction(1.0, 0.1, *qsvrg_schedule(1.0, 0.1)), 6)
    0.875
    """
    smoothness, strong_convexity, growth = _constants(smoothness, strong_convexity, growth)
    step, num_inner_steps = number("step", step, above=0), whole("num_inner_steps", num_inner_steps)
    # The inner steps must make more progress than their own noise undoes.
    shortfall = 1 - 2 * smoothness * step * growth
    if shortfall <= 0:
        raise ValueError(f"the step {step} is too long; it must be below 1 / (2 L a)")
    return (1 / (strong_convexity * step * num_inner_steps) + 2 * smoothness * step * growth) / shortfall


@representable(zeros={})
def qsvrg_schedule(
    smoothness: float, strong_convexity: float, *, growth: float = SECOND_MOMENT_GROWTH
) -> tuple[float, int]:
    """Return step 1 / (10 L a) and inner steps 20 a L / l, which give the contraction 0.875.

    Parameters as in `qsvrg_contraction`.
    """
    smoothness, strong_convexity, growth = _constants(smoothness, strong_convexity, growth)
    return 1 / (10 * smoothness * growth), int(np.ceil(20 * growth * smoothness / strong_convexity))


@representable(zeros={})
def qsvrg_bits_per_epoch(
    num_coordinates: int, num_inner_steps: int, *, bits_per_coordinate: float = 4.0
) -> float:
    """Return (32 + c n)(T + 1) + 32 n: the quantized updates, and the full gradient in float32.

    QSGD, Theorem 3.6 has c = 2.8; its dense code needs 4 in the worst case (`dense_code_length`), a discrete
    Gaussian prior 2.21 (`entropy`).

    Parameters
    ----------
    num_coordinates, num_inner_steps : int
        n >= 1 and T >= 1.
    bits_per_coordinate : float
        c > 0.
    """
    n, steps = whole("num_coordinates", num_coordinates), whole("num_inner_steps", num_inner_steps)
    update = NORM_BITS + number("bits_per_coordinate", bits_per_coordinate, above=0) * n
    return update * (steps + 1) + 32 * n


def _constants(smoothness: float, strong_convexity: float, growth: float) -> tuple[float, float, float]:
    smoothness = number("smoothness", smoothness, above=0)
    strong_convexity = number("strong_convexity", strong_convexity, above=0, most=smoothness)
    return smoothness, strong_convexity, number("growth", growth, least=1)
