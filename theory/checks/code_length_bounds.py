"""Bounds on the length of a message: proved for every vector, the paper's, and the least of all."""

from __future__ import annotations

import numpy as np

from qsgd_lab.theory.arguments import choice, whole
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.message_bits import DENSE_SIGNED, FIXED, LAYOUTS, SPARSE
from qsgd_lab.theory.code_length import paper_sparse_bits
from qsgd_lab.theory.dense_code_length import fixed_width_bits, recalled_dense_lemma
from qsgd_lab.theory.elias import CODE_NAMES, Code
from qsgd_lab.theory.every_vector_bits import dense_bits_for_every_vector, sparse_bits_for_every_vector
from qsgd_lab.theory.level_positions import bucket_kinds
from qsgd_lab.theory.lower_bound import contraction_bits
from qsgd_lab.theory.nearest import worst_case_nearest_error
from qsgd_lab.theory.variance import worst_case_variance


def explicit_bound(n: int, setting: QuantizerSetting, code: Code, layout: str) -> float:
    """Return bits that are proved to suffice in expectation for every vector of n coordinates."""
    choice("layout", layout, LAYOUTS)
    choice("code", code, CODE_NAMES)
    s, d = setting.num_levels, setting.bucket_size
    # Nothing is left to chance: the bound is the length.
    if layout == FIXED:
        return float(fixed_width_bits(n, s.bit_length(), bucket_size=d))
    if layout == SPARSE:
        return sparse_bits_for_every_vector(
            n, s, bucket_size=d, norm=setting.norm, rounding=setting.rounding, code=code
        )
    return dense_bits_for_every_vector(
        n,
        s,
        bucket_size=d,
        norm=setting.norm,
        rounding=setting.rounding,
        code=code,
        sign="always" if layout == DENSE_SIGNED else "nonzero",
    )


def paper_bound(n: int, setting: QuantizerSetting, code: Code, layout: str) -> float | None:
    """Return the paper's bound with o(1) = 0, added up over the buckets; None where it states none.

    Theorem 3.2 for the sparse layout, the lemma behind Corollary 3.3 (recalled) for the dense ones: for
    stochastic rounding, the l2 norm and the omega code.
    """
    choice("layout", layout, LAYOUTS)
    choice("code", code, CODE_NAMES)
    n = whole("n", n)
    if (setting.rounding, setting.norm, code) != ("stochastic", "l2", "omega") or layout == FIXED:
        return None
    bound = paper_sparse_bits if layout == SPARSE else recalled_dense_lemma
    lengths, counts = bucket_kinds(n, setting.bucket_size)
    # The theorem is about one bucket; lengths of buckets add up.
    values = [bound(int(d), setting.num_levels) for d in lengths]
    return float(counts @ np.array(values))


def least_bits(n: int, setting: QuantizerSetting) -> float | None:
    """Return the rate-distortion bound at the quantizer's worst-case error; None if that is zero."""
    n = whole("n", n)
    d, s = min(setting.bucket_size, n), setting.num_levels
    if setting.rounding == "nearest":
        error = float(worst_case_nearest_error(d, s, norm=setting.norm))
    else:
        # An unbiased quantizer is compared after the best scaling, which is a contraction.
        omega = float(worst_case_variance(d, s, norm=setting.norm))
        error = omega / (1 + omega)
    return n * abs(float(contraction_bits(error))) if error > 0 else None
