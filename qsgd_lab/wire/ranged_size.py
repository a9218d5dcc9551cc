"""Sizes of whole messages of layout `ranged`, exact by coding, or estimated from counts of bytes."""

from __future__ import annotations

from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.wire import message, ranged
from qsgd_lab.wire.kind import Lengths
from qsgd_lab.wire.kinds.levels import KIND, Levels, choose_code
from qsgd_lab.wire.ranged_choice import estimated_bytes

#: Coordinates below which coding a message takes less time than it would be worth to avoid it.
SHORT = 1 << 16


def exact_bits(quantized: QuantizedGradient, effort: int = 0) -> int:
    """Return the bits of the message of a gradient in host memory, which is coded for that."""
    return message.size(Levels.of(quantized, "ranged", effort))


def can_estimate(quantized: QuantizedGradient) -> bool:
    """Whether `estimated_bits` does without coding: not of short messages, nor of levels beyond 127."""
    return quantized.levels.size >= SHORT and quantized.num_levels <= 127


def estimated_bits(quantized: QuantizedGradient, effort: int = 0) -> int:
    """Return about the bits of the message, without coding it where `can_estimate` says so.

    Parameters
    ----------
    quantized : QuantizedGradient
        In host memory.
    effort : {0, 1, 2}
        As of `qsgd_lab.encode`.

    Notes
    -----
    Within about a byte a chunk (`qsgd_lab.wire.ranged_choice.estimated_bytes`): 0.05 % of `exact_bits` from
    2^20 coordinates on, unless almost all levels are 0.
    """
    if not can_estimate(quantized):
        return exact_bits(quantized, effort)
    plain = Levels.of(quantized, "fixed")
    options, structure = KIND.options(plain), KIND.structure(plain)
    known = KIND.lengths(plain, options, structure)
    around = message.size(plain) // 8 - known.total
    code = choose_code(quantized, effort)
    # Tables and lengths of chunks are a part of the estimate, whichever section holds them.
    coded = round(estimated_bytes(code, quantized.levels.reshape(-1), quantized.num_levels))
    return 8 * (around + Lengths(known.side, coded, ranged.TAIL_BYTES).total)
