r"""When error feedback converges, and how large its memory can grow.

Error feedback sends C(p_t), p_t = eta g_t + e_t, and keeps e_{t+1} = p_t - C(p_t). What it needs is a
contraction: E||C(x) - x||^2 <= (1 - delta) ||x||^2 with 0 < delta <= 1. An unbiased quantizer of variance
factor omega is one as it stands only if omega < 1; multiplied by 1/(1 + omega) it always is, with delta =
1/(1 + omega).

References
----------
Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD and other gradient compression
schemes. ICML 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arrays import Floats, broadcast
from qsgd_lab.theory.variance import squared_norm


def undamped_contraction(variance_factor: float) -> float | None:
    """Return delta = 1 - omega of an unbiased compressor as it stands, or None if omega >= 1: no contraction.

    The contraction test: where it gives None, error feedback on the undamped compressor can diverge.
    """
    return 1 - variance_factor if variance_factor < 1 else None


def damped_contraction(variance_factor: ArrayLike) -> Floats:
    """Return delta = 1 / (1 + omega) of C / (1 + omega), C unbiased with variance factor omega.

    E||Q||^2 / (1 + omega)^2 - 2 / (1 + omega) + 1 <= 1 - 1 / (1 + omega) in units of ||x||^2.
    """
    delta: Floats = 1 / (1 + np.asarray(variance_factor, dtype=np.float64))
    return delta


def sparsifier_contraction(num_coordinates: int, k: int) -> float:
    """Return delta = k / n of top-k (for every vector) and of rand-k (in the mean)."""
    return k / num_coordinates


def scaled_sign_contraction(gradient: ArrayLike) -> float:
    """Return delta = ||v||_1^2 / (n ||v||_2^2) of scaled sign on a non-zero vector, at least 1/n."""
    vector = np.asarray(gradient, dtype=np.float64).reshape(-1)
    return float(np.abs(vector).sum() ** 2 / (vector.size * squared_norm(vector)))


def memory_bound(contraction: ArrayLike, step: ArrayLike, gradient_second_moment: ArrayLike) -> Floats:
    r"""Return the largest E||e_t||^2 at any t, in squared units of the parameters.

    .. math:: \frac{(1 - \delta) (1 + \sqrt{1 - \delta})^2}{\delta^2} \, \eta^2 G^2

    By Minkowski's inequality, ||e_{t+1}|| <= sqrt(1 - delta) (||e_t|| + eta G) in L2, whose fixed point
    this is; attained by C(p) = (1 - sqrt(1 - delta)) p on a constant gradient. Sharper than
    `recalled_memory_bound`.

    Parameters
    ----------
    contraction : array_like
        0 < delta <= 1.
    step : array_like
        eta.
    gradient_second_moment : array_like
        G^2 >= E||g_t||^2.
    """
    delta, eta, moment = _contractions(contraction, step, gradient_second_moment)
    root = np.sqrt(1 - delta)
    bound: Floats = (root * (1 + root) / delta * eta) ** 2 * moment
    return bound


def recalled_memory_bound(
    contraction: ArrayLike, step: ArrayLike, gradient_second_moment: ArrayLike
) -> Floats:
    """Return 4 (1 - delta) / delta^2 eta^2 G^2, Karimireddy et al., Lemma 3, as remembered (not re-read).

    Parameters as in `memory_bound`.
    """
    delta, eta, moment = _contractions(contraction, step, gradient_second_moment)
    bound: Floats = 4 * (1 - delta) / delta**2 * eta**2 * moment
    return bound


def nonconvex_bound(
    loss_gap: float,
    smoothness: float,
    step: float,
    num_steps: int,
    gradient_second_moment: float,
    contraction: float,
) -> float:
    r"""Return a bound on min_t E||grad f(x_t)||^2 of SGD with error feedback, f L-smooth.

    .. math:: \frac{2 (f_0 - f^*)}{\eta (T + 1)} + \frac{\eta L G^2}{2} + 4 \eta^2 L^2 G^2 \frac{1 -
    \delta}{\delta^2}

    Karimireddy et al., Theorem II, as remembered: the constants were not re-read.

    Parameters
    ----------
    loss_gap : float
        f(x_0) - f*.
    smoothness, step, num_steps : float, float, int
        L, eta and T.
    gradient_second_moment : float
        G^2.
    contraction : float
        delta.
    """
    memory = float(recalled_memory_bound(contraction, step, gradient_second_moment))
    descent = 2 * loss_gap / (step * (num_steps + 1)) + step * smoothness * gradient_second_moment / 2
    return descent + smoothness**2 * memory


def _contractions(
    contraction: ArrayLike, step: ArrayLike, moment: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    delta, eta, square = broadcast(contraction, step, moment)
    if (delta <= 0).any() or (delta > 1).any():
        raise ValueError("a contraction factor delta must lie in (0, 1]")
    return delta, eta, square
