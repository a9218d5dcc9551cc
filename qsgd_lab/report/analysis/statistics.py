"""Tests over a few seeds, in percentage points, of whether a method is worse than another or near it.

Runs of one seed share their initial weights and the order of their data, so two methods are compared by their
differences seed by seed (paired t). A test that finds no difference does not prove that there is none:
"within a margin" is a claim of its own, and takes one-sided tests. Diverged runs are counted, by Fisher's
exact test.

References
----------
Student 1908 (t); Fisher 1935, "The logic of inductive inference" (the exact test); Holm 1979, "A simple
sequentially rejective multiple test procedure"; Schuirmann 1987 (two one-sided tests).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: A claim is made where its p-value is at most this.
SIGNIFICANCE_LEVEL = 0.05
#: Means nearer to each other than this, in percentage points, count as alike; the default of presets.
EQUIVALENCE_MARGIN = 0.5
#: With fewer common seeds nothing is tested: three see next to nothing, and coarse cells tie by chance.
MIN_SEEDS = 5
#: More seeds than this are not worth naming.
MOST_SEEDS = 1000

#: Differences below this, in points, are float64's rounding; over a million images accuracies differ by 1e-4.
_SAME = 1e-9

TestName = Literal["paired", "too few seeds", "no variance"]


@dataclass(frozen=True)
class Comparison:
    """How the values of one method compare with those of another, over the seeds that both have.

    Attributes
    ----------
    test : {"paired", "too few seeds", "no variance"}
        The test that was made, or why none was.
    num_pairs : int
        n, seeds that both have.
    num_below, num_above : int
        Seeds in which the first is below and above the second.
    difference : float or None
        Mean of the differences; None without a common seed.
    error : float or None
        Standard error of that mean, not less than the rounding of the values explains; None where nothing was
        tested, like the p-values.
    p_different : float or None
        Two-sided, that the means are equal.
    p_worse : float or None
        One-sided, that the first is not below the second: small where it is worse.
    p_not_equivalent : float or None
        The larger p of the two one-sided tests: small where the means are within the margin of each other.
    p_not_near : float or None
        One-sided, that the first is below the second by the margin or more: small where it is not.
    """

    test: TestName
    num_pairs: int
    num_below: int = 0
    num_above: int = 0
    difference: float | None = None
    error: float | None = None
    p_different: float | None = None
    p_worse: float | None = None
    p_not_equivalent: float | None = None
    p_not_near: float | None = None

    @property
    def is_tested(self) -> bool:
        """Whether there are p-values."""
        return self.test == "paired"


def compare(
    values: Mapping[int, float],
    reference: Mapping[int, float],
    margin: float = EQUIVALENCE_MARGIN,
    step: float = 0.0,
) -> Comparison:
    """Compare a method's values with another's, paired over the seeds that both have.

    Parameters
    ----------
    values, reference : mapping of int to float
        Seed -> value of the method, and of what it is compared with.
    margin : float
        Means nearer than this count as alike, in the values' unit; above 0.
    step : float
        The values are multiples of this, such as 100 / T points for T test images; 0 where it is unknown. The
        deviation of the differences is taken to be at least step / sqrt(6), that of rounding both values. So
        the same difference in every seed can be tested, which without a step it cannot.

    Raises
    ------
    ValueError
        If the margin is not above 0, or the step is below 0.

    Examples
    --------
    >>> found = compare({s: 90.0 - s % 2 for s in range(5)}, {s: 91.0 for s in range(5)})
    >>> found.difference, round(found.p_different, 4), found.num_below
    (-1.4, 0.0046, 5)
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin}; it must be above 0")
    if not step >= 0:
        raise ValueError(f"the step is {step}; it must be 0 or more")
    differences = [values[seed] - reference[seed] for seed in sorted(set(values) & set(reference))]
    return compare_differences(differences, margin, step / math.sqrt(6))


def compare_differences(differences: Sequence[float], margin: float, least_deviation: float) -> Comparison:
    """Return what the differences seed by seed say; their deviation is at least ``least_deviation``."""
    count = len(differences)
    signs = (sum(d < -_SAME for d in differences), sum(d > _SAME for d in differences))
    mean = math.fsum(differences) / count if differences else None
    if mean is None or count < MIN_SEEDS:
        return Comparison("too few seeds", count, *signs, mean)
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    error = max(math.sqrt(variance), least_deviation) / math.sqrt(count)
    if error <= _SAME:  # a t of infinity would be no evidence: accuracy moves in steps
        return Comparison("no variance", count, *signs, mean)

    def below(t: float) -> float:
        """Return the probability that Student's t is below this one."""
        return _student_cdf(t, count - 1)

    return Comparison(
        "paired",
        count,
        *signs,
        mean,
        error,
        p_different=min(1.0, 2 * below(-abs(mean) / error)),
        p_worse=below(mean / error),
        p_not_equivalent=below((abs(mean) - margin) / error),
        p_not_near=below(-(mean + margin) / error),
    )


def _student_cdf(t: float, freedom: int) -> float:
    from scipy.special import stdtr  # scipy.stats would take half a second to import

    return float(stdtr(freedom, t))


def _student_quantile(probability: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's method, in the order given.

    Rejecting where the adjusted value is at most α holds the chance of any false rejection among them at α,
    whatever their dependence.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def divergence_p(diverged: int, runs: int, reference_diverged: int, reference_runs: int) -> float:
    """Return Fisher's exact two-sided p that runs of two methods diverge equally often.

    The seeds' pairing is left out of account: the paired test (McNemar) cannot fall below 0.0625 with five
    seeds, and dependence within a seed only makes Fisher's cautious.

    Parameters
    ----------
    diverged, runs : int
        k of n runs of the method.
    reference_diverged, reference_runs : int
        k0 of n0 runs of what it is compared with.

    Raises
    ------
    ValueError
        If a count is negative, or more diverged than there are runs.

    Examples
    --------
    >>> round(divergence_p(5, 5, 0, 5), 6), divergence_p(1, 5, 0, 5)
    (0.007937, 1.0)
    """
    if not (0 <= diverged <= runs and 0 <= reference_diverged <= reference_runs):
        raise ValueError(
            f"{diverged} of {runs} and {reference_diverged} of {reference_runs} runs: the diverged runs must "
            "be from 0 to all runs"
        )
    total = diverged + reference_diverged
    # Ways to have x of the `total` diverged runs among the first n, all counts as they are: exact integers.
    ways = [
        math.comb(runs, x) * math.comb(reference_runs, total - x)
        for x in range(max(0, total - reference_runs), min(runs, total) + 1)
    ]
    own = math.comb(runs, diverged) * math.comb(reference_runs, reference_diverged)
    return sum(count for count in ways if count <= own) / sum(ways)


def half_width(error: float, num_pairs: int, family: int, level: float = SIGNIFICANCE_LEVEL) -> float:
    """Return half the width of a mean difference's interval, of which ``family`` hold together (Bonferroni).

    Examples
    --------
    >>> round(half_width(0.272166, 5, 22), 4)
    1.8869
    """
    return _student_quantile(1 - level / (2 * family), num_pairs - 1) * error


def smallest_visible_difference(num_pairs: int, family: int, level: float = SIGNIFICANCE_LEVEL) -> float:
    """Return how large a mean difference must be to be the first that Holm's method finds.

    Parameters
    ----------
    num_pairs : int
        n, seeds a comparison; at least 2.
    family : int
        Comparisons that share the level.

    Returns
    -------
    float
        In sample standard deviations of the differences.

    Examples
    --------
    >>> round(smallest_visible_difference(5, 1), 2), round(smallest_visible_difference(5, 24), 1)
    (1.24, 3.2)
    """
    return half_width(1 / math.sqrt(num_pairs), num_pairs, family, level)


def seeds_for(
    deviation: float, margin: float, family: int, power: float = 0.8, level: float = SIGNIFICANCE_LEVEL
) -> int | None:
    """Return about how many seeds it takes to show that two equal means are within a margin.

    Parameters
    ----------
    deviation : float
        Standard deviation of the differences, in the unit of ``margin``.
    margin : float
    family : int
        Comparisons that share the level; Holm's stepping is left out of account.
    power : float
        Chance to show it.

    Returns
    -------
    int or None
        At least `MIN_SEEDS`; None above `MOST_SEEDS`.

    Examples
    --------
    >>> seeds_for(0.27, 0.5, 24), seeds_for(20.0, 0.5, 24)
    (9, None)
    """
    # With equal means both one-sided tests must pass, so each may fail with half the chance.
    tails = (1 - level / family, 1 - (1 - power) / 2)
    for count in range(MIN_SEEDS, MOST_SEEDS + 1):
        quantiles = sum(_student_quantile(tail, count - 1) for tail in tails)
        if quantiles * deviation / math.sqrt(count) <= margin:
            return count
    return None
