"""The tests over seeds: against scipy, against hand-worked cases, and in degenerate ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from naive_report import holm_rejections

from qsgd_lab.report.analysis.statistics import (
    MIN_SEEDS,
    SIGNIFICANCE_LEVEL,
    Comparison,
    compare,
    holm,
    smallest_visible_difference,
)

accuracies = st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)
samples = st.dictionaries(st.integers(0, 9), accuracies, max_size=8)


def test_paired_by_hand() -> None:
    """Differences -3, -2, -4: mean -3, deviation 1, t = -3 sqrt(3) with two degrees of freedom."""
    found = compare({0: 90.0, 1: 92.0, 2: 91.0}, {0: 93.0, 1: 94.0, 2: 95.0})
    t = 3 * math.sqrt(3)
    # With two degrees of freedom the distribution is elementary: F(t) = 1/2 + t / (2 sqrt(2 + t^2)).
    tail = 0.5 - t / (2 * math.sqrt(2 + t * t))

    assert (found.test, found.num_pairs, found.difference) == ("paired", 3, -3.0)
    assert found.p_different == pytest.approx(2 * tail)
    assert found.p_worse == pytest.approx(tail)
    u = 2.5 * math.sqrt(3)  # half a point nearer to 0
    assert found.p_not_equivalent == pytest.approx(0.5 + u / (2 * math.sqrt(2 + u * u)))


def test_equivalence_by_hand() -> None:
    """Differences 0.1, 0, -0.1: both one-sided t are 0.5 sqrt(3) / 0.1, far out, so the means are alike."""
    found = compare({0: 90.1, 1: 92.0, 2: 90.9}, {0: 90.0, 1: 92.0, 2: 91.0})
    t = 5 * math.sqrt(3)

    assert found.p_not_equivalent == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), rel=1e-6)
    assert found.p_different == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")  # scipy's, of a constant sample
@given(samples, samples)
def test_p_values_are_scipys(values: dict[int, float], reference: dict[int, float]) -> None:
    """Paired and Welch p-values, and those of the two one-sided tests, equal scipy's."""
    found = compare(values, reference, margin=0.5)
    assume(found.test in {"paired", "welch"})
    if found.test == "paired":
        seeds = sorted(set(values) & set(reference))
        x = np.array([values[seed] for seed in seeds])
        y = np.array([reference[seed] for seed in seeds])

        def p(shift: float, side: str) -> float:
            return float(scipy.stats.ttest_rel(x, y + shift, alternative=side).pvalue)
    else:
        x, y = np.array(list(values.values())), np.array(list(reference.values()))

        def p(shift: float, side: str) -> float:
            return float(scipy.stats.ttest_ind(x, y + shift, equal_var=False, alternative=side).pvalue)

    assert found.p_different == pytest.approx(p(0, "two-sided"), rel=1e-5, abs=1e-12)
    assert found.p_worse == pytest.approx(p(0, "less"), rel=1e-5, abs=1e-12)
    both = max(p(0.5, "less"), p(-0.5, "greater"))
    assert found.p_not_equivalent == pytest.approx(both, rel=1e-5, abs=1e-12)


@given(samples, samples)
def test_which_test_is_made(values: dict[int, float], reference: dict[int, float]) -> None:
    """Three common seeds: paired; else three a side: Welch; else none; and none without variance."""
    found = compare(values, reference)
    common = len(set(values) & set(reference))
    if common >= MIN_SEEDS:
        possible = {"paired", "no variance"}
    elif min(len(values), len(reference)) >= MIN_SEEDS:
        possible = {"welch", "no variance"}
    else:
        possible = {"too few seeds"}

    assert found.test in possible
    assert found.num_pairs == common
    assert (found.p_different is None) == (found.test not in {"paired", "welch"})


@given(samples, samples, st.floats(0.1, 5.0))
def test_exchange_of_sides(values: dict[int, float], reference: dict[int, float], margin: float) -> None:
    """Exchanging the sides turns the difference and the one-sided test round, and leaves the others."""
    there, back = compare(values, reference, margin), compare(reference, values, margin)

    assert there.test == back.test
    if there.p_worse is not None:
        assert there.difference == pytest.approx(-back.difference)  # type: ignore[operator]
        assert there.p_different == pytest.approx(back.p_different)
        assert there.p_worse == pytest.approx(1 - back.p_worse, abs=1e-9)  # type: ignore[operator]
        assert there.p_not_equivalent == pytest.approx(back.p_not_equivalent)


def test_identical_values_prove_nothing() -> None:
    """Where a method equals the other in every seed there is no variance, and no p-value is made up."""
    same = {0: 90.0, 1: 91.0, 2: 92.0}

    assert compare(same, same) == Comparison("no variance", 3, 0.0)


def test_a_constant_difference_is_no_infinite_t() -> None:
    """Differences of -0.5 in every seed (but for rounding) have no variance, so that nothing is tested."""
    reference = {0: 0.1, 1: 0.7, 2: 33.3}
    found = compare({seed: value - 0.5 for seed, value in reference.items()}, reference)

    assert (found.test, found.p_different) == ("no variance", None)
    assert found.difference == pytest.approx(-0.5)


def test_welch_without_variance() -> None:
    """Two constant samples of other seeds leave nothing to test either; one constant sample does."""
    constant = dict.fromkeys(range(3), 90.0)
    other = dict.fromkeys(range(3, 6), 91.0)

    assert compare(constant, other) == Comparison("no variance", 0, -1.0)
    assert compare(constant, {3: 91.0, 4: 92.0, 5: 90.0}).test == "welch"


@pytest.mark.parametrize(
    ("values", "reference", "pairs", "difference"),
    [
        ({}, {}, 0, None),
        ({0: 1.0}, {}, 0, None),
        ({0: 1.0, 1: 3.0}, {0: 2.0, 1: 6.0}, 2, -2.0),
        ({0: 1.0, 1: 3.0}, {2: 2.0}, 0, 0.0),
        ({0: 1.0, 1: 3.0, 2: 9.0}, {0: 2.0}, 1, -1.0),
    ],
)
def test_too_few(
    values: dict[int, float], reference: dict[int, float], pairs: int, difference: float | None
) -> None:
    """With fewer than three on a side nothing is tested, and the difference is still given."""
    assert compare(values, reference) == Comparison("too few seeds", pairs, difference)


def test_margin_must_be_positive() -> None:
    """A margin of 0 would make equivalence impossible without saying so."""
    with pytest.raises(ValueError, match="margin is 0"):
        compare({}, {}, margin=0)


def test_holm_by_hand() -> None:
    """Holm 1979: the smallest of four is multiplied by 4, the next by 3, never falling, never above 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_the_procedure_rejects(p_values: list[float]) -> None:
    """An adjusted value is at most the level exactly where the step-down procedure rejects."""
    rejected = [p <= SIGNIFICANCE_LEVEL for p in holm(p_values)]

    assert rejected == holm_rejections(p_values, SIGNIFICANCE_LEVEL)


@pytest.mark.parametrize(("num_pairs", "family"), [(3, 1), (3, 24), (5, 24), (10, 6)])
def test_smallest_visible_difference_is_the_edge(num_pairs: int, family: int) -> None:
    """Differences just above it are found alone among the family's by Holm's method, just below not."""
    edge = smallest_visible_difference(num_pairs, family)
    shape = np.random.default_rng(0).standard_normal(num_pairs)
    shape = (shape - shape.mean()) / shape.std(ddof=1)
    found = []
    for factor in (0.999, 1.001):
        differences = dict(enumerate(shape + factor * edge))
        p = compare(differences, dict.fromkeys(range(num_pairs), 0.0)).p_different
        assert p is not None
        found.append(holm([p, *[1.0] * (family - 1)])[0] <= SIGNIFICANCE_LEVEL)

    assert found == [False, True]
