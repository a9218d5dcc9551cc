"""Local SGD: the schedules, and the computable bound against simulated workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.local_sgd import (
    constant_schedule,
    growing_schedule,
    interval_cost,
    leading_order_error,
    local_sgd_error_bound,
    square_root_interval,
    steps_since_averaging,
)

PROBLEM = {"strong_convexity": 1.0, "smoothness": 4.0, "noise_variance": 1.0, "beta": 32.0}


def simulate(schedule: list[int], num_steps: int, num_workers: int, replicas: int, seed: int) -> float:
    """Return the mean square of the workers' mean for f'(x) = x below 0 and 4 x above, from x_0 = 0."""
    generator = np.random.default_rng(seed)
    x = np.zeros((replicas, num_workers))
    for t in range(num_steps):
        gradient = np.where(x < 0, x, 4 * x) + generator.standard_normal(x.shape)
        x -= 2 / (t + PROBLEM["beta"]) * gradient
        if t + 1 in schedule:
            x[:] = x.mean(axis=1, keepdims=True)
    return float((x.mean(axis=1) ** 2).mean())


def bound(schedule: list[int], num_steps: int, num_workers: int) -> float:
    """Return the bound for the simulated problem."""
    return local_sgd_error_bound(
        schedule, num_steps=num_steps, num_workers=num_workers, initial_distance_squared=0.0, **PROBLEM
    )


@pytest.mark.parametrize("rounds", [1, 4, 16, 500])
def test_the_bound_holds_for_every_schedule(rounds):
    """The mean square error of simulated workers is below the bound, from one-shot to every step."""
    schedule = growing_schedule(500, rounds) if rounds < 500 else list(range(1, 501))

    assert simulate(schedule, 500, 8, replicas=200, seed=rounds) <= bound(schedule, 500, 8)


def test_one_shot_averaging_does_not_speed_up_where_f_is_not_twice_differentiable():
    """With 16 workers, averaging every step has at most a third of the error of averaging once."""
    every_step = simulate(list(range(1, 501)), 500, 16, replicas=400, seed=1)

    assert 3 * every_step < simulate([500], 500, 16, replicas=400, seed=2)


@given(st.integers(1, 5000), st.integers(1, 300))
def test_schedules_end_with_an_averaging(num_steps, rounds):
    """Both schedules increase, end at T, and have at most R rounds (growing: if 1 + 2 + ... covers T)."""
    for schedule in (
        growing_schedule(num_steps, rounds),
        constant_schedule(num_steps, min(rounds, num_steps)),
    ):
        assert schedule == sorted(set(schedule))
        assert (schedule[-1], len(schedule) <= rounds) == (num_steps, True)


def test_intervals_grow_by_their_unit():
    """Growing intervals are a, 2a, 3a, ... with a = 2 T / (R (R + 1)), R of them, rounded down to steps."""
    assert np.diff([0, *growing_schedule(10_500, 20)]).tolist() == [50 * (i + 1) for i in range(20)]
    assert np.abs(np.diff([0, *growing_schedule(10_000, 20)]) - 10_000 / 210 * np.arange(1, 21)).max() < 1


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_growing_intervals_are_exactly_as_many_as_asked_for(num_steps, rounds):
    """The real-valued rule has R rounds wherever R steps are there, and every step has one above."""
    assert len(growing_schedule(num_steps, rounds)) == min(rounds, num_steps)


@given(st.integers(1, 3000), st.integers(1, 300))
def test_the_theorems_form_has_whole_intervals_and_no_more_rounds(num_steps, rounds):
    """With a = ceil(2 T / R^2) intervals are a, 2a, 3a, ... but for the last, which ends at T."""
    schedule = growing_schedule(num_steps, rounds, unit="ceil")
    intervals = np.diff([0, *schedule])
    unit = -(-2 * num_steps // rounds**2)

    assert schedule[-1] == num_steps
    assert intervals[:-1].tolist() == [unit * (i + 1) for i in range(len(intervals) - 1)]
    assert len(schedule) <= rounds + 1


def test_the_square_root_rule():
    """H is the square of coefficient over rate, rounded down, never below its least."""
    assert [square_root_interval(rate, coefficient=0.2, least=2) for rate in (1.0, 0.1, 0.05, 0.04)] == [
        2,
        4,
        16,
        25,
    ]
    assert square_root_interval(0.0, coefficient=0.2, least=2) > 10**18
    with pytest.raises(ValueError, match="least"):
        square_root_interval(0.1, coefficient=0.2, least=0)


@given(st.lists(st.integers(1, 60), unique=True, max_size=10).map(sorted), st.integers(1, 60))
def test_steps_since_averaging_count_from_the_last(schedule, num_steps):
    """The count is t minus the largest time of averaging up to t."""
    expected = [t - max([time for time in schedule if time <= t], default=0) for t in range(num_steps)]

    assert steps_since_averaging(schedule, num_steps).tolist() == expected


def test_growing_intervals_cost_at_most_two_over_r():
    """The cost is at most 2 / R for growing intervals, R <= T; for constant ones it grows with log T."""
    for num_steps in (1, 2, 3, 5, 10, 50, 200):
        for rounds in range(1, num_steps + 1):
            assert interval_cost(growing_schedule(num_steps, rounds), num_steps, 1.0) <= 2 / rounds

    growing, constant = (
        [20 * interval_cost(make(T, 20), T, 32.0) for T in (10**4, 10**6)]
        for make in (growing_schedule, constant_schedule)
    )

    assert max(growing) <= 2
    assert constant[1] > constant[0] > 2


def test_the_closed_form_is_the_recursions_limit():
    """For short intervals and many steps the recursion is within a tenth of the leading order."""
    schedule = growing_schedule(50_000, 300)
    arguments = {"num_steps": 50_000, "num_workers": 8, "initial_distance_squared": 1.0, **PROBLEM}

    assert (
        0.9 < local_sgd_error_bound(schedule, **arguments) / leading_order_error(schedule, **arguments) <= 1
    )


def test_the_leading_order_is_no_bound():
    """For one-shot averaging the leading order is less than a tenth of the bound."""
    arguments = {"num_steps": 2000, "num_workers": 16, "initial_distance_squared": 1.0, **PROBLEM}

    assert 10 * leading_order_error([2000], **arguments) < local_sgd_error_bound([2000], **arguments)


def test_short_warm_ups_are_refused():
    """A beta below 8 kappa makes the first steps too long for the bound."""
    with pytest.raises(ValueError, match="at least 8 L / mu"):
        local_sgd_error_bound(
            [10], num_steps=10, num_workers=2, initial_distance_squared=1.0, **{**PROBLEM, "beta": 31.0}
        )


def test_more_rounds_than_steps_are_one_a_step():
    """However many rounds are asked for; more times than memory holds are refused."""
    for rounds in (20, 21, 1000, 2**40):
        assert growing_schedule(20, rounds) == list(range(1, 21))
    with pytest.raises(
        ValueError, match=r"^the smaller of num_steps and num_rounds is .* from 1 to 10000000"
    ):
        growing_schedule(2**50, 2**40)
    with pytest.raises(ValueError, match=r"^num_steps is 1099511627776"):
        interval_cost([5], 2**40, 8.0)
