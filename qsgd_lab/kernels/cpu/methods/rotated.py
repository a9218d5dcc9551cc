"""Vectors in rotated blocks: compressed, decoded, or averaged over nodes in one pass, on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.arguments import RotationStreams
from qsgd_lab.kernels.cpu.methods.hadamard import SIGNS
from qsgd_lab.kernels.cpu.methods.rotated_block import compress_block, decode_block, open_signs
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP


class RotationScratch(NamedTuple):
    """Scratch for blocks of r coordinates.

    Attributes
    ----------
    y, chosen : float32, shape (r,)
        The rotated block, and the magnitudes of its centroids.
    limits : float32, shape (128,)
        Between the centroids.
    lanes, sums : float64
        Of sums in the order of `cpu.norms`.
    lows, highs : float32, shape (32,)
    words : uint32
        Random words of whole groups.
    planes : uint32, shape (2, 4, r / 128)
        The signs of each round.
    """

    y: NDArray[np.float32]
    chosen: NDArray[np.float32]
    limits: NDArray[np.float32]
    lanes: NDArray[np.float64]
    sums: NDArray[np.float64]
    lows: NDArray[np.float32]
    highs: NDArray[np.float32]
    words: NDArray[np.uint32]
    planes: NDArray[np.uint32]


@njit(cache=True, fastmath=False, nogil=True)
def compress(x, block, place, scheme, streams, scratch, scales, offsets, codes):
    """Compress a vector whose first coordinate is number `place`, in blocks of `block`."""
    done = 0
    for b in range(scales.size):
        low, high = b * block, min(x.size, (b + 1) * block)
        size = block if high - low == block else codes.size - done
        own = codes[done : done + size]
        scales[b], offsets[b] = compress_block(x[low:high], place + low, scheme, streams, scratch, own)
        done += size


@njit(cache=True, fastmath=False, nogil=True)
def decompress(codes, scales, offsets, block, place, rounds, table, streams, scratch, out):
    """Write the values of a compressed vector."""
    y, planes = scratch.y, scratch.planes
    done = 0
    for b in range(scales.size):
        low, high = b * block, min(out.size, (b + 1) * block)
        size = block if high - low == block else codes.size - done
        values = y[:size]
        open_signs(planes, place + low, size, rounds, streams)
        own = codes[done : done + size]
        decode_block(own, scales[b], offsets[b], rounds, table, planes, values)
        out[low:high] = values[: high - low]
        done += size


@njit(cache=True, fastmath=False, nogil=True)
def average(gradients, residuals, block, scheme, table, streams, scratch, codes, total):
    """Write the mean of what N nodes send, block by block, and keep what they did not send.

    Parameters
    ----------
    gradients, residuals : float32, shape (N, n)
        One of them may be empty. Residuals are added to gradients, and overwritten.
    codes : int8, shape (block,)
    total : float32, shape (n,)
    """
    nodes = max(gradients.shape[0], residuals.shape[0])
    y, planes = scratch.y, scratch.planes
    for low in range(0, total.size, block):
        high = min(total.size, low + block)
        size = 1
        while size < high - low:
            size *= 2
        part = unowned_view(total[low:high])
        part[:] = np.float32(0.0)
        for node in range(nodes):
            x = unowned_view(
                gradients[node, low:high] if residuals.shape[0] == 0 else residuals[node, low:high]
            )
            if residuals.shape[0] and gradients.shape[0]:
                addend = unowned_view(gradients[node, low:high])
                for j in range(x.size):
                    x[j] += addend[j]
            own_node = np.uint32(streams.node + np.uint32(node))
            own = RotationStreams(streams.keys, streams.step, streams.tensor, own_node)
            scale, offset = compress_block(x, low, scheme, own, scratch, codes[:size])
            decode_block(codes[:size], scale, offset, scheme.num_rounds, table, planes, y[:size])
            for j in range(x.size):
                part[j] += y[j]
            if residuals.shape[0]:
                for j in range(x.size):
                    x[j] -= y[j]
        if nodes > 1:
            for j in range(part.size):
                part[j] /= np.float32(nodes)


def open_scratch(block_size: int) -> RotationScratch:
    """Return scratch for blocks of at most `block_size` coordinates, a power of two."""
    length, words = max(block_size, 128), -(-block_size // GROUP) * GROUP + GROUP
    return RotationScratch(
        np.empty(length, np.float32),
        np.empty(length, np.float32),
        np.empty(128, np.float32),
        np.empty(LANES, np.float64),
        np.empty(-(-length // BLOCK), np.float64),
        np.empty(LANES, np.float32),
        np.empty(LANES, np.float32),
        np.empty(words, np.uint32),
        np.empty((2, 4, length // SIGNS), np.uint32),
    )
