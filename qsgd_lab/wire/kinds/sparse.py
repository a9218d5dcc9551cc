"""Kind 6: some values and their positions, such as Top-K's; all others are +0."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.wire.checks import Bytes, Limits, check_bits_after, check_zeros, require, up8
from qsgd_lab.wire.envelope import inner_length, open_sections, read_payload
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.kinds.levels import LAYOUTS
from qsgd_lab.wire.message import dense, pack, size
from qsgd_lab.wire.raw_values import DTYPES, value_type_of, widened, width_of, write_values
from qsgd_lab.wire.structure import Structure

FIXED, RICE, BITMAP = 0, 4, 5
INNER = 3
TAIL_BYTES = 8
MAX_RICE = 40
MAX_WORDS = 65535  # of a chunk
DEFAULT_CHUNK_BITS = 12
_DISORDER = "positions do not ascend below the number of coordinates, or are not as many as claimed"
_ERRORS = (  # of kernels, by what they return less 1
    ("code", _DISORDER),
    ("code", "a codeword of positions does not end inside chunk {}"),
    ("zeros", "bits remain after the last position of chunk {}"),
)
_ENTRY = 10  # bytes of the directory a chunk: its first position and its length


class IndexCode(NamedTuple):
    """How positions are written.

    Attributes
    ----------
    code : int
        0 fixed, 4 Rice, 5 bitmap.
    rice : int
        r, 0 to 40, of the Rice code; else 0.
    chunk_bits : int
        Log2 of the entries a chunk, 5 to 12, of the Rice code; else 0.
    """

    code: int
    rice: int = 0
    chunk_bits: int = 0


@dataclass(frozen=True, eq=False)
class SparseValues:
    """Some values and their positions.

    Attributes
    ----------
    indices : int64, shape (k,)
        Ascending strictly, from 0 to n - 1.
    values : float32, float16 or uint16 (bits of bfloat16), shape (k,); or QuantizedGradient of k levels
    num_coordinates : int
        n.
    index : IndexCode or None
        How positions are written; None takes the shortest.
    """

    indices: NDArray[np.int64]
    values: Any
    num_coordinates: int
    index: IndexCode | None = None


class SparseOptions(NamedTuple):
    """The parameters of kind 6."""

    num_values: int
    code: int
    rice: int
    chunk_bits: int
    value_type: int

    @property
    def num_chunks(self) -> int:
        """The number of chunks, C."""
        return -(-self.num_values >> self.chunk_bits) if self.code == RICE else 0

    @property
    def value_bytes(self) -> int:
        """The bytes of values that are no inner message."""
        return width_of(self.value_type) * self.num_values

    def num_entries(self, chunk: int) -> int:
        """Return the number of entries of a chunk."""
        return min(1 << self.chunk_bits, self.num_values - (chunk << self.chunk_bits))


class SparseKind(Kind[SparseValues]):
    """Kind 6."""

    number = 6
    name = "sparse"
    payload_types = (SparseValues,)
    arrays = ("indices",)
    fields = struct.Struct("<QBBBB4x")
    make_options = SparseOptions._make
    needs_bound = True

    def count(self, payload: SparseValues) -> int:
        """Return n."""
        return payload.num_coordinates

    def options(self, payload: SparseValues) -> SparseOptions:
        """Return the parameters; without an index code, those of the shortest message."""
        indices, n = payload.indices, payload.num_coordinates
        inner = isinstance(payload.values, QuantizedGradient)
        ranged = getattr(payload.values, "layout", "fixed") == "ranged"
        require(not ranged, "inner", "inner levels are fixed or base 3, not ranged")
        value_type = INNER if inner else value_type_of(payload.values)
        shape = (len(payload.values),) if inner else payload.values.shape
        fits = shape == indices.shape == (indices.size,)
        require(fits, "parameters", f"indices of shape {indices.shape}, values of shape {shape}")
        check_positions(indices, n)
        index = payload.index or shortest_index(indices, n)
        return SparseOptions(indices.size, *index, value_type)

    def check(self, options: SparseOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters."""
        count, code, rice, chunk_bits, value_type = options
        n, is_rice = structure.num_coordinates, code == RICE
        require(0 <= count <= n, "parameters", f"{count} values of {n} coordinates")
        require(code in (FIXED, RICE, BITMAP), "unknown", f"index code {code} is not known")
        require(value_type <= INNER, "unknown", f"value type {value_type} is not known")
        most, sizes = (MAX_RICE, range(5, 13)) if is_rice else (0, (0,))
        require(0 <= rice <= most, "parameters", f"Rice parameter {rice} of index code {code}")
        require(chunk_bits in sizes, "parameters", f"chunks of 2^{chunk_bits} entries of index code {code}")

    def lengths(self, payload: SparseValues, options: SparseOptions, structure: Structure) -> Lengths:
        """Return the bytes of directory, values and positions, without coding."""
        if options.code == RICE:
            words = rice_words(payload.indices, options)
            index = 4 * int(words.sum())
            require(
                words.max(initial=0) <= MAX_WORDS,
                "length",
                "a chunk of positions exceeds 65535 words: take another index code",
            )
        else:
            index = _index_bytes(options, structure)
        return Lengths(_ENTRY * options.num_chunks, up8(_value_bytes(payload, options)) + index, TAIL_BYTES)

    def claimed(self, options: SparseOptions, structure: Structure, body: Bytes) -> Lengths:
        """Return the bytes that values and directory claim."""
        side = _ENTRY * options.num_chunks
        rest = body[up8(side) :]
        filled = inner_length(rest) if options.value_type == INNER else options.value_bytes
        enough = up8(side) <= body.size and up8(filled) <= rest.size
        require(enough, "length", "the message is too short for its coordinates")
        index = _directory_bytes(options, body) if options.code == RICE else _index_bytes(options, structure)
        return Lengths(side, up8(filled) + index, TAIL_BYTES)

    def write(self, payload: SparseValues, options: SparseOptions, side: Bytes, buffer: Bytes) -> None:
        """Write directory, values and positions."""
        from qsgd_lab.kernels.cpu.messages import sparse_index

        filled = _value_bytes(payload, options)
        if options.value_type == INNER:
            buffer[:filled] = pack(payload.values, structure=Structure.flat(options.num_values))
        else:
            write_values(payload.values, buffer)
        buffer[filled:] = 0
        indices, stream = np.ascontiguousarray(payload.indices, np.int64), buffer[up8(filled) :]
        if options.code == FIXED:
            sparse_index.write_fields(indices, field_width(payload.num_coordinates), stream)
        elif options.code == BITMAP:
            sparse_index.write_bitmap(indices, stream)
        else:
            words = rice_words(indices, options)
            starts = 32 * (np.cumsum(words) - words)
            sparse_index.write_rice(indices, 1 << options.chunk_bits, options.rice, starts, stream)
            firsts = indices[:: 1 << options.chunk_bits].astype("<u8")
            side[: firsts.nbytes] = firsts.view(np.uint8)
            side[firsts.nbytes :] = words.astype("<u2").view(np.uint8)

    def read(
        self, options: SparseOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> SparseValues:
        """Return positions and values."""
        n = content.structure.num_coordinates
        if options.value_type == INNER:
            filled = inner_length(body)
            values = _read_inner(body[:filled], options.num_values, limits)
        else:
            filled = options.value_bytes
            values = array_of(body, DTYPES[options.value_type], options.num_values)
            check_zeros(body[filled : up8(filled)], "the padding after the values")
        indices = _read_indices(options, n, side, body[up8(filled) :])
        return SparseValues(indices, values, n, IndexCode(options.code, options.rice, options.chunk_bits))

    def put_values(self, payload: SparseValues, values: NDArray[np.float32]) -> None:
        """Write the values at their positions, and +0 elsewhere."""
        values[:] = 0
        values[payload.indices] = values_of(payload)


def values_of(payload: SparseValues) -> NDArray[np.float32]:
    """Return the values that are sent, float32, shape (k,)."""
    if isinstance(payload.values, QuantizedGradient):
        return dense(payload.values)
    return widened(payload.values)


def field_width(num_coordinates: int) -> int:
    """Return the bits of a position in fixed fields: the digits of n - 1, 0 for n <= 1."""
    return max(0, num_coordinates - 1).bit_length()


def check_positions(indices: NDArray[np.int64], num_coordinates: int) -> None:
    """Check that positions ascend strictly from 0 to n - 1."""
    if indices.size:
        require(indices.dtype.kind in "iu", "parameters", f"positions are {indices.dtype}; integers may be")
        inside = indices[0] >= 0 and indices[-1] < num_coordinates
        require(inside, "code", f"a position is outside 0..{num_coordinates - 1}")
        require(bool((indices[1:] > indices[:-1]).all()), "code", "positions do not ascend")


def rice_parameter(count: int, num_coordinates: int) -> int:
    """Return the r that suits k random positions: max(0, round(log2(n ln 2 / k)))."""
    if count == 0:
        return 0
    return min(MAX_RICE, max(0, round(math.log2(num_coordinates * math.log(2) / count))))


def rice_words(indices: NDArray[np.int64], options: SparseOptions) -> NDArray[np.int64]:
    """Return the length of each chunk in words of 4 bytes, int64[C], without coding."""
    from qsgd_lab.kernels.cpu.messages.sparse_index import rice_bits

    bits = np.empty(options.num_chunks, np.int64)
    rice_bits(np.ascontiguousarray(indices, np.int64), 1 << options.chunk_bits, options.rice, bits)
    return -(-bits // 32)


def shortest_index(indices: NDArray[np.int64], num_coordinates: int) -> IndexCode:
    """Return the index code of the shortest message; ties go to the lower number."""
    count = indices.size
    rice = IndexCode(RICE, rice_parameter(count, num_coordinates), DEFAULT_CHUNK_BITS)
    words = rice_words(indices, SparseOptions(count, *rice, 0))
    sizes = {
        IndexCode(FIXED): up8(-(-count * field_width(num_coordinates) // 8)),
        IndexCode(BITMAP): up8(-(-num_coordinates // 8)),
    }
    if words.max(initial=0) <= MAX_WORDS:
        sizes[rice] = up8(_ENTRY * words.size) + up8(4 * int(words.sum()))
    return min(sizes, key=lambda index: (sizes[index], index.code))


def _value_bytes(payload: SparseValues, options: SparseOptions) -> int:
    """Return the bytes of the values."""
    if options.value_type != INNER:
        return options.value_bytes
    return size(payload.values, structure=Structure.flat(options.num_values)) // 8


def _index_bytes(options: SparseOptions, structure: Structure) -> int:
    """Return the bytes of fixed fields or of a bitmap."""
    n = structure.num_coordinates
    return -(-n // 8) if options.code == BITMAP else -(-options.num_values * field_width(n) // 8)


def _directory_bytes(options: SparseOptions, body: Bytes) -> int:
    """Return the bytes of the chunks that the directory claims, each of which is long enough."""
    chunks = options.num_chunks
    words = np.frombuffer(body, "<u2", chunks, 8 * chunks)
    whole, last = (-(-(options.num_entries(c) - 1) * (options.rice + 1) // 32) for c in (0, chunks - 1))
    enough = words[:-1].min(initial=MAX_WORDS) >= whole and words[-1:].min(initial=MAX_WORDS) >= last
    require(enough, "length", "a chunk of positions is too short for its entries")
    return 4 * int(words.sum(dtype=np.int64))


def _read_inner(data: Bytes, count: int, limits: Limits) -> Any:
    """Return the payload of an inner message, which is flat, of k coordinates, and has no flags."""
    sections = open_sections(data, limits, inner=True)
    content = sections.content
    fits = content.structure.form == 0 and content.structure.num_coordinates == count
    require(fits, "inner", f"the inner message is not flat or does not have {count} coordinates")
    require(content.key is None and content.used is None, "inner", "the inner message has a key or a mask")
    require(sections.kind.name == "levels", "inner", f"kind {sections.kind.name} does not carry values")
    allowed = sections.options.layout != LAYOUTS["ranged"]
    require(allowed, "inner", "inner levels are fixed or base 3, not ranged")
    return read_payload(sections, limits).payload


def _read_indices(options: SparseOptions, n: int, side: Bytes, stream: Bytes) -> NDArray[np.int64]:
    """Return the positions; `stream` ends in the eight zeros of the tail."""
    from qsgd_lab.kernels.cpu.messages import sparse_index

    count, where, width, chunks = options.num_values, 0, field_width(n), options.num_chunks
    indices = np.empty(count, np.int64)
    if options.code == FIXED:
        outcome = sparse_index.read_fields(stream, width, n, indices)
        check_bits_after(stream, count * width, "the last position")
    elif options.code == BITMAP:
        outcome = sparse_index.read_bitmap(stream, -(-n // 8), indices)
        check_bits_after(stream, n, "the last position")
    else:
        starts = np.zeros(chunks + 1, np.int64)
        np.cumsum(np.frombuffer(side, "<u2", chunks, 8 * chunks), dtype=np.int64, out=starts[1:])
        places = (32 * starts, array_of(side, np.uint64, chunks), 1 << options.chunk_bits)
        outcome, where = sparse_index.read_rice(stream, *places, options.rice, n, indices)
    if outcome != sparse_index.GOOD:
        reason, text = _ERRORS[outcome - 1]
        raise MessageError(text.format(where), reason)
    return indices


KIND = SparseKind()
