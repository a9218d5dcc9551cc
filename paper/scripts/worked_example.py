"""The worked example: one small vector quantized, coded and sent, step by step, by the library itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

import qsgd_lab as ql
from qsgd_lab.coding.elias import codeword
from qsgd_lab.kernels.reference import philox_words
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.level_positions import level_positions

#: Its l2 norm is 1 up to the rounding of float32.
VECTOR = np.array([0.6, -0.3, 0.1, 0.0, -0.7, 0.2, 0.0, -0.1], np.float32)
BITS = 2
SEED = 4
CODE = "omega"


@dataclass(frozen=True)
class Example:
    """What became of the vector.

    Attributes
    ----------
    positions, words : float64, shape (n,)
        x_i = s |v_i| / norm, and u_i in [0, 1), the random word of a coordinate over 2**32.
    levels, nearest : int array, shape (n,)
        Signed levels under stochastic and nearest rounding.
    values : float32, shape (n,)
        What the stochastic levels stand for.
    codewords : tuple of str
        The dense layout's bits of each coordinate, sign included.
    norm : float
    num_levels : int
        s.
    bits : dict of str to int
        Payload bits by layout: ``fixed``, ``dense``, ``sparse``; the norm's are apart.
    """

    positions: np.ndarray
    words: np.ndarray
    levels: np.ndarray
    nearest: np.ndarray
    values: np.ndarray
    codewords: tuple[str, ...]
    norm: float
    num_levels: int
    bits: dict[str, int]


@cache
def worked_example() -> Example:
    """Quantize and encode the vector, and check that what the table shows is what the message holds."""
    quantized = ql.quantize(VECTOR, BITS, norm="l2", seed=SEED)
    nearest = ql.quantize(VECTOR, BITS, norm="l2", rounding="nearest")
    positions = level_positions(VECTOR, quantized.num_levels).positions
    words = philox_words(VECTOR.size, SEED, 0, 0, 0) / 2**32
    spelled = {layout: _symbols(quantized.levels.tolist(), layout) for layout in ("dense", "sparse")}
    for layout, symbols in spelled.items():
        _must_be_sent(quantized, layout, "".join(symbols))
    rounded = np.floor(positions + words).astype(np.int64) * np.where(np.signbit(VECTOR), -1, 1)
    if not np.array_equal(rounded, quantized.levels):
        raise AssertionError("the table's rule for rounding is not what the quantizer did")
    return Example(
        positions=positions,
        words=words,
        levels=quantized.levels,
        nearest=nearest.levels,
        values=ql.dequantize(quantized),
        codewords=tuple(spelled["dense"]),
        norm=float(quantized.norms[0]),
        num_levels=quantized.num_levels,
        bits={
            "fixed": VECTOR.size * (BITS + 1),
            **{layout: len("".join(symbols)) for layout, symbols in spelled.items()},
        },
    )


def _symbols(levels: list[int], layout: str) -> list[str]:
    """Return the bits of each coordinate, in the order in which they are sent."""
    signs = ["1" if level < 0 else "0" if level else "" for level in levels]
    if layout == "dense":
        return [codeword(abs(level) + 1, CODE) + sign for level, sign in zip(levels, signs, strict=True)]
    symbols, previous = [], -1
    for i, level in enumerate(levels):
        symbols.append(codeword(i - previous, CODE) + signs[i] + codeword(abs(level), CODE) if level else "")
        previous = i if level else previous
    return symbols


def _must_be_sent(quantized: ql.QuantizedGradient, layout: str, expected: str) -> None:
    """Check that the payload of the real message is these bits, and zeros up to whole words."""
    frame = ql.open_message(ql.encode(quantized, CODE, layout))
    payload = frame.payload[: frame.sizes.payload]
    sent = "".join(map(str, np.unpackbits(payload, bitorder="little")))
    if not sent.startswith(expected) or "1" in sent[len(expected) :] or len(sent) - len(expected) >= 32:
        raise AssertionError(f"the {layout} message holds other bits than the example spells out")


def example_table() -> str:
    """Return the example as a LaTeX float."""
    example = worked_example()
    rows = [
        " & ".join(
            [
                str(i + 1),
                f"{VECTOR[i]:g}",
                f"{example.positions[i]:.2f}",
                f"{example.words[i]:.2f}",
                str(example.levels[i]),
                f"{example.values[i]:.3f}",
                f"{VECTOR[i] - example.values[i]:.3f}",
                rf"{{\ttfamily {example.codewords[i]}}}",
                str(example.nearest[i]),
            ]
        )
        + r" \\"
        for i in range(VECTOR.size)
    ]
    sums = (
        rf"\multicolumn{{7}}{{@{{}}l}}{{Payload, with {NORM_BITS} bits of norm apart}} & "
        rf"{example.bits['dense']} bits & \\"
    )
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{A vector of $n = {VECTOR.size}$ coordinates quantized with "
            rf"$s = {example.num_levels}$ and "
            r"coded with Elias's omega code in the dense layout.}",
            r"\label{tab:example}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{0pt}",
            r"\begin{tabular*}{\columnwidth}{@{\extracolsep{\fill}}c S[table-format=-1.1] "
            r"S[table-format=1.2] S[table-format=1.2] S[table-format=-1.0] S[table-format=-1.3] "
            r"S[table-format=-1.3] l S[table-format=-1.0]@{}}",
            r"\toprule",
            r"& & & & \multicolumn{4}{c}{Stochastic} & {Nearest} \\",
            r"\cmidrule(lr){5-8} \cmidrule(l){9-9}",
            r"$i$ & {$v_i$} & {$x_i$} & {$u_i$} & {$\pm\zeta_i$} & {$Q_s(v)_i$} & {$e_i$} & sent "
            r"& {$\pm\zeta_i$} \\",
            r"\midrule",
            *rows,
            r"\midrule",
            sums,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table}",
            "",
        ]
    )
