"""The headline of the theory's page: statement in the paper, what is true, worst vector, measured.

Each row measures: quantizations by the real kernels, messages really encoded, runs on the test problems.
Nothing depends on time or on the machine, so that the page can be held against this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from qsgd_lab.theory.checks.code_length import CodeLengthCheck, check_code_length
from qsgd_lab.theory.checks.convergence import check_qsvrg, check_sgd
from qsgd_lab.theory.checks.measurement import QuantizerSetting, lab_quantizer
from qsgd_lab.theory.checks.problems import LinearModel, least_squares, ridge_regression
from qsgd_lab.theory.checks.quantization import QuantizationCheck, check_quantization
from qsgd_lab.theory.code_length import paper_sparse_bits, ternary_sparse_bits
from qsgd_lab.theory.entropy import universal_prior_bits
from qsgd_lab.theory.sparsity import paper_nonzeros_bound, printed_count_theorem_3_4, worst_case_nonzeros
from qsgd_lab.theory.universal_table import universal_coder_bits
from qsgd_lab.theory.variance import (
    paper_variance_bound,
    worst_case_variance_l2,
    worst_case_variance_max,
    worst_case_vector,
)

HEADER = ("statement in the paper", "what is true", "worst vector", "measured")


class HeadlineRow(NamedTuple):
    """One theorem, in Markdown; see `HEADER`."""

    statement: str
    truth: str
    worst: str
    measured: str


def _setting(s: int, n: int, norm: str = "l2") -> QuantizerSetting:
    """Return s levels and one bucket."""
    return QuantizerSetting(s.bit_length(), n, norm, levels=s)  # type: ignore[arg-type]


def _quantized(s: int, n: int, norm: str = "l2", vector: np.ndarray | None = None) -> QuantizationCheck:
    # The worst vector shows whether the bound is attained, which an average one cannot.
    worst = worst_case_vector(n, s, norm=norm) if vector is None else vector  # type: ignore[arg-type]
    return check_quantization(worst, _setting(s, n, norm))


def _messages(s: int, n: int, layout: str) -> CodeLengthCheck:
    return check_code_length(np.ones(n), _setting(s, n), "omega", layout)


def variance_row() -> HeadlineRow:
    """Return the row of Lemma 3.1 (ii)."""
    n, s = 4096, 64
    check = _quantized(s, n)
    bounds = float(paper_variance_bound(n, s)), float(worst_case_variance_l2(n, s))
    return HeadlineRow(
        "Lemma 3.1: variance at most min(n/s², √n/s) ‖v‖²",
        "Holds. Least: √n/s − 1 for s ≤ √n/2; above, n/(4s²) less up to 1/(4s⁴) (n ≥ 3): "
        "at s = √n a quarter, not 1",
        f"positions ½ and 3/2; n = {n}, s = {s}",
        f"{check.relative_variance:.4f}; paper {bounds[0]:g}, least {bounds[1]:g}",
    )


def max_norm_row() -> HeadlineRow:
    """Return the row of the max norm of the experiments."""
    n, s = 512, 7
    check = _quantized(s, n, "max")
    return HeadlineRow(
        "Max norm: used in the experiments, no bound stated",
        "Least: ½(√(1 + (n−1)/s²) − 1)",
        f"one maximum, the rest equal; n = {n}, s = {s}",
        f"{check.relative_variance:.3f}; least {float(worst_case_variance_max(n, s)):.3f}",
    )


def nonzeros_row() -> HeadlineRow:
    """Return the row of Lemma 3.1 (iii)."""
    n, s = 10_000, 8
    check = _quantized(s, n, vector=np.ones(n))
    return HeadlineRow(
        "Lemma 3.1: at most s(s + √n) non-zeros",
        "Holds. Least: min(n, s√n)",
        f"constant; n = 10⁴, s = {s}",
        f"{check.nonzeros:.0f}; paper {paper_nonzeros_bound(n, s):g}, least {worst_case_nonzeros(n, s):g}",
    )


def printed_count_row() -> HeadlineRow:
    """Return the row of the count in the bit formula of Theorem 3.4."""
    n, s = 10_000, 8
    check = _quantized(s, n, vector=np.ones(n))
    return HeadlineRow(
        "Theorem 3.4, bit formula: s² + √n in the place of that count",
        "As a count of non-zeros it does not hold; s(s + √n) is meant",
        f"constant; n = 10⁴, s = {s}",
        f"{check.nonzeros:.0f} non-zeros against {float(printed_count_theorem_3_4(n, s)):g}",
    )


def elias_row() -> HeadlineRow:
    """Return the row of the length of recursive coding."""
    # Imported here: only this row needs the coder.
    from qsgd_lab.coding.elias import codeword

    lengths = {k: len(codeword(k, "omega")) for k in (16, 65536)}
    return HeadlineRow(
        "Section 3.2: recursive coding takes log k + log log k + … + 1 bits",
        "A bit more a stage; at most 1 + 2.5 log k for every k",
        "k = 16; k = 65536",
        f"{lengths[16]} and {lengths[65536]} bits; as worded 8 and 24",
    )


def sparse_row() -> HeadlineRow:
    """Return the row of Theorem 3.2."""
    n, s = 2**19, 4
    check = _messages(s, n, "sparse")
    # Padding is a cost of the container; the theorem is about code words.
    share = (check.bits_measured - check.bits_padding) / paper_sparse_bits(n, s)
    proved = (check.bits_measured - check.bits_padding) / check.bound_explicit
    return HeadlineRow(
        "Theorem 3.2: (3 + (3/2 + o(1)) log …) s(s + √n) + 32 bits",
        "With o(1) = 0 never seen to fail; proved with 15/4 for 3/2 + o(1), or by C2",
        f"constant; n = 2¹⁹, s = {s}",
        f"{share:.3f} of the formula with o(1) = 0, {proved:.3f} of C2",
    )


def ternary_row() -> HeadlineRow:
    """Return the row of the corollary for s = 1."""
    n = 2**16
    check = _messages(1, n, "sparse")
    share = (check.bits_measured - check.bits_padding) / ternary_sparse_bits(n)
    return HeadlineRow(
        "Corollary, s = 1: √n (log n + O(1)) bits",
        "32 + √n (log n + 5) from n = 4 on",
        "constant; n = 2¹⁶",
        f"{share:.2f} of it",
    )


def dense_row() -> HeadlineRow:
    """Return the row of Corollary 3.3."""
    n, s = 2**16, 2**8
    check = _messages(s, n, "dense")
    universal = (universal_prior_bits(n, s) - 34) / n
    coded = (universal_coder_bits(n, s) - 544) / n  # a norm and sixteen states of 32 bits
    return HeadlineRow(
        "Corollary 3.3: 2.8 n + 32 bits at s = √n",
        f"With a sign of non-zeros and ω(level + 1): 4 n + 32. An arithmetic code: {universal:.2f} n + 34; "
        f"with integers and states: {coded:.2f} n + 544",
        "constant; n = 2¹⁶, s = 2⁸",
        f"{(check.bits_measured - 32) / n:g} n + 32 bits",
    )


def total_variance_row() -> HeadlineRow:
    """Return the row of the variance in Theorems 3.2 and 3.4."""
    problem, s = ridge_regression(), 1000
    n, start = problem.num_coordinates, np.zeros(problem.num_coordinates)
    gradients = problem.term_gradients(start, np.arange(problem.num_terms))
    # Many levels, so that almost all that is left is the gradient's own noise.
    decoded = lab_quantizer(gradients.astype(np.float32).reshape(-1), _setting(s, n), 0)
    spread = _mean_square(decoded.reshape(gradients.shape) - problem.gradient(start))
    added = float(paper_variance_bound(n, s)) * _mean_square(gradients)
    return HeadlineRow(
        "Theorems 3.2, 3.4: B′ = min(n/s², √n/s) B is the variance of Q(g)",
        "It is what quantization adds; in all σ² + ωB",
        f"many levels: ridge regression, s = {s}",
        f"{spread:.2f} against B′ = {added:.0e}",
    )


def _mean_square(rows: np.ndarray) -> float:
    return float((rows.astype(np.float64) ** 2).sum(axis=1).mean())


def parallel_step_row() -> HeadlineRow:
    """Return the row of the step for K workers."""
    problem, workers, steps = least_squares(), 16, 1000
    printed, corrected = (_sgd(problem, workers, steps, printed=flag) for flag in (True, False))
    return HeadlineRow(
        "Theorem 2.1 with K workers: step 1/(L + √K/γ)",
        "1/(L + 1/(√K γ)); the bound is that of this step",
        f"least squares, K = {workers}, T = {steps}",
        f"gap {printed[0]:.3f} against a bound of {printed[1]:.3f}; corrected {corrected[0]:.4f}",
    )


def _sgd(problem: LinearModel, workers: int, steps: int, *, printed: bool) -> tuple[float, float]:
    check = check_sgd(problem, levels=None, workers=workers, steps=steps, printed_step=printed)
    return check.gap, check.bound


def qsvrg_row() -> HeadlineRow:
    """Return the row of Theorem 3.6."""
    first, second = check_qsvrg(ridge_regression(), workers=1, epochs=2)
    assert first.bits_bound is not None and first.bits_bound_paper is not None
    return HeadlineRow(
        "Theorem 3.6: the gap times 0.9 an epoch, (F + 2.8 n)(T + 1) + F n bits",
        "0.875 with step 1/(12.5 L) and T = 25 L/l; bits with 4 n",
        f"ridge regression, n = 36, T = {first.steps}",
        f"times {second.gap / first.gap:.2f}; {first.bits:.0f} bits, paper {first.bits_bound_paper:.0f}, "
        f"proved {first.bits_bound:.0f}",
    )


#: In the order of the paper.
ROWS: tuple[Callable[[], HeadlineRow], ...] = (
    variance_row,
    nonzeros_row,
    max_norm_row,
    elias_row,
    sparse_row,
    ternary_row,
    dense_row,
    total_variance_row,
    printed_count_row,
    parallel_step_row,
    qsvrg_row,
)


def headline() -> str:
    """Return the table as Markdown, measured again."""
    lines = [HEADER, ("---",) * len(HEADER), *(row() for row in ROWS)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
