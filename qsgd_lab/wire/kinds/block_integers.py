"""Kind 9: blocks of integers of 4 or 8 bits under one scale each, with or without a smoother."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits, require, storable_scales, whole_numbers
from qsgd_lab.wire.codes import check_dead_blocks, read_codes, write_codes
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.structure import Structure

SMOOTHER_BITS = 5
WIDTHS = (4, 8)
MAX_BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class BlockIntegers:
    """Integers of blocks.

    Attributes
    ----------
    codes : int8
        n of them; with a smoother, n rounded up to a multiple of 32. Their magnitude is below 2^(b-1).
    scales : float32, shape (B,)
        0 for a block of zeros, NaN for one that held a NaN or an infinity; then codes are 0.
    num_coordinates : int
        n.
    bits : int
        b, 4 or 8.
    block_size : int
        At most 65536; with a smoother a multiple of 32.
    is_smooth : bool
        Whether values are scales times the Hadamard transform of 32 codes each.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    num_coordinates: int
    bits: int
    block_size: int
    is_smooth: bool


class BlockIntegerOptions(NamedTuple):
    """The parameters of kind 9."""

    bits: int
    smoother_bits: int
    block_size: int


class BlockIntegersKind(Kind[BlockIntegers]):
    """Kind 9."""

    number = 9
    name = "block-int"
    payload_types = (BlockIntegers,)
    arrays = ("codes", "scales")
    fields = struct.Struct("<BB2xI")
    make_options = BlockIntegerOptions._make

    def count(self, payload: BlockIntegers) -> int:
        """Return n."""
        return payload.num_coordinates

    def options(self, payload: BlockIntegers) -> BlockIntegerOptions:
        """Return the parameters."""
        return BlockIntegerOptions(payload.bits, SMOOTHER_BITS * payload.is_smooth, payload.block_size)

    def check(self, options: BlockIntegerOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        bits, smoother, block = options
        require(bits in WIDTHS, "parameters", f"integers of {bits} bits; 4 or 8 may be")
        require(smoother in (0, SMOOTHER_BITS), "unknown", f"a smoother of 2^{smoother} is not known")
        require(1 <= block <= MAX_BLOCK, "parameters", f"blocks of {block}; 1 to {MAX_BLOCK} may be")
        whole = block % (1 << smoother) == 0
        require(whole, "parameters", f"blocks of {block} do not hold whole groups of {1 << smoother}")
        if key is not None:
            require(key.first % block == 0, "parameters", "a shard must begin at the beginning of a block")

    def lengths(self, payload: BlockIntegers, options: BlockIntegerOptions, structure: Structure) -> Lengths:
        """Return the bytes of scales and codes."""
        n = payload.num_coordinates
        blocks = -(-n // payload.block_size)
        whole = payload.scales.shape == (blocks,)
        whole = whole and payload.codes.shape == (num_codes(n, payload.is_smooth),)
        require(whole, "parameters", f"codes or scales are not those of {n} coordinates")
        return _lengths(options, n)

    def fixed(self, options: BlockIntegerOptions, structure: Structure) -> Lengths:
        """Return the bytes of scales and codes."""
        return _lengths(options, structure.num_coordinates)

    def write(self, payload: BlockIntegers, options: BlockIntegerOptions, side: Bytes, buffer: Bytes) -> None:
        """Write scales and codes."""
        scales = storable_scales(payload.scales)
        most = (1 << (options.bits - 1)) - 1
        codes = whole_numbers(payload.codes, -most, most, np.int8, "codes")
        check_dead_blocks(scales, codes, options.block_size)
        side[:] = scales.astype("<f4", copy=False).view(np.uint8)
        write_codes(codes, options.bits, 1 - (1 << (options.bits - 1)), buffer)

    def read(
        self, options: BlockIntegerOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> BlockIntegers:
        """Return codes and scales."""
        n, is_smooth = content.structure.num_coordinates, bool(options.smoother_bits)
        scales = array_of(side, np.float32, side.size // 4)
        codes = read_codes(options.bits, body, num_codes(n, is_smooth))
        least = -(1 << (options.bits - 1))
        require(codes.size == 0 or codes.min() > least, "code", f"a code is {least}")
        check_dead_blocks(scales, codes, options.block_size)
        return BlockIntegers(codes, scales, n, options.bits, options.block_size, is_smooth)

    def put_values(self, payload: BlockIntegers, values: NDArray[np.float32]) -> None:
        """Write the values."""
        from qsgd_lab.kernels.cpu.methods import block_integers

        scratch = block_integers.open_scratch(min(payload.block_size, max(1, payload.codes.size)))
        codes, scales = payload.codes, payload.scales
        block_integers.decompress(codes, scales, payload.block_size, payload.is_smooth, scratch, values)


def num_codes(num_coordinates: int, is_smooth: bool) -> int:
    """Return the number of codes: n, with a smoother rounded up to a multiple of 32."""
    group = 1 << SMOOTHER_BITS if is_smooth else 1
    return -(-num_coordinates // group) * group


def _lengths(options: BlockIntegerOptions, n: int) -> Lengths:
    codes = num_codes(n, bool(options.smoother_bits))
    return Lengths(4 * -(-n // options.block_size), -(-codes * options.bits // 8))


KIND = BlockIntegersKind()
