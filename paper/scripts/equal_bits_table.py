"""Every method at equal wire bits: the paper's table and figure, from what `qsgd-lab tradeoff` measured.

The measurement: qsgd-lab tradeoff --compressor all --format csv > paper/equal-bits.csv
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

from quantizer_table import significant

from qsgd_lab.cli.measure.equal_bits import SOURCES, read_rows
from qsgd_lab.cli.measure.equal_bits_plot import plot_bytes
from qsgd_lab.theory.checks.equal_bits import EqualBitsRow, compare_at_equal_bits, variance_at

MEASURED = Path(__file__).resolve().parent.parent / "equal-bits.csv"
#: Bits a coordinate of the columns; EDEN's fixed widths, with its scales and envelope.
AT_BITS = (1.02, 2.02, 4.02)
NAMES = {
    "qsgd": r"QSGD, $\ell_2$",
    "qsgd, max": "QSGD, max norm",
    "eden": "EDEN",
    "rotated-stochastic": "Rotated, stochastic",
    "top-k": r"Top-$k$\textsuperscript{b}",
    "rand-k": r"Rand-$k$",
    "grbs": r"Random block\textsuperscript{b}",
    "hsq": "HSQ, random",
    "hsq, greedy": r"HSQ, greedy\textsuperscript{b}",
    "powersgd": r"PowerSGD\textsuperscript{b}",
    "qsgd-shared": "QSGD, shared scale",
}


@cache
def measured_rows() -> list[EqualBitsRow]:
    """Return the committed rows."""
    return read_rows(MEASURED)


def ratio_to_eden(source: str, bits: int) -> float:
    """Return QSGD's variance over EDEN's on a vector, at the bits of EDEN's messages of `bits` bits."""
    found = [one for one in compare_at_equal_bits(measured_rows()) if one.source == source]
    (ratio,) = [one.ratio for one in found if int(one.bits) == bits]
    return ratio


def equal_bits_table() -> str:
    """Return the variances at equal bits as a LaTeX float."""
    rows, width = measured_rows(), len(SOURCES) * len(AT_BITS)
    lines = []
    for method, name in NAMES.items():
        cells = [
            variance_at([row for row in rows if (row.method, row.source) == (method, source)], bits)
            for source in SOURCES
            for bits in AT_BITS
        ]
        shown = ["--" if cell is None else significant(cell) for cell in cells]
        lines.append(" & ".join([name, *shown]) + r" \\")
    bound = [significant(1 / (4**bits - 1)) for bits in AT_BITS]
    lines += [
        r"\midrule",
        " & ".join(["Bound, normal vectors", *bound, *["--"] * (width - len(bound))]) + r" \\",
    ]
    heads = " & ".join(rf"\multicolumn{{{len(AT_BITS)}}}{{c}}{{{source.capitalize()}}}" for source in SOURCES)
    ends = [2 + len(AT_BITS) * i for i in range(len(SOURCES) + 1)]
    rules = "".join(rf"\cmidrule(lr){{{a}-{b - 1}}}" for a, b in pairwise(ends))
    return "\n".join(
        [
            r"\begin{table*}[tbp]",
            r"\centering",
            r"\caption{Relative variance at equal bits a coordinate, whole messages counted, interpolated "
            r"between a method's settings. Outputs are scaled until their mean along the vector is the "
            r"vector, so that biased methods (b), which need error feedback, are comparable with unbiased "
            r"ones; EDEN is unbiased in the limit of large blocks. Dashes: no setting.}",
            r"\label{tab:equalbits}",
            r"\footnotesize",
            rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}l{' r' * width}@{{}}}}",
            r"\toprule",
            rf"& {heads} \\",
            rules,
            " & ".join(["Method", *(f"{bits:g} bits" for _ in SOURCES for bits in AT_BITS)]) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table*}",
            "",
        ]
    )


def equal_bits_figure() -> bytes:
    """Return the figure, a panel a vector, as PDF."""
    return plot_bytes(measured_rows(), ".pdf")
