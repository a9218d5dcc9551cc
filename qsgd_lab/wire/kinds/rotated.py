"""Kind 3: blocks that were rotated and put on a grid, such as those of EDEN and DRIVE."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.arguments import RotationStreams
from qsgd_lab.kernels.rotation import (
    BOOK_BITS,
    MOST_OFFSET,
    OFFSET_STEPS,
    block_sizes,
    padded_size,
    table,
)
from qsgd_lab.wire.checks import Bytes, Limits, require, storable_scales
from qsgd_lab.wire.codes import check_dead_blocks, read_codes, write_codes
from qsgd_lab.wire.key import Key, Purpose, check_common_words, needed_key, purpose_key
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.structure import Structure

CENTROIDS, UNIFORM = 0, 1
MAX_BLOCK_BITS = 16


@dataclass(frozen=True, eq=False)
class Rotated:
    """Codes of rotated blocks.

    Attributes
    ----------
    codes : int8, shape (padded n,)
        -2^(b-1) to 2^(b-1) - 1; the last block is padded to a power of two.
    scales : float32, shape (B,)
        0 for a block of zeros, NaN for one that held a NaN or an infinity; then codes are 0.
    offsets : float32, shape (B,), or None
        Of the uniform grid: a code means offset + code. None for the centroids of a normal coordinate.
    num_coordinates : int
        n.
    bits : int
        b.
    block_size : int
        A power of two, at most 65536.
    rounds : int
        Rounds of signs and transform, 1 or 2.
    key : Key
        Of the signs.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32] | None
    num_coordinates: int
    bits: int
    block_size: int
    rounds: int
    key: Key


class RotatedOptions(NamedTuple):
    """The parameters of kind 3."""

    grid: int
    bits: int
    block_bits: int
    rounds: int


class RotatedKind(Kind[Rotated]):
    """Kind 3."""

    number = 3
    name = "rotated"
    payload_types = (Rotated,)
    fields = struct.Struct("<BBBB4x")
    make_options = RotatedOptions._make

    def count(self, payload: Rotated) -> int:
        """Return n."""
        return payload.num_coordinates

    def key(self, payload: Rotated) -> Key:
        """Return the key of the signs."""
        return payload.key

    def options(self, payload: Rotated) -> RotatedOptions:
        """Return the parameters."""
        size = payload.block_size
        require(size > 0 and size & (size - 1) == 0, "parameters", f"blocks of {size}: no power of two")
        grid = CENTROIDS if payload.offsets is None else UNIFORM
        return RotatedOptions(grid, payload.bits, size.bit_length() - 1, payload.rounds)

    def check(self, options: RotatedOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        grid, bits, block_bits, rounds = options
        require(grid in (CENTROIDS, UNIFORM), "unknown", f"grid {grid} is not known")
        allowed = BOOK_BITS if grid == CENTROIDS else range(1, 9)
        require(bits in allowed, "parameters", f"codes of {bits} bits; {', '.join(map(str, allowed))} may be")
        require(block_bits <= MAX_BLOCK_BITS, "parameters", f"blocks of 2^{block_bits}; 2^16 is the most")
        require(rounds in (1, 2), "parameters", f"{rounds} rounds; 1 or 2 may be")
        key = needed_key(key, self.name)
        check_common_words(key, structure.num_coordinates)
        aligned = key.first % (1 << block_bits) == 0
        require(aligned, "parameters", "a shard must begin at the beginning of a block")

    def lengths(self, payload: Rotated, options: RotatedOptions, structure: Structure) -> Lengths:
        """Return the bytes of scales, offsets and codes."""
        n, block = payload.num_coordinates, payload.block_size
        blocks = block_sizes(n, block)[0]
        whole = payload.codes.shape == (padded_size(n, block),) and payload.scales.shape == (blocks,)
        whole = whole and (payload.offsets is None or payload.offsets.shape == (blocks,))
        require(whole, "parameters", f"codes, scales or offsets are not those of {n} coordinates")
        return _lengths(options, n)

    def fixed(self, options: RotatedOptions, structure: Structure) -> Lengths:
        """Return the bytes of scales, offsets and codes."""
        return _lengths(options, structure.num_coordinates)

    def write(self, payload: Rotated, options: RotatedOptions, side: Bytes, buffer: Bytes) -> None:
        """Write scales, offsets and codes."""
        scales = storable_scales(payload.scales)
        offsets = None if payload.offsets is None else storable_scales(payload.offsets)
        codes = np.ascontiguousarray(payload.codes, np.int8)
        _check(scales, offsets, codes, options)
        stored = scales if offsets is None else np.stack([scales, offsets], axis=1).reshape(-1)
        side[:] = stored.astype("<f4", copy=False).view(np.uint8)
        write_codes(codes, options.bits, -(1 << (options.bits - 1)), buffer)

    def read(
        self, options: RotatedOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> Rotated:
        """Return codes, scales and offsets."""
        n, block = content.structure.num_coordinates, 1 << options.block_bits
        stored = array_of(side, np.float32, side.size // 4)
        scales, offsets = stored, None
        if options.grid == UNIFORM:
            scales, offsets = (np.ascontiguousarray(part) for part in stored.reshape(-1, 2).T)
        codes = read_codes(options.bits, body, padded_size(n, block))
        _check(scales, offsets, codes, options)
        key = needed_key(content.key, self.name)
        return Rotated(codes, scales, offsets, n, options.bits, block, options.rounds, key)

    def values(self, payload: Rotated) -> NDArray[np.float32]:
        """Return the values of the blocks, rotated back."""
        from qsgd_lab.kernels.cpu.methods import rotated

        values = np.empty(payload.num_coordinates, np.float32)
        rotated.decompress(
            payload.codes,
            payload.scales,
            payload.scales if payload.offsets is None else payload.offsets,
            payload.block_size,
            payload.key.first,
            payload.rounds,
            np.empty(0, np.float32) if payload.offsets is not None else table(payload.bits),
            streams_of(payload.key),
            rotated.open_scratch(min(payload.block_size, payload.codes.size)),
            values,
        )
        return values


def streams_of(key: Key) -> RotationStreams:
    """Return the keys that kernels draw from."""
    purposes = (Purpose.FIRST_SIGNS, Purpose.SECOND_SIGNS, Purpose.ROUNDING)
    keys = np.array([purpose_key(key.seed, purpose, key.role) for purpose in purposes], np.uint32)
    return RotationStreams(keys, np.uint32(key.step), np.uint32(key.tensor), np.uint32(key.node))


def _lengths(options: RotatedOptions, n: int) -> Lengths:
    block = 1 << options.block_bits
    blocks = block_sizes(n, block)[0]
    return Lengths(4 * blocks * (1 + options.grid), -(-padded_size(n, block) * options.bits // 8))


def _check(
    scales: NDArray[np.float32],
    offsets: NDArray[np.float32] | None,
    codes: NDArray[np.int8],
    options: RotatedOptions,
) -> None:
    """Check scales, codes and offsets against each other."""
    check_dead_blocks(scales, codes, 1 << options.block_bits)
    if offsets is not None:
        same = (offsets.view(np.uint32) == scales.view(np.uint32)) | (scales > 0)
        require(same.all(), "canonical", "a block of scale 0 or NaN has another offset")
        with np.errstate(invalid="ignore"):  # a signalling NaN, which the next line refuses
            steps = offsets[scales > 0].astype(np.float64) * OFFSET_STEPS
        exact = (np.abs(steps) <= MOST_OFFSET * OFFSET_STEPS) & (steps == np.rint(steps))
        exact &= (steps != 0) | ~np.signbit(steps)
        require(
            exact.all(), "parameters", f"an offset is not a multiple of 1/{OFFSET_STEPS} up to {MOST_OFFSET}"
        )


KIND = RotatedKind()
