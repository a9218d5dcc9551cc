r"""The condition under which error feedback converges, and a bound on its memory.

Error feedback sends C(p_t), p_t = eta g_t + e_t, and keeps e_{t+1} = p_t - C(p_t). What it needs is a
contraction: E||C(x) - x||^2 <= (1 - delta) ||x||^2 with 0 < delta <= 1. An unbiased quantizer of variance
factor omega is one as it is only if omega < 1; multiplied by 1/(1 + omega) it always is, with delta =
1/(1 + omega).

References
----------
Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD and other gradient compression
schemes. ICML 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import kept, nonzero_vector, number, numbers, vector, whole
from qsgd_lab.theory.arrays import Floats, broadcast, in_squared_units, representable, split_scale


def undamped_contraction(variance_factor: float) -> float | None:
    """Return delta = 1 - omega of an unbiased compressor as it is, or None if omega >= 1: no contraction.

    The contraction test: where it gives None, error feedback on the undamped compressor can diverge.
    `variance_factor` is omega >= 0.

    Examples
    --------
    >>> undamped_contraction(0.25), undamped_contraction(2.2)
    (0.75, None)
    """
    omega = number("variance_factor", variance_factor, least=0)
    return 1 - omega if omega < 1 else None


def damped_contraction(variance_factor: ArrayLike) -> Floats:
    """Return delta = 1 / (1 + omega) of C / (1 + omega), C unbiased with variance factor omega.

    E||Q||^2 / (1 + omega)^2 - 2 / (1 + omega) + 1 <= 1 - 1 / (1 + omega) in units of ||x||^2. omega >= 0.
    """
    delta: Floats = 1 / (1 + numbers("variance_factor", variance_factor, least=0))
    return delta


def sparsifier_contraction(num_coordinates: int, k: int) -> float:
    """Return delta = k / n of top-k (for every vector) and of rand-k (in the mean), 1 <= k <= n."""
    n = whole("num_coordinates", num_coordinates)
    return kept(k, n) / n


def scaled_sign_contraction(gradient: ArrayLike) -> float:
    """Return delta = ||v||_1^2 / (n ||v||_2^2) of scaled sign on a non-zero vector, at least 1/n."""
    scaled, _ = split_scale(nonzero_vector("gradient", gradient))
    return float(np.abs(scaled).sum() ** 2 / (scaled.size * (scaled @ scaled)))


@representable(zeros={"contraction": 1, "gradient_second_moment": 0})
def memory_bound(contraction: ArrayLike, step: ArrayLike, gradient_second_moment: ArrayLike) -> Floats:
    r"""Return a bound on E||e_t||^2 at every t, in squared units of the parameters.

    .. math:: \frac{(1 - \delta) (1 + \sqrt{1 - \delta})^2}{\delta^2} \, \eta^2 G^2

    By Minkowski's inequality, ||e_{t+1}|| <= sqrt(1 - delta) (||e_t|| + eta G) in L2, whose fixed point
    this is. C(p) = (1 - sqrt(1 - delta)) p on a constant gradient approaches it as t grows, so it is the
    least bound for all delta-contractions. Sharper than `recalled_memory_bound`.

    The residual here is in units of the update, with eta inside. Where the residual is kept in units of the
    gradient, as `qsgd_lab.compressors.ErrorFeedback` does, eta = 1 gives its bound.

    Parameters
    ----------
    contraction : array_like
        0 < delta <= 1.
    step : array_like
        eta > 0.
    gradient_second_moment : array_like
        G^2 >= E||g_t||^2, at least 0.
    """
    delta, eta, moment = _contractions(contraction, step, gradient_second_moment)
    # In L2 the norm, not its square, shrinks by this factor and adds up.
    root = np.sqrt(1 - delta)
    bound: Floats = (root * (1 + root) / delta * eta) ** 2 * moment
    return bound


@representable(zeros={"contraction": 1, "gradient_second_moment": 0})
def recalled_memory_bound(
    contraction: ArrayLike, step: ArrayLike, gradient_second_moment: ArrayLike
) -> Floats:
    """Return 4 (1 - delta) / delta^2 eta^2 G^2, Karimireddy et al., Lemma 3, as remembered (not re-read).

    Parameters as in `memory_bound`.
    """
    delta, eta, moment = _contractions(contraction, step, gradient_second_moment)
    bound: Floats = 4 * (1 - delta) / delta**2 * eta**2 * moment
    return bound


@representable(zeros={"loss_gap": 0})
def nonconvex_bound(
    loss_gap: float,
    smoothness: float,
    step: float,
    num_steps: int,
    gradient_second_moment: float,
    contraction: float,
) -> float:
    r"""Return a bound on min_t E||grad f(x_t)||^2 of SGD with error feedback, f L-smooth.

    .. math:: \frac{2 (f_0 - f^*)}{\eta (T + 1)} + \frac{\eta L G^2}{2}
              + 4 \eta^2 L^2 G^2 \frac{1 - \delta}{\delta^2}

    Karimireddy et al., Theorem II, as remembered: the constants were not re-read.

    Parameters
    ----------
    loss_gap : float
        f(x_0) - f* >= 0.
    smoothness, step, num_steps : float, float, int
        L > 0, eta > 0 and T >= 1.
    gradient_second_moment : float
        G^2 >= 0.
    contraction : float
        0 < delta <= 1.
    """
    loss_gap, smoothness = number("loss_gap", loss_gap, least=0), number("smoothness", smoothness, above=0)
    step, num_steps = number("step", step, above=0), whole("num_steps", num_steps)
    gradient_second_moment = number("gradient_second_moment", gradient_second_moment, least=0)
    contraction = number("contraction", contraction, above=0, most=1)
    # Its constant 4 is the theorem's; the sharper memory bound has not been put through that proof.
    memory = float(recalled_memory_bound(contraction, step, gradient_second_moment))
    descent = 2 * loss_gap / (step * (num_steps + 1)) + step * smoothness * gradient_second_moment / 2
    return descent + smoothness**2 * memory


def _contractions(
    contraction: ArrayLike, step: ArrayLike, moment: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    delta, eta, square = broadcast(
        numbers("contraction", contraction, above=0, most=1),
        numbers("step", step, above=0),
        numbers("gradient_second_moment", moment, least=0),
    )
    return delta, eta, square


def expected_error_ef(gradient: ArrayLike, inner: float, _factor: object, **_: object) -> float:
    """Return the wrapped compressor's error: the first gradient has no residual."""
    vector("gradient", gradient)
    return number("inner", inner, least=0)


@representable()
def expected_error_damped(gradient: ArrayLike, inner: float, factor: float) -> float:
    """Return (E + w^2 ||v||^2) / (1 + w)^2 for an unbiased quantizer of error E that is divided by 1 + w.

    Parameters
    ----------
    gradient : array_like, shape (n,)
    inner, factor : float
        E and w.
    """
    v, w = vector("gradient", gradient), number("factor", factor, least=0)
    shrink = w / (1 + w)
    # Divided twice, because the square of a large factor would overflow.
    spread = number("inner", inner, least=0) / (1 + w) / (1 + w)
    return spread + in_squared_units(v, lambda scaled: shrink * shrink * float(scaled @ scaled), "the error")


def expected_bits(num_coordinates: int, inner: float, _factor: object, **_: object) -> float:
    """Return the wrapped compressor's bits: neither a residual nor a factor is sent."""
    whole("num_coordinates", num_coordinates)
    return number("inner", inner, least=0)
