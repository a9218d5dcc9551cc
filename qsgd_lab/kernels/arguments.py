"""Arguments of kernels: named tuples of arrays and numbers, with their shapes and dtypes.

Kernels take these named tuples and read their fields by name. Numba's dispatcher takes 0.6 to 0.8
microseconds longer for a named tuple than for a plain one. The shortest kernel, `cpu.quantize.quantize_all`,
therefore takes plain ones and names them in its first lines, as in ``key = StreamKey(*key)``: three would add
a tenth to the time of quantizing a thousand coordinates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class StreamKey(NamedTuple):
    """The key of random words, each field uint32; `qsgd_lab.stream.Stream.kernel_key` makes it.

    Attributes
    ----------
    low_seed, high_seed : the halves of the seed
    step, tensor, node : of the first tensor and the first node, where there are several
    version : of the order of words, 1 or 2 (`kernels.philox`)
    """

    low_seed: np.uint32
    high_seed: np.uint32
    step: np.uint32
    tensor: np.uint32
    node: np.uint32
    version: np.uint32


class BlockScheme(NamedTuple):
    """How blocks become small integers.

    Attributes
    ----------
    most : int32
        2^(b - 1) - 1, the largest integer of b bits.
    is_smooth, is_stochastic : bool
        Whether groups of 32 are transformed first, and whether rounding is random.
    """

    most: np.int32
    is_smooth: bool
    is_stochastic: bool


class RotationScheme(NamedTuple):
    """How rotated blocks are put on a grid.

    Attributes
    ----------
    num_rounds : int
        Random signs and transforms, one or two.
    kind : int
        Of `kernels.rotation`: MATCHED_NORM, STOCHASTIC, UNBIASED or the least error.
    bits : int
    book : float32, shape (K,)
        Centroids above 0, of which a uniform grid has none.
    middles : float64, shape (K - 1,)
        What is half way between them, of coordinates of variance 1.
    """

    num_rounds: int
    kind: int
    bits: int
    book: NDArray[np.float32]
    middles: NDArray[np.float64]


class RotationStreams(NamedTuple):
    """The keys of the random words of rotated blocks.

    Attributes
    ----------
    keys : uint32, shape (3, 2)
        (k0, k1) of the signs of both rounds, and of rounding.
    step, tensor, node : uint32
    """

    keys: NDArray[np.uint32]
    step: np.uint32
    tensor: np.uint32
    node: np.uint32


class Quantizer(NamedTuple):
    """How coordinates are rounded.

    Attributes
    ----------
    kind : int
        Of the norm: L2 or MAX of ``constants``.
    stochastic : bool
        Whether rounding is random; else to the nearest level.
    num_levels, fraction : uint32
        s, and the fraction bits F of `fixed_point.fraction_bits`.
    """

    kind: int
    stochastic: bool
    num_levels: np.uint32
    fraction: np.uint32


class RoundingBuffers(NamedTuple):
    """Scratch of norms and of rounding.

    Attributes
    ----------
    lanes, sums : float64
        Of `cpu.norms.bucket_norm`.
    words : uint32
        The random words of a piece, or words that round to nearest.
    """

    lanes: NDArray[np.float64]
    sums: NDArray[np.float64]
    words: NDArray[np.uint32]


class Offsets(NamedTuple):
    """Where buckets and tensors begin and the last one ends.

    Attributes
    ----------
    buckets, tensors : int64, shapes (B + 1,) and (T + 1,)
        From 0 to n. A bucket may hold several tensors, and a tensor several buckets.
    """

    buckets: NDArray[np.int64]
    tensors: NDArray[np.int64]


class ChunkRange(NamedTuple):
    """The chunks that one call codes, of those of n coordinates.

    Attributes
    ----------
    num_coordinates : int
        n.
    size : int
        Coordinates of a chunk; the last one may be shorter.
    first, stop : int
        Chunks first..stop-1.
    """

    num_coordinates: int
    size: int
    first: int
    stop: int


class ChunkFormat(NamedTuple):
    """How the levels of a chunk are written.

    Attributes
    ----------
    layout : int
        FIXED, DENSE, DENSE_SIGNED or SPARSE of ``constants``.
    code : int
        GAMMA, DELTA or OMEGA of ``elias``; 0 in the fixed layout.
    num_levels : int
        s.
    width : uint64
        Bits of a level in the fixed layout.
    """

    layout: int
    code: int
    num_levels: int
    width: np.uint64


class ChunkDirectory(NamedTuple):
    """What an encoder notes of each of C chunks.

    Attributes
    ----------
    num_words : uint16, shape (C,)
        Length in 32-bit words.
    checksums : uint32, shape (C,)
    num_nonzeros : uint16, shape (C,), in the sparse layout, else (0,)
    """

    num_words: NDArray[np.uint16]
    checksums: NDArray[np.uint32]
    num_nonzeros: NDArray[np.uint16]


class ReadDirectory(NamedTuple):
    """What a decoder knows of each of C chunks.

    Attributes
    ----------
    starts : int64, shape (C + 1,)
        Bytes of the payload where chunks begin and the last one ends.
    checksums, num_nonzeros
        As in `ChunkDirectory`.
    """

    starts: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    num_nonzeros: NDArray[np.uint16]


class EncodeTables(NamedTuple):
    """What the encoding kernels look up; `qsgd_lab.coding.tables.encode_tables` makes it.

    Attributes
    ----------
    field_bits : int
        Width of the fields that index `joined`: 2, 4 or 8; 0 where there is no such table.
    joined : uint64, shape (65536,) or (1,)
        By 16 bits of two's complement fields, lowest first: the codewords of all of them.
    single : uint64, shape (2 s + 1,)
        By level + s: the codeword of a level, its sign included.
    gaps : uint64, shape (4097,) or (1,)
        By distance: its codeword.
    """

    field_bits: int
    joined: NDArray[np.uint64]
    single: NDArray[np.uint64]
    gaps: NDArray[np.uint64]


class DecodeTables(NamedTuple):
    """What the decoding kernels look up; a layout uses its own, the rest are of shape (1,).

    Attributes
    ----------
    wide : uint64, shape (2**k,)
        The levels, int8, of the codewords that are whole in a window, up to eight.
    sizes : uint16, shape (2**k,)
        The bits of these codewords, and from bit 8 their number; 0 if there is none.
    narrow : uint32, shape (2**k,)
        The bits of the codewords that are whole in a window, from bit 6 their levels, up to three, and from
        bit 30 their number.
    singles : int32, shape (2**k,)
        The first level times 256, plus the bits of its codeword; 0 if it is longer.
    gaps : uint16, shape (2**k,)
        The first distance (below 4096) times 16, plus the bits of its codeword; 0 if it is longer.
    """

    wide: NDArray[np.uint64]
    sizes: NDArray[np.uint16]
    narrow: NDArray[np.uint32]
    singles: NDArray[np.int32]
    gaps: NDArray[np.uint16]


class MessageCounter(NamedTuple):
    """What is counted of the messages of N nodes.

    Attributes
    ----------
    steps : int64, shape (3, 16)
        By how much a codeword of 2^j is longer than one of 2^(j - 1), by code.
    magnitudes : uint8 or uint16
        Scratch, of `cpu.accumulate.magnitude_scratch`.
    bits, words : int64, shape (N, 6)
        Added to: the cost of each node's message in bits, and in 32-bit words, chunks of 4096 rounded up.
    reached : int64, shape (K,)
        Added to: how many levels of all nodes have |level| + 1 >= 2^j.
    """

    steps: NDArray[np.int64]
    magnitudes: NDArray[np.unsignedinteger]
    bits: NDArray[np.int64]
    words: NDArray[np.int64]
    reached: NDArray[np.int64]


class RangedFormat(NamedTuple):
    """How levels become chunks of the layout `ranged`.

    Attributes
    ----------
    num_levels : int
        s.
    field_bits : int
        Bits of a level in a symbol: 2, 4 or 8.
    chunk_bits : int
        log2 of the coordinates of a chunk.
    num_states : int
        1 or 16.
    """

    num_levels: int
    field_bits: int
    chunk_bits: int
    num_states: int


class RangedTables(NamedTuple):
    """The K tables of a message in the layout `ranged`, as kernels look them up.

    Attributes
    ----------
    shifts : uint8, shape (K,)
        Low bits of a level that are not coded, where s > 127.
    frequencies : uint16, shape (K, 256)
        Of each byte, in 1/4096; 0 for a byte that is an exception.
    entries : uint64, shape (256 K,)
        In the low half frequency | EXCEPTION | start << 20, of the escape for an exception, which is marked
        by the bit EXCEPTION of `cpu.messages.ranged`. In the high half 1 / frequency, rounded down a little,
        as the bits of a float32.
    reciprocals : float64, shape (256 K,)
        1 / frequency, rounded up a little.
    slots : uint32, shape (4096 K,)
        By slot: frequency | slot - start << 12 | byte << 24.
    allowed : bool, shape (256,)
        Whether all fields of a byte are in -s..s, where s <= 127.
    is_doubtful : bool
        Whether a table knows a byte that is not, apart from the escape.
    """

    shifts: NDArray[np.uint8]
    frequencies: NDArray[np.uint16]
    entries: NDArray[np.uint64]
    reciprocals: NDArray[np.float64]
    slots: NDArray[np.uint32]
    allowed: NDArray[np.bool_]
    is_doubtful: bool
