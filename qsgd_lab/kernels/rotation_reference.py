"""Rotated blocks in plain NumPy: slow, short, sharing no code with the kernels, whose bits it predicts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels import rotation
from qsgd_lab.kernels.reference import philox_words, tree_sum

Floats = NDArray[np.float32]


def signs(
    first: int, count: int, key: tuple[int, int], step: int, tensor: int, node: int
) -> NDArray[np.int8]:
    """Return the signs of positions first..first+count-1, +1 or -1, shape (count,)."""
    begin = first // 128
    blocks = (first + count - 1) // 128 - begin + 1
    # Words in the order of their blocks: the stream of a tensor has them in groups of 128 blocks.
    groups = -(-(begin + blocks) // 128)
    words = philox_words(512 * groups, key[0] | key[1] << 32, node, step, tensor)
    ordered = words.reshape(groups, 4, 128).transpose(0, 2, 1).reshape(-1)
    bits = np.unpackbits(ordered[4 * begin : 4 * (begin + blocks)].view(np.uint8), bitorder="little")
    chosen = bits[first - 128 * begin :][:count].astype(np.int8)
    return np.int8(1) - 2 * chosen


def transform(y: Floats) -> Floats:
    """Return the Hadamard transform of a block, not normalised, in the order of the kernels."""
    h = 1
    while h < y.size:
        pairs = y.reshape(-1, 2, h)
        y = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        h *= 2
    return y


def compress_block(
    x: Floats, rows: list[NDArray[np.int8]], kind: int, bits: int, words: NDArray[np.uint32]
) -> tuple[NDArray[np.int8], np.float32, np.float32]:
    """Return (codes, scale, offset) of a block; `rows` are the signs of each round, `words` for rounding."""
    size = rows[0].size
    codes = np.zeros(size, np.int8)
    wide = x.astype(np.float64)
    total = tree_sum(wide * wide)
    if not 0 < total < math.inf:
        dead = np.float32(0 if total == 0 else np.nan)
        return codes, dead, dead
    root, power = math.sqrt(total), 1.0
    if not rotation.SMALLEST_ROOT <= root <= rotation.LARGEST_ROOT:
        power = math.ldexp(1.0, -math.frexp(root)[1])
    y = np.zeros(size, np.float32)
    y[: x.size] = wide * power
    for own in rows:
        y = transform(y * own.astype(np.float32))
    growth = float(size) ** len(rows)
    if kind == rotation.STOCHASTIC:
        codes, scale, offset = _stochastic(y, power, growth, bits, words)
    else:
        codes, scale = _nearest(y, total * power * power, power, growth, kind, bits)
        offset = np.float32(0)
    if scale == 0:
        return np.zeros(size, np.int8), scale, np.float32(0)
    return codes, scale, offset


def _nearest(
    y: Floats, total: float, power: float, growth: float, kind: int, bits: int
) -> tuple[NDArray[np.int8], np.float32]:
    book = rotation.book(bits)
    limits = (rotation.middles(bits) * math.sqrt(total * growth / y.size)).astype(np.float32)
    index = np.searchsorted(limits, np.abs(y), side="left")
    chosen = book[index].astype(np.float64)
    along = tree_sum(np.abs(y).astype(np.float64) * chosen)
    length = tree_sum(chosen * chosen)
    scale = {
        rotation.UNBIASED: total / along,
        rotation.LEAST_ERROR: along / (length * growth),
        rotation.MATCHED_NORM: math.sqrt(total / (length * growth)),
    }[kind]
    codes = np.where(y < 0, -1 - index, index).astype(np.int8)
    return codes, np.float32(min(scale / power, rotation.LARGEST_FLOAT))


def _stochastic(
    y: Floats, power: float, growth: float, bits: int, words: NDArray[np.uint32]
) -> tuple[NDArray[np.int8], np.float32, np.float32]:
    most, half = 2**bits - 1, 2 ** (bits - 1)
    low, high = float(y.min()), float(y.max())
    step = max((high - low) / (most - 1 / rotation.OFFSET_STEPS), max(abs(low), abs(high)) / 4096)
    step = step / growth / power
    stored = np.float32(min(max(step * (1 + 2.0**-22), step + 2.0**-149), rotation.LARGEST_FLOAT))
    inverse = 1 / (float(stored) * growth * power)
    bottom = math.floor(low * inverse * rotation.OFFSET_STEPS)
    fixed = np.floor(y.astype(np.float64) * (inverse * 2.0**32)).astype(np.int64) - (bottom << 22)
    level = (fixed >> 32) + (words[: y.size].astype(np.int64) < (fixed & 0xFFFFFFFF))
    codes = (np.clip(level, 0, most) - half).astype(np.int8)
    return codes, stored, np.float32((bottom + half * rotation.OFFSET_STEPS) / rotation.OFFSET_STEPS)


def decode_block(
    codes: NDArray[np.int8],
    scale: np.float32,
    offset: np.float32,
    rows: list[NDArray[np.int8]],
    bits: int | None,
) -> Floats:
    """Return the values of a block, padding included; `bits` of the centroids, None for offset + code."""
    if not scale > 0:
        return np.full(codes.size, scale, np.float32)
    if bits is None:
        y = offset + codes.astype(np.float32)
    else:
        y = rotation.table(bits)[codes.astype(np.int64) + 2 ** (bits - 1)]
    for own in reversed(rows):
        y = transform(y) * own.astype(np.float32)
    with np.errstate(over="ignore"):
        values: Floats = y * scale
    return values


def compress(
    x: Floats, block: int, rounds: int, kind: int, bits: int, place: int, streams: tuple
) -> tuple[NDArray[np.int8], Floats, Floats]:
    """Return (codes, scales, offsets) of a vector whose first coordinate is number `place`.

    `streams` is (keys of both rounds' signs and of rounding, step, tensor, node), as kernels take it.
    """
    found = []
    for low in range(0, x.size, block):
        part = x[low : low + block]
        size = 1 << (part.size - 1).bit_length()
        keys, *rest = streams
        words = philox_words(place + low + size, int(keys[2][0]) | int(keys[2][1]) << 32, *_ordered(rest))
        rows = _rows(place + low, size, rounds, streams)
        found.append(compress_block(part, rows, kind, bits, words[place + low :]))
    codes = np.concatenate([np.empty(0, np.int8), *(own for own, _, _ in found)])
    scales, offsets = (np.array([own[i] for own in found], np.float32) for i in (1, 2))
    return codes, scales, offsets


def decompress(
    codes: NDArray[np.int8],
    scales: Floats,
    offsets: Floats,
    num_coordinates: int,
    block: int,
    rounds: int,
    bits: int | None,
    place: int,
    streams: tuple,
) -> Floats:
    """Return the values of a compressed vector."""
    values = np.empty(num_coordinates, np.float32)
    done = 0
    for b, low in enumerate(range(0, num_coordinates, block)):
        count = min(block, num_coordinates - low)
        size = 1 << (count - 1).bit_length()
        rows = _rows(place + low, size, rounds, streams)
        own = decode_block(codes[done : done + size], scales[b], offsets[b], rows, bits)
        values[low : low + count] = own[:count]
        done += size
    return values


def _rows(first: int, size: int, rounds: int, streams: tuple) -> list[NDArray[np.int8]]:
    keys, step, tensor, node = streams
    pairs = [(int(low), int(high)) for low, high in keys[:rounds]]
    return [signs(first, size, pair, int(step), int(tensor), int(node)) for pair in pairs]


def _ordered(rest: list) -> tuple[int, int, int]:
    """Return (node, step, tensor), as `philox_words` takes them, of (step, tensor, node)."""
    step, tensor, node = map(int, rest)
    return node, step, tensor
