r"""Bounds on the iterations of quantized SGD: convex, non-convex and asynchronous.

QSGD's theorems put B' = min(n/s^2, sqrt(n)/s) B, with B >= E||g||^2, in the place of the gradient's
variance. That is the added variance alone: by Pythagoras the error of Q(g) about grad f is sigma^2 + omega
B (`total_variance`); as s grows B' goes to zero, and the noise of the gradient itself stays. The functions
take the total.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.theory.arguments import number, whole
from qsgd_lab.theory.arrays import representable


@representable()
def total_variance(gradient_variance: float, gradient_second_moment: float, variance_factor: float) -> float:
    """Return sigma^2 + omega B, the variance of Q(g) about the true gradient.

    Parameters
    ----------
    gradient_variance : float
        sigma^2 >= E||g - grad f||^2, at least 0.
    gradient_second_moment : float
        B >= E||g||^2, at least 0.
    variance_factor : float
        omega >= 0, such as `qsgd_lab.theory.variance.worst_case_variance_l2`.
    """
    variance = number("gradient_variance", gradient_variance, least=0)
    moment = number("gradient_second_moment", gradient_second_moment, least=0)
    return variance + number("variance_factor", variance_factor, least=0) * moment


@representable(zeros={})
def convex_gap(
    radius: float, smoothness: float, variance: float, num_steps: int, num_workers: int = 1
) -> float:
    r"""Return a bound on E f(mean of the T iterates) - f* of mini-batch SGD on K workers.

    .. math:: R \sqrt{2 \sigma^2 / (K T)} + L R^2 / T

    Assumes f convex and L-smooth, unbiased gradients of variance at most sigma^2, independent over the
    workers, and the step of `convex_step`. QSGD, Theorem 2.1 (after Bubeck 2015, Theorem 6.3) with sigma^2
    / K.

    Parameters
    ----------
    radius : float
        R > 0, with R^2 >= ||x - x_0||^2 over the domain.
    smoothness : float
        L > 0.
    variance : float
        sigma^2 >= 0; of quantized gradients, `total_variance`.
    num_steps, num_workers : int
        T >= 1 and K >= 1.
    """
    radius, smoothness, variance = _constants(radius, smoothness, variance)
    num_steps, num_workers = whole("num_steps", num_steps), whole("num_workers", num_workers)
    # The mean of K independent gradients has a K-th of the variance.
    noise = radius * np.sqrt(2 * variance / (num_workers * num_steps))
    return float(noise + smoothness * radius**2 / num_steps)


@representable(zeros={})
def convex_step(
    radius: float, smoothness: float, variance: float, num_steps: int, num_workers: int = 1
) -> float:
    """Return the step 1 / (L + 1 / (sqrt(K) gamma)), gamma = (R / sigma) sqrt(2 / T), of `convex_gap`.

    More workers mean less variance, hence a longer step. As printed with QSGD's parallel theorem the step has
    sqrt(K) / gamma (`printed_parallel_step`), and shrinks. Parameters as in `convex_gap`, the variance above
    0.
    """
    radius, smoothness, variance = _constants(radius, smoothness, variance)
    number("variance", variance, above=0)
    num_steps, num_workers = whole("num_steps", num_steps), whole("num_workers", num_workers)
    gamma = radius * np.sqrt(2 / (num_steps * variance))
    return float(1 / (smoothness + 1 / (np.sqrt(num_workers) * gamma)))


@representable(zeros={})
def printed_parallel_step(
    radius: float, smoothness: float, variance: float, num_steps: int, num_workers: int
) -> float:
    """Return 1 / (L + sqrt(K) / gamma) as printed; at K = 16 its gap is many times that of `convex_step`.

    Parameters as in `convex_step`.
    """
    radius, smoothness, variance = _constants(radius, smoothness, variance)
    number("variance", variance, above=0)
    num_steps, num_workers = whole("num_steps", num_steps), whole("num_workers", num_workers)
    gamma = radius * np.sqrt(2 / (num_steps * variance))
    return float(1 / (smoothness + np.sqrt(num_workers) / gamma))


@representable(zeros={})
def convex_steps_to(
    gap: float, radius: float, smoothness: float, variance: float, num_workers: int = 1
) -> int:
    """Return the least T for which `convex_gap` is at most `gap`: QSGD, Theorem 3.4, with its constants.

    Solves gap T - R sqrt(2 sigma^2 / K) sqrt(T) - L R^2 = 0 for sqrt(T). `gap` is above 0, the other
    parameters as in `convex_gap`.
    """
    gap, num_workers = number("gap", gap, above=0), whole("num_workers", num_workers)
    radius, smoothness, variance = _constants(radius, smoothness, variance)
    linear = radius * np.sqrt(2 * variance / num_workers)
    root = (linear + np.sqrt(linear**2 + 4 * gap * smoothness * radius**2)) / (2 * gap)
    # The ceiling, unless rounding alone pushed a whole number over itself.
    return max(1, int(np.ceil(root**2 * (1 - 1e-12))))


@representable(zeros={"loss_gap": 0})
def nonconvex_gradient_bound(
    loss_gap: float, smoothness: float, step: float, variance: float, num_steps: int, num_workers: int = 1
) -> float:
    r"""Return a bound on the mean of E||grad f(x_t)||^2 over T steps, f L-smooth and perhaps not convex.

    .. math:: \frac{2 (f(x_0) - f^*)}{\eta T} + \frac{L \eta \sigma^2}{K}, \qquad \eta \le 1 / L

    A checkable form of QSGD, Theorem 3.5 (after Ghadimi, Lan 2013), whose formula is printed ambiguously.
    Proof: the descent lemma, E||mean of Q(g_k)||^2 <= ||grad f||^2 + sigma^2 / K, and eta L <= 1.

    Parameters
    ----------
    loss_gap : float
        f(x_0) - f* >= 0.
    smoothness, step : float
        L > 0 and eta > 0.
    variance : float
        sigma^2 >= 0; of quantized gradients, `total_variance`.
    num_steps, num_workers : int
        T >= 1 and K >= 1.

    Raises
    ------
    ValueError
        If eta > 1 / L, or an argument is out of its range.
    """
    loss_gap, smoothness = number("loss_gap", loss_gap, least=0), number("smoothness", smoothness, above=0)
    step, variance = number("step", step, above=0), number("variance", variance, least=0)
    num_steps, num_workers = whole("num_steps", num_steps), whole("num_workers", num_workers)
    # The proof drops a term that is negative only for such steps.
    if step * smoothness > 1:
        raise ValueError(f"the step {step} exceeds 1 / L = {1 / smoothness}; the bound needs step <= 1 / L")
    return 2 * loss_gap / (step * num_steps) + smoothness * step * variance / num_workers


@representable(zeros={"loss_gap": 0})
def asynchronous_gradient_bound(
    loss_gap: float, smoothness: float, variance: float, num_steps: int, batch: int, max_delay: int
) -> float:
    r"""Return a bound on the mean of E||grad f||^2 over K updates of asynchronous SGD with bounded delay.

    .. math:: 4 \sqrt{(f_0 - f^*) L \sigma^2 / (M K)}, \qquad K \ge 4 L (f_0 - f^*) (\tau + 1)^2 M / \sigma^2

    with the step sqrt((f_0 - f*) / (L M K sigma^2)) along the *sum* of the M gradients of an update (along
    their mean it is M times as long). The delay is in the condition on K alone. Lian et al. 2015 as QSGD
    applies it, as remembered: the constants were not re-read. QSGD puts (1 + omega) sigma^2 in the place of
    sigma^2; `total_variance` needs B, not sigma^2.

    Parameters
    ----------
    loss_gap, smoothness, variance : float
        f_0 - f* >= 0, L > 0 and sigma^2 > 0 of one sample.
    num_steps, batch, max_delay : int
        K >= 1, M >= 1 and tau >= 0.

    Raises
    ------
    ValueError
        If K is too small for the theorem, or an argument is out of its range.
    """
    loss_gap, smoothness = number("loss_gap", loss_gap, least=0), number("smoothness", smoothness, above=0)
    variance, num_steps = number("variance", variance, above=0), whole("num_steps", num_steps)
    batch, max_delay = whole("batch", batch), whole("max_delay", max_delay, least=0)
    # The delay appears here alone: enough updates make up for it.
    least = 4 * smoothness * loss_gap * (max_delay + 1) ** 2 * batch / variance
    if num_steps < least:
        raise ValueError(
            f"num_steps is {num_steps}; at this delay the theorem needs at least {int(np.ceil(least))}"
        )
    return float(4 * np.sqrt(loss_gap * smoothness * variance / (batch * num_steps)))


def _constants(radius: float, smoothness: float, variance: float) -> tuple[float, float, float]:
    return (
        number("radius", radius, above=0),
        number("smoothness", smoothness, above=0),
        number("variance", variance, least=0),
    )
