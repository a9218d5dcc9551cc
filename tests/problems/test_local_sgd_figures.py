"""The published local SGD problem, the kinked function, and the computable bound, all simulated."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.problems.registry import problem_entry
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.theory.local_sgd import growing_schedule, local_sgd_error_bound

FP32 = COMPRESSORS.parse("fp32")


@cache
def final_errors(problem, algorithm, nodes, steps, repeats):
    """Return the last errors, shape (R,)."""
    trace = simulate(
        problem_entry(problem).make(nodes, "iid", 0),
        ALGORITHMS.parse(algorithm),
        FP32,
        nodes=nodes,
        num_steps=steps,
        repeats=range(repeats),
    )
    return trace.errors[-1]


def mean_and_error(values):
    """Return (mean, its standard error)."""
    return values.mean(), values.std(ddof=1) / np.sqrt(values.size)


PUBLISHED = {
    "synchronous": (19.7, 0.6),
    "local-sgd(schedule=growing,rounds=20)": (16.1, 0.5),
    "local-sgd(rounds=20)": (17.9, 0.6),
    "local-sgd(schedule=one-shot)": (8.61, 0.2),
}


@pytest.mark.parametrize("algorithm", PUBLISHED)
def test_the_published_problems_speed_ups(algorithm):
    """N = 20, T = 1000: an independent program's speed-ups over one node, within both programs' noise."""
    single, single_error = mean_and_error(final_errors("published-local-sgd", "synchronous", 1, 1000, 600))
    mean, error = mean_and_error(final_errors("published-local-sgd", algorithm, 20, 1000, 600))
    expected, expected_error = PUBLISHED[algorithm]
    ratio = single / mean
    spread = np.hypot(ratio * np.hypot(single_error / single, error / mean), expected_error)

    assert single == pytest.approx(0.0405, abs=4 * single_error)
    assert ratio == pytest.approx(expected, abs=3.5 * spread)


#: N T E x^2 for f' = x | 4 x, T = 2000, of an independent program with 400 runs.
KINKED = {
    (4, "synchronous"): (1.09, 0.09),
    (4, "local-sgd(schedule=growing,rounds=4)"): (1.75, 0.11),
    (4, "local-sgd(schedule=growing,rounds=2)"): (1.89, 0.11),
    (4, "local-sgd(rounds=4)"): (1.63, 0.11),
    (4, "local-sgd(schedule=one-shot)"): (1.93, 0.12),
    (16, "synchronous"): (1.02, 0.09),
    (16, "local-sgd(schedule=growing,rounds=16)"): (2.37, 0.13),
    (16, "local-sgd(schedule=growing,rounds=4)"): (4.08, 0.17),
    (16, "local-sgd(rounds=16)"): (1.97, 0.12),
    (16, "local-sgd(schedule=one-shot)"): (4.97, 0.19),
    (64, "synchronous"): (0.93, 0.08),
    (64, "local-sgd(schedule=growing,rounds=64)"): (2.51, 0.13),
    (64, "local-sgd(schedule=growing,rounds=8)"): (9.68, 0.26),
    (64, "local-sgd(rounds=64)"): (1.95, 0.12),
    (64, "local-sgd(schedule=one-shot)"): (16.8, 0.3),
}


@pytest.mark.parametrize("nodes", [4, 16, 64])
def test_the_kinked_table(nodes):
    """Each entry agrees with the independent program's within 3.5 standard errors of the difference."""
    for (count, algorithm), (expected, expected_error) in KINKED.items():
        if count == nodes:
            scaled = nodes * 2000 * final_errors("kinked", algorithm, nodes, 2000, 200)
            mean, error = mean_and_error(scaled)
            assert mean == pytest.approx(expected, abs=3.5 * np.hypot(error, expected_error)), algorithm


def test_measured_errors_are_below_the_computable_bound():
    """F' = x | 4 x at N = 16: growing, constant and one-shot schedules stay under B_T."""
    schedules = {
        "local-sgd(schedule=growing,rounds=16)": growing_schedule(2000, 16),
        "local-sgd(rounds=16)": [125 * r for r in range(1, 17)],
        "local-sgd(schedule=one-shot)": [2000],
    }
    for algorithm, times in schedules.items():
        bound = local_sgd_error_bound(
            times,
            num_steps=2000,
            num_workers=16,
            strong_convexity=1,
            smoothness=4,
            noise_variance=1,
            beta=32,
            initial_distance_squared=1,
        )
        assert final_errors("kinked", algorithm, 16, 2000, 200).mean() < bound


def test_one_shot_averaging_is_enough_on_a_smooth_function():
    """Twice differentiable at the optimum: every step, growing and one-shot differ by less than 2 %."""
    every, growing, once = (
        final_errors("smooth", algorithm, 16, 2000, 100).mean()
        for algorithm in (
            "synchronous",
            "local-sgd(schedule=growing,rounds=16)",
            "local-sgd(schedule=one-shot)",
        )
    )

    assert growing == pytest.approx(every, rel=0.02)
    assert once == pytest.approx(every, rel=0.02)
