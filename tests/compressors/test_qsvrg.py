"""QSVRG: against a plain rewriting, its rate with and without quantization, its bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qsgd_lab.algorithms.qsvrg import qsvrg
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.methods.fp32 import FullPrecision
from qsgd_lab.stream import Purpose, generator


class Quadratics:
    """f_j(x) = |x - c_j|^2 / 2 with curvatures of its own: a finite sum that is easy to check."""

    def __init__(self, num_terms: int = 7, n: int = 4) -> None:
        random = np.random.default_rng(0)
        self.centres = random.standard_normal((num_terms, n))
        self.curvatures = random.uniform(0.5, 1.0, (num_terms, 1))
        self.num_terms = num_terms
        self.optimum = (self.curvatures * self.centres).sum(axis=0) / self.curvatures.sum()

    def gradient(self, point):
        return self.term_gradients(point, np.arange(self.num_terms)).mean(axis=0)

    def term_gradients(self, point, terms):
        return self.curvatures[terms] * (point - self.centres[terms])

    def gap(self, point):
        return self.curvatures.mean() / 2 * ((point - self.optimum) ** 2).sum()


PROBLEM = Quadratics()
START = np.full(4, 3.0)


def naive_svrg(problem, start, step, inner, epochs, nodes, seed):
    """Return the end of each epoch of SVRG without compression, one coordinate list at a time."""
    anchor, ends = [float(value) for value in start], []
    for epoch in range(epochs):
        full = problem.gradient(np.array(anchor))
        terms = generator(seed, Purpose.DATA_ORDER, epoch).integers(problem.num_terms, size=(inner, nodes))
        x, visited = list(anchor), []
        for chosen in terms:
            visited.append(list(x))
            updates = []
            for j in chosen:
                at_x = problem.term_gradients(np.array(x), np.array([j]))[0]
                at_y = problem.term_gradients(np.array(anchor), np.array([j]))[0]
                updates.append([a - b + c for a, b, c in zip(at_x, at_y, full, strict=True)])
            x = [value - step * sum(u[i] for u in updates) / nodes for i, value in enumerate(x)]
        anchor = [sum(point[i] for point in visited) / inner for i in range(len(start))]
        ends.append(anchor)
    return ends


@pytest.mark.parametrize("nodes", [1, 3])
def test_without_compression_it_is_svrg(nodes):
    """With float32 messages every epoch ends where a plain rewriting of SVRG does."""
    expected = naive_svrg(PROBLEM, START, 0.05, 12, 3, nodes, seed=4)
    ends = qsvrg(
        PROBLEM, START, FullPrecision(), step=0.05, num_inner_steps=12, num_epochs=3, nodes=nodes, seed=4
    )

    np.testing.assert_allclose([end.point for end in ends], expected, rtol=1e-5)


@pytest.mark.parametrize("nodes", [1, 4])
def test_quantized_it_still_converges_linearly(nodes):
    """Each epoch divides the gap by two at least, down to far below what quantized SGD reaches."""
    ends = qsvrg(
        PROBLEM,
        START,
        QSGD(levels=2, bucket_size="model"),
        step=0.08,
        num_inner_steps=150,
        num_epochs=8,
        nodes=nodes,
    )
    gaps = [PROBLEM.gap(START), *(PROBLEM.gap(end.point) for end in ends)]

    assert all(after <= before / 2 for before, after in pairwise(gaps))
    assert gaps[-1] < 1e-8 * gaps[0]


def test_bits_are_counted_for_one_node():
    """At fixed width a node sends (b + 1) n + 32 a step and one float32 gradient an epoch."""
    (end,) = qsvrg(
        PROBLEM,
        START,
        QSGD(levels=3, bucket_size="model"),
        step=0.05,
        num_inner_steps=10,
        num_epochs=1,
        nodes=2,
    )

    assert end.bits_per_node["fixed"] == pytest.approx(10 * (3 * 4 + 32) + 32 * 4)
    assert set(end.bits_per_node) == {"fixed", "gamma", "delta", "omega", "auto", "message"}


def test_it_is_a_function_of_its_seed():
    """The same seed gives the same points, another seed others; the start is not touched."""
    start = START.copy()
    options = {"step": 0.05, "num_inner_steps": 5, "num_epochs": 2}
    first, again, other = (
        [end.point for end in qsvrg(PROBLEM, start, QSGD(levels=2), seed=seed, **options)]
        for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(start, START)


@pytest.mark.parametrize("name", ["num_inner_steps", "num_epochs", "nodes"])
def test_nothing_to_do_is_refused(name):
    """Each count must be at least one."""
    options = {"step": 0.05, "num_inner_steps": 5, "num_epochs": 2, "nodes": 1, name: 0}

    with pytest.raises(ValueError, match="at least 1"):
        next(qsvrg(PROBLEM, START, FullPrecision(), **options))
