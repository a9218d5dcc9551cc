"""Rounding of whole gradients to sets of levels: scales, codes and values, by either backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import NORMS
from qsgd_lab.partition import Partition
from qsgd_lab.stream import Stream

Floats = NDArray[np.float32]


def scales_by_norm(x: Floats, parts: Partition, norm: str, backend: str) -> Floats:
    """Return the norm of every bucket as it is stored, float32, shape (B,)."""
    if backend == "reference":
        from qsgd_lab.kernels import level_set_reference

        return level_set_reference.bucket_norms(x, parts.bucket_offsets, norm)
    from qsgd_lab.kernels.cpu.methods import level_sets

    norms = np.empty(parts.num_buckets, np.float32)
    level_sets.bucket_norms(x, x.view(np.int32), parts.bucket_offsets, NORMS.index(norm), norms)
    return norms


def sums_by_sign(x: Floats, parts: Partition, backend: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return float64 sums of a bucket's coordinates below 0 and of the others, and their numbers, (B, 2).

    Where a coordinate is NaN or infinite, so is one of the sums.
    """
    if backend == "reference":
        from qsgd_lab.kernels import level_set_reference

        return level_set_reference.sign_sums(x, parts.bucket_offsets)
    from qsgd_lab.kernels.cpu.methods import level_sets

    sums, counts = np.zeros((parts.num_buckets, 2)), np.zeros((parts.num_buckets, 2), np.int64)
    level_sets.sign_sums(x, parts.bucket_offsets, sums, counts)
    return sums, counts


def bits_by_sign(x: Floats, parts: Partition, is_dead: NDArray[np.bool_], backend: str) -> NDArray[np.bool_]:
    """Return whether each coordinate is not below 0; False throughout a dead bucket (one flag each)."""
    if backend == "reference":
        from qsgd_lab.kernels import level_set_reference

        return level_set_reference.sign_bits(x, parts.bucket_offsets, is_dead)
    from qsgd_lab.kernels.cpu.methods import level_sets

    bits = np.empty(x.size, bool)
    level_sets.sign_bits(x, parts.bucket_offsets, is_dead, bits)
    return bits


def round_to_levels(
    x: Floats, parts: Partition, stream: Stream, scales: Floats, grid: int, num_levels: int, backend: str
) -> NDArray[np.int16]:
    """Return the code of each coordinate by random rounding, shape (n,); see `qsgd_lab.kernels.level_sets`.

    Parameters
    ----------
    x : float32, shape (n,)
    parts : Partition
        Coordinate i of tensor t draws word i of the stream of ``stream.tensor + t``.
    stream : Stream
    scales : float32, shape (B,)
        Larger magnitudes count as the scale.
    grid : int
        One of the sets of levels.
    num_levels : int
        s.
    backend : {"auto", "cpu", "reference"}
    """
    if backend == "reference":
        from qsgd_lab.kernels import level_set_reference

        words = level_set_reference.random_words(parts.tensor_offsets, *stream)
        each = np.repeat(scales, np.diff(parts.bucket_offsets))
        return level_set_reference.round_to_levels(x, words, each, grid, num_levels)
    from qsgd_lab.kernels.arguments import StreamKey
    from qsgd_lab.kernels.cpu.methods import level_sets

    codes = np.empty(x.size, np.int16)
    level_sets.round_to_levels(
        x,
        x.view(np.int32),
        parts.bucket_offsets,
        parts.tensor_offsets,
        StreamKey(*stream.kernel_key()),
        scales,
        grid,
        num_levels,
        codes,
    )
    return codes
