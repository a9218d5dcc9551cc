r"""Bits of Code_s, the sparse layout: exact expectation for a vector, and bounds for every vector.

A bucket is sent as a 32-bit norm, then for each non-zero the Elias code of its distance from the previous
one (the first: its position from 1), a sign bit and the Elias code of its level (QSGD, section 3.2). As
printed the layout has no end mark; `end="marker"` counts one, a virtual non-zero behind the last
coordinate; the default counts none, as the paper does, and leaves it to the framing to say where the
message ends.

With N non-zeros, sum of gaps <= n and S = sum of squared levels, every outcome obeys

.. math:: |Code_s| \le 32 + N \bigl[1 + \Phi(\log_2 \tfrac nN) + \Phi(\tfrac12 \log_2 \tfrac SN)\bigr]

with the concave envelope Phi of the code's lengths, by Jensen twice. The right side is jointly concave in
(N, S), so that Jensen once more puts the means of N and S in their places (C1).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arguments import choice, number, whole
from qsgd_lab.theory.arrays import Floats, representable
from qsgd_lab.theory.elias import CODE_NAMES, Code, code_length, coded_bits, length_envelope
from qsgd_lab.theory.expected_counts import end_gap_probabilities, gap_counts, value_counts
from qsgd_lab.theory.level_positions import LevelPositions, level_positions
from qsgd_lab.theory.variance import worst_case_variance_l2

NORM_BITS = 32

End = Literal["none", "marker"]

ENDS: tuple[End, ...] = ("none", "marker")


def exact_sparse_bits(
    gradient: ArrayLike,
    num_levels: int,
    *,
    norm: Norm = "l2",
    bucket_size: int | None = None,
    code: Code = "omega",
    end: End = "none",
) -> float:
    """Return E|Code_s(Q(v))| in bits, exactly, in O(n log n) (see `expected_counts`).

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `qsgd_lab.theory.level_positions.level_positions`.
    code : {"gamma", "delta", "omega"}
    end : {"none", "marker"}
        Whether an end mark in each bucket is counted.
    """
    choice("end", end, ENDS)
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    bits = sparse_bits_at(at, code)
    if end == "marker":
        # An end mark is a gap too, from the last non-zero to behind the last coordinate.
        q = at.nonzero_probabilities
        bits += sum(_marker_bits(q[i : i + at.bucket_size], code) for i in range(0, q.size, at.bucket_size))
    return bits


def sparse_bits_at(at: LevelPositions, code: Code = "omega", *, restart: int | None = None) -> float:
    """Return E|Code_s| in bits of a vector that is already placed between levels, without end marks.

    Parameters
    ----------
    at : LevelPositions
    code : {"gamma", "delta", "omega"}
    restart : int, optional
        Gaps begin again after so many coordinates, such as the chunk of a message; by default with each
        bucket.
    """
    values, gaps = value_counts(at, plus=0), gap_counts(at, restart=restart)
    # One bit a non-zero; zeros have no sign.
    signs = float(at.nonzero_probabilities.sum())
    return NORM_BITS * at.norms.size + signs + coded_bits(values, code) + coded_bits(gaps, code)


def _marker_bits(q: Floats, code: Code) -> float:
    return float(end_gap_probabilities(q) @ code_length(np.arange(1, q.size + 2), code))


def sparse_bits_bound_for(
    gradient: ArrayLike,
    num_levels: int,
    *,
    norm: Norm = "l2",
    bucket_size: int | None = None,
    code: Code = "omega",
) -> float:
    """Return the bound (C1) on E|Code_s| from the mean non-zeros and squared levels of this vector, in bits.

    Parameters as in `exact_sparse_bits`; without end marks.
    """
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    counts = at.bucket_sums(at.nonzero_probabilities)
    # E level^2 = x^2 + p (1 - p).
    squares = at.bucket_sums(at.positions**2 + at.bernoulli_variances)
    bits = _perspective(at.bucket_lengths, counts, squares, code, values_are_one=num_levels == 1)
    return float((NORM_BITS + bits).sum())


def worst_case_sparse_bits(num_coordinates: int, num_levels: int, *, code: Code = "omega") -> float:
    """Return the bound (C2) on E|Code_s| for every vector of one bucket under the l2 norm, in bits.

    (C1) at the largest second moment, maximised over the number of non-zeros up to min(n, s sqrt(n)). Not
    the least bound: no one vector has both at their largest.

    Parameters
    ----------
    num_coordinates : int
        n >= 1, of one bucket.
    num_levels : int
        s >= 1.
    code : {"gamma", "delta", "omega"}
    """
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    squares = s**2 * (1 + float(worst_case_variance_l2(n, s)))
    most = min(float(n), s * np.sqrt(n))
    return NORM_BITS + most_sparse_bits(n, most, squares, code, values_are_one=s == 1)


@representable()
def most_sparse_bits(n: float, most: float, squares: float, code: Code, *, values_are_one: bool) -> float:
    """Return the expression of (C1) without norms, at its largest over at most `most` non-zeros among n.

    Parameters
    ----------
    n : float
        Coordinates, at least 1.
    most : float
        The largest number of non-zeros, in (0, n].
    squares : float
        The sum of the squared levels, at least 0.
    code : {"gamma", "delta", "omega"}
    values_are_one : bool
        Whether every non-zero level is 1.
    """
    n = number("n", n, least=1)
    most, squares = number("most", most, above=0, most=n), number("squares", squares, least=0)
    choice("code", code, CODE_NAMES)

    def bits(count: float) -> float:
        return float(_perspective(n, count, squares, code, values_are_one=values_are_one))

    # Concave in the count: the maximum is inside, or at the largest count.
    inside = optimize.minimize_scalar(
        lambda count: -bits(count), bounds=(most * 1e-9, most), method="bounded"
    )
    return max(bits(most), -float(inside.fun))


def _perspective(
    n: ArrayLike, counts: ArrayLike, squares: ArrayLike, code: Code, *, values_are_one: bool
) -> Floats:
    """Return N [1 + Phi(log2(n / N)) + Phi(log2(S / N) / 2)], 0 at N = 0."""
    N = np.asarray(counts, dtype=np.float64)
    # N log(1 / N) is 0 at N = 0; the quotients there must only be finite.
    safe = np.where(N > 0, N, 1.0)
    gaps = length_envelope(np.log2(np.maximum(np.asarray(n) / safe, 1)), code)
    values = length_envelope(0.5 * np.log2(np.maximum(np.asarray(squares) / safe, 1)), code)
    return np.asarray(N * (1 + gaps + (1.0 if values_are_one else values)))


def closed_form_sparse_bits(num_coordinates: int, num_levels: int) -> float:
    r"""Return the closed form (C2') of `worst_case_sparse_bits` for omega, in bits: 15/4 for 3/2 + o(1).

    .. math:: 32 + x [3 + 2.5 \log_2 (n / x) + 1.25 \log_2 (S^* / x)]

    at its maximum over x <= min(n, s sqrt(n)), from the line (W1) in the place of the envelope. This is
    what can be proved for all n by that line. Parameters as in `worst_case_sparse_bits`.
    """
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    most = min(n, s * np.sqrt(n))
    squares = s**2 * (1 + float(worst_case_variance_l2(n, s)))
    # Where the derivative in x is zero; beyond `most` the expression still rises there.
    best = 2 ** ((3 - 3.75 / np.log(2) + 2.5 * np.log2(n) + 1.25 * np.log2(squares)) / 3.75)
    x = min(most, best)
    return float(NORM_BITS + x * (3 + 2.5 * np.log2(n / x) + 1.25 * np.log2(squares / x)))


def ternary_sparse_bits(num_coordinates: int) -> float:
    """Return 32 + sqrt(n) (log2 n + 5) bits, a bound (C3) on E|Code_1| with omega for every vector.

    QSGD's corollary sqrt(n) (log n + O(1)) with its constant. Levels are then all 1.

    Raises
    ------
    ValueError
        If n < 4.
    """
    n = whole("num_coordinates", num_coordinates, least=4)
    return float(NORM_BITS + np.sqrt(n) * (np.log2(n) + 5))


@representable()
def paper_sparse_bits(num_coordinates: int, num_levels: int, *, little_o: float = 0.0) -> float:
    r"""Return QSGD, Theorem 3.2, with a number in the place of its o(1), in bits.

    .. math:: \Bigl(3 + (\tfrac32 + o(1)) \log_2 \frac{2 (s^2 + n)}{s (s + \sqrt n)}\Bigr)
              s (s + \sqrt n) + 32

    With o(1) = 0 no vector was found to exceed it (the constant vector has 0.959 of it at n = 2^19,
    s = 4), but it is then an observation, not a theorem. Parameters as in `worst_case_sparse_bits`;
    `little_o` is at least 0.
    """
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    little_o = number("little_o", little_o, least=0)
    count = s * (s + np.sqrt(n))
    return float((3 + (1.5 + little_o) * np.log2(2 * (s**2 + n) / count)) * count + NORM_BITS)
