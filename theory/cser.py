r"""CSER: how far the workers drift apart, how fast it converges, and what it sends.

Communication-efficient SGD with Error Reset compresses gradients with C2 every step and resets the
accumulated errors with C1 every H steps; delta_1 and delta_2 are their contraction factors. Workers
disagree by their errors alone (x_i - e_i is the same on all), and the mean iterate follows plain SGD on the
mean gradient. Special cases: C2 = 0 is CSER-PL, and with H = 1 CSEA; C2 = 0 and C1 = identity is local SGD;
C2 = identity is synchronous SGD. The algorithm is recalled from Xie et al. 2020; the bounds are derived.
"""

from __future__ import annotations

import math

from qsgd_lab.theory.arguments import number, whole
from qsgd_lab.theory.arrays import representable


def _error_growth(reset_contraction: float, gradient_contraction: float) -> float:
    """Return ((1 + sqrt(1 - d1)) / d1)^2 (1 - d2)."""
    # A reset that contracts nothing would never bring the workers together again.
    reset_contraction = number("reset_contraction", reset_contraction, above=0, most=1)
    gradient_contraction = number("gradient_contraction", gradient_contraction, least=0, most=1)
    carried = (1 + math.sqrt(1 - reset_contraction)) / reset_contraction
    return carried**2 * (1 - gradient_contraction)


@representable(zeros={"gradient_contraction": 1, "gradient_second_moment": 0})
def consensus_bound(
    *,
    reset_contraction: float,
    gradient_contraction: float,
    step: float,
    interval: int,
    gradient_second_moment: float,
) -> float:
    r"""Return a bound on the mean over workers of E||x_i - mean x||^2.

    .. math:: \Bigl(\frac{1 + \sqrt{1 - \delta_1}}{\delta_1}\Bigr)^2 (1 - \delta_2) \, \eta^2 H^2 V_2

    Between resets an error grows by at most A = sqrt(1 - delta_2) eta H sqrt(V_2) in L2 (Minkowski), and a
    reset leaves sqrt(1 - delta_1) of it; so it never exceeds A / (1 - sqrt(1 - delta_1)). Less than half of
    the recalled form of the paper, [4 (1 - delta_1) / delta_1^2 + 1] 2 (1 - delta_2) eta^2 H^2 V_2. With
    momentum V_2 bounds the second moment of what is compressed, divided by eta^2.

    Parameters
    ----------
    reset_contraction : float
        delta_1 in (0, 1] of C1, used every H steps.
    gradient_contraction : float
        delta_2 in [0, 1] of C2, used every step; 0 sends no gradients at all, as local SGD does.
    step : float
        eta > 0.
    interval : int
        H >= 1.
    gradient_second_moment : float
        V_2 >= E||g_i||^2, at least 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    step, interval = number("step", step, above=0), whole("interval", interval)
    gradient_second_moment = number("gradient_second_moment", gradient_second_moment, least=0)
    growth = _error_growth(reset_contraction, gradient_contraction)
    return growth * step**2 * interval**2 * gradient_second_moment


@representable(zeros={"loss_gap": 0})
def cser_gradient_bound(
    *,
    loss_gap: float,
    smoothness: float,
    step: float,
    num_steps: int,
    num_workers: int,
    gradient_variance: float,
    gradient_second_moment: float,
    reset_contraction: float,
    gradient_contraction: float,
    interval: int,
) -> float:
    r"""Return a bound on the mean over T steps of E||grad F(mean x_t)||^2, eta <= 1 / L.

    Every worker's F_i must be L-smooth, not only their mean F.

    .. math:: \frac{2 (F_0 - F^*)}{\eta T} + L^2 \cdot (\text{consensus bound}) + \frac{L \eta V_1}{n}

    Parameters
    ----------
    loss_gap : float
        F(x_0) - F* >= 0.
    smoothness : float
        L > 0.
    gradient_variance : float
        V_1 >= E||g_i - grad F_i||^2, at least 0.
    num_steps, num_workers : int
        T >= 1 and n >= 1.
    step, reset_contraction, gradient_contraction, interval, gradient_second_moment
        As in `consensus_bound`.

    Raises
    ------
    ValueError
        If eta > 1 / L or an argument is out of its range.
    """
    loss_gap, smoothness = number("loss_gap", loss_gap, least=0), number("smoothness", smoothness, above=0)
    gradient_variance = number("gradient_variance", gradient_variance, least=0)
    num_steps, num_workers = whole("num_steps", num_steps), whole("num_workers", num_workers)
    step = number("step", step, above=0)
    # The descent lemma's second term must not exceed its first.
    if step * smoothness > 1:
        raise ValueError(f"the step {step} exceeds 1 / L = {1 / smoothness}; the bound needs step <= 1 / L")
    moment = number("gradient_second_moment", gradient_second_moment, least=0)
    # The consensus bound times L^2, with L eta, at most 1, squared as one number.
    growth = _error_growth(reset_contraction, gradient_contraction)
    apart = growth * (smoothness * step * whole("interval", interval)) ** 2 * moment
    noise = smoothness * step * gradient_variance / num_workers
    return 2 * loss_gap / (step * num_steps) + apart + noise


@representable()
def block_sparsifier_bits(
    num_coordinates: int, gradient_ratio: float, reset_ratio: float, interval: int
) -> float:
    """Return 32 n (1 / R2 + 1 / (H R1)), mean bits a step and worker with random block sparsifiers (GRBS).

    One of R blocks is sent, the same on all workers by a shared seed: no indices, all-reduce as usual, and
    a contraction of 1 / R.

    Parameters
    ----------
    num_coordinates : int
        n >= 1.
    gradient_ratio, reset_ratio : float
        R2 of every step and R1 of the resets, each at least 1; infinity sends nothing.
    interval : int
        H >= 1.

    Examples
    --------
    >>> 32 * 1000 / block_sparsifier_bits(1000, gradient_ratio=64, reset_ratio=8, interval=8)  # overall ratio
    32.0
    """
    n, interval = whole("num_coordinates", num_coordinates), whole("interval", interval)
    gradient_ratio = number("gradient_ratio", gradient_ratio, least=1, infinite=True)
    reset_ratio = number("reset_ratio", reset_ratio, least=1, infinite=True)
    return 32 * n * (1 / gradient_ratio + 1 / (interval * reset_ratio))
