"""QSVRG: against a plain rewriting, its rate with and without quantization, its bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qsgd_lab.algorithms.qsvrg import qsvrg
from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS, QSGD
from qsgd_lab.compressors.methods.fp32 import FullPrecision
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.problem import Problem
from qsgd_lab.problems.simulate import simulate
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


class Sum(Problem):
    """The quadratics of this file, dealt to nodes: node i has the terms i, i + N, i + 2N, ..."""

    num_steps = 36

    def __init__(self, nodes, terms=8, rate=0.05):
        self.sum = Quadratics(terms)
        self.own = np.arange(terms).reshape(-1, nodes).T
        self.start, self.step = START.copy(), rate

    def rate(self, step):
        return self.step

    def gradients(self, points, generator):
        nodes, repeats, _ = points.shape
        drawn = generator.integers(self.own.shape[1], size=(nodes, repeats))
        return self.sum.term_gradients(points, np.take_along_axis(self.own, drawn, axis=1))

    def full_gradients(self, points):
        rows = [
            [self.sum.term_gradients(x, own).mean(axis=0) for x in of_node]
            for of_node, own in zip(points, self.own, strict=True)
        ]
        return np.array(rows)

    def error(self, points):
        return np.array([self.sum.gap(point) for point in points])


def naive_algorithm(problem, inner, steps, seed, repeats):
    """Return the gap of each repetition at the end, of SVRG by nodes with examples of their own."""
    draws, gaps = generator(seed, Purpose.GRADIENT_NOISE, 0), []
    nodes, count = problem.own.shape
    drawn = [draws.integers(count, size=(nodes, repeats)) for _ in range(steps)]
    for repeat in range(repeats):
        x = [float(value) for value in problem.start]
        anchor, visited = list(x), []
        for step in range(steps):
            visited.append(list(x))
            update = np.zeros(len(x))
            for node in range(nodes):
                j = problem.own[node][drawn[step][node, repeat]]
                at_x = problem.sum.term_gradients(np.array(x), np.array([j]))[0]
                at_y = problem.sum.term_gradients(np.array(anchor), np.array([j]))[0]
                update += (at_x - at_y + problem.sum.gradient(np.array(anchor))) / nodes
            x = [a - problem.step * b for a, b in zip(x, update, strict=True)]
            if len(visited) == inner:
                anchor = [sum(point[i] for point in visited) / inner for i in range(len(x))]
                x, visited = list(anchor), []
        gaps.append(problem.sum.gap(np.array(x)))
    return gaps


@pytest.mark.parametrize("nodes", [1, 4])
def test_the_algorithm_is_svrg_by_nodes(nodes):
    """In a simulation, without compression, every repetition ends where a plain rewriting does."""
    problem = Sum(nodes)
    trace = simulated(problem, "qsvrg(interval=12)", "fp32", nodes, 36, 3)
    expected = naive_algorithm(Sum(nodes), 12, 36, seed=0, repeats=3)
    np.testing.assert_allclose(trace.errors[-1], expected, rtol=1e-4)


def test_the_algorithm_converges_linearly_where_quantized_sgd_does_not():
    """On nodes that are unlike, QSGD's noise vanishes with the difference of the points: no floor."""
    options = {"compressor": "qsgd(bits=2)", "nodes": 4, "steps": 600, "repeats": 4}
    reduced = simulated(Sum(4, rate=0.2), "qsvrg(interval=30)", **options).errors
    plain = simulated(Sum(4, rate=0.2), "synchronous", **options).errors

    gaps = reduced.mean(axis=1)
    assert gaps[-1] < 1e-9 < 1e-3 < plain[-1].mean()
    assert gaps[len(gaps) // 2] < 1e-3 * gaps[0]


def test_the_algorithm_counts_updates_and_full_gradients():
    """Of T inner steps and one full gradient a node sends T whole messages and 32 n bits."""
    whole = simulated(Sum(2), "qsvrg(interval=6)", "fp32", 2, 36, 1).sent_bits[-1]
    assert whole == 32 * 4 * (36 + 6)
    quantized = simulated(Sum(2), "qsvrg(interval=6)", "qsgd(bits=2)", 2, 36, 1).sent_bits[-1]
    updates = simulated(Sum(2), "synchronous", "qsgd(bits=2)", 2, 36, 1).sent_bits[-1]
    assert quantized - 32 * 4 * 6 == pytest.approx(updates, rel=0.05)


def test_the_algorithm_refuses_what_is_biased():
    """One line that says what would be right."""
    with pytest.raises(ValueError, match="unbiased compressor, such as qsgd"):
        ComparedMethod.parse("qsvrg(compressor=top-k)")
    with pytest.raises(ValueError, match="interval is 0"):
        ComparedMethod.parse("qsvrg(interval=0)")


def simulated(problem, algorithm, compressor, nodes, steps, repeats):
    """Return the trace of a simulation."""
    specs = ALGORITHMS.parse(algorithm), COMPRESSORS.parse(compressor)
    return simulate(problem, *specs, nodes=nodes, num_steps=steps, repeats=range(repeats))
