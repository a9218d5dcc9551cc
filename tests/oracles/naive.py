"""The quantizer and its random words coordinate by coordinate, in Python integers and floats.

Imports nothing from the package, so that it cannot share a mistake with it. Python floats are float64; where
the quantizer works in float32, `float32` rounds, and a float64 product or quotient of two float32 rounds to
the same float32 as the exact one does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from functools import cache

from naive_theory import WORDS

LOW = 2**32 - 1
FLOAT32_MAX = float(2**128 - 2**104)


def philox4x32(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the four words of Philox4x32-10."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c0, 2**32)
        high_1, low_1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


@cache
def block_words(block: int, seed: int, node: int, step: int, tensor: int) -> tuple[int, int, int, int]:
    """Return the words of one block of a stream."""
    return philox4x32((block, step, tensor, node), (seed & LOW, seed >> 32))


def coordinate_word(index: int, seed: int, node: int, step: int, tensor: int, version: int = 1) -> int:
    """Return the word of a coordinate: in groups of 512, block j serves j, j + 128, j + 256 and j + 384.

    In version 2, block j below 64 serves j, j + 64, j + 128 and j + 192, and by words whose halves are
    exchanged the coordinates 256 further on.
    """
    group, place = divmod(index, 512)
    if version == 2:
        which, j = divmod(place % 256, 64)
        word = block_words(64 * group + j, seed, node, step, tensor)[which]
        high, low = divmod(word, 2**16)
        return word if place < 256 else low * 2**16 + high
    which, j = divmod(place, 128)
    return block_words(128 * group + j, seed, node, step, tensor)[which]


def gradient_words(
    sizes: Sequence[int], seed: int, node: int, step: int, tensor: int, version: int = 1
) -> list[int]:
    """Return the words of a flat gradient made of tensors of these sizes, numbered from `tensor`."""
    return [
        coordinate_word(index, seed, node, step, (tensor + t) % 2**32, version)
        for t, size in enumerate(sizes)
        for index in range(size)
    ]


def float32(value: float) -> float:
    """Return the float32 nearest to a finite value."""
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return float(rounded)


def block_sum(terms: Sequence[float]) -> float:
    """Return the sum of at most 512 terms: 32 lanes in turn, then halving."""
    lanes = [0.0] * 32
    for i, term in enumerate(terms):
        lanes[i % 32] += term
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


def tree_sum(terms: Sequence[float]) -> float:
    """Return the sum of the sums of blocks of 512, and so on up."""
    while len(terms) > 512:
        terms = [block_sum(terms[i : i + 512]) for i in range(0, len(terms), 512)]
    return block_sum(terms)


def stored_norm(bucket: Sequence[float], norm: str) -> float:
    """Return the float32 norm that is sent for a bucket."""
    if not all(map(math.isfinite, bucket)):
        return math.nan
    exact = max(map(abs, bucket)) if norm == "max" else math.sqrt(tree_sum([v * v for v in bucket]))
    return float32(min(exact, FLOAT32_MAX))


def buckets(sizes: Sequence[int], bucket_size: int | str) -> list[range]:
    """Return the indices of each bucket of a flat gradient made of tensors of these sizes."""
    if bucket_size == "model":
        sizes, bucket_size = [sum(sizes)], "tensor"
    found, start = [], 0
    for size in sizes:
        width = max(size, 1) if isinstance(bucket_size, str) else bucket_size
        found += [range(i, min(i + width, start + size)) for i in range(start, start + size, width)]
        start += size
    return found


def level_of(value: float, norm: float, s: int, word: int) -> int:
    """Return the signed level of a coordinate: truncate to fixed point, add the word's top bits, truncate."""
    fraction = max(f for f in range(25) if s << f < 2**31)
    factor = 2.0**96 if norm < 2.0**-64 else 1.0
    scale = float32((s << fraction) / float32(norm * factor))
    if float32(float32(norm * factor) * scale) < s << fraction:
        scale = float32(scale * (1 + 2.0**-23))
    fixed = int(float32(float32(abs(value) * factor) * scale))
    magnitude = min((fixed + (word >> (32 - fraction))) >> fraction, s)
    return -magnitude if value < 0 else magnitude


def quantize(
    values: Sequence[float],
    s: int,
    *,
    sizes: Sequence[int],
    bucket_size: int | str,
    norm: str,
    rounding: str,
    stream: tuple[int, int, int, int],
    stream_version: int = 1,
) -> tuple[list[int], list[float]]:
    """Return (levels, norms) of a flat gradient; the stream is (seed, node, step, tensor)."""
    words = (
        gradient_words(sizes, *stream, stream_version) if rounding == "stochastic" else [2**31] * len(values)
    )
    levels, norms = [0] * len(values), []
    for bucket in buckets(sizes, bucket_size):
        norms.append(stored_norm([values[i] for i in bucket], norm))
        if norms[-1] > 0:  # neither zero nor NaN
            for i in bucket:
                levels[i] = level_of(values[i], norms[-1], s, words[i])
    return levels, norms


def dequantize(levels: Sequence[int], norms: Iterable[float], s: int, indices: list[range]) -> list[float]:
    """Return the float32 values of levels."""
    values = [0.0] * len(levels)
    for norm, bucket in zip(norms, indices, strict=True):
        for i in bucket:
            values[i] = math.nan if math.isnan(norm) else float32(levels[i] * (norm / s))
    return values


def dense_message(levels: Iterable[int], num_norms: int, code: str) -> str:
    """Return a dense Elias message as bits: norms, then for each level its word and a sign unless it is 0."""
    words = [WORDS[code](abs(level) + 1) + ("" if level == 0 else "01"[level < 0]) for level in levels]
    return "n" * 32 * num_norms + "".join(words)


def fixed_message(levels: Iterable[int], num_norms: int, s: int) -> str:
    """Return a fixed-width message as bits: norms, then for each level a sign and as many digits as s has."""
    digits = len(f"{s:b}")
    return "n" * 32 * num_norms + "".join("01"[level < 0] + f"{abs(level):0{digits}b}" for level in levels)
