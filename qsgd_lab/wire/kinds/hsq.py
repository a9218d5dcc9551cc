"""Kind 5: segments as a codeword and a signed norm each (hyper-sphere quantization)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import (
    NAN_BITS,
    Bytes,
    Limits,
    check_zeros,
    require,
    storable_scales,
    up8,
    whole_numbers,
)
from qsgd_lab.wire.key import (
    SHARED_NODE,
    STREAM_VERSION,
    Key,
    Purpose,
    check_common_words,
    needed_key,
    purpose_key,
)
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.structure import Structure

MAX_SEGMENT_BITS = 10
MAX_FRAME_BITS = 20
MAX_NORM_BITS = 16
MAX_RANGE_BITS = 16
_LARGEST_PIECE = 1 << 12  # segments that are checked at a time, fewer of a short message


@dataclass(frozen=True, eq=False)
class HyperSphere:
    """Codewords and signed norms of segments.

    Attributes
    ----------
    codes : uint8, uint16 or uint32, shape (G,)
        Codewords, below K; the type is the least that holds them.
    norms : float32 or uint16, shape (G,)
        Signed norms; or with `ranges` the numbers of levels between the least and the largest norm.
    ranges : float32, shape (R, 2), or None
        Least and largest norm of each run of 2^range_bits segments; both NaN if one is not finite.
    num_coordinates : int
        n.
    segment_bits, codebook_bits : int
        Log2 of d and K.
    norm_bits : int
        Bits of the number of a level, 1 to 16; 0 for float32 norms.
    range_bits : int
        Log2 of the segments that share a range; 0 for float32 norms.
    key : Key
        Its seed draws the codebook.
    """

    codes: NDArray[Any]
    norms: NDArray[Any]
    ranges: NDArray[np.float32] | None
    num_coordinates: int
    segment_bits: int
    codebook_bits: int
    norm_bits: int
    range_bits: int
    key: Key


class HyperSphereOptions(NamedTuple):
    """The parameters of kind 5."""

    segment_bits: int
    codebook_bits: int
    norm_bits: int
    range_bits: int


class HyperSphereKind(Kind[HyperSphere]):
    """Kind 5."""

    number = 5
    name = "hsq"
    payload_types = (HyperSphere,)
    arrays = ("codes", "norms")
    fields = struct.Struct("<BBBB4x")
    make_options = HyperSphereOptions._make
    needs_bound = True

    def count(self, payload: HyperSphere) -> int:
        """Return n."""
        return payload.num_coordinates

    def key(self, payload: HyperSphere) -> Key:
        """Return the key of the codebook."""
        return payload.key

    def options(self, payload: HyperSphere) -> HyperSphereOptions:
        """Return the parameters."""
        bits = payload.norm_bits
        require(
            (payload.ranges is None) == (bits == 0), "parameters", "norms of bits have ranges, others none"
        )
        own = (payload.segment_bits, payload.codebook_bits, bits, payload.range_bits)
        return HyperSphereOptions(*own)

    def check(self, options: HyperSphereOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        segment, codebook, bits, together = options
        fits = 1 <= segment <= MAX_SEGMENT_BITS
        require(fits, "parameters", f"segments of 2^{segment}; 2^1 to 2^{MAX_SEGMENT_BITS} may be")
        require(codebook >= segment, "parameters", f"2^{codebook} codewords of 2^{segment} are too few")
        require(
            segment + codebook <= MAX_FRAME_BITS, "parameters", f"the codebook exceeds 2^{MAX_FRAME_BITS}"
        )
        require(bits <= MAX_NORM_BITS, "parameters", f"norms of {bits} bits; {MAX_NORM_BITS} are the most")
        require(
            together <= MAX_RANGE_BITS and (bits or not together),
            "parameters",
            f"2^{together} segments a range may not be",
        )
        key = needed_key(key, self.name)
        check_common_words(key, structure.num_coordinates)
        aligned = key.first % (1 << segment) == 0
        require(aligned, "parameters", "a shard must begin at the beginning of a segment")

    def lengths(self, payload: HyperSphere, options: HyperSphereOptions, structure: Structure) -> Lengths:
        """Return the bytes of norms or ranges, and of codes."""
        n = payload.num_coordinates
        segments = num_segments(options, n)
        whole = payload.codes.shape == payload.norms.shape == (segments,)
        ranges = payload.ranges
        whole = whole and (ranges is None or ranges.shape == (num_ranges(options, n), 2))
        require(whole, "parameters", f"codes, norms or ranges are not those of {n} coordinates")
        return _lengths(options, n)

    def fixed(self, options: HyperSphereOptions, structure: Structure) -> Lengths:
        """Return the bytes of norms or ranges, and of codes."""
        return _lengths(options, structure.num_coordinates)

    def write(self, payload: HyperSphere, options: HyperSphereOptions, side: Bytes, buffer: Bytes) -> None:
        """Write norms or ranges, then codewords, then levels of norms."""
        numbers = storable_scales(payload.norms if payload.ranges is None else payload.ranges)
        most = (1 << options.codebook_bits) - 1
        codes = whole_numbers(payload.codes, 0, most, code_type(options.codebook_bits), "codewords")
        if payload.ranges is None:
            payload = replace(payload, codes=codes, norms=numbers)
        else:
            levels = whole_numbers(
                payload.norms, 0, (1 << options.norm_bits) - 1, np.uint16, "levels of norms"
            )
            payload = replace(payload, codes=codes, norms=levels, ranges=numbers.reshape(-1, 2))
        _check(payload, numbers, options)
        side[:] = numbers.astype("<f4", copy=False).view(np.uint8)
        used = _write_fields(payload.codes, options.codebook_bits, buffer)
        if payload.ranges is not None:
            _write_fields(payload.norms, options.norm_bits, buffer[used:])

    def read(
        self, options: HyperSphereOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> HyperSphere:
        """Return codewords and norms."""
        n = content.structure.num_coordinates
        count = num_segments(options, n)
        numbers = array_of(side, np.float32, side.size // 4)
        used = up8(-(-count * options.codebook_bits // 8))
        codes = _read_fields(body[:used], options.codebook_bits, count, code_type(options.codebook_bits))
        norms, ranges = numbers, None
        if options.norm_bits:
            norms = _read_fields(body[used:], options.norm_bits, count, np.uint16)
            ranges = numbers.reshape(-1, 2)
        payload = HyperSphere(codes, norms, ranges, n, *options, needed_key(content.key, self.name))
        _check(payload, numbers, options)
        return payload

    def put_values(self, payload: HyperSphere, values: NDArray[np.float32]) -> None:
        """Write the values, a piece at a time: the norms of all segments would take as much again."""
        from qsgd_lab.kernels.cpu.methods import hyper_sphere

        first, second = codebook_signs(payload.key.seed, payload.codebook_bits)
        size = 1 << payload.segment_bits
        for piece in _pieces(payload.codes.size):
            out = values[piece.start * size : piece.stop * size]
            hyper_sphere.decode(payload.codes[piece], norms_of(payload, piece), size, first, second, out)


def code_type(codebook_bits: int) -> type[np.unsignedinteger[Any]]:
    """Return the least type that holds codewords."""
    return np.uint8 if codebook_bits <= 8 else np.uint16 if codebook_bits <= 16 else np.uint32


def num_segments(options: HyperSphereOptions, num_coordinates: int) -> int:
    """Return the number of segments, G."""
    return -(-num_coordinates >> options.segment_bits)


def num_ranges(options: HyperSphereOptions, num_coordinates: int) -> int:
    """Return the number of ranges of norms, R; 0 for float32 norms."""
    segments = num_segments(options, num_coordinates)
    return -(-segments >> options.range_bits) if options.norm_bits else 0


def codebook_signs(seed: int, codebook_bits: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the signs S4 and S5 of all rotations, as kernels take them; they depend on the seed alone."""
    from qsgd_lab.kernels.arguments import StreamKey
    from qsgd_lab.kernels.cpu.methods.hadamard import SIGNS, fill_signs

    count = 1 << codebook_bits
    planes = np.empty((2, 4, -(-count // SIGNS)), np.uint32)
    for own, purpose in zip(
        planes, (Purpose.FIRST_CODEBOOK_SIGNS, Purpose.SECOND_CODEBOOK_SIGNS), strict=True
    ):
        k0, k1 = purpose_key(seed, purpose)
        stream = StreamKey(*map(np.uint32, (k0, k1, 0, 0, SHARED_NODE, STREAM_VERSION)))
        fill_signs(own, 0, count, stream)
    return planes[0], planes[1]


def norms_of(payload: HyperSphere, part: slice = slice(0, None)) -> NDArray[np.float32]:
    """Return the signed norms of some segments, from `part.start` on; float32, shape (G,) by default."""
    if payload.ranges is None:
        return payload.norms[part]
    levels = payload.norms[part]
    which = np.arange(part.start, part.start + levels.size) >> payload.range_bits
    low, high = payload.ranges[which].astype(np.float64).T
    steps = (high - low) / (2**payload.norm_bits - 1)
    norms: NDArray[np.float32] = (low + levels * steps).astype(np.float32)
    return norms


def _pieces(count: int) -> Iterator[slice]:
    """Cut segments in pieces, so that the scratch for one of them is small beside their message."""
    piece = min(_LARGEST_PIECE, max(64, count >> 6))
    for start in range(0, count, piece):
        yield slice(start, min(count, start + piece))


def _lengths(options: HyperSphereOptions, n: int) -> Lengths:
    count = num_segments(options, n)
    side = 8 * num_ranges(options, n) if options.norm_bits else 4 * count
    codes = up8(-(-count * options.codebook_bits // 8))
    return Lengths(side, codes + -(-count * options.norm_bits // 8))


def _write_fields(fields: NDArray[Any], width: int, buffer: Bytes) -> int:
    """Write fields lowest bit first; return the bytes, rounded up to a multiple of 8."""
    bits = np.empty((fields.size, width), np.uint8)
    for i in range(width):
        bits[:, i] = fields >> i & 1
    packed = np.packbits(bits.reshape(-1), bitorder="little")
    used = up8(packed.size)
    buffer[: packed.size] = packed
    buffer[packed.size : used] = 0
    return used


def _read_fields(data: Bytes, width: int, count: int, dtype: Any) -> NDArray[Any]:
    """Return fields; raises a MessageError if bits after the last one are not 0."""
    used = -(-count * width // 8)
    check_zeros(data[used:], "the padding after codes")
    bits = np.unpackbits(data[:used], bitorder="little")
    require(not bits[count * width :].any(), "zeros", "bits after the last code are not zero")
    fields = np.zeros(count, dtype)
    for i in range(width):
        bit = bits[i : count * width : width].astype(dtype)
        bit <<= dtype(i)
        fields |= bit
    return fields


def _check(payload: HyperSphere, numbers: NDArray[np.float32], options: HyperSphereOptions) -> None:
    """Check patterns of norms and ranges, and codes of segments that are zero or not finite."""
    patterns = numbers.view(np.uint32)
    finite = (patterns & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
    good = (finite & (patterns != np.uint32(0x80000000))) | (patterns == NAN_BITS)
    require(good.all(), "canonical", "a norm is -0, infinite, or a NaN other than 7fc00000")
    if payload.ranges is None:
        dead = (patterns == 0) | ~finite
        require(not payload.codes[dead].any(), "canonical", "a norm of 0 or NaN has a code other than 0")
        return
    low, high = numbers.reshape(-1, 2).T
    ordered = (low <= high) | (np.isnan(low) & np.isnan(high))
    require(ordered.all(), "parameters", "the least norm of a range exceeds the largest")
    for part in _pieces(payload.codes.size):
        which = np.arange(part.start, part.stop) >> options.range_bits
        point = ~(low < high)[which]
        require(not payload.norms[part][point].any(), "canonical", "a range of one norm has other levels")
        norms = norms_of(payload, part)
        dead = payload.codes[part][(norms == 0) | np.isnan(norms)]
        require(not dead.any(), "canonical", "a norm of 0 or NaN has a code other than 0")


KIND = HyperSphereKind()
