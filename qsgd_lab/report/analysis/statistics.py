"""Is one method worse than another, or as good? Tests over a few seeds, in percentage points.

Runs of one seed share their initial weights and the order of their data, so two methods are compared by their
differences seed by seed (paired t). Where seeds do not match, Welch's test compares the two samples. That a
test finds no difference is no proof that there is none: "no loss" is a claim of its own, and takes two
one-sided tests (TOST) that the difference is below a margin.

References
----------
Student 1908 (t); Welch 1947; Holm 1979, "A simple sequentially rejective multiple test procedure";
Schuirmann 1987 (TOST).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: A claim is made where its p-value is at most this.
SIGNIFICANCE_LEVEL = 0.05
#: "No loss" is a difference below this, in percentage points.
EQUIVALENCE_MARGIN = 0.5
#: With fewer values on a side, or fewer pairs, nothing is tested.
MIN_SEEDS = 3

#: A standard error below this, in points, is rounding: accuracies over a million images differ by 1e-4.
_NO_VARIANCE = 1e-9

TestName = Literal["paired", "welch", "too few seeds", "no variance"]


@dataclass(frozen=True)
class Comparison:
    """How the values of one method compare with those of another.

    Attributes
    ----------
    test : {"paired", "welch", "too few seeds", "no variance"}
        The test that was made, or why none was. Values that differ by the same in every seed leave no
        variance to judge by, and a t of infinity would be no evidence: accuracy moves in steps of one image.
    num_pairs : int
        Seeds that both have.
    difference : float or None
        Mean of the first minus mean of the second over the values that were used; None without values.
    p_different : float or None
        Two-sided, that the means are equal; None where nothing was tested, like the others.
    p_worse : float or None
        One-sided, that the first is not below the second: small where it is worse.
    p_not_equivalent : float or None
        The larger p of the two one-sided tests: small where the means are within the margin of each other.
    """

    test: TestName
    num_pairs: int
    difference: float | None = None
    p_different: float | None = None
    p_worse: float | None = None
    p_not_equivalent: float | None = None


def compare(
    values: Mapping[int, float], reference: Mapping[int, float], margin: float = EQUIVALENCE_MARGIN
) -> Comparison:
    """Compare a method's values with another's.

    Paired over the seeds that both have, if these are at least `MIN_SEEDS`; by Welch's test over all values
    if each side has that many but they share fewer seeds; otherwise not at all.

    Parameters
    ----------
    values, reference : mapping of int to float
        Seed -> value of the method, and of what it is compared with.
    margin : float
        Largest difference that counts as none, in the values' unit; above 0.

    Examples
    --------
    >>> round(compare({0: 90.0, 1: 92.0, 2: 91.0}, {0: 93.0, 1: 94.0, 2: 95.0}).p_different, 4)
    0.0351
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin}; it must be above 0")
    seeds = sorted(set(values) & set(reference))
    if len(seeds) >= MIN_SEEDS:
        return _paired([values[seed] - reference[seed] for seed in seeds], margin)
    if min(len(values), len(reference)) >= MIN_SEEDS:
        return _welch(list(values.values()), list(reference.values()), len(seeds), margin)
    difference = _mean_difference(values, reference, seeds)
    return Comparison("too few seeds", len(seeds), difference)


def _mean_difference(
    values: Mapping[int, float], reference: Mapping[int, float], seeds: Sequence[int]
) -> float | None:
    if seeds:
        return statistics.fmean(values[seed] - reference[seed] for seed in seeds)
    if values and reference:
        return statistics.fmean(values.values()) - statistics.fmean(reference.values())
    return None


def _paired(differences: Sequence[float], margin: float) -> Comparison:
    count = len(differences)
    error = statistics.stdev(differences) / math.sqrt(count)
    return _by_t("paired", count, statistics.fmean(differences), error, count - 1, margin)


def _welch(values: Sequence[float], reference: Sequence[float], num_pairs: int, margin: float) -> Comparison:
    samples = (values, reference)
    squares = [statistics.variance(sample) / len(sample) for sample in samples]  # squared errors of the means
    error = math.sqrt(sum(squares))
    difference = statistics.fmean(values) - statistics.fmean(reference)
    freedom = (
        sum(squares) ** 2 / sum(s * s / (len(x) - 1) for s, x in zip(squares, samples, strict=True))
        if error > _NO_VARIANCE
        else math.inf
    )
    return _by_t("welch", num_pairs, difference, error, freedom, margin)


def _by_t(
    test: TestName, num_pairs: int, difference: float, error: float, freedom: float, margin: float
) -> Comparison:
    """Return the three p-values of a mean ``difference`` with this standard error."""
    if error <= _NO_VARIANCE:
        return Comparison("no variance", num_pairs, difference)

    def below(shift: float) -> float:
        """Return the probability of a t below that of the difference less ``shift``."""
        return _student_cdf((difference - shift) / error, freedom)

    return Comparison(
        test,
        num_pairs,
        difference,
        p_different=min(1.0, 2 * _student_cdf(-abs(difference) / error, freedom)),
        p_worse=below(0.0),
        p_not_equivalent=max(below(margin), _student_cdf(-(difference + margin) / error, freedom)),
    )


def _student_cdf(t: float, freedom: float) -> float:
    from scipy.special import stdtr  # scipy.stats would take half a second to import

    return float(stdtr(freedom, t))


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
    >>> round(smallest_visible_difference(3, 1), 2), round(smallest_visible_difference(3, 24), 1)
    (2.48, 12.6)
    """
    from scipy.special import stdtrit

    return float(stdtrit(num_pairs - 1, 1 - level / (2 * family))) / math.sqrt(num_pairs)
