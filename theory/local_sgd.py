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
Omega(N) averagings enough whatever T is; `leading_order_error` shows where that comes from: 1/N + O(kappa /
R) without a logarithm.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from qsgd_lab.theory.arguments import choice, increasing, number, whole
from qsgd_lab.theory.arrays import Floats, representable

#: Longer lists of times, and sums over more steps, would take gigabytes.
MOST_TIMES, MOST_STEPS = 10**7, 10**8


def growing_schedule(num_steps: int, num_rounds: int, *, unit: str = "real") -> list[int]:
    """Return the times of averaging with intervals a, 2a, 3a, ..., ending at T.

    Parameters
    ----------
    num_steps, num_rounds : int
        T >= 1 and R >= 1.
    unit : {"real", "ceil"}
        What a is. "real", as in the authors' notebook: a = 2 T / (R (R + 1)), each time rounded down to a
        whole step, the r-th to no less than r: exactly R rounds where R <= T, else T. "ceil", as in the
        theorem (recalled): a = ceil(2 T / R^2), intervals of whole steps until T, up to a third fewer rounds.

    Raises
    ------
    ValueError
        If a number is out of its range, the unit unknown, or the times more than 10^7.

    Examples
    --------
    >>> growing_schedule(20, 4)
    [2, 6, 12, 20]
    >>> growing_schedule(20, 4, unit="ceil")
    [3, 9, 18, 20]
    """
    steps, rounds = whole("num_steps", num_steps), whole("num_rounds", num_rounds)
    choice("unit", unit, ("real", "ceil"))
    if unit == "real":
        # More rounds than steps are one a step, as R = T is.
        rounds = whole("the smaller of num_steps and num_rounds", min(rounds, steps), most=MOST_TIMES)
        # Where a is below one step, several times would fall on one, and the first ones on 0.
        exact = ((r, steps * r * (r + 1) // (rounds * (rounds + 1))) for r in range(1, rounds + 1))
        return sorted({min(max(r, time), steps) for r, time in exact})
    first = -(-2 * steps // rounds**2)
    times = (first * r * (r + 1) // 2 for r in range(1, min(rounds, MOST_TIMES + 1) + 1))
    found = list(itertools.takewhile(lambda time: time < steps, times))
    whole("the number of averagings of num_steps and num_rounds", len(found) + 1, most=MOST_TIMES)
    return [*found, steps]


def square_root_interval(rate: float, *, coefficient: float, least: int) -> int:
    """Return the quadratic synchronization rule's H = max(least, floor((coefficient / rate)^2)).

    Parameters
    ----------
    rate : float
        The learning rate at the beginning of the round, at least 0; at 0 the interval has no end, and the
        largest int64 is returned.
    coefficient : float
        alpha > 0, in units of the learning rate.
    least : int
        H_base >= 1.

    References
    ----------
    Gu, Lyu, Arora, Zhang, Huang: A quadratic synchronization rule for distributed deep learning. ICLR 2024
    (the form is recalled).
    """
    rate, coefficient = number("rate", rate, least=0), number("coefficient", coefficient, above=0)
    least = whole("least", least)
    ratio = coefficient / rate if rate else np.inf
    return max(least, int(ratio**2)) if ratio < 2**31 else int(np.iinfo(np.int64).max)


def constant_schedule(num_steps: int, num_rounds: int) -> list[int]:
    """Return R times of averaging at equal intervals (to within one step), ending at T.

    Parameters
    ----------
    num_steps, num_rounds : int
        T >= 1 and 1 <= R <= T.
    """
    steps = whole("num_steps", num_steps)
    rounds = whole("num_rounds", num_rounds, most=min(steps, MOST_TIMES))
    return sorted({round(steps * (i + 1) / rounds) for i in range(rounds)})


def steps_since_averaging(schedule: Sequence[int], num_steps: int) -> Floats:
    """Return t - tau(t) for t = 0 .. T - 1, shape (T,), with tau the last averaging up to t (0 at first).

    Parameters
    ----------
    schedule : sequence of int
        Times of averaging, increasing, at least 1; those after T do not matter.
    num_steps : int
        T >= 1.

    Raises
    ------
    ValueError
        If the schedule does not increase, or a number is not whole.
    """
    steps = whole("num_steps", num_steps, most=MOST_STEPS)
    times = np.concatenate(([0], increasing("schedule", schedule)))
    t = np.arange(steps)
    return (t - times[np.searchsorted(times, t, side="right") - 1]).astype(np.float64)


@representable()
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
        T >= 1 and N >= 1.
    strong_convexity, smoothness, noise_variance : float
        mu, L and sigma^2, with 0 < mu <= L and sigma^2 >= 0.
    beta : float
        Of the step 2 / (mu (t + beta)); at least 8 L / mu.
    initial_distance_squared : float
        ||x_0 - x*||^2 >= 0.

    Raises
    ------
    ValueError
        If beta is below 8 L / mu, the schedule does not increase or is not in 1..T, or a number is out of its
        range.
    """
    num_steps = whole("num_steps", num_steps, most=MOST_STEPS)
    num_workers = whole("num_workers", num_workers)
    increasing("schedule", schedule, num_steps)
    strong_convexity, smoothness = _convexity(strong_convexity, smoothness)
    noise_variance, beta = number("noise_variance", noise_variance, least=0), number("beta", beta, least=1)
    bound = number("initial_distance_squared", initial_distance_squared, least=0)
    if beta < 8 * smoothness / strong_convexity:
        raise ValueError(
            f"beta is {beta}; the bound needs at least 8 L / mu = {8 * smoothness / strong_convexity}"
        )
    steps = 2 / (strong_convexity * (np.arange(num_steps) + beta))
    squares = np.concatenate(([0.0], np.cumsum(steps**2)))
    # All workers agree at the last averaging, and only noise since then separates them.
    begins = np.arange(num_steps) - steps_since_averaging(schedule, num_steps).astype(np.int64)
    spread = noise_variance * (1 - 1 / num_workers) * (squares[:num_steps] - squares[begins])
    for eta, apart in zip(steps, spread, strict=True):
        # The noise of N workers averages out in their mean iterate.
        noise = eta**2 * noise_variance / num_workers
        bound = (1 - strong_convexity * eta) * bound + noise + 2 * eta * smoothness * apart
    return float(bound)


def interval_cost(schedule: Sequence[int], num_steps: int, beta: float) -> float:
    """Return (1 / T) sum_t (t - tau(t)) / (t + beta): what a schedule costs, to leading order.

    For the R intervals of `growing_schedule` it is at most 2 / (R + 1), but for the rounding of times to
    whole steps; rounded, it was at most 2 / R for all T <= 2000 and R <= T that were tried. For constant
    intervals it is about ln(T / beta) / (2 R).

    Proof: an interval from tau to tau + h costs at most h - tau ln(1 + h / tau), over T. With h = a r and
    tau = a r (r - 1) / 2 that is at most a, because ln((r + 1) / (r - 1)) >= 2 / r; and R a / T is
    2 / (R + 1).

    Parameters
    ----------
    schedule, num_steps
        As in `steps_since_averaging`.
    beta : float
        At least 1.
    """
    since, beta = steps_since_averaging(schedule, num_steps), number("beta", beta, least=1)
    return float((since / (np.arange(since.size) + beta)).mean())


@representable()
def leading_order_error(
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

    Not a bound: for long intervals, such as one-shot averaging, it is far below the true one.

    .. math:: \frac{\beta^2 \|x_0 - x^*\|^2}{T^2} + \frac{4 \sigma^2}{\mu^2 T} \Bigl(\frac1N + 4 \kappa \,
              \frac1T \sum_t \frac{t - \tau(t)}{t + \beta}\Bigr)

    Growing intervals make the bracket at most about 1/N + 8 kappa / R (`interval_cost`). Parameters as in
    `local_sgd_error_bound`.
    """
    num_steps, num_workers = whole("num_steps", num_steps), whole("num_workers", num_workers)
    increasing("schedule", schedule, num_steps)
    strong_convexity, smoothness = _convexity(strong_convexity, smoothness)
    noise_variance, beta = number("noise_variance", noise_variance, least=0), number("beta", beta, least=1)
    initial_distance_squared = number("initial_distance_squared", initial_distance_squared, least=0)
    condition = smoothness / strong_convexity
    bracket = 1 / num_workers + 4 * condition * interval_cost(schedule, num_steps, beta)
    start = beta**2 * initial_distance_squared / num_steps**2
    return start + 4 * noise_variance / (strong_convexity**2 * num_steps) * bracket


def _convexity(strong_convexity: float, smoothness: float) -> tuple[float, float]:
    smoothness = number("smoothness", smoothness, above=0)
    return number("strong_convexity", strong_convexity, above=0, most=smoothness), smoothness
