"""QSGD's two configurations, the theorems' and the experiments', measured by the same code on one vector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

import qsgd_lab as ql
from qsgd_lab.theory.checks.distributions import draw
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.quantization import QuantizationCheck, check_quantization

#: With b = 8, s is then about sqrt(n), where QSGD's theorems promise the least bits.
NUM_COORDINATES = 2**16
BUCKET_SIZE = 512
BITS = (1, 2, 3, 4, 6, 8)
TRIALS = 8


@dataclass(frozen=True)
class Measured:
    """One quantizer on the vector.

    Attributes
    ----------
    check : QuantizationCheck
        Its measured variance, with the bounds.
    bits : float
        Bits a coordinate of norms and payload of a real message.
    """

    check: QuantizationCheck
    bits: float


@cache
def measured_rows() -> dict[int, tuple[Measured, Measured]]:
    """Return b -> (one bucket, l2 norm, the shortest Elias message; buckets, max norm, fixed width)."""
    vector = draw("normal", NUM_COORDINATES, seed=0, num_levels=1, norm="l2", bucket_size=NUM_COORDINATES)
    return {
        bits: (
            _measure(vector, QuantizerSetting(bits, NUM_COORDINATES, "l2"), "elias"),
            _measure(vector, QuantizerSetting(bits, BUCKET_SIZE, "max"), "fixed"),
        )
        for bits in BITS
    }


def _measure(vector: np.ndarray, setting: QuantizerSetting, coding: str) -> Measured:
    check = check_quantization(vector, setting, trials=TRIALS)
    if not check.passed:
        raise AssertionError(f"the quantizer does not pass its own check: {check.verdict}")
    quantized = ql.quantize(
        vector, setting.bits, bucket_size=setting.bucket_size, norm=setting.norm, seed=setting.seed
    )
    layouts = ("dense", "sparse") if coding == "elias" else ("fixed",)
    messages = [
        ql.encode(quantized, code, layout)
        for layout in layouts
        for code in (("gamma", "delta", "omega") if coding == "elias" else ("auto",))
    ]
    spent = min(message.sizes.norms + message.sizes.payload for message in messages)
    return Measured(check, 8 * spent / vector.size)


def quantizer_table() -> str:
    """Return the comparison as a LaTeX float."""
    rows = []
    for bits, (theorem, experiment) in measured_rows().items():
        cells = [str(bits), str(theorem.check.levels), f"{theorem.bits:.2f}"]
        cells += [significant(theorem.check.relative_variance), significant(theorem.check.bound_tight)]
        cells += [significant(theorem.check.bound_paper or np.nan), f"{experiment.bits:.2f}"]
        cells += [significant(experiment.check.relative_variance), significant(experiment.check.bound_tight)]
        rows.append(" & ".join(cells) + r" \\")
    return "\n".join(
        [
            r"\begin{table*}[tbp]",
            r"\centering",
            r"\caption{The theorems' configuration and the experiments', on "
            rf"$n = 2^{{{NUM_COORDINATES.bit_length() - 1}}}$ normal coordinates. Variances are relative to "
            r"$\norm{v}_2^2$; bits include norms.}",
            r"\label{tab:quantizers}",
            r"\footnotesize",
            r"\begin{tabular*}{\textwidth}{@{\extracolsep{\fill}}r r r r r r r r r@{}}",
            r"\toprule",
            r"& & \multicolumn{4}{c}{Euclidean norm, one bucket, shortest Elias message} "
            rf"& \multicolumn{{3}}{{c}}{{Max norm, buckets of {BUCKET_SIZE}, fixed width}} \\",
            r"\cmidrule(lr){3-6} \cmidrule(l){7-9}",
            r"$b$ & $s$ & Bits/coord. & Variance & Least bound & Published bound "
            r"& Bits/coord. & Variance & Least bound \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table*}",
            "",
        ]
    )


def significant(value: float) -> str:
    """Return three significant digits, in powers of ten where the number is small."""
    if not np.isfinite(value):
        return "--"
    if value >= 0.01:
        return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$"
