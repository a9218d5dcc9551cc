"""DiLoCo: its outer step to the last digits, and local SGD as its special case."""

from __future__ import annotations

import numpy as np
import pytest
from algorithm_runs import Run

from qsgd_lab.algorithms.registry import ALGORITHMS


def square(node, step, x):
    """Return the gradient of |x|^2 / 2."""
    return x


def unlike(node, step, x):
    """Return a node's own gradient."""
    return (1 + node / 4) * (x - node)


def test_three_steps_by_hand():
    """One node, f = x^2 / 2, H = 1, rate 0.1, from 1: x_3 = 0.50237; the buffer is the first difference."""
    made = Run("diloco(interval=1)", [1.0], square, 1, 3, double=True)
    made.step(0, 0.1)
    assert float(made.algorithm.outer_buffer[0]) == pytest.approx(0.1, rel=1e-14)
    made.step(1, 0.1)
    made.step(2, 0.1)
    assert float(made.consensus()[0]) == pytest.approx(0.50237, abs=5e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_outer_one_and_zero_is_local_sgd(momentum):
    """Rate 1, momentum 0: local SGD's models, to 1e-15."""
    runs = [
        Run(text, np.ones(5), unlike, 4, 20, momentum=momentum, double=True)
        for text in ("diloco(outer_rate=1,outer_momentum=0,interval=5)", "local-sgd(interval=5)")
    ]
    one, two = (made.go([0.05] * 20) for made in runs)
    assert one == pytest.approx(two, abs=1e-15)


def test_the_outer_step_is_sgd_with_nesterov_momentum():
    """The models of the rounds are those of torch's SGD along x - mean x_i."""
    import torch

    made = Run("diloco(interval=4)", np.ones(3), unlike, 2, 20, double=True)
    outer = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = torch.optim.SGD([outer], 0.7, momentum=0.9, nesterov=True)
    models = np.ones((2, 3))
    for step in range(20):
        models = models - 0.05 * np.array([unlike(node, step, x) for node, x in enumerate(models)])
        made.step(step, 0.05)
        if (step + 1) % 4 == 0:
            outer.grad = outer.detach() - torch.tensor(models.mean(axis=0))
            optimizer.step()
            models = np.repeat(outer.detach().numpy()[None], 2, axis=0).copy()
        assert made.models() == pytest.approx(models, abs=1e-14)


def test_feedback_keeps_a_share_of_what_was_not_sent():
    """Memory <- decay memory + difference, less what top-k takes; with 1 it is QSparse's."""
    one = Run(
        "diloco(outer_rate=1,outer_momentum=0,feedback=1,interval=3)",
        np.ones(6),
        unlike,
        3,
        12,
        "top-k(fraction=0.3)",
    )
    two = Run("qsparse-local-sgd(interval=3)", np.ones(6), unlike, 3, 12, "top-k(fraction=0.3)")
    assert one.go([0.05] * 12) == pytest.approx(two.go([0.05] * 12), abs=1e-6)
    assert one.algorithm.memory.numpy() == pytest.approx(two.algorithm.memory.numpy(), abs=1e-6)


@pytest.mark.parametrize("text", ["diloco(outer_rate=0)", "diloco(outer_momentum=1)", "diloco(feedback=1.5)"])
def test_out_of_range(text):
    """One line."""
    with pytest.raises(ValueError, match="outer_rate must be above 0"):
        ALGORITHMS.parse(text).make()
