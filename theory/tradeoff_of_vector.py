"""The trade-off of bits and variance for a given vector: exact values, no sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import nonzero_vector, numbers, whole
from qsgd_lab.theory.arrays import Floats, split_scale
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.dense_code_length import fixed_width_bits
from qsgd_lab.theory.elias import CODE_NAMES, coded_bits
from qsgd_lab.theory.entropy import entropy_bits, level_probabilities_at, mean_level_probabilities
from qsgd_lab.theory.expected_counts import gap_counts, value_counts
from qsgd_lab.theory.hyper_sphere import hsq_bits_per_coordinate
from qsgd_lab.theory.level_positions import LevelPositions, bucket_kinds, bucket_lengths, level_positions
from qsgd_lab.theory.other_compressors import (
    nuqsgd_level_shares,
    nuqsgd_variance,
    scaled_rand_k_variance,
    scaled_sign_error,
    terngrad_variance,
    top_k_error,
)
from qsgd_lab.theory.tradeoff import (
    MOST_BITS,
    NUQSGD_EXPONENTS,
    SEGMENT_SIZES,
    TradeoffRow,
    kept_counts,
    log2_binomial,
)
from qsgd_lab.theory.variance import squared_norm


def tradeoff_of(
    gradient: ArrayLike, bits: Sequence[int], bucket_size: int, *, seed: int = 0
) -> list[TradeoffRow]:
    """Return every quantizer's exact variance and bits on a vector.

    Parameters
    ----------
    gradient : array_like
        n >= 1 coordinates, finite, not all zero.
    bits : sequence of int
        b of QSGD and of rounding to nearest, each from 1 to 20; s = 2^b - 1.
    bucket_size : int
        d >= 1, for QSGD, nearest, NUQSGD and scaled sign; the others have no buckets.
    seed : int
        Of HSQ's rotation, at least 0.

    Returns
    -------
    list of TradeoffRow
        By method; in each, from few bits to many.

    Raises
    ------
    ValueError
        If the vector is empty, zero or not finite, or another argument is out of its range.
    """
    # Every figure is relative, so that a scale within the range of squares serves as well as the vector's.
    vector, _ = split_scale(nonzero_vector("gradient", gradient))
    bits = [int(b) for b in numbers("bits", bits, least=1, most=MOST_BITS, is_whole=True).reshape(-1)]
    seed, size = whole("seed", seed, least=0), min(whole("bucket_size", bucket_size), vector.size)
    rows: list[TradeoffRow] = []
    for norm in NORMS:
        rows += [_qsgd(vector, b, norm, size) for b in bits]
    for norm in NORMS:
        rows += [_nearest(vector, b, norm, size) for b in bits]
    rows += [_nuqsgd(vector, s, size) for s in NUQSGD_EXPONENTS]
    rows += [_terngrad(vector), _scaled_sign(vector, size)]
    rows += [row for family in (_rand_k, _top_k) for row in family(vector)]
    rows += list(_hsq(vector, seed))
    return rows


def _relative(vector: Floats, error: float) -> float:
    return error / squared_norm(vector)


def _qsgd(vector: Floats, b: int, norm: Norm, size: int) -> TradeoffRow:
    at = level_positions(vector, 2**b - 1, norm=norm, bucket_size=size)
    error = float(at.steps**2 @ at.bernoulli_variances)
    return TradeoffRow(
        f"QSGD, {norm}", f"s = {at.num_levels}", False, _relative(vector, error), _bits(vector, at)
    )


def _nearest(vector: Floats, b: int, norm: Norm, size: int) -> TradeoffRow:
    at = level_positions(vector, 2**b - 1, norm=norm, bucket_size=size)
    # The codes see levels, so nearest rounding is a law without chance.
    rounded = at.rounded()
    error = float(at.steps**2 @ (at.positions - rounded.positions) ** 2)
    return TradeoffRow(
        f"nearest, {norm}", f"s = {at.num_levels}", True, _relative(vector, error), _bits(vector, rounded)
    )


def _bits(vector: Floats, at: LevelPositions) -> dict[str, float]:
    """Return the expected bits a coordinate under every code."""
    n, d = vector.size, at.bucket_size
    # One pass over the vector serves all codes: lengths depend on powers of two alone.
    values, shifted, gaps = value_counts(at, plus=0), value_counts(at, plus=1), gap_counts(at)
    signs, norms = float(at.nonzero_probabilities.sum()) / n, _norm_bits(n, d)
    bits = {"fixed": fixed_width_bits(n, at.num_levels.bit_length(), bucket_size=d) / n}
    for code in CODE_NAMES:
        bits[f"{code}_dense"] = norms + signs + coded_bits(shifted, code) / n
    for code in CODE_NAMES:
        bits[f"{code}_sparse"] = norms + signs + (coded_bits(values, code) + coded_bits(gaps, code)) / n
    bits["ideal"] = norms + entropy_bits(level_probabilities_at(at, np.signbit(vector)))
    return bits


def _norm_bits(n: int, size: int) -> float:
    return NORM_BITS * float(bucket_kinds(n, size)[1].sum()) / n


def _nuqsgd(vector: Floats, exponents: int, size: int) -> TradeoffRow:
    n = vector.size
    buckets = [vector[start : start + size] for start in range(0, n, size)]
    variance = sum(nuqsgd_variance(bucket, exponents) for bucket in buckets)
    # A short last bucket counts for less in the mean law of levels.
    weights = bucket_lengths(n, size) / n
    shares = np.array([nuqsgd_level_shares(bucket, exponents) for bucket in buckets])
    bits = {
        "fixed": 1 + int(exponents + 1).bit_length() + _norm_bits(n, size),
        "ideal": entropy_bits(weights @ shares) + _norm_bits(n, size),
    }
    return TradeoffRow("NUQSGD", f"to 2^-{exponents}", False, _relative(vector, float(variance)), bits)


def _terngrad(vector: Floats) -> TradeoffRow:
    """TernGrad without clipping: the max norm of the whole vector."""
    n = vector.size
    bits = {
        "fixed": 2 + NORM_BITS / n,
        "ideal": entropy_bits(mean_level_probabilities(vector, 1, norm="max")) + NORM_BITS / n,
    }
    return TradeoffRow("TernGrad", "one norm", False, _relative(vector, terngrad_variance(vector)), bits)


def _scaled_sign(vector: Floats, size: int) -> TradeoffRow:
    error = sum(scaled_sign_error(vector[i : i + size]) for i in range(0, vector.size, size))
    bits = {"fixed": 1 + _norm_bits(vector.size, size)}
    return TradeoffRow("scaled sign", f"d = {size}", True, _relative(vector, error), bits)


def _top_k(vector: Floats) -> Iterator[TradeoffRow]:
    """Top-k in float32, with log2 of n over k for the positions: the least that any code of them takes."""
    return _sparsified("top-k", vector, top_k_error, biased=True, with_positions=True)


def _rand_k(vector: Floats) -> Iterator[TradeoffRow]:
    """Scaled rand-k in float32; the positions come from a seed that both sides know."""
    return _sparsified("rand-k", vector, scaled_rand_k_variance, biased=False, with_positions=False)


def _sparsified(
    method: str,
    vector: Floats,
    error: Callable[[Floats, int], float],
    *,
    biased: bool,
    with_positions: bool,
) -> Iterator[TradeoffRow]:
    n = vector.size
    for k in kept_counts(n):
        # Without a shared seed the receiver must be told which coordinates were kept.
        positions = log2_binomial(n, k) if with_positions else 0.0
        bits = {"fixed": (32 * k + positions) / n}
        yield TradeoffRow(method, f"k = n/{n / k:g}", biased, _relative(vector, error(vector, k)), bits)


def _hsq(vector: Floats, seed: int) -> Iterator[TradeoffRow]:
    """HSQ with an orthogonal codebook: one of d directions and a float32 length a segment."""
    for d in SEGMENT_SIZES:
        if d > vector.size:
            continue
        segments = np.pad(vector, (0, -vector.size % d)).reshape(-1, d)
        # An orthogonal codebook is the tightest frame of d columns; its inverse is its transpose.
        rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
        variance = float((np.abs(segments @ rotation).sum(axis=1) ** 2).sum()) - squared_norm(vector)
        bits = {"fixed": hsq_bits_per_coordinate(d, d, NORM_BITS)}
        yield TradeoffRow("HSQ", f"d = {d}", False, _relative(vector, variance), bits)
