"""Expected bits of a message's code words: expectation, variance and level shares, block by block.

In the dense layouts every coordinate's bits are independent, with a known variance. In the sparse layout a
level that turns from zero changes two gaps; given the levels before it, its effect on the whole length is
bounded, so that Freedman's inequality (Bernstein's, for martingales) gives the same kind of test.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arguments import choice, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.checks.blocks import blocks_of
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.message_bits import CHUNK, DENSE_SIGNED, FIXED, LAYOUTS, SPARSE
from qsgd_lab.theory.checks.quantizer_tests import resolution
from qsgd_lab.theory.checks.statistics import BernsteinTest
from qsgd_lab.theory.code_length import sparse_bits_at
from qsgd_lab.theory.dense_code_length import Sign, dense_bits_at, dense_level_bits, fixed_width_bits
from qsgd_lab.theory.elias import CODE_NAMES, Code, code_length, floor_log2, length_at_power
from qsgd_lab.theory.entropy import level_probabilities_at
from qsgd_lab.theory.level_positions import LevelPositions, level_positions


@dataclass(frozen=True)
class ExpectedBits:
    """Sums over the coordinates of a vector.

    Attributes
    ----------
    exact : float
        E of all bits, norms included, padding not.
    test : BernsteinTest
        Of the bits of one message, the deviation still to be filled in.
    level_counts : ndarray of float64, shape (2s + 1,)
        Expected number of each signed level.
    has_exact_variance : bool
        Whether the test's variance is that of the bits, and not a bound on it.
    """

    exact: float
    test: BernsteinTest
    level_counts: Floats
    has_exact_variance: bool

    def __add__(self, other: ExpectedBits) -> ExpectedBits:
        """Return the sums over both vectors."""
        return ExpectedBits(
            self.exact + other.exact,
            self.test + other.test,
            self.level_counts + other.level_counts,
            self.has_exact_variance,
        )

    def test_of(self, total_bits: float, trials: int) -> BernsteinTest:
        """Return the test of bits added up over independent messages."""
        return BernsteinTest(
            total_bits - trials * self.exact,
            trials * self.test.variance,
            self.test.largest_term,
            trials * self.test.tolerance,
        )


def expected_bits(
    vector: NDArray[np.float32], setting: QuantizerSetting, code: Code, layout: str
) -> ExpectedBits:
    """Return the sums for a vector, shape (n,); arguments as in `message_bits.measure_messages`."""
    # Gaps begin again at chunks, so blocks must begin there too, or gaps would be cut.
    blocks = blocks_of(vector, setting.bucket_size, multiple_of=CHUNK)
    total = _of_block(blocks[0], setting, code, layout)
    for block in blocks[1:]:
        total += _of_block(block, setting, code, layout)
    return total


def _of_block(block: NDArray[np.float32], setting: QuantizerSetting, code: Code, layout: str) -> ExpectedBits:
    at = level_positions(block, setting.num_levels, norm=setting.norm, bucket_size=setting.bucket_size)
    # Nearest rounding is stochastic rounding at positions that are whole.
    law = at.rounded() if setting.rounding == "nearest" else at
    changes = level_changes(setting.num_levels, code, layout)
    test = _test(law, changes)
    if setting.rounding == "nearest":
        test = dataclasses.replace(test, tolerance=_tie_tolerance(at, changes))
    counts = level_probabilities_at(law, np.signbit(block)) * block.size
    return ExpectedBits(_exact(law, code, layout), test, counts, layout != SPARSE)


def _exact(at: LevelPositions, code: Code, layout: str) -> float:
    if layout == SPARSE:
        return sparse_bits_at(at, code, restart=CHUNK)
    if layout == FIXED:
        size = at.positions.size
        return float(fixed_width_bits(size, at.num_levels.bit_length(), bucket_size=at.bucket_size))
    return dense_bits_at(at, code, sign=_sign(layout))


def _sign(layout: str) -> Sign:
    return "always" if layout == DENSE_SIGNED else "nonzero"


def level_changes(num_levels: int, code: Code, layout: str) -> Floats:
    """Return how many bits a message changes at most if a level goes from k to k + 1, shape (s,)."""
    choice("layout", layout, LAYOUTS)
    choice("code", code, CODE_NAMES)
    num_levels = whole("num_levels", num_levels)
    if layout == FIXED:
        return np.zeros(num_levels)
    if layout != SPARSE:
        return np.abs(np.diff(dense_level_bits(num_levels, code, _sign(layout))))
    lengths = code_length(np.arange(1, num_levels + 1), code)
    # A level that leaves zero costs a sign, its own code word, and what it does to gaps.
    first = 1 + lengths[0] + largest_gap_change(code)
    return np.concatenate(([first], np.abs(np.diff(lengths)))).astype(np.float64)


def largest_gap_change(code: Code) -> int:
    """Return by how many bits the gaps of a chunk change at most, up or down, if a zero becomes a non-zero.

    A gap a + b is split into a and b; or, behind the last non-zero, a gap is added.
    """
    most = int(floor_log2(CHUNK))
    lengths = length_at_power(np.arange(most + 1), code)
    a, b = np.meshgrid(np.arange(most + 1), np.arange(most + 1))
    # The sum's exponent is the larger one's or one more; only sums up to a chunk occur.
    same = np.maximum(a, b)
    changes = [lengths[a] + lengths[b] - lengths[np.minimum(same + more, most)] for more in (0, 1)]
    return int(max(np.abs(changes).max(), lengths.max()))


def _test(at: LevelPositions, changes: Floats) -> BernsteinTest:
    largest, moved = float(changes.max()), resolution(at)
    # Level s goes no further: its change is 0.
    at_levels = np.append(changes, 0.0)[at.lower_levels.astype(np.int64)]
    return BernsteinTest(
        deviation=0.0,
        variance=float(at_levels**2 @ at.bernoulli_variances) + largest**2 * float(moved.sum()),
        largest_term=largest,
        tolerance=largest * float(moved.sum()),
    )


def _tie_tolerance(at: LevelPositions, changes: Floats) -> float:
    """Bound what coordinates on the edge of a tie may change, which may go either way."""
    # Fixed point may send such a coordinate to either side.
    edges = np.abs(at.up_probabilities - 0.5) <= resolution(at)
    return float(changes.max()) * np.count_nonzero(edges)
