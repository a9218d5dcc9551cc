"""EF21 and DIANA: steps, rates and bounds.

References
----------
Richtarik, Sokolov, Fatkhullin: EF21. NeurIPS 2021.
Mishchenko, Gorbunov, Takac, Richtarik: Distributed learning with compressed gradient differences. 2019.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import choice, number, numbers, vector, whole
from qsgd_lab.theory.arrays import representable, split_scale, times_power_of_two


class Contraction(NamedTuple):
    """EF21's theta and beta of a contraction delta."""

    theta: float
    beta: float


@representable()
def ef21_constants(contraction: float) -> Contraction:
    """Return theta = 1 - sqrt(1 - delta) and beta = (1 - delta) / theta, 0 < delta <= 1.

    Examples
    --------
    >>> ef21_constants(0.75)
    Contraction(theta=0.5, beta=0.5)
    """
    delta = number("contraction", contraction, above=0, most=1)
    # 1 - sqrt(1 - delta), without the difference in which a small delta is lost.
    theta = delta / (1 + math.sqrt(1 - delta))
    return Contraction(theta, (1 - delta) / theta)


@representable(zeros={})
def ef21_step(smoothness: float, node_smoothness: ArrayLike, contraction: float) -> float:
    """Return the step 1 / (L + L~ sqrt(beta / theta)), L~ the root mean square of the nodes' L_i.

    Examples
    --------
    >>> round(ef21_step(17.1667, [34.5, 34.5, 34.5], 1 / 3), 7)
    0.0058591
    """
    theta, _ = ef21_constants(contraction)
    nodes, exponent = split_scale(numbers("node_smoothness", node_smoothness, above=0))
    mean = times_power_of_two(math.sqrt(float(np.mean(nodes**2))), exponent, "the mean of node_smoothness")
    # sqrt(beta / theta), whose square can be out of range.
    root = math.sqrt(1 - contraction) / theta
    return 1 / (number("smoothness", smoothness, above=0) + mean * root)


@representable(zeros={"gap": 0})
def ef21_gradient_bound(gap: float, step: float, steps: int, first_error: float, contraction: float) -> float:
    """Return a bound on the mean of E||grad f(x_t)||^2 over T steps, 2 gap/(step T) + G_0/(theta T).

    Parameters
    ----------
    gap : float
        f(x_0) - inf f, at least 0.
    step : float
        At most `ef21_step`.
    steps : int
        T.
    first_error : float
        G_0, the mean of ||h_i - grad f_i(x_0)||^2 over the nodes.
    contraction : float
        delta.
    """
    theta, _ = ef21_constants(contraction)
    count = whole("steps", steps)
    first = number("first_error", first_error, least=0) / (theta * count)
    return 2 * number("gap", gap, least=0) / (number("step", step, above=0) * count) + first


@representable(zeros={})
def diana_step(smoothness: float, variance_factor: float, nodes: int) -> float:
    """Return the step 1 / (L (1 + 6 w / N))."""
    omega = number("variance_factor", variance_factor, least=0)
    return 1 / (number("smoothness", smoothness, above=0) * (1 + 6 * omega / whole("nodes", nodes)))


@representable()
def diana_rate(step: float, convexity: float, variance_factor: float) -> float:
    """Return the factor by which the distance shrinks a step, 1 - min(step mu, a/2), a = 1 / (1 + w).

    Of ||x - x*||^2 plus a multiple of the shifts' distance from the gradients at x*.
    """
    rate = 1 / (1 + number("variance_factor", variance_factor, least=0))
    return 1 - min(number("step", step, above=0) * number("convexity", convexity, above=0), rate / 2)


def expected_error(
    gradient: ArrayLike, inner: float, _factor: object, first: str = "compressed", **_: object
) -> float:
    """Return the wrapped compressor's error: a node's first shift is 0. A dense first message has none."""
    vector("gradient", gradient)
    choice("first", first, ("compressed", "dense"))
    error = number("inner", inner, least=0)
    return error if first == "compressed" else 0.0


def expected_bits(
    num_coordinates: int, inner: float, _factor: object, first: str = "compressed", **_: object
) -> float:
    """Return the bits of a node's first message: the wrapped compressor's, or 32 n."""
    n, bits = whole("num_coordinates", num_coordinates), number("inner", inner, least=0)
    choice("first", first, ("compressed", "dense"))
    return bits if first == "compressed" else 32 * n
