"""Delayed gradients: the exact limit of stability for a constant delay.

x_{t+1} = x_t - rate L x_{t - tau} on a quadratic of curvature L. The characteristic polynomial
z^{tau+1} - z^tau + rate L has its roots inside the unit circle if and only if
0 < rate L < 2 sin(pi / (2 (2 tau + 1))). The recalled convergence theorem is `qsgd_lab.theory.convergence`'s;
delay enters its precondition, not its bound.
"""

from __future__ import annotations

import math

from qsgd_lab.theory.arguments import number, whole
from qsgd_lab.theory.arrays import representable


@representable(zeros={})
def stability_limit(delay: int, smoothness: float = 1.0) -> float:
    """Return the learning rate below which SGD with this constant delay is stable on a quadratic.

    Parameters
    ----------
    delay : int
        tau >= 0, in updates.
    smoothness : float
        L > 0, the largest curvature.

    Examples
    --------
    >>> [round(stability_limit(tau), 5) for tau in (0, 1, 3, 7)]
    [2.0, 1.0, 0.44504, 0.20906]
    """
    smoothness = number("smoothness", smoothness, above=0)
    return 2 * math.sin(math.pi / (2 * (2 * whole("delay", delay, least=0) + 1))) / smoothness
