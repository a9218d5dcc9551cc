"""The five sums in which a faulty stochastic quantizer shows, each with its exact variance; two for nearest.

The error along the input shows a wrong scale; along the input's signs, a wrong rounding; along the error of
the other half of the trials, any other bias, and trials that are not independent. The squared error and the
number of non-zeros are held against their exact expectations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.checks.measurement import Measurement
from qsgd_lab.theory.checks.statistics import BernsteinTest
from qsgd_lab.theory.level_positions import LevelPositions

#: The tests that ask about the mean of Q(v), not about its spread.
BIAS_TESTS = ("bias", "sign_bias", "pattern_bias")


def stochastic_tests(
    vector: NDArray[np.float32], at: LevelPositions, measurement: Measurement
) -> dict[str, BernsteinTest]:
    """Return the tests by name: bias, sign_bias, pattern_bias, variance, nonzeros.

    Parameters
    ----------
    vector : ndarray of float32, shape (n,)
    at : LevelPositions
        Of that vector.
    measurement : Measurement
        At least two trials.
    """
    trials = measurement.trials
    even, odd = measurement.errors
    total = even + odd
    return {
        "bias": _projection_test(at, total, vector, trials),
        "sign_bias": _projection_test(at, total, np.sign(vector), trials),
        # Given the odd trials, their error is a fixed direction for the even ones.
        "pattern_bias": _projection_test(at, even, odd, (trials + 1) // 2),
        "variance": _variance_test(at, measurement),
        "nonzeros": _nonzeros_test(at, measurement),
    }


def nearest_tests(at: LevelPositions, measurement: Measurement) -> dict[str, BernsteinTest]:
    """Return the tests of rounding to nearest, in which nothing is left to chance: error, nonzeros.

    Coordinates on the edge of a tie may go either way; they are the tolerance of the non-zeros.
    """
    distances = at.positions - at.nearest_levels
    ties = np.count_nonzero(np.abs(at.positions - 0.5) <= resolution(at))
    return {
        "error": BernsteinTest(
            deviation=float(measurement.squared_errors.sum()) - float(at.steps**2 @ distances**2),
            variance=0.0,
            largest_term=0.0,
            tolerance=squared_error_tolerance(at),
        ),
        "nonzeros": BernsteinTest(
            deviation=float(measurement.nonzeros.sum()) - np.count_nonzero(at.nearest_levels),
            variance=0.0,
            largest_term=0.0,
            tolerance=float(ties),
        ),
    }


def resolution(at: LevelPositions) -> Floats:
    """Bound, in levels, how far float32 and fixed-point arithmetic may move each coordinate, shape (n,).

    The kernels keep at least min(24, 31 - bits of s) fraction bits of a level, and round the norm, the scaled
    coordinate and the value to float32.
    """
    fraction_bits = min(24, 31 - at.num_levels.bit_length())
    return 2.0**-fraction_bits + 2.0**-22 * at.positions


def squared_error_tolerance(at: LevelPositions) -> float:
    """Bound how far that resolution may move ||Q(v) - v||^2, whose errors are at most one level."""
    moved = resolution(at)
    return float(at.steps**2 @ (2 * moved + moved**2))


def _projection_test(
    at: LevelPositions, error: Floats, direction: NDArray[np.floating], trials: int
) -> BernsteinTest:
    """Test that errors added up over the trials, shape (n,), have mean zero along a direction, shape (n,)."""
    weights = np.abs(direction, dtype=np.float64)
    weights *= at.steps
    moved = resolution(at)
    tolerance = trials * float(weights @ moved)
    moved += at.bernoulli_variances
    moved *= weights
    return BernsteinTest(
        deviation=float(np.dot(direction, error)),
        variance=trials * float(weights @ moved),
        largest_term=float(weights.max()),
        tolerance=tolerance,
    )


def _variance_test(at: LevelPositions, measurement: Measurement) -> BernsteinTest:
    """Test the squared error: that of a Bernoulli(p) has variance p (1 - p) (1 - 2p)^2, in levels^4."""
    spread = (1 - 2 * at.up_probabilities) ** 2
    spread *= at.bernoulli_variances
    spread += resolution(at)
    expected = measurement.trials * float(at.steps**2 @ at.bernoulli_variances)
    return BernsteinTest(
        deviation=float(measurement.squared_errors.sum()) - expected,
        variance=measurement.trials * float(at.steps**4 @ spread),
        largest_term=float(at.steps.max() ** 2),
        tolerance=measurement.trials * squared_error_tolerance(at),
    )


def _nonzeros_test(at: LevelPositions, measurement: Measurement) -> BernsteinTest:
    q = at.nonzero_probabilities
    # An exact zero stays one; elsewhere the probability is known up to the resolution.
    moved = np.where(at.positions > 0, resolution(at), 0.0)
    return BernsteinTest(
        deviation=float(measurement.nonzeros.sum()) - measurement.trials * float(q.sum()),
        variance=measurement.trials * float((q * (1 - q) + moved).sum()),
        largest_term=1.0,
        tolerance=measurement.trials * float(moved.sum()),
    )
