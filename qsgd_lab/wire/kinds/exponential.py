"""Kind 14: codes of levels that are powers of two of a bucket's norm, such as NUQSGD's, at fixed width."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import NORMS, magnitude_bits
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import level_dtype
from qsgd_lab.wire.checks import Bytes, Limits, check_scales, require, storable_scales, whole_numbers
from qsgd_lab.wire.fixed_fields import last_piece
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

MAX_WITH_ZERO, MAX_WITHOUT_ZERO = 255, 128


@dataclass(frozen=True, eq=False)
class ExponentialLevels:
    """Codes on a grid of powers of two.

    Attributes
    ----------
    codes : int8 or int16, shape (n,)
        With a level 0: q from -s to s is sign(q) 2^(|q| - s) of the norm, 0 for q = 0. Without: q >= 0 is
        2^(q + 1 - s), q < 0 is -2^(-q - s).
    norms : float32, shape (B,)
        NaN where the bucket held NaN or an infinity.
    num_levels : int
        s, the levels above zero: 1 to 255; without a level 0, a power of two up to 128.
    has_zero : bool
    norm : {"l2", "max"}
    partition : Partition
    """

    codes: NDArray[Any]
    norms: NDArray[np.float32]
    num_levels: int
    has_zero: bool
    norm: str
    partition: Partition


class ExponentialOptions(NamedTuple):
    """The parameters of kind 14."""

    without_zero: int
    num_levels: int
    norm: int
    bucket: int
    scope: int

    @property
    def bucket_size(self) -> int | str:
        """The bucket size as a partition has it."""
        return self.bucket or ("model" if self.scope else "tensor")

    @property
    def width(self) -> int:
        """Bits of a code."""
        return magnitude_bits(self.num_levels - self.without_zero) + 1


class ExponentialKind(Kind[ExponentialLevels]):
    """Kind 14."""

    number = 14
    name = "exponential"
    payload_types = (ExponentialLevels,)
    arrays = ("codes", "norms")
    fields = struct.Struct("<B3xHBxIB3x")
    make_options = ExponentialOptions._make

    def count(self, payload: ExponentialLevels) -> int:
        """Return n."""
        return payload.partition.num_coordinates

    def structure(self, payload: ExponentialLevels) -> Structure:
        """Return the structure of the tensors."""
        return Structure.array((self.count(payload),), payload.partition.tensor_sizes)

    def options(self, payload: ExponentialLevels) -> ExponentialOptions:
        """Return the parameters."""
        require(payload.norm in NORMS, "unknown", f"unknown norm {payload.norm!r}; known: {', '.join(NORMS)}")
        norm = [str(name) for name in NORMS].index(payload.norm)
        buckets = bucket_fields(payload.partition)
        return ExponentialOptions(int(not payload.has_zero), payload.num_levels, norm, *buckets)

    def check(self, options: ExponentialOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        s, without_zero = options.num_levels, options.without_zero
        require(without_zero <= 1, "unknown", f"zero level {without_zero} is not known")
        most = MAX_WITHOUT_ZERO if without_zero else MAX_WITH_ZERO
        require(1 <= s <= most, "parameters", f"s is {s}; it must be from 1 to {most}")
        power = s & (s - 1) == 0
        require(power or not without_zero, "parameters", f"s is {s}; without a level 0 it is a power of two")
        require(options.norm < len(NORMS), "unknown", f"norm {options.norm} is not known")
        check_buckets(options.bucket, options.scope, structure, key)

    def lengths(
        self, payload: ExponentialLevels, options: ExponentialOptions, structure: Structure
    ) -> Lengths:
        """Return the bytes of norms and codes."""
        check_tensors(payload.partition, structure)
        return _lengths(options, structure)

    def fixed(self, options: ExponentialOptions, structure: Structure) -> Lengths:
        """Return the bytes of norms and codes."""
        return _lengths(options, structure)

    def write(
        self, payload: ExponentialLevels, options: ExponentialOptions, side: Bytes, buffer: Bytes
    ) -> None:
        """Write norms and codes."""
        from qsgd_lab.kernels.cpu.messages.level_string import write_level_string

        s = options.num_levels
        dtype = level_dtype(s)
        codes = whole_numbers(payload.codes.reshape(-1), -s, s - options.without_zero, dtype, "codes")
        norms = storable_scales(payload.norms)
        fits = codes.size == self.count(payload) and norms.size == payload.partition.num_buckets
        require(fits, "parameters", "codes and norms do not fit the partition")
        _check_dead(norms, codes, payload.partition)
        side[:] = norms.astype("<f4", copy=False).view(np.uint8)
        write_level_string(codes, s, np.uint64(options.width), buffer)

    def read(
        self, options: ExponentialOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> ExponentialLevels:
        """Return norms and codes."""
        from qsgd_lab.kernels.cpu.messages.level_string import read_level_string

        n, s = content.structure.num_coordinates, options.num_levels
        codes = np.empty(n, level_dtype(s))
        if n:
            last = last_piece(options.width, body, n)
            good = read_level_string(body, last, np.uint64(options.width), s, 0, codes)
            require(good, "code", f"a code is outside {_range(options)}")
        norms = array_of(side, np.float32, side.size // 4)
        parts = partition_of(options, content.structure)
        _check_dead(norms, codes, parts)
        return ExponentialLevels(codes, norms, s, not options.without_zero, NORMS[options.norm], parts)

    def put_values(self, payload: ExponentialLevels, values: NDArray[np.float32]) -> None:
        """Write the values of the codes."""
        from qsgd_lab.kernels.cpu.methods.level_sets import values_of_codes

        offsets = payload.partition.bucket_offsets
        table = relative_values(payload.num_levels, payload.has_zero)
        values_of_codes(payload.codes, offsets, payload.norms, table, payload.num_levels, values)


def relative_values(num_levels: int, has_zero: bool) -> NDArray[np.float64]:
    """Return the values of codes -s..s, or without a level 0 -s..s-1, relative to the norm.

    Examples
    --------
    >>> relative_values(2, True).tolist(), relative_values(2, False).tolist()
    ([-1.0, -0.5, 0.0, 0.5, 1.0], [-1.0, -0.5, 0.5, 1.0])
    """
    above = 2.0 ** np.arange(1 - num_levels, 1)
    return np.concatenate([-above[::-1], [0.0] if has_zero else [], above])


def _lengths(options: ExponentialOptions, structure: Structure) -> Lengths:
    payload = -(-structure.num_coordinates * options.width // 8)
    return Lengths(4 * count_buckets(options, structure.sizes), payload)


def _range(options: ExponentialOptions) -> str:
    return f"-{options.num_levels}..{options.num_levels - options.without_zero}"


def _check_dead(norms: NDArray[np.float32], codes: NDArray[Any], parts: Partition) -> None:
    """Check the patterns of norms, and that buckets of norm 0 or NaN have codes 0."""
    if check_scales(norms):
        from qsgd_lab.kernels.cpu.messages.decode import live_level

        bucket = live_level(codes, norms, parts.bucket_offsets)
        text = f"bucket {bucket} has norm {norms[bucket]} and codes other than 0"
        require(bucket < 0, "canonical", text)


KIND = ExponentialKind()
