"""Kind 12: one bit a coordinate, and one or two scales a bucket: scaled sign and 1-bit SGD."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.partition import Partition
from qsgd_lab.wire.checks import (
    Bytes,
    Limits,
    check_scales,
    dead_scales,
    parse_bits,
    require,
    storable_scales,
)
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.kinds.levels import (
    bucket_fields,
    check_buckets,
    check_tensors,
    count_buckets,
    partition_of,
)
from qsgd_lab.wire.structure import Structure

SIGN, MEANS = 0, 1


@dataclass(frozen=True, eq=False)
class OneBit:
    """One bit a coordinate.

    Attributes
    ----------
    bits : bool, shape (n,)
    scales : float32, shape (B, 1) or (B, 2)
        One column: M; a bit is +M or -M. Two: m- and m+, the values of False and of True.
    partition : Partition
    """

    bits: NDArray[np.bool_]
    scales: NDArray[np.float32]
    partition: Partition


class OneBitOptions(NamedTuple):
    """The parameters of kind 12."""

    mode: int
    scope: int
    bucket: int

    @property
    def bucket_size(self) -> int | str:
        """The bucket size as a partition has it."""
        return self.bucket or ("model" if self.scope else "tensor")

    @property
    def columns(self) -> int:
        """Scales a bucket."""
        return 2 if self.mode == MEANS else 1


class OneBitKind(Kind[OneBit]):
    """Kind 12."""

    number = 12
    name = "one-bit"
    payload_types = (OneBit,)
    arrays = ("bits", "scales")
    fields = struct.Struct("<BB2xI")
    make_options = OneBitOptions._make

    def count(self, payload: OneBit) -> int:
        """Return n."""
        return payload.partition.num_coordinates

    def structure(self, payload: OneBit) -> Structure:
        """Return the structure of the tensors."""
        return Structure.array((self.count(payload),), payload.partition.tensor_sizes)

    def options(self, payload: OneBit) -> OneBitOptions:
        """Return the parameters."""
        columns = payload.scales.shape[1] if payload.scales.ndim == 2 else 0
        require(columns in (1, 2), "parameters", "scales are a matrix of one or two columns")
        bucket, scope = bucket_fields(payload.partition)
        return OneBitOptions(MEANS if columns == 2 else SIGN, scope, bucket)

    def check(self, options: OneBitOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        require(options.mode in (SIGN, MEANS), "unknown", f"mode {options.mode} is not known")
        check_buckets(options.bucket, options.scope, structure, key)

    def lengths(self, payload: OneBit, options: OneBitOptions, structure: Structure) -> Lengths:
        """Return the bytes of scales and bits."""
        check_tensors(payload.partition, structure)
        return _lengths(options, structure)

    def fixed(self, options: OneBitOptions, structure: Structure) -> Lengths:
        """Return the bytes of scales and bits."""
        return _lengths(options, structure)

    def write(self, payload: OneBit, options: OneBitOptions, side: Bytes, buffer: Bytes) -> None:
        """Write scales and bits."""
        parts, bits = payload.partition, payload.bits.reshape(-1)
        scales = storable_scales(payload.scales).reshape(payload.scales.shape)
        fits = bits.size == parts.num_coordinates and len(scales) == parts.num_buckets
        require(fits and bits.dtype == np.bool_, "parameters", "bits and scales do not fit the partition")
        _check_scales(scales, bits, parts)
        side[:] = scales.astype("<f4", copy=False).reshape(-1).view(np.uint8)
        buffer[: -(-bits.size // 8)] = np.packbits(bits, bitorder="little")

    def read(
        self, options: OneBitOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> OneBit:
        """Return scales and bits."""
        bits = parse_bits(body, content.structure.num_coordinates, "the last coordinate")
        parts = partition_of(options, content.structure)
        scales = array_of(side, np.float32, side.size // 4).reshape(-1, options.columns)
        _check_scales(scales, bits, parts)
        return OneBit(bits, scales, parts)

    def put_values(self, payload: OneBit, values: NDArray[np.float32]) -> None:
        """Write the scale of each bit."""
        from qsgd_lab.kernels.cpu.methods.level_sets import values_of_bits

        low, high = (np.ascontiguousarray(payload.scales[:, column]) for column in (0, -1))
        if payload.scales.shape[1] == 1:
            low = np.where(dead_scales(high), high, -high)  # +0 and the NaN have no other sign
        values_of_bits(payload.bits, payload.partition.bucket_offsets, low, high, values)


def _lengths(options: OneBitOptions, structure: Structure) -> Lengths:
    buckets = count_buckets(options, structure.sizes)
    return Lengths(4 * options.columns * buckets, -(-structure.num_coordinates // 8))


def _check_scales(scales: NDArray[np.float32], bits: NDArray[np.bool_], parts: Partition) -> None:
    """Check the patterns of scales against each other, and against the bits of their buckets."""
    high = np.ascontiguousarray(scales[:, -1])
    check_scales(high)
    if not high.size:
        return
    starts = parts.bucket_offsets[:-1]
    any_true = np.logical_or.reduceat(bits, starts)
    if scales.shape[1] == 1:
        require(not (any_true & dead_scales(high)).any(), "canonical", "a bucket of scale 0 or NaN has bits")
        return
    low = np.ascontiguousarray(scales[:, 0])
    check_scales(np.where(low < 0, -low, low))
    missing = np.isnan(high)
    require((missing == np.isnan(low)).all(), "canonical", "one of two means is NaN")
    require(not (low > 0).any(), "canonical", "the mean of coordinates below 0 is above 0")
    require(not (any_true & missing).any(), "canonical", "a bucket of NaN has bits")
    all_true = np.logical_and.reduceat(bits, starts)
    fits = (missing | ((low == 0) == all_true)) & (any_true | missing | (high == 0))
    require(fits.all(), "canonical", "the mean of no coordinates is not 0, or that of coordinates below 0 is")


KIND = OneBitKind()
