"""The search for learning rates in the benchmark: from every start the best rate within a step of sqrt 2."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qsgd_lab.problems.rate_search import best_scale, next_scales
from qsgd_lab.suite.definition import load_suite

SCALES = load_suite().scales


def search(loss, first, stages=SCALES.stages):
    """Return what a search tried."""
    known = {}
    while wanted := next_scales(known, stages, first):
        for scale in wanted:
            assert scale not in known
            known[scale] = loss(scale)
    return known


def curve(rng):
    """Return a random unimodal loss of the rate with a cliff above its optimum, and the optimum."""
    middle, low, high = rng.uniform(-6, 6), rng.uniform(0.1, 3), rng.uniform(0.1, 3)
    cliff = middle + rng.uniform(0.0, 3)

    def loss(scale):
        place = math.log2(scale)
        if place > cliff:
            return math.inf
        return 1 + (low if place < middle else high) * abs(place - middle) ** rng_power

    rng_power = rng.uniform(0.7, 2.5)
    return loss, middle


@pytest.mark.parametrize("offset", range(4))
def test_every_start_finds_the_best_rate(offset):
    """On 1,000 random unimodal curves with a cliff the result is within a step of sqrt 2 of the optimum."""
    rng = np.random.default_rng(offset)
    first = [scale * 2 ** (offset / 2) for scale in SCALES.first]
    tried = []
    for _ in range(1000):
        loss, optimum = curve(rng)
        known = search(loss, first)
        best = best_scale(known)
        assert abs(math.log2(best) - optimum) <= 0.5 + 1e-9
        tried.append(len(known))
        lattice = [2 ** (k / 2) for k in range(-24, 25)]
        assert known[best] == pytest.approx(min(map(loss, lattice)))

    # The range's five points, the best's neighbours at 2 and at sqrt 2, and what extends the range.
    assert np.mean(tried) <= 10
    assert max(tried) <= 14


def test_a_search_leaves_the_diverged_region():
    """Where all first rates diverge, the search goes to smaller ones; of equals it takes the smaller."""
    known = search(lambda scale: math.inf if scale > 1e-3 else (math.log2(scale) + 11) ** 2 + 1, SCALES.first)

    assert best_scale(known) == 2.0**-11
    assert best_scale({0.5: 1.0, 1.0: 1.0, 2.0: 1.5}) == 0.5


def test_the_best_rate_is_interior():
    """The range grows until the best rate is between others, as far as the search may go."""
    known = search(lambda scale: abs(math.log2(scale) - 9.5), SCALES.first)

    assert min(known) < best_scale(known) < max(known)
