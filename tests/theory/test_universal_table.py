"""The table of integer frequencies: its condition, level by level, and no vector beats its bound."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qsgd_lab.theory.entropy import discrete_gaussian_bits
from qsgd_lab.theory.universal_table import universal_coder_bits, universal_table, universal_table_bits

CASES = [(16, 1), (16, 4), (64, 8), (512, 7), (512, 127), (4096, 255), (100, 200), (2**20, 2**10)]


def lengths_of(table, s):
    """Return the bits of levels 0 to s, from the table's integers alone."""
    most = len(table.frequencies) - 1
    known = [table.resolution - math.log2(f) for f in table.frequencies]
    gamma = [2 * math.floor(math.log2(k - most)) + 1 for k in range(most + 1, s + 1)]
    escape = [table.resolution - math.log2(table.escape or 1) + bits + 1 for bits in gamma]
    return np.array((known + escape)[: s + 1])


def mean_bits(vector, s, lengths):
    """Return the expected bits of a vector's levels under unbiased rounding."""
    position = np.minimum(s * np.abs(vector) / np.linalg.norm(vector), s)
    lower = np.minimum(np.floor(position).astype(int), s - 1)
    up = position - lower
    return float(((1 - up) * lengths[lower] + up * lengths[lower + 1]).sum())


@pytest.mark.parametrize(("d", "s"), CASES)
@pytest.mark.parametrize("resolution", [10, 12, 16])
def test_the_condition_holds_for_every_level(d, s, resolution):
    """Frequencies fill the table, and no level is longer than alpha + beta k^2."""
    table = universal_table(d, s, resolution=resolution)

    assert table.frequencies[0] + 2 * sum(table.frequencies[1:]) + table.escape == 2**resolution
    assert min(table.frequencies) >= 1
    assert table.beta >= 0
    k = np.arange(s + 1)
    assert (lengths_of(table, s) <= table.alpha + table.beta * k**2 + 1e-9).all()
    assert [table.length(-level) for level in range(min(s, 20) + 1)] == pytest.approx(
        lengths_of(table, s)[:21]
    )


def test_the_table_at_s_equal_sqrt_n():
    """At s = sqrt(n) it is 2.2091 n, 0.001 n above the discrete Gaussian, and 2.23 n with states."""
    n = 2**20

    assert universal_table(n, 2**10)[:3] == ((1461, 979, 295, 40, 3), 1, 12)
    assert (universal_table_bits(n, 2**10) - 32) / n == pytest.approx(2.2091, abs=5e-5)
    assert universal_table_bits(n, 2**10) - 32 > n * discrete_gaussian_bits(1.25)
    assert (universal_coder_bits(n, 2**10) - 32 - 512) / n == pytest.approx(2.2286, abs=2e-4)


@pytest.mark.parametrize(("d", "s"), [(16, 4), (64, 8), (64, 3)])
def test_no_vector_found_by_climbing_beats_the_bound(d, s):
    """Hill climbing over vectors, and the worst one known, stay below the bound; the latter is near."""
    table, rng = universal_table(d, s), np.random.default_rng(d + s)
    lengths, bound = lengths_of(table, s), universal_table_bits(d, s) - 32
    for _ in range(3):
        vector = np.abs(rng.standard_normal(d))
        best = mean_bits(vector, s, lengths)
        for _ in range(1500):
            trial = np.abs(vector + (rng.random(d) < 0.2) * rng.standard_normal(d) * 0.3)
            if trial.any() and (found := mean_bits(trial, s, lengths)) >= best:
                vector, best = trial, found
        assert best <= bound
    if s * s == d:  # levels of 1/2 and 3/2: the mean square is 5/4, as large as can be
        worst = np.where(np.arange(d) < 5 * d // 8, 0.5, 1.5)
        assert 0.97 * bound <= mean_bits(worst, s, lengths) <= bound


def test_what_no_table_serves_is_refused():
    """A resolution out of range is named."""
    with pytest.raises(ValueError, match="resolution is 20"):
        universal_table(512, 7, resolution=20)
