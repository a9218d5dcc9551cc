r"""CSER: how far the workers drift apart, how fast it converges, and what it sends.

Communication-efficient SGD with Error Reset compresses gradients with C2 every step and resets the
accumulated errors with C1 every H steps; delta_1 and delta_2 are their contraction factors. Workers
disagree by their errors alone (x_i - e_i is the same on all), and the mean iterate follows plain SGD on the
mean gradient. (The algorithm is recalled from Xie et al. 2020; the bounds below are derived here and have
the form of the paper's.)
"""

from __future__ import annotations


def _error_growth(reset_contraction: float, gradient_contraction: float) -> float:
    """Return [4 (1 - d1) / d1^2 + 1] 2 (1 - d2)."""
    for delta in (reset_contraction, gradient_contraction):
        if not 0 <= delta <= 1:
            raise ValueError("contraction factors must lie between 0 and 1")
    if reset_contraction == 0:
        raise ValueError(
            "the reset's contraction factor is 0: errors would never be reset; it must be positive"
        )
    carried = 4 * (1 - reset_contraction) / reset_contraction**2
    return (carried + 1) * 2 * (1 - gradient_contraction)


def consensus_bound(
    *,
    reset_contraction: float,
    gradient_contraction: float,
    step: float,
    interval: int,
    gradient_second_moment: float,
) -> float:
    r"""Return a bound on the mean over workers of E||x_i - mean x||^2.

    .. math:: \Bigl[\frac{4 (1 - \delta_1)}{\delta_1^2} + 1\Bigr] \, 2 (1 - \delta_2) \, \eta^2 H^2 V_2

    Parameters
    ----------
    reset_contraction : float
        delta_1 in (0, 1] of C1, used every H steps.
    gradient_contraction : float
        delta_2 in [0, 1] of C2, used every step; 0 sends no gradients at all, as local SGD does.
    step : float
        eta.
    interval : int
        H.
    gradient_second_moment : float
        V_2 >= E||g_i||^2.

    Raises
    ------
    ValueError
        If a contraction factor is out of range.
    """
    growth = _error_growth(reset_contraction, gradient_contraction)
    return growth * step**2 * interval**2 * gradient_second_moment


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
    r"""Return a bound on the mean over T steps of E||grad F(mean x_t)||^2, F L-smooth, eta <= 1 / L.

    .. math:: \frac{2 (F_0 - F^*)}{\eta T} + L^2 \cdot (\text{consensus bound}) + \frac{L \eta V_1}{n}

    Parameters
    ----------
    loss_gap : float
        F(x_0) - F*.
    smoothness : float
        L.
    gradient_variance : float
        V_1 >= E||g_i - grad F_i||^2.
    num_steps, num_workers : int
        T and n.
    step, reset_contraction, gradient_contraction, interval, gradient_second_moment
        As in `consensus_bound`.

    Raises
    ------
    ValueError
        If eta > 1 / L or a contraction factor is out of range.
    """
    if step * smoothness > 1:
        raise ValueError(f"the step {step} exceeds 1 / L = {1 / smoothness}; the bound needs step <= 1 / L")
    apart = consensus_bound(
        reset_contraction=reset_contraction,
        gradient_contraction=gradient_contraction,
        step=step,
        interval=interval,
        gradient_second_moment=gradient_second_moment,
    )
    noise = smoothness * step * gradient_variance / num_workers
    return 2 * loss_gap / (step * num_steps) + smoothness**2 * apart + noise


def block_sparsifier_bits(
    num_coordinates: int, gradient_ratio: float, reset_ratio: float, interval: int
) -> float:
    """Return 32 n (1 / R2 + 1 / (H R1)), mean bits a step and worker with random block sparsifiers (GRBS).

    One of R blocks is sent, the same on all workers by a shared seed: no indices, all-reduce as usual, and
    a contraction of 1 / R. An infinite ratio sends nothing.

    Parameters
    ----------
    num_coordinates : int
        n.
    gradient_ratio, reset_ratio : float
        R2 of every step and R1 of the resets, each at least 1.
    interval : int
        H.

    Examples
    --------
    >>> 32 * 1000 / block_sparsifier_bits(1000, gradient_ratio=64, reset_ratio=8, interval=8)  # overall ratio
    32.0
    """
    return 32 * num_coordinates * (1 / gradient_ratio + 1 / (interval * reset_ratio))
