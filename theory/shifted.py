r"""EF21 and DIANA: learning rates that are proved, and the example that plain compression fails on.

EF21 with a contraction of alpha: theta = 1 - sqrt(1 - alpha), beta = (1 - alpha) / theta,

.. math:: \gamma = \frac{1}{L + \tilde L \sqrt{\beta / \theta}}, \qquad
          \frac1T \sum E\|\nabla f(x_t)\|^2 \le \frac{2 (f_0 - f^*)}{\gamma T} + \frac{G_0}{\theta T}

with L-tilde^2 the mean of the L_i^2 and G_0 the mean of |g_i - grad f_i(x_0)|^2 at the start (rate read in
the authors' code, bound recalled). DIANA with a variance factor w at N nodes: alpha = 1 / (1 + w),
gamma = 1 / (L (1 + 6 w / N)), and |x - x*|^2 shrinks by 1 - min(gamma mu, alpha / 2) a step (code and
recalled theorem).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qsgd_lab.theory.arguments import number, whole


def _theta_beta(contraction: float) -> tuple[float, float]:
    contraction = number("contraction", contraction, above=0, most=1)
    theta = 1 - math.sqrt(1 - contraction)
    return theta, (1 - contraction) / theta


def ef21_rate(contraction: float, smoothness: float, node_smoothness: Sequence[float]) -> float:
    """Return gamma of EF21.

    Parameters
    ----------
    contraction : float
        alpha in (0, 1]; k / n for top-k.
    smoothness : float
        L > 0 of f.
    node_smoothness : sequence of float
        L_i of each node's function, at least one.

    Examples
    --------
    >>> round(ef21_rate(1 / 3, 17 + 1 / 6, [34.5] * 3), 7)
    0.0058591
    """
    theta, beta = _theta_beta(contraction)
    smoothness = number("smoothness", smoothness, above=0)
    squares = [number("node_smoothness", each, above=0) ** 2 for each in node_smoothness]
    if not squares:
        raise ValueError("node_smoothness is empty; each node has one")
    return 1 / (smoothness + math.sqrt(float(np.mean(squares)) * beta / theta))


def ef21_gradient_bound(
    *, loss_gap: float, rate: float, num_steps: int, contraction: float, initial_error: float
) -> float:
    """Return the bound on the mean over T steps of E|grad f(x_t)|^2, for the rate of `ef21_rate`.

    Parameters
    ----------
    loss_gap, initial_error : float
        f(x_0) - f* and G_0, at least 0.
    rate : float
        gamma > 0.
    num_steps : int
        T >= 1.
    contraction : float
        alpha in (0, 1].
    """
    theta, _ = _theta_beta(contraction)
    steps, rate = whole("num_steps", num_steps), number("rate", rate, above=0)
    gap = number("loss_gap", loss_gap, least=0)
    return 2 * gap / (rate * steps) + number("initial_error", initial_error, least=0) / (theta * steps)


def diana_rates(variance_factor: float, smoothness: float, num_nodes: int) -> tuple[float, float]:
    """Return (gamma, alpha) of DIANA.

    Parameters
    ----------
    variance_factor : float
        w >= 0 of the unbiased compressor.
    smoothness : float
        L > 0, of every node's function.
    num_nodes : int
        N >= 1.
    """
    factor = number("variance_factor", variance_factor, least=0)
    smoothness, nodes = number("smoothness", smoothness, above=0), whole("num_nodes", num_nodes)
    return 1 / (smoothness * (1 + 6 * factor / nodes)), 1 / (1 + factor)


def compressed_descent_factor(rate: float) -> float:
    """Return 1 + 11 gamma / 6: what top-1 compressed gradient descent multiplies x by on the known example.

    f_i = (a_i . x)^2 + |x|^2 / 4 with a = (-3, 2, 2) and its rotations, three nodes, from x = (1, 1, 1).
    """
    return 1 + 11 * number("rate", rate, least=0) / 6
