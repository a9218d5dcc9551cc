"""NUQSGD and natural compression: random rounding to levels that are powers of two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qsgd_lab.arrays import check_backend
from qsgd_lab.compressors.level_sets import round_to_levels, scales_by_norm
from qsgd_lab.compressors.message_wire import MessageWire
from qsgd_lab.compressors.methods.rand_k import check_choice
from qsgd_lab.compressors.protocol import Array, Compressor, Layout
from qsgd_lab.compressors.registry import BucketSize, Method, Option
from qsgd_lab.levels import FLOAT_BITS, NORMS, magnitude_bits
from qsgd_lab.partition import Partition, partition
from qsgd_lab.quantization import level_dtype
from qsgd_lab.stream import Stream
from qsgd_lab.wire.checks import writing
from qsgd_lab.wire.kinds.exponential import ExponentialLevels
from qsgd_lab.wire.kinds.levels import bucket_fields
from qsgd_lab.wire.kinds.natural import NOT_A_NUMBER, Powers

CONVENTIONS = ("with-zero", "published")


class NUQSGD(Compressor):
    """Rounds to 0 and powers of two of a bucket's norm: fine near 0, where most coordinates are.

    Parameters
    ----------
    bits : int
        b, 1 to 8.
    convention : {"with-zero", "published"}
        With zero: 0 and s = 2^b - 1 levels 2^(1-s), ..., 1/2, 1 of either sign; b + 1 bits a coordinate.
        Published: the code of the authors has 2^b levels in all, s = 2^(b-1) of either sign and no zero, so
        that b bits suffice, and small coordinates are thrown to either side.
    norm : {"l2", "max"}
    bucket_size : int, "tensor" or "model"
    backend : {"auto", "cpu", "reference"}

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh, Roy: NUQSGD. JMLR 2021.
    """

    is_unbiased = True

    def __init__(
        self,
        bits: int = 3,
        convention: str = "with-zero",
        norm: str = "l2",
        bucket_size: int | str = 512,
        backend: str = "auto",
    ) -> None:
        if not 1 <= bits <= 8:
            raise ValueError(f"bits is {bits}; it must be from 1 to 8")
        check_choice("convention", convention, CONVENTIONS)
        check_choice("norm", norm, NORMS)
        check_backend(backend)
        with writing():  # a bad bucket size is refused here, not at the first gradient
            bucket_fields(partition(0, bucket_size))
        self.has_zero = convention == "with-zero"
        self.levels = 2**bits - 1 if self.has_zero else 2 ** (bits - 1)
        self.norm, self.bucket_size, self.backend = norm, bucket_size, backend
        self._wire = MessageWire("exponential", self._matches, self._fixed_bits)

    def init(self, layout: Layout) -> Partition:
        """Return the partition into tensors and buckets."""
        return partition(layout.num_coordinates, self.bucket_size, layout.sizes)

    def compress(
        self, gradient: Array, state: Partition, stream: Stream
    ) -> tuple[ExponentialLevels, Partition]:
        """Return (codes and norms, the same partition)."""
        from qsgd_lab.kernels.level_sets import EXPONENTIAL, WITHOUT_ZERO

        norms = scales_by_norm(gradient, state, self.norm, self.backend)
        grid = EXPONENTIAL if self.has_zero else WITHOUT_ZERO
        codes = round_to_levels(gradient, state, stream, norms, grid, self.levels, self.backend)
        codes = codes.astype(level_dtype(self.levels), copy=False)
        return ExponentialLevels(codes, norms, self.levels, self.has_zero, self.norm, state), state

    @property
    def wire(self) -> MessageWire:
        """Kind "exponential" of wire format 2."""
        return self._wire

    def variance_factor(self, num_coordinates: int) -> float:
        """Return an upper bound on E||Q(v) - v||^2 / ||v||^2 over all v.

        With d coordinates a bucket, least level a = 2^(1-s) and t = a sqrt(d). l2: 1/8 + (2/9) t^2 for
        t <= 9/4, else t - 1, which constant vectors attain. max: the larger of (sqrt(1 + (d-1) a^2) - 1)/2
        and (d-1)/(8d). Without a zero: t^2 + 1/8 for both. Derived in `qsgd_lab.theory.methods.level_set`.
        """
        whole = isinstance(self.bucket_size, str)
        d = num_coordinates if whole else min(int(self.bucket_size), num_coordinates)
        if d <= 1:
            return 0.0  # a single coordinate is its bucket's norm
        least = math.ldexp(1.0, 1 - self.levels)
        t = least * math.sqrt(d)
        if not self.has_zero:
            return t * t + 1 / 8
        if self.norm == "max":
            return max((math.sqrt(1 + (d - 1) * least**2) - 1) / 2, (d - 1) / (8 * d))
        return 1 / 8 + 2 / 9 * t * t if t <= 9 / 4 else t - 1

    def _matches(self, payload: ExponentialLevels, layout: Layout) -> bool:
        scheme = (payload.num_levels, payload.has_zero, payload.norm)
        own = (self.levels, self.has_zero, self.norm)
        return scheme == own and payload.partition == self.init(layout)

    def _fixed_bits(self, payload: ExponentialLevels) -> int:
        width = magnitude_bits(self.levels - (not self.has_zero)) + 1
        return width * payload.codes.size + FLOAT_BITS * payload.norms.size


class Natural(Compressor):
    """Rounds every coordinate to one of the two powers of two around it, by chance: nine bits.

    Rounding is exact: the chance is the mantissa. Above 2^127 there is no power of two in float32, and such
    coordinates come out as 2^127, with a bias of up to a half. Below 2^-126, levels are 0 and 2^-126.

    Parameters
    ----------
    backend : {"auto", "cpu", "reference"}

    References
    ----------
    Horvath, Ho, Horvath, Sahu, Canini, Richtarik: Natural compression for distributed deep learning. 2019.
    """

    is_unbiased = True  # up to 2^127

    def __init__(self, backend: str = "auto") -> None:
        check_backend(backend)
        self.backend = backend

    def init(self, layout: Layout) -> Partition:
        """Return the partition into tensors, each of which draws words of its own."""
        return partition(layout.num_coordinates, "model", layout.sizes)

    def compress(self, gradient: Array, state: Partition, stream: Stream) -> tuple[Powers, Partition]:
        """Return (signed powers of two, the same partition)."""
        from qsgd_lab.kernels.level_sets import POWERS

        scales = np.ones(state.num_buckets, np.float32)
        codes = round_to_levels(gradient, state, stream, scales, POWERS, 0, self.backend)
        magnitudes = np.abs(codes).astype(np.uint8)
        return Powers(magnitudes, (codes < 0) & (magnitudes != NOT_A_NUMBER)), state

    @property
    def wire(self) -> MessageWire:
        """Kind "natural" of wire format 2."""
        return _NATURAL

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1/8, attained at 4/3 of a power of two. Coordinates below 2^-126 are left aside."""
        return 1 / 8


_NATURAL = MessageWire(
    "natural",
    lambda payload, layout: payload.codes.size == layout.num_coordinates,
    lambda payload: 9 * payload.codes.size,
)


def _label(options: Mapping[str, Any]) -> str:
    zero = "" if options["convention"] == "with-zero" else ", no zero"
    return f"NUQSGD {options['bits']} bit, {options['norm']}, {options['bucket_size']}{zero}"


METHODS = (
    Method(
        "nuqsgd",
        NUQSGD,
        (
            Option("bits", int, 3, "b: with zero s = 2^b - 1 levels above it; published 2^b levels in all"),
            Option(
                "convention",
                str,
                "with-zero",
                "whether 0 is a level; the authors' code has none",
                CONVENTIONS,
            ),
            Option("norm", str, "l2", "norm of a bucket", tuple(NORMS)),
            Option(
                "bucket_size", BucketSize, 512, "coordinates that share a norm: a number, tensor or model"
            ),
        ),
        _label,
        summary="stochastic rounding to 0 and powers of two of a bucket's norm",
        source="Ramezani-Kebrya et al., JMLR 2021",
        theory="qsgd_lab.theory.methods.level_set",
        settings=tuple(f"nuqsgd(bits={bits})" for bits in (1, 2, 3, 4)),
    ),
    Method(
        "natural",
        Natural,
        (),
        lambda _: "natural",
        summary="stochastic rounding to powers of two: sign and exponent",
        source="Horvath et al., 2019",
        theory="qsgd_lab.theory.methods.level_set",
    ),
)
