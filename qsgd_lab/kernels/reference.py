"""The quantizer in plain NumPy: slow, short, sharing no code with the kernels whose every bit it predicts.

Read this file to learn what the kernels do; call it with ``backend="reference"``.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_LOW = np.uint64(0xFFFFFFFF)


def philox_words(
    count: int, seed: int, node: int, step: int, tensor: int, version: int = 1
) -> NDArray[np.uint32]:
    """Return the random words of the first `count` coordinates of a tensor, shape (count,)."""
    groups = -(-count // 512)
    blocks_of_group = 128 if version == 1 else 64
    c0 = np.arange(blocks_of_group * groups, dtype=np.uint64)
    c1, c2, c3 = (np.full_like(c0, value) for value in (step, tensor, node))
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product_0, product_1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0 = (product_1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0)
        c2 = (product_0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c1, c3 = product_1 & _LOW, product_0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    # Word w of block 128 g + j belongs to coordinate 512 g + 128 w + j. In version 2, word w of block
    # 64 g + j belongs to coordinate 512 g + 64 w + j and, rotated by 16 bits, to the one 256 further on.
    blocks = np.stack([c0, c1, c2, c3]).astype(np.uint32).reshape(4, groups, blocks_of_group)
    if version == 2:
        blocks = np.concatenate([blocks, (blocks << np.uint32(16)) | (blocks >> np.uint32(16))])
    return blocks.transpose(1, 0, 2).reshape(-1)[:count]


def tree_sum(terms: NDArray[np.float64]) -> float:
    """Return the sum of float64 terms in the kernels' order: 512-blocks, 32 lanes, halving, and so on up."""
    # Padding with zeros changes no sum, and gives every block the same shape.
    while True:
        blocks = max(1, -(-terms.size // 512))
        padded = np.zeros(512 * blocks)
        padded[: terms.size] = terms
        rows = padded.reshape(blocks, 16, 32)
        lanes = rows[:, 0].copy()
        for row in range(1, 16):
            lanes += rows[:, row]
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
        terms = lanes[:, 0]
        if blocks == 1:
            return float(terms[0])


def norm_of(bucket: NDArray[np.float32], norm: str) -> np.float32:
    """Return the float32 norm of one bucket as it is stored."""
    if not np.isfinite(bucket).all():
        return np.float32(np.nan)
    wide = bucket.astype(np.float64)
    exact = np.abs(wide).max(initial=0.0) if norm == "max" else np.sqrt(tree_sum(wide * wide))
    return np.float32(min(exact, float(np.finfo(np.float32).max)))


def quantize(
    x: NDArray[np.float32],
    bucket_offsets: NDArray[np.int64],
    tensor_offsets: NDArray[np.int64],
    norm: str,
    rounding: str,
    num_levels: int,
    seed: int,
    node: int,
    step: int,
    tensor: int,
    version: int = 1,
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Return (levels, norms) of flat float32 coordinates.

    Parameters
    ----------
    x : float32, shape (n,)
    bucket_offsets, tensor_offsets : int64, shapes (B + 1,) and (T + 1,)
        Boundaries, from 0 to n. Tensor t draws its words from stream ``tensor + t``.
    norm : {"l2", "max"}
    rounding : {"stochastic", "nearest"}
    num_levels : int
        s, 1 to 32767.
    seed, node, step, tensor, version : int
        The stream, and the version of its words.
    """
    fraction = min(24, 31 - num_levels.bit_length())  # so that s 2^F stays below 2^31
    words = [
        philox_words(int(size), seed, node, step, (tensor + t) & 0xFFFFFFFF, version)
        for t, size in enumerate(np.diff(tensor_offsets))
    ]
    word = np.concatenate([*words, np.empty(0, np.uint32)])
    if rounding == "nearest":
        word = np.full(x.size, 0x80000000, np.uint32)  # one half: a fraction of at least that rounds up
    dither = word.astype(np.uint64) >> np.uint64(32 - fraction)
    top = np.float32(num_levels * 2.0**fraction)
    levels = np.zeros(x.size, np.int16)
    norms = np.zeros(bucket_offsets.size - 1, np.float32)
    for b, (low, high) in enumerate(pairwise(bucket_offsets)):
        norms[b] = norm_of(x[low:high], norm)
        if norms[b] == 0 or np.isnan(norms[b]):
            continue
        factor = np.float32(2.0**96) if norms[b] < 2.0**-64 else np.float32(1)
        scale = top / (norms[b] * factor)
        if norms[b] * factor * scale < top:
            scale *= np.float32(1 + 2.0**-23)  # so that a coordinate that attains the norm gets level s
        fixed = ((np.abs(x[low:high]) * factor) * scale).astype(np.uint64)
        magnitude = np.minimum((fixed + dither[low:high]) >> np.uint64(fraction), np.uint64(num_levels))
        levels[low:high] = np.where(x[low:high] < 0, -1, 1) * magnitude.astype(np.int16)
    return levels, norms


def dequantize(
    levels: NDArray[np.signedinteger],
    norms: NDArray[np.float32],
    bucket_offsets: NDArray[np.int64],
    num_levels: int,
) -> NDArray[np.float32]:
    """Return the float32 values of levels, shape (n,)."""
    steps = np.repeat(norms.astype(np.float64) / num_levels, np.diff(bucket_offsets))
    return (levels * steps).astype(np.float32)
