"""Hyper-sphere quantization: a codeword and a signed norm for each segment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.message_wire import MessageWire, is_whole
from qsgd_lab.compressors.protocol import Array, Stateless
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.kernels.rotation import LARGEST_FLOAT
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire.key import Key, Purpose, words
from qsgd_lab.wire.kinds.hsq import (
    MAX_FRAME_BITS,
    MAX_NORM_BITS,
    MAX_SEGMENT_BITS,
    HyperSphere,
    code_type,
    codebook_signs,
    norms_of,
)

MODES = ("random", "greedy")
_RANGE_BITS = 8  # 256 segments share the range of their norms


def _fixed_bits(payload: HyperSphere) -> int:
    """Return the bits of scales and codes alone."""
    ranges = 0 if payload.ranges is None else payload.ranges.size
    own = payload.codebook_bits + (payload.norm_bits or FLOAT_BITS)
    return int(payload.codes.size * own + FLOAT_BITS * ranges)


class HSQ(Stateless):
    """Sends of each segment of d coordinates a codeword c_j of K, and a signed norm u: u c_j is decoded.

    The codebook is a union of K/d rotations that the seed draws: a tight frame, of which no matrix is stored.
    At random, j is drawn in proportion to its coefficient |p_j|, and u = sign(p_j) |p|_1, which is unbiased.
    Greedy takes the codeword of the largest product, and projects: biased, and meant for error feedback.

    Parameters
    ----------
    segment : int
        d, a power of two from 2 to 1024. Segments are cut from the whole gradient; zeros fill the last one.
    codebook : int
        K, a power of two, at least d, with d K at most 2^20.
    mode : {"random", "greedy"}
    norm_bits : int
        0 for float32 norms; else norms are rounded at random to 2^norm_bits levels between the least and the
        largest of 256 segments.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Dai, Yan, Zhou, Yang, Ng, Liu: Hyper-sphere quantization. 2019.
    """

    wire = MessageWire("hsq", is_whole, _fixed_bits)

    def __init__(
        self, segment: int = 16, codebook: int = 256, mode: str = "random", norm_bits: int = 6
    ) -> None:
        if segment < 2 or segment & (segment - 1) or segment > 1 << MAX_SEGMENT_BITS:
            raise ValueError(f"segment is {segment}; it must be a power of two from 2 to 1024")
        most = (1 << MAX_FRAME_BITS) // segment
        if codebook & (codebook - 1) or not segment <= codebook <= most:
            raise ValueError(f"codebook is {codebook}; it must be a power of two from {segment} to {most}")
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
        if not 0 <= norm_bits <= MAX_NORM_BITS:
            raise ValueError(f"norm_bits is {norm_bits}; it must be from 0 to {MAX_NORM_BITS}")
        self.segment, self.codebook, self.mode, self.norm_bits = segment, codebook, mode, norm_bits
        self.needs_feedback = mode == "greedy"

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[HyperSphere, Any]:
        """Return (codewords and norms, state)."""
        from qsgd_lab.kernels.cpu.methods import hyper_sphere

        key = Key(**stream._asdict())
        segment_bits, codebook_bits = self.segment.bit_length() - 1, self.codebook.bit_length() - 1
        count = -(-gradient.size // self.segment)
        codes, exact = np.zeros(count, code_type(codebook_bits)), np.empty(count, np.float64)
        drawn = words(key, Purpose.ROUNDING, 2 * count)
        signs = codebook_signs(key.seed, codebook_bits)
        is_greedy = self.mode == "greedy"
        hyper_sphere.choose(
            gradient, self.segment, self.codebook, is_greedy, drawn[::2].copy(), *signs, codes, exact
        )
        norms = np.clip(exact, -LARGEST_FLOAT, LARGEST_FLOAT).astype(np.float32)
        codes[norms == 0] = 0  # of a segment so small that its norm rounds to 0
        norms[norms == 0] = 0
        norms[np.isnan(norms)] = np.nan  # messages have one NaN
        levels, ranges = _rounded(norms, self.norm_bits, drawn[1::2]) if self.norm_bits else (norms, None)
        sizes = (segment_bits, codebook_bits, self.norm_bits, _RANGE_BITS if self.norm_bits else 0)
        payload = HyperSphere(codes, levels, ranges, gradient.size, *sizes, key)
        if ranges is not None:
            rounded = norms_of(payload)
            codes[np.isnan(rounded) | (rounded == 0)] = 0  # messages have one codeword of such a segment
        return payload, state

    @property
    def is_unbiased(self) -> bool:
        """True at random."""
        return self.mode == "random"

    def variance_factor(self, num_coordinates: int) -> float:
        """Return a bound for every vector: d (1 + c) - 1 at random; greedy 1 - (1 - c)/d, or c from 1 on.

        c is what rounding norms adds, (m - 2) / (2 (2^b - 1)^2) for m segments that share a range and norms
        of b bits, 0 for float32 norms (derived in `qsgd_lab.theory.hyper_sphere`).
        """
        d, segments = self.segment, min(-(-num_coordinates // self.segment), 1 << _RANGE_BITS)
        if segments == 0:
            return 0.0
        added = max(segments - 2, 0) / (2 * (2**self.norm_bits - 1) ** 2) if self.norm_bits else 0.0
        if self.mode == "random":
            return d * (1 + added) - 1
        return max(added, 1 - (1 - added) / d)


def _rounded(
    norms: NDArray[np.float32], bits: int, drawn: NDArray[np.uint32]
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return (levels, ranges) of norms, rounded at random between the least and the largest of a range."""
    starts = np.arange(0, norms.size, 1 << _RANGE_BITS)
    ranges = np.empty((starts.size, 2), np.float32)
    if norms.size:  # a NaN makes both NaN
        ranges[:, 0], ranges[:, 1] = (reduce.reduceat(norms, starts) for reduce in (np.minimum, np.maximum))
    which = np.arange(norms.size) >> _RANGE_BITS
    low, high = ranges.astype(np.float64).T
    wide = (high - low)[which]
    live = wide > 0
    place = np.zeros(norms.size)
    place[live] = (norms[live] - low[which][live]) / wide[live] * (2**bits - 1)
    floor = np.floor(place)
    levels = floor + (drawn < (place - floor) * 2.0**32)
    return np.minimum(levels, 2**bits - 1).astype(np.uint16), ranges


def _label(options: Mapping[str, Any]) -> str:
    mode = "" if options["mode"] == "random" else f", {options['mode']}"
    norms = f", {options['norm_bits']} bit norms" if options["norm_bits"] else ""
    return f"HSQ {options['segment']}, {options['codebook']}{norms}{mode}"


METHOD = Method(
    "hsq",
    HSQ,
    (
        Option("segment", int, 16, "coordinates of a segment, d: a power of two from 2 to 1024"),
        Option("codebook", int, 256, "codewords, K: a power of two, at least d"),
        Option("mode", str, "random", "how a codeword is chosen", choices=MODES),
        Option("norm_bits", int, 6, "bits of a norm, 1 to 16, or 0 for float32"),
    ),
    _label,
    summary="a codeword and a signed norm for each segment; a tight frame of rotations as codebook",
    source="Dai et al., 2019",
    theory="qsgd_lab.theory.hyper_sphere",
    settings=tuple(f"hsq(segment={d},mode={mode})" for mode in MODES for d in (64, 32, 16, 8, 4)),
)
