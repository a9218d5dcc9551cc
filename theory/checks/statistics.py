"""Tests with a false-alarm rate that is a theorem, and intervals that use nothing but the measurements.

A z-score of six is only as rare as the normal law says if the sum is normal out there, and the sums here
are not when one coordinate dominates. So alarms use Bernstein's inequality, which holds for every sum of
independent, bounded, centred terms; z-scores are printed for the reader. The price in power is small: at a
false-alarm rate of 10^-8 the threshold is 6.2 standard deviations instead of 5.7 when no term dominates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from qsgd_lab.theory.arguments import number
from qsgd_lab.theory.arrays import Floats


@dataclass(frozen=True)
class BernsteinTest:
    """A measured sum held against its expectation.

    Attributes
    ----------
    deviation : float
        The sum minus its expectation, in its own units.
    variance : float
        The variance of the sum (or an upper bound), in squared units.
    largest_term : float
        A bound on the absolute value of every centred term.
    tolerance : float
        How far the arithmetic's resolution can move the expectation.
    """

    deviation: float
    variance: float
    largest_term: float
    tolerance: float = 0.0

    @property
    def z_score(self) -> float:
        """The deviation beyond the tolerance, in standard deviations; 0 where nothing can vary."""
        # What arithmetic alone may move is not evidence.
        excess = max(abs(self.deviation) - self.tolerance, 0.0)
        excess = -excess if self.deviation < 0 < excess else excess
        if self.variance > 0:
            return excess / math.sqrt(self.variance)
        return math.copysign(math.inf, excess) if excess else 0.0

    def threshold(self, false_alarm_rate: float) -> float:
        r"""Return the deviation that is exceeded with probability at most `false_alarm_rate`.

        Bernstein: P(\|S\| >= t) <= 2 exp(-t^2 / (2 (V + b t / 3))), solved for t. The rate is
        above 0 and at most 1.
        """
        false_alarm_rate = number("false_alarm_rate", false_alarm_rate, above=0, most=1)
        log_odds = math.log(2 / false_alarm_rate)
        # The root of a quadratic in t, from the inequality solved with equality.
        linear = self.largest_term * log_odds / 3
        return linear + math.sqrt(linear**2 + 2 * self.variance * log_odds) + self.tolerance

    def __add__(self, other: BernsteinTest) -> BernsteinTest:
        """Return the test of the two sums together; they must be independent."""
        return BernsteinTest(
            self.deviation + other.deviation,
            self.variance + other.variance,
            max(self.largest_term, other.largest_term),
            self.tolerance + other.tolerance,
        )

    def alarms(self, false_alarm_rate: float) -> bool:
        """Whether the deviation is too large to be chance, at that rate."""
        # Written so that NaN, which compares as false, is an alarm.
        return not abs(self.deviation) <= self.threshold(false_alarm_rate)


def mean_interval(samples: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's confidence interval for the mean of independent samples, shape (T,), T >= 2.

    Raises
    ------
    ValueError
        If there are fewer than two samples, or the confidence is not between 0 and 1.
    """
    # NaN is let through: a quantizer that gives it has to show in the check, not stop it.
    confidence = number("confidence", confidence, above=0, most=1)
    if samples.size < 2:
        raise ValueError(f"samples has {samples.size} number; a confidence interval needs at least 2")
    mean = float(samples.mean())
    half_width = float(stats.t.ppf((1 + confidence) / 2, samples.size - 1)) * float(
        samples.std(ddof=1) / np.sqrt(samples.size)
    )
    return mean - half_width, mean + half_width
