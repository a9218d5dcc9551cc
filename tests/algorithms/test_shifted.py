"""EF21 and DIANA: the server's mean, the example that plain compression fails on, and how far they go."""

from __future__ import annotations

import double_compressors
import numpy as np
import pytest
from algorithm_runs import Run

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.theory.shifted import compressed_descent_factor, diana_rates, ef21_gradient_bound, ef21_rate

ROTATIONS = np.array([[-3.0, 2, 2], [2, -3, 2], [2, 2, -3]])


def diverging(node, step, x):
    """Return grad f_i of f_i = (a_i . x)^2 + |x|^2 / 4, a = (-3, 2, 2) and its rotations."""
    return 2 * ROTATIONS[node] * (ROTATIONS[node] @ x) + x / 2


def gradient_of(x):
    """Return grad f of the example."""
    return np.mean([diverging(node, 0, x) for node in range(3)], axis=0)


GAMMA = ef21_rate(1 / 3, 17 + 1 / 6, [34.5] * 3)


def test_plain_compression_multiplies_by_its_factor():
    """Top-1 compressed gradient descent from (1, 1, 1): x grows by exactly 1 + 11 gamma / 6 a step."""
    made = Run("synchronous", np.ones(3), diverging, 3, 40, double_compressors.top_k(1), double=True)
    found = made.go([GAMMA] * 40)

    assert found == pytest.approx(np.full(3, compressed_descent_factor(GAMMA) ** 40), rel=1e-13)


def test_ef21_converges_where_plain_compression_does_not():
    """|grad f|^2 is 4.1e-6 after 1000 steps and 4e-24 after 4000, and its mean keeps the proved bound."""
    made = Run("ef21", np.ones(3), diverging, 3, 4000, double_compressors.top_k(1), double=True)
    squares = []
    for step in range(4000):
        squares.append(np.sum(gradient_of(made.consensus()) ** 2))
        made.step(step, GAMMA)
    squares.append(np.sum(gradient_of(made.consensus()) ** 2))
    first = np.mean([np.sum(diverging(node, 0, np.ones(3)) ** 2) for node in range(3)])  # g_i starts at 0
    loss = np.mean([(a @ np.ones(3)) ** 2 + 3 / 4 for a in ROTATIONS])

    assert squares[1000] == pytest.approx(4.2e-6, rel=0.05)  # 4.1 to 4.4e-6, by the start
    assert squares[4000] == pytest.approx(4e-24, rel=0.5)
    assert np.mean(squares[:1000]) <= ef21_gradient_bound(
        loss_gap=loss, rate=GAMMA, num_steps=1000, contraction=1 / 3, initial_error=first
    )


@pytest.mark.parametrize("first", ["compressed", "dense"])
def test_every_start_converges(first):
    """Compressed or dense, the first message does not decide."""
    made = Run(
        f"ef21(first={first})", np.ones(3), diverging, 3, 1000, double_compressors.top_k(1), double=True
    )
    assert np.sum(gradient_of(made.go([GAMMA] * 1000)) ** 2) == pytest.approx(4.25e-6, rel=0.05)


def quadratics(nodes, n, seed=0):
    """Return unlike quadratics: gradient(node, step, x), their optimum, L and mu."""
    random = np.random.default_rng(seed)
    curvature, centre = random.uniform(0.2, 1, (nodes, n)), random.normal(size=(nodes, n))

    def gradient(node, step, x):
        return curvature[node] * (x - centre[node])

    return gradient, (curvature * centre).sum(axis=0) / curvature.sum(axis=0), curvature, centre


@pytest.mark.parametrize("text", ["ef21", "diana(alpha=0.2)", "diana"])
def test_the_server_has_the_mean_of_the_nodes_shifts(text):
    """Updated apart, at nodes and server, they agree to 1e-14 after 50 steps."""
    gradient, _, _, _ = quadratics(4, 10)
    unbiased = double_compressors.rand_k(3, 10, unbiased=True)
    compressor = unbiased if "diana" in text else double_compressors.top_k(3)
    made = Run(text, np.zeros(10), gradient, 4, 50, compressor, double=True, momentum=0.3)
    made.go([0.05] * 50)

    assert made.algorithm.shift_mean.numpy() == pytest.approx(
        made.algorithm.shifts.numpy().mean(axis=0), abs=1e-14
    )
    assert made.algorithm.shifts.abs().max() > 0.1


def test_diana_reaches_the_optimum_of_unlike_nodes():
    """Rand-4 of 40, 8 unlike nodes: |x - x*|^2 below 1e-20, h_i at grad f_i(x*); without shifts it stalls."""
    gradient, optimum, curvature, centre = quadratics(8, 40)
    rate, alpha = diana_rates(9, 1.0, 8)
    compressor = double_compressors.rand_k(4, 40, unbiased=True)
    made = Run("diana", np.zeros(40), gradient, 8, 3000, compressor, double=True)
    found = made.go([rate] * 3000)
    plain = Run("synchronous", np.zeros(40), gradient, 8, 3000, compressor, double=True).go([rate] * 3000)

    assert made.algorithm.rate_of_shifts == alpha
    assert np.sum((found - optimum) ** 2) < 1e-20
    assert made.algorithm.shifts.numpy() == pytest.approx(curvature * (optimum - centre), abs=1e-12)
    assert np.sum((plain - optimum) ** 2) > 0.1


def test_shifts_that_move_too_fast_blow_up():
    """Alpha = 3 / (1 + w) leaves every bound."""
    gradient, _, _, _ = quadratics(8, 40)
    compressor = double_compressors.rand_k(4, 40, unbiased=True)
    made = Run("diana(alpha=0.3)", np.zeros(40), gradient, 8, 1500, compressor, double=True)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.abs(made.go([diana_rates(9, 1.0, 8)[0]] * 1500)).max() < 1e50


@pytest.mark.parametrize(("text", "momentum"), [("ef21", 0.0), ("diana(alpha=0.5)", 0.5), ("diana", 0.5)])
def test_without_compression_they_are_gradient_descent(text, momentum):
    """C = identity: synchronous SGD, to 1e-14."""
    gradient, _, _, _ = quadratics(4, 10)
    runs = [
        Run(name, np.zeros(10), gradient, 4, 40, double=True, momentum=momentum)
        for name in (text, "synchronous")
    ]
    one, two = (made.go([0.1] * 40) for made in runs)
    assert one == pytest.approx(two, abs=1e-14)


def test_the_first_dense_message_is_counted():
    """32 n a node, then top-k messages."""
    gradient, _, _, _ = quadratics(4, 10)
    made = Run("ef21(first=dense)", np.zeros(10), gradient, 4, 3, "top-k(fraction=0.2)")
    made.step(0, 0.1)
    assert made.sent_bits == 4 * 32 * 10
    made.step(1, 0.1)
    assert made.sent_bits > 4 * 32 * 10


def test_out_of_range():
    """One line."""
    with pytest.raises(ValueError, match="alpha is 2"):
        ALGORITHMS.parse("diana(alpha=2)").make()
    with pytest.raises(ValueError, match="node_smoothness is empty"):
        ef21_rate(0.5, 1.0, [])
