r"""Local SGD on one mu-strongly convex, L-smooth problem: an error bound to compute for any schedule.

N workers start at x_0, take steps eta_t = 2 / (mu (t + beta)) on independent gradients of noise variance at
most sigma^2, and average their iterates at the times of a schedule. With beta >= 8 L / mu (so that eta_t <=
1 / (4 L)) the mean iterate obeys E||mean x_t - x*||^2 <= B_t,

.. math:: B_{t+1} = (1 - \mu \eta_t) B_t + \eta_t^2 \sigma^2 / N + 2 \eta_t L D_t, \qquad
          D_t = \sigma^2 (1 - 1/N) \sum_{k = \tau(t)}^{t-1} \eta_k^2

where tau(t) is the last averaging up to t. The one-step inequality is Stich 2019, Lemma 3.1 (as
remembered); the spread D_t uses that the gradient map of one function is non-expansive, so that only noise
separates the workers. All workers draw from the same data.

The paper (Spiridonoff, Olshevsky, Paschalidis 2021) proves that intervals growing by a constant make R =
Omega(N) averagings enough whatever T is; `leading_order_bound` shows where that comes from: 1/N + O(kappa /
R) without a logarithm.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from qsgd_lab.theory.arrays import Floats


def growing_schedule(num_steps: int, num_rounds: int) -> list[int]:
    """Return the times of averaging with intervals a, 2a, 3a, ..., a = ceil(2 T / R^2), ending at T.

    There are at most `num_rounds` of them, and fewer where a had to be rounded up much (R above sqrt(2 T)).

    Examples
    --------
    >>> growing_schedule(20, 4)
    [3, 9, 18, 20]
    """
    unit = -(-2 * num_steps // num_rounds**2)
    times = itertools.accumulate(unit * (i + 1) for i in range(num_rounds))
    return sorted({min(time, num_steps) for time in times} | {num_steps})


def constant_schedule(num_steps: int, num_rounds: int) -> list[int]:
    """Return R times of averaging at equal intervals (to within one step), ending at T."""
    return sorted({round(num_steps * (i + 1) / num_rounds) for i in range(num_rounds)})


def steps_since_averaging(schedule: Sequence[int], num_steps: int) -> Floats:
    """Return t - tau(t) for t = 0 .. T - 1, shape (T,), with tau the last averaging up to t (0 at first)."""
    times = np.concatenate(([0], np.asarray(schedule, dtype=np.int64)))
    t = np.arange(num_steps)
    return (t - times[np.searchsorted(times, t, side="right") - 1]).astype(np.float64)


def local_sgd_error_bound(
    schedule: Sequence[int],
    *,
    num_steps: int,
    num_workers: int,
    strong_convexity: float,
    smoothness: float,
    noise_variance: float,
    beta: float,
    initial_distance_squared: float,
) -> float:
    """Return B_T, a bound on E||mean x_T - x*||^2 for this schedule.

    Parameters
    ----------
    schedule : sequence of int
        Times of averaging, increasing, in 1..T; empty or (T,) is one-shot averaging.
    num_steps, num_workers : int
        T and N.
    strong_convexity, smoothness, noise_variance : float
        mu, L and sigma^2.
    beta : float
        Of the step 2 / (mu (t + beta)); at least 8 L / mu.
    initial_distance_squared : float
        ||x_0 - x*||^2.

    Raises
    ------
    ValueError
        If beta is below 8 L / mu.
    """
    if beta < 8 * smoothness / strong_convexity:
        raise ValueError(
            f"beta is {beta}; the bound needs at least 8 L / mu = {8 * smoothness / strong_convexity}"
        )
    steps = 2 / (strong_convexity * (np.arange(num_steps) + beta))
    squares = np.concatenate(([0.0], np.cumsum(steps**2)))
    begins = np.arange(num_steps) - steps_since_averaging(schedule, num_steps).astype(np.int64)
    spread = noise_variance * (1 - 1 / num_workers) * (squares[:num_steps] - squares[begins])
    bound = initial_distance_squared
    for eta, apart in zip(steps, spread, strict=True):
        noise = eta**2 * noise_variance / num_workers
        bound = (1 - strong_convexity * eta) * bound + noise + 2 * eta * smoothness * apart
    return float(bound)


def interval_cost(schedule: Sequence[int], num_steps: int, beta: float) -> float:
    """Return (1 / T) sum_t (t - tau(t)) / (t + beta): what a schedule costs, to leading order.

    At most 2 / R for growing intervals; about ln(T / beta) / (2 R) for constant ones.
    """
    return float((steps_since_averaging(schedule, num_steps) / (np.arange(num_steps) + beta)).mean())


def leading_order_bound(
    schedule: Sequence[int],
    *,
    num_steps: int,
    num_workers: int,
    strong_convexity: float,
    smoothness: float,
    noise_variance: float,
    beta: float,
    initial_distance_squared: float,
) -> float:
    r"""Return the closed form that `local_sgd_error_bound` approaches for intervals short against t + beta.

    .. math:: \frac{\beta^2 \|x_0 - x^*\|^2}{T^2} + \frac{4 \sigma^2}{\mu^2 T} \Bigl(\frac1N + 4 \kappa \,
              \frac1T \sum_t \frac{t - \tau(t)}{t + \beta}\Bigr)

    Growing intervals make the bracket at most 1/N + 8 kappa / R. Parameters as in `local_sgd_error_bound`.
    """
    condition = smoothness / strong_convexity
    bracket = 1 / num_workers + 4 * condition * interval_cost(schedule, num_steps, beta)
    start = beta**2 * initial_distance_squared / num_steps**2
    return start + 4 * noise_variance / (strong_convexity**2 * num_steps) * bracket
