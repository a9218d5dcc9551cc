"""The trade-off of bits and variance for every vector: bounds, not the figures of one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import numbers, whole
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.elias import CODE_NAMES
from qsgd_lab.theory.entropy import discrete_gaussian_bits
from qsgd_lab.theory.every_vector_bits import dense_bits_for_every_vector, sparse_bits_for_every_vector
from qsgd_lab.theory.hyper_sphere import hsq_bits_per_coordinate
from qsgd_lab.theory.nearest import worst_case_nearest_error
from qsgd_lab.theory.other_compressors import nuqsgd_variance_bound
from qsgd_lab.theory.tradeoff import (
    MOST_BITS,
    NUQSGD_EXPONENTS,
    SEGMENT_SIZES,
    TradeoffRow,
    kept_counts,
    log2_binomial,
)
from qsgd_lab.theory.variance import worst_case_variance, worst_case_variance_l2, worst_case_variance_max


def tradeoff_of_every_vector(
    num_coordinates: int, bits: Sequence[int], bucket_size: int
) -> list[TradeoffRow]:
    """Return every quantizer's bounds on variance and on bits, over all vectors.

    The errors are suprema, NUQSGD's apart, which is an upper bound; so are the bits of the Elias codes.

    Parameters
    ----------
    num_coordinates : int
        n >= 1.
    bits : sequence of int
        b, each from 1 to 20; s = 2^b - 1.
    bucket_size : int
        d >= 1; n is taken as a multiple of it.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    n, d = whole("num_coordinates", num_coordinates), whole("bucket_size", bucket_size)
    bits = [int(b) for b in numbers("bits", bits, least=1, most=MOST_BITS, is_whole=True).reshape(-1)]
    d = min(d, n)
    # Bits and errors are relative, so one bucket says all.
    rows = [_qsgd(d, b, norm) for norm in NORMS for b in bits]
    rows += [_nearest(d, b, norm) for norm in NORMS for b in bits]
    rows += [_nuqsgd(d, s) for s in NUQSGD_EXPONENTS]
    # TernGrad is max-norm QSGD at s = 1 with the whole vector for a bucket.
    terngrad = float(worst_case_variance_max(n, 1))
    rows.append(TradeoffRow("TernGrad", "one norm", False, terngrad, {"fixed": 2 + NORM_BITS / n}))
    rows.append(TradeoffRow("scaled sign", f"d = {d}", True, 1 - 1 / d, {"fixed": 1 + NORM_BITS / d}))
    rows += [_rand_k(n, k) for k in kept_counts(n)] + [_top_k(n, k) for k in kept_counts(n)]
    return rows + [_hsq(size) for size in SEGMENT_SIZES if size <= n]


def _elias(d: int, s: int, norm: Norm, rounding: str) -> dict[str, float]:
    bounds: dict[str, Callable[..., float]] = {
        "dense": dense_bits_for_every_vector,
        "sparse": sparse_bits_for_every_vector,
    }
    return {
        f"{code}_{layout}": bound(d, s, norm=norm, rounding=rounding, code=code) / d
        for layout, bound in bounds.items()
        for code in CODE_NAMES
    }


def _qsgd(d: int, b: int, norm: Norm) -> TradeoffRow:
    s, norms = 2**b - 1, NORM_BITS / d
    bits = {"fixed": b + 1 + norms, **_elias(d, s, norm, "stochastic")}
    # Under the max norm all levels may be as likely, and no prior helps.
    bits["ideal"] = norms + (_universal(d, s) if norm == "l2" else float(np.log2(2 * s + 1)))
    error = float(worst_case_variance(d, s, norm=norm))
    return TradeoffRow(f"QSGD, {norm}", f"s = {s}", False, error, bits)


def _universal(d: int, s: int) -> float:
    """Return the bits of a fixed discrete Gaussian for levels (D3), a coordinate."""
    return discrete_gaussian_bits(s**2 * (1 + float(worst_case_variance_l2(d, s))) / d)


def _nearest(d: int, b: int, norm: Norm) -> TradeoffRow:
    s = 2**b - 1
    bits = {"fixed": b + 1 + NORM_BITS / d, **_elias(d, s, norm, "nearest")}
    error = float(worst_case_nearest_error(d, s, norm=norm))
    return TradeoffRow(f"nearest, {norm}", f"s = {s}", True, error, bits)


def _nuqsgd(d: int, exponents: int) -> TradeoffRow:
    bits = {"fixed": 1 + int(exponents + 1).bit_length() + NORM_BITS / d}
    bound = float(nuqsgd_variance_bound(d, exponents))
    return TradeoffRow("NUQSGD", f"to 2^-{exponents}", False, bound, bits)


def _rand_k(n: int, k: int) -> TradeoffRow:
    return TradeoffRow("rand-k", f"k = n/{n / k:g}", False, n / k - 1, {"fixed": 32 * k / n})


def _top_k(n: int, k: int) -> TradeoffRow:
    bits = {"fixed": (32 * k + log2_binomial(n, k)) / n}
    return TradeoffRow("top-k", f"k = n/{n / k:g}", True, 1 - k / n, bits)


def _hsq(d: int) -> TradeoffRow:
    bits = {"fixed": hsq_bits_per_coordinate(d, d, NORM_BITS)}
    return TradeoffRow("HSQ", f"d = {d}", False, d - 1.0, bits)
