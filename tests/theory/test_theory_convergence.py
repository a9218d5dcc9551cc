"""Convergence bounds against problems whose expectations are known, and the printed step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.convergence import (
    asynchronous_gradient_bound,
    convex_gap,
    convex_step,
    convex_steps_to,
    nonconvex_gradient_bound,
    printed_parallel_step,
    total_variance,
)
from qsgd_lab.theory.gradient_descent import gradient_descent_quantize, gradient_descent_rate
from qsgd_lab.theory.qsvrg import qsvrg_bits_per_epoch, qsvrg_contraction, qsvrg_schedule
from qsgd_lab.theory.variance import exact_variance


def quadratic_gap(curvature: float, start: float, noise: float, step: float, num_steps: int) -> float:
    """Return E f(mean of x_1..x_T) for f = curvature x^2 / 2 and gradient noise of that variance, exactly."""
    decay = 1 - step * curvature
    t = np.arange(1, num_steps + 1)
    mean = start * (decay**t).mean()
    # The noise of step j enters every later iterate, damped.
    weights = [step * (decay ** np.arange(num_steps - j)).sum() / num_steps for j in range(num_steps)]
    return curvature / 2 * (mean**2 + noise * float(np.square(weights).sum()))


@pytest.mark.parametrize("curvature", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("num_workers", [1, 16])
@pytest.mark.parametrize("num_steps", [10, 300])
def test_the_convex_bound_holds_on_quadratics(curvature, num_workers, num_steps):
    """Theorem 2.1: with its step, the expected gap of the mean iterate is below the bound."""
    step = convex_step(3.0, 1.0, 4.0, num_steps, num_workers)
    gap = quadratic_gap(curvature, 3.0, 4.0 / num_workers, step, num_steps)

    assert 0 < gap <= convex_gap(3.0, 1.0, 4.0, num_steps, num_workers)


def test_the_printed_parallel_step_is_too_short():
    """At K = 16, on a flat quadratic, the printed step leaves over ten times the corrected one's gap."""
    radius, variance, num_steps, num_workers, curvature = 3.0, 4.0, 1000, 16, 0.05
    gaps = [
        quadratic_gap(curvature, radius, variance / num_workers, step, num_steps)
        for step in (
            printed_parallel_step(radius, 1.0, variance, num_steps, num_workers),
            convex_step(radius, 1.0, variance, num_steps, num_workers),
        )
    ]

    assert gaps[0] > 10 * gaps[1]
    assert printed_parallel_step(3.0, 1.0, 4.0, 100, 1) == convex_step(3.0, 1.0, 4.0, 100, 1)


@given(st.floats(0.01, 10), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.01, 10), st.integers(1, 64))
def test_steps_to_a_gap_are_the_least(gap, radius, smoothness, variance, num_workers):
    """T steps reach the gap and T - 1 do not."""
    steps = convex_steps_to(gap, radius, smoothness, variance, num_workers)

    assert convex_gap(radius, smoothness, variance, steps, num_workers) <= gap * (1 + 1e-9)
    if steps > 1:
        assert convex_gap(radius, smoothness, variance, steps - 1, num_workers) > gap * (1 - 1e-9)


def test_quantization_adds_to_the_gradients_own_variance():
    """E||Q(g) - grad f||^2 = sigma^2 + E||Q(g) - g||^2, over a gradient with two equally likely values."""
    gradients = np.array([[1.0, 2.0, -1.0], [3.0, -1.0, 0.5]])
    mean = gradients.mean(axis=0)
    own = ((gradients - mean) ** 2).sum(axis=1).mean()
    added = np.mean([exact_variance(g, 2) for g in gradients])
    second_moment = (gradients**2).sum(axis=1).mean()

    assert own + added == pytest.approx(total_variance(own, second_moment, added / second_moment))
    assert total_variance(2.0, 5.0, 0.0) == 2.0


def test_the_nonconvex_bound_holds_on_a_quadratic():
    """The mean of E||grad f||^2 over the steps is below the bound; long steps are refused."""
    step, noise, square, total = 0.2, 4.0, 9.0, 0.0
    for _ in range(200):
        total += square
        square = (1 - step) ** 2 * square + step**2 * noise

    assert total / 200 <= nonconvex_gradient_bound(9.0 / 2, 1.0, step, noise, 200)
    assert nonconvex_gradient_bound(1.0, 1.0, 0.1, 4.0, 10, 4) == pytest.approx(2 + 0.1)
    with pytest.raises(ValueError, match="step <= 1 / L"):
        nonconvex_gradient_bound(1.0, 2.0, 0.6, 1.0, 10)


def test_the_asynchronous_bound_asks_for_enough_steps():
    """The bound falls as one over the root of the steps, from the number that the delay needs."""
    assert asynchronous_gradient_bound(1.0, 1.0, 4.0, 400, 1, 3) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="at least 400"):
        asynchronous_gradient_bound(1.0, 1.0, 4.0, 399, 1, 19)


@given(st.floats(0.1, 100), st.floats(0.001, 1))
def test_the_qsvrg_schedule_contracts_as_the_theorem_says(smoothness, ratio):
    """Theorem 3.6: each epoch shrinks the gap to at most 0.9, here 0.875, also with the growth 1.25."""
    step, inner = qsvrg_schedule(smoothness, ratio * smoothness)

    assert qsvrg_contraction(smoothness, ratio * smoothness, step, inner) <= 0.875 + 1e-9


def test_the_qsvrg_bound_holds_on_a_quadratic():
    """One epoch on two quadratics, in expectation, is within the contraction, quantization included."""
    curvatures, centres = np.array([1.0, 0.5]), np.array([-1.0, 1.0])
    strong, target = curvatures.mean(), (curvatures * centres).mean() / curvatures.mean()
    step, inner = qsvrg_schedule(1.0, strong)
    start = target + 2.0
    # E (x - x*)^2 obeys a linear recursion; noise a multiple of the second moment as quantization adds.
    mean, square, iterates = start - target, (start - target) ** 2, []
    slopes, spread = strong, curvatures.var()
    for _ in range(inner):
        iterates.append(square)
        distance = square - 2 * mean * (start - target) + (start - target) ** 2
        second = slopes**2 * square + spread * distance
        square = square - 2 * step * slopes * square + step**2 * 1.25 * second
        mean = mean - step * slopes * mean
    worst_gap_after = strong / 2 * np.mean(iterates)
    gap_before = strong / 2 * (start - target) ** 2

    assert worst_gap_after <= qsvrg_contraction(1.0, strong, step, inner) * gap_before


def test_qsvrg_bits_and_long_steps():
    """An epoch sends T + 1 quantized vectors and one in full; steps without contraction are refused."""
    assert qsvrg_bits_per_epoch(100, 9, bits_per_coordinate=2.8) == pytest.approx((32 + 280) * 10 + 3200)
    with pytest.raises(ValueError, match="too long"):
        qsvrg_contraction(1.0, 0.1, 0.5, 10)


@given(st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=60))
def test_the_gradient_descent_quantizer_has_its_three_properties(vector):
    """At most ceil(sqrt n) non-zeros, <v, Q> >= ||v||^2, ||Q||^2 = |I| ||v||^2."""
    v = np.array(vector)
    quantized, square = gradient_descent_quantize(v), float(v @ v)
    support = np.count_nonzero(quantized)

    assert support <= math.ceil(math.sqrt(v.size))
    assert v @ quantized >= square * (1 - 1e-9)
    assert quantized @ quantized == pytest.approx(support * square)


def test_gradient_descent_shrinks_as_stated():
    """On a quadratic each step shrinks f - f* by at least the factor."""
    curvatures = np.linspace(0.1, 1.0, 30)
    rate, x = gradient_descent_rate(1.0, 0.1, 30), np.random.default_rng(0).standard_normal(30)
    for _ in range(50):
        before = curvatures @ x**2
        x = x - gradient_descent_quantize(curvatures * x) / 6
        assert curvatures @ x**2 <= rate * before * (1 + 1e-12)
