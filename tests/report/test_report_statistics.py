"""The tests over seeds: against scipy, against examples worked by hand, and in degenerate cases."""

from __future__ import annotations

import math

import naive_marks
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
    divergence_p,
    half_width,
    holm,
    seeds_for,
    smallest_visible_difference,
)

#: Points of one of the 360 test digits.
DIGIT = 100 / 360

accuracies = st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)
samples = st.dictionaries(st.integers(0, 9), accuracies, max_size=10)
#: Any two of these have at least six seeds in common.
full_samples = st.dictionaries(st.integers(0, 9), accuracies, min_size=8)
zeros = dict.fromkeys(range(5), 0.0)


def six(value: float | None) -> float | None:
    """Return a value to the six digits of the worked examples."""
    return None if value is None else round(value, 6)


def test_a_stored_cell_by_hand() -> None:
    """Differences -4 -5 -2 -8 -4 images of 360: s² = 4.8, t = -4.694855 with four degrees of freedom."""
    found = compare(dict(enumerate(n * DIGIT for n in (-4, -5, -2, -8, -4))), zeros, 0.5, DIGIT)
    t = -4.6 / math.sqrt(4.8 / 5)
    # With four degrees of freedom the distribution is elementary.
    angle = math.atan(t / 2)
    below = 0.5 + math.sin(angle) / 2 * (1 + math.cos(angle) ** 2 / 2)

    assert (found.num_pairs, found.num_below, found.num_above) == (5, 5, 0)
    assert (six(found.difference), six(found.error)) == (-1.277778, 0.272166)
    assert (six(found.p_different), six(found.p_worse)) == (0.009344, 0.004672)
    assert six(found.p_not_equivalent) == six(found.p_not_near) == 0.976983
    assert found.p_worse == pytest.approx(below)
    assert round(half_width(found.error or 0, 5, 22), 6) == 1.886880


@pytest.mark.parametrize(
    ("images", "expected"),
    [(-1, (0.005408, 0.002704, 0.005929, 0.005929)), (0, (1.0, 0.5, 0.000297, 0.000297))],
)
def test_the_same_difference_in_every_seed(images: int, expected: tuple[float, ...]) -> None:
    """With a known step the deviation is at least h / sqrt 6, so that one image in five of five is tested."""
    found = compare(dict.fromkeys(range(5), images * DIGIT), zeros, 0.5, DIGIT)

    assert six(found.error) == 0.050715
    assert (
        six(found.p_different),
        six(found.p_worse),
        six(found.p_not_equivalent),
        six(found.p_not_near),
    ) == expected


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")  # scipy's, of a constant sample
@given(full_samples, full_samples, st.sampled_from([0.1, 0.5]))
def test_p_values_are_scipys(values: dict[int, float], reference: dict[int, float], margin: float) -> None:
    """The p-values of the paired test and of the one-sided tests equal those of scipy's functions."""
    found = compare(values, reference, margin)
    assume(found.is_tested)
    seeds = sorted(set(values) & set(reference))
    x = np.array([values[seed] for seed in seeds])
    y = np.array([reference[seed] for seed in seeds])

    def p(shift: float, side: str) -> float:
        return float(scipy.stats.ttest_rel(x, y + shift, alternative=side).pvalue)

    assert found.p_different == pytest.approx(p(0, "two-sided"), rel=1e-5, abs=1e-12)
    assert found.p_worse == pytest.approx(p(0, "less"), rel=1e-5, abs=1e-12)
    assert found.p_not_near == pytest.approx(p(-margin, "greater"), rel=1e-5, abs=1e-12)
    both = max(p(margin, "less"), p(-margin, "greater"))
    assert found.p_not_equivalent == pytest.approx(both, rel=1e-5, abs=1e-12)


@given(samples | full_samples, samples | full_samples, st.sampled_from([0.0, 0.01, DIGIT]))
def test_which_test_is_made(values: dict[int, float], reference: dict[int, float], step: float) -> None:
    """Five common seeds or none; and without a step none where the differences do not vary."""
    found = compare(values, reference, step=step)
    common = set(values) & set(reference)
    differences = [values[seed] - reference[seed] for seed in sorted(common)]
    expected = naive_marks.t_tests(differences, 0.5, step / math.sqrt(6))

    assert found.num_pairs == len(common)
    assert found.num_below + found.num_above <= found.num_pairs
    assert (found.difference is None) == (not common)
    if expected is None:
        assert found.test == ("too few seeds" if len(common) < MIN_SEEDS else "no variance")
        assert (found.error, found.p_different, found.p_not_near) == (None, None, None)
    else:
        assert found.test == "paired"
        assert found.error == pytest.approx(expected["error"])


@given(samples | full_samples, samples | full_samples, st.floats(0.1, 5.0))
def test_exchange_of_sides(values: dict[int, float], reference: dict[int, float], margin: float) -> None:
    """Exchanging the sides turns the difference and the one-sided test round, and leaves the others."""
    there, back = compare(values, reference, margin), compare(reference, values, margin)

    assert there.test == back.test
    assert (there.num_below, there.num_above) == (back.num_above, back.num_below)
    if there.p_worse is not None:
        assert there.difference == pytest.approx(-back.difference)  # type: ignore[operator]
        assert there.p_different == pytest.approx(back.p_different)
        assert there.p_worse == pytest.approx(1 - back.p_worse, abs=1e-9)  # type: ignore[operator]
        assert there.p_not_equivalent == pytest.approx(back.p_not_equivalent)
        assert there.p_not_equivalent == pytest.approx(max(there.p_not_near, back.p_not_near))  # type: ignore[type-var]


def test_no_variance_proves_nothing_where_the_step_is_unknown() -> None:
    """Differences of -0.5 in every seed, but for rounding, are not tested; an infinite t is not evidence."""
    reference = {0: 0.1, 1: 0.7, 2: 33.3, 3: 50.9, 4: 71.3}
    found = compare({seed: value - 0.5 for seed, value in reference.items()}, reference)

    assert compare(reference, reference) == Comparison("no variance", 5, 0, 0, 0.0)
    assert (found.test, found.num_below, found.p_different) == ("no variance", 5, None)
    assert found.difference == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        ({}, {}, (0, 0, 0, None)),
        ({0: 1.0}, {}, (0, 0, 0, None)),
        ({0: 1.0, 1: 3.0}, {0: 2.0, 1: 6.0}, (2, 2, 0, -2.0)),
        ({0: 1.0, 1: 3.0}, {2: 2.0}, (0, 0, 0, None)),
        ({0: 1.0, 1: 3.0, 2: 9.0}, {0: 2.0}, (1, 1, 0, -1.0)),
        (dict.fromkeys(range(5), 1.0), dict.fromkeys(range(1, 6), 0.0), (4, 0, 4, 1.0)),
    ],
)
def test_too_few(
    values: dict[int, float], reference: dict[int, float], expected: tuple[int, int, int, float | None]
) -> None:
    """With fewer than five common seeds nothing is tested; the common seeds' difference is still given."""
    assert compare(values, reference, step=DIGIT) == Comparison("too few seeds", *expected)


def test_bad_margins_and_steps() -> None:
    """A margin of 0 would make equivalence impossible without saying so; a step below 0 is refused."""
    with pytest.raises(ValueError, match="margin is 0"):
        compare({}, {}, margin=0)
    with pytest.raises(ValueError, match="step is -1"):
        compare({}, {}, step=-1)


def test_holm_by_hand() -> None:
    """Holm 1979: the smallest of four is multiplied by 4, the next by 3, never falling, never above 1."""
    assert holm([0.0005, 0.2, 0.004, 0.03]) == pytest.approx([0.002, 0.2, 0.012, 0.06])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_the_procedure_rejects(p_values: list[float]) -> None:
    """An adjusted value is at most the level exactly where the step-down procedure rejects."""
    rejected = [p <= SIGNIFICANCE_LEVEL for p in holm(p_values)]

    assert rejected == holm_rejections(p_values, SIGNIFICANCE_LEVEL)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((5, 5, 0, 5), 1 / 126),
        ((4, 5, 0, 5), 1 / 21),
        ((1, 5, 0, 5), 1.0),
        ((10, 10, 0, 10), 1 / 92378),
        ((8, 10, 0, 10), 3 / 4199),
        ((5, 10, 0, 10), 21 / 646),
        ((3, 10, 4, 10), 1.0),
        ((0, 5, 0, 7), 1.0),
        ((5, 5, 7, 7), 1.0),
        ((0, 0, 3, 5), 1.0),
    ],
)
def test_fisher_by_hand(counts: tuple[int, int, int, int], expected: float) -> None:
    """The exact test of k of n diverged runs against k0 of n0 gives these fractions."""
    assert divergence_p(*counts) == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 25), st.integers(1, 25), st.data())
def test_fisher_is_scipys(n: int, n0: int, data: st.DataObject) -> None:
    """The two-sided p equals scipy's."""
    k, k0 = data.draw(st.integers(0, n)), data.draw(st.integers(0, n0))
    expected = scipy.stats.fisher_exact([[k, n - k], [k0, n0 - k0]]).pvalue

    assert divergence_p(k, n, k0, n0) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(6, 5, 0, 5), (-1, 5, 0, 5), (0, 5, 6, 5)])
def test_impossible_counts(counts: tuple[int, int, int, int]) -> None:
    """More diverged runs than runs, or fewer than none, are refused."""
    with pytest.raises(ValueError, match="must be from 0 to all runs"):
        divergence_p(*counts)


@pytest.mark.parametrize(
    ("num_pairs", "family", "expected"),
    [
        (5, 22, 6.932841),
        (5, 6, 4.851008),
        (5, 5, 4.604095),
        (10, 24, 4.269013),
        (10, 22, 4.210023),
        (10, 6, 3.364203),
        (20, 24, 3.561445),
    ],
)
def test_simultaneous_intervals(num_pairs: int, family: int, expected: float) -> None:
    """An interval of a family of m is Student's quantile at 1 - 0.05/(2 m) times the standard error."""
    assert round(half_width(1.0, num_pairs, family), 6) == expected
    assert half_width(0.3, num_pairs, family) == pytest.approx(0.3 * expected, abs=1e-6)


@pytest.mark.parametrize(("num_pairs", "family"), [(5, 1), (5, 24), (10, 6)])
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


def test_seeds_for() -> None:
    """The stored demo's deviations take 88 and 78 seeds, a quiet experiment 9; never fewer than five."""
    assert seeds_for(1.112846, 0.5, 22) == 88
    assert seeds_for(1.04, 0.5, 24) == 78
    assert seeds_for(0.27, 0.5, 24) == 9
    assert seeds_for(0.0, 0.5, 24) == MIN_SEEDS
    assert seeds_for(20.0, 0.5, 24) is None
