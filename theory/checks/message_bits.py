"""Real messages of one vector, many times over: their length, and whether every chunk is right.

The bits of a chunk are counted again from its levels, with the lengths of `qsgd_lab.theory.elias`, which
share nothing with the coder. A message pads each chunk to whole words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arguments import choice, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.dense_code_length import dense_level_bits
from qsgd_lab.theory.elias import Code, code_length

FIXED, DENSE, DENSE_SIGNED, SPARSE = "fixed", "dense", "dense-signed", "sparse"
LAYOUTS = (FIXED, DENSE, DENSE_SIGNED, SPARSE)

#: The coordinates that a message codes together; gaps begin again with each chunk.
CHUNK = 4096
WORD_BITS = 32


@dataclass(frozen=True)
class MessageBits:
    """Bits of T messages.

    Attributes
    ----------
    sent : ndarray of float64, shape (T,)
        Norms and payload, as they are in the message.
    padding : ndarray of float64, shape (T,)
        How much of that only fills up words.
    wrong_chunks : int
        Chunks of all messages whose number of words is not that of their code words.
    """

    sent: Floats
    padding: Floats
    wrong_chunks: int


def measure_messages(
    vector: NDArray[np.float32], setting: QuantizerSetting, code: Code, layout: str, trials: int
) -> MessageBits:
    """Quantize and encode a vector `trials` times, with independent random words.

    Parameters
    ----------
    vector : ndarray of float32, shape (n,)
    setting : QuantizerSetting
    code : {"gamma", "delta", "omega"}
        Of no consequence to the fixed layout.
    layout : {"fixed", "dense", "dense-signed", "sparse"}
    trials : int
        T >= 1.
    """
    trials = whole("trials", trials)
    sent, padding, wrong = np.empty(trials), np.empty(trials), 0
    for trial in range(trials):
        levels, frame = _encode(vector, setting, code, layout, trial)
        counted = chunk_bits(levels, setting.num_levels, code, layout)
        # The directory's count is what a decoder trusts, so it is what is checked.
        words = frame.index.directory.num_words
        wrong += int((words != -(-counted // WORD_BITS)).sum())
        sent[trial] = 8 * (frame.sizes.norms + frame.sizes.payload)
        padding[trial] = 8 * frame.sizes.payload - int(counted.sum())
    return MessageBits(sent, padding, wrong)


def _encode(
    vector: NDArray[np.float32], setting: QuantizerSetting, code: Code, layout: str, trial: int
) -> tuple[NDArray[Any], Any]:
    from qsgd_lab.coding.encode import encode
    from qsgd_lab.coding.message import open_message
    from qsgd_lab.quantization import quantize

    quantized = quantize(
        vector,
        levels=setting.num_levels,
        bucket_size=setting.bucket_size,
        norm=setting.norm,
        rounding=setting.rounding,
        seed=setting.seed,
        step=trial,
        backend=setting.backend,
    )
    message = encode(quantized, code, layout, chunk_size=CHUNK, backend=setting.backend)
    return quantized.levels, open_message(message)


def chunk_bits(levels: NDArray[Any], num_levels: int, code: Code, layout: str) -> NDArray[np.int64]:
    """Return the bits of the code words of each chunk, shape (C,), counted from signed levels, shape (n,)."""
    choice("layout", layout, LAYOUTS)
    num_levels = whole("num_levels", num_levels)
    magnitudes = np.abs(levels)
    starts = np.arange(0, levels.size, CHUNK)
    if layout == SPARSE:
        return _sparse_chunk_bits(magnitudes, num_levels, code)
    if layout == FIXED:
        lengths = np.diff(np.append(starts, levels.size))
        return np.asarray(lengths * (num_levels.bit_length() + 1), dtype=np.int64)
    sign = "always" if layout == DENSE_SIGNED else "nonzero"
    table = dense_level_bits(num_levels, code, sign).astype(np.uint8)  # type: ignore[arg-type]
    return np.add.reduceat(table[magnitudes], starts, dtype=np.int64)


def _sparse_chunk_bits(magnitudes: NDArray[Any], num_levels: int, code: Code) -> NDArray[np.int64]:
    places = np.flatnonzero(magnitudes)
    chunks = places // CHUNK
    # Position -1 of its chunk comes before the first non-zero of each.
    previous = np.concatenate(([-1], places[:-1]))
    # The first gap of a chunk counts from the position before the chunk.
    gaps = places - np.maximum(previous, chunks * CHUNK - 1)
    bits = code_length(np.arange(1, CHUNK + 1), code)[gaps - 1]
    bits += code_length(np.arange(1, num_levels + 1), code)[magnitudes[places] - 1] + 1
    return np.bincount(chunks, bits, minlength=-(-magnitudes.size // CHUNK)).astype(np.int64)
